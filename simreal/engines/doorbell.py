"""Wake another process through a counter of the kernel's.

A byte through a pipe would do, but then Linux takes it that who sent it goes to sleep at once, and
puts the two of them onto one processor. Nor has a counter to be read after it rang: who listens is
told of every addition once (`EPOLLET` in epoll(7)).
"""

import os
import select
from collections.abc import Callable
from functools import partial
from multiprocessing import reduction
from typing import Any


class Doorbell:
    """Be heard by whoever listens.

    Attributes:
        number: Its file descriptor.
    """

    def __init__(self) -> None:
        """Ask the kernel for one."""
        self.number = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __getstate__(self) -> Any:
        """Return what a process that is being started gets a descriptor of its own from."""
        return reduction.DupFd(self.number)

    def __setstate__(self, state: Any) -> None:
        """Take the descriptor over."""
        self.number = state.detach()

    def ring(self) -> None:
        """Wake who listens."""
        os.eventfd_write(self.number, 1)

    def close(self) -> None:
        """Give it back."""
        os.close(self.number)


Doorbells = tuple[Doorbell, Doorbell]
"""The worker's and the parent's."""


def make_doorbells() -> Doorbells | None:
    """Return doorbells, or None where the kernel has none and bytes in a pipe have to do."""
    known = hasattr(os, "eventfd") and hasattr(select, "epoll")  # FreeBSD has the first alone
    return (Doorbell(), Doorbell()) if known else None


class Listener:
    """Wait until something is to be heard.

    Attributes:
        heard: Returns file descriptors, each with what is up there: pipes that hold something, and
            doorbells that rang since they were last returned. Waits until there are some, at most
            for the time given.
    """

    heard: Callable[[], list[tuple[int, int]]]

    def __init__(self, patience_s: float) -> None:
        """Begin with nothing.

        Args:
            patience_s: Longest wait [s].
        """
        self._poller: select.epoll | select.poll
        self._close: Callable[[], None] | None = None
        if hasattr(select, "epoll"):
            epoll = select.epoll()
            self._poller, self._close = epoll, epoll.close
            self.heard = partial(epoll.poll, patience_s)
        else:  # where there are no doorbells either
            self._poller = select.poll()
            self.heard = partial(self._poller.poll, 1e3 * patience_s)

    def add_pipe(self, number: int) -> None:
        """Listen to a pipe, which is heard as long as it holds something.

        Args:
            number: File descriptor.
        """
        self._poller.register(number, select.POLLIN)

    def add_doorbell(self, doorbell: Doorbell) -> None:
        """Listen to a doorbell."""
        self._poller.register(doorbell.number, select.EPOLLIN | select.EPOLLET)

    def remove(self, number: int) -> None:
        """Listen to something no more.

        Args:
            number: File descriptor.
        """
        self._poller.unregister(number)

    def close(self) -> None:
        """Give back what the kernel has for it. Safe to call twice."""
        if self._close is not None:
            self._close()

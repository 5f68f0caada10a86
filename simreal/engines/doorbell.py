"""Wake another process through a counter of the kernel's.

A byte through a pipe would do, but then Linux takes it that who sent it goes to sleep at once, and
puts the two of them onto one processor.
"""

import os
from multiprocessing import reduction
from typing import Any


class Doorbell:
    """Be heard by whoever polls.

    Attributes:
        number: Its file descriptor, readable after it rang.
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
        """Wake who polls."""
        os.eventfd_write(self.number, 1)

    def hush(self) -> None:
        """Forget that it rang."""
        try:
            os.eventfd_read(self.number)
        except BlockingIOError:
            return  # it had not

    def close(self) -> None:
        """Give it back."""
        os.close(self.number)


Doorbells = tuple[Doorbell, Doorbell]
"""The worker's and the parent's."""


def make_doorbells() -> Doorbells | None:
    """Return doorbells, or None where the kernel has none and bytes in a pipe have to do."""
    return (Doorbell(), Doorbell()) if hasattr(os, "eventfd") else None

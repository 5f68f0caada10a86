"""Ask the system for regular time: real-time scheduling, locked memory, a processor of one's own.

On a busy machine an ordinary process wakes up milliseconds late; under `SCHED_FIFO` the 99th
percentile is near a tenth of one. Each request can be refused (it needs rights that a user rarely
has), and a refusal is told in words, with what to do about it. Nothing here makes Python hard
real-time: measure, and read the report.
"""

import ctypes
import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from simreal.errors import ArmError

_LOCK_NOW_AND_LATER = 3  # MCL_CURRENT | MCL_FUTURE
_PR_SET_TIMERSLACK = 29


@dataclass(frozen=True, slots=True, kw_only=True)
class RealTime:
    """State what to ask for.

    Attributes:
        priority: `SCHED_FIFO` priority, 1 to 99; None leaves the scheduling as it is.
        lock_memory: Whether no page of the process may be swapped out.
        cpus: Processors that the loop may run on; None leaves them as they are.
        required: Whether a refusal is an error; otherwise it is reported.
    """

    priority: int | None = None
    lock_memory: bool = False
    cpus: tuple[int, ...] | None = None
    required: bool = True

    @contextmanager
    def granted(self) -> Iterator[list[str]]:
        """Hold what was asked for, for the calling thread, and give it back at the end.

        Yields:
            What was refused, one line each.

        Raises:
            ArmError: Something was refused that is required.
        """
        before = _scheduling()
        refused: list[str] = []
        try:
            if self.cpus is not None:
                refused += _ask(f"processors {list(self.cpus)}", self._pin)
            if self.lock_memory:
                refused += _ask("locked memory", _lock_memory)
            if self.priority is not None:
                refused += _ask(f"SCHED_FIFO priority {self.priority}", self._schedule)
                _wake_exactly()
            if refused and self.required:
                raise ArmError("; ".join(refused))
            yield refused
        finally:
            _restore(before)
            if self.lock_memory:
                _libc().munlockall()

    def _pin(self) -> None:
        os.sched_setaffinity(threading.get_native_id(), self.cpus or ())

    def _schedule(self) -> None:
        param = os.sched_param(self.priority or 0)
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_FIFO, param)


def is_real_time() -> bool:
    """Return whether the calling thread has real-time scheduling."""
    return os.sched_getscheduler(threading.get_native_id()) in (os.SCHED_FIFO, os.SCHED_RR)


@contextmanager
def quiet_memory() -> Iterator[None]:
    """Keep the garbage collector out of the loop; what is alive now is never looked at again."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


def _ask(what: str, request: Callable[[], None]) -> list[str]:
    try:
        request()
    except (OSError, ValueError) as error:
        return [
            f"{what}: refused by the system ({error}); run as root, or allow it to the user in "
            "/etc/security/limits.conf (rtprio, memlock), or leave it out"
        ]
    return []


def _scheduling() -> tuple[int, int, os.sched_param, set[int]]:
    thread = threading.get_native_id()
    return (
        thread,
        os.sched_getscheduler(thread),
        os.sched_getparam(thread),
        os.sched_getaffinity(thread),
    )


def _restore(before: tuple[int, int, os.sched_param, set[int]]) -> None:
    thread, policy, param, cpus = before
    if _scheduling() != before:
        os.sched_setscheduler(thread, policy, param)
        os.sched_setaffinity(thread, cpus)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _lock_memory() -> None:
    if _libc().mlockall(_LOCK_NOW_AND_LATER) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _wake_exactly() -> None:
    """Take away the slack of 50 us that the kernel adds to ordinary timers."""
    _libc().prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)

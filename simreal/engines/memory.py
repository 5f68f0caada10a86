"""Give memory back that simulators have freed.

A PyBullet world is many thousand small allocations. The C library keeps what they leave for the
next ones, in pools of each thread that do not help each other, so a process that trains several
times in turn (a sweep) would grow by a gigabyte now and then.
"""

import ctypes
import os

_LIBC = ctypes.CDLL(None) if os.name == "posix" else None
_TRIM = getattr(_LIBC, "malloc_trim", None)  # glibc alone has it


def give_back_memory() -> None:
    """Return freed memory to the system, where the C library can."""
    if _TRIM is not None:
        _TRIM(0)

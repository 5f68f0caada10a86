"""Keep simulators quiet: what their C code prints never reaches the user's terminal or log.

Python cannot see these prints, so the file descriptors themselves are pointed away for the time of
a load. The process has one standard output for all its threads, so the block must stay short.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_LIBC = ctypes.CDLL(None) if os.name == "posix" else None


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Discard everything written to file descriptors 1 and 2 within the block."""
    _flush()
    saved: list[tuple[int, int]] = []
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # closed in a daemon: nothing to silence
                saved.append((descriptor, os.dup(descriptor)))
                os.dup2(sink, descriptor)
        yield
    finally:
        _flush()  # C buffers a pipe fully: what it printed must leave before the way back opens
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(sink)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # detached or closed stream
            stream.flush()
    if _LIBC is not None:
        _LIBC.fflush(None)

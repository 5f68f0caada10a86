"""A few numbers in memory that a controller and its watchdog share.

Each number is one aligned 64-bit word, written and read whole. There is no lock: a process that was
stopped while it held one would stop the other as well.
"""

import mmap
import os
import time

from simreal.core.closing import Closing

_NAMES = (
    "version",
    "beat_ns",
    "epoch",
    "armed",
    "limit_ns",
    "closed",
    "watchdog_pid",
    "watched_ns",
    "tripped_epoch",
    "tripped_ns",
)
_PLACE = {name: place for place, name in enumerate(_NAMES)}
_VERSION = 1
_BEAT, _EPOCH, _TRIPPED = _PLACE["beat_ns"], _PLACE["epoch"], _PLACE["tripped_epoch"]


class Heartbeat(Closing):
    """Hold the words; times are of the system's monotonic clock, which all processes share.

    Attributes:
        fd: File descriptor of the memory, to be inherited by the other process.
    """

    def __init__(self, fd: int | None = None) -> None:
        """Make the memory, or map one that was made.

        Args:
            fd: Descriptor of an existing one; a new one if None.

        Raises:
            ValueError: What is mapped is not of this version.
        """
        size = 8 * len(_NAMES)
        self.fd = os.memfd_create("simreal-heartbeat") if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        self._words = memoryview(self._map).cast("q")
        if fd is None:
            self.set("version", _VERSION)
        if self.get("version") != _VERSION:
            found = self.get("version")
            self.close()
            raise ValueError(f"heartbeat: expected version {_VERSION}, found {found}")

    def get(self, name: str) -> int:
        """Return a word.

        Args:
            name: Its name.
        """
        return self._words[_PLACE[name]]

    def set(self, name: str, value: int) -> None:
        """Set a word.

        Args:
            name: Its name.
            value: Its value.
        """
        self._words[_PLACE[name]] = value

    def beat(self) -> bool:
        """Say that the controller lives; return whether its epoch was tripped."""
        words = self._words
        words[_BEAT] = time.monotonic_ns()
        return words[_TRIPPED] >= words[_EPOCH] > 0

    def close(self) -> None:
        """Release the memory here; the other process keeps its own view."""
        self._words.release()
        self._map.close()
        os.close(self.fd)

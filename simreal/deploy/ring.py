"""A ring of bytes in shared memory, from one writer that never waits to one reader.

What does not fit is dropped and counted: a log must not be able to delay what it describes. The
memory is of no file, so no disk can fill it, and it outlives the process that wrote.
"""

import mmap
import os

_WORDS = ("version", "head", "tail", "dropped", "closed", "lost_bytes", "written_bytes", "errors")
_PLACE = {name: place for place, name in enumerate(_WORDS)}
_VERSION = 1
_HEADER = 8 * len(_WORDS)
_HEAD, _TAIL, _DROPPED, _WRITTEN = (
    _PLACE[name] for name in ("head", "tail", "dropped", "written_bytes")
)


class Ring:
    """Hold the ring. Positions only grow; the place of a byte is its position modulo the size.

    Attributes:
        fd: File descriptor of the memory, to be inherited by the other process.
        capacity: Bytes it holds.
    """

    def __init__(self, capacity: int | None = None, fd: int | None = None) -> None:
        """Make a ring, or map one that was made.

        Args:
            capacity: Its size [bytes], for a new one.
            fd: Descriptor of an existing one.

        Raises:
            ValueError: Neither is given, or what is mapped is not a ring of this version.
        """
        if fd is None:
            if not capacity:
                raise ValueError("ring: a capacity or a descriptor is needed")
            fd = os.memfd_create("simreal-log")
            os.ftruncate(fd, _HEADER + capacity)
            new = True
        else:
            new = False
        self.fd = fd
        self._map = mmap.mmap(fd, 0)
        self.capacity = len(self._map) - _HEADER
        self._bytes = memoryview(self._map)[_HEADER:]
        self._words = memoryview(self._map)[:_HEADER].cast("q")
        if new:
            self.set("version", _VERSION)
        if self.get("version") != _VERSION:
            found = self.get("version")
            self.close()
            raise ValueError(f"ring: expected version {_VERSION}, found {found}")

    def get(self, name: str) -> int:
        """Return a word of the header.

        Args:
            name: Its name.
        """
        return self._words[_PLACE[name]]

    def set(self, name: str, value: int) -> None:
        """Set a word of the header.

        Args:
            name: Its name.
            value: Its value.
        """
        self._words[_PLACE[name]] = value

    def put(self, *parts: bytes | memoryview) -> bool:
        """Append a record, or drop it as a whole; return whether it was appended.

        Args:
            *parts: The record.
        """
        words = self._words
        head = words[_HEAD]
        size, capacity = 0, self.capacity
        for part in parts:
            size += len(part)
        if head + size - words[_TAIL] > capacity:
            words[_DROPPED] += 1
            return False
        for part in parts:
            at, size = head % capacity, len(part)
            if at + size <= capacity:
                self._bytes[at : at + size] = part
            else:
                self._wrap_around(at, part)
            head += size
        words[_HEAD] = head  # last: the reader sees whole records alone
        return True

    def take(self) -> bytes:
        """Return all that was appended, and leave it in place; `advance` frees it."""
        tail, head = self.get("tail"), self.get("head")
        at, size = tail % self.capacity, head - tail
        first = bytes(self._bytes[at : at + size])
        return first + bytes(self._bytes[: size - len(first)])

    def advance(self, size: int) -> None:
        """Free what was taken.

        Args:
            size: Bytes.
        """
        self._words[_TAIL] += size

    @property
    def filled(self) -> int:
        """Return how many bytes wait."""
        return self._words[_HEAD] - self._words[_TAIL]

    def close(self) -> None:
        """Release the memory here."""
        self._words.release()
        self._bytes.release()
        self._map.close()
        os.close(self.fd)

    @property
    def written(self) -> int:
        """Return how many bytes the reader has brought to the file."""
        return self._words[_WRITTEN]

    def _wrap_around(self, at: int, part: bytes | memoryview) -> None:
        room = self.capacity - at
        self._bytes[at:] = part[:room]
        self._bytes[: len(part) - room] = part[room:]

"""Carry whole records from a ring to a file, and lose none of the file's to a full disk."""

import os

from simreal.deploy.ring import Ring


class Recorder:
    """Write batches of whole records, and never more than a number of bytes."""

    def __init__(self, ring: Ring, file: int, max_bytes: int) -> None:
        """Begin at the end of the file.

        Args:
            ring: Where records come from.
            file: Descriptor of the log file.
            max_bytes: Largest size of the file.
        """
        self._ring, self._file, self._max_bytes = ring, file, max_bytes
        self._good = os.fstat(file).st_size

    def drain(self) -> None:
        """Write what waits. What cannot be written is lost, counted, and left out as a whole."""
        batch = self._ring.take()
        if not batch:
            return
        if self._good + len(batch) > self._max_bytes or not self._write(batch):
            self._ring.set("lost_bytes", self._ring.get("lost_bytes") + len(batch))
        self._ring.set("written_bytes", self._good)
        self._ring.advance(len(batch))

    def _write(self, batch: bytes) -> bool:
        try:
            view = memoryview(batch)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            self._ring.set("errors", self._ring.get("errors") + 1)
            self._cut()
            return False
        self._good += len(batch)
        return True

    def _cut(self) -> None:
        """Take back what was written of a batch, so that the file holds whole records."""
        try:
            os.ftruncate(self._file, self._good)
            os.lseek(self._file, self._good, os.SEEK_SET)
        except OSError:
            # A device that cannot even be cut; a reader skips half a record by its checksum.
            self._ring.set("errors", self._ring.get("errors") + 1)

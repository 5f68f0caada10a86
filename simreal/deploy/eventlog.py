"""The black box of a controller: every change of state, every fault, every step, as records.

Writing a record copies it into shared memory, which takes microseconds and cannot block; a process
of its own carries it to the disk. The file is a sequence of records, each with a length, a kind and
a checksum; a file that ends in the middle of one is read up to there.
"""

import json
import math
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simreal.core.closing import Closing
from simreal.deploy.drain import Recorder
from simreal.deploy.ring import Ring
from simreal.errors import ConfigError

MAGIC = b"simreal-log 1\n"
HEADER, EVENT, TICK, DECISION = 1, 2, 3, 4
_FRAME = struct.Struct("<IHHI")  # length, kind, mark, checksum
_MARK = 0x5EC1
_MAX_RECORD = 2**20
_RESERVE = 2**18  # of the file, for events after its steps have filled it
_END_S = 20.0
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND


class EventLog(Closing):
    """Write a log. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        path: str | Path | int,
        *,
        max_bytes: int = 256 * 2**20,
        ring_bytes: int = 4 * 2**20,
        process: bool = True,
    ) -> None:
        """Open the file, which must not exist, and start the recorder.

        Args:
            path: The file, or the descriptor of one that is open for writing.
            max_bytes: Largest size of the file; steps stop before, events at it.
            ring_bytes: Memory between controller and recorder.
            process: Whether a process of its own writes the file. In simulated time, where the disk
                may delay the loop, it is written in between instead.

        Raises:
            ConfigError: The file exists or cannot be made.
        """
        self._ring = Ring(ring_bytes)
        self._ring.put(MAGIC)
        try:
            self._file = path if isinstance(path, int) else os.open(path, _FLAGS, 0o644)
        except OSError as error:
            self._ring.close()
            raise ConfigError(f"log '{path}': cannot be made: {error}; choose another") from error
        self._steps_until = max_bytes - _RESERVE
        self._recorder: Recorder | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.steps_left_out = 0
        if process:
            self._process = _start(self._ring, self._file, max_bytes)
        else:
            self._recorder = Recorder(self._ring, self._file, max_bytes)

    def header(self, content: dict[str, Any]) -> None:
        """Write what the records are about.

        Args:
            content: Anything that JSON holds.
        """
        self._put(HEADER, _encode(content))

    def event(self, what: str, time_s: float, **fields: Any) -> None:
        """Write an event.

        Args:
            what: Its name.
            time_s: When [s].
            **fields: Anything that JSON holds.
        """
        self._put(EVENT, _encode({"event": what, "time_s": time_s, **fields}))

    def row(self, kind: int, row: bytes | memoryview) -> None:
        """Write a row of numbers.

        Args:
            kind: `TICK` or `DECISION`.
            row: The bytes of the numbers (k,), float64.
        """
        if self._ring.written > self._steps_until:
            self.steps_left_out += 1
            return
        self._put(kind, row)

    @property
    def counts(self) -> dict[str, int]:
        """Return what did not reach the file, and why."""
        return {
            "log records dropped": self._ring.get("dropped"),
            "log bytes lost": self._ring.get("lost_bytes"),
            "log write errors": self._ring.get("errors"),
            "log steps left out": self.steps_left_out,
        }

    def close(self) -> dict[str, int]:
        """Write what waits, and return the counts."""
        self._ring.set("closed", 1)
        if self._process is not None:
            try:
                self._process.wait(timeout=_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._recorder is not None:
            self._recorder.drain()
        counts = self.counts
        self._ring.close()
        os.close(self._file)
        return counts

    def _put(self, kind: int, payload: bytes | memoryview) -> None:
        frame = _FRAME.pack(len(payload), kind, _MARK, zlib.crc32(payload))
        self._ring.put(frame, payload)
        if self._recorder is not None and 2 * self._ring.filled > self._ring.capacity:
            self._recorder.drain()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogContent:
    """Hold what a log says.

    Attributes:
        header: What the records are about.
        events: Events, in order.
        ticks: One row per command that was sent (T, k); `simreal.deploy.blackbox` names columns.
        decisions: One row per step of the policy (P, k).
        damaged: Records that could not be read.
    """

    header: dict[str, Any]
    events: list[dict[str, Any]]
    ticks: np.ndarray
    decisions: np.ndarray
    damaged: int


def read_log(path: str | Path) -> LogContent:
    """Read a log, as far as it goes.

    Args:
        path: The file.

    Raises:
        ConfigError: It cannot be read or is not a log.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe or a device may never end
            raise ConfigError(f"log '{path}': expected a plain file, found something else")
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"log '{path}': cannot be read: {error}") from error
    if not data.startswith(MAGIC):
        raise ConfigError(
            f"log '{path}': expected a file that begins with {MAGIC!r}, found {data[:14]!r}"
        )
    header: dict[str, Any] = {}
    events: list[dict[str, Any]] = []
    rows: dict[int, list[np.ndarray]] = {TICK: [], DECISION: []}
    records, damaged = _records(data)
    for kind, payload in records:
        if kind in rows and len(payload) % 8 == 0:
            rows[kind].append(np.frombuffer(payload, dtype="<f8"))
        elif kind in (HEADER, EVENT):
            content = json.loads(payload)
            events.append(content) if kind == EVENT else header.update(content)
    return LogContent(
        header=header,
        events=events,
        ticks=_table(rows[TICK]),
        decisions=_table(rows[DECISION]),
        damaged=damaged,
    )


def _records(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Return the records that are whole, and how many places were not."""
    found: list[tuple[int, bytes]] = []
    at, damaged = len(MAGIC), 0
    mark = struct.pack("<H", _MARK)
    while at + _FRAME.size <= len(data):
        length, kind, seen, checksum = _FRAME.unpack_from(data, at)
        payload = data[at + _FRAME.size : at + _FRAME.size + length]
        whole = seen == _MARK and length <= _MAX_RECORD and len(payload) == length
        if whole and zlib.crc32(payload) == checksum:
            found.append((kind, payload))
            at += _FRAME.size + length
            continue
        damaged += 1
        following = data.find(mark, at + 7)  # the mark is 6 bytes into a frame
        if following < 0:
            break
        at = following - 6
    return found, damaged


def _table(rows: list[np.ndarray]) -> np.ndarray:
    width = len(rows[0]) if rows else 0
    kept = [row for row in rows if len(row) == width]
    return np.array(kept, dtype=np.float64).reshape(len(kept), width)


def _encode(content: dict[str, Any]) -> bytes:
    return json.dumps(_plain(content), allow_nan=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """Return a value with numbers that JSON has no form for as texts."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def _start(ring: Ring, file: int, max_bytes: int) -> subprocess.Popen[bytes]:
    task = {"ring": ring.fd, "file": file, "max_bytes": max_bytes, "parent": os.getpid()}
    return subprocess.Popen(
        [sys.executable, "-m", "simreal.deploy.recorder", json.dumps(task)],
        pass_fds=[ring.fd, file],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )

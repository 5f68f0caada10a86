"""The log loses nothing that fits, blocks nobody, and is read as far as it is whole."""

import os
import signal
import subprocess
import sys
import textwrap
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.deploy import EventLog, read_log
from simreal.deploy.drain import Recorder
from simreal.deploy.eventlog import DECISION, MAGIC, TICK
from simreal.deploy.ring import Ring
from simreal.errors import ConfigError


@pytest.mark.parametrize("process", [True, False])
def test_what_is_written_is_read(process: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with EventLog(path, process=process) as log:
        log.header({"policy": "arm"})
        log.event("armed", 1.5, epoch=3, limits=[1.0, float("inf")])
        for i in range(5):
            log.row(TICK, np.array([i, 2.0 * i]).tobytes())
        log.row(DECISION, np.array([1.0, 2.0, 3.0]).tobytes())
        assert log.counts["log records dropped"] == 0
    content = read_log(path)
    assert content.header == {"policy": "arm"}
    assert content.events == [{"event": "armed", "time_s": 1.5, "epoch": 3, "limits": [1.0, "inf"]}]
    assert content.ticks.tolist() == [[i, 2.0 * i] for i in range(5)]
    assert content.decisions.tolist() == [[1.0, 2.0, 3.0]]
    assert content.damaged == 0


def test_a_log_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text("precious")
    with pytest.raises(ConfigError, match=r"cannot be made: .*; choose another"):
        EventLog(path)
    assert path.read_text() == "precious"
    with pytest.raises(ConfigError, match="expected a file that begins with"):
        read_log(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_log(tmp_path / "none.log")


def test_a_killed_writer_leaves_its_last_records(tmp_path: Path) -> None:
    """The recorder is another process, and carries what the killed one has put down."""
    path = tmp_path / "run.log"
    program = f"""
    import time
    import numpy as np
    from simreal.deploy import EventLog
    log = EventLog({str(path)!r})
    for i in range(1000):
        log.row(3, np.array([float(i)]).tobytes())
    print("written", flush=True)
    time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20.0)  # to the end: the recorder, which holds the pipe, has ended
    assert path.stat().st_size == len(MAGIC) + 1000 * (12 + 8)
    assert read_log(path).ticks[:, 0].tolist() == [float(i) for i in range(1000)]


def test_a_log_that_is_cut_or_damaged_is_read_around_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with EventLog(path, process=False) as log:
        for i in range(20):
            log.row(TICK, np.array([float(i)]).tobytes())
    data = bytearray(path.read_bytes())
    record = 12 + 8
    data[len(MAGIC) + 5 * record + 14] ^= 0xFF  # a byte of the sixth record
    path.write_bytes(data[:-3])
    content = read_log(path)
    assert content.ticks[:, 0].tolist() == [float(i) for i in range(19) if i != 5]
    assert content.damaged == 2  # the cut last record is the other


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(data: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"any-{os.getpid()}.log"
    path.write_bytes(MAGIC + data)
    read_log(path)
    path.unlink()


def test_steps_stop_before_the_file_is_full_and_events_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with EventLog(path, process=False, max_bytes=400_000, ring_bytes=20_000) as log:
        for i in range(20_000):
            log.row(TICK, np.array([float(i)]).tobytes())
        log.event("fault", 1.0)
        left_out = log.counts["log steps left out"]
    assert left_out > 0
    assert path.stat().st_size <= 400_000
    content = read_log(path)
    assert len(content.ticks) == 20_000 - left_out
    assert content.events[-1]["event"] == "fault"


def test_a_ring_that_nobody_empties_drops_and_counts() -> None:
    ring = Ring(100)
    assert [ring.put(b"x" * 30) for _ in range(5)] == [True, True, True, False, False]
    assert ring.get("dropped") == 2
    assert ring.take() == b"x" * 90
    ring.advance(90)
    assert ring.put(b"y" * 30)
    ring.close()


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=60))
def test_a_ring_is_a_queue(steps: list[tuple[int, bool]]) -> None:
    ring, expected = Ring(97), deque[bytes]()
    for number, (size, take) in enumerate(steps):
        part = bytes([number % 256]) * size
        fits = sum(map(len, expected)) + size <= 97
        assert ring.put(part[:1], memoryview(part)[1:]) is fits
        if fits:
            expected.append(part)
        if take:
            taken = ring.take()
            assert taken == b"".join(expected)
            ring.advance(len(taken))
            expected.clear()
    ring.close()


def test_a_ring_needs_a_size_or_a_memory() -> None:
    with pytest.raises(ValueError, match="a capacity or a descriptor is needed"):
        Ring()
    ring = Ring(10)
    ring.set("version", 7)
    with pytest.raises(ValueError, match="expected version 1, found 7"):
        Ring(fd=os.dup(ring.fd))
    ring.close()


def test_a_disk_that_fills_up_loses_whole_batches_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, plain, full = tmp_path / "run.log", os.write, [False]
    ring = Ring(1000)
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    recorder = Recorder(ring, file, max_bytes=10_000)

    def write(to: int, data: bytes) -> int:
        if full[0] and to == file:
            if len(data) <= 3:
                raise OSError(28, "No space left on device")
            return plain(to, data[: len(data) - 3])
        return plain(to, data)

    monkeypatch.setattr(os, "write", write)
    for number, is_full in enumerate((False, True, True, False)):
        full[0] = is_full
        ring.put(bytes([65 + number]) * 10)
        recorder.drain()
    assert path.read_bytes() == b"A" * 10 + b"D" * 10
    assert (ring.get("lost_bytes"), ring.get("errors")) == (20, 2)
    assert ring.filled == 0
    os.close(file)
    ring.close()

"""What C code prints into the file descriptors is discarded, and only within the block."""

import ctypes
import os
from pathlib import Path

import pytest

from simreal.engines.silence import silenced

LIBC = ctypes.CDLL(None)


def test_prints_of_c_code_vanish_and_others_stay(capfd: pytest.CaptureFixture[str]) -> None:
    LIBC.printf(b"before\n")  # still in C's buffer when the block begins
    with silenced():
        LIBC.printf(b"from C\n")
        os.write(1, b"straight to 1\n")
        os.write(2, b"straight to 2\n")
    LIBC.printf(b"after\n")
    LIBC.fflush(None)
    out, err = capfd.readouterr()
    assert out.split() == ["before", "after"]
    assert err == ""


def test_the_descriptors_come_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="inside"), silenced():
        raise RuntimeError("inside")
    os.write(1, b"heard\n")
    assert capfd.readouterr().out == "heard\n"


def test_blocks_nest_and_leak_no_descriptor() -> None:
    open_files = Path("/proc/self/fd")
    if not open_files.is_dir():
        pytest.skip("counts descriptors through /proc")
    before = len(list(open_files.iterdir()))
    for _ in range(3):
        with silenced(), silenced():
            pass
    assert len(list(open_files.iterdir())) == before

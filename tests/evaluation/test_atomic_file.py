import os
from pathlib import Path
from typing import Never

import pytest

from simreal.evaluation.atomic_file import write_atomic


def test_content_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    write_atomic(path, b"one")
    write_atomic(path, b"two")

    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_previous_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file.bin"
    write_atomic(path, b"old")

    def fail(*_: object) -> Never:
        raise OSError("disk full")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")

    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_the_content_reaches_the_disk_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (events.append("replace"), replace(self, to))[1]
    )
    write_atomic(tmp_path / "file.bin", b"x")

    assert events == ["fsync", "replace", "fsync"]


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX")
def test_permissions_follow_the_umask_and_then_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    old = os.umask(0o027)
    try:
        write_atomic(path, b"one")
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o600)
        write_atomic(path, b"two")
    finally:
        os.umask(old)

    assert path.stat().st_mode & 0o777 == 0o600

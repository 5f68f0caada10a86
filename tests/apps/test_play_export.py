from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simreal import cli
from simreal.deploy import load_bundle

Refuse = Callable[..., str]


def play(path: Path, *more: str) -> list[str]:
    task = ("task=pendulum", "width=64", "height=48")
    return ["play", *task, *more, f"output={path}"]


def test_an_episode_becomes_a_video(
    tmp_path: Path,
    trained_run: Path,
    capsys: pytest.CaptureFixture[str],
    read_video: Callable[..., Any],
) -> None:
    path = tmp_path / "video.mp4"
    assert cli.main(play(path, f"policy={trained_run}")) == 0
    printed = capsys.readouterr().out
    assert "no success, return" in printed
    assert f"video      {path}" in printed
    assert read_video(path, 64, 48).shape == (251, 48, 64, 3)  # 10 s at 25 pictures per second


def test_a_video_has_a_size_that_a_codec_takes_if_none_is_asked_for(
    tmp_path: Path, trained_run: Path, read_video: Callable[..., Any]
) -> None:
    path = tmp_path / "video.mp4"
    assert cli.main(["play", "task=pendulum", f"policy={trained_run}", f"output={path}"]) == 0
    assert read_video(path, 480, 352).shape == (251, 352, 480, 3)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("width=50", "width: got 50; a multiple of 16"),
        ("height=0", "height: got 0; a multiple of 16"),
        ("policy=nobody", "got 'nobody'"),
    ],
)
def test_wrong_settings_are_refused(
    refuse: Refuse, tmp_path: Path, override: str, part: str
) -> None:
    assert part in refuse(*play(tmp_path / "video.mp4", "policy=zero", override))


def test_an_existing_video_is_not_replaced(refuse: Refuse, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"mine")
    assert "which exists" in refuse(*play(path, "policy=zero"))
    assert path.read_bytes() == b"mine"


def test_a_video_is_an_mp4(refuse: Refuse, tmp_path: Path) -> None:
    assert "ends in .mp4" in refuse(*play(tmp_path / "video.gif", "policy=zero"))


@pytest.mark.parametrize("inside", ["", "policy"])
def test_export_copies_the_bundle_of_a_run(
    tmp_path: Path, trained_run: Path, capsys: pytest.CaptureFixture[str], inside: str
) -> None:
    target = tmp_path / "mine.policy"
    assert cli.main(["export", f"run={trained_run / inside}", f"output={target}"]) == 0
    printed = capsys.readouterr().out
    assert "golden replay: 200 steps" in printed
    assert f"bundle     {target}" in printed
    source = trained_run / "policy"
    assert load_bundle(target).sha256 == load_bundle(source).sha256
    assert {p.name for p in target.iterdir()} == {p.name for p in source.iterdir()}


def test_export_refuses_an_existing_folder(
    refuse: Refuse, tmp_path: Path, trained_run: Path
) -> None:
    line = refuse("export", f"run={trained_run}", f"output={tmp_path}")
    assert "which exists; choose another folder" in line


def test_export_refuses_a_run_without_a_policy(refuse: Refuse, tmp_path: Path) -> None:
    assert "run: got" in refuse("export", f"run={tmp_path}", f"output={tmp_path / 'x'}")


def test_export_refuses_a_damaged_bundle(refuse: Refuse, tmp_path: Path, trained_run: Path) -> None:
    copy = tmp_path / "copy"
    assert cli.main(["export", f"run={trained_run}", f"output={copy}"]) == 0
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    target = tmp_path / "x"
    assert "weights.safetensors" in refuse("export", f"run={copy}", f"output={target}", code=1)
    assert not target.exists()


def test_export_adds_forms_that_other_programs_run(
    tmp_path: Path, trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "a.policy"
    assert cli.main(["export", f"run={trained_run}", "format=all", f"output={target}"]) == 0
    printed = capsys.readouterr().out
    assert "onnx replay: largest difference" in printed
    assert "c replay: largest difference" in printed
    assert {"policy.onnx", "policy.c", "policy.h", "leapp.yaml"} <= {
        path.name for path in target.iterdir()
    }


def test_an_unknown_format_is_refused(refuse: Refuse, tmp_path: Path, trained_run: Path) -> None:
    said = refuse("export", f"run={trained_run}", "format=onxn", f"output={tmp_path / 'a'}")
    assert "format: got 'onxn', allowed are bundle, onnx, c, leapp, all" in said
    assert "Did you mean 'onnx'?" in said


@pytest.mark.parametrize("form", ["bundle", "c"])
def test_export_refuses_a_place_that_cannot_be_written(
    refuse: Refuse, form: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    words = ("export", "run=pendulum-pybullet", f"format={form}")
    line = refuse(*words, f"output={tmp_path / 'file' / 'a.policy'}")
    assert "which cannot be written (" in line
    assert line.endswith("choose another folder")


def test_export_refuses_to_write_into_its_source(refuse: Refuse, tmp_path: Path) -> None:
    """A bundle with a folder in it is no bundle any more."""
    source = tmp_path / "a.policy"
    assert cli.main(["export", "run=pendulum-pybullet", f"output={source}"]) == 0
    line = refuse("export", f"run={source}", f"output={source / 'copy'}")
    assert f"which is inside of '{source}'; choose another" in line
    assert cli.main(["check-bundle", str(source)]) == 0

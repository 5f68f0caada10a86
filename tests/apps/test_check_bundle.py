"""`simreal check-bundle` exits with 0 for a good bundle, and names each problem of a bad one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simreal.cli import main
from simreal.paths import policies_dir


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(policies_dir() / "pendulum-pybullet", tmp_path / "a.policy"))


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((path / "manifest.json").read_text())
    change(content)
    (path / "manifest.json").write_text(json.dumps(content))


def _errors(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["check-bundle", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    *lines, advice = captured.err.splitlines()
    assert "copy the bundle from its source once more, or write it anew" in advice
    assert all(line.startswith(f"error: bundle '{path}': ") for line in lines)
    assert all(" expected " in line and " found " in line for line in lines)
    return [line.removeprefix(f"error: bundle '{path}': ") for line in lines]


def test_a_good_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-bundle", str(bundle)]) == 0
    captured = capsys.readouterr()
    assert "golden replay: 200 steps" in captured.out
    assert captured.err == ""


def test_every_field_of_the_wrong_type_is_named(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["timing"]["tick_s"] = "fast"
        manifest["signals"][1]["units"] = "rad/s"
        manifest["robot"]["joints"][0]["axis"] = [0.0, 1.0]

    _change(bundle, change)
    assert _errors(bundle, capsys) == [
        "robot.joints[0].axis: expected a list of 3 items, found a list of 2 items",
        "timing.tick_s: expected a finite number, found 'fast'",
        "signals[1].units: expected a list, found 'rad/s'",
    ]


def test_every_part_that_disagrees_is_named(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["timing"]["control_period_s"] = 0.02
        manifest["network"]["inputs"] = 160
        manifest["signals"][0]["units"] = ["deg"]

    _change(bundle, change)
    assert _errors(bundle, capsys) == [
        "timing.control_period_s: expected tick_s * decimation = 0.01, found 0.02",
        "signals.joint_pos.units of shoulder: expected 'rad', found 'deg'",
        "observation.terms.sin.unit: expected 'deg', found 'rad'",
        "network.inputs: expected observation.dim = 12, found 160",
    ]


def test_every_file_that_was_changed_is_named(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("weights.safetensors", "golden.safetensors"):
        data = bytearray((bundle / name).read_bytes())
        data[-1] ^= 1
        (bundle / name).write_bytes(data)
    lines = _errors(bundle, capsys)
    assert [line.split(":")[0] for line in lines] == ["golden.safetensors", "weights.safetensors"]


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _errors(tmp_path / "b.policy", capsys) == [
        "path: expected a folder with a manifest.json, found nothing"
    ]


def test_one_path_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-bundle"]) == 2
    assert "expected one: simreal check-bundle PATH" in capsys.readouterr().err

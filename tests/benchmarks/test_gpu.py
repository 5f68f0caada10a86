"""The script for GPUs rehearses on the CPU, and needs nothing that a GPU machine has not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mujoco_warp")
ROOT = Path(__file__).resolve().parents[2]
ABSENT = ("pybullet", "hydra", "omegaconf", "pydantic", "scipy", "rich", "jinja2", "matplotlib")
REHEARSE = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
import gpu
sys.exit(gpu.main(sys.argv[1:]))
"""


def rehearse(folder: Path, *parts: str) -> Any:
    """Run the script without a GPU and without packages it may not need; return its results."""
    output = folder / "gpu.json"
    words = ["--device", "cpu", "--worlds", "8", "--robots", "pendubot", "--steps", "2"]
    words += ["--iterations", "1", "--learn-steps", "400", "--output", str(output)]
    path = ":".join(str(ROOT / part) for part in (".", "envs", "benchmarks"))
    done = subprocess.run(
        [sys.executable, "-c", REHEARSE, *words, "--only", *parts],
        env={**os.environ, "PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["device"]["graphs"] is True
    return report


def test_physics_and_training_are_rehearsed_on_the_cpu(tmp_path: Path) -> None:
    report = rehearse(tmp_path, "physics", "training")
    physics = report["physics"]["pendubot, 8 worlds"]
    assert set(physics["arms"]) == {
        "bare MuJoCo Warp",
        "engine",
        "whole control step",
        "the same without its ticks",
        "MuJoCo, all cores",
    }
    assert all(arm["median"] > 0 for arm in physics["arms"].values())
    assert 0.3 < physics["ratios"]["bare / engine: share of bare speed"]["median"] < 3.0
    assert "TorchPPO on the device" in report["training"]["pendubot, 8 worlds"]["arms"]


@pytest.mark.slow
def test_checks_and_learning_are_rehearsed_on_the_cpu(tmp_path: Path) -> None:
    report = rehearse(tmp_path, "checks", "learning")
    assert {name: row["verdict"] for name, row in report["checks"].items()} == {
        "every dynamics parameter acts": "held",
        "agreement with MuJoCo in C over 100 steps": "held",
        "pendubot: graphs equal single operations": "not run",
        "pendubot: no step waits for the device": "not run",
        "pendubot: no iteration of a training waits": "not run",
    }
    assert report["learning"]["pendubot"]["curve"][-1]["steps"] >= 400


def test_a_gpu_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    import gpu

    with pytest.raises(SystemExit):
        gpu.main(["--device", "cuda:0"])
    assert "torch sees no CUDA device; rehearse with cpu" in capsys.readouterr().err

"""The example package is built, installed, listed and trained, with no edit to the kit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytest.importorskip("pybullet")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the example package with its own build backend and install it into a folder."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(ROOT / "examples" / "slider")],
        check=True,
        capture_output=True,
    )
    return folder


def _simreal(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "envs"), str(site)])
    return subprocess.run(
        [sys.executable, "-m", "simreal", *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_package_is_listed(site: Path) -> None:
    listed = _simreal(site, "list", "robot", "task", "pair")
    assert listed.returncode == 0, listed.stderr
    for name in ("slider", "slide_to_mark", "slider_heavier"):
        assert name in listed.stdout
    assert "[slider_lab]" in listed.stdout


def test_its_robot_and_task_train(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    trained = _simreal(
        site,
        "train",
        "task=slide_to_mark",
        "algo.num_worlds=16",
        "algo.num_steps=64",
        "algo.batch_size=128",
        "plan.num_steps=30000",
        "plan.eval_every=0",
        "plan.eval_episodes=10",
        "plan.checkpoint_every=0",
        "num_test_episodes=20",
        f"output={out}",
    )
    assert trained.returncode == 0, trained.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["task"] == "slide_to_mark"
    # Doing nothing fails from nine starts in ten; a policy that learned anything does not.
    assert summary["success_rate"] > 0.5

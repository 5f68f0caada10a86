"""Kill real trainings at random moments, continue them, and compare with an uninterrupted one."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TRAIN = (
    "randomization=uniform",
    "source.sensing.joint_pos_noise=0.001",
    "source.sensing.measurement_delay=0.004",
    "source.sensing.dropout=0.05",
    "source.actuation.torque_noise=0.01",
    "plan.num_steps=1024",
    "plan.eval_every=512",
    "plan.eval_episodes=1",
    "plan.checkpoint_every=64",
    "num_test_episodes=1",
    "algo.num_worlds=4",
    "algo.extractor=[8]",
    "algo.head=[8]",
)
PENDULUM = "task=pendulum"
PPO = (PENDULUM, "algo=ppo", "algo.num_steps=16", "algo.batch_size=32", "algo.num_epochs=4")
TORCH = (PENDULUM, "algo=torch_ppo", *PPO[2:])
SAC = (
    PENDULUM,
    "algo=sac",
    "algo.buffer_size=400",
    "algo.learning_starts=200",
    "algo.batch_size=32",
)
CASES = {
    "mujoco-ppo": ("source=mujoco_ideal", *PPO),
    "pybullet-ppo-2-workers": ("source=pybullet_ideal", *PPO, "workers=2"),
    "mujoco-torch-ppo": ("source=mujoco_ideal", *TORCH),
    "mujoco-hopper": ("task=hopper", "source=mujoco_ideal", *TORCH[1:]),
    "pybullet-sac": ("source=pybullet_ideal", *SAC, "algo.gradient_steps=1"),
    "mujoco-sac-2-workers": ("source=mujoco_ideal", *SAC, "algo.gradient_steps=1", "workers=2"),
}
KILLS = 7  # of each case

Process = subprocess.Popen[bytes]
Ready = Callable[[], bool]


def start(case: str, folder: Path) -> Process:
    """Begin a run, or continue what is there of it, as a user would."""
    begun = (folder / "run.json").is_file()
    words = [f"resume={folder}"] if begun else [*TRAIN, *CASES[case], f"output={folder}"]
    log = folder.with_suffix(".log").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "simreal", "train", *words],
            stdout=log,
            stderr=log,
            env=dict(os.environ, OMP_NUM_THREADS="1"),
        )


def markers(folder: Path) -> set[str]:
    return {p.name for p in (folder / "checkpoints").glob("checkpoint-*.json")}


def half_written(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("*.tmp"))


def finishing(folder: Path) -> bool:
    return any(folder.glob("*policy*")) or f"checkpoint-{1024:012d}.json" in markers(folder)


def kill_when(process: Process, ready: Ready, delay_s: float) -> bool:
    """Kill a process some time after a condition holds; return whether it was still running."""
    while not ready():
        if process.poll() is not None:
            return False
        time.sleep(0.0002)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def moment(rng: random.Random, kind: str, folder: Path, start_s: float) -> tuple[Ready, float]:
    """Return a condition, and how long after it to strike."""
    if kind == "start-up":
        return (lambda: True), rng.uniform(0.0, start_s)
    if kind == "checkpoint":
        return (lambda: half_written(folder)), 0.0
    if kind == "end":
        return (lambda: finishing(folder)), rng.uniform(0.0, 0.5)
    seen = markers(folder)
    wanted = rng.randint(1, 3)  # rollout or update, some checkpoints later

    def passed() -> bool:
        nonlocal seen, wanted
        now = markers(folder)
        wanted, seen = wanted - len(now - seen), seen | now
        return wanted <= 0

    return passed, rng.uniform(0.0, 0.04)


def finish(process: Process, folder: Path) -> None:
    assert process.wait() == 0, folder.with_suffix(".log").read_text()[-2000:]


def steps_logged(folder: Path) -> list[int]:
    with (folder / "tensorboard" / "progress.csv").open() as file:
        steps = [row["time/total_timesteps"] for row in csv.DictReader(file)]
    return [int(step) for step in steps if step]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_killed_and_continued_equals_one_that_is_not(
    case: str, tmp_path: Path
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "killed-0"
    begun = time.monotonic()
    process = start(case, whole)
    while not markers(whole) and process.poll() is None:
        time.sleep(0.01)
    start_s = time.monotonic() - begun
    finish(process, whole)

    rng = random.Random(case)
    kinds = ("start-up", "rollout", "checkpoint", "rollout", "checkpoint", "rollout", "end")
    kills, runs = 0, [folder]
    while kills < KILLS:
        ready, delay_s = moment(rng, kinds[kills % len(kinds)], folder, start_s)
        process = start(case, folder)
        if kill_when(process, ready, delay_s):
            kills += 1
            continue
        finish(process, folder)
        folder = tmp_path / f"killed-{len(runs)}"
        runs.append(folder)
    finish(start(case, folder), folder)

    for run in runs:
        for name in ("training.safetensors", "weights.safetensors", "golden.safetensors"):
            assert (run / "policy" / name).read_bytes() == (whole / "policy" / name).read_bytes()
        # The curve, the steps and the success rate.
        assert (run / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()
        logged = steps_logged(run)
        assert logged == sorted(logged)
        assert set(logged) == set(steps_logged(whole))


@pytest.mark.slow
def test_a_finished_run_is_not_harmed_by_continuing_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    finish(start("mujoco-ppo", folder), folder)
    before = {p: p.read_bytes() for p in (folder / "policy").iterdir()}
    finish(start("mujoco-ppo", folder), folder)
    assert {p: p.read_bytes() for p in (folder / "policy").iterdir()} == before
    assert "is a finished run" in folder.with_suffix(".log").read_text()

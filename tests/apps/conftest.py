"""A finished run of `simreal train`, and the overrides that make every verb quick."""

from collections.abc import Callable
from pathlib import Path

import pytest

from simreal import cli

NETWORK = (
    "algo.num_worlds=4",
    "algo.num_steps=16",
    "algo.batch_size=32",
    "algo.num_epochs=1",
    "algo.extractor=[8]",
    "algo.head=[8]",
)
TRAIN = (
    "task=pendulum",
    "source=mujoco_ideal",
    *NETWORK,
    "plan.num_steps=192",
    "plan.eval_every=0",
    "plan.eval_episodes=1",
    "plan.checkpoint_every=64",
    "num_test_episodes=2",
)
TRANSFER = (
    "task=pendulum",
    "target=mujoco_real",
    *NETWORK,
    "num_test_episodes=2",
)
TUNING = (
    "transfer.plan.num_steps=128",
    "transfer.plan.eval_episodes=1",
    "transfer.warm_up_steps=64",
)


@pytest.fixture
def words() -> dict[str, tuple[str, ...]]:
    """Return overrides by verb."""
    return {"train": TRAIN, "transfer": TRANSFER, "tuning": TUNING}


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert cli.main(["train", *TRAIN, f"output={folder}"]) == 0
    return folder


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command line that must fail, and gives its one line."""

    def run(*words: str, code: int = 2) -> str:
        capsys.readouterr()
        assert cli.main(list(words)) == code
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("error: ")
        return lines[0]

    return run

"""The trainer runs `TorchPPO` on tensors wherever the domain's engine has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal import cli
from simreal.core.distributions import Uniform
from simreal.deploy import check_bundle, load_bundle
from simreal.domains import Actuation, Domain, Randomization, Randomized, Sensing
from simreal_envs.robots.double_pendulum import double_pendulum
from simreal_envs.tasks.double_pendulum import Pendubot

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco_warp")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402

from simreal.domains.tensor_env import TensorVecEnv  # noqa: E402
from simreal.learning import algorithms, trainer  # noqa: E402
from simreal.learning.trainer import train  # noqa: E402

Build = Callable[..., Any]

TINY = (
    "algo.num_worlds=4",
    "algo.num_steps=16",
    "algo.batch_size=32",
    "algo.num_epochs=1",
    "algo.extractor=[8]",
    "algo.head=[8]",
)


class Short(Pendubot):
    """Episodes of 20 control steps, 10 in training."""

    name = "short"
    episode_s = 0.2
    train_episode_s = 0.1
    success_window_s = (0.1, 0.2)


class Killed(BaseException):
    """Stand in for the end of the process."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of worlds with every step of `TensorVecEnv`."""
    counted: list[int] = []
    step = TensorVecEnv.step

    def wrapped(self: TensorVecEnv, actions: Any) -> Any:
        counted.append(self.num_worlds)
        return step(self, actions)

    monkeypatch.setattr(TensorVecEnv, "step", wrapped)
    return counted


@pytest.fixture
def job(toy_job: Build, toy_algo: Build) -> Build:
    """Return a function that describes a training with everything random, by folder."""
    domain = Domain(
        name="busy",
        engine="warp",
        options={"device": "cpu"},
        sensing=Sensing(joint_pos_noise=1e-3, measurement_delay=4e-3, dropout=0.1),
        actuation=Actuation(command_delay=0.011, torque_noise=0.01),
        randomization=Randomization(
            {
                "mass": {"*": Randomized(distribution=Uniform(0.9, 1.1), mode="scale")},
                "gravity": Randomized(distribution=Uniform(9.0, 10.0), when="startup"),
                "command_delay": Randomized(distribution=Uniform(0.0, 0.016)),
            }
        ),
    )

    def make(folder: Path, algo: str = "torch_ppo", **changes: Any) -> Any:
        place = {"robot": double_pendulum(), "task": Short(), "domain": domain}
        return toy_job(settings=toy_algo(algo, **changes), folder=folder, **place)

    return make


def test_a_run_of_the_command_line_is_on_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    folder = tmp_path / "run"
    for name in ("episode_s", "train_episode_s", "success_window_s"):
        monkeypatch.setattr(Pendubot, name, getattr(Short, name))
    words = ("task=pendubot", "source=warp_ideal", "algo=torch_ppo", *TINY)
    plan = ("plan.num_steps=256", "plan.eval_every=0", "plan.eval_episodes=1")
    device = "++source.options.device=cpu"
    ends = ("num_test_episodes=1", f"output={folder}")
    assert cli.main(["train", *words, *plan, device, *ends]) == 0
    assert steps == [4] * 64
    assert "golden replay" in check_bundle(folder / "policy")[-1]
    assert load_bundle(folder / "policy").manifest.provenance.env_steps == 256


def test_a_continued_run_equals_an_uninterrupted_one(
    job: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    whole = train(job(tmp_path / "whole"))
    assert sum(steps) == whole.num_steps == 192
    write = trainer.write_checkpoint

    def killed(folder: Path, num_timesteps: int, *rest: Any) -> None:
        write(folder, num_timesteps, *rest)
        if num_timesteps == 128:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "write_checkpoint", killed)
        with pytest.raises(Killed):
            train(job(tmp_path / "cut"))
    again = train(job(tmp_path / "cut"), resume=True)
    first, second = (o.model.policy.state_dict() for o in (whole, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert whole.curve == again.curve
    assert [e["r"] for e in whole.model.ep_info_buffer or ()] == [
        e["r"] for e in again.model.ep_info_buffer or ()
    ]


def test_the_log_has_terms_and_draws(job: Build, tmp_path: Path) -> None:
    outcome = train(job(tmp_path))
    reader = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = set(reader.Tags()["scalars"])
    ours = {
        "reward/upright",
        "domain/mass.upper_link/std",
        "domain/gravity/mean",
        "eval/success_rate",
    }
    sb3s = {"rollout/ep_rew_mean", "train/value_loss", "time/fps"}
    assert ours | sb3s | {"rollout/num_diverged"} <= found
    delays = [event.value for event in reader.Scalars("domain/command_delay/mean")]
    assert len(delays) == 3  # one per rollout
    assert all(0.0 < delay < 0.016 for delay in delays)
    # Whole episodes of 10 steps; the first of a world begins anywhere.
    assert {e["l"] for e in outcome.model.ep_info_buffer or ()} == {10}


@pytest.mark.parametrize(
    ("algo", "changes", "workers", "wanted"),
    [
        ("torch_ppo", {}, 1, "TensorVecEnv"),
        ("torch_ppo", {"privileged": True}, 1, "SimVecEnv"),
        ("torch_ppo", {"normalize_reward": True}, 1, "SimVecEnv"),
        ("torch_ppo", {}, 2, "SimVecEnv"),
        ("ppo", {}, 1, "SimVecEnv"),
    ],
)
@pytest.mark.parametrize("engine", ["warp", "mujoco"])
def test_the_runtime_follows_engine_and_algorithm(
    toy_algo: Build,
    toy_task: Any,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    algo: str,
    changes: dict[str, Any],
    workers: int,
    wanted: str,
) -> None:
    built: list[str] = []
    for name in ("TensorVecEnv", "SimVecEnv"):
        monkeypatch.setattr(algorithms, name, lambda *_, name=name, **__: built.append(name))
    settings, domain = toy_algo(algo, **changes), Domain(name="any", engine=engine)
    settings.worlds(double_pendulum(), toy_task, domain, 4, seed=0, training=True, workers=workers)
    assert built == [wanted if engine == "warp" else "SimVecEnv"]


def test_a_checkpoint_holds_the_worlds_as_they_are(job: Build, tmp_path: Path) -> None:
    settings = job(tmp_path).settings
    described = job(tmp_path)
    place = (described.robot, described.task, described.domain, 3)
    first, second = (
        settings.worlds(*place, seed=seed, training=True, workers=1) for seed in (1, 2)
    )
    push = torch.full((3, 1), 0.3)
    try:
        first.reset()
        second.reset()
        for _ in range(13):
            first.step(push)
        obs = first.reset().clone()
        first.book.num_diverged = 5
        np.testing.assert_array_equal(second.set_state(first.get_state()), obs)
        assert second.book.num_diverged == 5
        for _ in range(25):
            one, other = first.step(push), second.step(push)
            for name in one._fields:
                assert torch.equal(getattr(one, name), getattr(other, name)), name
    finally:
        first.close()
        second.close()

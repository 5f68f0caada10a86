"""The ids of the package in Gymnasium."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from simreal.config import compose
from simreal.errors import UnknownNameError
from simreal_envs.domains import DOMAINS, domain
from simreal_envs.environments import make_env
from simreal_envs.registration import IDS, register_all


@pytest.fixture(params=IDS)
def env(request: pytest.FixtureRequest) -> Iterator[gymnasium.Env[Any, Any]]:
    made = gymnasium.make(request.param)
    yield made
    made.close()


def test_a_single_environment_is_evaluated_by_plain_numbers(env: gymnasium.Env[Any, Any]) -> None:
    assert env.unwrapped.vec._evaluator.why == ""  # type: ignore[attr-defined]


def test_there_is_an_id_for_every_task_in_source_and_target() -> None:
    assert list(IDS) == [
        f"simreal/{task}{suffix}-v0"
        for tasks, suffixes in (
            (("Pendulum", "Pendubot", "Acrobot"), ("", "Real")),
            (("Hopper", "Walker2D", "HalfCheetah", "Ant"), ("Bullet", "MuJoCo")),
        )
        for task in tasks
        for suffix in suffixes
    ]
    assert set(IDS) <= set(gymnasium.registry)
    register_all()  # a second time is no error


def test_registering_imports_nothing_heavy() -> None:
    code = (
        "import sys, simreal_envs, gymnasium\n"
        "assert 'simreal/PendubotReal-v0' in gymnasium.registry\n"
        "heavy = {'torch', 'pybullet', 'mujoco', 'stable_baselines3', 'hydra', 'simreal.domains'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_gymnasiums_check_passes_without_a_warning(env: gymnasium.Env[Any, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)


def test_stable_baselines3s_check_passes_without_a_warning(env: gymnasium.Env[Any, Any]) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(env)


def random_steps(env: gymnasium.Env[Any, Any], num_steps: int) -> int:
    """Return how many episodes ended."""
    env.action_space.seed(0)
    obs, _ = env.reset(seed=0)
    ended = 0
    for _ in range(num_steps):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(obs)
        assert np.isfinite(obs).all()
        assert np.isfinite(reward)
        if terminated or truncated:
            ended += 1
            obs, _ = env.reset()
    return ended


def test_random_actions_give_finite_numbers(env: gymnasium.Env[Any, Any]) -> None:
    assert random_steps(env, 1010) >= 1


@pytest.mark.slow
def test_ten_thousand_random_actions_give_finite_numbers(env: gymnasium.Env[Any, Any]) -> None:
    assert random_steps(env, 10_000) >= 10


def test_full_torque_both_ways_gives_finite_numbers(env: gymnasium.Env[Any, Any]) -> None:
    env.reset(seed=1)
    for step in range(600):
        action = np.full(env.action_space.shape, (-1) ** (step // 40), dtype=np.float32)
        obs, reward, *_ = env.step(action)
        assert np.isfinite(obs).all()
        assert np.isfinite(reward)


@pytest.mark.parametrize("name", DOMAINS)
def test_the_domains_are_those_of_the_configuration_files(name: str) -> None:
    group = "source" if name.startswith("pybullet") else "target"
    composed = compose("transfer", [f"{group}={name}"]).values[group]
    built = domain(name)
    assert composed.pop("_target_") == "simreal.domains.Domain"
    for key in ("sensing", "actuation"):
        assert composed[key].pop("_target_").endswith(key.capitalize())
        values = composed.pop(key)
        assert values == {k: getattr(getattr(built, key), k) for k in values}
    composed.pop("randomization", None)
    assert composed == {k: getattr(built, k) for k in composed}
    assert not built.randomization.params


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'pendubot'"):
        make_env("pendubott", "mujoco_real")
    with pytest.raises(UnknownNameError, match="Did you mean 'mujoco_real'"):
        make_env("pendubot", "mujoco_reel")


def test_a_picture_can_be_taken() -> None:
    env = gymnasium.make("simreal/Pendubot-v0", render_mode="rgb_array")
    env.reset(seed=0)
    picture = np.asarray(env.render())
    env.close()
    assert picture.shape == (240, 320, 3)
    assert picture.std() > 1

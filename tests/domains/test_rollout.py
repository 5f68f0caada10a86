import numpy as np
import pytest

from simreal.domains.rollout import mean_return, num_steps, run_episodes, success_rate
from simreal.errors import ConfigError
from tests.domains.conftest import Build


def idle(obs: np.ndarray) -> np.ndarray:
    return np.zeros((len(obs), 1))


def test_every_world_gives_as_many_episodes_in_order(build: Build) -> None:
    episodes = run_episodes(build(3), idle, 6, seed=0)
    assert [(e.world, e.episode) for e in episodes] == [(w, e) for w in range(3) for e in range(2)]
    assert num_steps(episodes) == 60


def test_short_episodes_are_not_counted_more_often(build: Build) -> None:
    env = build(2)
    env.task.limit = 1.0  # type: ignore[attr-defined]

    def push_first(obs: np.ndarray) -> np.ndarray:
        return np.array([[1.0], [-1.0]])

    env.engine.step = _jumping(env.engine.step, env.engine)  # type: ignore[method-assign]
    episodes = run_episodes(env, push_first, 4, seed=0)
    assert [e.world for e in episodes] == [0, 0, 1, 1]
    assert [e.reason for e in episodes] == ["terminated"] * 2 + ["time limit"] * 2


def _jumping(step, engine):  # noqa: ANN001, ANN202
    def jump(commands, sample_tick=None):  # noqa: ANN001, ANN202
        step(commands, sample_tick)
        engine._now.joint_pos[0] += 0.5

    return jump


def test_equal_seeds_meet_equal_numbers_whatever_the_policy(build: Build) -> None:
    starts = []
    for push in (0.0, 1.0):
        seen: list[np.ndarray] = []

        def act(obs: np.ndarray, push: float = push, seen: list = seen) -> np.ndarray:
            seen.append(obs.copy())
            return np.full((2, 1), push)

        run_episodes(build(2), act, 4, seed=3)
        starts.append((seen[0], seen[10][:, :1]))
    np.testing.assert_array_equal(starts[0][0], starts[1][0])
    np.testing.assert_array_equal(starts[0][1], starts[1][1])


@pytest.mark.parametrize("num_episodes", [0, 3, -2])
def test_episodes_must_spread_evenly(build: Build, num_episodes: int) -> None:
    with pytest.raises(ConfigError, match="a positive multiple of the 2 worlds"):
        run_episodes(build(2), idle, num_episodes, seed=0)


def test_staggered_environments_are_refused(build: Build) -> None:
    with pytest.raises(ConfigError, match="stagger=False"):
        run_episodes(build(2, training=True), idle, 2, seed=0)


def test_rates_and_means_by_hand(build: Build) -> None:
    episodes = run_episodes(build(8), idle, 8, seed=0)
    rate = np.mean([e.success for e in episodes])
    assert 0.0 < rate < 1.0, "an idle cart succeeds where it started beyond 0.5 m"
    assert success_rate(episodes) == rate
    assert mean_return(episodes) == pytest.approx(0.0)

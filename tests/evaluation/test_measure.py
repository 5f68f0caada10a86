from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from simreal.errors import ConfigError
from simreal.evaluation.measure import TEST_SEED, measure

Build = Callable[..., Any]


def push(obs: np.ndarray) -> np.ndarray:
    return np.full((obs.shape[0], 1), 0.3)


def run(robot: Any, task: Any, domain: Any, act: Any = push, **changes: Any) -> list[Any]:
    settings = {"policy": "push", "seed": 4, "num_episodes": 3} | changes
    return measure(act, robot, task, domain, **settings)


def test_one_record_per_episode(toy_robot: Any, toy_task: Any, toy_domain: Build) -> None:
    records = run(toy_robot, toy_task, toy_domain())
    assert [r.episode for r in records] == [0, 1, 2]
    assert {(r.policy, r.domain, r.seed) for r in records} == {("push", "mujoco", 4)}
    assert {(r.length, r.success, r.end_reason) for r in records} == {(20, False, "time limit")}
    assert {r.episode_seed for r in records} == {TEST_SEED}
    assert len({r.episode_return for r in records}) == 3


def test_policies_meet_the_same_random_numbers(
    toy_robot: Any, toy_task: Any, toy_domain: Build
) -> None:
    starts: list[np.ndarray] = []

    def spy(obs: np.ndarray) -> np.ndarray:
        starts.append(obs.copy())
        return push(obs)

    for _ in range(2):
        run(toy_robot, toy_task, toy_domain(busy=True), act=spy)
    np.testing.assert_array_equal(starts[0], starts[len(starts) // 2])
    assert len(starts) == 2 * 20


def test_another_seed_is_another_test(toy_robot: Any, toy_task: Any, toy_domain: Build) -> None:
    first = run(toy_robot, toy_task, toy_domain())
    second = run(toy_robot, toy_task, toy_domain(), test_seed=TEST_SEED + 1)
    assert first[0].episode_return != second[0].episode_return


@pytest.mark.parametrize(("num_episodes", "worlds"), [(1, 1), (7, 7), (101, 1), (150, 75)])
def test_episodes_are_spread_evenly(
    toy_robot: Any, toy_task: Any, toy_domain: Build, num_episodes: int, worlds: int
) -> None:
    seen: set[int] = set()

    def spy(obs: np.ndarray) -> np.ndarray:
        seen.add(obs.shape[0])
        return push(obs)

    records = run(toy_robot, toy_task, toy_domain(), act=spy, num_episodes=num_episodes)
    assert len(records) == num_episodes
    assert seen == {worlds}


def test_no_episode_is_refused(toy_robot: Any, toy_task: Any, toy_domain: Build) -> None:
    with pytest.raises(ConfigError, match="0 test episodes were asked for"):
        run(toy_robot, toy_task, toy_domain(), num_episodes=0)

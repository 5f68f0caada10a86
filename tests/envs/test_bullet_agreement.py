"""The Bullet locomotion family against the published package, step by step over whole episodes."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest

from simreal.core.robot import Robot
from simreal.domains import SimVecEnv
from simreal_envs import robots
from simreal_envs.domains import domain
from simreal_envs.tasks import bullet_locomotion as tasks

pytest.importorskip("pybullet")
published = pytest.importorskip("pybullet_envs_gymnasium")

FAMILY: dict[str, tuple[Callable[[], Robot], type[tasks.BulletLocomotion], str]] = {
    "hopper": (robots.hopper, tasks.HopperBullet, "HopperBulletEnv-v0"),
    "walker2d": (robots.walker2d, tasks.Walker2DBullet, "Walker2DBulletEnv-v0"),
    "half_cheetah": (robots.half_cheetah, tasks.HalfCheetahBullet, "HalfCheetahBulletEnv-v0"),
    "ant": (robots.ant, tasks.AntBullet, "AntBulletEnv-v0"),
}
STEPS = 1000


def starting(task: type[tasks.BulletLocomotion]) -> Any:
    """Return a task whose driven joints begin where `start` says."""

    class Starting(task):  # type: ignore[misc, valid-type]
        start = np.zeros(0)

        def initial(self, xp: Any, draws: Any, explore: float) -> tuple[Any, Any]:
            position, velocity = super().initial(xp, draws, explore)
            if self.start.size:
                position[:, -self.start.size :] = self.start
            return position, velocity

    return Starting()


class Pair:
    """Run the published environment and ours from the same states."""

    def __init__(self, name: str, num_worlds: int = 1) -> None:
        robot, task, reference = FAMILY[name]
        self.theirs: Any = gymnasium.make(reference).unwrapped
        self.theirs.reset(seed=1)  # its first reset leaves the ground out of the robot's parts
        self.task = starting(task)
        self.ours = SimVecEnv(robot(), self.task, domain("pybullet_published"), num_worlds)
        self.num_actions = self.ours.action_map.dim

    def begin(self) -> tuple[np.ndarray, np.ndarray]:
        wanted, _ = self.theirs.reset()
        self.task.start = np.array([j.get_position() for j in self.theirs.robot.ordered_joints])
        return wanted, self.ours.reset()

    def close(self) -> None:
        self.theirs.close()
        self.ours.close()


@pytest.fixture(params=FAMILY)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(request.param)
    yield made
    made.close()


def sines(rng: np.random.Generator, num: int) -> np.ndarray:
    """Return sinusoidal actions of different pace per joint (steps, num)."""
    pace, phase, size = rng.uniform(0.05, 0.6, num), rng.uniform(0, 6, num), rng.uniform(0.2, 1.0)
    return size * np.sin(np.arange(STEPS)[:, None] * pace + phase)


def noise(rng: np.random.Generator, num: int) -> np.ndarray:
    return rng.uniform(-1, 1, (STEPS, num))


def episode(pair: Pair, actions: np.ndarray, *, beyond: bool = False) -> int:
    """Compare one episode, or 1000 steps whatever happens, and return its length."""
    wanted, found = pair.begin()
    np.testing.assert_allclose(found[0], wanted, rtol=0, atol=1e-6)
    for step, action in enumerate(actions):
        wanted, reward, done, *_ = pair.theirs.step(action)
        result = pair.ours.step(action[None], autoreset=False)
        np.testing.assert_allclose(result.final_obs[0], wanted, rtol=0, atol=1e-6)
        assert result.reward[0] == pytest.approx(reward, abs=1e-6)
        assert bool(result.terminated[0]) == done
        if done and not beyond:
            return step + 1
    return len(actions)


@pytest.mark.parametrize("pattern", [noise, sines])
def test_whole_episodes_agree(pair: Pair, pattern: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    steps = 0
    while steps < 50:  # those who fall, fall within a dozen or two
        steps += episode(pair, pattern(rng, pair.num_actions))


def test_what_comes_after_a_fall_agrees_too(pair: Pair) -> None:
    # On the ground there are most contacts, and pitch passes a quarter turn.
    actions = sines(np.random.default_rng(4), pair.num_actions)
    assert episode(pair, actions, beyond=True) == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [noise, sines])
def test_many_episodes_agree(pair: Pair, pattern: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    for number in range(12):
        episode(pair, pattern(rng, pair.num_actions), beyond=number % 2 == 0)


def test_an_episode_does_not_depend_on_those_before_it() -> None:
    pair = Pair("hopper")
    rng = np.random.default_rng(2)
    actions = noise(rng, 3)[:60]
    runs = []
    for _ in range(3):
        pair.task.start = np.array([0.05, -0.08, 0.02])
        obs = [pair.ours.reset().copy()]
        obs += [pair.ours.step(a[None], autoreset=False).final_obs.copy() for a in actions]
        runs.append(np.array(obs))
        for action in noise(rng, 3)[:40]:  # some other life in between
            pair.ours.step(action[None])
    pair.close()
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])


def test_only_the_very_first_reward_of_the_published_environment_differs() -> None:
    """The package counts the ground as a part of the robot from the end of its first reset on."""
    pair = Pair("hopper")
    fresh: Any = gymnasium.make(FAMILY["hopper"][2]).unwrapped
    fresh.reset(seed=5)
    pair.task.start = np.array([j.get_position() for j in fresh.robot.ordered_joints])
    pair.ours.reset()
    actions = noise(np.random.default_rng(3), 3)[:5]
    theirs = [fresh.step(action)[1] for action in actions]
    ours = [float(pair.ours.step(a[None], autoreset=False).reward[0]) for a in actions]
    fresh.close()
    pair.close()
    assert abs(theirs[0] - ours[0]) > 1e-3
    assert ours[1:] == pytest.approx(theirs[1:], abs=1e-6)


def test_with_the_time_feature_the_limit_is_an_end_and_all_else_as_without() -> None:
    plain, timed = (
        SimVecEnv(robots.half_cheetah(), task, domain("pybullet_published"), 1, seed=0)
        for task in (tasks.HalfCheetahBullet(), tasks.HalfCheetahBullet(time_feature=True))
    )
    with closing(plain), closing(timed):
        np.testing.assert_array_equal(timed.reset()[:, :-1], plain.reset())
        rng = np.random.default_rng(0)
        for step in range(1, STEPS + 1):
            action = rng.uniform(-1, 1, (1, 6))
            wanted, found = plain.step(action), timed.step(action)
            np.testing.assert_array_equal(found.final_obs[:, :-1], wanted.final_obs)
            np.testing.assert_array_equal(found.reward, wanted.reward)
            assert found.final_obs[0, -1] == pytest.approx(1 - step / STEPS, abs=1e-6)
            assert (wanted.terminated[0], found.truncated[0]) == (False, False)
            assert wanted.truncated[0] == found.terminated[0] == (step == STEPS)

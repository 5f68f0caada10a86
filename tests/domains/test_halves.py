"""A batch in two halves meets what one batch meets, and both halves are under way."""

from typing import Any

import numpy as np
import pytest

from simreal.domains import Domain, SimVecEnv
from simreal.domains.halves import HalvesVecEnv
from simreal.errors import ConfigError
from simreal_envs.robots import double_pendulum
from simreal_envs.tasks.double_pendulum import Pendubot
from tests.domains.test_vec_env import NOISY

N = 5


def arguments(engine: str = "mujoco") -> tuple[Any, ...]:
    parts = {**NOISY, "dynamics": {"armature": {"*": 0.0}}} if engine == "pybullet" else NOISY
    return double_pendulum(), Pendubot(), Domain(name="d", engine=engine, **parts), N


def follow(steps: np.ndarray) -> Any:
    """Act by a tape (T, N, 1); every half has a place of its own in it."""
    place = {0: 0, N // 2: 0}

    def act(rows: slice, obs: np.ndarray) -> np.ndarray:
        place[rows.start] += 1
        return steps[place[rows.start] - 1, rows]

    return act


@pytest.mark.parametrize(("engine", "workers"), [("mujoco", 1), ("pybullet", 2)])
def test_both_halves_see_what_one_batch_sees(engine: str, workers: int) -> None:
    tape = np.random.default_rng(3).uniform(-1.0, 1.0, (520, N, 1))
    whole = SimVecEnv(*arguments(engine), seed=4, training=True)
    parts = HalvesVecEnv(*arguments(engine), seed=4, training=True, workers=workers)
    try:
        np.testing.assert_array_equal(parts.reset(4), whole.reset(4))
        found: dict[int, list[Any]] = {0: [], N // 2: []}
        for rows, result in parts.alternate(follow(tape), len(tape)):
            held = (result.obs.copy(), result.reward.copy(), result.truncated.copy())
            found[rows.start].append((*held, result.episodes))
        for step, actions in enumerate(tape):
            wanted = whole.step(actions)
            low, high = (found[start][step] for start in (0, N // 2))
            for one, (a, b) in zip(wanted[:2], zip(low[:2], high[:2], strict=True), strict=False):
                np.testing.assert_allclose(np.concatenate([a, b]), one, rtol=1e-5, atol=1e-6)
            assert [e.world for e in low[3] + high[3]] == [e.world for e in wanted.episodes]
    finally:
        whole.close()
        parts.close()


def test_who_stops_early_leaves_nothing_under_way() -> None:
    parts = HalvesVecEnv(*arguments(), seed=1)
    parts.reset(1)
    tape = np.zeros((10, N, 1))
    for count, _ in enumerate(parts.alternate(follow(tape), 10)):
        if count == 2:
            break
    assert not any(env.under_way for env in parts.halves)
    assert len(list(parts.alternate(follow(tape), 3))) == 6
    parts.close()


def test_one_world_has_no_halves() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        HalvesVecEnv(*arguments()[:3], 1)

"""The Bullet locomotion family on the engines that build it from the table."""

from typing import Any

import numpy as np
import pytest

from simreal.engines import EngineSpec, make_engine
from simreal_envs import robots

pytest.importorskip("mujoco")

TICK_S, TICKS = 0.0165 / 4, 4
NAMES = ("hopper", "walker2d", "half_cheetah", "ant")


def driven(engine: str, name: str, steps: int = 3) -> Any:
    """Return the state after some control steps from the default pose, feet in the air."""
    robot = getattr(robots, name)()
    made = make_engine(
        engine,
        EngineSpec(robot=robot, num_worlds=1, tick_s=TICK_S, ticks=TICKS, fixed={"gravity": 9.8}),
    )
    state = made.new_state()
    command = np.linspace(-9.0, 5.0, robot.num_actuators)
    for _ in range(steps):
        made.step(np.broadcast_to(command, (TICKS, 1, robot.num_actuators)))
    made.read(state)
    made.close()
    return state


@pytest.mark.parametrize("name", NAMES)
def test_warp_and_mujoco_move_them_alike(name: str) -> None:
    pytest.importorskip("mujoco_warp")
    one, other = driven("mujoco", name), driven("warp", name)
    np.testing.assert_allclose(
        np.asarray(other.joint_pos), one.joint_pos, atol=1e-5, err_msg="joints"
    )
    np.testing.assert_allclose(np.asarray(other.root_pose), one.root_pose, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_masses_that_bullet_imports_fall_alike_in_mujoco(name: str) -> None:
    pytest.importorskip("pybullet")
    # One tick in the air, no motor: what moves is set by masses, inertias and gravity alone.
    robot = getattr(robots, name)()
    found = []
    for engine in ("pybullet", "mujoco"):
        spec = EngineSpec(robot=robot, num_worlds=1, tick_s=1e-4, ticks=1, fixed={"gravity": 9.8})
        made = make_engine(engine, spec)
        pose = np.array([[0.5 * (j.lower + j.upper) for j in robot.movable]])
        pose[~np.isfinite(pose)] = 0.3
        made.reset(np.ones(1, dtype=bool), pose, np.zeros_like(pose))
        made.step(np.zeros((1, 1, robot.num_actuators)))
        state = made.new_state()
        made.read(state)
        made.close()
        # Velocity over time is the acceleration.
        found.append(np.concatenate([state.joint_vel[0], state.root_vel[0]]) / 1e-4)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-3)

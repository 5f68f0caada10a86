"""What `gymnasium.make` builds for the ids of this package."""

from collections.abc import Callable

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains.gym_env import SimEnv
from simreal.errors import unknown_name
from simreal_envs import robots
from simreal_envs.domains import domain as named_domain
from simreal_envs.tasks.acrobot import Acrobot
from simreal_envs.tasks.bullet_locomotion import (
    AntBullet,
    HalfCheetahBullet,
    HopperBullet,
    Walker2DBullet,
)
from simreal_envs.tasks.double_pendulum import Pendubot
from simreal_envs.tasks.pendulum import PendulumSwingUp

_MAKERS: tuple[tuple[Callable[[], Task], str], ...] = (
    (PendulumSwingUp, "simple_pendulum"),
    (Pendubot, "double_pendulum"),
    (Acrobot, "double_pendulum"),
    (HopperBullet, "hopper"),
    (Walker2DBullet, "walker2d"),
    (HalfCheetahBullet, "half_cheetah"),
    (AntBullet, "ant"),
)
_TASKS = {str(getattr(task, "name", "")): (task, robot) for task, robot in _MAKERS}


def make_env(
    task: str,
    domain: str,
    *,
    seed: int | None = None,
    training: bool = False,
    render_mode: str | None = None,
) -> SimEnv:
    """Build a single environment.

    Args:
        task: `pendulum`, `pendubot`, `acrobot`, `hopper`, `walker2d`, `half_cheetah`
            or `ant`.
        domain: `pybullet_ideal` or `mujoco_real`; for the last four `pybullet_published` or
            `mujoco_published`.
        seed: Seed until `reset(seed=...)` gives another; drawn by the system if None.
        training: Whether some episodes begin at random states, and all are cut as in training.
        render_mode: None or `rgb_array`.

    Raises:
        UnknownNameError: There is no such task, domain or render mode.
    """
    if task not in _TASKS:
        raise unknown_name("task", task, _TASKS)
    made, robot_name = _TASKS[task]
    robot: Robot = getattr(robots, robot_name)()
    return SimEnv(
        robot,
        made(),
        named_domain(domain),
        seed=seed,
        training=training,
        render_mode=render_mode,
    )

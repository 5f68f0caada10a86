"""What `gymnasium.make` builds for the ids of this package."""

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains.gym_env import SimEnv
from simreal.errors import unknown_name
from simreal_envs.domains import domain as named_domain
from simreal_envs.robots import double_pendulum, simple_pendulum
from simreal_envs.tasks.double_pendulum import Acrobot, Pendubot
from simreal_envs.tasks.pendulum import PendulumSwingUp

_TASKS: dict[str, type[Task]] = {task.name: task for task in (PendulumSwingUp, Pendubot, Acrobot)}


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
        task: `pendulum`, `pendubot` or `acrobot`.
        domain: `pybullet_ideal` or `mujoco_real`.
        seed: Seed until `reset(seed=...)` gives another; drawn by the system if None.
        training: Whether some episodes begin at random states, and all are cut as in training.
        render_mode: None or `rgb_array`.

    Raises:
        UnknownNameError: There is no such task, domain or render mode.
    """
    if task not in _TASKS:
        raise unknown_name("task", task, _TASKS)
    return SimEnv(
        _robot(task),
        _TASKS[task](),
        named_domain(domain),
        seed=seed,
        training=training,
        render_mode=render_mode,
    )


def _robot(task: str) -> Robot:
    return simple_pendulum() if task == "pendulum" else double_pendulum()

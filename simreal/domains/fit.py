"""Whether a robot and a task fit together, asked once before the first step.

A task is somebody's Python file. A reward that returns a term too few would be broadcast into
numbers that look like a reward, so its functions are called once on one state and their shapes
compared with what the task declares.
"""

from typing import Any

import numpy as np

from simreal.core.arrays import NUMPY
from simreal.core.robot import Robot
from simreal.core.state import State
from simreal.core.task import Task
from simreal.errors import ConfigError


def check_robot(task: Task, robot: Robot) -> None:
    """Check that a task is written for a robot.

    Args:
        task: The task.
        robot: The robot.

    Raises:
        ConfigError: It is written for other robots.
    """
    if task.robot_names and robot.name not in task.robot_names:
        raise ConfigError(
            f"task '{task.name}' is written for robot {', '.join(task.robot_names)}, "
            f"got '{robot.name}'; choose one of them or write a task for this robot"
        )


def check_task(task: Task, state: State, num_actions: int) -> None:
    """Check what a task's functions return.

    Args:
        task: The task.
        state: Any state of N worlds.
        num_actions: Entries of an action.

    Raises:
        ConfigError: A shape or a number of terms is not what the task declares.
    """
    worlds, joints = state.num_worlds, state.num_joints
    action = np.zeros((worlds, num_actions))
    terms = task.reward(NUMPY, state, state, action, action)
    if len(terms) != len(task.reward_names):
        raise ConfigError(
            f"task '{task.name}': reward returns {len(terms)} terms, reward_names has "
            f"{len(task.reward_names)} ({', '.join(task.reward_names)}); give every term a name"
        )
    for name, term in zip(task.reward_names, terms, strict=True):
        _check_shape(task, f"reward term '{name}'", term, (worlds,))
    _check_shape(task, "success", task.success(NUMPY, state), (worlds,))
    draws = np.full((worlds, task.num_draws), 0.5)
    for what, part in zip(
        ("joint positions", "joint velocities"), task.initial(NUMPY, draws, 0.0), strict=True
    ):
        _check_shape(task, f"initial {what}", part, (worlds, joints))
    _check_window(task)


def _check_shape(task: Task, what: str, value: Any, wanted: tuple[int, ...]) -> None:
    if np.shape(value) != wanted:
        raise ConfigError(
            f"task '{task.name}': {what} has shape {np.shape(value)}; {wanted} is needed, "
            "one row per world"
        )


def _check_window(task: Task) -> None:
    first, last = task.success_window_s
    if not (0.0 <= first <= last <= task.episode_s and last > 0.0):
        raise ConfigError(
            f"task '{task.name}': success_window_s is ({first}, {last}); a time from and a time to "
            f"within the {task.episode_s} s of an episode are needed, the second one above 0"
        )

"""A simulated robot behind the controller's interface, in simulated time.

What a controller sees of it is what it would see of hardware: raw signals with noise and delay,
commands by joint name, and a clock. Time passes only while the controller sleeps, so a run is exact
and quick.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from simreal.core.closing import Closing
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import Command, Signals
from simreal.domains.domain import Domain
from simreal.domains.vec_env import SimVecEnv


class SimulatedRobot(Closing):
    """Stand for the robot of a domain; see `simreal.deploy.RobotIO`."""

    def __init__(self, robot: Robot, task: Task, domain: Domain, *, seed: int = 0) -> None:
        """Build the world and put it at the start of the task.

        Args:
            robot: The robot.
            task: The task, for its initial state and timing.
            domain: Engine, dynamics, sensing and actuation.
            seed: Seed of initial state and noise.
        """
        self._robot, self._task = robot, task
        self._env = SimVecEnv(robot, task, domain, 1, seed=seed)
        self._env.reset(seed)
        self._action = np.zeros((1, self._env.action_map.dim))
        self._time = 0.0
        self._steps = 0
        self._good: list[bool] = []

    @property
    def interface(self) -> Mapping[str, Any]:
        """Return names, order, axes, limits and units."""
        return self._robot.interface

    def read(self) -> Signals:
        """Return the newest measurement."""
        values = {name: value[0].copy() for name, value in self._env.signals.items()}
        return Signals(time_s=self._steps * self._task.control_period_s, values=values)

    def write(self, command: Command) -> None:
        """Take a command, which acts until the next one.

        Args:
            command: The command; actuators without an action are ignored.
        """
        action_map = self._env.action_map
        for index, joint in enumerate(action_map.joints):
            raw = command.values[joint] - action_map.offset[index]
            self._action[0, index] = raw / action_map.scale[index]

    def clock(self) -> float:
        """Return the simulated time [s]."""
        return self._time

    def sleep(self, duration_s: float) -> None:
        """Let simulated time pass.

        Args:
            duration_s: How long [s].
        """
        period = self._task.control_period_s
        self._time += duration_s
        while (self._steps + 1) * period <= self._time + 1e-9:
            self._env.step(self._action, autoreset=False)
            self._steps += 1
            self._good.append(bool(self._task.success(np, self._env.truth)[0]))

    def held_success(self, window_s: tuple[float, float]) -> bool:
        """Return whether the success test held at every step of a window so far.

        Args:
            window_s: From when to when [s].
        """
        period = self._task.control_period_s
        first, last = round(window_s[0] / period), round(window_s[1] / period)
        # The controller's last command acts until the step before the window's end.
        seen = self._good[max(first - 1, 0) : last]
        return len(seen) >= last - max(first, 1) and all(seen)

    def close(self) -> None:
        """Release the world."""
        self._env.close()

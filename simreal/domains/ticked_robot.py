"""A simulated robot that is advanced tick by tick and takes commands for every actuator.

What a policy sees of a domain comes once per control period. A robot has no control period: its
motors take what stands at each tick of its own loop, its sensors are read at each, and it damps its
joints by itself when nobody commands it. So the same domain is built with one control step per
physics tick, and all actuators open.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from simreal.core.action import ActionTerm
from simreal.core.closing import Closing
from simreal.core.observation import Term
from simreal.core.robot import Actuator, Robot
from simreal.core.task import Array, StateView, Task
from simreal.deploy import Mode
from simreal.domains.domain import Domain
from simreal.domains.vec_env import SimVecEnv, signal_names
from simreal.errors import ConfigError

_ENDLESS_S = 1e6
_FAR_RAD = 1e4  # where a position-driven joint has no limits


class TickedRobot(Closing):
    """Stand for the robot of a domain, one physics tick at a time.

    Attributes:
        interface: What it is, see `simreal.core.robot.Robot.interface`.
        tick_s: Length of a tick [s].
        actuators: Driven joints (A).
    """

    def __init__(
        self, robot: Robot, task: Task, domain: Domain, *, seed: int = 0, damping: float = 0.1
    ) -> None:
        """Build the world and put it at the start of the task.

        Args:
            robot: The robot.
            task: The task, for its world, initial state and success.
            domain: Engine, dynamics, sensing and actuation. Noise and delays act per tick.
            seed: Seed of initial state and noise.
            damping: Torque per joint speed with which torque-driven joints damp themselves
                [Nm s/rad].

        Raises:
            ConfigError: The damping is negative.
        """
        if not damping >= 0:
            raise ConfigError(f"damping: got {damping}; a number >= 0 Nm s/rad is needed")
        self.interface: Mapping[str, Any] = robot.interface
        self.tick_s = task.tick_s
        self.actuators = tuple(actuator.joint for actuator in robot.actuators)
        self._task, self._damping = task, damping
        self._names = signal_names(robot, task)
        self._torque = np.array([actuator.kind == "torque" for actuator in robot.actuators])
        self._joints = np.array(robot.actuated_indices)
        self._env = SimVecEnv(robot, _TickTask(task), domain, 1, seed=seed)
        self._env.reset(seed)
        action_map = self._env.action_map
        self._scale, self._offset = action_map.scale, action_map.offset
        self._command = np.zeros(len(self.actuators))
        self.release()

    @property
    def signals(self) -> dict[str, tuple[str, ...]]:
        """Return the raw signals that `measure` gives, with the names of their elements."""
        return {name: self._names[name] for name in self._env.signals}

    @property
    def succeeds(self) -> bool:
        """Return whether the task's success test holds now."""
        return bool(self._task.success(np, self._env.truth)[0])

    def measure(self) -> dict[str, np.ndarray]:
        """Return what the sensors gave at the end of the last tick, signal name to (k,)."""
        return {name: value[0].copy() for name, value in self._env.signals.items()}

    def obey(self, mode: Mode, values: Mapping[str, float]) -> None:
        """Set what acts during the next tick.

        Args:
            mode: What to do.
            values: Joint to command [Nm, N, rad or m]; not looked at where the robot damps.
        """
        if mode is Mode.DAMP:
            self.release()
            return
        self._command[:] = [values[joint] for joint in self.actuators]
        if mode is Mode.HOLD:
            self._command[self._torque] = self._braking()[self._torque]

    def release(self) -> None:
        """Let the robot damp its joints: brake by torque, and let go of held positions."""
        position = self._env.truth.joint_pos[0, self._joints]
        self._command[:] = np.where(self._torque, self._braking(), position)

    def tick(self) -> None:
        """Advance by one physics tick."""
        action = (self._command - self._offset) / self._scale
        self._env.step(action[None, :], autoreset=False)

    def close(self) -> None:
        """Release the world."""
        self._env.close()

    def _braking(self) -> np.ndarray:
        """Return the torque against the motion of each driven joint (A)."""
        speed: np.ndarray = self._env.truth.joint_vel[0, self._joints]
        return -self._damping * speed


class _TickTask(Task):
    """Be the world of a task with one control step per tick, and every actuator open."""

    reward_names = ("none",)
    episode_s = _ENDLESS_S

    def __init__(self, task: Task) -> None:
        self._inner = task
        self.name = task.name
        self.control_period_s = self.tick_s = task.tick_s
        for name in (
            "num_draws",
            "bodies",
            "contacts",
            "ground",
            "robot_names",
            "success_window_s",
        ):
            setattr(self, name, getattr(task, name))

    def observation(self, robot: Robot) -> tuple[Term, ...]:
        """Return one term; nobody reads it."""
        return (Term(name="joint_pos", source="joint_pos", elements=robot.joint_names),)

    def action(self, robot: Robot) -> tuple[ActionTerm, ...]:
        """Return every actuator, over the whole of its range."""
        return tuple(_whole_range(robot, actuator) for actuator in robot.actuators)

    def reward(
        self,
        xp: Any,
        previous: StateView,
        current: StateView,
        action: Array,
        previous_action: Array,
    ) -> tuple[Array, ...]:
        """Return zero."""
        return (0.0 * current.time,)

    def success(self, xp: Any, state: StateView) -> Array:
        """Return what the task says (N,), bool."""
        return self._inner.success(xp, state)

    def initial(self, xp: Any, draws: Array, explore: float) -> tuple[Array, Array]:
        """Return the initial states of the task."""
        return self._inner.initial(xp, draws, explore)


def _whole_range(robot: Robot, actuator: Actuator) -> ActionTerm:
    if actuator.kind == "torque":
        return ActionTerm(joint=actuator.joint, scale=actuator.torque_limit)
    joint = robot.joint(actuator.joint)
    lower, upper = max(joint.lower, -_FAR_RAD), min(joint.upper, _FAR_RAD)
    return ActionTerm(
        joint=actuator.joint, scale=0.5 * (upper - lower), offset=0.5 * (upper + lower)
    )

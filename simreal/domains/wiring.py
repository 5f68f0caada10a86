"""What lies between policy and physics: sensors and command line, with their present parameters.

Their parameters may be randomized like any other; whoever changes them then says `configure`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from simreal.core.action import ActionMap
from simreal.core.params import ENCODER_OFFSET, ParamSpec
from simreal.core.robot import Robot
from simreal.core.state import State
from simreal.core.task import Task
from simreal.domains.actuators import CommandLine
from simreal.domains.randomization import Sampler
from simreal.domains.sensors import Sensors
from simreal.errors import ParameterError


def wired_names(specs: Mapping[str, ParamSpec]) -> tuple[str, ...]:
    """Return the parameters that sensors and command line have, not the engine.

    Args:
        specs: The robot's catalogue.
    """
    return tuple(name for name, spec in specs.items() if spec.owner != "engine")


def offset_names(robot: Robot) -> tuple[str, ...]:
    """Return the parameter that is the encoder's offset of each joint (J)."""
    return tuple(f"{ENCODER_OFFSET}.{joint.name}" for joint in robot.movable)


class Wiring:
    """Hold sensors and command line of N worlds.

    Attributes:
        values: Present parameters, name to (N,).
        sensors: The sensors.
        line: The command line.
    """

    def __init__(
        self,
        robot: Robot,
        task: Task,
        action_map: ActionMap,
        layout: State,
        sampler: Sampler,
        fixed: Mapping[str, Any],
    ) -> None:
        """Allocate buffers that are deep enough for every delay that can be drawn.

        Args:
            robot: The robot.
            task: The task, for its timing.
            action_map: What actions mean.
            layout: A state whose layout measurements share.
            sampler: What is randomized.
            fixed: The domain's parameters.

        Raises:
            ParameterError: Torque noise is asked for where commands are positions.
        """
        num_worlds, names = layout.num_worlds, wired_names(sampler.specs)
        fixed = {name: fixed.get(name, sampler.specs[name].nominal[0]) for name in names}
        self.values: dict[str, np.ndarray] = {
            name: np.full(num_worlds, float(fixed[name])) for name in names
        }
        self._offsets = offset_names(robot)
        self._kept = [n for n in names if n in sampler.rules or n not in self._offsets]
        self.randomized = any(name in sampler.rules for name in names)
        high = {name: _highest(name, sampler, fixed) for name in names}
        _check_noise(robot, action_map, high["torque_noise"])
        self.line = CommandLine(
            num_worlds,
            action_map.idle,
            action_map.index,
            ticks=task.ticks,
            tick_s=task.tick_s,
            max_delay_s=high["command_delay"],
            seed=sampler.seed,
            first_world=sampler.first_world,
        )
        self.sensors = Sensors(
            layout,
            ticks=task.ticks,
            tick_s=task.tick_s,
            max_delay_s=high["measurement_delay"],
            seed=sampler.seed,
            first_world=sampler.first_world,
        )
        self.configure()

    def take(self, name: str, drawn: np.ndarray, mask: np.ndarray) -> None:
        """Take over new values of one parameter in some worlds; `configure` makes them act.

        Args:
            name: Parameter.
            drawn: Values of all worlds (N,).
            mask: Worlds (N,), bool.
        """
        self.values[name][mask] = drawn[mask]

    def configure(self) -> None:
        """Let sensors and command line act by the present values."""
        self.line.configure(self.values["command_delay"], self.values["torque_noise"])
        offsets = np.stack([self.values[name] for name in self._offsets], axis=1)
        bias = self.values["joint_pos_bias"][:, None] + offsets
        self.sensors.configure({**self.values, "joint_pos_bias": bias})

    def reseed(self, seed: int) -> None:
        """Go on with the noise of another seed."""
        self.line.reseed(seed)
        self.sensors.reseed(seed)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that a checkpoint needs."""
        return {
            **{name: self.values[name] for name in self._kept},
            "commands": self.line.ring,
            "samples": self.sensors.ring,
            "measured": self.sensors.measured.buffer,
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restore what `arrays` returned."""
        for name, own in self.arrays().items():
            own[...] = arrays[name]
        self.configure()


def _highest(name: str, sampler: Sampler, fixed: Mapping[str, Any]) -> float:
    drawn = sampler.reach(name)[1] if name in sampler.rules else 0.0
    return max(float(fixed[name]), drawn)


def _check_noise(robot: Robot, action_map: ActionMap, noise: float) -> None:
    kinds = {actuator.joint: actuator.kind for actuator in robot.actuators}
    placed = [joint for joint in action_map.joints if kinds[joint] == "position"]
    if noise > 0 and placed:
        raise ParameterError(
            f"torque_noise is {noise:.6g} Nm, but the commands of {', '.join(placed)} are "
            "positions; set it to 0"
        )

"""A domain: in which engine, with which dynamics, sensors and actuators, a task lives.

One class in two roles. As the source domain it is where a policy is pretrained, as the target domain it
stands for the robot. It is a frozen specification; `SimVecEnv` is its only runtime.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simreal.core.params import ParamSpec, catalogue, flatten, select
from simreal.core.robot import Robot
from simreal.domains.randomization import Randomization
from simreal.errors import ParameterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensing:
    """Say how raw signals are corrupted before the observation sees them.

    Attributes:
        joint_pos_noise: Standard deviation of white noise on joint positions [rad].
        joint_vel_noise: Standard deviation of white noise on joint velocities [rad/s].
        joint_pos_bias: Constant offset of every encoder [rad].
        joint_pos_resolution: Encoder step [rad]; 0 is none.
        measurement_delay: Age of a measurement when the policy uses it [s], rounded to a physics tick.
        dropout: Chance that a control step repeats the last measurement.
    """

    joint_pos_noise: float = 0.0
    joint_vel_noise: float = 0.0
    joint_pos_bias: float = 0.0
    joint_pos_resolution: float = 0.0
    measurement_delay: float = 0.0
    dropout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuation:
    """Say what happens to a command on its way to the motor.

    Attributes:
        command_delay: Time from the measurement a command is computed from to its effect [s]. A tick in
            which the switch falls gets the two commands' mean, weighted by time.
        torque_noise: Standard deviation of white noise on each command, per control step [Nm].
    """

    command_delay: float = 0.0
    torque_noise: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Specify a domain.

    Attributes:
        name: Identifier, used in tables.
        engine: Engine name.
        dynamics: Dynamics parameters that differ from the robot's nominal values, nested
            (`{"joint_friction": {"elbow": 0.1}}`) or flat; `kind: {"*": value}` sets all of a kind.
        sensing: Sensor model.
        actuation: Actuator model.
        randomization: What is drawn per world or episode.
        scale_inertia: Whether a changed mass scales the inertia.
        options: Options of the engine.
    """

    name: str
    engine: str
    dynamics: Mapping[str, Any] = field(default_factory=dict)
    sensing: Sensing = field(default_factory=Sensing)
    actuation: Actuation = field(default_factory=Actuation)
    randomization: Randomization = field(default_factory=Randomization)
    scale_inertia: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def fixed(self, robot: Robot) -> dict[str, Any]:
        """Return every parameter this domain fixes, by full name, checked.

        Args:
            robot: The robot.

        Raises:
            ParameterError: A name matches nothing or a value is out of bounds.
        """
        specs = catalogue(robot)
        values: dict[str, Any] = {}
        flat = sorted(flatten(self.dynamics).items(), key=lambda item: not item[0].endswith(".*"))
        for pattern, value in flat:
            for spec in select(specs, pattern):
                values[spec.name] = _checked(spec, value)
        for part in (self.sensing, self.actuation):
            for name in part.__dataclass_fields__:
                spec = specs[name]
                if name in values:
                    raise ParameterError(f"'{name}' is set both under dynamics and under {type(part).__name__}")
                values[name] = _checked(spec, getattr(part, name))
        return values


def _checked(spec: ParamSpec, value: Any) -> Any:
    if isinstance(value, str) or value is None:
        raise ParameterError(f"{spec.name}: got {value!r}; a number in {spec.unit} is needed")
    array = spec.check(value)
    if array.size != spec.size:
        raise ParameterError(f"{spec.name}: got {array.size} numbers; {spec.size} needed")
    return float(array.reshape(-1)[0]) if spec.size == 1 else tuple(float(v) for v in array)

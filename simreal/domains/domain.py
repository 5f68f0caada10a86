"""A domain: in which engine, with which dynamics, sensors and actuators, a task lives.

One class in two roles. As the source domain it is where a policy is pretrained, as the target
domain it stands for the robot. It is a frozen specification; `SimVecEnv` is its only runtime.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simreal.core.params import ParamSpec, catalogue, flatten, select, world_specs
from simreal.core.robot import Robot
from simreal.domains.randomization import Randomization
from simreal.errors import ConfigError, ParameterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensing:
    """Say how raw signals are corrupted before the observation sees them.

    Attributes:
        joint_pos_noise: Standard deviation of white noise on joint positions [rad].
        joint_vel_noise: Standard deviation of white noise on joint velocities [rad/s].
        joint_pos_bias: Constant offset of every encoder [rad].
        joint_pos_resolution: Encoder step [rad]; 0 is none.
        measurement_delay: Age of a measurement when the policy uses it [s], rounded to a physics
            tick.
        dropout: Chance that a control step repeats the last measurement.
    """

    joint_pos_noise: float = 0.0
    joint_vel_noise: float = 0.0
    joint_pos_bias: float = 0.0
    joint_pos_resolution: float = 0.0
    measurement_delay: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
            ParameterError: One is not a number or out of its bounds.
        """
        _check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuation:
    """Say what happens to a command on its way to the motor.

    Attributes:
        command_delay: Time from the measurement a command is computed from to its effect [s]. A
            tick in which the switch falls gets the two commands' mean, weighted by time.
        torque_noise: Standard deviation of white noise on the torque of every driven joint, per
            control step [Nm].
    """

    command_delay: float = 0.0
    torque_noise: float = 0.0

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
            ParameterError: One is not a number or out of its bounds.
        """
        _check_fields(self)


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

    def __post_init__(self) -> None:
        """Check the type of every part.

        Raises:
            ConfigError: A part is of another type, or the name is empty.
        """
        for name, kind in _PARTS.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ConfigError(
                    f"domain '{self.name}': {name} is {value!r}; {_article(kind)} is needed"
                )
        if not self.name:
            raise ConfigError("a domain has an empty name; tables and logs call it by its name")

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
        for group, part in (("sensing", self.sensing), ("actuation", self.actuation)):
            for name in part.__dataclass_fields__:
                if name in values:
                    raise ParameterError(
                        f"domain '{self.name}': '{name}' is set under dynamics; "
                        f"set it under {group}"
                    )
                values[name] = _checked(specs[name], getattr(part, name))
        return values


_PARTS: dict[str, type] = {
    "name": str,
    "engine": str,
    "dynamics": Mapping,
    "sensing": Sensing,
    "actuation": Actuation,
    "randomization": Randomization,
    "scale_inertia": bool,
    "options": Mapping,
}


def _article(kind: type) -> str:
    known = {str: "a text", bool: "true or false", Mapping: "a mapping"}
    return known.get(kind, f"a {kind.__name__}")


def _check_fields(part: Sensing | Actuation) -> None:
    specs = world_specs()
    for name in part.__dataclass_fields__:
        _checked(specs[name], getattr(part, name))


def _checked(spec: ParamSpec, value: Any) -> Any:
    array = spec.check(value)
    if array.size != spec.size:
        raise ParameterError(f"{spec.name}: got {array.size} numbers; {spec.size} needed")
    return float(array.reshape(-1)[0]) if spec.size == 1 else tuple(float(v) for v in array)

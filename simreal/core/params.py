"""Named dynamics parameters: what can be changed about a world, in which unit, within which bounds.

A parameter is named `kind.target` (`mass.upper_link`, `joint_friction.elbow`) or just `kind` where
there is one per world (`gravity`, `command_delay`). The catalogue of a robot lists every one with
its nominal value; an engine says which of them it can apply, and asking for another raises when a
world is built.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simreal.core.robot import Actuator, Joint, Link, Robot
from simreal.errors import ParameterError, nearest

Owner = Literal["engine", "actuation", "sensing"]
ENCODER_OFFSET = "encoder_offset"
"""Kind of the offset of one joint's encoder; `joint_pos_bias` adds to all of them."""


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """Describe one dynamics parameter of one robot.

    Attributes:
        name: `kind.target`, or `kind`.
        unit: SI unit.
        nominal: Nominal value (k).
        low: Hard lower bound, inclusive.
        high: Hard upper bound, inclusive.
        owner: Who applies it: the engine, or the kit's actuation or sensing model.
        meaning: One line for people.
    """

    name: str
    unit: str
    nominal: tuple[float, ...]
    low: float
    high: float
    owner: Owner
    meaning: str

    @property
    def kind(self) -> str:
        """Return the part of the name before the first dot."""
        return self.name.partition(".")[0]

    @property
    def target(self) -> str:
        """Return the part of the name after the first dot, or an empty string."""
        return self.name.partition(".")[2]

    @property
    def size(self) -> int:
        """Return the number of values k."""
        return len(self.nominal)

    def check(self, values: Any) -> np.ndarray:
        """Return the values as an array after checking shape, finiteness and bounds.

        Args:
            values: Scalar, (k,), (N,) for k = 1, or (N, k).

        Returns:
            float64 array of the same shape.

        Raises:
            ParameterError: Something is out of bounds or not finite.
        """
        array = _numbers(self, values)
        if not np.all(np.isfinite(array)):
            raise ParameterError(f"{self.name}: {array[~np.isfinite(array)][0]} is not finite")
        bad = (array < self.low) | (array > self.high)
        if np.any(bad):
            raise ParameterError(
                f"{self.name}: {float(array[bad].flat[0]):.6g} {self.unit} is outside "
                f"[{self.low:.6g}, {self.high:.6g}] {self.unit}"
            )
        return array


# kind: (unit, low, high, meaning)
_LINK_KINDS: dict[str, tuple[str, float, float, str, Callable[[Link], tuple[float, ...]]]] = {
    "mass": (
        "kg",
        1e-6,
        1e5,
        "mass; scales the inertia unless that is set too",
        lambda k: (k.mass,),
    ),
    "com": ("m", -10.0, 10.0, "center of mass in the link frame", lambda k: tuple(k.com)),
    "inertia": (
        "kg m^2",
        1e-9,
        1e5,
        "diagonal of the inertia about the center of mass, link axes",
        lambda k: tuple(k.inertia[:3]),
    ),
    "contact_friction": (
        "1",
        0.0,
        10.0,
        "lateral friction coefficient",
        lambda k: (k.contact_friction,),
    ),
    "spinning_friction": ("m", 0.0, 1.0, "torsional friction", lambda k: (k.spinning_friction,)),
    "rolling_friction": ("m", 0.0, 1.0, "rolling friction", lambda k: (k.rolling_friction,)),
    "restitution": ("1", 0.0, 1.0, "coefficient of restitution", lambda k: (k.restitution,)),
}
_JOINT_KINDS: dict[str, tuple[str, float, float, str, Callable[[Joint], tuple[float, ...]]]] = {
    "joint_damping": ("Nm s/rad", 0.0, 1e3, "viscous joint friction", lambda j: (j.damping,)),
    "joint_friction": ("Nm", 0.0, 1e3, "Coulomb joint friction", lambda j: (j.friction,)),
    "armature": ("kg m^2", 0.0, 1e3, "rotor inertia seen at the joint", lambda j: (j.armature,)),
}
_ACTUATOR_KINDS: dict[
    str, tuple[str, float, float, str, Callable[[Actuator], tuple[float, ...]]]
] = {
    "motor_strength": ("1", 0.0, 10.0, "share of the torque that arrives", lambda a: (a.strength,)),
    "torque_limit": ("Nm", 0.0, 1e5, "largest torque", lambda a: (a.torque_limit,)),
    "kp": ("Nm/rad", 0.0, 1e6, "position gain", lambda a: (a.kp,)),
    "kd": ("Nm s/rad", 0.0, 1e5, "velocity gain", lambda a: (a.kd,)),
}
_WORLD_KINDS: dict[str, tuple[str, float, float, float, Owner, str]] = {
    "gravity": ("m/s^2", 9.81, 0.0, 100.0, "engine", "downward acceleration"),
    "command_delay": ("s", 0.0, 0.0, 1.0, "actuation", "age of a command when it acts"),
    "measurement_delay": ("s", 0.0, 0.0, 1.0, "sensing", "age of a measurement when it is used"),
    "joint_pos_noise": ("rad", 0.0, 0.0, 10.0, "sensing", "standard deviation, white, per step"),
    "joint_vel_noise": ("rad/s", 0.0, 0.0, 100.0, "sensing", "standard deviation, white, per step"),
    "joint_pos_bias": ("rad", 0.0, -10.0, 10.0, "sensing", "constant offset of every encoder"),
    "joint_pos_resolution": ("rad", 0.0, 0.0, 1.0, "sensing", "encoder step; 0 is none"),
    "dropout": ("1", 0.0, 0.0, 1.0, "sensing", "chance that a step keeps the last measurement"),
    "torque_noise": ("Nm", 0.0, 0.0, 1e3, "actuation", "standard deviation, white, per step"),
}


def catalogue(robot: Robot) -> dict[str, ParamSpec]:
    """List every dynamics parameter of a robot.

    Args:
        robot: The robot.

    Returns:
        Name to specification, in a fixed order.
    """
    specs: list[ParamSpec] = []
    bodies = [k for k in robot.links[1 if robot.fixed_base else 0 :] if k.mass > 0]
    for kind, (unit, low, high, meaning, nominal) in _LINK_KINDS.items():
        specs += [
            _spec(f"{kind}.{link.name}", unit, nominal(link), low, high, meaning) for link in bodies
        ]
    for joint_kind, (unit, low, high, meaning, joint_nominal) in _JOINT_KINDS.items():
        specs += [
            _spec(f"{joint_kind}.{joint.name}", unit, joint_nominal(joint), low, high, meaning)
            for joint in robot.movable
        ]
    specs += _actuator_specs(robot)
    for joint in robot.movable:
        unit = "m" if joint.kind == "prismatic" else "rad"
        name, meaning = f"{ENCODER_OFFSET}.{joint.name}", "what the encoder reads at 0"
        specs.append(ParamSpec(name, unit, (0.0,), -10.0, 10.0, "sensing", meaning))
    for name, length in link_lengths(robot).items():
        specs.append(
            _spec(f"link_length.{name}", "m", (length,), 1e-4, 100.0, "distance to the next joint")
        )
    specs += world_specs().values()
    return {spec.name: spec for spec in specs}


def world_specs() -> dict[str, ParamSpec]:
    """Return the parameters there is one of per world, whatever the robot, by name."""
    return {
        kind: ParamSpec(kind, unit, (value,), low, high, owner, meaning)
        for kind, (unit, value, low, high, owner, meaning) in _WORLD_KINDS.items()
    }


def link_lengths(robot: Robot) -> dict[str, float]:
    """Return the distance from each link's frame to its only child joint [m].

    Links with no child joint, with several, or with one at their own origin have no length.
    """
    lengths: dict[str, float] = {}
    root = robot.links[0].name
    for link in robot.links:
        children = [j for j in robot.joints if j.parent == link.name]
        if link.name == root or len(children) != 1:
            continue
        length = math.sqrt(sum(c * c for c in children[0].xyz))
        if length > 0:
            lengths[link.name] = length
    return lengths


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn the nested form of a configuration file into `kind.target` names.

    Args:
        tree: `{"mass": {"upper": 1.0}, "gravity": 9.81}`; leaves are anything that is not a
            mapping.
        prefix: Name of the enclosing group.

    Returns:
        `{"mass.upper": 1.0, "gravity": 9.81}`.

    Raises:
        ParameterError: It is not a mapping.
    """
    if not isinstance(tree, Mapping):
        raise ParameterError(
            f"got {tree!r}; parameters are written as a mapping, for instance "
            '{"mass": {"upper_link": 1.0}, "gravity": 9.81}'
        )
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def select(specs: Mapping[str, ParamSpec], name: str) -> list[ParamSpec]:
    """Return the parameters that a name or a `kind.*` pattern means.

    Args:
        specs: The catalogue.
        name: Full name, or `kind.*` for every target of a kind.

    Raises:
        ParameterError: Nothing matches.
    """
    if name.endswith(".*"):
        found = [spec for spec in specs.values() if spec.kind == name[:-2] and spec.target]
    else:
        found = [specs[name]] if name in specs else []
    if not found:
        raise ParameterError(
            f"unknown dynamics parameter '{name}'.{nearest(name, specs)} "
            f"Known: {_summary(specs.values())}."
        )
    return found


class DynamicsParams(Mapping[str, np.ndarray]):
    """Hold the values of some parameters for N worlds.

    Scalar parameters are (N,), others (N, k); float64, checked against their bounds.
    """

    def __init__(
        self, specs: Mapping[str, ParamSpec], values: Mapping[str, Any], num_worlds: int
    ) -> None:
        """Check and broadcast the values.

        Args:
            specs: The catalogue they belong to.
            values: Name to scalar, (k,), (N,) or (N, k).
            num_worlds: N.

        Raises:
            ParameterError: A name is unknown, or a value has a wrong shape or is out of bounds.
        """
        self.num_worlds = num_worlds
        self._values: dict[str, np.ndarray] = {}
        for name, value in values.items():
            spec = select(specs, name)[0]
            array = spec.check(value)
            shape = (num_worlds,) if spec.size == 1 else (num_worlds, spec.size)
            if spec.size == 1 and array.ndim == 2 and array.shape[1] == 1:
                array = array[:, 0]
            try:
                self._values[name] = np.array(np.broadcast_to(array, shape))
            except ValueError as error:
                raise ParameterError(
                    f"{name}: got shape {array.shape}; a scalar or {shape} is needed"
                ) from error

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the values of one parameter (N,) or (N, k)."""
        return self._values[name]

    def __iter__(self) -> Any:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of parameters."""
        return len(self._values)

    def __repr__(self) -> str:
        """Show names and ranges."""
        parts = [f"{k}=[{v.min():.4g}, {v.max():.4g}]" for k, v in self._values.items()]
        return f"DynamicsParams({self.num_worlds} worlds, {', '.join(parts)})"


def _numbers(spec: ParamSpec, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "iuf":
        raise ParameterError(f"{spec.name}: got {values!r}; a number in {spec.unit} is needed")
    return array.astype(np.float64)


def _spec(
    name: str, unit: str, nominal: Iterable[float], low: float, high: float, meaning: str
) -> ParamSpec:
    return ParamSpec(name, unit, tuple(float(v) for v in nominal), low, high, "engine", meaning)


def _actuator_specs(robot: Robot) -> list[ParamSpec]:
    specs = []
    for kind, (unit, low, high, meaning, nominal) in _ACTUATOR_KINDS.items():
        for actuator in robot.actuators:
            if kind in ("kp", "kd") and actuator.kind != "position":
                continue
            name = f"{kind}.{actuator.joint}"
            specs.append(_spec(name, unit, nominal(actuator), low, high, meaning))
    return specs


def _summary(specs: Iterable[ParamSpec]) -> str:
    groups: dict[str, list[str]] = {}
    for spec in specs:
        groups.setdefault(spec.kind, []).append(spec.target)
    return ", ".join(
        f"{kind}.{{{','.join(targets)}}}" if targets[0] else kind
        for kind, targets in groups.items()
    )

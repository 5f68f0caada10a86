"""The record of a robot: the one table of links, joints and actuators every engine is brought to.

Importers of the same model file disagree about masses, inertias, armature and friction, so no
importer is trusted here. A `Robot` states the numbers; an engine builds its world from them, and
reports by name what it cannot represent. Two hashes travel with every policy: the interface (what
must match on the real robot) and the dynamics (what is meant to differ).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simreal.core.native import NativeModel
from simreal.errors import RobotError, unknown_name

Vec3 = tuple[float, float, float]
JointKind = Literal["revolute", "continuous", "prismatic", "fixed"]
ControlKind = Literal["torque", "position"]
ShapeKind = Literal["box", "cylinder", "sphere", "capsule", "mesh"]

_ZERO: Vec3 = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Describe one geometric primitive of a link.

    Attributes:
        kind: Primitive. Cylinders and capsules stand along their local z axis.
        size: Box: half extents (3) [m]; sphere: radius; cylinder and capsule: radius, length of the
            cylindrical part; mesh: uniform scale.
        xyz: Position of its center in the link frame [m].
        rpy: Fixed-axis roll, pitch, yaw in the link frame [rad].
        rgba: Color.
        collides: Whether it takes part in contacts; otherwise it is only drawn.
        mesh: Mesh file, for `kind="mesh"`.
    """

    kind: ShapeKind
    size: tuple[float, ...]
    xyz: Vec3 = _ZERO
    rpy: Vec3 = _ZERO
    rgba: tuple[float, float, float, float] = (0.6, 0.6, 0.6, 1.0)
    collides: bool = False
    mesh: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Describe one rigid body.

    Attributes:
        name: Unique name.
        mass: Mass [kg]; 0 only for a root that is fixed to the world, and for a link that does
            nothing but carry the next joint, in its own frame (two slides and a hinge, say).
        com: Center of mass in the link frame (3) [m].
        inertia: Ixx, Iyy, Izz, Ixy, Ixz, Iyz about the center of mass, link axes [kg m^2].
        shapes: Geometry.
        contact_friction: Lateral friction coefficient of its colliding shapes.
        spinning_friction: Torsional friction [m].
        rolling_friction: Rolling friction [m].
        restitution: Coefficient of restitution.
    """

    name: str
    mass: float
    com: Vec3 = _ZERO
    inertia: tuple[float, float, float, float, float, float] = (0.0,) * 6
    shapes: tuple[Shape, ...] = ()
    contact_friction: float = 0.8
    spinning_friction: float = 0.0
    rolling_friction: float = 0.0
    restitution: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """Describe one joint between a parent and a child link.

    Attributes:
        name: Unique name.
        kind: Joint kind.
        parent: Name of the parent link.
        child: Name of the child link, whose frame has its origin in the joint.
        xyz: Position of the joint in the parent frame [m].
        rpy: Fixed-axis roll, pitch, yaw of the child frame in the parent frame [rad].
        axis: Unit axis in the child frame.
        lower: Lower limit [rad or m]; -inf where there is none.
        upper: Upper limit [rad or m]; inf where there is none.
        max_velocity: Velocity the real joint can reach [rad/s or m/s].
        damping: Viscous friction [Nm s/rad or N s/m].
        friction: Coulomb friction [Nm or N].
        armature: Inertia of the rotor as seen at the joint [kg m^2 or kg].
        default: Position of the default pose [rad or m].
    """

    name: str
    kind: JointKind
    parent: str
    child: str
    xyz: Vec3 = _ZERO
    rpy: Vec3 = _ZERO
    axis: Vec3 = (0.0, 0.0, 1.0)
    lower: float = -math.inf
    upper: float = math.inf
    max_velocity: float = 100.0
    damping: float = 0.0
    friction: float = 0.0
    armature: float = 0.0
    default: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuator:
    """Describe the motor on one joint.

    A torque actuator gives `clip(strength * command, +-torque_limit)`. A position actuator gives
    `clip(strength * (kp * (command - q) - kd * dq), +-torque_limit)`, evaluated at every physics
    tick.

    Attributes:
        joint: Name of the joint it drives.
        kind: What a command means.
        torque_limit: Largest torque [Nm] or force [N].
        strength: Share of the commanded torque that arrives; 1 is nominal.
        kp: Position gain [Nm/rad], position actuators only.
        kd: Velocity gain [Nm s/rad], position actuators only.
    """

    joint: str
    torque_limit: float
    kind: ControlKind = "torque"
    strength: float = 1.0
    kp: float = 0.0
    kd: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Robot:
    """Hold the table of a robot, in SI units, in the one canonical order.

    Attributes:
        name: Identifier.
        links: Links; the first one is the root.
        joints: Joints in depth-first order; the movable ones, in this order, are the canonical
            order.
        actuators: Motors, each on a different joint; their order is the command order.
        fixed_base: Whether the root is welded to the world.
        source: Where the numbers come from.
        base_height: Height of the root frame above the ground at reset [m].
        native: Model files that an engine loads by itself, at most one per engine.
    """

    name: str
    links: tuple[Link, ...]
    joints: tuple[Joint, ...]
    actuators: tuple[Actuator, ...]
    fixed_base: bool = True
    source: str = ""
    base_height: float = 0.0
    native: tuple[NativeModel, ...] = ()
    _index: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Check the table.

        Raises:
            RobotError: A name is missing or doubled, a number is not physical, or the tree is
                broken.
        """
        _check_names(self)
        _check_numbers(self)
        _check_motors(self)
        self._index.update({joint.name: i for i, joint in enumerate(self.movable)})
        _check_tree(self)

    @cached_property
    def movable(self) -> tuple[Joint, ...]:
        """Return the joints that move, in canonical order (J)."""
        return tuple(joint for joint in self.joints if joint.kind != "fixed")

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Return the names of the joints that move, in canonical order (J)."""
        return tuple(joint.name for joint in self.movable)

    @property
    def num_joints(self) -> int:
        """Return the number of joints that move, J."""
        return len(self.movable)

    @property
    def num_actuators(self) -> int:
        """Return the number of actuators, A."""
        return len(self.actuators)

    @property
    def actuated_indices(self) -> tuple[int, ...]:
        """Return for every actuator the canonical index of its joint (A)."""
        return tuple(self.joint_index(actuator.joint) for actuator in self.actuators)

    @property
    def default_pose(self) -> np.ndarray:
        """Return the default joint positions (J) [rad or m]."""
        return np.array([joint.default for joint in self.movable], dtype=np.float64)

    def joint_index(self, name: str) -> int:
        """Return the canonical index of a movable joint.

        Args:
            name: Joint name.

        Raises:
            UnknownNameError: The robot has no such movable joint.
        """
        if name not in self._index:
            raise unknown_name(f"joint of robot '{self.name}'", name, self.joint_names)
        return self._index[name]

    def link(self, name: str) -> Link:
        """Return a link by name.

        Raises:
            UnknownNameError: The robot has no such link.
        """
        for link in self.links:
            if link.name == name:
                return link
        raise unknown_name(f"link of robot '{self.name}'", name, [k.name for k in self.links])

    def joint(self, name: str) -> Joint:
        """Return a movable joint by name.

        Raises:
            UnknownNameError: The robot has no such movable joint.
        """
        return self.movable[self.joint_index(name)]

    def native_for(self, engine: str) -> NativeModel | None:
        """Return the model that an engine loads by itself, or None where it uses the table."""
        return next((model for model in self.native if model.engine == engine), None)

    @property
    def interface(self) -> dict[str, Any]:
        """Return what must match on the robot a policy is loaded into: order, axes, limits."""
        return {
            "name": self.name,
            "fixed_base": self.fixed_base,
            "joints": [
                {
                    "name": j.name,
                    "kind": j.kind,
                    "axis": list(j.axis),
                    "lower": _finite_or_none(j.lower),
                    "upper": _finite_or_none(j.upper),
                    "max_velocity": j.max_velocity,
                }
                for j in self.movable
            ],
            "actuators": [
                {"joint": a.joint, "kind": a.kind, "torque_limit": a.torque_limit}
                for a in self.actuators
            ],
            "units": {"angle": "rad", "length": "m", "torque": "Nm", "time": "s"},
        }

    @property
    def interface_sha256(self) -> str:
        """Return the hash whose mismatch refuses a policy."""
        return _sha256(self.interface)

    @property
    def dynamics_sha256(self) -> str:
        """Return the hash of masses, inertias and friction, which is logged and may differ."""
        return _sha256(
            {
                "links": [[k.name, k.mass, list(k.com), list(k.inertia)] for k in self.links],
                "joints": [[j.name, j.damping, j.friction, j.armature] for j in self.movable],
                "geometry": [[j.name, list(j.xyz), list(j.rpy)] for j in self.joints],
            }
        )

    def revised(
        self,
        *,
        links: Mapping[str, Mapping[str, Any]] | None = None,
        joints: Mapping[str, Mapping[str, Any]] | None = None,
        actuators: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> "Robot":
        """Return a copy with some fields of some links, joints or actuators replaced.

        Args:
            links: Link name to fields and values.
            joints: Joint name to fields and values.
            actuators: Joint name of the actuator to fields and values.

        Raises:
            UnknownNameError: A name is not of this robot.
        """
        for kind, wanted, known in (
            ("link", links, [k.name for k in self.links]),
            ("joint", joints, [j.name for j in self.joints]),
            ("actuated joint", actuators, [a.joint for a in self.actuators]),
        ):
            for name in wanted or ():
                if name not in known:
                    raise unknown_name(f"{kind} of robot '{self.name}'", name, known)
        return replace(
            self,
            links=tuple(replace(k, **(links or {}).get(k.name, {})) for k in self.links),
            joints=tuple(replace(j, **(joints or {}).get(j.name, {})) for j in self.joints),
            actuators=tuple(
                replace(a, **(actuators or {}).get(a.joint, {})) for a in self.actuators
            ),
        )


def inertia_matrix(link: Link) -> np.ndarray:
    """Return the inertia of a link about its center of mass (3, 3) [kg m^2]."""
    xx, yy, zz, xy, xz, yz = link.inertia
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], dtype=np.float64)


def package_file(anchor: str, name: str) -> Path:
    """Return the path of a file that lies beside a module.

    Args:
        anchor: The module's `__file__`.
        name: File name.
    """
    return Path(anchor).resolve().parent / name


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sha256(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_names(robot: Robot) -> None:
    for kind, names in (
        ("link", [k.name for k in robot.links]),
        ("joint", [j.name for j in robot.joints]),
        ("actuator", [a.joint for a in robot.actuators]),
    ):
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise RobotError(
                f"robot '{robot.name}': {kind} names must be unique, seen twice: {doubled}"
            )
    if not robot.links:
        raise RobotError(f"robot '{robot.name}' has no links; the first link is the root")


def _check_numbers(robot: Robot) -> None:
    for i, link in enumerate(robot.links):
        welded = i == 0 and robot.fixed_base
        massless = link.mass == 0 and (welded or (i > 0 and _carries(robot, link)))
        if not (link.mass > 0 and math.isfinite(link.mass)) and not massless:
            raise RobotError(
                f"robot '{robot.name}': link '{link.name}' has mass {link.mass} kg; > 0 needed"
            )
        if link.mass > 0 and not welded:
            _check_inertia(robot.name, link)
    for joint in robot.movable:
        length = math.sqrt(sum(c * c for c in joint.axis))
        if not math.isclose(length, 1.0, abs_tol=1e-6):
            raise RobotError(
                f"robot '{robot.name}': axis of joint '{joint.name}' has length {length:.6g}; "
                "1 needed"
            )
        if joint.lower > joint.upper:
            raise RobotError(
                f"robot '{robot.name}': joint '{joint.name}' has lower {joint.lower} > "
                f"upper {joint.upper}"
            )
        for what in ("damping", "friction", "armature"):
            value = getattr(joint, what)
            if not (math.isfinite(value) and value >= 0):
                raise RobotError(
                    f"robot '{robot.name}': {what} of joint '{joint.name}' is {value}; >= 0 needed"
                )


def _carries(robot: Robot, link: Link) -> bool:
    """Return whether a link does nothing but carry one moving joint in its own frame."""
    after = [joint for joint in robot.joints if joint.parent == link.name]
    return (
        not link.shapes
        and not any(link.inertia)
        and len(after) == 1
        and after[0].kind != "fixed"
        and after[0].xyz == after[0].rpy == _ZERO
    )


def _check_motors(robot: Robot) -> None:
    for actuator in robot.actuators:
        for what in ("torque_limit", "strength", "kp", "kd"):
            value = getattr(actuator, what)
            if not (math.isfinite(value) and value >= 0):
                raise RobotError(
                    f"robot '{robot.name}': {what} of the actuator on '{actuator.joint}' is "
                    f"{value}; >= 0 needed"
                )


def _check_inertia(robot: str, link: Link) -> None:
    if not np.all(np.isfinite(link.inertia)):
        raise RobotError(f"robot '{robot}': inertia of link '{link.name}' is not finite")
    moments = np.linalg.eigvalsh(inertia_matrix(link))
    slack = 1e-9 + 1e-6 * moments[2]
    if moments[0] <= 0 or moments[0] + moments[1] < moments[2] - slack:
        raise RobotError(
            f"robot '{robot}': inertia of link '{link.name}' has principal moments "
            f"{[float(f'{m:.6g}') for m in moments]} kg m^2; a rigid body needs all > 0 and the "
            "largest at most the sum of the other two (check that it is about the center of mass, "
            "not about the joint)"
        )


def _check_tree(robot: Robot) -> None:
    placed = {robot.links[0].name}
    for joint in robot.joints:
        if joint.parent not in placed:
            raise RobotError(
                f"robot '{robot.name}': joint '{joint.name}' hangs on '{joint.parent}', which is "
                "not placed before it; order the joints from the root outward "
                f"(placed so far: {sorted(placed)})"
            )
        if joint.child in placed:
            raise RobotError(
                f"robot '{robot.name}': link '{joint.child}' is the child of two joints or the root"
            )
        placed.add(joint.child)
    loose = sorted({k.name for k in robot.links} - placed)
    if loose:
        raise RobotError(f"robot '{robot.name}': links {loose} hang on no joint")
    for actuator in robot.actuators:
        robot.joint_index(actuator.joint)

"""What Bullet does with each dynamics parameter, and the values that every world holds.

Most are written into the running world. A center of mass, a link length or a tilted inertia have no
setter in Bullet: the world is then loaded anew from its own record, with its state kept.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from simreal.core.params import DynamicsParams, ParamSpec, link_lengths
from simreal.core.robot import Robot
from simreal.core.rotations import principal_inertia
from simreal.engines.base import Capability, EngineSpec
from simreal.engines.pybullet_world import CONTACT_FIELDS, World
from simreal.errors import ParameterError

_DIAGONAL = slice(0, 3)
_LAW = "the engine's own torque law, at every tick"
_MECHANISMS = {
    "mass": "changeDynamics(mass, localInertiaDiagonal)",
    "com": "the world is loaded anew",
    "link_length": "the world is loaded anew with the child joint moved; mass and inertia stay",
    "joint_damping": "changeDynamics(jointDamping), explicit, evaluated at the start of each tick",
    "joint_friction": "joint motor at zero velocity with this torque as its limit, implicit",
    "motor_strength": _LAW,
    "torque_limit": _LAW,
    "kp": _LAW,
    "kd": _LAW,
    "gravity": "setGravity",
}


def capability(robot: Robot, param: ParamSpec) -> Capability:
    """Say what Bullet does with one engine parameter of a robot."""
    kind = param.kind
    if kind == "armature":
        return Capability(
            False,
            "Bullet's articulated bodies have no rotor inertia; "
            f"set it to 0 in the domain's fixed dynamics ({param.name}: 0.0)",
        )
    if kind in CONTACT_FIELDS:
        if not any(shape.collides for shape in robot.link(param.target).shapes):
            return Capability(False, "the link has no colliding shape, so it would change nothing")
        return Capability(
            True, f"changeDynamics({CONTACT_FIELDS[kind]}); product with the other body's"
        )
    if kind == "inertia":
        tilted = _tilted(robot, param.target)
        how = "the world is loaded anew" if tilted else "changeDynamics(localInertiaDiagonal)"
        return Capability(True, how, rebuilds=tilted)
    if kind not in _MECHANISMS:
        return Capability(False, "Bullet has no such quantity")
    return Capability(True, _MECHANISMS[kind], rebuilds=kind in ("com", "link_length"))


class ParamTable:
    """Hold the engine parameters of N worlds and write changes into their Bullet worlds.

    Attributes:
        reference: The record with the fixed parameters in it: what a mass scales the inertia of.
    """

    def __init__(self, specs: Mapping[str, ParamSpec], spec: EngineSpec, reference: Robot) -> None:
        """Start every world at the nominal values overridden by the fixed ones.

        Args:
            specs: The engine's parameters.
            spec: Declares the parameters that may change, and holds the fixed ones.
            reference: The record with the fixed parameters in it.
        """
        self.reference, self._specs, self._scale = reference, specs, spec.scale_inertia
        self._declared = frozenset(spec.params)
        self._lengths = link_lengths(spec.robot)
        self._values: dict[str, np.ndarray] = {}
        for name, param in specs.items():
            row = np.atleast_1d(np.asarray(spec.fixed.get(name, param.nominal), dtype=np.float64))
            if param.kind == "inertia":  # a fixed mass has scaled it already
                row = np.array(reference.link(param.target).inertia)
            self._values[name] = np.tile(row, (spec.num_worlds, 1))

    def column(self, kind: str, target: str) -> np.ndarray:
        """Return the values of one scalar parameter (N,)."""
        return self._values[f"{kind}.{target}"][:, 0]

    def gravity(self, world: int) -> float:
        """Return the downward acceleration of a world [m/s^2]."""
        return float(self._values["gravity"][world, 0])

    def stage(self, params: DynamicsParams, mask: np.ndarray) -> dict[int, set[str]]:
        """Take over new values and say what they change.

        Args:
            params: Values for all worlds.
            mask: Worlds to change (N,), bool.

        Returns:
            World to the names of the parameters that now differ from before; an inertia that a mass
            scales is among them.

        Raises:
            ParameterError: One was not declared when the engine was built. Nothing is changed then.
        """
        for name in params:
            if name not in self._declared:
                raise ParameterError(
                    f"engine 'pybullet': '{name}' was not among the parameters it was built for "
                    f"({', '.join(sorted(self._declared)) or 'none'}); add it to EngineSpec.params"
                )
        changed: dict[int, set[str]] = {}
        for name in params:
            spec = self._specs[name]
            new = self._values[name].copy()
            given = params[name].reshape(len(mask), spec.size)
            if spec.kind == "inertia":
                new[:, _DIAGONAL] = given
                new[:, 3:] = self.reference.link(spec.target).inertia[3:]
            else:
                new[:] = given
            self._store(name, new, mask, changed)
            inertia = f"inertia.{spec.target}"
            if spec.kind == "mass" and self._scale and inertia not in params:
                link = self.reference.link(spec.target)
                self._store(inertia, given / link.mass * np.array(link.inertia), mask, changed)
        return changed

    def write(self, world: World, index: int, names: set[str]) -> bool:
        """Write staged changes into a Bullet world.

        Args:
            world: The Bullet world.
            index: Its number.
            names: What changed.

        Returns:
            Whether the world must be loaded anew instead; then nothing was written.
        """
        if any(self._needs_load(world, index, name) for name in names):
            return True
        for target in {self._specs[n].target for n in names if n.startswith(("mass.", "inertia."))}:
            mass = float(self._values[f"mass.{target}"][index, 0])
            world.set_inertial(target, mass, self._moments(target, index))
        joint_index = self.reference.joint_index
        for name in names:
            kind, target = self._specs[name].kind, self._specs[name].target
            number = float(self._values[name][index, 0])
            if kind == "joint_damping":
                world.set_damping(joint_index(target), number)
            elif kind == "joint_friction":
                world.set_friction(joint_index(target), number)
            elif kind == "gravity":
                world.set_gravity(number)
            elif kind in CONTACT_FIELDS:
                world.set_contact(target, kind, number)
        return False

    def record(self, world: int) -> Robot:
        """Return the record of one world, with all its present values (actuators excepted)."""
        links: dict[str, dict[str, Any]] = {}
        joints: dict[str, dict[str, Any]] = {}
        fields = {"joint_damping": "damping", "joint_friction": "friction"}
        for name, values in self._values.items():
            spec, row = self._specs[name], tuple(float(v) for v in values[world])
            if spec.kind in ("mass", *CONTACT_FIELDS):
                links.setdefault(spec.target, {})[spec.kind] = row[0]
            elif spec.kind in ("com", "inertia"):
                links.setdefault(spec.target, {})[spec.kind] = row
            elif spec.kind in fields:
                joints.setdefault(spec.target, {})[fields[spec.kind]] = row[0]
        moved = {}
        for link, nominal in self._lengths.items():
            ratio = float(self._values[f"link_length.{link}"][world, 0]) / nominal
            child = next(j for j in self.reference.joints if j.parent == link)
            moved[child.name] = {"xyz": tuple(ratio * c for c in child.xyz)}
        for joint, change in moved.items():
            joints.setdefault(joint, {}).update(change)
        return self.reference.revised(links=links, joints=joints)

    def _store(
        self, name: str, new: np.ndarray, mask: np.ndarray, changed: dict[int, set[str]]
    ) -> None:
        old = self._values[name]
        rows = np.flatnonzero(mask & (old != new).any(axis=1))
        old[rows] = new[rows]
        for world in rows.tolist():
            changed.setdefault(world, set()).add(name)

    def _needs_load(self, world: World, index: int, name: str) -> bool:
        spec = self._specs[name]
        if spec.kind != "inertia" or not _tilted(self.reference, spec.target):
            return spec.kind in ("com", "link_length")
        # Scaled as a whole, by a mass, the principal axes stay where they are.
        loaded, row = np.array(world.robot.link(spec.target).inertia), self._values[name][index]
        return not np.allclose(row * loaded[0], loaded * row[0], rtol=1e-12, atol=0.0)

    def _moments(self, link: str, world: int) -> np.ndarray:
        inertia = self._values[f"inertia.{link}"][world]
        if not inertia[3:].any():
            return inertia[_DIAGONAL]
        record = self.reference.revised(links={link: {"inertia": tuple(inertia)}})
        return principal_inertia(record.link(link))[0]


def _tilted(robot: Robot, link: str) -> bool:
    return any(robot.link(link).inertia[3:])

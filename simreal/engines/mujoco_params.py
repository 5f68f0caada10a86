"""Write dynamics parameters into the per-world model fields of a MuJoCo batch.

A parameter that is written into the wrong field, or without the constants derived from it, changes
nothing or only half of the physics. So every kind has one writer here, which knows its field,
whether MuJoCo has to recompute derived constants, and what goes along with it (a mass takes its
inertia with it).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from mujoco.batch import Batch

from simreal.core.params import DynamicsParams, ParamSpec
from simreal.core.robot import Robot
from simreal.engines.base import Capability, EngineSpec
from simreal.engines.mujoco_model import Compiled, principal_axes
from simreal.errors import ParameterError

_MECHANISMS = {
    "mass": "body_mass, body_inertia in proportion; derived constants recomputed",
    "com": "body_ipos; derived constants recomputed",
    "inertia": "body_inertia and body_iquat; derived constants recomputed",
    "contact_friction": "geom_friction[0] of the link's geoms, which overrule the ground's",
    "spinning_friction": "geom_friction[1] of the link's geoms, which overrule the ground's",
    "rolling_friction": "geom_friction[2] of the link's geoms, which overrule the ground's",
    "joint_damping": "dof_damping, integrated implicitly",
    "joint_friction": "dof_frictionloss, a constraint: exact stiction and kinetic friction",
    "armature": "dof_armature; derived constants recomputed",
    "gravity": "opt.gravity",
    "motor_strength": "actuator_gainprm and actuator_biasprm",
    "torque_limit": "actuator_forcerange",
    "kp": "actuator_gainprm[0] and actuator_biasprm[1]",
    "kd": "actuator_biasprm[2]",
    "link_length": "body_pos of the next link, along its nominal direction; constants recomputed",
}
FIELDS: dict[str, tuple[str, ...]] = {
    "mass": ("body_mass", "body_inertia"),
    "com": ("body_ipos",),
    "inertia": ("body_inertia", "body_iquat"),
    "contact_friction": ("geom_friction",),
    "spinning_friction": ("geom_friction",),
    "rolling_friction": ("geom_friction",),
    "joint_damping": ("dof_damping",),
    "joint_friction": ("dof_frictionloss",),
    "armature": ("dof_armature",),
    "gravity": ("opt.gravity",),
    "motor_strength": ("actuator_gainprm", "actuator_biasprm"),
    "torque_limit": ("actuator_forcerange",),
    "kp": ("actuator_gainprm", "actuator_biasprm"),
    "kd": ("actuator_gainprm", "actuator_biasprm"),
    "link_length": ("body_pos",),
}
FRICTION_COLUMN = {"contact_friction": 0, "spinning_friction": 1, "rolling_friction": 2}
_BODY_KINDS = {"mass", "com", "inertia"}
_JOINT_KINDS = {"joint_damping", "joint_friction", "armature"}
DERIVED_KINDS = {"mass", "com", "inertia", "armature", "link_length"}


def capability(param: ParamSpec) -> Capability:
    """Say what MuJoCo does with one engine parameter.

    Args:
        param: The parameter.
    """
    if param.kind == "restitution":
        return Capability(
            False,
            "MuJoCo's contacts are soft: a bounce follows from solref, mass and tick, and no "
            "setting is a coefficient of restitution",
        )
    return Capability(True, _MECHANISMS[param.kind])


class WorldFields:
    """Write parameters of some worlds, and read back what the worlds have."""

    def __init__(self, batch: Batch, compiled: Compiled, spec: EngineSpec, robot: Robot) -> None:
        """Expand the model fields that the declared parameters need, and no others.

        Args:
            batch: The worlds.
            compiled: Where things are in the model.
            spec: Declares the parameters.
            robot: The record with the fixed parameters written into it.
        """
        self._batch, self._at, self._spec, self._robot = batch, compiled, spec, robot
        self._declared = set(spec.params)
        self._writers: dict[str, Callable[[str, np.ndarray, np.ndarray], None]] = {
            "mass": self._write_mass,
            "com": self._write_com,
            "inertia": self._write_inertia,
            "joint_damping": self._write_joint("dof_damping"),
            "joint_friction": self._write_joint("dof_frictionloss"),
            "armature": self._write_joint("dof_armature"),
            "gravity": self._write_gravity,
            "link_length": self._write_length,
            "torque_limit": self._write_limit,
            **dict.fromkeys(("motor_strength", "kp", "kd"), self._write_law),
        }
        self._actuators = {a.joint: i for i, a in enumerate(robot.actuators)}
        self._law = {
            "motor_strength": np.tile([a.strength for a in robot.actuators], (batch.nsim, 1)),
            "kp": np.tile([a.kp for a in robot.actuators], (batch.nsim, 1)),
            "kd": np.tile([a.kd for a in robot.actuators], (batch.nsim, 1)),
        }
        for name in spec.params:
            for field in FIELDS[name.partition(".")[0]]:
                batch.expand(field)

    def apply(self, params: DynamicsParams, mask: np.ndarray) -> None:
        """Write some parameters into some worlds.

        Args:
            params: Values for all N worlds.
            mask: Worlds to change (N,), bool.

        Raises:
            ParameterError: A parameter was not declared when the engine was built.
        """
        worlds = np.flatnonzero(mask)
        if worlds.size == 0:
            return
        for name in params:
            if name not in self._declared:
                raise ParameterError(
                    f"engine 'mujoco': '{name}' was not among the parameters it was built for "
                    f"({', '.join(sorted(self._declared)) or 'none'}); add it to EngineSpec.params"
                )
        kinds = set()
        # A mass scales the inertia, so it goes before an inertia that is given too.
        for name in sorted(params, key=lambda n: n.startswith("inertia.")):
            kind, _, target = name.partition(".")
            kinds.add(kind)
            values = params[name][worlds]
            if kind in FRICTION_COLUMN:
                self._write_friction(FRICTION_COLUMN[kind], target, values, worlds)
            elif kind in self._law:
                self._law[kind][worlds, self._actuators[target]] = values
                self._writers[kind](target, values, worlds)
            else:
                self._writers[kind](target, values, worlds)
        if kinds & DERIVED_KINDS:
            self._batch.set_const(worlds)

    def realized(self, name: str) -> np.ndarray:
        """Read one parameter back from the model fields.

        Args:
            name: An engine parameter; for `inertia` the principal moments are returned.

        Returns:
            (N,) or (N, k).
        """
        kind, _, target = name.partition(".")
        at = self._at
        if kind in _BODY_KINDS:
            return self._field(FIELDS[kind][0])[:, at.bodies[target]]
        if kind in _JOINT_KINDS:
            dof = at.joint_dof[self._robot.joint_index(target)]
            return self._field(FIELDS[kind][0])[:, dof]
        if kind in FRICTION_COLUMN:
            return self._field("geom_friction")[:, at.geoms[target][0], FRICTION_COLUMN[kind]]
        if kind == "gravity":
            return -self._field("opt.gravity")[:, 2]
        if kind == "link_length":
            return np.linalg.norm(self._field("body_pos")[:, self._next_body(target)], axis=-1)
        return self._realized_actuator(kind, self._actuators[target])

    def _field(self, name: str) -> np.ndarray:
        values = self._batch.expanded(name)
        if values is not None:
            return values
        owner = self._batch.model.opt if name.startswith("opt.") else self._batch.model
        shared = np.asarray(getattr(owner, name.removeprefix("opt.")))
        return np.broadcast_to(shared, (self._batch.nsim, *shared.shape))

    def _realized_actuator(self, kind: str, index: int) -> np.ndarray:
        if kind == "torque_limit":
            return self._field("actuator_forcerange")[:, index, 1]
        gain = self._field("actuator_gainprm")[:, index, 0]
        if self._robot.actuators[index].kind == "torque":
            return gain
        # The model holds products of strength and gains; where a factor is 0 the other one is lost.
        strength, kp = self._law["motor_strength"][:, index], self._law["kp"][:, index]
        damping = -self._field("actuator_biasprm")[:, index, 2]
        product, factor = {
            "motor_strength": (gain, kp),
            "kp": (gain, strength),
            "kd": (damping, strength),
        }[kind]
        return np.divide(product, factor, out=np.zeros_like(product), where=factor != 0)

    def _write_mass(self, target: str, values: np.ndarray, worlds: np.ndarray) -> None:
        body = self._at.bodies[target]
        self._batch.expand("body_mass")[worlds, body] = values
        if self._spec.scale_inertia:
            link = self._robot.link(target)
            moments, axes = principal_axes(link)
            self._batch.expand("body_inertia")[worlds, body] = np.outer(values / link.mass, moments)
            if f"inertia.{target}" in self._declared:
                self._batch.expand("body_iquat")[worlds, body] = axes

    def _write_com(self, target: str, values: np.ndarray, worlds: np.ndarray) -> None:
        self._batch.expand("body_ipos")[worlds, self._at.bodies[target]] = values

    def _write_inertia(self, target: str, values: np.ndarray, worlds: np.ndarray) -> None:
        body = self._at.bodies[target]
        link = self._robot.link(target)
        moments, axes = self._batch.expand("body_inertia"), self._batch.expand("body_iquat")
        for world, diagonal in zip(worlds, values, strict=True):
            changed = replace(link, inertia=(*diagonal, *link.inertia[3:]))
            principal, axes[world, body] = principal_axes(changed)
            _check_moments(target, principal)
            moments[world, body] = principal

    def _write_joint(self, field: str) -> Callable[[str, np.ndarray, np.ndarray], None]:
        def write(target: str, values: np.ndarray, worlds: np.ndarray) -> None:
            dof = self._at.joint_dof[self._robot.joint_index(target)]
            self._batch.expand(field)[worlds, dof] = values

        return write

    def _write_friction(
        self, column: int, target: str, values: np.ndarray, worlds: np.ndarray
    ) -> None:
        for geom in self._at.geoms[target]:
            self._batch.expand("geom_friction")[worlds, geom, column] = values

    def _write_gravity(self, target: str, values: np.ndarray, worlds: np.ndarray) -> None:
        self._batch.expand("opt.gravity")[worlds, 2] = -values

    def _write_length(self, target: str, values: np.ndarray, worlds: np.ndarray) -> None:
        joint = next(j for j in self._robot.joints if j.parent == target)
        direction = np.array(joint.xyz) / np.linalg.norm(joint.xyz)
        self._batch.expand("body_pos")[worlds, self._next_body(target)] = np.outer(
            values, direction
        )

    def _next_body(self, target: str) -> int:
        return next(self._at.bodies[j.child] for j in self._robot.joints if j.parent == target)

    def _write_limit(self, target: str, values: np.ndarray, worlds: np.ndarray) -> None:
        index = self._actuators[target]
        self._batch.expand("actuator_forcerange")[worlds, index] = values[:, None] * [-1.0, 1.0]

    def _write_law(self, target: str, values: np.ndarray, worlds: np.ndarray) -> None:
        index = self._actuators[target]
        gain, bias = self._batch.expand("actuator_gainprm"), self._batch.expand("actuator_biasprm")
        strength = self._law["motor_strength"][worlds, index]
        if self._robot.actuators[index].kind == "torque":
            gain[worlds, index, 0] = strength
            return
        gain[worlds, index, 0] = strength * self._law["kp"][worlds, index]
        bias[worlds, index, 1] = -strength * self._law["kp"][worlds, index]
        bias[worlds, index, 2] = -strength * self._law["kd"][worlds, index]


def _check_moments(link: str, moments: np.ndarray) -> None:
    """Refuse an inertia that no rigid body has; MuJoCo itself checks only when it compiles."""
    low, middle, high = np.sort(moments)
    if low <= 0 or low + middle < high * (1 - 1e-6) - 1e-9:
        raise ParameterError(
            f"inertia.{link}: principal moments {low:.6g}, {middle:.6g}, {high:.6g} kg m^2 are of "
            "no rigid body; all must be > 0 and the largest at most the sum of the other two"
        )

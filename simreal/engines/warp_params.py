"""Write dynamics parameters into the per-world model fields of MuJoCo Warp, as tensors.

The same kinds, fields and meanings as `mujoco_params`, with tensors that share memory with the
model, so that randomization on a device never passes through the host. Nothing here branches on
values or waits for the device; what only the host can refuse is marked in `bad` and raised when the
engine is asked for its health.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
import warp as wp
from torch import Tensor

from simreal.core.robot import Robot
from simreal.engines.base import EngineSpec
from simreal.engines.mujoco_model import Compiled, principal_axes
from simreal.engines.mujoco_params import FIELDS, FRICTION_COLUMN
from simreal.errors import ParameterError

_Writer = Callable[[str, str, Tensor, Tensor], None]
"""Writes values (N,) or (N, k) of a kind and target into the masked worlds."""
_SWEEPS = 4  # of Jacobi's method: float64 is exhausted after three for a 3 x 3 matrix
_PAIRS = ((0, 1), (0, 2), (1, 2))


class WarpFields:
    """Write parameters of some worlds, and read back what the worlds have.

    Attributes:
        bad: Worlds that were given an inertia of no rigid body (N,), bool.
    """

    def __init__(self, model: Any, compiled: Compiled, spec: EngineSpec, robot: Robot) -> None:
        """Take views of the model fields that the declared parameters need.

        Args:
            model: MuJoCo Warp's model, with a row per world for these fields.
            compiled: Where things are in the model.
            spec: Declares the parameters.
            robot: The record with the fixed parameters written into it.
        """
        self._model, self._at, self._spec, self._robot = model, compiled, spec, robot
        self._declared = frozenset(spec.params)
        self._views: dict[str, Tensor] = {}
        for name in spec.params:
            for field in FIELDS[name.partition(".")[0]]:
                self._view(field)
        self.device = self._view("body_mass").device
        # Plain numbers, since torch.compile cannot look into a list of the model's.
        self._dofs = {
            name: int(dof) for name, dof in zip(robot.joint_names, compiled.joint_dof, strict=True)
        }
        self._actuators = {a.joint: i for i, a in enumerate(robot.actuators)}
        self._law = {
            "motor_strength": self._rows([a.strength for a in robot.actuators]),
            "kp": self._rows([a.kp for a in robot.actuators]),
            "kd": self._rows([a.kd for a in robot.actuators]),
        }
        self.bad = torch.zeros(spec.num_worlds, dtype=torch.bool, device=self.device)
        self._constants: dict[str, tuple[Tensor, Tensor]] = {
            link.name: self._axes(link.name) for link in robot.links if link.mass > 0
        }
        self._directions = {
            j.parent: self._tensor(np.array(j.xyz) / max(float(np.linalg.norm(j.xyz)), 1e-12))
            for j in robot.joints
        }
        self._both_ways = self._tensor([-1.0, 1.0])
        self._writers: dict[str, _Writer] = {
            "mass": self._write_mass,
            "com": self._write_com,
            "inertia": self._write_inertia,
            "gravity": self._write_gravity,
            "link_length": self._write_length,
            "torque_limit": self._write_limit,
            **dict.fromkeys(("joint_damping", "joint_friction", "armature"), self._write_joint),
            **dict.fromkeys(FRICTION_COLUMN, self._write_friction),
            **dict.fromkeys(("motor_strength", "kp", "kd"), self._write_law),
        }

    def check(self, names: Iterable[str]) -> None:
        """Refuse parameters that were not declared when the engine was built.

        Args:
            names: Parameter names.

        Raises:
            ParameterError: One was not declared.
        """
        for name in names:
            if name not in self._declared:
                raise ParameterError(
                    f"engine 'warp': '{name}' was not among the parameters it was built for "
                    f"({', '.join(sorted(self._declared)) or 'none'}); add it to EngineSpec.params"
                )

    def apply(self, values: Mapping[str, Tensor], mask: Tensor) -> None:
        """Write some parameters into some worlds.

        Args:
            values: Name to (N,) or (N, k), on the device.
            mask: Worlds to change (N,), bool.
        """
        # A mass scales the inertia, so it goes before an inertia that is given too.
        for name in sorted(values, key=lambda n: n.startswith("inertia.")):
            kind, _, target = name.partition(".")
            self._writers[kind](kind, target, values[name].to(torch.float32), mask)

    def realized(self, name: str) -> Tensor:
        """Read one parameter back from the model fields.

        Args:
            name: An engine parameter; for `inertia` the principal moments are returned.

        Returns:
            (N,) or (N, k), or one row where it is the same in all worlds.
        """
        kind, _, target = name.partition(".")
        at, field = self._at, FIELDS[kind][0]
        if kind in ("mass", "com", "inertia"):
            return self._view(field)[:, at.bodies[target]]
        if kind in ("joint_damping", "joint_friction", "armature"):
            return self._view(field)[:, self._dofs[target]]
        if kind in FRICTION_COLUMN:
            return self._view(field)[:, at.geoms[target][0], FRICTION_COLUMN[kind]]
        if kind == "gravity":
            return -self._view("opt.gravity")[:, 2]
        if kind == "link_length":
            return torch.linalg.vector_norm(self._view(field)[:, self._next_body(target)], dim=-1)
        return self._realized_actuator(kind, self._actuators[target])

    def _realized_actuator(self, kind: str, index: int) -> Tensor:
        if kind == "torque_limit":
            return self._view("actuator_forcerange")[:, index, 1]
        gain = self._view("actuator_gainprm")[:, index, 0]
        if self._robot.actuators[index].kind == "torque":
            return gain
        # The model holds products of strength and gains; where a factor is 0 the other one is lost.
        strength, kp = self._law["motor_strength"][:, index], self._law["kp"][:, index]
        damping = -self._view("actuator_biasprm")[:, index, 2]
        product, factor = {
            "motor_strength": (gain, kp),
            "kp": (gain, strength),
            "kd": (damping, strength),
        }[kind]
        return torch.where(factor != 0, product / factor, 0.0)

    def _view(self, name: str) -> Tensor:
        if name not in self._views:
            owner = self._model.opt if name.startswith("opt.") else self._model
            self._views[name] = wp.to_torch(getattr(owner, name.removeprefix("opt.")))
        return self._views[name]

    def _tensor(self, values: object) -> Tensor:
        return torch.tensor(np.asarray(values), dtype=torch.float32, device=self.device)

    def _rows(self, values: list[float]) -> Tensor:
        return self._tensor(np.tile(values, (self._spec.num_worlds, 1)))

    def _axes(self, link: str) -> tuple[Tensor, Tensor]:
        moments, quat = principal_axes(self._robot.link(link))
        return self._tensor(moments), self._tensor(quat)

    def _next_body(self, target: str) -> int:
        return next(self._at.bodies[j.child] for j in self._robot.joints if j.parent == target)

    def _write_mass(self, kind: str, target: str, values: Tensor, mask: Tensor) -> None:
        body = self._at.bodies[target]
        _put(self._view("body_mass")[:, body], values, mask)
        if self._spec.scale_inertia:
            moments, axes = self._constants[target]
            ratio = values / self._robot.link(target).mass
            _put(self._view("body_inertia")[:, body], ratio[:, None] * moments, mask)
            if f"inertia.{target}" in self._declared:
                _put(self._view("body_iquat")[:, body], axes, mask)

    def _write_com(self, kind: str, target: str, values: Tensor, mask: Tensor) -> None:
        _put(self._view("body_ipos")[:, self._at.bodies[target]], values, mask)

    def _write_inertia(self, kind: str, target: str, values: Tensor, mask: Tensor) -> None:
        body, link = self._at.bodies[target], self._robot.link(target)
        moments, axes = values, self._constants[target][1]
        if any(link.inertia[3:]):
            moments, axes = principal(values, link.inertia[3:])
        order = torch.sort(moments, dim=1).values
        low, middle, high = order.unbind(dim=1)
        wrong = (low <= 0) | (low + middle < high * (1 - 1e-5) - 1e-9)
        self.bad.logical_or_(wrong & mask)
        _put(self._view("body_inertia")[:, body], moments, mask)
        _put(self._view("body_iquat")[:, body], axes, mask)

    def _write_joint(self, kind: str, target: str, values: Tensor, mask: Tensor) -> None:
        _put(self._view(FIELDS[kind][0])[:, self._dofs[target]], values, mask)

    def _write_friction(self, kind: str, target: str, values: Tensor, mask: Tensor) -> None:
        for geom in self._at.geoms[target]:
            _put(self._view("geom_friction")[:, geom, FRICTION_COLUMN[kind]], values, mask)

    def _write_gravity(self, kind: str, target: str, values: Tensor, mask: Tensor) -> None:
        _put(self._view("opt.gravity")[:, 2], -values, mask)

    def _write_length(self, kind: str, target: str, values: Tensor, mask: Tensor) -> None:
        place = self._view("body_pos")[:, self._next_body(target)]
        _put(place, values[:, None] * self._directions[target], mask)

    def _write_limit(self, kind: str, target: str, values: Tensor, mask: Tensor) -> None:
        index = self._actuators[target]
        limit = values[:, None] * self._both_ways
        _put(self._view("actuator_forcerange")[:, index], limit, mask)

    def _write_law(self, kind: str, target: str, values: Tensor, mask: Tensor) -> None:
        index = self._actuators[target]
        _put(self._law[kind][:, index], values, mask)
        gain, bias = self._view("actuator_gainprm"), self._view("actuator_biasprm")
        strength = self._law["motor_strength"][:, index]
        if self._robot.actuators[index].kind == "torque":
            _put(gain[:, index, 0], strength, mask)
            return
        stiffness = strength * self._law["kp"][:, index]
        _put(gain[:, index, 0], stiffness, mask)
        _put(bias[:, index, 1], -stiffness, mask)
        _put(bias[:, index, 2], -strength * self._law["kd"][:, index], mask)


def principal(diagonal: Tensor, off_diagonal: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Split inertias into principal moments and the rotation of their axes, without the host.

    Jacobi's method: plane rotations that each remove one off-diagonal entry, gathered as a
    quaternion (G. H. Golub, C. F. Van Loan, Matrix Computations, section 8.5).

    Args:
        diagonal: Ixx, Iyy, Izz (N, 3) [kg m^2].
        off_diagonal: Ixy, Ixz, Iyz, the same in all worlds [kg m^2].

    Returns:
        Moments (N, 3) and quaternions wxyz (N, 4), float32.
    """
    entries = diagonal.double()
    matrix = torch.diag_embed(entries)
    for (row, column), value in zip(_PAIRS, off_diagonal, strict=True):
        matrix[:, row, column] = value
        matrix[:, column, row] = value
    quat = torch.zeros(len(diagonal), 4, dtype=torch.float64, device=diagonal.device)
    quat[:, 3] = 1.0
    for _ in range(_SWEEPS):
        for row, column in _PAIRS:
            spread = matrix[:, column, column] - matrix[:, row, row]
            half = 0.5 * torch.atan2(2.0 * matrix[:, row, column], spread)
            cos, sin = torch.cos(half), torch.sin(half)
            turn = torch.eye(3, dtype=torch.float64, device=diagonal.device).repeat(len(cos), 1, 1)
            turn[:, row, row], turn[:, column, column] = cos, cos
            turn[:, row, column], turn[:, column, row] = sin, -sin
            matrix = turn.transpose(1, 2) @ matrix @ turn
            quat = _about(quat, 3 - row - column, -half if row + 1 == column else half)
    return matrix.diagonal(dim1=1, dim2=2).float(), quat.roll(1, dims=1).float()


def _about(quat: Tensor, axis: int, angle: Tensor) -> Tensor:
    """Append a rotation about one axis to quaternions xyzw (N, 4)."""
    cos, sin = torch.cos(0.5 * angle), torch.sin(0.5 * angle)
    vector, real = quat[:, :3], quat[:, 3]
    other = torch.zeros_like(vector)
    other[:, axis] = sin
    mixed = real[:, None] * other + cos[:, None] * vector + torch.linalg.cross(vector, other)
    return torch.cat([mixed, (real * cos - vector[:, axis] * sin)[:, None]], dim=1)


def _put(place: Tensor, values: Tensor, mask: Tensor) -> None:
    """Write rows of the masked worlds into a view of a field."""
    rows = mask.reshape(-1, *[1] * (place.dim() - 1))
    place.copy_(torch.where(rows, values, place))

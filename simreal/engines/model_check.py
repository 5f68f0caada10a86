"""Compare how the engines' own importers load one model file.

The same URDF or MJCF gives different robots: a floating base fused into the world, a total mass
that is not scaled, a density that is ignored, an armature that does not exist. This module says
what each engine made of a file, and where they differ. It never feeds a simulation; robots are
built from their record.

Bodies are compared as rigid groups, all that one joint moves, because importers split and merge
links that are welded together. A group is named by its joint, which both importers keep.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from simreal.errors import ConfigError

BASE = "(base)"
_LOADERS = {
    "pybullet": "simreal.engines.pybullet_inspect",
    "mujoco": "simreal.engines.mujoco_inspect",
}
_TIME_LIMIT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class LoadedBody:
    """Describe one rigid group as an engine loaded it.

    Attributes:
        joint: Name of the joint that moves it, `(base)` for the root.
        name: Name of its first link that has mass.
        mass: Mass [kg].
        com: Center of mass from the joint, world axes, zero pose (3) [m].
        moments: Principal moments of inertia, ascending (3) [kg m^2].
    """

    joint: str
    name: str
    mass: float
    com: tuple[float, ...]
    moments: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LoadedJoint:
    """Describe one movable joint as an engine loaded it.

    Attributes:
        name: Joint name.
        kind: hinge, slide, ball, or another of the engine's words.
        axis: In world axes, zero pose (3).
        lower: Lower limit [rad or m]; -inf without one.
        upper: Upper limit [rad or m]; inf without one.
        damping: Viscous friction [Nm s/rad or N s/m].
        friction: Coulomb friction [Nm or N].
        armature: Rotor inertia [kg m^2 or kg].
    """

    name: str
    kind: str
    axis: tuple[float, ...]
    lower: float
    upper: float
    damping: float
    friction: float
    armature: float


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """Hold a model as one engine loaded it, or why it did not.

    Attributes:
        engine: Engine name.
        error: Why the engine refuses the file; empty if it does not.
        base_moves: Whether the root is free.
        bodies: Rigid groups that have mass.
        joints: Movable joints.
        notes: What had to be left out to load it.
    """

    engine: str
    error: str = ""
    base_moves: bool = False
    bodies: tuple[LoadedBody, ...] = ()
    joints: tuple[LoadedJoint, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total_mass(self) -> float:
        """Return the sum of all masses [kg]."""
        return sum(body.mass for body in self.bodies)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Hold one quantity of one part, as each engine has it.

    Attributes:
        part: Body or joint.
        quantity: What and in which unit.
        values: One per engine, None where the engine lacks the part.
        differs: Whether they differ beyond the tolerance.
    """

    part: str
    quantity: str
    values: tuple[Any, ...]
    differs: bool


@dataclass(frozen=True)
class Piece:
    """Be one link on the way into a rigid group: mass, center and inertia in world axes."""

    mass: float
    com: np.ndarray
    inertia: np.ndarray
    name: str = ""


@dataclass
class Group:
    """Collect the links that one joint moves.

    Attributes:
        joint: Name of the joint.
        anchor: Position of the joint in the world (3) [m].
        pieces: The links.
    """

    joint: str
    anchor: np.ndarray
    pieces: list[Piece] = field(default_factory=list)

    def body(self) -> LoadedBody | None:
        """Merge the links into one rigid body; None if they have no mass."""
        heavy = [piece for piece in self.pieces if piece.mass > 0]
        mass = sum(piece.mass for piece in heavy)
        if mass <= 0:
            return None
        com = sum((p.mass * p.com for p in heavy), np.zeros(3)) / mass
        inertia = np.zeros((3, 3))
        for piece in heavy:
            arm = piece.com - com
            spread = float(arm @ arm) * np.eye(3) - np.outer(arm, arm)
            inertia += piece.inertia + piece.mass * spread
        return LoadedBody(
            joint=self.joint,
            name=heavy[0].name,
            mass=float(mass),
            com=tuple(float(v) for v in com - self.anchor),
            moments=tuple(float(v) for v in np.linalg.eigvalsh(inertia)),
        )


def load_all(file: Path) -> list[LoadedModel]:
    """Load a file with every engine's default importer.

    Each runs in a process of its own: importers print, and some crash on files they cannot read.

    Args:
        file: URDF or MJCF.

    Returns:
        One model per engine; those that refuse the file carry the reason.

    Raises:
        ConfigError: The file does not exist.
    """
    if not file.is_file():
        raise ConfigError(f"check-robot: got '{file}', expected an existing URDF or MJCF file")
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda engine: _load(engine, _LOADERS[engine], file), _LOADERS))


def compare(models: Sequence[LoadedModel]) -> list[Entry]:
    """List every quantity of every body and joint, totals first.

    Args:
        models: What the engines loaded; those that refused the file are left out.
    """
    loaded = [model for model in models if not model.error]
    entries = [
        _entry("total", "mass [kg]", [m.total_mass for m in loaded], 1e-3, 1e-9),
        _entry("total", "bodies with mass", [len(m.bodies) for m in loaded], 0, 0),
        _entry("total", "movable joints", [len(m.joints) for m in loaded], 0, 0),
        _entry("total", "base", ["free" if m.base_moves else "fixed" for m in loaded], 0, 0),
    ]
    for key in _in_order([[body.joint for body in model.bodies] for model in loaded]):
        found = [_named(model.bodies, "joint", key) for model in loaded]
        name = next(body.name for body in found if body is not None)
        part = f"{name} on {key}" if key != BASE else f"{name} {BASE}"
        for quantity, attribute, relative, absolute in (
            ("mass [kg]", "mass", 1e-3, 1e-9),
            ("center of mass [m]", "com", 0, 1e-4),
            ("principal moments [kg m^2]", "moments", 1e-2, 1e-9),
        ):
            entries.append(_entry(part, quantity, _values(found, attribute), relative, absolute))
    for key in _in_order([[joint.name for joint in model.joints] for model in loaded]):
        joints = [_named(model.joints, "name", key) for model in loaded]
        for quantity, attribute, relative, absolute in (
            ("kind", "kind", 0, 0),
            ("axis", "axis", 0, 1e-3),
            ("range [rad or m]", "range", 0, 1e-3),
            ("damping", "damping", 1e-3, 1e-9),
            ("dry friction", "friction", 1e-3, 1e-9),
            ("armature", "armature", 1e-3, 1e-9),
        ):
            entries.append(
                _entry(f"joint {key}", quantity, _values(joints, attribute), relative, absolute)
            )
    return entries


def emit(model: LoadedModel, path: str) -> None:
    """Write a model where the parent process reads it.

    Args:
        model: What was loaded.
        path: File to write.
    """
    Path(path).write_text(json.dumps(asdict(model)), encoding="utf-8")


def _load(engine: str, module: str, file: Path) -> LoadedModel:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "model.json"
        command = [sys.executable, "-m", module, str(file.resolve()), str(result)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=folder,
                env=environment,
                timeout=_TIME_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return LoadedModel(engine=engine, error=f"no answer within {_TIME_LIMIT_S:.0f} s")
        if not result.is_file():
            return LoadedModel(engine=engine, error=_last_words(done))
        model = _parse(json.loads(result.read_text(encoding="utf-8")))
    if not model.error:
        return model
    printed = _complaint(done.stdout + done.stderr)
    error = f"{model.error} ({printed})" if printed and printed not in model.error else model.error
    return replace(model, error=error)


def _last_words(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode < 0:
        return f"its importer crashed on the file (signal {-done.returncode})"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"its importer ended with exit code {done.returncode}"


def _complaint(printed: str) -> str:
    """Return what Bullet prints as errors, without the places in its sources, as one line."""
    printed = re.sub(r"pybullet build time:.*", "", printed)
    parts = re.split(r"b3(Error|Warning|Printf)\[[^\]]*\]:", printed)
    errors = [
        text for level, text in zip(parts[1::2], parts[2::2], strict=True) if level == "Error"
    ]
    return " ".join(" ".join(errors).split())


def _parse(content: dict[str, Any]) -> LoadedModel:
    bodies = tuple(LoadedBody(**_frozen(body)) for body in content.pop("bodies"))
    joints = tuple(LoadedJoint(**_frozen(joint)) for joint in content.pop("joints"))
    return LoadedModel(**_frozen(content), bodies=bodies, joints=joints)


def _frozen(content: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}


def _entry(
    part: str, quantity: str, values: Sequence[Any], relative: float, absolute: float
) -> Entry:
    first = values[0] if values else None
    differs = any(not _close(first, other, relative, absolute) for other in values[1:])
    return Entry(part=part, quantity=quantity, values=tuple(values), differs=differs)


def _close(one: Any, other: Any, relative: float, absolute: float) -> bool:
    if one is None or other is None or isinstance(one, str):
        return bool(one == other)
    a, b = np.atleast_1d(one), np.atleast_1d(other)
    # Moments are judged against the largest: a thin link's smallest one is mostly noise.
    slack = absolute + relative * max(_finite_max(a), _finite_max(b))
    both = np.isfinite(a) & np.isfinite(b)
    near = np.abs(np.where(both, a, 0.0) - np.where(both, b, 0.0)) <= slack
    return bool(np.all(np.where(both, near, a == b)))


def _finite_max(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0))


def _in_order(lists: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in lists for name in names))


def _named(parts: Sequence[Any], attribute: str, key: str) -> Any:
    return next((part for part in parts if getattr(part, attribute) == key), None)


def _values(parts: Sequence[Any], attribute: str) -> list[Any]:
    if attribute == "range":
        return [None if part is None else (part.lower, part.upper) for part in parts]
    return [None if part is None else getattr(part, attribute) for part in parts]

"""URDF into the record: what most robots come in, read strictly.

What the record cannot hold is refused in one line that names the element, because an importer that
guesses (a default mass, a dropped mimic joint) gives a robot that nobody described.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from simreal.core.robot import Actuator, Joint, JointKind, Link, Robot, Shape, Vec3
from simreal.core.rotations import matrix_from_rpy
from simreal.errors import RobotError

UNBOUNDED = 1e30  # URDF knows no one-sided limit; a bound at or beyond this reads as none
INERTIA_KEYS = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
CONTACT_TAGS = {
    "lateral_friction": "contact_friction",
    "spinning_friction": "spinning_friction",
    "rolling_friction": "rolling_friction",
    "restitution": "restitution",
}
_KINDS = ("revolute", "continuous", "prismatic", "fixed")
_HIDDEN = (0.6, 0.6, 0.6, 0.0)  # a collision shape with no visual twin takes part unseen


def robot_from_urdf(
    path: str | Path,
    *,
    name: str | None = None,
    actuators: Sequence[Actuator] | None = None,
    fixed_base: bool = True,
) -> Robot:
    """Read a URDF file.

    Armature and the default pose are not in a URDF and are 0. Shapes that appear as visual and as
    collision become one shape; a collision alone is kept unseen (alpha 0).

    Args:
        path: File.
        name: Name of the record; the file's own if None.
        actuators: Motors; if None, a torque motor on every movable joint with an effort limit above
            0.
        fixed_base: Whether the root is welded to the world.

    Returns:
        The record, joints depth-first in file order.

    Raises:
        RobotError: The file cannot be read, or describes what the record cannot hold.
    """
    reader = _Reader(Path(path))
    links = {link.name: link for link in map(reader.link, reader.root.findall("link"))}
    elements = reader.root.findall("joint")
    joints = [reader.joint(element) for element in elements]
    ordered = reader.depth_first(list(links), joints)
    if actuators is None:
        effort = {e.get("name", ""): reader.effort(e) for e in elements}
        actuators = [
            Actuator(joint=j.name, torque_limit=effort[j.name])
            for j in ordered
            if j.kind != "fixed" and effort[j.name] > 0
        ]
    root = reader.root_link(list(links), joints)
    return Robot(
        name=name or reader.root.get("name") or Path(path).stem,
        links=(links.pop(root), *links.values()),
        joints=tuple(ordered),
        actuators=tuple(actuators),
        fixed_base=fixed_base,
        source=str(path),
    )


class _Reader:
    """Turn the elements of one file into parts of the record, and say where something is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.root = ET.fromstring(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RobotError(
                f"cannot read URDF {path}: {error.strerror or error}; check the path"
            ) from error
        except (ET.ParseError, UnicodeDecodeError) as error:
            raise RobotError(f"{path} is not well-formed XML: {error}; check the file") from error
        if self.root.tag != "robot":
            raise self.error(f"the top element is <{self.root.tag}>; <robot> is needed")
        self.materials = {
            m.get("name", ""): rgba
            for m in self.root.findall("material")
            if (rgba := self._color(m)) is not None
        }

    def error(self, what: str) -> RobotError:
        return RobotError(f"{self.path.name}: {what}")

    def link(self, element: ET.Element) -> Link:
        name = self._name(element)
        contact = element.find("contact")
        coefficients = {
            field: self._number(child, "value")
            for tag, field in CONTACT_TAGS.items()
            if contact is not None and (child := contact.find(tag)) is not None
        }
        inertial = element.find("inertial")
        mass, com, inertia = 0.0, (0.0, 0.0, 0.0), (0.0,) * 6
        if inertial is not None:
            mass, com, inertia = self._inertial(name, inertial)
        elif not self._is_root(name):
            raise self.error(
                f"link '{name}' has no <inertial>; a moving link needs mass and inertia "
                "(merge a mere frame into its parent)"
            )
        return Link(
            name=name,
            mass=mass,
            com=com,
            inertia=inertia,
            shapes=self._shapes(element),
            **coefficients,
        )

    def joint(self, element: ET.Element) -> Joint:
        name, kind = self._name(element), element.get("type", "")
        if kind not in _KINDS:
            raise self.error(f"joint '{name}' has type '{kind}'; supported: {', '.join(_KINDS)}")
        if element.find("mimic") is not None:
            raise self.error(
                f"joint '{name}' mimics another joint, which the record cannot hold; remove <mimic>"
            )
        xyz, rpy = self._origin(element)
        axis, limit, dynamics = (element.find(tag) for tag in ("axis", "limit", "dynamics"))
        direction = (1.0, 0.0, 0.0) if axis is None else self._vector(axis, "xyz", 3)
        lower, upper, speed = -math.inf, math.inf, 100.0
        if limit is not None:
            speed = self._number(limit, "velocity", 100.0)
        if kind in ("revolute", "prismatic"):
            if limit is None:
                raise self.error(
                    f"{kind} joint '{name}' has no <limit>; use type continuous if it has none"
                )
            lower, upper = (self._bound(limit, side) for side in ("lower", "upper"))
        return Joint(
            name=name,
            kind=cast(JointKind, kind),
            parent=self._partner(element, "parent", name),
            child=self._partner(element, "child", name),
            xyz=xyz,
            rpy=rpy,
            axis=self._unit(name, direction) if kind != "fixed" else (0.0, 0.0, 1.0),
            lower=lower,
            upper=upper,
            max_velocity=speed,
            damping=0.0 if dynamics is None else self._number(dynamics, "damping", 0.0),
            friction=0.0 if dynamics is None else self._number(dynamics, "friction", 0.0),
        )

    def effort(self, element: ET.Element) -> float:
        limit = element.find("limit")
        return 0.0 if limit is None else self._number(limit, "effort", 0.0)

    def root_link(self, links: Sequence[str], joints: Sequence[Joint]) -> str:
        children = {joint.child for joint in joints}
        roots = [name for name in links if name not in children]
        if len(roots) != 1:
            raise self.error(f"found {len(roots)} root links {roots[:4]}; exactly one is needed")
        return roots[0]

    def depth_first(self, links: Sequence[str], joints: Sequence[Joint]) -> list[Joint]:
        for joint in joints:
            for side in (joint.parent, joint.child):
                if side not in links:
                    raise self.error(
                        f"joint '{joint.name}' names link '{side}', which does not exist"
                    )
        ordered: list[Joint] = []
        stack = [j for j in reversed(joints) if j.parent == self.root_link(links, joints)]
        while stack:
            joint = stack.pop()
            if len(ordered) > len(joints):
                raise self.error("the joints form a loop; a tree is needed")
            ordered.append(joint)
            stack += [j for j in reversed(joints) if j.parent == joint.child]
        if len(ordered) != len(joints):
            loose = sorted({j.name for j in joints} - {j.name for j in ordered})
            raise self.error(f"joints {loose[:4]} do not hang on the root; a tree is needed")
        return ordered

    def _is_root(self, link: str) -> bool:
        children = (joint.find("child") for joint in self.root.findall("joint"))
        return all(child is None or child.get("link") != link for child in children)

    def _inertial(
        self, link: str, element: ET.Element
    ) -> tuple[float, Vec3, tuple[float, float, float, float, float, float]]:
        com, rpy = self._origin(element)
        mass, inertia = element.find("mass"), element.find("inertia")
        if mass is None or inertia is None:
            raise self.error(f"<inertial> of link '{link}' needs both <mass> and <inertia>")
        xx, yy, zz, xy, xz, yz = (self._number(inertia, key, 0.0) for key in INERTIA_KEYS)
        value = self._number(mass, "value")
        if not any(rpy):
            return value, com, (xx, yy, zz, xy, xz, yz)
        turn = matrix_from_rpy(rpy)
        full = turn @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ turn.T
        pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
        a, b, c, d, e, f = (float(full[i, j]) for i, j in pairs)
        return value, com, (a, b, c, d, e, f)

    def _shapes(self, element: ET.Element) -> tuple[Shape, ...]:
        visuals = [self._shape(v) for v in element.findall("visual")]
        for collision in element.findall("collision"):
            shape = self._shape(collision)
            twin = next(
                (
                    i
                    for i, v in enumerate(visuals)
                    if not v.collides and replace(v, rgba=shape.rgba) == shape
                ),
                None,
            )
            if twin is None:
                visuals.append(replace(shape, collides=True, rgba=_HIDDEN))
            else:
                visuals[twin] = replace(visuals[twin], collides=True)
        return tuple(visuals)

    def _shape(self, element: ET.Element) -> Shape:
        xyz, rpy = self._origin(element)
        geometry = element.find("geometry")
        body = None if geometry is None else next(iter(geometry), None)
        if body is None:
            raise self.error(f"a <{element.tag}> has no geometry")
        shape = Shape(kind="sphere", size=(1.0,), xyz=xyz, rpy=rpy, rgba=self._material(element))
        if body.tag == "box":
            x, y, z = self._vector(body, "size", 3)
            return replace(shape, kind="box", size=(x / 2, y / 2, z / 2))
        if body.tag == "sphere":
            return replace(shape, size=(self._number(body, "radius"),))
        if body.tag in ("cylinder", "capsule"):
            size = (self._number(body, "radius"), self._number(body, "length"))
            return replace(
                shape, kind="capsule" if body.tag == "capsule" else "cylinder", size=size
            )
        if body.tag == "mesh":
            scale = self._vector(body, "scale", 3) if body.get("scale") else (1.0, 1.0, 1.0)
            if len(set(scale)) != 1:
                raise self.error(f"mesh scale {scale} differs per axis; a uniform scale is needed")
            mesh = self._mesh(body.get("filename", ""))
            return replace(shape, kind="mesh", size=(scale[0],), mesh=mesh)
        raise self.error(
            f"geometry <{body.tag}> is not supported; "
            "supported: box, sphere, cylinder, capsule, mesh"
        )

    def _mesh(self, filename: str) -> str:
        if filename.startswith("package://"):
            inside = filename.removeprefix("package://")
            for folder in self.path.resolve().parents:
                for candidate in (folder / inside, folder / inside.partition("/")[2]):
                    if candidate.is_file():
                        return str(candidate)
        file = (self.path.resolve().parent / filename.removeprefix("file://")).resolve()
        if not file.is_file():
            raise self.error(f"mesh '{filename}' not found; keep mesh files beside the URDF")
        return str(file)

    def _material(self, element: ET.Element) -> tuple[float, float, float, float]:
        material = element.find("material")
        if material is None:
            return (0.6, 0.6, 0.6, 1.0)
        color = self._color(material) or self.materials.get(material.get("name", ""))
        return color or (0.6, 0.6, 0.6, 1.0)

    def _color(self, material: ET.Element) -> tuple[float, float, float, float] | None:
        color = material.find("color")
        if color is None:
            return None
        r, g, b, a = self._vector(color, "rgba", 4)
        return (r, g, b, a)

    def _origin(self, element: ET.Element) -> tuple[Vec3, Vec3]:
        origin = element.find("origin")
        zero = (0.0, 0.0, 0.0)
        if origin is None:
            return zero, zero
        xyz, rpy = (
            self._vector(origin, key, 3) if origin.get(key) else zero for key in ("xyz", "rpy")
        )
        return (xyz[0], xyz[1], xyz[2]), (rpy[0], rpy[1], rpy[2])

    def _unit(self, joint: str, axis: Sequence[float]) -> Vec3:
        length = math.sqrt(sum(c * c for c in axis))
        if length < 1e-9:
            raise self.error(f"joint '{joint}' has a zero axis; a direction is needed")
        if abs(length - 1.0) < 1e-12:
            return (axis[0], axis[1], axis[2])
        return (axis[0] / length, axis[1] / length, axis[2] / length)

    def _bound(self, limit: ET.Element, side: str) -> float:
        value = self._number(limit, side, 0.0)
        return value if abs(value) < UNBOUNDED else math.copysign(math.inf, value)

    def _partner(self, element: ET.Element, side: str, joint: str) -> str:
        partner = element.find(side)
        if partner is None or not partner.get("link"):
            raise self.error(f"joint '{joint}' has no <{side} link=...>")
        return partner.get("link", "")

    def _name(self, element: ET.Element) -> str:
        name = element.get("name")
        if not name:
            raise self.error(f"a <{element.tag}> has no name")
        return name

    def _number(self, element: ET.Element, key: str, default: float | None = None) -> float:
        text = element.get(key)
        if text is None:
            if default is None:
                raise self.error(f"<{element.tag}> has no attribute '{key}'")
            return default
        return self._numbers(element, key, text, 1)[0]

    def _vector(self, element: ET.Element, key: str, size: int) -> tuple[float, ...]:
        return self._numbers(element, key, element.get(key, ""), size)

    def _numbers(self, element: ET.Element, key: str, text: str, size: int) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split())
        except ValueError:
            values = ()
        if len(values) != size or not all(math.isfinite(v) for v in values):
            raise self.error(f"<{element.tag} {key}='{text}'>: {size} finite number(s) needed")
        return values

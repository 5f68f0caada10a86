"""URDF out of the record: the text that an engine or another tool loads.

Every digit is kept (`repr`), so that an engine that loads the text starts from the record and not
from a rounded copy. Armature, actuator gains and the default pose have no place in a URDF; contact
coefficients travel in Bullet's `<contact>`. The way back is `simreal.core.urdf_import`.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from simreal.core.robot import Joint, Link, Robot, Shape, Vec3
from simreal.core.rotations import principal_inertia, rpy_from_matrix
from simreal.core.urdf_import import CONTACT_TAGS, INERTIA_KEYS, UNBOUNDED, robot_from_urdf

__all__ = ["robot_from_urdf", "robot_to_urdf"]


def robot_to_urdf(robot: Robot, *, principal_axes: bool = False, visuals: bool = True) -> str:
    """Write a robot as URDF.

    Args:
        robot: The record.
        principal_axes: Write each inertia as principal moments in a rotated inertial frame instead
            of as a full matrix in the link's axes, for engines that only keep principal moments.
        visuals: Whether to write what is only drawn.

    Returns:
        The document. Shapes are visuals, and collisions too where they collide; a capsule is
        written as `<capsule>`, which Bullet reads and plain URDF does not know. A limit that is
        infinite on one side only is written as 1e30.
    """
    root = ET.Element("robot", name=robot.name)
    for link in robot.links:
        _add_link(root, link, principal_axes, visuals)
    effort = {a.joint: a.torque_limit for a in robot.actuators}
    for joint in robot.joints:
        _add_joint(root, joint, effort.get(joint.name, 0.0))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")


def _add_link(root: ET.Element, link: Link, principal_axes: bool, visuals: bool) -> None:
    element = ET.SubElement(root, "link", name=link.name)
    rpy: Vec3 = (0.0, 0.0, 0.0)
    inertia: Sequence[float] = link.inertia
    if principal_axes:
        moments, axes = principal_inertia(link)
        rpy, inertia = rpy_from_matrix(axes), [*moments, 0.0, 0.0, 0.0]
    inertial = ET.SubElement(element, "inertial")
    _add_origin(inertial, link.com, rpy)
    ET.SubElement(inertial, "mass", value=_text(link.mass))
    ET.SubElement(
        inertial, "inertia", {k: _text(v) for k, v in zip(INERTIA_KEYS, inertia, strict=True)}
    )
    for i, shape in enumerate(link.shapes):
        if visuals and (shape.rgba[3] > 0 or not shape.collides):
            visual = ET.SubElement(element, "visual")
            _add_geometry(visual, shape)
            material = ET.SubElement(visual, "material", name=f"{link.name}_{i}")
            ET.SubElement(material, "color", rgba=_vector(shape.rgba))
        if shape.collides:
            _add_geometry(ET.SubElement(element, "collision"), shape)
    contact = ET.SubElement(element, "contact")
    for tag, name in CONTACT_TAGS.items():
        ET.SubElement(contact, tag, value=_text(getattr(link, name)))


def _add_geometry(parent: ET.Element, shape: Shape) -> None:
    _add_origin(parent, shape.xyz, shape.rpy)
    geometry = ET.SubElement(parent, "geometry")
    size = shape.size
    if shape.kind == "box":
        ET.SubElement(geometry, "box", size=_vector([2 * s for s in size]))
    elif shape.kind == "sphere":
        ET.SubElement(geometry, "sphere", radius=_text(size[0]))
    elif shape.kind == "mesh":
        scale = size[0] if size else 1.0
        ET.SubElement(geometry, "mesh", filename=str(shape.mesh), scale=_vector([scale] * 3))
    else:
        ET.SubElement(geometry, shape.kind, radius=_text(size[0]), length=_text(size[1]))


def _add_joint(root: ET.Element, joint: Joint, effort: float) -> None:
    element = ET.SubElement(root, "joint", name=joint.name, type=joint.kind)
    _add_origin(element, joint.xyz, joint.rpy)
    ET.SubElement(element, "parent", link=joint.parent)
    ET.SubElement(element, "child", link=joint.child)
    if joint.kind == "fixed":
        return
    ET.SubElement(element, "axis", xyz=_vector(joint.axis))
    limit = {"effort": _text(effort), "velocity": _text(joint.max_velocity)}
    if joint.kind != "continuous":
        limit["lower"], limit["upper"] = _bound(joint.lower), _bound(joint.upper)
    ET.SubElement(element, "limit", limit)
    ET.SubElement(element, "dynamics", damping=_text(joint.damping), friction=_text(joint.friction))


def _add_origin(parent: ET.Element, xyz: Vec3, rpy: Vec3) -> None:
    if any(xyz) or any(rpy):
        ET.SubElement(parent, "origin", xyz=_vector(xyz), rpy=_vector(rpy))


def _bound(value: float) -> str:
    return _text(value if math.isfinite(value) else math.copysign(UNBOUNDED, value))


def _text(value: float) -> str:
    return repr(float(value))


def _vector(values: Sequence[float]) -> str:
    return " ".join(_text(v) for v in values)

"""Poses in which a dynamics parameter can act: off the joint limits, or one link on the ground."""

from dataclasses import dataclass

import numpy as np

from simreal.core.kinematics import link_frames
from simreal.core.robot import Joint, Link, Robot, Shape
from simreal.core.rotations import matrix_from_rpy

_MARGIN = 0.25  # how far a probe may carry a joint [rad or m]
_TRIALS = 400
_CLEAR = 0.002  # by how much a link must be the lowest one [m]
_GAP = 0.025  # above the ground, so that no contact is older than the experiment [m]


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """Describe a pose in which one link, and no other, is about to touch the ground.

    Attributes:
        pos: Joint positions (J) [rad or m].
        upward: +1 or -1 for the slide that lifts the robot, by which way is up, else 0 (J).
        level: Slides that move the robot along the ground, canonical indices.
    """

    pos: np.ndarray
    upward: np.ndarray
    level: tuple[int, ...]


def free_pose(robot: Robot) -> np.ndarray:
    """Return the default pose (J), joints that are near a limit there moved off it.

    Args:
        robot: The robot.
    """
    pose = np.array(robot.default_pose, dtype=float)
    for i, joint in enumerate(robot.movable):
        if not np.isfinite(joint.lower) or not np.isfinite(joint.upper):
            continue
        margin = min(_MARGIN, 0.4 * (joint.upper - joint.lower))
        if not joint.lower + margin <= pose[i] <= joint.upper - margin:
            pose[i] = 0.5 * (joint.lower + joint.upper)
    return pose


def turns_upright(robot: Robot) -> bool:
    """Return whether any link can turn about the vertical: not where all hinges lie level.

    Args:
        robot: The robot.
    """
    if not robot.fixed_base:
        return True
    frames = link_frames(robot, robot.default_pose.tolist())
    axes = [_axis(joint, frames[joint.parent][1]) for joint in robot.movable if _rotates(joint)]
    parallel = all(np.linalg.norm(np.cross(axes[0], axis)) < 1e-6 for axis in axes)
    return not parallel or any(abs(axis[2]) > 1e-6 for axis in axes)


def can_be_lifted(robot: Robot) -> bool:
    """Return whether a slide lifts all that collides, and the shapes' lowest points are known.

    Args:
        robot: The robot.
    """
    return any(_slides(robot)[0])


def grounding(robot: Robot, link: str) -> Grounding | None:
    """Find a pose in which a link is on the ground and all others are above it.

    The default pose is the first candidate, random ones within the joint limits follow.

    Args:
        robot: A robot that can be lifted.
        link: One of its colliding links.

    Returns:
        The pose in which the link is lowest by most, or None if another one always is lower.
    """
    rng = np.random.default_rng(0)
    upward, level = _slides(robot)
    rest, names = robot.default_pose, [item.name for item in _colliding(robot)]
    others = [i for i, name in enumerate(names) if name != link]
    best: np.ndarray | None = None
    most, target = _CLEAR, names.index(link)
    for trial in range(_TRIALS):
        pose = np.array(rest, dtype=float)
        for i, joint in enumerate(robot.movable if trial else ()):
            if _rotates(joint):
                pose[i] = rng.uniform(max(joint.lower, -np.pi), min(joint.upper, np.pi))
        low = _lowest(robot, pose)
        clear = float(low[others].min() - low[target]) if others else np.inf
        if clear > most:
            lift = int(np.flatnonzero(upward)[0])
            pose[lift] -= upward[lift] * (low[target] - _GAP)
            joint = robot.movable[lift]
            if joint.lower <= pose[lift] <= joint.upper:
                best, most = pose, clear
                if trial == 0:
                    break
    return None if best is None else Grounding(pos=best, upward=upward, level=level)


def center_of_mass(robot: Robot, pose: np.ndarray) -> np.ndarray:
    """Return the center of mass of the whole robot (3) [m].

    Args:
        robot: The robot.
        pose: Joint positions (J).
    """
    frames, mass, moment = link_frames(robot, pose.tolist()), 0.0, np.zeros(3)
    for link in robot.links:
        origin, turn = frames[link.name]
        mass += link.mass
        moment += link.mass * (origin + turn @ np.array(link.com))
    return moment / mass


def felt_inertia(robot: Robot, joint: int, pose: np.ndarray) -> float:
    """Return the inertia that one joint feels while all others are free [kg m^2 or kg].

    It is one over the joint's entry of the inverse mass matrix.

    Args:
        robot: A robot on a fixed base.
        joint: Canonical index.
        pose: Joint positions (J).
    """
    frames = link_frames(robot, pose.tolist())
    parents = {item.child: item for item in robot.joints}
    slots = {name: i for i, name in enumerate(robot.joint_names)}
    mass = np.diag([item.armature for item in robot.movable])
    for link in robot.links:
        origin, turn = frames[link.name]
        move, spin = np.zeros((2, 3, robot.num_joints))
        name = link.name
        while name in parents:
            item = parents[name]
            axis = _axis(item, frames[item.parent][1])
            if item.name in slots and item.kind == "prismatic":
                move[:, slots[item.name]] = axis
            elif item.name in slots:
                lever = origin + turn @ np.array(link.com) - frames[item.child][0]
                move[:, slots[item.name]] = np.cross(axis, lever)
                spin[:, slots[item.name]] = axis
            name = item.parent
        mass += link.mass * move.T @ move + spin.T @ turn @ _tensor(link) @ turn.T @ spin
    return float(1.0 / np.linalg.inv(mass)[joint, joint])


def _slides(robot: Robot) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return which slide lifts everything that collides, and which ones move it level."""
    upward = np.zeros(robot.num_joints)
    level: list[int] = []
    shapes = [shape for link in _colliding(robot) for shape in link.shapes if shape.collides]
    if not robot.fixed_base or not shapes or any(shape.kind == "mesh" for shape in shapes):
        return upward, ()
    before = _lowest(robot, robot.default_pose)
    for i, joint in enumerate(robot.movable):
        if joint.kind != "prismatic":
            continue
        rise = _lowest(robot, robot.default_pose + np.eye(robot.num_joints)[i]) - before
        if np.allclose(np.abs(rise), 1.0) and not upward.any():
            upward[i] = np.sign(rise[0])
        elif np.allclose(rise, 0.0):
            level.append(i)
    return upward, tuple(level)


def _colliding(robot: Robot) -> list[Link]:
    return [link for link in robot.links if any(shape.collides for shape in link.shapes)]


def _lowest(robot: Robot, pose: np.ndarray) -> np.ndarray:
    """Return the height of the lowest point of every colliding link [m]."""
    frames = link_frames(robot, pose.tolist())
    return np.array(
        [
            min(_bottom(shape, *frames[link.name]) for shape in link.shapes if shape.collides)
            for link in _colliding(robot)
        ]
    )


def _bottom(shape: Shape, origin: np.ndarray, turn: np.ndarray) -> float:
    height = float((origin + turn @ np.array(shape.xyz))[2])
    up = np.abs((turn @ matrix_from_rpy(shape.rpy))[2])
    if shape.kind == "box":
        return height - float(up @ np.array(shape.size))
    radius = shape.size[0]
    if shape.kind == "sphere":
        return height - radius
    height -= 0.5 * shape.size[1] * float(up[2])
    if shape.kind == "capsule":
        return height - radius
    return height - radius * float(np.sqrt(max(0.0, 1.0 - up[2] ** 2)))


def _axis(joint: Joint, parent: np.ndarray) -> np.ndarray:
    return parent @ matrix_from_rpy(joint.rpy) @ np.array(joint.axis)


def _rotates(joint: Joint) -> bool:
    return joint.kind in ("revolute", "continuous")


def _tensor(link: Link) -> np.ndarray:
    xx, yy, zz, xy, xz, yz = link.inertia
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])

"""Where the links are: forward kinematics of a record, in numpy.

Engines are checked against it when they are built, and pictures are framed with it. It is not meant
for the hot path; engines report body positions themselves.
"""

from collections.abc import Sequence

import numpy as np

from simreal.core.robot import Joint, Robot
from simreal.core.rotations import matrix_from_rpy


def link_frames(
    robot: Robot, joint_pos: Sequence[float]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the world frame of every link, with the root at its reset pose.

    Args:
        robot: The record.
        joint_pos: Positions of the movable joints (J) [rad or m].

    Returns:
        Link name to position (3) [m] and rotation matrix (3, 3), link to world.
    """
    frames = {robot.links[0].name: (np.array([0.0, 0.0, robot.base_height]), np.eye(3))}
    moving = dict(zip(robot.joint_names, joint_pos, strict=True))
    for joint in robot.joints:
        origin, turn = frames[joint.parent]
        shift, own = _motion(joint, moving.get(joint.name, 0.0))
        fixed = turn @ matrix_from_rpy(joint.rpy)
        position = origin + turn @ np.array(joint.xyz) + fixed @ shift
        frames[joint.child] = (position, fixed @ own)
    return frames


def reach(robot: Robot) -> float:
    """Return an upper bound of the distance of any part of the robot from its root frame [m]."""
    far = {robot.links[0].name: 0.0}
    for joint in robot.joints:
        travel = max(abs(joint.lower), abs(joint.upper)) if joint.kind == "prismatic" else 0.0
        step = float(np.linalg.norm(joint.xyz)) + (travel if np.isfinite(travel) else 0.0)
        far[joint.child] = far[joint.parent] + step
    extent = 0.0
    for link in robot.links:
        sizes = [
            float(np.linalg.norm(s.xyz)) + (0.0 if s.kind == "mesh" else max(s.size, default=0.0))
            for s in link.shapes
        ]
        extent = max(extent, far[link.name] + max([*sizes, float(np.linalg.norm(link.com))]))
    return extent


def _motion(joint: Joint, position: float) -> tuple[np.ndarray, np.ndarray]:
    axis = np.array(joint.axis)
    if joint.kind == "fixed":
        return np.zeros(3), np.eye(3)
    if joint.kind == "prismatic":
        return axis * position, np.eye(3)
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turn = np.eye(3) + np.sin(position) * cross + (1.0 - np.cos(position)) * cross @ cross
    return np.zeros(3), turn

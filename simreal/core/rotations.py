"""Rotations between the forms that robot descriptions and engines use.

URDF speaks fixed-axis roll, pitch, yaw; engines speak quaternions; inertias need matrices. One
module, so that the convention (`R = Rz(yaw) Ry(pitch) Rx(roll)`, child to parent) is stated once.
"""

import math
from collections.abc import Sequence

import numpy as np

from simreal.core.robot import Link, inertia_matrix

Vec3 = tuple[float, float, float]


def matrix_from_rpy(rpy: Sequence[float]) -> np.ndarray:
    """Return the rotation matrix (3, 3) of fixed-axis roll, pitch, yaw [rad]."""
    (cr, cp, cy), (sr, sp, sy) = [math.cos(a) for a in rpy], [math.sin(a) for a in rpy]
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rpy_from_matrix(matrix: np.ndarray) -> Vec3:
    """Return fixed-axis roll, pitch, yaw [rad] of a rotation matrix (3, 3).

    At a pitch of +-pi/2 roll and yaw turn about the same line; yaw is 0 there.
    """
    flat = math.hypot(matrix[0, 0], matrix[1, 0])
    pitch = math.atan2(-matrix[2, 0], flat)
    if flat < 1e-9:
        return (math.atan2(-matrix[1, 2], matrix[1, 1]), pitch, 0.0)
    return (
        math.atan2(matrix[2, 1], matrix[2, 2]),
        pitch,
        math.atan2(matrix[1, 0], matrix[0, 0]),
    )


def principal_inertia(link: Link) -> tuple[np.ndarray, np.ndarray]:
    """Return a link's principal moments (3) [kg m^2] and axes (3, 3), the axes in its columns.

    An inertia that is diagonal already keeps its order, and its axes are those of the link.
    """
    matrix = inertia_matrix(link)
    if not np.any(matrix - np.diag(np.diag(matrix))):
        return np.diag(matrix).copy(), np.eye(3)
    moments, axes = np.linalg.eigh(matrix)
    if np.linalg.det(axes) < 0:
        axes[:, 0] = -axes[:, 0]
    return moments, axes

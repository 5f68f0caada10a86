"""The moving root of a Bullet world, in the frame and the order the record speaks of.

Bullet moves the root's inertial frame: its origin is the center of mass and its axes are the
principal ones. The state has the link's own frame, quaternions with w first, and the velocity of
the frame's origin.
"""

from collections.abc import Sequence

import numpy as np

from simreal.core.rotations import principal_inertia
from simreal.engines.pybullet_world import World, p


def root_state(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Return pose (7) [m, quaternion wxyz] and velocity (6) [m/s, rad/s] of the root frame."""
    center, quaternion = p.getBasePositionAndOrientation(world.body, world.client)
    linear, angular = p.getBaseVelocity(world.body, world.client)
    to_inertial = _inertial_quaternion(world)
    x, y, z, w = _product(quaternion, _conjugate(to_inertial))
    lever = -_turn((x, y, z, w), world.robot.links[0].com)
    pose = np.array([*(np.array(center) + lever), w, x, y, z])
    return pose, np.array([*(np.array(linear) + np.cross(angular, lever)), *angular])


def place_root(world: World, pose: np.ndarray, vel: np.ndarray) -> None:
    """Put the root frame somewhere, with a velocity.

    Args:
        world: The Bullet world.
        pose: (7) [m, quaternion wxyz].
        vel: (6) [m/s, rad/s], of the frame's origin, world axes.
    """
    w, x, y, z = pose[3:]
    lever = _turn((x, y, z, w), world.robot.links[0].com)
    quaternion = _product((x, y, z, w), _inertial_quaternion(world))
    p.resetBasePositionAndOrientation(
        world.body, (pose[:3] + lever).tolist(), quaternion, world.client
    )
    linear = vel[:3] + np.cross(vel[3:], lever)
    p.resetBaseVelocity(world.body, linear.tolist(), vel[3:].tolist(), world.client)


def rest_pose(world: World) -> np.ndarray:
    """Return the root pose at reset (7) [m, quaternion wxyz]."""
    return np.array([0.0, 0.0, world.robot.base_height, 1.0, 0.0, 0.0, 0.0])


def _inertial_quaternion(world: World) -> Sequence[float]:
    """Return the principal axes of the root in its link frame, xyzw."""
    m = principal_inertia(world.robot.links[0])[1]
    # Shepperd's method: divide by the largest component, which never vanishes.
    candidates = np.array(
        [
            [
                1 + m[0, 0] - m[1, 1] - m[2, 2],
                m[0, 1] + m[1, 0],
                m[0, 2] + m[2, 0],
                m[2, 1] - m[1, 2],
            ],
            [
                m[0, 1] + m[1, 0],
                1 - m[0, 0] + m[1, 1] - m[2, 2],
                m[1, 2] + m[2, 1],
                m[0, 2] - m[2, 0],
            ],
            [
                m[0, 2] + m[2, 0],
                m[1, 2] + m[2, 1],
                1 - m[0, 0] - m[1, 1] + m[2, 2],
                m[1, 0] - m[0, 1],
            ],
            [
                m[2, 1] - m[1, 2],
                m[0, 2] - m[2, 0],
                m[1, 0] - m[0, 1],
                1 + m[0, 0] + m[1, 1] + m[2, 2],
            ],
        ]
    )
    best = candidates[int(np.argmax(np.diag(candidates)))]
    return (best / np.linalg.norm(best)).tolist()


def _product(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float, float]:
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def _conjugate(q: Sequence[float]) -> tuple[float, float, float, float]:
    return (-q[0], -q[1], -q[2], q[3])


def _turn(q: Sequence[float], vector: Sequence[float]) -> np.ndarray:
    axis = np.array(q[:3])
    twice = 2.0 * np.cross(axis, vector)
    return np.array(vector) + q[3] * twice + np.cross(axis, twice)

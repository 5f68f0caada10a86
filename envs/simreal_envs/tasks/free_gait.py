"""What the ant's task sees of its robot: a free torso on legs of a yawing hip and a knee.

See `simreal_envs.tasks.gait` for what is a tick old. Of a free robot, Bullet gives the torso's own
pose and velocity as they are now, and those of all other links as they were.
"""

from typing import Any

import numpy as np

from simreal.core.robot import Robot
from simreal.core.task import Array, StateView
from simreal_envs.tasks.gait import HALF_PI, STEEP, TARGET_X, Constants, Stance

_TINY = 1e-30  # keeps the length of a rotation that is none from being divided by


class FreeGait:
    """Compute them for a free torso on legs that lie in its plane while their joints are at 0.

    Every leg has a part that is fixed to the torso, a hip that yaws, and a knee whose axis is
    across the leg. All legs point evenly away from the torso, so the fixed parts' mean is the
    torso's own place.
    """

    def __init__(self, robot: Robot, tick_s: float) -> None:
        """Take directions and lengths of the legs.

        The parts are Bullet's links and the ground: the torso, and of each leg five: the center of
        mass of the fixed part, the hip, the thigh's center of mass, the knee, the shin's center.

        Args:
            robot: The record; its joints are hip and knee of one leg after the other.
            tick_s: Physics time step [s].
        """
        hips, knees = robot.movable[0::2], robot.movable[1::2]
        way = np.array([robot.link(joint.child).com for joint in knees])  # (legs, 3)
        thigh = np.array([robot.link(joint.child).com for joint in hips])
        knee = np.array([joint.xyz for joint in knees])
        axis = np.array([joint.axis for joint in knees])
        # How far each leg's moving parts lie along its direction, in lengths of that direction.
        reach = ((thigh + 2.0 * knee) * way).sum(axis=1) / (way * way).sum(axis=1)
        self._reach = float(reach.mean())
        drop = np.cross(axis, way)[:, 2]
        self._legs = Constants(x=way[:, 0], y=way[:, 1], drop=drop)
        self._parts = 5 * len(hips) + 2
        self._tick = tick_s
        self.rest_height = robot.base_height

    def to_go(self, xp: Any, state: StateView) -> Array:
        """Return the distance from the mean of the parts to the target, less `TARGET_X` (N,)."""
        forward, sideways = self._mean(xp, state)
        distance = xp.sqrt((TARGET_X - forward) ** 2 + sideways**2)
        # The difference of the squares over the sum, in which nothing cancels.
        return (sideways**2 - forward * (2.0 * TARGET_X - forward)) / (distance + TARGET_X)

    def stance(self, xp: Any, state: StateView) -> Stance:
        """Return what the reward needs."""
        pose = state.root_pose
        sin_pitch = 2.0 * (pose[:, 3] * pose[:, 5] - pose[:, 4] * pose[:, 6])
        return Stance(self.to_go(xp, state), pose[:, 2], sin_pitch)

    def signals(self, xp: Any, state: StateView) -> dict[str, Array]:
        """Return the raw signals of the torso."""
        forward, sideways = self._mean(xp, state)
        roll, pitch, yaw = _angles(xp, state.root_pose)
        turn_cos, turn_sin = xp.cos(-yaw), xp.sin(-yaw)
        x, y, z = state.root_vel[:, 0], state.root_vel[:, 1], state.root_vel[:, 2]
        velocity = (turn_cos * x - turn_sin * y, turn_sin * x + turn_cos * y, z)
        return {
            "base_height": state.root_pose[:, 2:3],
            "bearing": (xp.atan2(-sideways, TARGET_X - forward) - yaw)[:, None],
            "base_velocity": xp.stack(velocity, axis=1),
            "tilt": xp.stack((roll, pitch), axis=1),
        }

    def _mean(self, xp: Any, state: StateView) -> tuple[Array, Array]:
        """Return where the mean of the parts is, along x (N,) and along y (N,) [m]."""
        old = state.joint_pos - self._tick * state.joint_vel
        hip, knee = old[:, 0::2], old[:, 1::2]
        out = self._reach + xp.cos(knee)  # (N, legs)
        constants = self._legs.on(xp, old)
        sin, cos = out * xp.sin(hip), out * xp.cos(hip)
        local = (
            cos @ constants["x"] - sin @ constants["y"],
            sin @ constants["x"] + cos @ constants["y"],
            xp.sin(knee) @ constants["drop"],
        )
        turned = _back(xp, _rotated(state.root_pose[:, 3:], local), state.root_vel, self._tick)
        moving = self._parts - 2  # all but the torso, which is seen as it is now, and the ground
        pose, vel, parts = state.root_pose, state.root_vel, self._parts
        forward, sideways = (
            ((moving + 1) * pose[:, i] - moving * self._tick * vel[:, i] + turned[i]) / parts
            for i in (0, 1)
        )
        return forward, sideways


Vector = tuple[Array, Array, Array]


def _rotated(quaternion: Array, vector: Vector) -> Vector:
    """Return a vector of the body frame in the world frame, three arrays (N,)."""
    w = quaternion[:, 0]
    axis = (quaternion[:, 1], quaternion[:, 2], quaternion[:, 3])
    twice = tuple(2.0 * part for part in _cross(axis, vector))
    again = _cross(axis, (twice[0], twice[1], twice[2]))
    x, y, z = (vector[i] + w * twice[i] + again[i] for i in range(3))
    return x, y, z


def _back(xp: Any, vector: Vector, velocity: Array, tick_s: float) -> Vector:
    """Return a vector that turns with an angular velocity, as it was a tick ago."""
    spin = (velocity[:, 3], velocity[:, 4], velocity[:, 5])
    rate = xp.sqrt(spin[0] * spin[0] + spin[1] * spin[1] + spin[2] * spin[2] + _TINY)
    axis = (spin[0] / rate, spin[1] / rate, spin[2] / rate)
    sin, cos = xp.sin(-tick_s * rate), xp.cos(-tick_s * rate)
    across = _cross(axis, vector)
    along = (axis[0] * vector[0] + axis[1] * vector[1] + axis[2] * vector[2]) * (1.0 - cos)
    x, y, z = (vector[i] * cos + across[i] * sin + axis[i] * along for i in range(3))
    return x, y, z


def _cross(a: Vector, b: Vector) -> Vector:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _angles(xp: Any, pose: Array) -> Vector:
    """Return roll, pitch and yaw (N,) each, with Bullet's choice where only their sum is known."""
    w, x, y, z = pose[:, 3], pose[:, 4], pose[:, 5], pose[:, 6]
    sin = -2.0 * (x * z - w * y)
    steep = xp.abs(sin) >= STEEP
    side = xp.sign(sin)
    roll = xp.atan2(2.0 * (y * z + w * x), w * w - x * x - y * y + z * z)
    yaw = xp.atan2(2.0 * (x * y + w * z), w * w + x * x - y * y - z * z)
    pitch = xp.where(steep, HALF_PI * side, xp.asin(xp.clip(sin, -1.0, 1.0)))
    return (
        xp.where(steep, 0.0 * roll, roll),
        pitch,
        xp.where(steep, 2.0 * xp.atan2(-side * x, side * y), yaw),
    )

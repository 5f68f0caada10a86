"""What the locomotion tasks of the Bullet family see of a robot, from its joints and root alone.

The published environments read the poses of Bullet's links, and those are one physics tick old: the
integrator moves the joints after it has placed the links. A velocity is turned into the world frame
by such an old pose too. Here both are computed from the present joints, positions minus tick times
velocity being the ones of a tick before, so that any engine gives the same quantities and no link
has to be asked for.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from simreal.core.robot import Robot
from simreal.core.task import Array, StateView

TARGET_X = 1000.0
"""Where the robots walk to, along +x from where they start [m]."""
STEEP = 0.99999
"""Sine of the pitch from which Bullet gives half a pi, and neither roll nor yaw."""
HALF_PI = 1.5707963267948966
PI = 3.141592653589793


class Constants:
    """Hold arrays by name, and copies of them for each namespace, dtype and device, made once.

    Its text is that of the arrays alone. A checkpoint knows its task by the texts of what the task
    holds, and which copies there are is no setting.
    """

    def __init__(self, **arrays: np.ndarray) -> None:
        """Take the arrays.

        Args:
            arrays: Name to array.
        """
        self._arrays = arrays
        self._placed: dict[tuple[int, Any, str], dict[str, Array]] = {}

    def on(self, xp: Any, like: Array) -> dict[str, Array]:
        """Return all of them in a namespace, with the dtype and on the device of another array.

        Args:
            xp: The namespace.
            like: The other array.
        """
        key = (id(xp), like.dtype, str(getattr(like, "device", "")))
        if key not in self._placed:
            self._placed[key] = {
                name: xp.asarray(value, dtype=like.dtype, device=like.device)
                for name, value in self._arrays.items()
            }
        return self._placed[key]

    def __repr__(self) -> str:
        """Return the arrays as text."""
        return f"Constants({self._arrays})"


@dataclass(frozen=True, slots=True)
class Stance:
    """Hold what a task judges by, one number per world.

    Attributes:
        to_go: Horizontal distance from the mean of the parts to the target, less `TARGET_X` (N,)
            [m]. The distance itself, a kilometer, would leave single precision 0.06 mm, which is
            0.004 of the reward of one step.
        height: Height of the torso's center of mass (N,) [m].
        sin_pitch: Sine of the pitch of the torso (N,), as good as the angle within a quarter turn.
    """

    to_go: Array
    height: Array
    sin_pitch: Array


class Gait(Protocol):
    """Compute what a task of the family needs, in batches."""

    rest_height: float
    """Height of the torso's center of mass at the start [m]."""

    def to_go(self, xp: Any, state: StateView) -> Array:
        """Return that of `Stance` alone (N,) [m]."""

    def stance(self, xp: Any, state: StateView) -> Stance:
        """Return what the reward needs."""

    def signals(self, xp: Any, state: StateView) -> dict[str, Array]:
        """Return `base_height` (N, 1), `bearing` (N, 1), `base_velocity` (N, 3), `tilt` (N, 2)."""


class PlanarGait:
    """Compute them for a robot on two slides and a pitch hinge, whose other joints pitch too.

    All angles are sums of joint angles, so the mean of the parts is a weighted sum of their sines
    and cosines, with weights that the table gives once and for all.
    """

    def __init__(self, robot: Robot, tick_s: float) -> None:
        """Compile the weights.

        The parts are Bullet's links and the ground: three that carry the root joints, the torso's
        center of mass, and for every other link its joint and its center of mass.

        Args:
            robot: The record; its first three joints are the root's.
            tick_s: Physics time step [s].
        """
        hinges = robot.movable[2:]
        number = {joint.child: i for i, joint in enumerate(hinges)}
        sums = np.zeros((len(hinges), len(hinges)))
        cos, sin = np.zeros(len(hinges)), np.zeros(len(hinges))
        for i, joint in enumerate(hinges):
            own = number.get(joint.parent)
            if own is not None:
                sums[:, i] = sums[:, own]
            sums[i, i] = joint.axis[1]
            com = robot.link(joint.child).com
            cos[i] += com[0]
            sin[i] += com[2]
            parts = 2 if i else 1  # the joint and the center of mass, which move with all above
            link = joint
            while link.parent in number:
                cos[number[link.parent]] += parts * link.xyz[0]
                sin[number[link.parent]] += parts * link.xyz[2]
                link = hinges[number[link.parent]]
        moving = 2 * len(hinges) + 2
        self._share = moving / (moving + 1)
        self._weights = Constants(sums=sums, cos=cos / (moving + 1), sin=sin / (moving + 1))
        torso = robot.link(hinges[0].child)
        self._com_x, self._com_z = torso.com[0], torso.com[2]
        self._base = sum(joint.xyz[2] for joint in robot.movable[:3])
        self._tick = tick_s
        self.rest_height = self._base + self._com_z

    def to_go(self, xp: Any, state: StateView) -> Array:
        """Return the distance from the mean of the parts to the target, less `TARGET_X` (N,)."""
        old, sin, cos = self._old(xp, state)
        return self._to_go(xp, old, sin, cos)

    def stance(self, xp: Any, state: StateView) -> Stance:
        """Return what the reward needs."""
        old, sin, cos = self._old(xp, state)
        return Stance(
            self._to_go(xp, old, sin, cos),
            self._height(old, sin[:, 0], cos[:, 0]),
            sin[:, 0],
        )

    def signals(self, xp: Any, state: StateView) -> dict[str, Array]:
        """Return the raw signals of the torso; `left` is 0, and so is the bearing but for turns."""
        tick, vel = self._tick, state.joint_vel
        old = state.joint_pos[:, :3] - tick * vel[:, :3]
        sin, cos = xp.sin(old[:, 2]), xp.cos(old[:, 2])
        speed = vel[:, 2]
        turn_sin, turn_cos = xp.sin(-tick * speed), xp.cos(-tick * speed)
        forward = turn_cos * vel[:, 0] + turn_sin * vel[:, 1]
        upward = turn_cos * vel[:, 1] - turn_sin * vel[:, 0]
        forward = forward + speed * (cos * self._com_z - sin * self._com_x)
        upward = upward - speed * (cos * self._com_x + sin * self._com_z)
        # Upside down, roll and yaw are half a turn, and pitch is that of the torso's other side.
        # Half a turn is the same to either side; Bullet gives -pi in one sector, where its
        # quaternion has zeros with a sign.
        over = (cos < 0.0) & (xp.abs(sin) < STEEP)
        sector = (sin > 0.0) & (cos > -0.5) & (xp.cos(0.5 * old[:, 2]) > 0.0)
        none = 0.0 * forward
        half = xp.where(over, xp.where(sector, none - PI, PI), none)
        return {
            "base_height": self._height(old, sin, cos)[:, None],
            "bearing": -half[:, None],
            "base_velocity": xp.stack((xp.where(over, -forward, forward), none, upward), axis=1),
            "tilt": xp.stack((half, self._pitch(xp, sin)), axis=1),
        }

    def _old(self, xp: Any, state: StateView) -> tuple[Array, Array, Array]:
        """Return joint positions of a tick ago (N, J), and sine and cosine of all links (N, L)."""
        old = state.joint_pos - self._tick * state.joint_vel
        angle = old[:, 2:] @ self._weights.on(xp, old)["sums"]
        return old, xp.sin(angle), xp.cos(angle)

    def _to_go(self, xp: Any, old: Array, sin: Array, cos: Array) -> Array:
        weights = self._weights.on(xp, old)
        mean = cos @ weights["cos"] + sin @ weights["sin"]
        place = mean + self._share * old[:, 0]
        return xp.where(place > TARGET_X, place - 2.0 * TARGET_X, -place)

    def _height(self, old: Array, sin: Array, cos: Array) -> Array:
        return old[:, 1] + self._base + (cos * self._com_z - sin * self._com_x)

    @staticmethod
    def _pitch(xp: Any, sin: Array) -> Array:
        steep = HALF_PI * xp.sign(sin)
        return xp.where(xp.abs(sin) >= STEEP, steep, xp.asin(xp.clip(sin, -1.0, 1.0)))

"""Swing-up and balance of the double pendulum with one driven joint.

Success: the tip is above 0.45 m of 0.5 m at every control step from second 8 to second 10.
"""

from typing import Any

from simreal.core.task import Array, StateView
from simreal_envs.tasks.swing_up import SwingUp

LENGTHS_M = (0.2, 0.3)
SUCCESS_HEIGHT_M = 0.45


class DoublePendulumSwingUp(SwingUp):
    """Swing up the double pendulum; angles: shoulder 0 when hanging, elbow relative to link 1."""

    num_joints = 2
    robot_names = ("double_pendulum",)

    def height(self, xp: Any, state: StateView) -> Array:
        """Return the height of the tip over the shoulder divided by 0.5 m (N,)."""
        shoulder = state.joint_pos[:, 0]
        tip = shoulder + state.joint_pos[:, 1]
        return -0.4 * xp.cos(shoulder) - 0.6 * xp.cos(tip)

    def success(self, xp: Any, state: StateView) -> Array:
        """Return whether the tip is above 0.45 m (N,), bool."""
        return self.height(xp, state) * sum(LENGTHS_M) > SUCCESS_HEIGHT_M


class Pendubot(DoublePendulumSwingUp):
    """Drive the shoulder, leave the elbow passive."""

    name = "pendubot"
    driven = "shoulder"

    def __init__(
        self,
        *,
        torque_nm: float = 6.0,
        explore: float = 0.33,
        speed_scale: tuple[float, ...] = (10.0, 15.0),
    ) -> None:
        """Set the torque limit of 6 Nm of the published benchmark.

        Args:
            torque_nm: Torque at action 1 [Nm].
            explore: Share of the training episodes that begin at a random state.
            speed_scale: Velocity of each joint that reads as 1 (J) [rad/s].
        """
        super().__init__(torque_nm=torque_nm, explore=explore, speed_scale=speed_scale)

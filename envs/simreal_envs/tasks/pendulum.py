"""Swing-up and balance of the simple pendulum with a motor too weak to lift it at once.

Success: within 0.2 rad of upright at every control step from second 8 to second 10.
"""

import math
from typing import Any

from simreal.core.task import Array, StateView
from simreal_envs.tasks.swing_up import SwingUp


class PendulumSwingUp(SwingUp):
    """Swing up one link; the weight asks for about 3 Nm, the motor gives 1.2 Nm."""

    name = "pendulum"
    driven = "shoulder"
    num_joints = 1
    robot_names = ("simple_pendulum",)

    def __init__(
        self,
        *,
        torque_nm: float = 1.2,
        explore: float = 0.33,
        speed_scale: tuple[float, ...] = (10.0,),
    ) -> None:
        """Set a torque that takes several swings.

        Args:
            torque_nm: Torque at action 1 [Nm].
            explore: Share of the training episodes that begin at a random state.
            speed_scale: Velocity of each joint that reads as 1 (J) [rad/s].
        """
        super().__init__(torque_nm=torque_nm, explore=explore, speed_scale=speed_scale)

    def height(self, xp: Any, state: StateView) -> Array:
        """Return the height of the tip over the pivot divided by the length (N,)."""
        return -xp.cos(state.joint_pos[:, 0])

    def success(self, xp: Any, state: StateView) -> Array:
        """Return whether the link is within 0.2 rad of upright (N,), bool."""
        return self.height(xp, state) > math.cos(0.2)

"""The state of N worlds in one packed buffer, with named views that are built once.

Conventions, stated here and nowhere else: SI units; joints in the robot's canonical order;
quaternions are (w, x, y, z) and rotate from the body to the world frame; velocities of the root are
in the world frame, linear before angular. float64 on the CPU; the observation is cast to float32
once, at its end.
"""

from collections.abc import Sequence

import numpy as np


class State:
    """Hold what is known of N worlds at one instant.

    Attributes:
        buffer: The packed numbers (N, D), float64.
        joint_pos: View (N, J) [rad or m].
        joint_vel: View (N, J) [rad/s or m/s].
        root_pose: View (N, 7) [m, quaternion wxyz]; zero width for a fixed base.
        root_vel: View (N, 6) [m/s, rad/s]; zero width for a fixed base.
        body_pos: Name to view (N, 3) [m], for the bodies that were asked for.
        contact: Name to view (N,), 1 where the body touches anything, else 0.
        time: View (N,) [s] since the episode began.
    """

    def __init__(
        self,
        num_worlds: int,
        num_joints: int,
        *,
        floating_base: bool = False,
        bodies: Sequence[str] = (),
        contacts: Sequence[str] = (),
        buffer: np.ndarray | None = None,
    ) -> None:
        """Allocate the buffer, or lay the views over a given one.

        Args:
            num_worlds: N.
            num_joints: J.
            floating_base: Whether the root moves.
            bodies: Bodies whose position is kept.
            contacts: Bodies whose contact flag is kept.
            buffer: Memory to use (N, D), float64, for instance shared memory; new if None.
        """
        self.num_worlds, self.num_joints = num_worlds, num_joints
        self.bodies, self.contacts = tuple(bodies), tuple(contacts)
        self.floating_base = floating_base
        width = self.width(num_joints, floating_base, self.bodies, self.contacts)
        self.buffer = np.zeros((num_worlds, width)) if buffer is None else buffer
        pose, vel = (7, 6) if floating_base else (0, 0)
        cursor = _Cursor(self.buffer)
        self.joint_pos = cursor.take(num_joints)
        self.joint_vel = cursor.take(num_joints)
        self.root_pose = cursor.take(pose)
        self.root_vel = cursor.take(vel)
        self.body_pos = {name: cursor.take(3) for name in self.bodies}
        self.contact = {name: cursor.take(1)[:, 0] for name in self.contacts}
        self.time = cursor.take(1)[:, 0]

    @staticmethod
    def width(
        num_joints: int, floating_base: bool, bodies: Sequence[str], contacts: Sequence[str]
    ) -> int:
        """Return D, the number of float64 per world."""
        return 2 * num_joints + 13 * floating_base + 3 * len(bodies) + len(contacts) + 1

    def like(self) -> "State":
        """Return an empty state of the same layout."""
        return self.over(np.zeros_like(self.buffer))

    def over(self, buffer: np.ndarray) -> "State":
        """Return a state of the same layout over other memory, with any number of worlds.

        Args:
            buffer: The packed numbers (M, D).
        """
        return State(
            buffer.shape[0],
            self.num_joints,
            floating_base=self.floating_base,
            bodies=self.bodies,
            contacts=self.contacts,
            buffer=buffer,
        )

    def copy_from(self, other: "State", mask: np.ndarray | None = None) -> None:
        """Overwrite this state with another one of the same layout.

        Args:
            other: Where the numbers come from.
            mask: Worlds to copy (N,), bool; all if None.
        """
        if mask is None:
            self.buffer[...] = other.buffer
        else:
            self.buffer[mask] = other.buffer[mask]


class _Cursor:
    """Hand out consecutive column blocks of a buffer."""

    def __init__(self, buffer: np.ndarray) -> None:
        self._buffer = buffer
        self._at = 0

    def take(self, width: int) -> np.ndarray:
        view = self._buffer[:, self._at : self._at + width]
        self._at += width
        return view

"""Bounds on torque that depend on where a joint is, and how fast it moves.

A torque within its limit can still drive a joint into its end stop. So the largest torque towards
an end shrinks as the joint comes near, and turns into the largest torque away from it: a spring and
a damper that act only against what would do harm. The bound is linear in position and speed, so a
command that is bounded never jumps because of it.
"""

from typing import Any

import numpy as np

from simreal.deploy.intake import SignalIntake
from simreal.deploy.manifest import Manifest
from simreal.deploy.settings import ControlSettings


class TorqueFromGains:
    """Bound a target so that the motor's own gains ask for no more than the torque limit.

    `|kp (target - q) - kd dq| <= limit`, for position-driven joints whose position is measured.

    The bounds lie to both sides of a middle, at a distance that does not change.

    Attributes:
        acts: Whether there is such a joint.
        reach: Distance of the bounds from the middle (A) [rad or m]; infinite for other joints.
    """

    def __init__(self, manifest: Manifest, intake: SignalIntake) -> None:
        """Lay out the gains.

        Args:
            manifest: The manifest.
            intake: Measurements.
        """
        actuators = manifest.robot.actuators
        found = [
            (i, intake.pos.column(a.joint), intake.vel.column(a.joint), a)
            for i, a in enumerate(actuators)
            if a.kind == "position" and a.kp > 0 and intake.pos.column(a.joint) is not None
        ]
        self.acts = bool(found)
        self._rows = _places([i for i, *_ in found])
        self._pos = _places([p or 0 for _, p, _, _ in found])
        has_vel = np.array([v is not None for _, _, v, _ in found], dtype=np.float64)
        self._vel = _places([v or 0 for _, _, v, _ in found])
        self._center = np.zeros(len(found))
        limit = manifest.safety.torque_limit
        self.reach = np.full(len(actuators), np.inf)
        self.reach[self._rows] = [limit[a.joint] / a.kp for *_, a in found]
        # A joint whose speed is not measured is bounded as if it stood still.
        self._lead = np.array([a.kd / a.kp for *_, a in found]) * has_vel
        self._intake = intake

    def middle(self, out: np.ndarray) -> None:
        """Compute the middle between the bounds from the newest measurement.

        Args:
            out: Where to write it (A) [rad or m]; other joints are left alone.
        """
        center = self._center
        if self._intake.vel.value.size:
            np.multiply(self._lead, self._intake.vel.value[self._vel], center)
        else:
            center.fill(0.0)
        np.add(center, self._intake.pos.value[self._pos], center)
        out[self._rows] = center


class TorqueBarrier:
    """Bound torques by the position and the speed of their joints.

    Attributes:
        acts: Whether there is a joint to bound.
    """

    def __init__(self, manifest: Manifest, settings: ControlSettings, intake: SignalIntake) -> None:
        """Lay out the barriers.

        Args:
            manifest: The manifest.
            settings: Their widths.
            intake: Measurements.
        """
        robot, limit = manifest.robot, manifest.safety.torque_limit
        self._intake = intake
        self._ends: list[tuple[int, int, int | None, float, float, float, float]] = []
        self._speeds: list[tuple[int, int, float, float, float]] = []
        horizon = settings.barrier_horizon_periods * settings.period_s
        for i, actuator in enumerate(robot.actuators):
            name = actuator.joint
            pos, vel = intake.pos.column(name), intake.vel.column(name)
            if actuator.kind != "torque":
                continue
            if pos is not None and name in manifest.safety.joint_position:
                lower, upper = manifest.safety.joint_position[name]
                width = settings.barrier_share * (upper - lower)
                self._ends.append((i, pos, vel, lower, upper, width, limit[name]))
            if vel is not None:
                most = manifest.safety.joint_velocity_max[name]
                begin = settings.velocity_barrier * most
                self._speeds.append((i, vel, begin, most, limit[name]))
        self._horizon_s = horizon
        self.acts = bool(self._ends or self._speeds)

    def bounds(self, lower: np.ndarray, upper: np.ndarray) -> None:
        """Compute the bounds from the newest measurement; those of other joints are left alone.

        Args:
            lower: Where to write the least torques by position, and by speed (2, A) [Nm or N].
            upper: Where to write the greatest ones (2, A).
        """
        pos, vel = self._intake.pos.value, self._intake.vel.value
        for i, at, speed_at, least, most, width, limit in self._ends:
            here = float(pos[at])
            ahead = self._horizon_s * (0.0 if speed_at is None else float(vel[speed_at]))
            room_up = (most - here - max(ahead, 0.0)) / width
            room_down = (here + min(ahead, 0.0) - least) / width
            upper[0, i] = limit * _bounded(room_up)
            lower[0, i] = -limit * _bounded(room_down)
        for i, at, begin, most, limit in self._speeds:
            speed = float(vel[at])
            half = 0.5 * (most - begin)
            upper[1, i] = limit * _bounded((begin + half - speed) / half)
            lower[1, i] = -limit * _bounded((begin + half + speed) / half)


def _bounded(value: float) -> float:
    return min(max(value, -1.0), 1.0)


def _places(index: list[int]) -> Any:
    """Return places in the cheapest form: a slice where they follow each other."""
    if index and index == list(range(index[0], index[0] + len(index))):
        return slice(index[0], index[0] + len(index))
    return np.array(index, dtype=np.intp)

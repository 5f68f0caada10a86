"""Bound what is sent, stage by stage, in a fixed order, and count what each stage changed.

The order matters: a clamp turns infinity into a limit and lets NaN pass, so the command is tested
for finite numbers before every clamp. Position-driven joints pass a soft joint limit, a rate limit
and the limit that their own gains imply for the torque; torque-driven joints a torque limit, a
torque-rate limit, and barriers at the ends of their range and at their largest speed.

No stage depends on what an earlier one did to the command. So all bounds are computed first, and a
command that lies between all of them, which NaN never does, passes as it is, at the cost of two
comparisons; any other goes through every stage.
"""

import math
from collections.abc import Sequence

import numpy as np

from simreal.deploy.barriers import TorqueBarrier, TorqueFromGains
from simreal.deploy.intake import SignalIntake
from simreal.deploy.manifest import ActuatorEntry, JointEntry, Manifest
from simreal.deploy.settings import ControlSettings

_COMMANDING = 0.05  # of the largest torque, or of a radian: less would not move a robot
_STAGES = (
    "acceleration limit",
    "torque from gains",
    "position barrier",
    "velocity barrier",
    "final limit",
)
_NO_COMMAND = 1e150  # what is larger overflows in the test for finite numbers


class CommandFilter:
    """Hold the limits of commands, in the order of the manifest's actuators.

    Attributes:
        command: The last filtered command (A) [Nm, N, rad, m, rad/s or m/s].
        counts: How often each stage changed a command.
    """

    def __init__(self, manifest: Manifest, settings: ControlSettings, intake: SignalIntake) -> None:
        """Lay out the limits.

        Args:
            manifest: The manifest.
            settings: Margins and rates.
            intake: Measurements.
        """
        actuators = manifest.robot.actuators
        joints = {joint.name: joint for joint in manifest.robot.joints}
        self._names = manifest.robot.actuator_names
        self._tick_s, self._intake = settings.tick_s, intake
        self._driven = [a.kind == "torque" for a in actuators]
        rows = [_limits(manifest, settings, a, joints[a.joint]) for a in actuators]
        self._lower, self._upper = np.array(rows, dtype=np.float64).reshape(-1, 2).T
        self._gains = TorqueFromGains(manifest, intake)
        self._barrier = TorqueBarrier(manifest, settings, intake)
        self._kd = np.array([manifest.safety.safe_stop_kd.get(a.joint, 0.0) for a in actuators])
        self._default = np.array([joints[name].default for name in self._names], dtype=np.float64)
        self._places = [(intake.pos.column(n), intake.vel.column(n)) for n in self._names]
        size = len(actuators)
        self.command, self._speed, self._hold = np.zeros(size), np.zeros(size), np.zeros(size)
        self._lay_out(manifest, settings, size)
        self.begin()

    def _lay_out(self, manifest: Manifest, settings: ControlSettings, size: int) -> None:
        """Name the stages, and give each a row of the bounds that are compared at once.

        The first row is that of the range, then come those to both sides of a middle, then those
        of the barriers.
        """
        # What a stage changed is counted under the name that its kind of actuator gives it.
        torque = any(self._driven)
        limit = "torque limit" if torque else "joint limit"
        rate = "torque rate limit" if torque else "rate limit"
        steps = np.array([_rate(manifest, settings, a) for a in manifest.robot.actuators])
        sides = [(rate, settings.tick_s * steps)]
        if settings.acceleration_limit:
            sides.append(("acceleration limit", _seconds(settings, self._names)))
        if self._gains.acts:
            sides.append(("torque from gains", self._gains.reach))
        ends = ("position barrier", "velocity barrier") if self._barrier.acts else ()
        names = (limit, *(name for name, _ in sides), *ends)
        self._least = np.full((len(names), size), -np.inf)
        self._most = -self._least
        np.clip(self._lower, -_NO_COMMAND, _NO_COMMAND, out=self._least[0])
        np.clip(self._upper, -_NO_COMMAND, _NO_COMMAND, out=self._most[0])
        inner, last = slice(1, 1 + len(sides)), slice(1 + len(sides), None)
        self._reach = np.array([reach for _, reach in sides])
        self._middle = np.zeros_like(self._reach)
        self._around = (self._least[inner], self._most[inner])
        self._ends = (self._least[last], self._most[last])
        self._last = self._middle[0]
        self._ahead = self._middle[1] if settings.acceleration_limit else None
        self._stages = list(zip(names, self._least, self._most, strict=True))
        self._stages[0] = (limit, self._lower, self._upper)
        self._wanted = np.zeros_like(self._least)
        self._inside = np.ones((2, *self._wanted.shape), dtype=bool)
        self._above, self._below = self._inside
        self._all_inside = self._inside.tobytes()
        self.counts = dict.fromkeys((limit, rate, *_STAGES), 0)

    def begin(self) -> None:
        """Start from where the robot is: later commands move away from there, within the rate."""
        for i, (driven, (pos, _)) in enumerate(zip(self._driven, self._places, strict=True)):
            measured = self._default[i] if pos is None else self._intake.pos.value[pos]
            self._hold[i] = 0.0 if driven else min(max(measured, self._lower[i]), self._upper[i])
        self._last[:] = self.command[:] = self._hold
        self._speed.fill(0.0)

    def apply(self, target: np.ndarray, share: float = 1.0) -> str | None:
        """Filter a command into `command`, and return why that was not possible.

        Args:
            target: What the policy wants (A).
            share: How far the policy has taken over from holding, 0 to 1.
        """
        command = self.command
        self._bounds()
        self._wanted[:] = target
        np.less(self._least, self._wanted, self._above)
        np.greater(self._most, self._wanted, self._below)
        inside = self._inside.tobytes() == self._all_inside
        if inside:
            command[:] = target
        else:
            problem = self._clamp_all(target)
            if problem is not None:
                return problem
        if self._ahead is not None:
            np.subtract(command, self._last, self._speed)
        self._last[:] = command
        if share < 1.0:
            self._damp(self._hold)
            command -= self._hold
            command *= share
            command += self._hold
        elif inside:
            return None
        return self._clamp(self._lower, self._upper, "final limit")

    def hold(self) -> None:
        """Set the command to holding: the pose where it began, or damping."""
        self._damp(self._hold)
        self.command[:] = self._hold

    def stop(self, usable: bool) -> None:
        """Set the command to stopping: damping, or the last target for position-driven joints.

        Args:
            usable: Whether the measured speeds can be trusted; torque-driven joints are let go
                otherwise.
        """
        self._damp(self.command, usable)

    def by_name(self) -> dict[str, float]:
        """Return the command by joint."""
        return dict(zip(self._names, self.command.tolist(), strict=True))

    def commanding(self) -> bool:
        """Return whether the command would move a robot that is free to move."""
        for i, (driven, (pos, _)) in enumerate(zip(self._driven, self._places, strict=True)):
            if driven and abs(self.command[i]) > _COMMANDING * self._upper[i]:
                return True
            if not driven and pos is not None:
                away = abs(self.command[i] - self._intake.pos.value[pos])
                if away > _COMMANDING:
                    return True
        return False

    def _damp(self, out: np.ndarray, usable: bool = True) -> None:
        for i, (driven, (_, vel)) in enumerate(zip(self._driven, self._places, strict=True)):
            if driven:
                speed = float(self._intake.vel.value[vel]) if usable and vel is not None else 0.0
                torque = -self._kd[i] * speed
                out[i] = min(max(torque, self._lower[i]), self._upper[i])

    def _clamp(self, lower: np.ndarray, upper: np.ndarray, name: str) -> str | None:
        command = self.command
        if not _finite(command):
            return f"command before its {name}: expected finite numbers, found {command.tolist()}"
        before = command.tobytes()
        np.maximum(command, lower, out=command)
        np.minimum(command, upper, out=command)
        if command.tobytes() != before:
            self.counts[name] += 1
        return None

    def _bounds(self) -> None:
        """Compute the bounds that depend on the last command or on the measurement."""
        if self._ahead is not None:
            np.add(self._last, self._speed, self._ahead)
        if self._gains.acts:
            self._gains.middle(self._middle[-1])
        least, most = self._around
        np.subtract(self._middle, self._reach, least)
        np.add(self._middle, self._reach, most)
        if self._barrier.acts:
            self._barrier.bounds(*self._ends)

    def _clamp_all(self, target: np.ndarray) -> str | None:
        """Take a command through every stage; the later ones have the last word."""
        if not _finite(target):
            return f"command: expected finite numbers, found {target.tolist()}"
        self.command[:] = target
        for name, lower, upper in self._stages:
            problem = self._clamp(lower, upper, name)
            if problem is not None:
                return problem
        return None


def _finite(values: np.ndarray) -> bool:
    # One number tells of all; where it overflows, the numbers are no commands either.
    return math.isfinite(values.dot(values))


def _seconds(settings: ControlSettings, names: Sequence[str]) -> np.ndarray:
    """Return the largest change of a change per command (A), infinite where none is stated."""
    limits = [settings.acceleration_limit.get(name, np.inf) for name in names]
    return np.array(limits, dtype=np.float64) * settings.tick_s**2


def _limits(
    manifest: Manifest, settings: ControlSettings, actuator: ActuatorEntry, joint: JointEntry
) -> tuple[float, float]:
    """Return the least and greatest command of an actuator."""
    if actuator.kind == "torque":
        limit = manifest.safety.torque_limit[actuator.joint]
        return -limit, limit
    if actuator.kind == "velocity":
        limit = manifest.safety.joint_velocity_max.get(joint.name, joint.max_velocity)
        return -limit, limit
    lower = -math.inf if joint.lower is None else joint.lower
    upper = math.inf if joint.upper is None else joint.upper
    kept = manifest.safety.joint_position.get(joint.name, (lower, upper))
    if tuple(kept) == (lower, upper) and math.isfinite(upper - lower):
        # Nobody stated a narrower range: stay off the ends, but never off the default pose.
        margin = 0.5 * (1.0 - settings.soft_limit) * (upper - lower)
        return min(lower + margin, joint.default), max(upper - margin, joint.default)
    return kept


def _rate(manifest: Manifest, settings: ControlSettings, actuator: ActuatorEntry) -> float:
    """Return the largest change of a command per second."""
    if actuator.joint in settings.rate_limit:
        return settings.rate_limit[actuator.joint]
    joints = {joint.name: joint for joint in manifest.robot.joints}
    if actuator.kind == "torque":
        return 2.0 * manifest.safety.torque_limit[actuator.joint] / settings.period_s
    speed = manifest.safety.joint_velocity_max.get(
        actuator.joint, joints[actuator.joint].max_velocity
    )
    return speed if actuator.kind == "position" else 2.0 * speed / settings.period_s

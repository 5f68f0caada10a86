"""Compare a measurement with what a joint can do, and with the measurements before it.

A sensor that freezes, jumps or reports an impossible speed still gives finite numbers.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from simreal.deploy.manifest import JointEntry, Manifest
from simreal.deploy.settings import ControlSettings

_MOVING = 0.02  # of the largest speed: a joint that is this quick changes its position
_DRIFT = 0.5  # of the way that a frozen speed claims


class JointView:
    """Find the elements of all signals of one kind in the packed row.

    Attributes:
        names: Joint names (K).
        index: Their places in the packed row (K).
        value: Their newest values (K), filled by `take`.
    """

    def __init__(
        self, kind: str, manifest: Manifest, elements: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Lay out the view.

        Args:
            kind: Kind of signal.
            manifest: The manifest.
            elements: Signal name to its element names, in the order they are given.
        """
        kinds = {signal.name: signal.kind for signal in manifest.signals}
        names: list[str] = []
        index: list[int] = []
        at = 0
        for signal, row in elements.items():
            if kinds[signal] == kind:
                names += list(row)
                index += range(at, at + len(row))
            at += len(row)
        self.names = tuple(names)
        self.index = np.array(index, dtype=np.intp)
        self.value = np.zeros(len(names))

    def take(self, packed: np.ndarray) -> None:
        """Fill the values from the packed row (S)."""
        packed.take(self.index, out=self.value)

    def column(self, joint: str) -> int | None:
        """Return the place of a joint among the names, or None."""
        return self.names.index(joint) if joint in self.names else None


class Plausibility:
    """Compare a sample with the limits, and with the samples before it."""

    def __init__(
        self,
        manifest: Manifest,
        settings: ControlSettings,
        pos: JointView,
        vel: JointView,
        size: int,
    ) -> None:
        """Lay out limits and buffers.

        Args:
            manifest: The manifest.
            settings: What is tolerated.
            pos: Joint positions, taken from the sample before `problem` is asked.
            vel: Joint velocities, likewise.
            size: Length of the packed row, S.
        """
        joints = {joint.name: joint for joint in manifest.robot.joints}
        most = manifest.safety.joint_velocity_max
        self._pos, self._vel = pos, vel
        self._speed_max = np.array([most[name] for name in vel.names], dtype=np.float64)
        self._abs_vel = np.zeros(len(vel.names))
        self._beyond(settings, [joints[name] for name in pos.names])
        limits = [most.get(name, joints[name].max_velocity) for name in pos.names]
        self._quick = settings.jump_factor * np.array(limits, dtype=np.float64)
        self._jump_slack = settings.jump_slack
        turns = [joints[name].kind == "continuous" for name in pos.names]
        # For a joint with ends a turn is so large that no number of them is ever subtracted.
        self._turn = np.where(turns, 2.0 * math.pi, 1e300)
        self._before, self._moved = np.zeros(len(pos.names)), np.zeros(len(pos.names))
        self._frozen_samples = settings.frozen_periods * settings.actuator_multiple
        self._same, self._equal = np.zeros(size, dtype=np.intp), np.zeros(size, dtype=bool)
        self._ring = np.zeros((self._frozen_samples, len(pos.names)))
        self._ring_s = np.zeros(self._frozen_samples)
        self._then, self._then_s = np.zeros(len(pos.names)), 0.0
        self.restart()

    def _beyond(self, settings: ControlSettings, joints: list[JointEntry]) -> None:
        lower = np.array([-np.inf if j.lower is None else j.lower for j in joints])
        upper = np.array([np.inf if j.upper is None else j.upper for j in joints])
        self._least, self._most = lower - settings.limit_margin, upper + settings.limit_margin
        self._limited = bool(np.isfinite(self._least).any() or np.isfinite(self._most).any())
        self._limits = (lower, upper)

    def restart(self) -> None:
        """Forget the samples."""
        self._first = True
        self._same.fill(0)
        self._samples = 0
        self._clock_s = 0.0

    def problem(self, packed: np.ndarray, before: np.ndarray, passed_s: float) -> str | None:
        """Return what is implausible about a new sample, if anything.

        Args:
            packed: The sample (S).
            before: The one before (S).
            passed_s: Time between them [s].
        """
        problem = self._too_fast() or self._out_of_range()
        if self._first:
            self._first = False
        else:
            problem = problem or self._jump(passed_s)
            np.equal(packed, before, out=self._equal)
            self._same += 1
            self._same *= self._equal
            self._clock_s += passed_s
        self._before[:] = self._pos.value
        row = self._samples % self._frozen_samples
        self._samples += 1
        # The oldest kept sample is read before it is overwritten.
        self._then[:], self._then_s = self._ring[row], self._ring_s[row]
        self._ring[row], self._ring_s[row] = self._pos.value, self._clock_s
        return problem

    def _too_fast(self) -> str | None:
        np.abs(self._vel.value, out=self._abs_vel)
        if not (self._abs_vel > self._speed_max).any():
            return None
        worst = int(np.flatnonzero(self._abs_vel > self._speed_max)[0])
        return (
            f"velocity of joint '{self._vel.names[worst]}': expected at most "
            f"{self._speed_max[worst]:g}, found {self._abs_vel[worst]:g}"
        )

    def _out_of_range(self) -> str | None:
        value = self._pos.value
        if not self._limited or not ((value < self._least) | (value > self._most)).any():
            return None
        worst = int(np.flatnonzero((value < self._least) | (value > self._most))[0])
        lower, upper = (float(limit[worst]) for limit in self._limits)
        return (
            f"position of joint '{self._pos.names[worst]}': expected {lower:g} to {upper:g}, "
            f"found {value[worst]:g}"
        )

    def _jump(self, passed_s: float) -> str | None:
        moved = self._moved
        np.subtract(self._pos.value, self._before, out=moved)
        np.abs(moved, out=moved)
        allowed = self._quick * passed_s + self._jump_slack
        if not (moved > allowed).any():
            return None
        # A sensor that starts anew after a turn has not jumped.
        moved = np.abs(moved - self._turn * np.round(moved / self._turn))
        if not (moved > allowed).any():
            return None
        worst = int(np.flatnonzero(moved > allowed)[0])
        return (
            f"position of joint '{self._pos.names[worst]}': expected a change of at most "
            f"{allowed[worst]:.3g} in {passed_s:.3g} s, found {moved[worst]:.3g}; an encoder jumped"
        )

    def frozen(self, commanding: Callable[[], bool]) -> str | None:
        """Return which sensor gives equal samples while its joint moves or is commanded to.

        Args:
            commanding: Tells whether the commands would move the robot.
        """
        most = self._frozen_samples
        if self._same.size == 0 or self._same.max() < most:
            return None
        same_pos = self._same[self._pos.index] >= most
        same_vel = self._same[self._vel.index] >= most
        for column, name in enumerate(self._pos.names):
            at = self._vel.column(name)
            if at is None or not same_pos[column]:
                continue
            if self._abs_vel[at] > _MOVING * self._speed_max[at]:
                return self._words("position", name, f"while it moves at {self._vel.value[at]:g}")
        return self._frozen_speed(same_pos, same_vel) or self._all_frozen(
            np.concatenate([same_pos, same_vel]), commanding
        )

    def _frozen_speed(self, same_pos: np.ndarray, same_vel: np.ndarray) -> str | None:
        """Compare the way that an unchanging speed claims with the way that was measured."""
        for at, name in enumerate(self._vel.names):
            column = self._pos.column(name)
            if same_vel[at] and column is not None and not same_pos[column]:
                moved = float(self._pos.value[column] - self._then[column])
                claimed = float(self._vel.value[at]) * (self._clock_s - self._then_s)
                if abs(moved - claimed) > _DRIFT * abs(claimed) + self._jump_slack:
                    return self._words("velocity", name, f"while it moved by {moved:g}")
        return None

    def _all_frozen(self, same: np.ndarray, commanding: Callable[[], bool]) -> str | None:
        if same.size and same.all() and commanding():
            joint = (self._pos.names or self._vel.names)[0]
            return self._words("position", joint, "of it and all others, while commanded")
        return None

    def _words(self, what: str, joint: str, how: str) -> str:
        return (
            f"{what} of joint '{joint}': expected it to change, found {self._frozen_samples} "
            f"equal samples {how}; a sensor is frozen"
        )

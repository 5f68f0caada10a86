"""Compare a measurement with what a joint can do, and with the measurements before it.

A sensor that freezes, jumps or reports an impossible speed still gives finite numbers.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from simreal.deploy.manifest import Manifest
from simreal.deploy.settings import ControlSettings

_MOVING = 0.02  # of the largest speed: a joint that is this quick changes its position
_DRIFT = 0.5  # of the way that a frozen speed claims


class JointView:
    """Find the elements of all signals of one kind in the packed row.

    Attributes:
        names: Joint names (K).
        index: Their places in the packed row (K).
        value: Their newest values (K).
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

    def column(self, joint: str) -> int | None:
        """Return the place of a joint among the names, or None."""
        return self.names.index(joint) if joint in self.names else None


class Plausibility:
    """Compare a sample with the limits, and with the samples before it."""

    def __init__(
        self, manifest: Manifest, settings: ControlSettings, pos: JointView, vel: JointView
    ) -> None:
        """Lay out limits and buffers; the values of both views become parts of one buffer.

        Args:
            manifest: The manifest.
            settings: What is tolerated.
            pos: Joint positions (P).
            vel: Joint velocities (V).
        """
        self._pos, self._vel = pos, vel
        count, size = len(pos.names), len(pos.names) + len(vel.names)
        self._index = np.concatenate([pos.index, vel.index])
        self._fresh = np.zeros(size)
        # The newest numbers and their changes; as distances they are compared with their limits.
        self._row, self._test = np.zeros(2 * size), np.zeros(2 * size)
        self._joint, self._change = self._row[:size], self._row[size:]
        pos.value, vel.value = self._joint[:count], self._joint[count:]
        self._over = np.zeros(2 * size, dtype=bool)
        self._none_over = self._over.tobytes()
        self._limits(manifest, settings)
        self._frozen_samples = settings.frozen_periods * settings.actuator_multiple
        self._same, self._equal = np.zeros(size, dtype=np.intp), np.zeros(size, dtype=bool)
        self._none_equal, self._kept = self._equal.tobytes(), self._frozen_samples + 1
        self._ring, self._ring_s = np.zeros((self._kept, count)), [0.0] * self._kept
        places = [(column, vel.column(name), name) for column, name in enumerate(pos.names)]
        self._pairs = [(column, at, name) for column, at, name in places if at is not None]
        self.restart()

    def _limits(self, manifest: Manifest, settings: ControlSettings) -> None:
        joints = {joint.name: joint for joint in manifest.robot.joints}
        found = [joints[name] for name in self._pos.names]
        lower = np.array([-np.inf if j.lower is None else j.lower for j in found])
        upper = np.array([np.inf if j.upper is None else j.upper for j in found])
        ended = np.isfinite(lower) & np.isfinite(upper)
        self._ends = (lower, upper)
        # A joint with one end is tested from that end, over an endless range.
        self._middle = np.zeros_like(self._row)
        self._middle[: len(found)][ended] = 0.5 * (lower[ended] + upper[ended])
        half = np.full(len(found), np.inf)
        half[ended] = 0.5 * (upper[ended] - lower[ended]) + settings.limit_margin
        self._one_ended = [
            (i, float(lower[i]) - settings.limit_margin, float(upper[i]) + settings.limit_margin)
            for i in np.flatnonzero(~ended & (np.isfinite(lower) | np.isfinite(upper))).tolist()
        ]
        most = manifest.safety.joint_velocity_max
        quickest = [most.get(j.name, j.max_velocity) for j in found]
        self._quick = settings.jump_factor * np.array(quickest, dtype=np.float64)
        self._jump_slack, self._passed_s = settings.jump_slack, 0.0
        self._speed_max = np.array([most[name] for name in self._vel.names], dtype=np.float64)
        self._moving = _MOVING * self._speed_max
        free = np.full(self._change.size, np.inf)  # a speed may change as it likes
        self._most = np.concatenate([half, self._speed_max, free])
        self._most_change = self._most[self._joint.size :][: len(found)]
        # For a joint with ends a turn is so large that no number of them is ever subtracted.
        turns = [j.kind == "continuous" for j in found]
        self._turn = np.where(turns, 2.0 * math.pi, 1e300)

    def restart(self) -> None:
        """Forget the samples."""
        self._first = True
        self._same.fill(0)
        self._any_same = False
        self._samples = 0
        self._clock_s = 0.0

    def problem(self, packed: np.ndarray, passed_s: float) -> str | None:
        """Take a new sample, and return what is implausible about it, if anything.

        Args:
            packed: The sample (S).
            passed_s: Time since the one before [s].
        """
        joint, change, fresh, test = self._joint, self._change, self._fresh, self._test
        packed.take(self._index, 0, fresh, "clip")
        if self._first:
            self._first = False
            joint[:] = fresh
            change.fill(0.0)
            self._ring[0], self._ring_s[0] = self._pos.value, 0.0
        else:
            np.equal(fresh, joint, self._equal)
            np.subtract(fresh, joint, change)
            joint[:] = fresh
            self._count_equal(passed_s)
        np.subtract(self._row, self._middle, test)
        np.abs(test, test)
        if passed_s != self._passed_s:
            self._passed_s = passed_s
            self._most_change[:] = self._quick * passed_s + self._jump_slack
        np.greater(test, self._most, self._over)
        over = self._over.tobytes() != self._none_over
        found = self._words_of(passed_s) if over else None
        return found or (self._out_of_one_end() if self._one_ended else None)

    def _count_equal(self, passed_s: float) -> None:
        """Count for every number how often in a row it was the same."""
        if self._equal.tobytes() != self._none_equal:
            self._same += 1
            self._same *= self._equal
            self._any_same = True
        elif self._any_same:
            self._same.fill(0)
            self._any_same = False
        self._clock_s += passed_s
        self._samples += 1
        row = self._samples % self._kept
        self._ring[row] = self._pos.value
        self._ring_s[row] = self._clock_s

    def _words_of(self, passed_s: float) -> str | None:
        """Return the problem behind a number that is over its limit, if it is one."""
        count, size = len(self._pos.names), self._joint.size
        over = np.flatnonzero(self._over)
        fast = over[(over >= count) & (over < size)]
        if fast.size:
            at = int(fast[0])
            return (
                f"velocity of joint '{self._vel.names[at - count]}': expected at most "
                f"{self._most[at]:g}, found {self._test[at]:g}"
            )
        if int(over[0]) < count:
            return self._range_words(int(over[0]))
        # A sensor that starts anew after a turn has not jumped.
        moved = self._test[size : size + count]
        moved = np.abs(moved - self._turn * np.round(moved / self._turn))
        allowed = self._most_change
        jumped = np.flatnonzero(moved > allowed)
        if not jumped.size:
            return None
        at = int(jumped[0])
        return (
            f"position of joint '{self._pos.names[at]}': expected a change of at most "
            f"{allowed[at]:.3g} in {passed_s:.3g} s, found {moved[at]:.3g}; an encoder jumped"
        )

    def _out_of_one_end(self) -> str | None:
        for at, lower, upper in self._one_ended:
            if not lower <= self._pos.value[at] <= upper:
                return self._range_words(at)
        return None

    def _range_words(self, at: int) -> str:
        lower, upper = (float(ends[at]) for ends in self._ends)
        return (
            f"position of joint '{self._pos.names[at]}': expected {lower:g} to {upper:g}, "
            f"found {self._pos.value[at]:g}"
        )

    def frozen(self, commanding: Callable[[], bool]) -> str | None:
        """Return which sensor gives equal samples while its joint moves or is commanded to.

        Args:
            commanding: Tells whether the commands would move the robot.
        """
        most = self._frozen_samples
        if not self._any_same or self._same.max() < most:
            return None
        count = len(self._pos.names)
        same = self._same >= most
        # The oldest kept sample stands behind the newest in the ring.
        then = (self._samples + 1) % self._kept
        passed_s = self._clock_s - self._ring_s[then]
        for column, at, name in self._pairs:
            speed = float(self._vel.value[at])
            moves = abs(speed) > self._moving[at]
            if same[column] and moves:
                return self._words("position", name, f"while it moves at {speed:g}")
            if same[count + at] and not same[column]:
                moved = float(self._pos.value[column] - self._ring[then][column])
                claimed = speed * passed_s
                if abs(moved - claimed) > _DRIFT * abs(claimed) + self._jump_slack:
                    return self._words("velocity", name, f"while it moved by {moved:g}")
        if same.all() and commanding():
            joint = (self._pos.names or self._vel.names)[0]
            return self._words("position", joint, "of it and all others, while commanded")
        return None

    def _words(self, what: str, joint: str, how: str) -> str:
        return (
            f"{what} of joint '{joint}': expected it to change, found {self._frozen_samples} "
            f"equal samples {how}; a sensor is frozen"
        )

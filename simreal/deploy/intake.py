"""Judge every measurement before anything else sees it.

A sensor that is dead, frozen, jumps or runs late gives numbers that look like numbers. So each
sample is tested for size and finite values, for its place in the sequence, for its age, and against
the sample before it; what fails is named by signal and joint.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from simreal.deploy.attitude import Attitude
from simreal.deploy.manifest import Manifest
from simreal.deploy.messages import Signals
from simreal.deploy.plausibility import JointView, Plausibility
from simreal.deploy.policy import PackedSignals
from simreal.deploy.settings import ControlSettings

_CLOCK_SLACK_S = 1e-6


class SignalIntake:
    """Hold the newest measurement that may be used.

    Attributes:
        values: Signal name to its newest numbers (k,), float64, valid until the next `take`.
        packed: All of them, one after the other (S).
        pos: Joint positions.
        vel: Joint velocities.
        time_s: When the newest sample was taken [s].
        age_s: Its age at the last `take` [s].
        is_new: Whether the last `take` brought a new sample.
        stale: Whether the newest sample is too old to be acted on.
        usable: Whether the joint velocities may be used for damping.
        counts: Samples that were lost, repeated or out of order.
    """

    def __init__(
        self,
        manifest: Manifest,
        elements: Mapping[str, tuple[str, ...]],
        settings: ControlSettings,
    ) -> None:
        """Lay out the buffers.

        Args:
            manifest: The manifest.
            elements: Signal name to its element names, in the order they are given.
            settings: What is tolerated.
        """
        self._elements = dict(elements)
        # A measurement has one time, so the least patient signal decides.
        ages = [s.max_age_s for s in manifest.signals if s.max_age_s is not None]
        self._max_age_s = min([manifest.timing.max_signal_age_s, *ages])
        self._tick_s = settings.tick_s
        layout = tuple((name, tuple(names)) for name, names in elements.items())
        size = sum(len(names) for _, names in layout)
        self.values, self._next = (PackedSignals(layout, np.zeros(size)) for _ in range(2))
        self.packed = self.values.packed
        # Where the two samples have what: one is written while the other is in use.
        self._places, self._next_places = (
            [(name, row, row.shape) for name, row in sample.rows.items()]
            for sample in (self.values, self._next)
        )
        self.pos = JointView("joint_position", manifest, elements)
        self.vel = JointView("joint_velocity", manifest, elements)
        self._plausible = Plausibility(manifest, settings, self.pos, self.vel)
        self._attitude = Attitude(manifest, settings, elements)
        self._commands = _ranges(manifest, elements)
        self.counts = {
            "samples lost": 0,
            "samples repeated": 0,
            "samples out of order": 0,
            "commands clipped": 0,
        }
        self.restart()

    def restart(self) -> None:
        """Forget the samples; the next one is the first."""
        self._seq: int | None = None
        self._refused: int | None = None
        self.time_s = -math.inf
        self.age_s = math.inf
        self.is_new = self.usable = False
        self.stale = True
        self._plausible.restart()

    def take(self, signals: Signals, now_s: float) -> str | None:
        """Take a measurement, and return why the robot must stop, if it must.

        Args:
            signals: What the robot gave.
            now_s: Time [s].
        """
        self.usable = False
        problem = None
        self.is_new, went_back = self._order(signals)
        if went_back is not None:
            return went_back
        if self.is_new:
            problem = self._copy(signals.values)
            if problem is not None:
                self._refused = signals.seq
                return problem
            problem = self._accept(signals)
        self.age_s = now_s - self.time_s
        if not self.age_s >= -_CLOCK_SLACK_S:  # true where it is not a number
            return self.age_problem()
        self.stale = self.age_s > self._max_age_s + _CLOCK_SLACK_S
        self.usable = not self.stale
        return problem

    @property
    def overdue_s(self) -> float:
        """Return for how long the newest sample has been too old [s]; less than 0 if it is not."""
        return self.age_s - self._max_age_s - _CLOCK_SLACK_S

    def age_problem(self) -> str:
        """Return the words for a sample that is too old, or from the future."""
        return f"age of the signals: expected 0 to {self._max_age_s:g} s, found {self.age_s:g} s"

    def frozen_problem(self, commanding: Callable[[], bool]) -> str | None:
        """Return which sensor is frozen, if one is.

        Args:
            commanding: Tells whether the commands would move the robot.
        """
        return self._plausible.frozen(commanding) if self.is_new else None

    def _order(self, signals: Signals) -> tuple[bool, str | None]:
        """Return whether a sample is newer than the one before, and what is wrong otherwise."""
        if self._seq is None or signals.seq is None:
            ahead = 1 if signals.time_s > self.time_s else 0
            if signals.time_s < self.time_s:
                ahead = -1
            if signals.time_s != signals.time_s:  # not a number; its age tells
                ahead = 1
        else:
            ahead = signals.seq - self._seq
            if ahead > 0 and signals.time_s < self.time_s:
                return False, (
                    f"time of the signals: expected at least {self.time_s:.6f} s at sample "
                    f"{signals.seq}, found {signals.time_s:.6f} s; a clock was set back"
                )
            if ahead > 1 and self._refused is not None:  # what came and was refused is not lost
                ahead = max(1, signals.seq - self._refused)
        if ahead > 1:
            self.counts["samples lost"] += ahead - 1
        elif ahead == 0:
            self.counts["samples repeated"] += 1
        elif ahead < 0:
            self.counts["samples out of order"] += 1
        return ahead > 0, None

    def _copy(self, values: Mapping[str, np.ndarray]) -> str | None:
        for name, row, shape in self._next_places:
            value = values.get(name)
            if value.__class__ is not np.ndarray:
                if value is None and name not in values:
                    return f"signal '{name}': expected {row.size} numbers, found nothing"
                value = np.asarray(value, dtype=np.float64)
            if value.shape != shape:
                return f"signal '{name}': expected {row.size} numbers, found shape {value.shape}"
            row[:] = value
        target = self._next.rows
        # One number tells of all: it is finite only if each of them is, or if some are huge.
        packed = self._next.packed
        if not math.isfinite(packed.dot(packed)):
            return self._not_finite(target)
        for name, low, high in self._commands:
            row = target[name]
            before = row.tobytes()
            np.clip(row, low, high, out=row)
            self.counts["commands clipped"] += row.tobytes() != before
        return None

    def _not_finite(self, values: Mapping[str, np.ndarray]) -> str | None:
        for name, names in self._elements.items():
            bad = np.flatnonzero(~(np.abs(values[name]) < 1e150))
            if bad.size:
                worst = int(bad[0])
                found = values[name][worst]
                return f"signal '{name}' of '{names[worst]}': expected a number, found {found}"
        return None

    def _accept(self, signals: Signals) -> str | None:
        """Make the copied sample the newest one, and compare it with the one before."""
        # A robot that samples faster than it is read must not make small steps look quick.
        passed_s = max(signals.time_s - self.time_s, self._tick_s)
        self.values, self._next = self._next, self.values
        self._places, self._next_places = self._next_places, self._places
        self.packed = self.values.packed
        self._seq, self.time_s, self._refused = signals.seq, signals.time_s, None
        problem = self._plausible.problem(self.packed, passed_s)
        return problem or self._attitude.problem(self.values)


def _ranges(
    manifest: Manifest, elements: Mapping[str, tuple[str, ...]]
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return the operator's commands that have a range, with its ends in the order they come in."""
    found = []
    for signal in manifest.signals:
        if signal.kind == "command" and signal.range is not None:
            by_name = dict(zip(signal.elements, signal.range, strict=True))
            low, high = np.array([by_name[name] for name in elements[signal.name]]).T
            found.append((signal.name, low, high))
    return found

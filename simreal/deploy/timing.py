"""Keep a loop on its absolute deadlines, and measure what it did.

`work(); sleep(period)` runs a 100 Hz policy at 94 Hz. A deadline is a whole number of periods after
the start, so that lateness never adds up. What a late cycle leads to is a choice: a robot has moved
on, so the default skips the periods that were missed; an arm with a clock of its own may need every
one of them, late.
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from simreal.deploy.settings import ControlSettings, Overrun

_SLACK = 1e-6  # of a period: rounding of the clock, not lateness
_KEPT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopReport:
    """State what a loop did.

    Percentiles are over the last 100,000 cycles, maxima over all.

    Attributes:
        cycles: Number of commands that were sent.
        overruns: Cycles that were not done before the next deadline.
        skipped: Periods without a command because of that.
        missed: Cycles that took longer than their deadline allows.
        mean_rate_hz: Mean rate [Hz]; NaN below two cycles.
        latency_p50_s: Median time from waking up to the sent command [s].
        latency_p99_s: 99th percentile of it [s].
        latency_max_s: Largest [s].
        jitter_p50_s: Median of how late a cycle began after its place on the grid [s].
        jitter_p99_s: 99th percentile of it [s].
        jitter_max_s: Largest [s].
        fault: The latched fault, if any.
        counts: What was counted beside, by name.
    """

    cycles: int
    overruns: int
    skipped: int
    missed: int
    mean_rate_hz: float
    latency_p50_s: float
    latency_p99_s: float
    latency_max_s: float
    jitter_p50_s: float
    jitter_p99_s: float
    jitter_max_s: float
    fault: str | None
    counts: dict[str, int] = field(default_factory=dict)


class _Samples:
    """Hold the last values of a quantity, and the largest of all; nothing grows."""

    def __init__(self) -> None:
        self._kept = np.empty(_KEPT)
        self._count = 0
        self._most = -math.inf

    def add(self, value: float) -> None:
        self._kept[self._count % _KEPT] = value
        self._count += 1
        if value > self._most:
            self._most = value

    def summary(self) -> tuple[float, float, float]:
        """Return median, 99th percentile and largest."""
        if self._count == 0:
            return math.nan, math.nan, math.nan
        p50, p99 = np.percentile(self._kept[: min(self._count, _KEPT)], [50, 99])
        return float(p50), float(p99), self._most


class LoopTimer:
    """Count cycles, lateness and latencies of a fixed-rate loop.

    Attributes:
        overruns: Cycles that were not done before the next deadline.
        consecutive_overruns: Those in a row.
        skipped: Periods without a command.
        missed: Cycles over their deadline.
        cycles: Cycles.
    """

    def __init__(
        self, period_s: float, overrun: Overrun = "skip", deadline_s: float = math.inf
    ) -> None:
        """Start with nothing counted.

        Args:
            period_s: The period [s].
            overrun: What a late cycle leads to.
            deadline_s: Longest time from waking up to the sent command [s].
        """
        self.period_s = period_s
        self.overruns = self.skipped = self.consecutive_overruns = self.missed = self.cycles = 0
        self._late, self._behind = overrun == "late", 0.0
        self._deadline_s = deadline_s * (1.0 + _SLACK)
        self._first_s = self._last_s = 0.0
        self._latency, self._jitter = _Samples(), _Samples()

    def record(self, begin_s: float, end_s: float) -> None:
        """Count one cycle.

        Args:
            begin_s: When it woke up [s].
            end_s: When its command was sent [s].
        """
        if self.cycles == 0:
            self._first_s = begin_s
        self._last_s = begin_s
        self.cycles += 1
        latency = end_s - begin_s
        self._latency.add(latency)
        if latency > self._deadline_s:
            self.missed += 1

    def woke(self, late_s: float) -> None:
        """Count how late a cycle began.

        Args:
            late_s: Time since its place on the grid [s].
        """
        self._jitter.add(late_s)

    def next_step(self, step: int, elapsed_s: float, *, stopped: bool = False) -> int:
        """Return the period to wait for, and count lateness.

        Args:
            step: Period that was just served.
            elapsed_s: Time since the start of the loop [s].
            stopped: Whether the robot is stopped, where there is nothing to make up for.
        """
        elapsed = elapsed_s / self.period_s
        # A loop that makes up for a late cycle is behind, but not later and later.
        behind = max(elapsed - step - 1, 0.0)
        later = behind > self._behind + _SLACK
        self._behind = behind if self._late else 0.0
        if not later:
            self.consecutive_overruns = 0
            return step + 1
        self.overruns += 1
        self.consecutive_overruns += 1
        if self._late and not stopped:
            return step + 1
        following = math.ceil(elapsed - _SLACK)
        self.skipped += following - step - 1
        return following

    def report(self, fault: str | None, counts: dict[str, int] | None = None) -> LoopReport:
        """Return what was counted.

        Args:
            fault: The latched fault, if any.
            counts: What was counted beside.
        """
        span = self._last_s - self._first_s
        latency, jitter = self._latency.summary(), self._jitter.summary()
        return LoopReport(
            cycles=self.cycles,
            overruns=self.overruns,
            skipped=self.skipped,
            missed=self.missed,
            mean_rate_hz=(self.cycles - 1) / span if span > 0 else math.nan,
            latency_p50_s=latency[0],
            latency_p99_s=latency[1],
            latency_max_s=latency[2],
            jitter_p50_s=jitter[0],
            jitter_p99_s=jitter[1],
            jitter_max_s=jitter[2],
            fault=fault,
            counts=dict(counts or {}),
        )


class RateMonitor:
    """Measure the rate over a window of cycles, whoever runs the loop."""

    def __init__(self, period_s: float, window: int, tolerance: float) -> None:
        """Begin with an empty window.

        Args:
            period_s: The right period [s].
            window: Cycles.
            tolerance: Largest relative error of the period.
        """
        self._period_s, self._window, self._tolerance = period_s, window, tolerance
        self._begins: deque[float] = deque(maxlen=window + 1)

    def problem(self, begin_s: float) -> str | None:
        """Return what is wrong with the rate, if anything.

        Args:
            begin_s: When a cycle began [s].
        """
        begins = self._begins
        begins.append(begin_s)
        if len(begins) <= self._window:
            return None
        period = (begin_s - begins[0]) / self._window
        if abs(period - self._period_s) <= self._tolerance * self._period_s:
            return None
        found = 1.0 / period if period > 0 else math.inf
        return (
            f"control rate: expected {1.0 / self._period_s:g} Hz within "
            f"{100.0 * self._tolerance:g} %, found {found:.4g} Hz over {self._window} cycles"
        )


class Pace:
    """Judge the time of every cycle: clock, gaps, rate."""

    def __init__(self, settings: ControlSettings) -> None:
        """Begin before the first cycle.

        Args:
            settings: What is tolerated.
        """
        window = settings.rate_window * settings.actuator_multiple
        self._rate = RateMonitor(settings.tick_s, window, settings.rate_tolerance)
        self._max_gap_s = settings.max_gap_periods * settings.period_s
        self._last_s = -math.inf

    def problem(self, begin_s: float) -> str | None:
        """Return what is wrong with the time, if anything.

        Args:
            begin_s: When a cycle began [s].
        """
        before, self._last_s = self._last_s, begin_s
        if not begin_s >= before:
            found = f"found {begin_s:.6f} s; it was set back"
            return f"clock: expected at least {before:.6f} s, {found}"
        if before > -math.inf:
            gap = self.gap("between two cycles", begin_s - before)
            if gap is not None:
                return gap
        return self._rate.problem(begin_s)

    def gap(self, where: str, found_s: float) -> str | None:
        """Return what is wrong if nothing was done for a while.

        Args:
            where: Between what.
            found_s: The time that passed [s].
        """
        if not found_s > self._max_gap_s:
            return None
        return (
            f"time {where}: expected at most {self._max_gap_s:g} s, found {found_s:.4g} s; the "
            "process was stopped, or the clock set forward"
        )

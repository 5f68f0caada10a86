"""Keep a loop on its absolute deadlines, and measure what it did.

`work(); sleep(period)` runs a 100 Hz policy at 94 Hz. A deadline is a whole number of periods after
the start, so that lateness never adds up; a loop that is late skips the periods it missed instead
of running them back to back, because the robot has moved on.
"""

import math
from dataclasses import dataclass

import numpy as np

_SLACK = 1e-6  # of a period: rounding of the clock, not lateness


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopReport:
    """State what a loop did.

    Attributes:
        cycles: Number of commands that were sent.
        overruns: Cycles that were not done before the next deadline.
        skipped: Periods without a command because of that.
        mean_rate_hz: Mean rate [Hz]; NaN below two cycles.
        latency_p50_s: Median time from waking up to the sent command [s].
        latency_p99_s: 99th percentile of it [s].
        latency_max_s: Largest [s].
        fault: The latched fault, if any.
    """

    cycles: int
    overruns: int
    skipped: int
    mean_rate_hz: float
    latency_p50_s: float
    latency_p99_s: float
    latency_max_s: float
    fault: str | None


class LoopTimer:
    """Count cycles, lateness and latencies of a fixed-rate loop."""

    def __init__(self, period_s: float) -> None:
        """Start with nothing counted.

        Args:
            period_s: The period [s].
        """
        self.period_s = period_s
        self.overruns = self.skipped = self.consecutive_overruns = 0
        self._begins: list[float] = []
        self._latencies: list[float] = []

    def record(self, begin_s: float, end_s: float) -> None:
        """Count one cycle.

        Args:
            begin_s: When it woke up [s].
            end_s: When its command was sent [s].
        """
        self._begins.append(begin_s)
        self._latencies.append(end_s - begin_s)

    def next_step(self, step: int, elapsed_s: float) -> int:
        """Return the period to wait for, and count lateness.

        Args:
            step: Period that was just served.
            elapsed_s: Time since the start of the loop [s].
        """
        elapsed = elapsed_s / self.period_s
        if elapsed <= step + 1 + _SLACK:
            self.consecutive_overruns = 0
            return step + 1
        following = math.ceil(elapsed - _SLACK)
        self.overruns += 1
        self.consecutive_overruns += 1
        self.skipped += following - step - 1
        return following

    def report(self, fault: str | None) -> LoopReport:
        """Return what was counted.

        Args:
            fault: The latched fault, if any.
        """
        count = len(self._begins)
        span = self._begins[-1] - self._begins[0] if count > 1 else 0.0
        latencies = np.array(self._latencies or [math.nan])
        p50, p99 = (float(v) for v in np.percentile(latencies, [50, 99]))
        return LoopReport(
            cycles=count,
            overruns=self.overruns,
            skipped=self.skipped,
            mean_rate_hz=(count - 1) / span if span > 0 else math.nan,
            latency_p50_s=p50,
            latency_p99_s=p99,
            latency_max_s=float(latencies.max()),
            fault=fault,
        )

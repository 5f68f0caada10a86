"""Deadlines are whole periods after the start, and statistics are what they are named."""

import math

import numpy as np
import pytest

from simreal.deploy.timing import LoopTimer


@pytest.mark.parametrize(
    ("step", "elapsed_s", "following", "overruns", "skipped"),
    [
        (0, 0.004, 1, 0, 0),
        (0, 0.01, 1, 0, 0),  # done exactly at the deadline
        (0, 0.010001, 2, 1, 1),
        (4, 0.0625, 7, 1, 2),
        (4, 0.07, 7, 1, 2),  # late by whole periods: the next deadline is now
        (4, 0.01, 5, 0, 0),  # a clock that was set back never repeats a step
    ],
)
def test_next_step(
    step: int, elapsed_s: float, following: int, overruns: int, skipped: int
) -> None:
    timer = LoopTimer(0.01)
    assert timer.next_step(step, elapsed_s) == following
    assert (timer.overruns, timer.skipped) == (overruns, skipped)


def test_a_cycle_in_time_ends_a_row_of_overruns() -> None:
    timer = LoopTimer(0.01)
    timer.next_step(0, 0.015)
    timer.next_step(2, 0.035)
    assert timer.consecutive_overruns == 2
    timer.next_step(4, 0.045)
    assert timer.consecutive_overruns == 0
    assert timer.overruns == 2


def test_an_hour_with_jitter_does_not_drift() -> None:
    rng = np.random.default_rng(0)
    timer, now, step = LoopTimer(0.01), 0.0, 0
    begins = []
    for busy in rng.exponential(0.003, size=360_000).tolist():
        now = max(now, step * 0.01)
        if now >= 3600.0:
            break
        begins.append(now)
        now += busy
        step = timer.next_step(step, now)
    # A late cycle gives up its successor, so every cycle begins on the grid.
    assert max(abs(t / 0.01 - round(t / 0.01)) for t in begins) < 2e-6
    assert timer.overruns == pytest.approx(360_000 * math.exp(-10 / 3), rel=0.1)


def test_statistics() -> None:
    timer = LoopTimer(0.01)
    for i in range(101):
        timer.record(0.02 * i, 0.02 * i + 1e-5 * i)
    report = timer.report(None)
    assert report.cycles == 101
    assert report.mean_rate_hz == pytest.approx(50.0)
    assert report.latency_p50_s == pytest.approx(5e-4)
    assert report.latency_p99_s == pytest.approx(9.9e-4)
    assert report.latency_max_s == pytest.approx(1e-3)


def test_nothing_recorded() -> None:
    report = LoopTimer(0.01).report("a fault")
    assert report.cycles == 0
    assert math.isnan(report.mean_rate_hz)
    assert math.isnan(report.latency_max_s)
    assert report.fault == "a fault"

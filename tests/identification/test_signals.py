"""States and commands of a log at any time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.errors import ConfigError
from simreal.identification import RobotLog
from simreal.identification.signals import signals_of


def log_of(
    time_s: np.ndarray, positions: np.ndarray, command: np.ndarray | None = None
) -> RobotLog:
    if command is None:
        command = np.zeros((time_s.size, 1))
    return RobotLog("run", time_s, positions.reshape(time_s.size, -1), command)


def test_a_cubic_is_kept_as_it_is_with_its_velocity() -> None:
    time_s = np.arange(200) * 0.005
    signals = signals_of(log_of(time_s, 1.0 + 2.0 * time_s - 3.0 * time_s**3), 0.05)
    at = np.array([0.2, 0.4567, 0.8])
    positions, velocities = signals.state(at, 0.01)
    np.testing.assert_allclose(positions[:, 0], 1.0 + 2.0 * at - 3.0 * at**3, atol=1e-12)
    np.testing.assert_allclose(velocities[:, 0], 2.0 - 9.0 * (at - 0.005) ** 2, atol=1e-9)
    assert signals.noise[0] < 1e-12


def test_noise_is_measured_and_taken_away() -> None:
    time_s = np.arange(5000) * 0.002
    truth = np.sin(3.0 * time_s)
    noise = 2e-4 * np.random.default_rng(0).standard_normal(time_s.size)
    signals = signals_of(log_of(time_s, truth + noise), 0.03)
    assert signals.noise[0] == pytest.approx(2e-4, rel=0.05)
    at = time_s[100:-100]
    positions, velocities = signals.state(at, 0.0)
    assert np.std(positions[:, 0] - truth[100:-100]) < 1e-4
    assert np.std(velocities[:, 0] - 3.0 * np.cos(3.0 * at)) < 0.02  # 0.14 by differences


@given(
    delay_s=st.floats(0.0, 0.02),
    tick_s=st.floats(1e-4, 0.02),
    start_s=st.floats(0.05, 0.9),
)
def test_a_ticks_command_is_the_mean_of_what_was_held(
    delay_s: float, tick_s: float, start_s: float
) -> None:
    # Rows that jitter, each command held until the next: summed up in small steps.
    rng = np.random.default_rng(1)
    time_s = np.cumsum(rng.uniform(0.005, 0.015, 120))
    command = rng.standard_normal((120, 2))
    signals = signals_of(log_of(time_s, np.zeros(120), command), 0.03)
    found = signals.mean_command(np.array([start_s - delay_s]), tick_s)[0]
    fine = start_s - delay_s + (np.arange(4000) + 0.5) / 4000 * tick_s
    held = command[np.searchsorted(time_s, fine, side="right") - 1]
    np.testing.assert_allclose(found, held.mean(axis=0), atol=5e-3)


def test_windows_keep_away_from_ends_and_gaps() -> None:
    time_s = np.arange(1000) * 0.01
    time_s[500:] += 0.3
    signals = signals_of(log_of(time_s, np.zeros(1000)), 0.07)
    starts = signals.starts(window_s=0.5, stride_s=0.1, before_s=0.2)
    assert starts[0] == pytest.approx(0.2)
    assert starts[-1] <= time_s[-1] - 0.5 - signals.margin_s
    gap_from, gap_to = time_s[499], time_s[500]
    assert not ((starts + 0.5 > gap_from - signals.margin_s) & (starts < gap_to + 0.2)).any()
    assert (starts > gap_to).any()


def test_a_log_that_is_too_short_to_smooth_is_refused() -> None:
    time_s = np.arange(16) * 0.01
    with pytest.raises(ConfigError, match=r"lasts 0.15 s, less than the 51 rows"):
        signals_of(log_of(time_s, np.zeros(16)), 0.5)

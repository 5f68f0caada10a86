"""What a simulation needs of a log: the state at any time, and the mean command of any tick.

Velocities are not measured but derived, whatever a log says of them: an encoder's differences are
noisy, and filtered ones late. A Savitzky-Golay filter (local cubic fits over a window that is
centered on its time) is neither; what it leaves of the positions is their noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.signal import savgol_coeffs, savgol_filter

from simreal.errors import ConfigError
from simreal.identification.robot_log import RobotLog

_ORDER = 3
_LEAST_SAMPLES = 7
_GAP = 5.0  # times the median time between rows


@dataclass(frozen=True, slots=True)
class Signals:
    """Hold a log as functions of time.

    Attributes:
        log: The log.
        path: Smoothed positions (J) [rad or m], and by its derivative velocities.
        impulse: Integral of the commands at every row (T, A) [Nm s].
        margin_s: How far from its ends and from gaps the path is to be trusted [s].
        noise: Standard deviation of the noise of measured positions (J) [rad or m].
    """

    log: RobotLog
    path: CubicHermiteSpline
    impulse: np.ndarray
    margin_s: float
    noise: np.ndarray

    def state(self, time_s: np.ndarray, tick_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return positions and velocities as an engine's state holds them.

        Engines integrate by semi-implicit Euler: their velocity is the mean one of the last tick,
        so that of half a tick ago. At 50 rad/s^2 and 2 ms that is 0.05 rad/s.

        Args:
            time_s: Any shape [s].
            tick_s: Physics time step [s].

        Returns:
            Two arrays of that shape and J.
        """
        return self.path(time_s), self.path(time_s - 0.5 * tick_s, 1)

    def mean_command(self, time_s: np.ndarray, tick_s: float) -> np.ndarray:
        """Return the mean command of ticks.

        Args:
            time_s: When each begins, any shape [s].
            tick_s: How long it lasts [s].

        Returns:
            An array of that shape and A [Nm or rad].
        """
        rows, ends = self.log.time_s, np.stack([time_s, time_s + tick_s])
        parts = [np.interp(ends, rows, self.impulse[:, i]) for i in range(self.impulse.shape[1])]
        return np.stack([(part[1] - part[0]) / tick_s for part in parts], axis=-1)

    def starts(self, window_s: float, stride_s: float, before_s: float) -> np.ndarray:
        """Return when windows begin that lie within the log and cross no gap (W) [s].

        Args:
            window_s: Length of a window [s].
            stride_s: From one to the next [s].
            before_s: How far the log has to reach back before a window [s].
        """
        rows = self.log.time_s
        first = rows[0] + max(self.margin_s, before_s)
        last = rows[-1] - self.margin_s - window_s
        starts = np.arange(first, last, stride_s)
        apart = np.diff(rows)
        for i in np.flatnonzero(apart > _GAP * np.median(apart)):
            low = rows[i] - self.margin_s - window_s
            high = rows[i + 1] + max(self.margin_s, before_s)
            starts = starts[(starts < low) | (starts > high)]
        return starts


def signals_of(log: RobotLog, smooth_s: float) -> Signals:
    """Smooth a log.

    Args:
        log: The log.
        smooth_s: Length of the smoothing window [s]; at least seven rows are taken.

    Raises:
        ConfigError: The log is shorter than a smoothing window.
    """
    period = float(np.median(np.diff(log.time_s)))
    count = max(_LEAST_SAMPLES, round(smooth_s / period)) // 2 * 2 + 1
    grid = np.arange(log.time_s[0], log.time_s[-1], period)
    if grid.size < count:
        raise ConfigError(
            f"{log.name}: lasts {np.ptp(log.time_s):.3g} s, less than the {count} rows that are "
            "smoothed over; a longer log is needed"
        )
    joints = range(log.joint_pos.shape[1])
    even = np.stack([np.interp(grid, log.time_s, log.joint_pos[:, i]) for i in joints], axis=1)
    smooth = savgol_filter(even, count, _ORDER, axis=0)
    speed = savgol_filter(even, count, _ORDER, deriv=1, delta=period, axis=0)
    # Of white noise the filter leaves a share in what it returns: its own middle coefficient.
    kept = float(savgol_coeffs(count, _ORDER)[count // 2])
    held = log.command[:-1] * np.diff(log.time_s)[:, None]
    return Signals(
        log=log,
        path=CubicHermiteSpline(grid, smooth, speed),
        impulse=np.concatenate([np.zeros((1, log.command.shape[1])), np.cumsum(held, axis=0)]),
        margin_s=count // 2 * period,
        noise=np.std(even - smooth, axis=0) / np.sqrt(1.0 - kept),
    )

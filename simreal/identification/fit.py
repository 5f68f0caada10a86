"""Find the parameters under which a simulation ends where the robot did.

Maximum a posteriori by least squares. What is minimized, over the unknowns x, is the squared
difference between windows as simulated and as measured, in units of what remains unexplained per
signal, plus the squares of x themselves, which are believed to be 0 give or take 1. All
comparisons of one window count as one, because they are not independent of each other.

The state in which a window begins is not known exactly either, least so its velocities beside a
change of direction, where dry friction jumps. What an error of it would do to a window, to first
order (`S`), counts as noise with the covariance `1 + S S' `, in units of which a window's
differences are measured (generalized least squares). Without this, friction is found too high.

A log's encoders may have been zeroed where the joint was not at 0: dry friction lets a robot hang
askew. One offset per log and joint is therefore fitted along, believed to be 0 give or take
`zero_spread`; without it, such logs would show centers of mass beside the link, each log others.

The uncertainty is that of the same fit on other windows and from other beliefs, to first order:
with J the derivatives, `H = J'J + 1`, `G` the sum over windows of the outer product of each
window's gradient, the covariance is `inv(H) (G + 1) inv(H)` (a cluster-robust sandwich). It knows
how much the windows contradict each other, and not what the robot has and the model lacks: the
errors on logs that were held out show that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from simreal.core.params import catalogue
from simreal.core.robot import Robot
from simreal.core.seeding import check_seed
from simreal.domains.domain import Domain
from simreal.errors import ConfigError
from simreal.identification.estimate import Estimate, PredictionError, Start, Trace
from simreal.identification.predictor import Clock, Predictor, Windows, Worlds, cut
from simreal.identification.robot_log import RobotLog
from simreal.identification.signals import Signals, signals_of
from simreal.identification.unknowns import REACH, Unknowns, UnknownVector

_STEP = 1e-3  # of x, for derivatives
_LOOSE = 3.0  # units that a window's beginning may be off by
_FAINT = 0.03  # weight of beliefs while it is found out what remains unexplained
_INSIDE = 0.01  # from bounds, where a fit begins: on one it would never leave it
_LOST = 100.0  # what a diverged world is off by, in units of what remains unexplained
_TRACE_S, _TRACE_STEP_S = 5.0, 0.01
_LEAST_UNIT = 1e-9  # where a joint never moved, as a model says
_ROUNDS = 10  # of fit and new units, at most
_SETTLED = 0.03  # relative change of the units at which they stay
_ON_GRID = 1e-6  # relative
_ROUGH, _FINE = 1e-3, 1e-5  # relative changes of cost and unknowns at which a fit ends


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """Say how a fit is done.

    Attributes:
        tick_s: Physics time step [s].
        step_s: Time between two comparisons [s].
        window_s: How long a stretch is simulated from a measured state [s].
        stride_s: From the beginning of one window to that of the next [s].
        smooth_s: Length of the window over which positions are smoothed [s].
        horizons_s: After how long predictions are judged [s].
        starts: Fits from different beginnings; the first begins at what is believed.
        zero_spread: How far off the zeros of a log's encoders may be, give or take [rad or m]; 0
            where they are known, as with absolute encoders.
        samples: How many sets of parameters are drawn that are as likely as the data make them.
        seed: Seed of beginnings and samples.
        max_worlds: Worlds that are simulated at a time; one of PyBullet takes some 30 MB.
        workers: Processes that the worlds are spread over.
    """

    tick_s: float = 0.002
    step_s: float = 0.02
    window_s: float = 0.2
    stride_s: float = 0.2
    smooth_s: float = 0.03
    horizons_s: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5)
    starts: int = 3
    zero_spread: float = 0.05
    samples: int = 256
    seed: int = 0
    max_worlds: int = 4096
    workers: int = 1

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: A time is not positive, one does not hold the other, or there is no start.
        """
        times = {
            name: getattr(self, name)
            for name in ("tick_s", "step_s", "window_s", "stride_s", "smooth_s")
        }
        for name, value in times.items():
            if not 0.0 < value < np.inf:
                raise ConfigError(f"{name} is {value!r}; a positive time is needed")
        if not self.tick_s <= self.step_s <= self.window_s:
            raise ConfigError(
                f"tick_s {self.tick_s:g}, step_s {self.step_s:g}, window_s {self.window_s:g}: each "
                "must be at most the next one"
            )
        if not self.horizons_s or min(self.horizons_s) < self.tick_s:
            raise ConfigError(f"horizons_s is {self.horizons_s}; times of a tick at least needed")
        self._check_grids()
        check_seed(self.seed)
        for name in ("max_worlds", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        if not 0.0 <= self.zero_spread < np.inf:
            raise ConfigError(f"zero_spread is {self.zero_spread!r}; at least 0 is needed")
        if self.starts < 1 or self.samples < 0:
            raise ConfigError(
                f"starts is {self.starts}, samples is {self.samples}; at least 1 and 0 are needed"
            )

    def _check_grids(self) -> None:
        least = min(self.horizons_s)
        grids = [(self.step_s, self.tick_s), (self.window_s, self.step_s), (least, self.tick_s)]
        for value, grid in [*grids, *((horizon, least) for horizon in self.horizons_s)]:
            if abs(value / grid - round(value / grid)) > _ON_GRID:
                raise ConfigError(
                    f"{value:g} s is no multiple of {grid:g} s; step_s must be one of tick_s, "
                    "window_s one of step_s, and horizons_s multiples of the least of them"
                )

    @property
    def worlds(self) -> Worlds:
        """Return where it is simulated."""
        return Worlds(self.max_worlds, self.workers)

    @property
    def judging(self) -> Clock:
        """Return how the windows are cut by which predictions are judged."""
        least = min(self.horizons_s)
        steps = round(max(self.horizons_s) / least)
        return Clock(tick_s=self.tick_s, ticks=round(least / self.tick_s), steps=steps)

    @property
    def clock(self) -> Clock:
        """Return how the windows of the fit are cut."""
        ticks = round(self.step_s / self.tick_s)
        return Clock(
            tick_s=self.tick_s, ticks=ticks, steps=round(self.window_s / (ticks * self.tick_s))
        )


def identify(
    robot: Robot,
    domain: Domain,
    unknowns: Unknowns,
    logs: Sequence[RobotLog],
    held_out: Sequence[RobotLog] = (),
    settings: FitSettings | None = None,
) -> Estimate:
    """Identify dynamics parameters from logs.

    Args:
        robot: Whose logs they are; with a fixed base, since logs say nothing of a floating one.
        domain: What is believed of it, and the engine that simulates it.
        unknowns: What is to be identified.
        logs: What the parameters are fitted to.
        held_out: What they are judged by beside.
        settings: How; the defaults if None.

    Raises:
        ConfigError: The robot's base floats, there is no log, or one is too short.
        ParameterError: An unknown cannot be identified, or not applied by the engine.
    """
    settings = settings or FitSettings()
    if not robot.fixed_base:
        raise ConfigError(
            f"robot '{robot.name}' has a floating base, whose motion logs of joints do not show; "
            "only robots with a fixed base can be identified"
        )
    if not logs:
        raise ConfigError("logs: got none; at least one is needed")
    vector = UnknownVector(unknowns, catalogue(robot), domain.fixed(robot))
    signals = [signals_of(log, settings.smooth_s) for log in logs]
    judged = [signals_of(log, settings.smooth_s) for log in held_out]
    for one in (*signals, *judged):  # before a fit that takes minutes
        cut([one], settings.judging, settings.stride_s)
        cut([one], settings.clock, settings.stride_s)
    windows = cut(signals, settings.clock, settings.stride_s)
    with _Fit(robot, domain, vector, signals, windows, settings) as fit:
        starts = fit.from_everywhere()
        best = min(starts, key=lambda start: start.cost)
        covariance = fit.covariance(best)
    judge = _Judge(robot, domain, vector, settings, best.x)
    zeros = [*best.offsets, *(judge.zeros(one) for one in judged)]
    every = list(zip([*signals, *judged], zeros, strict=True))
    drawn = np.random.default_rng(settings.seed + 1).multivariate_normal(
        best.x, covariance, settings.samples, method="cholesky"
    )
    return Estimate(
        columns=tuple(vector.columns),
        x=best.x,
        covariance=covariance,
        starts=tuple(starts),
        num_windows=len(windows),
        noise=np.sqrt(np.mean([one.noise**2 for one in signals], axis=0)),
        errors=tuple(judge.errors(*one, held=i >= len(signals)) for i, one in enumerate(every)),
        trace=judge.trace(*every[len(signals) if judged else 0], held=bool(judged)),
        values={name: value[0] for name, value in vector.values(best.x[None]).items()},
        samples=vector.values(np.clip(drawn, *vector.bounds)),
    )


class _Fit:
    """Minimize over one set of windows: P unknowns, and the offsets of encoders (L, J)."""

    def __init__(
        self,
        robot: Robot,
        domain: Domain,
        unknowns: UnknownVector,
        signals: Sequence[Signals],
        windows: Windows,
        settings: FitSettings,
    ) -> None:
        parts = (robot, domain, unknowns, signals, windows, settings.clock)
        self._measured, self._source = windows.measured, windows.source
        self._settings = settings
        self._count = count = len(unknowns.columns)
        self._shape = len(signals), robot.num_joints
        num_offsets = len(signals) * robot.num_joints if settings.zero_spread else 0
        reach = np.full(num_offsets, REACH)
        low, high = unknowns.bounds
        self._bounds = np.concatenate([low, -reach]), np.concatenate([high, reach])
        worlds = settings.worlds
        self._one = Predictor(*parts, 1, worlds)
        more = robot.num_joints if num_offsets else 0
        self._several = Predictor(*parts, count + 1 + more, worlds)
        num_windows, steps, width = self._measured.shape
        self._weight = 1.0  # of what is believed
        self._units = np.ones(width)
        self._whiten = np.tile(np.eye(steps * width), (num_windows, 1, 1))
        for _ in range(2):  # once to know how large anything is, once with it
            self._settle(np.zeros(count + num_offsets))

    def __enter__(self) -> "_Fit":
        return self

    def __exit__(self, *_: object) -> None:
        self._one.close()
        self._several.close()

    def from_everywhere(self) -> list[Start]:
        """Fit from all beginnings."""
        rng = np.random.default_rng(self._settings.seed)
        begin = [np.zeros(len(self._bounds[0])) for _ in range(self._settings.starts)]
        for other in begin[1:]:
            other[: self._count] = rng.standard_normal(self._count)
        z = begin[0]
        # What remains unexplained is what the model cannot explain, not what a belief holds back.
        self._weight = _FAINT
        for _ in range(_ROUNDS):
            z = self._minimize(z, _ROUGH).x
            units = self._units
            self._settle(z)
            if np.allclose(units, self._units, rtol=_SETTLED):
                break
        self._weight = 1.0
        found = [self._minimize(first, _ROUGH) for first in [z, *begin[1:]]]
        best = int(np.argmin([result.cost for result in found]))
        found[best] = self._minimize(found[best].x, _FINE)
        return [self._start(result) for result in found]

    def zeros(self, x: np.ndarray) -> np.ndarray:
        """Return the offsets of encoders (L, J) that fit best where nothing else is unknown."""
        if not self._settings.zero_spread:
            return np.zeros(self._shape)
        z = np.concatenate([x, np.zeros(len(self._bounds[0]) - len(x))])
        for _ in range(2):
            self._settle(z)
            z[self._count :] = least_squares(
                lambda rest: self._residuals(np.concatenate([x, rest])),
                z[self._count :],
                jac=lambda rest: self._derivatives(np.concatenate([x, rest]))[:, self._count :],
                bounds=[bound[self._count :] for bound in self._bounds],
                xtol=_ROUGH,
                ftol=_ROUGH,
            ).x
        return self._offsets(z)

    def covariance(self, start: Start) -> np.ndarray:
        """Return the covariance of the unknowns (P, P)."""
        z = start.x
        if self._settings.zero_spread:
            z = np.concatenate([z, start.offsets.reshape(-1) / self._settings.zero_spread])
        ones = np.eye(z.size)
        jacobian = self._derivatives(z)[: -z.size].reshape(len(self._measured), -1, z.size)
        off = self._difference(self._predict(self._one, z[None]))[0]
        gradients = np.einsum("wcp,wc->wp", jacobian, off)
        bend = np.einsum("wcp,wcq->pq", jacobian, jacobian) + ones
        inverse: np.ndarray = np.linalg.inv(bend)
        whole = inverse @ (gradients.T @ gradients + ones) @ inverse
        return np.asarray(whole[: self._count, : self._count])

    def _start(self, result: Any) -> Start:
        z = result.x
        return Start(x=z[: self._count], offsets=self._offsets(z), cost=float(2.0 * result.cost))

    def _offsets(self, z: np.ndarray) -> np.ndarray:
        """Return the offsets of encoders (..., L, J) of vectors (..., Z) [rad or m]."""
        if not self._settings.zero_spread:
            return np.zeros((*z.shape[:-1], *self._shape))
        own = z[..., self._count :].reshape(*z.shape[:-1], *self._shape)
        return np.asarray(self._settings.zero_spread * own)

    def _predict(
        self, predictor: Predictor, vectors: np.ndarray, shift: np.ndarray | None = None
    ) -> np.ndarray:
        """Return what encoders read at the ends of steps, and velocities (M, W, S, 2 J).

        Args:
            predictor: One for about M vectors.
            vectors: (M, Z).
            shift: What is added to positions and velocities that windows begin with (M, 2 J).
        """
        joints = self._shape[1]
        read = self._offsets(vectors)[:, self._source]  # minus where the joint is (M, W, J)
        start = np.concatenate([-read, np.zeros_like(read)], axis=2)
        if shift is not None:
            start += shift[:, None]
        found = predictor(vectors[:, : self._count], start)
        found[..., :joints] += read[:, :, None]
        return found

    def _minimize(self, z: np.ndarray, tolerance: float) -> Any:
        low, high = self._bounds
        return least_squares(
            self._residuals,
            np.clip(z, low + _INSIDE, high - _INSIDE),
            jac=self._derivatives,
            bounds=self._bounds,
            xtol=tolerance,
            ftol=tolerance,
        )

    def _residuals(self, z: np.ndarray) -> np.ndarray:
        off = self._difference(self._predict(self._one, z[None])).reshape(-1)
        return np.concatenate([off, self._weight * z])

    def _derivatives(self, z: np.ndarray) -> np.ndarray:
        # Inwards where a bound is near, so that every vector is one that may be.
        step = np.where(z + _STEP > self._bounds[1], -_STEP, _STEP)
        count, (num_logs, joints) = self._count, self._shape
        vectors = [z[None], z + np.diag(step)[:count]]
        if z.size > count:
            # A window knows only its own log's offsets, so those of all logs are moved at once.
            moved = np.tile(z, (joints, 1))
            own = moved[:, count:].reshape(joints, num_logs, joints)
            steps = step[count:].reshape(num_logs, joints)
            for joint in range(joints):
                own[joint, :, joint] += steps[:, joint]
            vectors.append(moved)
        found = self._difference(self._predict(self._several, np.concatenate(vectors)))
        slopes = (found[1 : count + 1] - found[:1]).reshape(count, -1).T / step[:count]
        parts = [slopes]
        if z.size > count:
            change = (found[count + 1 :] - found[:1]) / steps[self._source].T[:, :, None]
            apart = np.zeros((*found.shape[1:], num_logs, joints))
            apart[np.arange(len(self._source)), :, self._source] = change.transpose(1, 2, 0)
            parts.append(apart.reshape(len(slopes), -1))
        return np.concatenate([np.concatenate(parts, axis=1), self._weight * np.eye(z.size)])

    def _difference(self, predicted: np.ndarray) -> np.ndarray:
        """Return what is left of M predictions, of a window's comparisons as of one (M, W, D)."""
        off = self._off(predicted).reshape(*predicted.shape[:2], -1, 1)
        return np.asarray((self._whiten @ off)[..., 0] / np.sqrt(predicted.shape[2]))

    def _off(self, predicted: np.ndarray) -> np.ndarray:
        off = (predicted - self._measured) / self._units
        off = np.nan_to_num(off, nan=_LOST, posinf=_LOST, neginf=-_LOST)
        return np.asarray(np.clip(off, -_LOST, _LOST))

    def _settle(self, z: np.ndarray) -> None:
        """Take what remains unexplained at z as the units, and what beginnings explain as noise."""
        num_windows, steps, width = self._measured.shape
        shift = np.concatenate([np.zeros((1, width)), np.diag(_STEP * self._units)])
        found = self._predict(self._several, np.tile(z, (width + 1, 1)), shift)
        off = self._off(found)
        slopes = (off[1:] - off[:1]).reshape(width, num_windows, -1).transpose(1, 2, 0)
        slopes *= _LOOSE / _STEP  # of the differences of a window in its beginning (W, D, 2 J)
        first = off[0].reshape(num_windows, -1, 1)
        inner = np.eye(width) + slopes.transpose(0, 2, 1) @ slopes
        begun = np.linalg.solve(inner, slopes.transpose(0, 2, 1) @ first)
        rest = (first - slopes @ begun).reshape(num_windows, steps, width)
        old, left = self._units, np.sqrt(np.mean(rest**2, axis=(0, 1)))
        self._units = np.maximum(old * left, _LEAST_UNIT)
        # In the new units, in which a beginning is as loose as a comparison is.
        change = np.tile(old / self._units, steps)
        slopes = slopes * change[:, None] * (self._units / old)
        cover = np.eye(steps * width) + slopes @ slopes.transpose(0, 2, 1)
        self._whiten = np.linalg.inv(np.linalg.cholesky(cover))


class _Judge:
    """Predict logs with what was believed and with what was identified."""

    def __init__(
        self,
        robot: Robot,
        domain: Domain,
        unknowns: UnknownVector,
        settings: FitSettings,
        x: np.ndarray,
    ) -> None:
        self._parts = (robot, domain, unknowns)
        self._settings, self._x = settings, x

    def zeros(self, signals: Signals) -> np.ndarray:
        """Return the offsets of a log's encoders (J), with the dynamics that were identified."""
        windows = cut([signals], self._settings.clock, self._settings.stride_s)
        with _Fit(*self._parts, [signals], windows, self._settings) as fit:
            return np.asarray(fit.zeros(self._x)[0])

    def errors(self, signals: Signals, zeros: np.ndarray, *, held: bool) -> PredictionError:
        """Return how far predictions are off.

        Args:
            signals: The log.
            zeros: Offsets of its encoders (J).
            held: Whether the fit has not seen it.
        """
        settings, clock = self._settings, self._settings.judging
        windows = cut([signals], clock, settings.stride_s)
        at = [round(h / min(settings.horizons_s)) - 1 for h in settings.horizons_s]
        off = self._predict(signals, zeros, windows, clock)[:, :, at] - windows.pos[:, at]
        still = windows.start_pos[:, None] - windows.pos[:, at]
        size = np.sqrt(np.mean(np.concatenate([off, still[None]]) ** 2, axis=1))
        return PredictionError(
            log=signals.log.name,
            held_out=held,
            horizons_s=settings.horizons_s,
            zeros=zeros,
            believed=size[0],
            identified=size[1],
            zeroed=size[2],
            unmoved=size[3],
        )

    def trace(self, signals: Signals, zeros: np.ndarray, *, held: bool) -> Trace:
        """Return predictions of the first seconds, one window after the other; see `errors`."""
        settings = self._settings
        ticks = max(1, round(_TRACE_STEP_S / settings.tick_s))
        steps = round(max(settings.horizons_s) / (ticks * settings.tick_s))
        clock = Clock(tick_s=settings.tick_s, ticks=ticks, steps=steps)
        windows = cut([signals], clock, clock.window_s)
        windows = windows.first(max(1, round(_TRACE_S / clock.window_s)))
        found = self._predict(signals, zeros, windows, clock)
        ends = np.arange(1, clock.steps + 1) * clock.ticks * clock.tick_s
        return Trace(
            log=signals.log.name,
            held_out=held,
            time_s=windows.start_s[:, None] + ends,
            measured=windows.pos,
            believed=found[0],
            identified=found[1],
            zeroed=found[2],
        )

    def _predict(
        self, signals: Signals, zeros: np.ndarray, windows: Windows, clock: Clock
    ) -> np.ndarray:
        """Return positions: as believed, as identified, and with the log's zeros (3, W, S, J)."""
        vectors = np.stack([np.zeros_like(self._x), self._x, self._x])
        read = np.zeros((3, 1, len(zeros)))  # minus where the joint is
        read[2] = zeros
        predictor = Predictor(*self._parts, [signals], windows, clock, 3, self._settings.worlds)
        start = np.concatenate([-read, np.zeros_like(read)], axis=2)
        found = predictor(vectors, start)
        predictor.close()
        return found[..., : len(zeros)] + read[:, :, None]

"""What an identification found: values, what is known of them, and how well they predict."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simreal.core.params import flatten
from simreal.core.robot import Robot
from simreal.domains.domain import Domain
from simreal.domains.randomization import JointSamples
from simreal.domains.wiring import offset_names
from simreal.errors import ParameterError
from simreal.identification.unknowns import COMMAND_DELAY, Column

_NEAR = 0.02  # from a bound, in what was believed give or take
_SAME = 0.01  # relative difference of cost at which two fits found the same


@dataclass(frozen=True, slots=True)
class Start:
    """Hold one fit.

    Attributes:
        x: Where it ended (P).
        offsets: What each log's encoders read where joints are at 0 (L, J) [rad or m].
        cost: What it left: squared differences in units of what remains unexplained, plus `x'x`,
            and squares of offsets in units of what was believed of them.
    """

    x: np.ndarray
    offsets: np.ndarray
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionError:
    """State how far predictions of one log are off, root mean square.

    Attributes:
        log: Its name.
        held_out: Whether the fit has not seen it.
        horizons_s: After how long (H) [s].
        zeros: What the log's encoders read where joints are at 0 (J) [rad or m].
        believed: With the domain's values (H, J) [rad or m].
        identified: With those that were identified (H, J).
        zeroed: With those, and the zeros of this log's encoders, which it told itself (H, J).
        unmoved: If the robot stayed where it was (H, J).
    """

    log: str
    held_out: bool
    horizons_s: tuple[float, ...]
    zeros: np.ndarray
    believed: np.ndarray
    identified: np.ndarray
    zeroed: np.ndarray
    unmoved: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Hold predictions of consecutive windows of one log, each from its measured state.

    Attributes:
        log: Its name.
        held_out: Whether the fit has not seen it.
        time_s: On the log's clock (W, S) [s].
        measured: Positions (W, S, J) [rad or m].
        believed: As the domain's values predict them (W, S, J).
        identified: As those that were identified do (W, S, J).
        zeroed: As they do with the zeros of this log's encoders (W, S, J).
    """

    log: str
    held_out: bool
    time_s: np.ndarray
    measured: np.ndarray
    believed: np.ndarray
    identified: np.ndarray
    zeroed: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Hold what was identified.

    Attributes:
        columns: What each number is (P).
        x: Their values, in spreads from what was believed (P).
        covariance: Of x (P, P).
        starts: All fits, the one from what is believed first.
        num_windows: Windows of the fit.
        noise: Standard deviation of the noise of measured positions (J) [rad or m].
        errors: How well it predicts, per log.
        trace: Predictions to look at, of a log that was held out if there is one.
        values: Parameter name to value (k), or a number.
        samples: As likely as the data make them: parameter name to values (M, k) or (M,).
    """

    columns: tuple[Column, ...]
    x: np.ndarray
    covariance: np.ndarray
    starts: tuple[Start, ...]
    num_windows: int
    noise: np.ndarray
    errors: tuple[PredictionError, ...]
    trace: Trace
    values: Mapping[str, np.ndarray]
    samples: Mapping[str, np.ndarray]

    @property
    def std(self) -> np.ndarray:
        """Return the standard deviation of x (P), of which 1 was believed."""
        return np.asarray(np.sqrt(np.diagonal(self.covariance)))

    @property
    def learned(self) -> np.ndarray:
        """Return how much of the doubt in each number the logs removed (P), at most 1."""
        return np.asarray(1.0 - np.minimum(self.std, 1.0))

    def rows(self) -> list[dict[str, Any]]:
        """Return what a file says of every number: name, unit, values, and what was learned."""
        return [
            {
                "name": column.label,
                "unit": column.unit,
                "believed": column.start,
                "value": float(column.value(x)),
                "std": column.deviation(x, std),
                "learned": float(learned),
            }
            for column, x, std, learned in zip(
                self.columns, self.x, self.std, self.learned, strict=True
            )
        ]

    def domain(self, believed: Domain, name: str, sample: int | None = None) -> Domain:
        """Return the believed domain with everything replaced that was identified.

        Args:
            believed: What the fit began with.
            name: Its name.
            sample: Which of the samples is meant; the estimate itself if None.

        Returns:
            The domain; see `drawn` for one that has all samples.
        """
        values = dict(self.values)
        if sample is not None:
            values = {key: drawn[sample] for key, drawn in self.samples.items()}
        delay = values.pop(COMMAND_DELAY, believed.actuation.command_delay)
        return replace(
            believed,
            name=name,
            dynamics={**flatten(believed.dynamics), **values},
            sensing=replace(believed.sensing, joint_pos_noise=float(np.mean(self.noise))),
            actuation=replace(believed.actuation, command_delay=float(delay)),
        )

    @property
    def offsets(self) -> np.ndarray:
        """Return what encoders read at 0 in the logs that were fitted to (L, J) [rad or m]."""
        return np.stack([error.zeros for error in self.errors if not error.held_out])

    @property
    def offset_std(self) -> np.ndarray:
        """Return by how much that differs from log to log (J), 0 being what is meant."""
        return np.asarray(np.sqrt(np.mean(self.offsets**2, axis=0)))

    def joint(self, robot: Robot) -> dict[str, np.ndarray]:
        """Return the samples, each with encoders that are zeroed as badly as in the logs.

        Args:
            robot: Whose logs they were.

        Returns:
            Parameter name to values (M, k) or (M,).
        """
        drawn = np.random.default_rng(self.num_samples).standard_normal(
            (self.num_samples, robot.num_joints)
        )
        offsets = dict(zip(offset_names(robot), (self.offset_std * drawn).T, strict=True))
        return {**self.samples, **(offsets if self.offset_std.any() else {})}

    @property
    def num_samples(self) -> int:
        """Return M."""
        return len(next(iter(self.samples.values())))

    def drawn(self, robot: Robot, believed: Domain, name: str) -> Domain:
        """Return the identified domain, with one of the samples in every episode.

        Args:
            robot: Whose logs they were.
            believed: What the fit began with.
            name: Its name.

        Raises:
            ParameterError: There are no samples, or the believed domain itself randomizes one of
                the parameters that were identified.
        """
        if not self.num_samples:
            raise ParameterError("no samples were drawn; set fit.samples to at least 1")
        joint = JointSamples({k: values.tolist() for k, values in self.joint(robot).items()})
        randomization = replace(believed.randomization, joint=joint)
        return replace(self.domain(believed, name), randomization=randomization)

    @property
    def agreeing(self) -> int:
        """Return how many of the fits ended as well as the best one, to a hundredth."""
        best = min(start.cost for start in self.starts)
        return sum(start.cost <= best * (1.0 + _SAME) for start in self.starts)

    @property
    def at_bounds(self) -> tuple[str, ...]:
        """Return the numbers that ended at a bound, where more was asked for than may be."""
        near = []
        for column, x in zip(self.columns, self.x, strict=True):
            low, high = column.bounds()
            if x - low < _NEAR or high - x < _NEAR:
                near.append(column.label)
        return tuple(near)

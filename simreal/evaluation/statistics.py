"""Point estimates and intervals for few, noisy, seed-dependent scores.

Training seeds are expensive, so comparisons rest on about five of them. Which interval is used then
decides what is claimed: a percentile bootstrap of five differences is about a third too narrow, and
reports a difference that is not there about three times as often as it should. This module holds
the intervals that keep their promise at such sizes, and says in each result how it was computed.

Sources: Wilson (1927) for proportions; Agarwal et al. (2021), "Deep Reinforcement Learning at the
Edge of the Statistical Precipice", for the interquartile mean and the stratified bootstrap;
Efron and Tibshirani (1993), chapter 12, for the bootstrap-t; Welch (1947) for unequal variances.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from simreal.errors import EvaluationError

FloatArray = npt.NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]

# Above this share of resamples without any spread, the studentized statistic has no distribution
# worth the name: the data are tied, for instance success rates that are all at 1.
_MAX_DEGENERATE_SHARE = 0.05
# A standard error below this fraction of the data's own magnitude is rounding, not spread.
_ROUNDING = 1e-12
# Numbers drawn at a time, so that many repetitions of many episodes stay within tens of megabytes.
_CHUNK_SIZE = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """Hold an estimate with its two-sided confidence interval and the way it was computed.

    Attributes:
        estimate: The point estimate.
        low: Lower end; never above `high`.
        high: Upper end.
        confidence: Nominal coverage, for instance 0.95.
        method: How the interval was computed, in words for a table's footnote.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    method: str

    @property
    def width(self) -> float:
        """Return the length of the interval, in the unit of the estimate."""
        return self.high - self.low


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return a success rate with its Wilson score interval.

    Unlike the usual normal approximation, the interval stays inside [0, 1] and keeps a width when
    every trial succeeds.

    Args:
        successes: Number of successes, between 0 and `trials`.
        trials: Number of independent trials, at least 1.
        confidence: Nominal coverage, between 0 and 1.

    Returns:
        The rate and its interval.

    Raises:
        EvaluationError: If the counts are impossible or there is no trial.
    """
    _check_confidence(confidence)
    if trials < 1:
        raise EvaluationError(
            f"a success rate needs at least one episode, got {trials}. Evaluate some episodes."
        )
    if not 0 <= successes <= trials:
        raise EvaluationError(
            f"{successes} successes in {trials} episodes is impossible. "
            f"Allowed: 0 to {trials}. Check how successes are counted."
        )
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    rate = successes / trials
    shrink = 1 + z**2 / trials
    center = (rate + z**2 / (2 * trials)) / shrink
    spread = z / shrink * float(np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)))
    # Rounding must not push the interval off the rate itself at 0 or 1.
    low = 0.0 if successes == 0 else center - spread
    high = 1.0 if successes == trials else center + spread
    return Interval(rate, low, high, confidence, "Wilson score")


def iqm(values: npt.ArrayLike) -> float:
    """Return the interquartile mean: the mean of the middle half of the values.

    The lowest and the highest quarter are dropped (each rounded down to whole values, so fewer than
    four values give the plain mean). It is as robust as a median against outlying seeds and uses
    more of the data.

    Args:
        values: Finite numbers of any shape, pooled.

    Returns:
        The interquartile mean, in the unit of the values.

    Raises:
        EvaluationError: If there is no value, or one is not finite.
    """
    return float(iqm_last_axis(_finite(values).reshape(-1)))


def iqm_last_axis(values: FloatArray) -> FloatArray:
    """Return the interquartile mean over the last axis, in the form that the bootstrap wants.

    Args:
        values: `(..., n)` finite numbers.

    Returns:
        `(...)` interquartile means.
    """
    return np.asarray(stats.trim_mean(values, 0.25, axis=-1), dtype=np.float64)


def stratified_bootstrap(
    values: FloatArray | Sequence[npt.ArrayLike],
    statistic: Statistic = iqm_last_axis,
    reps: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a statistic of pooled strata with its percentile-bootstrap interval.

    Values are redrawn with replacement *within* each stratum, so that every resample holds as many
    values of each stratum as the data. The strata are what is held fixed (the tasks or domains of a
    benchmark); the values within one are what varies (its training seeds). Values that belong
    together, such as the episodes of one seed, must be averaged before: redrawing episodes as if
    they were independent pretends to know how other seeds would do.

    Args:
        values: `(S, E)`, one stratum per row, or a sequence of one-dimensional strata of any sizes.
        statistic: Reduces the last axis of a `(reps, total)` array; the interquartile mean if
            not given.
        reps: Number of resamples.
        confidence: Nominal coverage, between 0 and 1.
        seed: Seed of the resampling; the same seed gives the same interval.

    Returns:
        The statistic of the pooled values and its interval.

    Raises:
        EvaluationError: If a stratum is empty or holds a value that is not finite.
    """
    _check_confidence(confidence)
    _check_reps(reps)
    strata = [_finite(stratum).reshape(-1) for stratum in _rows(values)]
    rng = np.random.default_rng(seed)
    total = sum(len(stratum) for stratum in strata)
    chunk = max(1, _CHUNK_SIZE // total)
    replicates = np.concatenate(
        [
            statistic(_resample(strata, min(chunk, reps - start), rng))
            for start in range(0, reps, chunk)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    estimate = float(statistic(np.concatenate(strata)))
    return Interval(estimate, float(low), float(high), confidence, "stratified bootstrap")


def iqm_band(
    scores: FloatArray, reps: int = 2000, confidence: float = 0.95, seed: int = 0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the interquartile mean over seeds along a curve, with a pointwise bootstrap band.

    Whole seeds are redrawn, the same ones at every step, so that the band is as smooth as the
    curves are. It is pointwise: over a long curve, some true value lies outside of it.

    Args:
        scores: `(S, T)` one row per seed, finite.
        reps: Number of resamples.
        confidence: Nominal coverage at each step, between 0 and 1.
        seed: Seed of the resampling.

    Returns:
        Interquartile mean, lower and upper end, each `(T,)`.

    Raises:
        EvaluationError: If there is no score, or one is not finite.
    """
    _check_confidence(confidence)
    _check_reps(reps)
    rows = np.atleast_2d(_finite(scores))
    picks = np.random.default_rng(seed).integers(0, len(rows), (reps, len(rows)))
    tail = (1 - confidence) / 2
    # Step by step, so that a long curve does not need all resamples in memory at once.
    ends = [
        np.quantile(iqm_last_axis(column[picks]), [tail, 1 - tail])
        for column in np.ascontiguousarray(rows.T)
    ]
    low, high = np.transpose(ends)
    return iqm_last_axis(rows.T), low, high


def paired_bootstrap_t(
    differences: npt.ArrayLike,
    reps: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean of paired differences with its studentized bootstrap interval.

    Each resample's deviation from the mean is divided by that resample's own standard error, which
    is what repairs the percentile bootstrap's lack of width at few seeds. When the differences are
    tied so often that many resamples have no spread at all (two or three seeds, or success rates
    that are mostly at 1), Student's interval is returned instead; when all differences are equal,
    the data hold no spread and the interval is that one value. `method` says which it was.

    Args:
        differences: `(n,)`, one difference per seed, at least 2.
        reps: Number of resamples.
        confidence: Nominal coverage, between 0 and 1.
        seed: Seed of the resampling; the same seed gives the same interval.

    Returns:
        The mean difference and its interval.

    Raises:
        EvaluationError: If there are fewer than 2 differences, or one is not finite.
    """
    _check_confidence(confidence)
    _check_reps(reps)
    data = _sample(differences)
    num = len(data)
    mean, error = float(data.mean()), float(data.std(ddof=1) / np.sqrt(num))
    floor = _ROUNDING * max(float(np.abs(data).max()), np.finfo(np.float64).tiny)
    if error <= floor:
        return Interval(mean, mean, mean, confidence, "all differences equal")
    rng = np.random.default_rng(seed)
    resamples = data[rng.integers(0, num, (reps, num))]  # (reps, n)
    errors = resamples.std(axis=1, ddof=1) / np.sqrt(num)
    spread = errors > floor
    tail = (1 - confidence) / 2
    if np.mean(~spread) > _MAX_DEGENERATE_SHARE:
        reach = float(stats.t.ppf(1 - tail, num - 1)) * error
        return Interval(mean, mean - reach, mean + reach, confidence, "paired Student t")
    studentized = (resamples[spread].mean(axis=1) - mean) / errors[spread]
    lower, upper = np.quantile(studentized, [tail, 1 - tail])
    # The tails swap: a resample that overshoots says that the mean may lie lower, and vice versa.
    low, high = mean - float(upper) * error, mean - float(lower) * error
    return Interval(mean, low, high, confidence, "paired bootstrap-t")


def welch_interval(a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the difference of two means, a minus b, with Welch's interval.

    For independent groups of seeds with unequal variances or sizes. If neither group has any
    spread, the interval is the difference itself.

    Args:
        a: `(n,)` scores of the first group, at least 2.
        b: `(m,)` scores of the second group, at least 2.
        confidence: Nominal coverage, between 0 and 1.

    Returns:
        The difference and its interval.

    Raises:
        EvaluationError: If a group has fewer than 2 scores, or one is not finite.
    """
    _check_confidence(confidence)
    first, second = _sample(a), _sample(b)
    difference = float(first.mean() - second.mean())
    parts = np.array([first.var(ddof=1) / len(first), second.var(ddof=1) / len(second)])
    error = float(np.sqrt(parts.sum()))
    largest = max(float(np.abs(first).max()), float(np.abs(second).max()))
    if error <= _ROUNDING * max(largest, np.finfo(np.float64).tiny):
        return Interval(difference, difference, difference, confidence, "no spread in either group")
    shares = parts / parts.sum()
    freedom = 1.0 / float(np.sum(shares**2 / (np.array([len(first), len(second)]) - 1)))
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
    return Interval(difference, difference - reach, difference + reach, confidence, "Welch t")


def _resample(strata: list[FloatArray], reps: int, rng: np.random.Generator) -> FloatArray:
    """Return `(reps, total)` values redrawn with replacement within each stratum."""
    drawn = [s[rng.integers(0, len(s), (reps, len(s)))] for s in strata]
    return np.concatenate(drawn, axis=1)


def _rows(values: FloatArray | Sequence[npt.ArrayLike]) -> list[npt.ArrayLike]:
    """Return the strata; a flat array or list of numbers is one stratum."""
    if isinstance(values, np.ndarray):
        return list(np.atleast_2d(values))
    if all(np.ndim(row) == 0 for row in values):
        return [np.asarray(values, dtype=np.float64)]
    return list(values)


def _finite(values: npt.ArrayLike) -> FloatArray:
    """Return the values as float64, refusing none at all and any that is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise EvaluationError("a statistic needs at least one value, got none.")
    bad = int(np.sum(~np.isfinite(array)))
    if bad:
        raise EvaluationError(
            f"{bad} of {array.size} values are not finite. Only finite scores can be aggregated: "
            "end a diverged episode before its reward is counted."
        )
    return array


def _sample(values: npt.ArrayLike) -> FloatArray:
    """Return a flat sample of at least two finite values."""
    array = _finite(values).reshape(-1)
    if len(array) < 2:
        raise EvaluationError(
            f"an interval over seeds needs at least 2 seeds, got {len(array)}. Add seeds."
        )
    return array


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise EvaluationError(
            f"confidence {confidence} is not between 0 and 1. Use 0.95 for a 95 % interval."
        )


def _check_reps(reps: int) -> None:
    if reps < 100:
        raise EvaluationError(
            f"{reps} bootstrap resamples are too few for a tail. Use at least 100, better 10000."
        )

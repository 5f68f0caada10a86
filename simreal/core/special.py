"""The special functions behind the distributions, in float64 and without scipy.

A robot installs numpy alone, and the update rules of adaptive randomization compare entropies and
divergences that differ in the tenth digit. So every function here is written to avoid cancellation:
Gamma functions as small corrections to Stirling's formula, and the truncated normal by quadrature
relative to its mode, which stays accurate for narrow intervals and for any distance from the mean.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

# B_2, B_4, ..., B_14; from _SERIES_START on, the terms left out are below 1e-15.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
_SERIES_START = 10.0
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

# exp(-40) is below float64's resolution of 1: what lies beyond cannot be drawn and adds nothing.
_MAX_ENERGY = 40.0
_NUM_PANELS = 64
_NUM_NODES = 8
_NEWTON_STEPS = 5
_BISECTIONS = 60


def stirling_remainder(x: float) -> float:
    """Return log Gamma(x) minus (x - 1/2) log x - x + log(2 pi) / 2, for x > 0."""
    if x < _SERIES_START:
        return math.lgamma(x) - ((x - 0.5) * math.log(x) - x + _HALF_LOG_2PI)
    return sum(b * x ** (1 - 2 * k) / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, 1))


def digamma_remainder(x: float) -> float:
    """Return log x - 1 / (2 x) minus the digamma function, for x > 0."""
    far, shift = x, 0.0
    while far < _SERIES_START:
        shift += 1.0 / far
        far += 1.0
    series = sum(b * far ** (-2 * k) / (2 * k) for k, b in enumerate(_BERNOULLI, 1))
    # All but the series vanishes exactly where no recurrence was needed.
    return (math.log(x) - math.log(far)) - (0.5 / x - 0.5 / far) + shift + series


def digamma(x: float) -> float:
    """Return the derivative of log Gamma at x > 0.

    The recurrence psi(x) = psi(x + 1) - 1 / x leads to where the asymptotic series holds.
    """
    return math.log(x) - 0.5 / x - digamma_remainder(x)


def trigamma(x: float) -> float:
    """Return the second derivative of log Gamma at x > 0."""
    shift = 0.0
    while x < _SERIES_START:
        shift += 1.0 / (x * x)
        x += 1.0
    series = sum(b * x ** (-2 * k - 1) for k, b in enumerate(_BERNOULLI, 1))
    return shift + 1.0 / x + 0.5 / (x * x) + series


def log_beta(a: float, b: float) -> float:
    """Return the logarithm of the Beta function, for a, b > 0."""
    remainder = stirling_remainder(a) + stirling_remainder(b) - stirling_remainder(a + b)
    powers = -a * math.log1p(b / a) - b * math.log1p(a / b)
    return powers + 0.5 * (math.log(a + b) - math.log(a) - math.log(b)) + _HALF_LOG_2PI + remainder


def beta_entropy(a: float, b: float) -> float:
    """Return the differential entropy of Beta(a, b) on [0, 1] in nats.

    The textbook sum of log B and digammas, after its large terms are cancelled by hand: what is
    left is of the order of the result, for a and b of any size.
    """
    total = a + b
    logs = 0.5 * (math.log(a) + math.log(b)) - 1.5 * math.log(total)
    ratios = 0.5 - 0.5 / a - 0.5 / b + 1.0 / total
    digammas = (a - 1.0) * digamma_remainder(a) + (b - 1.0) * digamma_remainder(b)
    digammas -= (total - 2.0) * digamma_remainder(total)
    remainder = stirling_remainder(a) + stirling_remainder(b) - stirling_remainder(total)
    return logs + ratios + digammas + remainder + _HALF_LOG_2PI


def beta_divergence(a: float, b: float, other_a: float, other_b: float) -> float:
    """Return KL(Beta(a, b) || Beta(other_a, other_b)) in nats.

    With A = log B, the divergence is A(q) - A(p) - grad A(p) (q - p). For neighbors these terms
    cancel to nothing (a trust region is a step between neighbors), so the same number is taken as
    the integral of (1 - t) times the curvature of A along the step, which has no cancellation.
    """
    step_a, step_b = other_a - a, other_b - b
    if max(a / other_a, other_a / a, b / other_b, other_b / b) > 2.0:
        slope = (step_a + step_b) * digamma(a + b) - step_a * digamma(a) - step_b * digamma(b)
        return log_beta(other_a, other_b) - log_beta(a, b) + slope
    nodes, weights = _gauss_rule(12)
    total = 0.0
    for t, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        at_a, at_b = a + t * step_a, b + t * step_b
        curvature = trigamma(at_a) * step_a**2 + trigamma(at_b) * step_b**2
        curvature -= trigamma(at_a + at_b) * (step_a + step_b) ** 2
        total += weight * (1.0 - t) * curvature
    return max(0.0, total)


def beta_cdf(a: float, b: float, x: np.ndarray) -> np.ndarray:
    """Return the distribution function of Beta(a, b) on [0, 1].

    The continued fraction of the incomplete Beta function (NIST Digital Library of Mathematical
    Functions, 8.17.22), evaluated forward by the method of Lentz on the side of the mean where it
    converges fast.

    Args:
        a: First exponent, > 0.
        b: Second exponent, > 0.
        x: Points in [0, 1].
    """
    inner = np.clip(np.asarray(x, dtype=np.float64), 1e-300, 1.0 - 1e-16)
    flipped = inner > (a + 1.0) / (a + b + 2.0)
    first, second = np.where(flipped, b, a), np.where(flipped, a, b)
    near = np.where(flipped, 1.0 - inner, inner)
    power = first * np.log(near) + second * np.log1p(-near) - log_beta(a, b)
    area = np.exp(power) / first * _beta_fraction(first, second, near)
    return np.asarray(np.clip(np.where(flipped, 1.0 - area, area), 0.0, 1.0))


def beta_inverse(a: float, b: float, quantile: np.ndarray) -> np.ndarray:
    """Invert the distribution function of Beta(a, b) on [0, 1] by bisection.

    Args:
        a: First exponent, > 0.
        b: Second exponent, > 0.
        quantile: Probabilities in [0, 1].
    """
    low, high = np.zeros_like(quantile), np.ones_like(quantile)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        below = beta_cdf(a, b, middle) < quantile
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    inside = np.where(quantile >= 1.0, 1.0, 0.5 * (low + high))
    return np.where(quantile <= 0.0, 0.0, inside)


def _beta_fraction(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the continued fraction 1 / (1 + d1 / (1 + d2 / ...)) of the incomplete Beta function.

    By far the slowest are large exponents at their mean, which take about sqrt(a + b) terms.
    """
    tiny = 1e-300
    numerator, denominator = np.ones_like(x), 1.0 - (a + b) * x / (a + 1.0)
    denominator = 1.0 / np.where(np.abs(denominator) < tiny, tiny, denominator)
    value = denominator.copy()
    for m in range(1, 64 + int(4.0 * math.sqrt(float(np.max(a + b))))):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            denominator = 1.0 / (1.0 + term * denominator)
            numerator = 1.0 + term / numerator
            change = numerator * denominator
            value = value * change
        if np.max(np.abs(change - 1.0)) < 1e-15:
            break
    return np.asarray(value)


def log1p_minus(x: float) -> float:
    """Return log(1 + x) - x, for x > -1, to full relative accuracy near 0."""
    if abs(x) > 0.05:
        return math.log1p(x) - x
    return -sum((-x) ** k / k for k in range(14, 1, -1))


class TruncatedTable(NamedTuple):
    """Hold the integrals of exp(-u^2 / 2 - tilt u) over an interval around its mode u = 0.

    Attributes:
        tilt: Slope of the energy at the mode.
        low: Where the table begins, in units of the standard deviation, <= 0.
        width: Its length, in the same unit.
        cumulative: Mass left of each panel edge (P + 1,), in units of `width`.
        log_mass: Logarithm of the whole integral.
        mean: Mean of u.
        std: Standard deviation of u.
        mean_energy: Mean of u^2 / 2 + tilt u.
    """

    tilt: float
    low: float
    width: float
    cumulative: np.ndarray
    log_mass: float
    mean: float
    std: float
    mean_energy: float


@functools.lru_cache(maxsize=256)
def truncated_table(tilt: float, low: float, high: float) -> TruncatedTable:
    """Integrate the density of a truncated normal, relative to its mode.

    Args:
        tilt: Distance of the mode from the untruncated mean; 0 if the mean lies inside.
        low: Lower bound minus the mode, <= 0. All three in units of the standard deviation.
        high: Upper bound minus the mode, >= 0.

    Returns:
        Mass, moments and the cumulative mass for `truncated_inverse`.
    """
    reach = 2.0 * _MAX_ENERGY / (abs(tilt) + math.hypot(tilt, math.sqrt(2.0 * _MAX_ENERGY)))
    low, high = max(low, -reach), min(high, reach)
    width = high - low
    nodes, weights = _gauss_rule(_NUM_NODES)
    at = (np.arange(_NUM_PANELS)[:, None] + nodes) / _NUM_PANELS  # (P, K) in [0, 1]
    energy = _energy(low + width * at, tilt)
    mass = np.exp(-energy) * weights / _NUM_PANELS
    cumulative = np.concatenate([[0.0], np.cumsum(mass.sum(axis=1))])
    share = mass / mass.sum()
    mean = float((share * at).sum())
    std = math.sqrt(float((share * (at - mean) ** 2).sum()))
    return TruncatedTable(
        tilt=tilt,
        low=low,
        width=width,
        cumulative=cumulative,
        log_mass=math.log(float(cumulative[-1])) + math.log(width),
        mean=low + width * mean,
        std=width * std,
        mean_energy=float((share * energy).sum()),
    )


def truncated_inverse(table: TruncatedTable, quantile: np.ndarray) -> np.ndarray:
    """Invert the distribution function of a truncated normal.

    A table finds the panel, Newton's method the point inside it. On the falling side of the density
    the distribution function is concave, on the rising side convex, so that after its first step
    Newton's method approaches the root from one side; the clip handles the panel with the mode.

    Args:
        table: From `truncated_table`.
        quantile: Probabilities (n,) in [0, 1].

    Returns:
        The points (n,), relative to the mode, in units of the standard deviation.
    """
    nodes, weights = _gauss_rule(_NUM_NODES)
    target = np.asarray(quantile, dtype=np.float64) * table.cumulative[-1]
    panel = np.searchsorted(table.cumulative, target, side="right") - 1
    panel = np.clip(panel, 0, _NUM_PANELS - 1)
    rest = target - table.cumulative[panel]
    length = 1.0 / _NUM_PANELS
    start = panel * length
    mass = np.diff(table.cumulative)[panel]
    step = length * np.divide(rest, mass, out=np.zeros_like(rest), where=mass > 0.0)
    for _ in range(_NEWTON_STEPS):
        inner = table.low + table.width * (start[:, None] + step[:, None] * nodes)  # (n, K)
        area = step * (np.exp(-_energy(inner, table.tilt)) @ weights)
        density = np.exp(-_energy(table.low + table.width * (start + step), table.tilt))
        step = np.clip(step + (rest - area) / density, 0.0, length)
    return np.asarray(table.low + table.width * (start + step))


def _energy(u: np.ndarray, tilt: float) -> np.ndarray:
    """Return the negative log density relative to the mode."""
    return np.asarray(u * (0.5 * u + tilt))


@functools.cache
def _gauss_rule(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes and weights of Gauss-Legendre quadrature on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    return 0.5 * (nodes + 1.0), 0.5 * weights

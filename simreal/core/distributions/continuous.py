"""Distributions with a density: what physical quantities are drawn from.

Everything is written so that it stays accurate in narrow intervals, for large exponents and far in
the tails, because adaptive methods begin with nearly fixed values and compare distributions that
differ by very little.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from simreal.core import special
from simreal.core.distributions.base import (
    Distribution,
    check_interval,
    check_positive,
    number,
    register,
    store,
)
from simreal.errors import ConfigError

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

# Below, the width of a truncated normal in standard deviations cannot be told from zero.
_LEAST_WIDTH = 1e-150


@register
@dataclass(frozen=True, slots=True, repr=False)
class Uniform(Distribution):
    """Spread the probability evenly over an interval.

    Attributes:
        low: Least value.
        high: Greatest value.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the parameters."""
        store(self, low=self.low, high=self.high)
        check_interval(self, low=self.low, high=self.high)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n values (n,)."""
        # Never above `high`: the generator stays below 1 by more than the width is rounded up.
        return self.low + (self.high - self.low) * rng.random(n)

    def _log_density(self, x: np.ndarray) -> np.ndarray:
        return np.full_like(x, -self.entropy())

    def entropy(self) -> float:
        """Return the logarithm of the width."""
        return math.log(self.high - self.low)

    @property
    def mean(self) -> float:
        """Return the middle."""
        return self.low + 0.5 * (self.high - self.low)

    @property
    def std(self) -> float:
        """Return the standard deviation."""
        return (self.high - self.low) / math.sqrt(12.0)

    @property
    def support(self) -> tuple[float, float]:
        """Return both ends."""
        return self.low, self.high


@register
@dataclass(frozen=True, slots=True, repr=False)
class LogUniform(Distribution):
    """Spread the probability evenly over the orders of magnitude between two positive values.

    Attributes:
        low: Least value, > 0.
        high: Greatest value.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the parameters."""
        store(self, low=self.low, high=self.high)
        check_positive(self, low=self.low)
        check_interval(self, low=self.low, high=self.high)

    @property
    def _half_log_ratio(self) -> float:
        if self.high < 2.0 * self.low:
            return 0.5 * math.log1p((self.high - self.low) / self.low)
        return 0.5 * (math.log(self.high) - math.log(self.low))

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n values (n,)."""
        exponent = 2.0 * self._half_log_ratio * rng.random(n)
        return np.clip(np.exp(math.log(self.low) + exponent), self.low, self.high)

    def _log_density(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(-np.log(x) - math.log(2.0 * self._half_log_ratio))

    def entropy(self) -> float:
        """Return the differential entropy [nats]."""
        middle = 0.5 * (math.log(self.low) + math.log(self.high))
        return middle + math.log(2.0 * self._half_log_ratio)

    @property
    def mean(self) -> float:
        """Return (high - low) / log(high / low)."""
        return (self.high - self.low) / (2.0 * self._half_log_ratio)

    @property
    def std(self) -> float:
        """Return the standard deviation."""
        # With s = log(high / low) / 2, the variance is low high (sinh s / s) (cosh s - sinh s / s);
        # the last factor cancels for a narrow interval, where its series has positive terms only.
        s = self._half_log_ratio
        if s < 1.0:
            spread = sum(2 * k * s ** (2 * k) / math.factorial(2 * k + 1) for k in range(1, 12))
        else:
            spread = math.cosh(s) - math.sinh(s) / s
        middle = math.sqrt(self.low) * math.sqrt(self.high)
        return middle * math.sqrt(math.sinh(s) / s) * math.sqrt(spread)

    @property
    def support(self) -> tuple[float, float]:
        """Return both ends."""
        return self.low, self.high


@register
@dataclass(frozen=True, slots=True, repr=False, init=False)
class Normal(Distribution):
    """Be the Gaussian, whose support is the whole line.

    A dynamics parameter with hard bounds wants `TruncatedNormal` instead.

    Attributes:
        loc: The argument `mean`.
        scale: The argument `std`.
    """

    loc: float
    scale: float

    def __init__(self, mean: float, std: float) -> None:
        """Check and keep the parameters.

        Args:
            mean: Expected value.
            std: Standard deviation, > 0.
        """
        store(self, loc=number(self, "mean", mean), scale=number(self, "std", std))
        check_positive(self, std=self.scale)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n values (n,)."""
        return self.loc + self.scale * rng.standard_normal(n)

    def _log_density(self, x: np.ndarray) -> np.ndarray:
        z = (x - self.loc) / self.scale
        return -0.5 * z * z - math.log(self.scale) - _HALF_LOG_2PI

    def entropy(self) -> float:
        """Return log std + log(2 pi e) / 2."""
        return math.log(self.scale) + _HALF_LOG_2PI + 0.5

    @property
    def mean(self) -> float:
        """Return the expected value."""
        return self.loc

    @property
    def std(self) -> float:
        """Return the standard deviation."""
        return self.scale

    @property
    def support(self) -> tuple[float, float]:
        """Return minus and plus infinity."""
        return -math.inf, math.inf

    def _parameters(self) -> dict[str, Any]:
        return {"mean": self.loc, "std": self.scale}


@register
@dataclass(frozen=True, slots=True, repr=False, init=False)
class TruncatedNormal(Distribution):
    """Be a Gaussian that is conditioned on an interval, which may lie far in its tail.

    The arguments are those of the Gaussian before truncation; the properties `mean` and `std` are
    the moments after it.

    Attributes:
        loc: The argument `mean`.
        scale: The argument `std`.
        low: Least value.
        high: Greatest value.
    """

    loc: float
    scale: float
    low: float
    high: float

    def __init__(self, mean: float, std: float, low: float, high: float) -> None:
        """Check and keep the parameters.

        Args:
            mean: Expected value before truncation; may lie outside the interval.
            std: Standard deviation before truncation, > 0.
            low: Least value.
            high: Greatest value.
        """
        store(self, loc=number(self, "mean", mean), scale=number(self, "std", std))
        store(self, low=low, high=high)
        check_positive(self, std=self.scale)
        check_interval(self, low=self.low, high=self.high)
        width = (self.high - self.low) / self.scale
        far = max(abs(self.low - self.loc), abs(self.high - self.loc)) / self.scale
        if width < _LEAST_WIDTH or not math.isfinite(far):
            raise ConfigError(
                f"{self!r}: the interval is {width:g} standard deviations wide and reaches {far:g} "
                f"from the mean; it must be wider than {_LEAST_WIDTH:g} and at a finite distance. "
                "Use Uniform for a wide std, Fixed for a narrow one."
            )

    @property
    def _mode(self) -> float:
        return min(max(self.loc, self.low), self.high)

    def _table(self) -> special.TruncatedTable:
        mode = self._mode
        bounds = (self.low - mode) / self.scale, (self.high - mode) / self.scale
        return special.truncated_table((mode - self.loc) / self.scale, *bounds)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n values (n,) by inverting the distribution function.

        Exactly n uniform numbers are used, whatever the parameters, so that equal seeds give draws
        which move smoothly with the parameters.
        """
        return self.quantile(rng.random(n))

    def quantile(self, probability: np.ndarray) -> np.ndarray:
        """Return the values below which given shares of the draws lie.

        Args:
            probability: Shares in [0, 1] (n,).
        """
        u = special.truncated_inverse(self._table(), probability)
        return np.clip(self._mode + self.scale * u, self.low, self.high)

    def _log_density(self, x: np.ndarray) -> np.ndarray:
        table = self._table()
        u = (x - self._mode) / self.scale
        return -u * (0.5 * u + table.tilt) - table.log_mass - math.log(self.scale)

    def entropy(self) -> float:
        """Return the differential entropy [nats]."""
        table = self._table()
        return table.mean_energy + table.log_mass + math.log(self.scale)

    @property
    def mean(self) -> float:
        """Return the expected value after truncation."""
        return self._mode + self.scale * self._table().mean

    @property
    def std(self) -> float:
        """Return the standard deviation after truncation."""
        return self.scale * self._table().std

    @property
    def support(self) -> tuple[float, float]:
        """Return both ends."""
        return self.low, self.high

    def _parameters(self) -> dict[str, Any]:
        return {"mean": self.loc, "std": self.scale, "low": self.low, "high": self.high}


@register
@dataclass(frozen=True, slots=True, repr=False)
class Beta(Distribution):
    """Be a Beta distribution that is scaled from [0, 1] to an interval.

    `Beta(1, 1)` is uniform; large and equal `a` and `b` gather at the middle.

    Attributes:
        a: Exponent at the low end, > 0.
        b: Exponent at the high end, > 0.
        low: Least value.
        high: Greatest value.
    """

    a: float
    b: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        store(self, a=self.a, b=self.b, low=self.low, high=self.high)
        check_positive(self, a=self.a, b=self.b)
        check_interval(self, low=self.low, high=self.high)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n values (n,)."""
        scaled = self.low + (self.high - self.low) * rng.beta(self.a, self.b, n)
        return np.clip(scaled, self.low, self.high)

    def quantile(self, probability: np.ndarray) -> np.ndarray:
        """Return the values below which given shares of the draws lie.

        Args:
            probability: Shares in [0, 1] (n,).
        """
        inner = special.beta_inverse(self.a, self.b, probability)
        return np.clip(self.low + (self.high - self.low) * inner, self.low, self.high)

    def _log_density(self, x: np.ndarray) -> np.ndarray:
        width = self.high - self.low
        above = _power_log(self.a - 1.0, (x - self.low) / width)
        below = _power_log(self.b - 1.0, (self.high - x) / width)
        scale = special.log_beta(self.a, self.b) + math.log(width)
        return np.asarray(above + below - scale)

    def entropy(self) -> float:
        """Return the differential entropy [nats]; at most log(high - low), for a = b = 1."""
        return special.beta_entropy(self.a, self.b) + math.log(self.high - self.low)

    @property
    def mean(self) -> float:
        """Return the expected value."""
        return self.low + (self.high - self.low) * self.a / (self.a + self.b)

    @property
    def std(self) -> float:
        """Return the standard deviation."""
        total = self.a + self.b
        variance = (self.a / total) * (self.b / total) / (total + 1.0)
        return (self.high - self.low) * math.sqrt(variance)

    @property
    def support(self) -> tuple[float, float]:
        """Return both ends."""
        return self.low, self.high


def _power_log(power: float, base: np.ndarray) -> np.ndarray:
    """Return power * log(base), and 0 where the power is 0."""
    if power == 0.0:
        return np.zeros_like(base)
    with np.errstate(divide="ignore"):
        return np.asarray(power * np.log(base))

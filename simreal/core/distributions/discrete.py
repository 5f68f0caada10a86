"""Distributions with finitely many values: a constant, and a choice.

Their log probabilities are those of outcomes, not densities; so is their entropy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simreal.core.distributions.base import Distribution, number, register, store
from simreal.errors import ConfigError


@register
@dataclass(frozen=True, slots=True, repr=False)
class Fixed(Distribution):
    """Put all probability on one value.

    It counts as discrete: `log_prob` is 0 at exactly the value, and the entropy is 0, that of a
    certain outcome (and not minus infinity, the limit of ever narrower densities).

    Attributes:
        value: The value.
    """

    value: float

    def __post_init__(self) -> None:
        """Check the parameters."""
        store(self, value=self.value)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Return the value n times (n,), without touching the generator."""
        return np.full(n, self.value)

    def _log_density(self, x: np.ndarray) -> np.ndarray:
        return np.zeros_like(x)

    def entropy(self) -> float:
        """Return 0."""
        return 0.0

    @property
    def mean(self) -> float:
        """Return the value."""
        return self.value

    @property
    def std(self) -> float:
        """Return 0."""
        return 0.0

    @property
    def support(self) -> tuple[float, float]:
        """Return the value twice."""
        return self.value, self.value


@register
@dataclass(frozen=True, slots=True, repr=False)
class Categorical(Distribution):
    """Draw one of finitely many values.

    Attributes:
        values: The values, all different.
        probs: Their probabilities, >= 0, with sum 1; all equal if None.
    """

    values: Sequence[float]
    probs: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check the parameters, and keep them as tuples."""
        values = _numbers(self, "values", self.values)
        if not values or len(set(values)) < len(values):
            raise ConfigError(
                f"Categorical: values are {list(values)}; there must be at least one, and none "
                "twice. Merge equal values and add up their probabilities."
            )
        even = [1.0 / len(values)] * len(values)
        probs = _numbers(self, "probs", even if self.probs is None else self.probs)
        total = math.fsum(probs)
        if len(probs) != len(values) or min(probs) < 0.0 or abs(total - 1.0) > 1e-9:
            raise ConfigError(
                f"Categorical: probs are {list(probs)}, with sum {total:.12g}, for {len(values)} "
                "values; there must be one for each value, none negative, with sum 1. Divide them "
                "by their sum, or leave them out for equal probabilities."
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "probs", probs)

    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the values that can occur and their probabilities, in the order of the values."""
        values = np.asarray(self.values, dtype=np.float64)
        probs = np.asarray(self.probs, dtype=np.float64)
        order = np.argsort(values)
        order = order[probs[order] > 0.0]
        return values[order], probs[order] / probs.sum()

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n values (n,)."""
        values, probs = self._weights()
        at = np.searchsorted(np.cumsum(probs)[:-1], rng.random(n), side="right")
        return values[at]

    def _log_density(self, x: np.ndarray) -> np.ndarray:
        values, probs = self._weights()
        at = np.clip(np.searchsorted(values, x), 0, values.size - 1)
        return np.where(values[at] == x, np.log(probs)[at], -np.inf)

    def entropy(self) -> float:
        """Return Shannon's entropy [nats]."""
        _, probs = self._weights()
        return float(-(probs * np.log(probs)).sum())

    @property
    def mean(self) -> float:
        """Return the expected value."""
        values, probs = self._weights()
        return float(values @ probs)

    @property
    def std(self) -> float:
        """Return the standard deviation."""
        values, probs = self._weights()
        return math.sqrt(float((values - self.mean) ** 2 @ probs))

    @property
    def support(self) -> tuple[float, float]:
        """Return the least and the greatest value that can occur."""
        values, _ = self._weights()
        return float(values[0]), float(values[-1])


def _numbers(owner: object, name: str, values: object) -> tuple[float, ...]:
    """Return a sequence of parameters as floats."""
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise ConfigError(
            f"{type(owner).__name__}: {name} is {values!r}; it must be a list of numbers. "
            "Write it in brackets: [0.5, 1.0]."
        )
    return tuple(number(owner, f"{name}[{i}]", value) for i, value in enumerate(values))

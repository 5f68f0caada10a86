"""What every distribution has in common: the interface, the checks, the form that survives JSON.

Apart from the distributions themselves, so that adding one means writing its formulas alone.
"""

import inspect
import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from simreal.errors import ConfigError, nearest, unknown_name

DistributionT = TypeVar("DistributionT", bound="Distribution")


class Distribution(ABC):
    """Be the base of every distribution of one number."""

    __slots__ = ()

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw independent values.

        Args:
            rng: Source of all randomness.
            n: How many.

        Returns:
            The values (n,), float64, inside the support.
        """

    def log_prob(self, x: ArrayLike) -> np.ndarray:
        """Return the log density (log probability, if discrete) in nats.

        Args:
            x: Values of any shape.

        Returns:
            float64 of the same shape: -inf outside the support, NaN where x is NaN.
        """
        at = np.asarray(x, dtype=np.float64)
        low, high = self.support
        inside = (at >= low) & (at <= high)
        # Clipping keeps the formula free of warnings where its result is not used.
        density = self._log_density(np.clip(at, low, high))
        return np.where(np.isnan(at), np.nan, np.where(inside, density, -np.inf))

    @abstractmethod
    def _log_density(self, x: np.ndarray) -> np.ndarray:
        """Return the log density at points between the ends of the support."""

    @abstractmethod
    def entropy(self) -> float:
        """Return the entropy in nats: differential if continuous, Shannon's if discrete."""

    @property
    @abstractmethod
    def mean(self) -> float:
        """Return the expected value."""

    @property
    @abstractmethod
    def std(self) -> float:
        """Return the standard deviation."""

    @property
    @abstractmethod
    def support(self) -> tuple[float, float]:
        """Return the least and the greatest value; both may be drawn."""

    def _parameters(self) -> dict[str, Any]:
        """Return what the constructor takes, by keyword."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        """Return the call that builds this distribution."""
        inner = ", ".join(f"{name}={value!r}" for name, value in self._parameters().items())
        return f"{type(self).__name__}({inner})"

    def to_dict(self) -> dict[str, Any]:
        """Return `kind` and the parameters, ready for JSON."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in self._parameters().items()}
        return {"kind": type(self).__name__, **plain}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a distribution from what `to_dict` returned.

        Args:
            data: `kind` and the parameters of that kind.

        Returns:
            An equal distribution.

        Raises:
            ConfigError: If kind or parameters are unknown, missing or not allowed.
        """
        kind, parameters = split_kind(data)
        kinds = {k: v for k, v in _KINDS.items() if issubclass(v, cls)}
        if kind not in kinds:
            raise unknown_name("distribution kind", kind, kinds)
        check_keywords(kinds[kind], parameters)
        return kinds[kind](**parameters)


_KINDS: dict[str, type[Distribution]] = {}


def register(cls: type[DistributionT]) -> type[DistributionT]:
    """Make a distribution known to `Distribution.from_dict`, under the name of its class."""
    _KINDS[cls.__name__] = cls
    return cls


def split_kind(data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the kind and the parameters of the form that `to_dict` writes."""
    if not isinstance(data, Mapping) or "kind" not in data:
        raise ConfigError(
            f"a distribution was read from {data!r}; it must be a mapping with the key 'kind'. "
            'Write for instance {"kind": "Uniform", "low": 0.5, "high": 1.5}.'
        )
    return str(data["kind"]), {str(k): v for k, v in data.items() if k != "kind"}


def check_keywords(target: type, keywords: Mapping[str, Any]) -> None:
    """Raise ConfigError if a constructor does not take these keywords, or needs more of them."""
    known = inspect.signature(target).parameters
    required = [name for name, p in known.items() if p.default is inspect.Parameter.empty]
    for name in keywords:
        if name not in known:
            allowed = f"allowed are {', '.join(known)}"
            hint = nearest(name, known) or " Remove it."
            raise ConfigError(f"{target.__name__}: unknown parameter '{name}'; {allowed}.{hint}")
    missing = [name for name in required if name not in keywords]
    if missing:
        raise ConfigError(
            f"{target.__name__}: got {', '.join(keywords) or 'no parameters'}; "
            f"required are {', '.join(required)}. Add {', '.join(missing)}."
        )


def number(owner: object, name: str, value: object) -> float:
    """Return a parameter as a float, or raise ConfigError if it is not a finite number."""
    kind = type(owner).__name__
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigError(
            f"{kind}: {name} is {value!r}, of type {type(value).__name__}; it must be a number. "
            "Write it without quotes, and with a point before an exponent: 1.0e-3."
        )
    try:
        result = float(value)
    except OverflowError:  # an integer beyond the range of float64
        result = math.inf
    if not math.isfinite(result):
        raise ConfigError(
            f"{kind}: {name} is {result!r}; it must be finite. Write a large finite number instead."
        )
    return result


def store(owner: object, **parameters: object) -> None:
    """Set fields of a frozen dataclass to finite floats."""
    for name, value in parameters.items():
        object.__setattr__(owner, name, number(owner, name, value))


def check_positive(owner: object, **parameters: float) -> None:
    """Raise ConfigError unless all parameters are greater than zero."""
    for name, value in parameters.items():
        if value <= 0.0:
            raise ConfigError(
                f"{type(owner).__name__}: {name} is {value!r}; it must be greater than 0. "
                f"Raise {name}, or use Fixed for a value that does not vary."
            )


def check_interval(owner: object, *, low: float, high: float) -> None:
    """Raise ConfigError unless low < high, with a width that float64 can hold."""
    if low < high and math.isfinite(high - low):
        return
    raise ConfigError(
        f"{type(owner).__name__}: low is {low!r} and high is {high!r}; low must be less than high, "
        "and their difference finite. Swap or narrow them, or use Fixed for a value that does not "
        "vary."
    )

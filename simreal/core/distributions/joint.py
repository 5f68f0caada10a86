"""Several parameters at once, and how far two distributions are apart.

Adaptive methods move a product of distributions inside a trust region, and the region is measured
in nats over all parameters together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from simreal.core import special
from simreal.core.distributions.base import Distribution, check_keywords, split_kind
from simreal.core.distributions.continuous import Beta, Normal, Uniform
from simreal.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Joint:
    """Combine named distributions that are independent of each other.

    The parts are kept in the order of their names: equal joints give equal draws from equal seeds,
    however they were written down. It is not a `Distribution`, which is one of one number, but has
    the same methods, with a dict from name to array in the place of an array.

    Attributes:
        parts: Name to distribution.
    """

    parts: Mapping[str, Distribution]

    def __post_init__(self) -> None:
        """Check the parts, and keep them sorted."""
        if not isinstance(self.parts, Mapping):
            raise ConfigError(
                f"Joint: parts is {self.parts!r}; it must map names to distributions. "
                "Write for instance Joint({'mass': Uniform(0.5, 1.5)})."
            )
        for name, part in self.parts.items():
            if not isinstance(name, str) or not isinstance(part, Distribution):
                raise ConfigError(
                    f"Joint: part {name!r} is {part!r}; it must have a string as its name and be a "
                    "distribution of one number. Use Fixed for a constant."
                )
        object.__setattr__(self, "parts", {name: self.parts[name] for name in sorted(self.parts)})

    def __hash__(self) -> int:
        """Return a hash that is equal for equal joints."""
        return hash(tuple(self.parts.items()))

    def sample(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Draw n independent tuples of values.

        Args:
            rng: Source of all randomness.
            n: How many.

        Returns:
            Name to values (n,).
        """
        return {name: part.sample(rng, n) for name, part in self.parts.items()}

    def log_prob(self, x: Mapping[str, ArrayLike]) -> np.ndarray:
        """Return the log density of all parts together in nats.

        Args:
            x: Name to values, all of one shape; exactly the names of the parts.

        Returns:
            The sum over the parts, of that shape.

        Raises:
            ConfigError: If a name is missing or unknown.
        """
        if set(x) != set(self.parts):
            raise ConfigError(
                f"Joint: got values for {', '.join(sorted(x)) or 'nothing'}; the parts are "
                f"{', '.join(self.parts) or 'none'}. Pass one array for each part."
            )
        total = np.zeros(())
        for name, part in self.parts.items():
            total = total + part.log_prob(x[name])
        return np.asarray(total)

    def entropy(self) -> float:
        """Return the sum of the entropies of the parts [nats], in which `Fixed` counts 0."""
        return math.fsum(part.entropy() for part in self.parts.values())

    @property
    def mean(self) -> dict[str, float]:
        """Return name to expected value."""
        return {name: part.mean for name, part in self.parts.items()}

    @property
    def std(self) -> dict[str, float]:
        """Return name to standard deviation."""
        return {name: part.std for name, part in self.parts.items()}

    @property
    def support(self) -> dict[str, tuple[float, float]]:
        """Return name to the least and the greatest value."""
        return {name: part.support for name, part in self.parts.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return `kind` and the parts, ready for JSON."""
        return {"kind": "Joint", "parts": {k: part.to_dict() for k, part in self.parts.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a joint distribution from what `to_dict` returned.

        Raises:
            ConfigError: If it is not of that form.
        """
        kind, parameters = split_kind(data)
        if kind != "Joint":
            raise ConfigError(
                f"a Joint was read from the kind '{kind}'; the kind must be 'Joint'. "
                "Use Distribution.from_dict for a distribution of one number."
            )
        check_keywords(cls, parameters)
        parts = parameters["parts"]
        if not isinstance(parts, Mapping):
            raise ConfigError(
                f"a Joint was read with the parts {parts!r}; they must map names to distributions. "
                'Write for instance {"mass": {"kind": "Uniform", "low": 0.5, "high": 1.5}}.'
            )
        return cls({name: Distribution.from_dict(part) for name, part in parts.items()})


def kl_divergence(p: Distribution | Joint, q: Distribution | Joint) -> float:
    """Return the Kullback-Leibler divergence KL(p || q) in nats.

    It does not depend on the unit of the parameter; Betas are compared on [0, 1].

    Args:
        p: The distribution that the average is taken over.
        q: Another one of the same kind; Betas must share their interval, Joints their names.

    Returns:
        A number >= 0; infinite if p allows values that q does not.

    Raises:
        ConfigError: If no closed form is known for this pair.
    """
    match p, q:
        case Beta(), Beta() if p.support == q.support:
            return special.beta_divergence(p.a, p.b, q.a, q.b)
        case Uniform(), Uniform():
            inside = q.low <= p.low and p.high <= q.high
            return math.log((q.high - q.low) / (p.high - p.low)) if inside else math.inf
        case Normal(), Normal():
            ratio = (p.scale - q.scale) / q.scale
            shift = (p.loc - q.loc) / q.scale
            return 0.5 * (ratio * ratio + shift * shift) - special.log1p_minus(ratio)
        case Joint(), Joint() if set(p.parts) == set(q.parts):
            return math.fsum(kl_divergence(part, q.parts[name]) for name, part in p.parts.items())
    raise ConfigError(
        f"no closed form of the KL divergence between {p!r} and {q!r}; known are two Betas on the "
        "same interval, two Uniforms, two Normals, and two Joints of such pairs with the same "
        "names. Compare distributions of the same kind."
    )

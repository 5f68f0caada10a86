"""Which dynamics parameters are drawn from which distribution, and when.

A draw depends on seed, world, episode and nothing else. Everything that was drawn is available to the
log, because randomization that nobody sees acting is the field's most repeated failure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from simreal.core.distributions import Distribution
from simreal.core.params import DynamicsParams, ParamSpec, flatten, select
from simreal.core.seeding import Stream, generator
from simreal.errors import ParameterError

Mode = Literal["set", "scale", "add"]
When = Literal["startup", "reset", "interval", "step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Randomized:
    """Say how one parameter, or one kind of parameters, is randomized.

    Attributes:
        distribution: What is drawn, one number per world and parameter.
        mode: The number is the value itself (`set`), a factor on the domain's value (`scale`), or an
            addition to it (`add`).
        when: Once per world (`startup`), at every episode (`reset`), every `interval_s`, or every step.
        interval_s: Time between draws for `when="interval"` [s].
    """

    distribution: Distribution
    mode: Mode = "set"
    when: When = "reset"
    interval_s: float = 1.0

    def __post_init__(self) -> None:
        """Check the interval.

        Raises:
            ParameterError: The interval is not positive.
        """
        if self.when == "interval" and not self.interval_s > 0:
            raise ParameterError(f"interval_s is {self.interval_s}; a positive time is needed")


@dataclass(frozen=True)
class Randomization:
    """Map parameters to distributions.

    Attributes:
        params: Nested as in a configuration file (`{"mass": {"*": Randomized(...)}}`) or flat
            (`{"mass.upper_link": ...}`). `kind: {"*": ...}` means every target of a kind, each drawn
            independently.
    """

    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def flat(self) -> dict[str, Randomized]:
        """Return pattern to rule.

        Raises:
            ParameterError: A leaf is not a `Randomized`.
        """
        flat = flatten(self.params)
        for name, rule in flat.items():
            if not isinstance(rule, Randomized):
                raise ParameterError(
                    f"randomization of '{name}' is {rule!r}; a Randomized(distribution=...) is needed"
                )
        return flat

    def resolve(self, specs: Mapping[str, ParamSpec]) -> dict[str, Randomized]:
        """Return parameter name to rule, patterns expanded; a full name beats a pattern.

        Args:
            specs: The robot's catalogue.

        Raises:
            ParameterError: A pattern matches nothing, or a parameter has several components.
        """
        rules: dict[str, Randomized] = {}
        ordered = sorted(self.flat.items(), key=lambda item: not item[0].endswith(".*"))
        for pattern, rule in ordered:
            for spec in select(specs, pattern):
                rules[spec.name] = rule
        return rules


class Sampler:
    """Draw the parameters of N worlds for one randomization, around a domain's fixed values."""

    def __init__(
        self,
        randomization: Randomization,
        specs: Mapping[str, ParamSpec],
        fixed: Mapping[str, Any],
        num_worlds: int,
        seed: int,
    ) -> None:
        """Resolve the rules and check that every draw can be within the hard bounds.

        Args:
            randomization: The rules.
            specs: The robot's catalogue.
            fixed: Values of the domain that replace the nominal ones.
            num_worlds: N.
            seed: Seed of the run.
        """
        self.rules = randomization.resolve(specs)
        self.specs = specs
        self.num_worlds = num_worlds
        self.seed = seed
        self.base = {
            name: np.asarray(fixed.get(name, specs[name].nominal), dtype=np.float64).reshape(-1)
            for name in self.rules
        }
        self.values: dict[str, np.ndarray] = {
            name: np.tile(base, (num_worlds, 1)) for name, base in self.base.items()
        }
        for name in self.rules:
            self._check_bounds(name)

    def names(self, *when: When) -> tuple[str, ...]:
        """Return the parameters that are drawn at these times."""
        return tuple(name for name, rule in self.rules.items() if rule.when in when)

    def draw(
        self,
        names: Sequence[str],
        mask: np.ndarray,
        episode: np.ndarray,
        block: np.ndarray,
        stream: Stream = Stream.DYNAMICS,
    ) -> None:
        """Draw some parameters anew in some worlds; the result stands in `values`.

        Args:
            names: Parameters to draw.
            mask: Worlds (N,), bool.
            episode: Episode number of each world (N,).
            block: Number of the draw within the episode (N,): 0 at its beginning.
            stream: Purpose of the random numbers.
        """
        for world in np.flatnonzero(mask):
            rng = generator(self.seed, int(world), int(episode[world]), stream, int(block[world]))
            for name in names:
                rule, base = self.rules[name], self.base[name]
                drawn = rule.distribution.sample(rng, base.size)
                self.values[name][world] = _combine(rule.mode, base, drawn)

    def params(self, names: Sequence[str]) -> DynamicsParams:
        """Return the present values of some parameters for all worlds."""
        return DynamicsParams(self.specs, {name: self.values[name] for name in names}, self.num_worlds)

    def _check_bounds(self, name: str) -> None:
        rule, spec = self.rules[name], self.specs[name]
        low, high = rule.distribution.support
        ends = np.array([_combine(rule.mode, self.base[name], np.array(e)) for e in (low, high)])
        if rule.distribution.__class__.__name__ == "Normal":
            return  # unbounded support: each draw is checked instead
        if np.any(ends < spec.low) or np.any(ends > spec.high):
            raise ParameterError(
                f"randomization of '{name}' reaches from {ends.min():.6g} to {ends.max():.6g} {spec.unit}, "
                f"outside its hard bounds [{spec.low:.6g}, {spec.high:.6g}]; narrow {rule.distribution!r}"
            )


def _combine(mode: Mode, base: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    if mode == "scale":
        return base * drawn
    if mode == "add":
        return base + drawn
    return np.broadcast_to(drawn, base.shape).astype(np.float64)

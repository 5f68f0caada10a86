"""Which dynamics parameters are drawn from which distribution, and when.

A draw depends on seed, world, episode, time and the parameter's own name, and on nothing else: the
same world meets the same mass whatever else is randomized. Everything that was drawn is available
to the log, because randomization that nobody sees acting is the field's most repeated failure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from simreal.core.distributions import Distribution
from simreal.core.params import DynamicsParams, ParamSpec, flatten, select
from simreal.core.seeding import Stream, generator
from simreal.errors import ParameterError, unknown_name

Mode = Literal["set", "scale", "add"]
When = Literal["startup", "reset", "interval", "step"]

_SHORT = 60  # characters of a wrong value that a message shows
_REACH = 6.0  # standard deviations at which a distribution without ends is cut
TOGETHER = "joint samples"
"""Label of the random number that says which set of values is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Randomized:
    """Say how one parameter, or one kind of parameters, is randomized.

    Attributes:
        distribution: What is drawn. A distribution without ends is cut at six standard deviations.
        mode: The number is the value itself (`set`), a factor on the domain's value (`scale`), or
            an addition to it (`add`). Of a parameter with several components a factor scales all
            alike, so that an inertia stays one; otherwise each component gets its own number.
        when: Once per world (`startup`), at every episode (`reset`), every `interval_s`, or every
            step.
        interval_s: Time between draws for `when="interval"` [s].
    """

    distribution: Distribution
    mode: Mode = "set"
    when: When = "reset"
    interval_s: float = 1.0

    def __post_init__(self) -> None:
        """Check every part.

        Raises:
            UnknownNameError: Mode or time are unknown.
            ParameterError: The distribution is none, or the interval is not a positive time.
        """
        if not isinstance(self.distribution, Distribution):
            raise ParameterError(
                f"distribution is {self.distribution!r}; one of one number is needed, for instance "
                "Uniform(low=0.9, high=1.1)"
            )
        if self.mode not in get_args(Mode):
            raise unknown_name("mode of a randomization", str(self.mode), get_args(Mode))
        if self.when not in get_args(When):
            raise unknown_name("time of a randomization", str(self.when), get_args(When))
        seconds = self.interval_s
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ParameterError(f"interval_s is {seconds!r}; a positive time is needed")

    def __str__(self) -> str:
        """Return what is drawn, in words."""
        return f"{self.mode} {self.distribution!r}"

    def reach(self, base: np.ndarray) -> tuple[float, float]:
        """Return the least and the greatest value that can be drawn around the domain's (k)."""
        ends = [_combine(self.mode, base, np.array(end)) for end in _ends(self.distribution)]
        return float(np.min(ends)), float(np.max(ends))


@dataclass(frozen=True, slots=True)
class SampledRows:
    """Say which values one parameter can have, of several that are drawn together.

    Attributes:
        values: One row per set (M, k).
        when: As in `JointSamples`.
    """

    values: np.ndarray
    when: When
    mode: Mode = "set"
    interval_s: float = 1.0

    def __str__(self) -> str:
        """Return what is drawn, in words."""
        return f"one of {len(self.values)} joint samples"

    def reach(self, base: np.ndarray) -> tuple[float, float]:
        """Return the least and the greatest value that can be drawn, whatever the domain's is."""
        return float(self.values.min()), float(self.values.max())


Rule = Randomized | SampledRows
"""How one parameter is drawn."""


@dataclass(frozen=True)
class JointSamples:
    """Map parameters to values that belong together: every draw takes one of M sets.

    What logs of a robot leave open is of that kind (`simreal identify`): a heavier link goes with a
    stronger motor, and draws of each on its own would mostly be of robots that the logs exclude.

    Attributes:
        values: Nested or flat: full parameter name to M values, or to M rows of k.
        when: Once per world (`startup`) or at every episode (`reset`).
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    when: When = "reset"

    def __post_init__(self) -> None:
        """Check every part.

        Raises:
            UnknownNameError: The time is unknown.
            ParameterError: Values are not numbers, or not as many of every parameter.
        """
        if self.when not in ("startup", "reset"):
            raise unknown_name("time of joint samples", str(self.when), ("startup", "reset"))
        counts = {name: len(rule.values) for name, rule in self.rules.items()}
        if len(set(counts.values())) > 1:
            seen = ", ".join(f"{count} of '{name}'" for name, count in counts.items())
            raise ParameterError(f"joint samples: got {seen}; as many of every one are needed")

    @property
    def rules(self) -> dict[str, SampledRows]:
        """Return parameter name to its values.

        Raises:
            ParameterError: They are not numbers.
        """
        return {
            name: SampledRows(_rows(name, values), self.when)
            for name, values in flatten(self.values).items()
        }


def _rows(name: str, values: Any) -> np.ndarray:
    try:
        rows = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        rows = np.zeros(0)
    if rows.ndim not in (1, 2) or not rows.size or not np.isfinite(rows).all():
        raise ParameterError(
            f"joint samples of '{name}' are {_short(values)}; M numbers are needed, or M rows of "
            "one number per component"
        )
    return rows.reshape(len(rows), -1)


def _short(values: Any) -> str:
    text = repr(values)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."


@dataclass(frozen=True)
class Randomization:
    """Map parameters to distributions.

    Attributes:
        params: Nested as in a configuration file (`{"mass": {"*": Randomized(...)}}`) or flat
            (`{"mass.upper_link": ...}`). `kind: {"*": ...}` means every target of a kind, each
            drawn independently.
        joint: Parameters that are drawn together; they beat patterns.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    joint: JointSamples = field(default_factory=JointSamples)

    def __post_init__(self) -> None:
        """Check that every leaf is a rule.

        Raises:
            ParameterError: It is no mapping, a leaf is not a `Randomized`, or a parameter is drawn
                both ways.
        """
        if not isinstance(self.joint, JointSamples):
            raise ParameterError(
                f"joint is {self.joint!r}; JointSamples(values=...) are needed: parameter name to "
                "M values"
            )
        if both := sorted(self.flat.keys() & self.joint.rules.keys()):
            raise ParameterError(
                f"'{both[0]}' is randomized on its own and in joint samples; leave one out"
            )

    def __bool__(self) -> bool:
        """Return whether anything is drawn."""
        return bool(self.params or self.joint.values)

    @property
    def words(self) -> dict[str, str]:
        """Return pattern to what is drawn and when, in words."""
        rules: dict[str, Rule] = {**self.flat, **self.joint.rules}
        return {name: f"{rule}, {rule.when}" for name, rule in rules.items()}

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
                    f"randomization of '{name}' is {rule!r}; "
                    "a Randomized(distribution=...) is needed"
                )
        return flat

    def resolve(self, specs: Mapping[str, ParamSpec]) -> dict[str, Rule]:
        """Return parameter name to rule, patterns expanded; a full name beats a pattern.

        Args:
            specs: The robot's catalogue.

        Raises:
            ParameterError: A pattern matches nothing, or joint samples have another number of
                components.
        """
        rules: dict[str, Rule] = {}
        ordered = sorted(self.flat.items(), key=lambda item: not item[0].endswith(".*"))
        for pattern, rule in ordered:
            for spec in select(specs, pattern):
                rules[spec.name] = rule
        for name, joint in self.joint.rules.items():
            (spec,) = select(specs, name)
            if joint.values.shape[1] != spec.size:
                raise ParameterError(
                    f"joint samples of '{name}' have {joint.values.shape[1]} components; "
                    f"{spec.size} are needed"
                )
            rules[name] = joint
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
        first_world: int = 0,
    ) -> None:
        """Resolve the rules and check that every draw can be within the hard bounds.

        Args:
            randomization: The rules.
            specs: The robot's catalogue.
            fixed: Values of the domain that replace the nominal ones.
            num_worlds: N.
            seed: Seed of the run.
            first_world: Index of the first world in the whole batch.

        Raises:
            ParameterError: A pattern matches nothing, a draw could be out of bounds, or a factor
                could change nothing because the value it scales is 0.
        """
        self.rules = randomization.resolve(specs)
        self.specs = specs
        self.num_worlds = num_worlds
        self.seed, self.first_world = seed, first_world
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
        for world in np.flatnonzero(mask).tolist():
            at = (
                self.seed,
                self.first_world + world,
                int(episode[world]),
                stream,
                int(block[world]),
            )
            for name in names:
                rule, base = self.rules[name], self.base[name]
                if isinstance(rule, SampledRows):
                    row = generator(*at, label=TOGETHER).integers(len(rule.values))
                    self.values[name][world] = rule.values[row]
                    continue
                count = 1 if rule.mode == "scale" else base.size
                drawn = rule.distribution.sample(generator(*at, label=name), count)
                drawn = np.clip(drawn, *_ends(rule.distribution))
                self.values[name][world] = _combine(rule.mode, base, drawn)

    def params(self, names: Sequence[str]) -> DynamicsParams:
        """Return the present values of some parameters for all worlds."""
        values = {name: self.values[name] for name in names}
        return DynamicsParams(self.specs, values, self.num_worlds)

    def reach(self, name: str) -> tuple[float, float]:
        """Return the least and the greatest value that a parameter can be drawn as."""
        return self.rules[name].reach(self.base[name])

    def _check_bounds(self, name: str) -> None:
        rule, spec = self.rules[name], self.specs[name]
        if rule.mode == "scale" and not self.base[name].any():
            raise ParameterError(
                f"randomization of '{name}' scales 0 {spec.unit}, which changes nothing; "
                'use mode "set" or "add", or give the domain a value other than 0'
            )
        low, high = self.reach(name)
        if low < spec.low or high > spec.high:
            raise ParameterError(
                f"randomization of '{name}' reaches from {low:.6g} to {high:.6g} {spec.unit}, "
                f"outside its hard bounds [{spec.low:.6g}, {spec.high:.6g}]; "
                f"narrow {rule}"
            )


def _ends(distribution: Distribution) -> tuple[float, float]:
    """Return between what draws lie, finite."""
    low, high = distribution.support
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    spread = _REACH * distribution.std
    return max(low, distribution.mean - spread), min(high, distribution.mean + spread)


def _combine(mode: Mode, base: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    if mode == "scale":
        return np.asarray(base * drawn)
    if mode == "add":
        return np.asarray(base + drawn)
    return np.broadcast_to(drawn, base.shape).astype(np.float64)

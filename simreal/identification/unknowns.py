"""What is to be identified: parameters, what is believed of each, and the numbers a fit moves.

Every unknown is a number x that is believed to be 0, give or take 1. A factor `exp(spread x)` on
the domain's value keeps its sign and keeps an inertia one; an addition `spread x` is for what may
be zero or have either sign.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from simreal.core.params import ParamSpec, flatten, select
from simreal.errors import ParameterError, unknown_name

Mode = Literal["scale", "add"]
COMMAND_DELAY = "command_delay"
REACH = 5.0  # beyond so many spreads nothing is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Say what is believed of one parameter, or of one kind of parameters.

    Attributes:
        mode: Whether it differs from the domain's value by a factor (`scale`) or by an addition
            (`add`), which every component of a vector has its own of.
        spread: By how much, give or take: a factor of `exp(spread)`, or an addition of `spread` in
            the parameter's unit.
    """

    mode: Mode
    spread: float

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            UnknownNameError: The mode is unknown.
            ParameterError: The spread is not a positive number.
        """
        if self.mode not in get_args(Mode):
            raise unknown_name("mode of an unknown", str(self.mode), get_args(Mode))
        number = isinstance(self.spread, int | float) and not isinstance(self.spread, bool)
        if not number or not 0.0 < self.spread < np.inf:
            raise ParameterError(f"spread is {self.spread!r}; a positive number is needed")


@dataclass(frozen=True, slots=True)
class Column:
    """Name one of the numbers that a fit moves.

    Attributes:
        spec: The parameter.
        component: Which component it moves; all alike if None.
        rule: What is believed.
        base: The domain's value (k).
    """

    spec: ParamSpec
    component: int | None
    rule: Unknown
    base: np.ndarray

    @property
    def label(self) -> str:
        """Return the parameter's name, with the component where there are several."""
        return self.spec.name if self.component is None else f"{self.spec.name}[{self.component}]"

    @property
    def unit(self) -> str:
        """Return the unit of its value."""
        whole = self.component is None and self.spec.size > 1
        return "factor" if whole else self.spec.unit

    @property
    def start(self) -> float:
        """Return the value that is believed; of a vector that is scaled, 1, the factor."""
        if self.component is not None:
            return float(self.base[self.component])
        return float(self.base[0]) if self.spec.size == 1 else 1.0

    def value(self, x: np.ndarray | float) -> np.ndarray:
        """Return what `start` becomes."""
        spread = self.rule.spread * np.asarray(x)
        return np.asarray(
            self.start * np.exp(spread) if self.rule.mode == "scale" else self.start + spread
        )

    def deviation(self, x: float, std: float) -> float:
        """Return the standard deviation of the value where x has one."""
        slope = self.rule.spread * (float(self.value(x)) if self.rule.mode == "scale" else 1.0)
        return abs(slope) * std

    def bounds(self) -> tuple[float, float]:
        """Return between what x may lie."""
        low, high = -REACH, REACH
        if self.component is None and self.spec.size > 1:
            return low, high  # a factor, which a vector's own bounds hardly limit
        for bound in (self.spec.low, self.spec.high):
            if self.rule.mode == "add":
                at = (bound - self.start) / self.rule.spread
            elif bound / self.start > 0:
                at = float(np.log(bound / self.start)) / self.rule.spread
            else:
                continue
            low, high = (max(low, at), high) if bound == self.spec.low else (low, min(high, at))
        return low, high


@dataclass(frozen=True)
class Unknowns:
    """Map parameters to what is believed of them.

    Attributes:
        params: Nested as in a configuration file (`{"mass": {"*": Unknown(...)}}`) or flat;
            `kind: {"*": ...}` means every target of a kind.
    """

    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every leaf.

        Raises:
            ParameterError: It is no mapping, it is empty, or a leaf is not an `Unknown`.
        """
        flat = flatten(self.params)
        for name, rule in flat.items():
            if not isinstance(rule, Unknown):
                raise ParameterError(
                    f"unknown '{name}' is {rule!r}; an Unknown(mode=..., spread=...) is needed"
                )
        if not flat:
            raise ParameterError("unknowns: nothing is to be identified; name a parameter")

    def resolve(self, specs: Mapping[str, ParamSpec]) -> dict[str, Unknown]:
        """Return parameter name to rule, patterns expanded; a full name beats a pattern.

        Args:
            specs: The robot's catalogue.

        Raises:
            ParameterError: A pattern matches nothing, or a parameter cannot be identified.
        """
        rules: dict[str, Unknown] = {}
        for pattern, rule in sorted(
            flatten(self.params).items(), key=lambda item: not item[0].endswith(".*")
        ):
            for spec in select(specs, pattern):
                _check_owner(spec)
                rules[spec.name] = rule
        return rules


class UnknownVector:
    """Turn vectors of P numbers into dynamics parameters.

    Attributes:
        columns: What each number is (P).
        names: Parameters that are moved.
    """

    def __init__(
        self, unknowns: Unknowns, specs: Mapping[str, ParamSpec], fixed: Mapping[str, Any]
    ) -> None:
        """Give every unknown its numbers.

        Args:
            unknowns: What is to be identified.
            specs: The robot's catalogue.
            fixed: Values of the domain that replace the nominal ones.

        Raises:
            ParameterError: A pattern matches nothing, a parameter cannot be identified, or a value
                that is 0 is to be scaled.
        """
        chosen = unknowns.resolve(specs)
        self.names = tuple(chosen)
        self.columns: list[Column] = []
        for name, rule in chosen.items():
            base = np.asarray(fixed.get(name, specs[name].nominal), dtype=np.float64).reshape(-1)
            self.columns += _columns(specs[name], rule, base)

    @property
    def engine_names(self) -> tuple[str, ...]:
        """Return the parameters that the engine applies."""
        return tuple(name for name in self.names if name != COMMAND_DELAY)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the greatest vector (P)."""
        ends = np.array([column.bounds() for column in self.columns])
        return ends[:, 0], ends[:, 1]

    def values(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Return what M vectors say.

        Args:
            vectors: (M, P).

        Returns:
            Parameter name to (M,) or (M, k).
        """
        found: dict[str, np.ndarray] = {}
        for i, column in enumerate(self.columns):
            spec, moved = column.spec, column.value(vectors[:, i])
            if spec.size == 1:
                found[spec.name] = np.clip(moved, spec.low, spec.high)
                continue
            rows = found.setdefault(spec.name, np.tile(column.base, (len(vectors), 1)))
            if column.component is None:
                rows *= moved[:, None]
            else:
                rows[:, column.component] = moved
        return found


def _columns(spec: ParamSpec, rule: Unknown, base: np.ndarray) -> Sequence[Column]:
    if rule.mode == "scale" and not base.any():
        raise ParameterError(
            f"unknown '{spec.name}' scales 0 {spec.unit}, which changes nothing; use mode add"
        )
    whole = spec.size == 1 or rule.mode == "scale"
    places = [None] if whole else list(range(spec.size))
    return [Column(spec, place, rule, base) for place in places]


def _check_owner(spec: ParamSpec) -> None:
    if spec.owner != "engine" and spec.name != COMMAND_DELAY:
        raise ParameterError(
            f"unknown '{spec.name}' is a matter of {spec.owner}, which positions and commands do "
            f"not show; only '{COMMAND_DELAY}' and what an engine applies can be identified"
        )

"""Observation terms in a closed vocabulary.

Training, the numpy runtime on a robot and the generated code must compute the same numbers, so an
observation is data: named terms that take named elements of a raw signal through a fixed list of
operations, and stack a declared number of frames with a declared fill.
`simreal.core.observation_pipeline` evaluates them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from simreal.errors import ConfigError, unknown_name

OpKind = Literal["sin", "cos", "wrap", "scale", "offset", "clip", "unwrap", "low_pass", "lag"]
Fill = Literal["first", "zero"]
Order = Literal["oldest_first", "newest_first"]

_NUM_VALUES: dict[str, int] = {
    "sin": 0,
    "cos": 0,
    "wrap": 0,
    "scale": 1,
    "offset": 1,
    "clip": 2,
    "unwrap": 0,
    "low_pass": 1,
    "lag": 1,
}

LAST_ACTION = "last_action"


@dataclass(frozen=True, slots=True)
class Op:
    """Describe one element-wise operation.

    Attributes:
        kind: `sin`, `cos`, `wrap` (to [-pi, pi)), `scale` (times a), `offset` (plus a), `clip` (to
            a, b), and two that remember: `unwrap` (an angle that goes on beyond half a turn, as
            long as it moves less than that in a step) and `low_pass` (the value before, moved by
            the share a of the way to the new one); both begin an episode with its first value.
            `lag` makes every frame of the term a control steps older.
        values: Its numbers.
    """

    kind: OpKind
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the kind and the number of values.

        Raises:
            ConfigError: The operation is unknown or has the wrong number of values.
        """
        if self.kind not in _NUM_VALUES:
            raise unknown_name("observation operation", self.kind, _NUM_VALUES)
        if len(self.values) != _NUM_VALUES[self.kind]:
            raise ConfigError(
                f"observation operation '{self.kind}' takes {_NUM_VALUES[self.kind]} values, "
                f"got {list(self.values)}"
            )
        if not all(math.isfinite(v) for v in self.values):
            raise ConfigError(
                f"observation operation '{self.kind}' got {list(self.values)}; not finite"
            )
        if self.kind == "lag" and not (self.values[0] >= 1 and self.values[0] % 1 == 0):
            raise ConfigError(
                f"observation operation 'lag' got {self.values[0]}; a whole number of control "
                "steps >= 1 is needed"
            )
        if self.kind == "low_pass" and not 0.0 < self.values[0] <= 1.0:
            raise ConfigError(
                f"observation operation 'low_pass' got {self.values[0]}; a share in (0, 1] is "
                "needed"
            )

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        """Return between what its results lie, given between what its inputs lie.

        Args:
            low: Least input.
            high: Greatest input.
        """
        if self.kind in ("sin", "cos"):
            return -1.0, 1.0
        if self.kind == "wrap":
            return -math.pi, math.pi
        if self.kind == "unwrap":
            return -math.inf, math.inf
        if self.kind in ("low_pass", "lag"):
            return low, high
        if self.kind == "offset":
            return low + self.values[0], high + self.values[0]
        if self.kind == "scale":
            factor = self.values[0]
            ends = (0.0, 0.0) if factor == 0 else (low * factor, high * factor)
            return min(ends), max(ends)
        return _clip(low, *self.values), _clip(high, *self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """Describe one named part of the observation.

    Attributes:
        name: Unique name.
        source: Raw signal it reads: `joint_pos`, `joint_vel`, ..., or `last_action`, the action the
            policy gave one control step before, after clipping.
        elements: Which elements, by name (joint names; for `last_action` the actuated joints).
        ops: Operations, applied from left to right.
        history: Number of frames H in the observation.
        fill: What stands in the frames before the episode began: the first frame, or zeros.
        stride: Control steps between two frames.
        order: Whether the oldest or the newest frame comes first.
    """

    name: str
    source: str
    elements: tuple[str, ...]
    ops: tuple[Op, ...] = ()
    history: int = 1
    fill: Fill = "first"
    stride: int = 1
    order: Order = "oldest_first"

    def __post_init__(self) -> None:
        """Check history, stride, elements, fill and order.

        Raises:
            ConfigError: The history is shorter than one frame, frames lie less than one step apart,
                there are no elements, or the fill or the order is unknown.
        """
        for what in ("history", "stride"):
            if getattr(self, what) < 1:
                raise ConfigError(
                    f"observation term '{self.name}': {what} {getattr(self, what)}; at least 1 "
                    "needed"
                )
        for what, value, known in (
            ("fill", self.fill, ("first", "zero")),
            ("order", self.order, ("oldest_first", "newest_first")),
        ):
            if value not in known:
                raise unknown_name(f"{what} of observation term '{self.name}'", value, known)
        if not self.elements:
            raise ConfigError(f"observation term '{self.name}' has no elements")

    @property
    def width(self) -> int:
        """Return the number of observation entries."""
        return self.history * len(self.elements)

    @property
    def ages(self) -> tuple[int, ...]:
        """Return how many control steps old each frame is, in the order of the observation (H)."""
        ages = tuple(self.lag + i * self.stride for i in range(self.history))
        return ages if self.order == "newest_first" else ages[::-1]

    @property
    def span(self) -> int:
        """Return the number of control steps, the present one included, that the frames cover."""
        return self.lag + (self.history - 1) * self.stride + 1

    @property
    def lag(self) -> int:
        """Return how many control steps old the newest frame is."""
        return sum(int(op.values[0]) for op in self.ops if op.kind == "lag")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "source": self.source,
            "elements": list(self.elements),
            "ops": [{"kind": op.kind, "values": list(op.values)} for op in self.ops],
            "history": self.history,
            "fill": self.fill,
            "stride": self.stride,
            "order": self.order,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Term":
        """Build a term from its JSON form."""
        return Term(
            name=data["name"],
            source=data["source"],
            elements=tuple(data["elements"]),
            ops=tuple(Op(op["kind"], tuple(op["values"])) for op in data["ops"]),
            history=data["history"],
            fill=data["fill"],
            stride=data["stride"],
            order=data["order"],
        )


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)

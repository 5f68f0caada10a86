"""Observation terms in a closed vocabulary, and the one pipeline that evaluates them.

Training, the numpy runtime on a robot and the generated code must compute the same numbers, so an
observation is data: named terms that take named elements of a raw signal through a fixed list of
operations, and stack a declared number of frames with a declared fill. The same pipeline object runs
for a thousand simulated worlds and, with one row, inside a robot's controller.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simreal.errors import ConfigError, unknown_name

OpKind = Literal["sin", "cos", "wrap", "scale", "offset", "clip"]
Fill = Literal["first", "zero"]

_NUM_VALUES: dict[str, int] = {"sin": 0, "cos": 0, "wrap": 0, "scale": 1, "offset": 1, "clip": 2}

LAST_ACTION = "last_action"


@dataclass(frozen=True, slots=True)
class Op:
    """Describe one element-wise operation.

    Attributes:
        kind: `sin`, `cos`, `wrap` (to [-pi, pi)), `scale` (times a), `offset` (plus a), `clip` (to a, b).
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
            raise ConfigError(f"observation operation '{self.kind}' got {list(self.values)}; not finite")

    def apply(self, source: np.ndarray, out: np.ndarray) -> None:
        """Evaluate into `out`, which may be `source` itself.

        Args:
            source: (N, k).
            out: (N, k).
        """
        if self.kind == "sin":
            np.sin(source, out=out)
        elif self.kind == "cos":
            np.cos(source, out=out)
        elif self.kind == "scale":
            np.multiply(source, self.values[0], out=out)
        elif self.kind == "offset":
            np.add(source, self.values[0], out=out)
        elif self.kind == "clip":
            np.clip(source, self.values[0], self.values[1], out=out)
        else:
            np.add(source, math.pi, out=out)
            np.mod(out, 2.0 * math.pi, out=out)
            np.subtract(out, math.pi, out=out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """Describe one named part of the observation.

    Attributes:
        name: Unique name.
        source: Raw signal it reads: `joint_pos`, `joint_vel`, ..., or `last_action`, the action the
            policy gave one control step before, after clipping.
        elements: Which elements, by name (joint names; for `last_action` the actuated joints).
        ops: Operations, applied from left to right.
        history: Number of frames H in the observation, oldest first, one per control step.
        fill: What stands in the frames before the episode began: the first frame, or zeros.
    """

    name: str
    source: str
    elements: tuple[str, ...]
    ops: tuple[Op, ...] = ()
    history: int = 1
    fill: Fill = "first"

    def __post_init__(self) -> None:
        """Check the history length.

        Raises:
            ConfigError: The history is shorter than one frame, or there are no elements.
        """
        if self.history < 1:
            raise ConfigError(f"observation term '{self.name}': history {self.history}; at least 1 needed")
        if not self.elements:
            raise ConfigError(f"observation term '{self.name}' has no elements")

    @property
    def width(self) -> int:
        """Return the number of observation entries."""
        return self.history * len(self.elements)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "source": self.source,
            "elements": list(self.elements),
            "ops": [{"kind": op.kind, "values": list(op.values)} for op in self.ops],
            "history": self.history,
            "fill": self.fill,
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
        )


class ObservationPipeline:
    """Evaluate observation terms for N rows, with their history.

    The observation is laid out term after term; inside a term frame after frame, oldest first.
    """

    def __init__(
        self, terms: Sequence[Term], signals: Mapping[str, Sequence[str]], num_rows: int = 1
    ) -> None:
        """Resolve names into columns and allocate the history.

        Args:
            terms: The terms, in order.
            signals: Raw signal name to its element names, in the order of its columns.
            num_rows: N.

        Raises:
            UnknownNameError: A term reads a signal or an element that is not there.
            ConfigError: Two terms have the same name.
        """
        names = [term.name for term in terms]
        if len(set(names)) != len(names):
            raise ConfigError(f"observation terms must have unique names, got {names}")
        self.terms = tuple(terms)
        self.num_rows = num_rows
        self._plan: list[tuple[str, Any, slice, tuple[Op, ...]]] = []
        at = 0
        for term in terms:
            columns = _columns(term, signals)
            self._plan.append((term.source, columns, slice(at, at + len(term.elements)), term.ops))
            at += len(term.elements)
        self.frame_width = at
        self.depth = max((term.history for term in terms), default=1)
        self.history = np.zeros((num_rows, self.depth, at))  # oldest first
        self._frame = np.zeros((num_rows, at))
        self._gather = _gather(terms, self.depth, at)
        self._plain = self.depth == 1
        self._zero_fill = np.concatenate(
            [np.full(len(t.elements), t.fill == "zero") for t in terms] or [np.zeros(0, dtype=bool)]
        )
        self.dim = int(self._gather.size)

    @property
    def entry_names(self) -> tuple[str, ...]:
        """Return one name per observation entry: `term[element]@age`, age in control steps."""
        return tuple(
            f"{term.name}[{element}]@{term.history - 1 - frame}"
            for term in self.terms
            for frame in range(term.history)
            for element in term.elements
        )

    def push(self, signals: Mapping[str, np.ndarray]) -> None:
        """Append one frame to the history of every row.

        Args:
            signals: Raw signal name to (N, k).
        """
        frame = self._evaluate(signals)
        if not self._plain:
            self.history[:, :-1] = self.history[:, 1:]
        self.history[:, -1] = frame

    def restart(self, signals: Mapping[str, np.ndarray], mask: np.ndarray | None = None) -> None:
        """Begin a new history in some rows, filled as each term declares.

        Args:
            signals: Raw signal name to (N, k), the first measurement; other rows are ignored.
            mask: Rows to restart (N,), bool; all if None.
        """
        frame = self._evaluate(signals)
        rows = slice(None) if mask is None else mask
        first = frame[rows]
        filled = np.repeat(first[:, None, :], self.depth, axis=1)
        if not self._plain and self._zero_fill.any():
            filled[:, :-1, self._zero_fill] = 0.0
        self.history[rows] = filled

    def emit(self, out: np.ndarray | None = None) -> np.ndarray:
        """Return the observation of every row.

        Args:
            out: Where to write (N, dim) float32; new if None.
        """
        if out is None:
            out = np.empty((self.num_rows, self.dim), dtype=np.float32)
        if self._plain:
            out[...] = self.history[:, 0]
        else:
            out[...] = self.history.reshape(self.num_rows, -1)[:, self._gather]
        return out

    def _evaluate(self, signals: Mapping[str, np.ndarray]) -> np.ndarray:
        frame = self._frame
        for source, columns, where, ops in self._plan:
            value = signals[source]
            if columns is not None:
                value = value[:, columns]
            target = frame[:, where]
            if not ops:
                target[...] = value
            for op in ops:
                op.apply(value, target)
                value = target
        return frame


def _columns(term: Term, signals: Mapping[str, Sequence[str]]) -> Any:
    """Return the columns of a term's elements: None for all in order, a slice, or an index array."""
    if term.source not in signals:
        raise unknown_name(f"signal of observation term '{term.name}'", term.source, signals)
    known = list(signals[term.source])
    for element in term.elements:
        if element not in known:
            raise unknown_name(f"element of signal '{term.source}' in term '{term.name}'", element, known)
    index = [known.index(element) for element in term.elements]
    if index == list(range(len(known))):
        return None
    if index == list(range(index[0], index[0] + len(index))):
        return slice(index[0], index[0] + len(index))
    return np.array(index)


def _gather(terms: Sequence[Term], depth: int, width: int) -> np.ndarray:
    """Return for every observation entry its place in the flattened (depth, width) history."""
    places: list[int] = []
    at = 0
    for term in terms:
        size = len(term.elements)
        for frame in range(depth - term.history, depth):
            places.extend(range(frame * width + at, frame * width + at + size))
        at += size
    return np.array(places, dtype=np.intp)

"""The one pipeline that evaluates observation terms.

The same object runs for a thousand simulated worlds and, with one row, inside a robot's controller.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from simreal.core.observation import OpKind, Term
from simreal.errors import ConfigError, unknown_name

Step = Callable[[np.ndarray, np.ndarray], Any]
"""Evaluate one operation from a source (k, N) into an output (k, N), which may be the source."""


class ObservationPipeline:
    """Evaluate observation terms for N rows, with their history.

    The observation is laid out term after term; inside a term frame after frame. Frames stand in a
    ring, so that a step writes one frame and moves none. In memory the rows of one entry are
    neighbours, which is how operations on all rows at once are cheapest.
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
            ConfigError: Two terms have the same name, or there are none.
        """
        names = [term.name for term in terms]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"an observation needs terms with unique names, got {names}")
        self.terms = tuple(terms)
        self.num_rows = num_rows
        self.frame_width = sum(len(term.elements) for term in terms)
        self.depth = max(term.span for term in terms)
        self._frames = np.zeros((self.depth, self.frame_width, num_rows))
        self._flat = self._frames.reshape(-1, num_rows)
        self._scratch = np.zeros((self.frame_width, num_rows))
        self._newest = self.depth - 1
        self._rows = [frame.T for frame in self._frames]
        self.signal_elements = {name: tuple(elements) for name, elements in signals.items()}
        self._groups, places = _compile(terms, signals, num_rows)
        steps = [step for _, _, steps in self._groups for step in steps]
        self._memories = [step for step in steps if isinstance(step, _Memory)]
        self._first = [self._scratch[place] for place in places]
        self._slots = [[frame[place] for place in places] for frame in self._frames]
        gather = _gather(terms, self.depth, self.frame_width)
        # With the newest frame in the last slot the ring is in order; else it is rotated.
        turns = ((slot + 1) * self.frame_width for slot in range(self.depth))
        self._gathers = [(gather + turn) % self._flat.shape[0] for turn in turns]
        self._in_order = gather.tolist() == list(range(self._flat.shape[0])) and self.depth == 1
        zero = [np.full(len(term.elements), term.fill == "zero") for term in terms]
        self._zero_filled = np.flatnonzero(np.concatenate(zero))
        self.dim = int(gather.size)

    @property
    def entry_names(self) -> tuple[str, ...]:
        """Return one name per observation entry: `term[element]@age`, age in control steps."""
        return tuple(
            f"{term.name}[{element}]@{age}"
            for term in self.terms
            for age in term.ages
            for element in term.elements
        )

    @property
    def history(self) -> np.ndarray:
        """Return a copy of the frames, oldest first (N, depth, frame width).

        Where operations remember numbers, these follow in each frame.
        """
        ordered = np.roll(self._frames, self.depth - 1 - self._newest, axis=0)
        kept = [np.broadcast_to(m.state, (self.depth, *m.state.shape)) for m in self._memories]
        frames = np.concatenate([ordered, *kept], axis=1)
        return np.ascontiguousarray(frames.transpose(2, 0, 1))

    def restore(self, history: np.ndarray) -> None:
        """Go on from what `history` returned."""
        frames = history.transpose(1, 2, 0)
        at = self.frame_width
        self._frames[...] = frames[:, :at]
        for memory in self._memories:
            memory.state[...] = frames[0, at : at + memory.state.shape[0]]
            at += memory.state.shape[0]
        self._newest = self.depth - 1

    def bounds(
        self, limits: Mapping[str, tuple[float, float]] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return between what every observation entry lies (dim,), float32, infinite where unknown.

        Args:
            limits: Raw signal name to its least and greatest value; infinite where not given.
        """
        low: list[float] = []
        high: list[float] = []
        for term in self.terms:
            ends = (limits or {}).get(term.source, (-math.inf, math.inf))
            for op in term.ops:
                ends = op.bounds(*ends)
            if term.fill == "zero" and term.span > 1:
                ends = (min(ends[0], 0.0), max(ends[1], 0.0))
            low += [ends[0]] * term.width
            high += [ends[1]] * term.width
        return np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)

    def push(self, signals: Mapping[str, np.ndarray]) -> None:
        """Append one frame to the history of every row.

        Args:
            signals: Raw signal name to (N, k).
        """
        slot = self._newest + 1
        self._newest = 0 if slot == self.depth else slot
        self._evaluate(signals, self._slots[self._newest])

    def append(self, rows: Sequence[Sequence[float]] | np.ndarray) -> None:
        """Append one frame that somebody else has evaluated to the history of every row.

        Args:
            rows: Entries of the frame, per row (N, frame width).
        """
        slot = self._newest + 1
        self._newest = 0 if slot == self.depth else slot
        self._rows[self._newest][...] = rows

    def restart(self, signals: Mapping[str, np.ndarray], mask: np.ndarray | None = None) -> None:
        """Begin a new history in some rows, filled as each term declares.

        Args:
            signals: Raw signal name to (N, k), the first measurement; other rows are ignored.
            mask: Rows to restart (N,), bool; all if None.
        """
        rows = slice(None) if mask is None else mask
        self._evaluate(signals, self._first, rows)
        self._begin(self._scratch[:, rows], rows)

    def begin(self, values: Sequence[Sequence[float]], mask: np.ndarray) -> None:
        """Begin a new history in some rows with a frame that somebody else has evaluated.

        Args:
            values: Entries of the frame, per row to restart (M, frame width).
            mask: Rows to restart (N,), bool, M of them.
        """
        self._begin(np.array(values).T, mask)

    def _begin(self, first: np.ndarray, rows: Any) -> None:
        older = first.copy()
        older[self._zero_filled] = 0.0
        self._frames[:, :, rows] = older
        self._frames[self._newest][:, rows] = first

    def emit(self, out: np.ndarray | None = None) -> np.ndarray:
        """Return the observation of every row.

        Args:
            out: Where to write (N, dim) float32; new if None.
        """
        if out is None:
            out = np.empty((self.num_rows, self.dim), dtype=np.float32)
        if self._in_order:
            out[...] = self._flat.T
        else:
            out[...] = self._flat.take(self._gathers[self._newest], 0).T
        return out

    def _evaluate(
        self, signals: Mapping[str, np.ndarray], targets: Sequence[np.ndarray], rows: Any = None
    ) -> None:
        for (source, columns, steps), target in zip(self._groups, targets, strict=True):
            value = signals[source].T
            if columns is not None:
                value = value[columns]
            for step in steps:
                if rows is not None and isinstance(step, _Memory):
                    step.restart(value, target, rows)
                else:
                    step(value, target)
                value = target


def _compile(
    terms: Sequence[Term], signals: Mapping[str, Sequence[str]], num_rows: int
) -> tuple[list[tuple[str, Any, list[Step]]], list[slice]]:
    """Turn terms into few array operations.

    Terms that do the same with the same signal become one group, whose constants are arrays: a
    scale per joint costs as much as one scale. They have to be neighbours, or to stand at equal
    distances, as where position and velocity take turns joint by joint.

    Returns:
        Per group the signal, its columns and the steps; and per group its place in a frame.
    """
    runs: list[tuple[list[Term], list[int]]] = []
    at = 0
    for term in terms:
        _check_elements(term, signals)
        own = list(range(at, at + len(term.elements)))
        at = own[-1] + 1
        for run, places in reversed(runs):
            if _alike(run[0], term) and _evenly([*places, *own]):
                run.append(term)
                places += own
                break
        else:
            runs.append(([term], own))
    groups = []
    for run, _ in runs:
        known = list(signals[run[0].source])
        index = [known.index(element) for term in run for element in term.elements]
        groups.append((run[0].source, _columns(index, len(known)), _steps(run, num_rows)))
    return groups, [_evenly(places) or slice(0) for _, places in runs]


def _evenly(places: list[int]) -> slice | None:
    """Return places at equal distances as a slice, or None."""
    step = places[1] - places[0] if len(places) > 1 else 1
    wanted = range(places[0], places[0] + len(places) * step, step)
    return slice(wanted.start, wanted.stop, step) if places == list(wanted) else None


def _alike(one: Term, other: Term) -> bool:
    kinds = [[op.kind for op in term.ops] for term in (one, other)]
    return one.source == other.source and kinds[0] == kinds[1]


def _check_elements(term: Term, signals: Mapping[str, Sequence[str]]) -> None:
    if term.source not in signals:
        raise unknown_name(f"signal of observation term '{term.name}'", term.source, signals)
    known = signals[term.source]
    for element in term.elements:
        if element not in known:
            raise unknown_name(
                f"element of signal '{term.source}' in term '{term.name}'", element, known
            )


def _columns(index: list[int], size: int) -> Any:
    """Return columns in the cheapest form: None for all in order, a slice, or an index array."""
    if index == list(range(size)):
        return None
    if index == list(range(index[0], index[0] + len(index))):
        return slice(index[0], index[0] + len(index))
    return np.array(index)


def _steps(run: Sequence[Term], num_rows: int) -> list[Step]:
    """Return the operations of a group; each constant is a column with one number per entry."""
    steps: list[Step] = []
    for position, op in enumerate(run[0].ops):
        values = [term.ops[position].values for term in run for _ in term.elements]
        constants = np.array(values).T[..., None]
        if op.kind == "lag":  # a matter of which frame is taken, not of its numbers
            continue
        if op.kind in ("unwrap", "low_pass"):
            steps.append(_Memory(constants[0] if op.values else None, (len(values), num_rows)))
        else:
            steps.append(_step(op.kind, constants))
    return steps or [_copy]


class _Memory:
    """Move a remembered number toward the new one: by a share of the way, or by the shorter way.

    Attributes:
        state: What it gave last (k, N).
    """

    def __init__(self, share: np.ndarray | None, shape: tuple[int, int]) -> None:
        self.state = np.zeros(shape)
        self._share, self._way = share, np.zeros(shape)

    def __call__(self, source: np.ndarray, out: np.ndarray) -> None:
        np.subtract(source, self.state, self._way)
        if self._share is None:
            _wrap(self._way, self._way)
        else:
            np.multiply(self._way, self._share, self._way)
        np.add(self.state, self._way, self.state)
        out[...] = self.state

    def restart(self, source: np.ndarray, out: np.ndarray, rows: Any) -> None:
        """Begin anew in some rows, with what comes in."""
        self.state[:, rows] = source[:, rows]
        out[...] = source


def _step(kind: OpKind, values: np.ndarray) -> Step:
    if kind == "sin":
        return np.sin
    if kind == "cos":
        return np.cos
    if kind == "clip":
        low, high = values

        def clip(source: np.ndarray, out: np.ndarray) -> None:
            np.maximum(source, low, out=out)
            np.minimum(out, high, out=out)

        return clip
    if kind == "wrap":
        return _wrap
    ufunc, constant = (np.multiply if kind == "scale" else np.add), values[0]
    return lambda source, out: ufunc(source, constant, out)


def _wrap(source: np.ndarray, out: np.ndarray) -> None:
    np.add(source, math.pi, out)
    np.mod(out, 2.0 * math.pi, out)
    np.subtract(out, math.pi, out)


def _copy(source: np.ndarray, out: np.ndarray) -> None:
    out[...] = source


def _gather(terms: Sequence[Term], depth: int, width: int) -> np.ndarray:
    """Return for every observation entry its place in the flattened (depth, width) history."""
    places: list[int] = []
    at = 0
    for term in terms:
        size = len(term.elements)
        for frame in (depth - 1 - age for age in term.ages):
            places.extend(range(frame * width + at, frame * width + at + size))
        at += size
    return np.array(places, dtype=np.intp)

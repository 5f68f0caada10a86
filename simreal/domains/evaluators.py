"""How a control step is judged and observed: by arrays for many worlds, by plain numbers for few.

A call of numpy costs half a microsecond and more, whatever it computes; an operation on a Python
float a twentieth of that. So where worlds are few, the task's functions and the observation's terms
are recorded once (`simreal.core.tracing`), compiled to straight-line code and compared with numpy
on random states. Which of the two runs depends on the task and the number of worlds alone: it is
the same on every machine, in a resumed run, and for any number of worker processes.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from simreal.core.arrays import NUMPY
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.core.observation_trace import trace_frame
from simreal.core.scalar_code import RowFunction, compile_rows, count_operations
from simreal.core.state import State
from simreal.core.task import Task
from simreal.core.tracing import TRACING, Graph, Untraceable, flat, record

Signals = Callable[[State, Any], dict[str, Any]]
"""From measurement and clipped action to raw signal name and values (N, k)."""

# Measured: one operation on a float, one row beside its operations, one call of numpy [ns].
_SCALAR_NS, _ROW_NS, _CALL_NS = 24.0, 900.0, 580.0
_TRIALS = 32
_TOLERANCE = 1e-12


class ArrayEvaluator:
    """Judge and observe N worlds with array operations.

    Attributes:
        why: Why it is not done by plain numbers.
    """

    def __init__(
        self, task: Task, observation: ObservationPipeline, signals: Signals, why: str = ""
    ) -> None:
        """Take what is evaluated.

        Args:
            task: The task.
            observation: The observation pipeline, which gets the frames.
            signals: How raw signals follow from a measurement.
            why: Why it is not done by plain numbers.
        """
        self.task, self.observation, self.signals, self.why = task, observation, signals, why

    def judge(
        self, previous: State, current: State, action: np.ndarray, last: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return reward terms (K, N), their sum (N,), and what the task ends (N,) bool, or None.

        Args:
            previous: Truth at the beginning of the control step.
            current: Truth at its end.
            action: Clipped actions (N, A).
            last: Clipped actions of the step before (N, A).
        """
        terms = np.array(self.task.reward(NUMPY, previous, current, action, last))
        ended = self.task.terminated(NUMPY, current)
        total = np.asarray(np.add.reduce(terms, axis=0))
        return terms, total, None if ended is None else np.asarray(ended)

    def judge_and_observe(
        self, previous: State, current: State, action: np.ndarray, last: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Judge as `judge` does, and append what sensors that see the truth gave (`observe`).

        Args:
            previous: Truth at the beginning of the control step.
            current: Truth at its end, and the measurement.
            action: Clipped actions (N, A).
            last: Clipped actions of the step before (N, A).
        """
        judged = self.judge(previous, current, action, last)
        self.observe(current, action)
        return judged

    def success(self, state: State) -> np.ndarray:
        """Return the task's success test (N,), bool."""
        return np.asarray(self.task.success(NUMPY, state))

    def observe(self, measured: State, action: np.ndarray) -> None:
        """Append a frame to the history of every world.

        Args:
            measured: What the sensors gave.
            action: Clipped actions (N, A).
        """
        self.observation.push(self.signals(measured, action))

    def restart(self, measured: State, action: np.ndarray, mask: np.ndarray) -> None:
        """Begin the history of some worlds.

        Args:
            measured: What the sensors gave.
            action: Clipped actions (N, A).
            mask: The worlds (N,), bool.
        """
        self.observation.restart(self.signals(measured, action), mask)


class ScalarEvaluator(ArrayEvaluator):
    """Judge and observe few worlds with plain numbers, and with arrays where those raise.

    Where worlds are many, arrays judge and observe them, and plain numbers the few that begin a new
    episode. A task may be given other numbers while it runs; from then on arrays evaluate it.
    """

    def __init__(
        self,
        task: Task,
        observation: ObservationPipeline,
        signals: Signals,
        names: Mapping[str, Sequence[str]],
        layout: State,
        action_dim: int,
    ) -> None:
        """Record, compile, and compare with numpy.

        Args:
            task: The task.
            observation: The observation pipeline, which gets the frames.
            signals: How raw signals follow from a measurement.
            names: Raw signal name to its element names.
            layout: A state with the layout of all others.
            action_dim: A.

        Raises:
            Untraceable: The functions cannot be recorded.
        """
        super().__init__(task, observation, signals)
        self._numbers = dict(vars(task))
        graph = Graph()
        width = layout.buffer.shape[1]
        previous, current = (layout.over(graph.inputs(vector, width)) for vector in "pc")
        action, last = (graph.inputs(vector, action_dim) for vector in "al")
        rewards = task.reward(TRACING, previous, current, action, last)
        terms = [flat(term, 1)[0] for term in rewards]
        ended = task.terminated(TRACING, current)
        self._ends, self._num_terms = ended is not None, len(terms)
        total = terms[0]
        for term in terms[1:]:
            total = record("add", total, term)
        judged = [*terms, total] if ended is None else [*terms, total, *flat(ended, 1)]
        success = flat(task.success(TRACING, current), 1)
        frame = trace_frame(observation.terms, names, signals(current, action))
        calls = graph.num_calls + sum(1 + len(term.ops) for term in observation.terms)
        self.why = _weigh(layout.num_worlds, count_operations([*judged, *frame]), calls)
        self._judge = compile_rows(graph, "pcal", judged, finite=total)
        self._success = compile_rows(graph, "c", success)
        self._frame = compile_rows(graph, "ca", frame)
        self._both = compile_rows(graph, "pcal", [*judged, *frame], finite=total)
        self._records = [_Record(layout.num_worlds, len(judged), len(frame)) for _ in range(2)]
        self._compare(layout, action_dim)

    def judge(
        self, previous: State, current: State, action: np.ndarray, last: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return reward terms (K, N), their sum (N,), and what the task ends (N,) bool, or None."""
        found = None
        if not self.why:
            found = self._rows(self._judge, previous.buffer, current.buffer, action, last)
        if found is None or self._changed:
            return super().judge(previous, current, action, last)
        return self._split(np.array(found).T)

    def judge_and_observe(
        self, previous: State, current: State, action: np.ndarray, last: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Judge, and append what sensors that see the truth gave, at the price of hardly more."""
        found = None
        if not self.why:
            found = self._rows(self._both, previous.buffer, current.buffer, action, last)
        if found is None or self._changed:
            return super().judge_and_observe(previous, current, action, last)
        self._records.reverse()  # the one before is still looked at
        record = self._records[0]
        record.pack(record.memory, 0, *chain.from_iterable(found))
        self.observation.append(record.frame)
        return self._split(record.judged)

    def success(self, state: State) -> np.ndarray:
        """Return the task's success test (N,), bool."""
        found = None if self.why else self._rows(self._success, state.buffer)
        if found is None or self._changed:
            return super().success(state)
        return np.array(found)[:, 0]

    def observe(self, measured: State, action: np.ndarray) -> None:
        """Append a frame to the history of every world."""
        found = None if self.why else self._rows(self._frame, measured.buffer, action)
        if found is None:
            super().observe(measured, action)
        else:
            self.observation.append(found)

    def restart(self, measured: State, action: np.ndarray, mask: np.ndarray) -> None:
        """Begin the history of some worlds."""
        found = self._rows(self._frame, measured.buffer[mask], action[mask])
        if found is None:
            super().restart(measured, action, mask)
        else:
            self.observation.begin(found, mask)

    def _split(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        k = self._num_terms
        return columns[:k], columns[k], columns[k + 1] != 0.0 if self._ends else None

    @property
    def _changed(self) -> bool:
        try:
            return vars(self.task) != self._numbers
        except ValueError:  # other arrays, which have no single truth
            return True

    def _rows(self, function: RowFunction, *vectors: np.ndarray) -> list[tuple[float, ...]] | None:
        """Return one tuple per row, or None where arrays have to tell."""
        try:
            return function(*[vector.tolist() for vector in vectors])
        except (ArithmeticError, ValueError):  # where numpy gives infinity, or no number
            return None

    def _compare(self, layout: State, action_dim: int) -> None:
        """Compare with arrays on random states.

        Raises:
            Untraceable: A number differs by more than rounding.
        """
        rng = np.random.default_rng(0)
        before, after = (_random_state(layout, rng) for _ in range(2))
        action, last = rng.uniform(-1.0, 1.0, (2, _TRIALS, action_dim))
        names = self.observation.signal_elements
        other = ObservationPipeline(self.observation.terms, names, _TRIALS)
        arrays = ArrayEvaluator(self.task, other, self.signals)
        with np.errstate(all="ignore"):
            terms, total, ended = arrays.judge(before, after, action, last)
            success = arrays.success(after)
            arrays.observe(after, action)
        judged = [*terms, total] if ended is None else [*terms, total, ended]
        for function, vectors, wanted in (
            (self._judge, (before.buffer, after.buffer, action, last), np.stack(judged, axis=1)),
            (self._success, (after.buffer,), success[:, None]),
            (self._frame, (after.buffer, action), other.history[:, -1]),
        ):
            rows = [self._rows(function, *(v[i : i + 1] for v in vectors)) for i in range(_TRIALS)]
            held = [i for i, row in enumerate(rows) if row is not None]
            if len(held) < _TRIALS // 4:
                raise Untraceable("most random states give no finite numbers")
            found = np.array([row[0] for row in rows if row is not None])
            if not _close(wanted[held], found):
                raise Untraceable("plain numbers and arrays differ")


class _Record:
    """Hold what plain numbers gave in one step; writing it as bytes is the cheapest way.

    Attributes:
        memory: Judgement and frame of every world (N, k + F).
        pack: Writes plain numbers into it.
        judged: View (k, N).
        frame: View (N, F).
    """

    def __init__(self, num_worlds: int, num_judged: int, width: int) -> None:
        numbers = np.zeros((num_worlds, num_judged + width))
        self.memory: Any = numbers
        self.pack = struct.Struct(f"{numbers.size}d").pack_into
        self.judged, self.frame = numbers[:, :num_judged].T, numbers[:, num_judged:]


def make_evaluator(
    task: Task,
    observation: ObservationPipeline,
    signals: Signals,
    names: Mapping[str, Sequence[str]],
    layout: State,
    action_dim: int,
) -> ArrayEvaluator:
    """Return the evaluator that costs least: by plain numbers where the task can be recorded.

    Args:
        task: The task.
        observation: The observation pipeline.
        signals: How raw signals follow from a measurement.
        names: Raw signal name to its element names.
        layout: A state with the layout of all others.
        action_dim: A.
    """
    try:
        return ScalarEvaluator(task, observation, signals, names, layout, action_dim)
    except Exception as error:
        # Symbols are not arrays, and a task may do with arrays whatever numpy can: any error means
        # that it cannot be recorded. One of the task's own comes back at the first step.
        return ArrayEvaluator(task, observation, signals, f"{type(error).__name__}: {error}")


def _weigh(num_worlds: int, operations: int, calls: int) -> str:
    """Return why arrays are cheaper, or an empty text where they are not."""
    if num_worlds * (_ROW_NS + _SCALAR_NS * operations) <= _CALL_NS * calls:
        return ""
    return f"{operations} operations in {num_worlds} worlds cost more than {calls} on arrays"


def _random_state(layout: State, rng: np.random.Generator) -> State:
    state = layout.over(rng.normal(size=(_TRIALS, layout.buffer.shape[1])))
    if layout.floating_base:
        state.root_pose[:, 3:] /= np.linalg.norm(state.root_pose[:, 3:], axis=1, keepdims=True)
    for flag in state.contact.values():
        flag[...] = flag > 0
    state.time[...] = np.abs(state.time)
    return state


def _close(wanted: np.ndarray, found: np.ndarray) -> bool:
    scale = float(np.max(np.abs(wanted), initial=1.0, where=np.isfinite(wanted)))
    return bool(
        np.allclose(wanted, found, rtol=_TOLERANCE, atol=_TOLERANCE * scale, equal_nan=True)
    )

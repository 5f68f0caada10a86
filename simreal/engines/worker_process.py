"""What runs inside a worker process: one engine over a chunk of the worlds.

The loop knows no more than the contract. Commands and states lie in memory that parent and worker
share; what travels through the pipe is which method to call, and whether it worked.
"""

import math
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from simreal.core.params import DynamicsParams
from simreal.core.state import State
from simreal.engines.base import Engine, EngineSpec
from simreal.engines.registry import engine_class

STEP, SAMPLED_STEP, DONE, FAILED = b"s", b"t", b"d", b"f"


class Shared(NamedTuple):
    """Name the parts of the shared numbers, float64.

    Attributes:
        commands: (K, N, A).
        now: Present truth (N, D).
        sampled: What the sensors saw (N, D).
        sample_tick: (N,).
        failed: (N,), 1 where the engine itself, beside what the state shows, reports a failure.
    """

    commands: np.ndarray
    now: np.ndarray
    sampled: np.ndarray
    sample_tick: np.ndarray
    failed: np.ndarray


@dataclass(frozen=True, slots=True)
class Layout:
    """Say where commands and states of all worlds lie in the shared numbers.

    Attributes:
        ticks: K.
        num_worlds: N.
        num_actuators: A.
        width: Numbers of one world's state, D.
    """

    ticks: int
    num_worlds: int
    num_actuators: int
    width: int

    @property
    def size(self) -> int:
        """Return how many float64 are shared."""
        return self.num_worlds * (self.ticks * self.num_actuators + 2 * self.width + 2)

    def views(self, memory: Any) -> Shared:
        """Lay the views over the shared numbers.

        Args:
            memory: Shared numbers, at least `size` of them.
        """
        flat = np.frombuffer(memory, dtype=np.float64)
        shapes = (
            (self.ticks, self.num_worlds, self.num_actuators),
            (self.num_worlds, self.width),
            (self.num_worlds, self.width),
            (self.num_worlds,),
            (self.num_worlds,),
        )
        views, start = [], 0
        for shape in shapes:
            stop = start + int(np.prod(shape))
            views.append(flat[start:stop].reshape(shape))
            start = stop
        return Shared(*views)


def serve(
    connection: Connection, memory: Any, layout: Layout, first: int, name: str, spec: EngineSpec
) -> None:
    """Build an engine and do what the parent asks until it goes away.

    Args:
        connection: Pipe to the parent.
        memory: The shared numbers.
        layout: Where what lies.
        first: Number of this worker's first world.
        name: Engine name.
        spec: What to build, for this worker's worlds alone.
    """
    # Ctrl-C reaches the whole group; the parent decides what it means and closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker: _Worker | None = None
    try:
        worker = _Worker(engine_class(name)(spec), memory, layout, first)
        connection.send(worker.engine.exact_state)
        while True:
            order = connection.recv_bytes()
            try:
                answer = worker.obey(order)
            except Exception as error:
                answer = FAILED + _describe(error)
            connection.send_bytes(answer)
    except (EOFError, ConnectionError):
        return  # the parent is gone, or wants no more
    except Exception as error:
        connection.send(_Failure(*_parts(error)))
    finally:
        if worker is not None:
            worker.engine.close()
        connection.close()


@dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception | None
    text: str


class _Worker:
    """Hold one engine and its part of the shared memory."""

    def __init__(self, engine: Engine, memory: Any, layout: Layout, first: int) -> None:
        self.engine = engine
        own = slice(first, first + engine.num_worlds)
        shared = layout.views(memory)
        self._commands, self._sample_tick = shared.commands[:, own], shared.sample_tick[own]
        self._failed = shared.failed[own]
        self._judges = type(engine).health is not Engine.health
        blank = engine.new_state()
        self._now, self._sampled = (
            State(
                engine.num_worlds,
                blank.num_joints,
                floating_base=blank.floating_base,
                bodies=blank.bodies,
                contacts=blank.contacts,
                buffer=part[own],
            )
            for part in (shared.now, shared.sampled)
        )
        self._calls: dict[str, Callable[..., Any]] = {
            "reset": engine.reset,
            "apply": self._apply,
            "get_state": engine.get_state,
            "set_state": engine.set_state,
            "render": engine.render,
        }
        self._publish()

    def obey(self, order: bytes) -> bytes:
        """Do one thing and return the answer."""
        if order == STEP:
            self.engine.step(self._commands)
            self.engine.read(self._now)
            self._judge()
            return DONE
        if order == SAMPLED_STEP:
            self.engine.step(self._commands, self._sample_tick.astype(np.int64))
            self._publish()
            return DONE
        method, arguments = pickle.loads(order)
        answer = self._calls[method](*arguments)
        self._publish()
        return DONE + pickle.dumps(answer)

    def _apply(self, values: Mapping[str, np.ndarray], mask: np.ndarray) -> None:
        params = DynamicsParams(self.engine.specs, values, self.engine.num_worlds)
        self.engine.apply(params, mask)

    def _publish(self) -> None:
        self.engine.read(self._now)
        self.engine.sample(self._sampled)
        self._judge()

    def _judge(self) -> None:
        # What the state shows is judged by the parent; only an engine's own knowledge travels.
        if self._judges:
            self._failed[...] = self.engine.health(self._now, math.inf).diverged


def failure(answer: bytes | object) -> tuple[Exception | None, str] | None:
    """Return the error and traceback text that an answer reports, or None where all went well."""
    if isinstance(answer, _Failure):
        return answer.error, answer.text
    if isinstance(answer, bytes) and answer[:1] == FAILED:
        error, text = pickle.loads(answer[1:])
        return error, text
    return None


def _parts(error: Exception) -> tuple[Exception | None, str]:
    text = f"worker process {os.getpid()}:\n{''.join(traceback.format_exception(error))}"
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception with arguments of its own does not travel; its text does
        return None, text
    return error, text


def _describe(error: Exception) -> bytes:
    return pickle.dumps(_parts(error))

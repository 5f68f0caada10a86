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
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from simreal.core.params import DynamicsParams
from simreal.engines.base import Engine, EngineSpec
from simreal.engines.bell import (
    CALL,
    DONE,
    FAILED,
    HELD_STEP,
    SAMPLED_STEP,
    STEP,
    Spin,
    WorkerBell,
)
from simreal.engines.doorbell import Doorbells
from simreal.engines.registry import engine_class
from simreal.engines.shared import Layout, Shared


def serve(
    connection: Connection,
    doorbells: Doorbells | None,
    memory: Any,
    layout: Layout,
    place: tuple[int, int],
    spin: Spin,
    name: str,
    spec: EngineSpec,
) -> None:
    """Build an engine and do what the parent asks until it goes away.

    Args:
        connection: Pipe to the parent.
        doorbells: What both ends ring; the pipe if None.
        memory: The shared numbers.
        layout: Where what lies.
        place: Number of this worker and of its first world.
        spin: How it spins before it sleeps.
        name: Engine name.
        spec: What to build, for this worker's worlds alone.
    """
    # Ctrl-C reaches the whole group; the parent decides what it means and closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker: Worker | None = None
    try:
        worker = Worker(engine_class(name, spec.robot)(spec), layout.views(memory), place[1])
        bell = WorkerBell(layout.words(memory), place[0], connection, spin, doorbells)
        connection.send(worker.engine.exact_state)
        while True:
            kind, message = bell.next_order()
            try:
                answer = worker.obey(kind, message)
            except Exception as error:
                answer = FAILED + pickle.dumps(parts(error))
            bell.answer(answer)
    except (EOFError, ConnectionError):
        return  # the parent is gone, or wants no more
    except Exception as error:
        with suppress(ConnectionError):  # another worker failed first, and the parent has told it
            connection.send(parts(error))
    finally:
        if worker is not None:
            worker.engine.close()
        connection.close()


class Worker:
    """Hold one engine and its part of the shared numbers.

    Attributes:
        engine: The engine.
    """

    def __init__(self, engine: Engine, shared: Shared, first: int) -> None:
        """Publish the state the engine was built with.

        Args:
            engine: The engine.
            shared: The numbers.
            first: Number of its first world among them.
        """
        self.engine = engine
        own = slice(first, first + engine.num_worlds)
        self._commands, self._sample_tick = shared.commands[:, own], shared.sample_tick[own]
        self._held = np.broadcast_to(self._commands[0], self._commands.shape)
        self._failed = shared.failed[own]
        self._begins, self._start = shared.begins[own], shared.start[own]
        self._judges = type(engine).health is not Engine.health
        blank = engine.new_state()
        self._now, self._sampled = (blank.over(part[own]) for part in (shared.now, shared.sampled))
        self._calls: dict[str, Callable[..., Any]] = {
            "apply": self._apply,
            "get_state": engine.get_state,
            "set_state": engine.set_state,
            "render": engine.render,
        }
        self._publish()

    def obey(self, kind: int, message: bytes) -> bytes:
        """Do one thing and return the answer.

        Args:
            kind: What.
            message: Method and arguments of a call.
        """
        if kind != CALL:
            self.do(kind)
            return DONE
        method, arguments = pickle.loads(message)
        return DONE + pickle.dumps(self.call(method, arguments))

    def do(self, kind: int) -> None:
        """Advance or reset as the shared numbers say.

        Args:
            kind: `STEP`, `SAMPLED_STEP`, `HELD_STEP` or `RESET`.
        """
        if kind in (STEP, HELD_STEP):
            self.engine.step(self._commands if kind == STEP else self._held)
            self.engine.read(self._now)
            self._judge()
            return
        if kind == SAMPLED_STEP:
            self.engine.step(self._commands, self._sample_tick.astype(np.int64))
        else:
            joints = self._start.shape[1] // 2
            self.engine.reset(
                self._begins > 0, self._start[:, :joints].copy(), self._start[:, joints:].copy()
            )
        self._publish()

    def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the contract, publish the state and return the answer.

        Args:
            method: Its name.
            arguments: Its arguments.
        """
        answer = self._calls[method](*arguments)
        self._publish()
        return answer

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


def parts(error: Exception) -> tuple[Exception | None, str]:
    """Return an exception, or None if it does not travel, and its traceback."""
    text = f"worker process {os.getpid()}:\n{''.join(traceback.format_exception(error))}"
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception with arguments of its own does not travel; its text does
        return None, text
    return error, text

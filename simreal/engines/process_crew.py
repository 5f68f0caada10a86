"""Workers that are processes on this machine, over one block of shared memory.

The memory has no name in the file system (an unlinked file that the workers inherit), so nothing
can be left behind, however a process ends.
"""

import math
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from simreal.engines.base import EngineSpec
from simreal.engines.bell import (
    CALL,
    FAILED,
    Ear,
    ParentBell,
    num_words,
    own_words,
    spin_for,
)
from simreal.engines.crew import Crew, Loss, Order, RemoteError
from simreal.engines.doorbell import make_doorbells
from simreal.engines.shared import Layout
from simreal.engines.worker_process import serve
from simreal.errors import EngineError

_PATIENCE_S = 5.0  # for a worker to end by itself before it is ended
_BUILD_S = 600.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class ProcessCrew(Crew):
    """Reach worker processes, started by `spawn`.

    Attributes:
        processes: The processes, one per worker.
    """

    def __init__(
        self,
        engine: str,
        layout: Layout,
        num_workers: int,
        patience_s: float,
        *,
        num_processes: int | None = None,
    ) -> None:
        """Allocate the shared memory.

        Args:
            engine: Engine name.
            layout: What is shared, without words.
            num_workers: W.
            patience_s: Longest time one control step or call may take [s].
            num_processes: How many of the workers are processes beside this one; all if None.
        """
        self._engine, self._patience_s = engine, patience_s
        self._spin = spin_for(num_workers if num_processes is None else num_processes)
        self._context = multiprocessing.get_context("spawn")
        self._layout = replace(layout, num_words=num_words(num_workers))
        self._memory = self._context.RawArray("d", self._layout.size)
        self._words = self._layout.words(self._memory)
        self.shared = self._layout.views(self._memory)
        self._bells: dict[int, ParentBell] = {}
        self._ear = Ear(self._words)
        self._pipes: dict[int, Connection] = {}
        self.processes: dict[int, BaseProcess] = {}
        # Also runs when the interpreter exits and when an unfinished engine is collected.
        self._end = weakref.finalize(
            self, _end, self._ear, self._pipes, self._bells, self.processes
        )

    def start(self, worker: int, first: int, spec: EngineSpec) -> None:
        """Begin to build a worker, or a new one in its place.

        Args:
            worker: Index.
            first: Its first world.
            spec: What it builds, for its worlds alone.

        Raises:
            EngineError: It holds something that cannot be sent to another process.
        """
        _check_travels(spec)
        here, there = self._context.Pipe()
        _limit_waiting(here, self._patience_s)
        doorbells = make_doorbells()
        words = own_words(self._words, worker)
        process = self._context.Process(
            target=serve,
            args=(
                *(there, doorbells, self._memory, self._layout, (worker, first), self._spin),
                *(self._engine, spec),
            ),
            name=f"simreal worlds {first}-{first + spec.num_worlds - 1}",
            daemon=True,
        )
        self._pipes[worker], self._bells[worker] = here, ParentBell(words, here, doorbells)
        with _one_thread(), _uninterrupted():
            process.start()
            self.processes[worker] = process
        self._ear.add(self._bells[worker])
        there.close()  # so that the end of the worker is the end of the pipe

    def built(self, worker: int) -> bool | Loss | RemoteError:
        """Wait until a worker has built its worlds."""
        pipe = self._pipes[worker]
        try:
            if not pipe.poll(_BUILD_S):
                return self._lost(worker, _BUILD_S)
            answer = pipe.recv()
        except (EOFError, OSError):
            return self._lost(worker)
        return RemoteError(*answer) if isinstance(answer, tuple) else bool(answer)

    def begin(self, workers: Sequence[int], kind: int) -> None:
        """Ask for something whose particulars stand in `shared`."""
        for worker in workers:
            self._order(worker, kind)

    def begin_call(self, orders: Mapping[int, Order]) -> None:
        """Ask for methods of the contract."""
        packed = {worker: pickle.dumps(order) for worker, order in orders.items()}
        for worker, message in packed.items():
            self._order(worker, CALL, message)

    def collect(self, workers: Sequence[int]) -> dict[int, Any]:
        """Wait for the answers to what was asked last."""
        bells = [self._bells[worker] for worker in workers]
        lost = self._ear.wait(bells, self._patience_s, self._spin.parent_s)
        if not lost and not self._ear.somebody_spoke:
            return {}  # as after nearly every control step
        return {
            worker: self._lost(worker) if bell in lost else self._said(worker)
            for worker, bell in zip(workers, bells, strict=True)
            if bell in lost or bell.spoke
        }

    def close(self) -> None:
        """End all workers. Safe to call twice."""
        self._end()

    def _order(self, worker: int, kind: int, message: bytes = b"") -> None:
        try:
            self._bells[worker].order(kind, message)
        except OSError:
            return  # it is gone, which `collect` finds out

    def _said(self, worker: int) -> Any:
        try:
            said = self._bells[worker].finish()
        except (EOFError, OSError):
            return self._lost(worker)
        return (
            RemoteError(*pickle.loads(said[1:])) if said[:1] == FAILED else pickle.loads(said[1:])
        )

    def _lost(self, worker: int, patience_s: float | None = None) -> Loss:
        process = self.processes[worker]
        process.join(1.0)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        self._bells[worker].give_up()
        self._ear.remove(self._bells[worker])
        self._pipes.pop(worker).close()
        self._bells.pop(worker).close()
        self.processes.pop(worker).close()
        if code is None:
            waited = self._patience_s if patience_s is None else patience_s
            return Loss(f"did not answer within {waited:g} s and was ended")
        return Loss(f"ended with exit code {code}")


def _check_travels(spec: EngineSpec) -> None:
    try:
        pickle.dumps(spec)
    except Exception as error:  # whatever an object's own code raises
        raise EngineError(
            f"what a worker builds cannot be sent to another process: {error}; use one worker, or "
            "define functions and classes at the top of a module"
        ) from error


def _limit_waiting(pipe: Connection, patience_s: float) -> None:
    """Let no message, half sent or half read, wait longer for a worker that is stopped."""
    if not math.isfinite(patience_s):
        return
    whole = int(patience_s)
    limit = struct.pack("@ll", whole, int(1e6 * (patience_s - whole)))
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let a process that is started now do its linear algebra in one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back; a process that is started now never gets one, not even while it imports."""
    resource_tracker.ensure_running()  # before, since it lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(
    ear: Ear,
    pipes: dict[int, Connection],
    bells: dict[int, ParentBell],
    processes: dict[int, BaseProcess],
) -> None:
    ear.close()
    while pipes:
        pipes.popitem()[1].close()  # a worker ends when its pipe does
    while bells:
        bells.popitem()[1].close()
    for process in processes.values():
        process.join(_PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()
    processes.clear()

"""How processes on this machine share the worlds: the one that asks may be a worker itself.

A parent that only waits takes a processor from its workers where there are no more processors than
workers, and waking it and them costs tens of microseconds in every control step. So there it steps
the first share of the worlds itself, while the others step theirs.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simreal.engines.base import EngineSpec
from simreal.engines.bell import CALL
from simreal.engines.crew import Loss, Order, RemoteError
from simreal.engines.process_crew import ProcessCrew
from simreal.engines.registry import engine_class
from simreal.engines.shared import Layout
from simreal.engines.worker_process import Worker, parts
from simreal.errors import ConfigError

_OWN = 0


@dataclass(frozen=True, kw_only=True)
class ProcessWorkers:
    """Ask for workers that are processes on this machine.

    Attributes:
        count: Workers; at most one per world is started.
        joins: Whether this process is one of them. A crash of the simulator in its own share ends
            it, where a process that only steps worlds is replaced. If None it joins where there
            are no more processors than workers.
    """

    count: int
    joins: bool | None = None

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            ConfigError: It is below 1.
        """
        if self.count < 1:
            raise ConfigError(f"count is {self.count}; at least 1 worker is needed")

    def make_crew(
        self, engine: str, layout: Layout, num_workers: int, patience_s: float
    ) -> ProcessCrew:
        """Return the crew of an engine.

        Args:
            engine: Engine name.
            layout: What is shared, without words.
            num_workers: W.
            patience_s: Longest time one control step or call may take [s].
        """
        joins = self.joins
        if joins is None:
            joins = len(os.sched_getaffinity(0)) <= num_workers
        kind = JoiningCrew if joins else ProcessCrew
        return kind(engine, layout, num_workers, patience_s)


class JoiningCrew(ProcessCrew):
    """Be the first worker, beside worker processes.

    What is asked of the own share is done when the answers are collected: until then whoever asked
    does something else while the others work.
    """

    def __init__(self, engine: str, layout: Layout, num_workers: int, patience_s: float) -> None:
        """Allocate the shared memory.

        Args:
            engine: Engine name.
            layout: What is shared, without words.
            num_workers: W, of which W - 1 are processes.
            patience_s: Longest time one control step or call of theirs may take [s].
        """
        super().__init__(engine, layout, num_workers, patience_s, num_processes=num_workers - 1)
        self._place: tuple[int, EngineSpec] | None = None
        self._own: Worker | None = None
        self._asked: tuple[int, Order] | None = None

    def start(self, worker: int, first: int, spec: EngineSpec) -> None:
        """Begin to build a worker, or a new one in its place."""
        if worker == _OWN:
            self._place = (first, spec)  # built last, while the others build theirs
        else:
            super().start(worker, first, spec)

    def built(self, worker: int) -> bool | Loss | RemoteError:
        """Wait until a worker has built its worlds."""
        if worker != _OWN or self._place is None:
            return super().built(worker)
        first, spec = self._place
        try:
            engine = engine_class(self._engine, spec.robot)(spec)
        except Exception as error:
            return RemoteError(*parts(error))
        self._own = Worker(engine, self.shared, first)
        return bool(engine.exact_state)

    def begin(self, workers: Sequence[int], kind: int) -> None:
        """Ask for something whose particulars stand in `shared`."""
        super().begin([worker for worker in workers if worker != _OWN], kind)
        if _OWN in workers:
            self._asked = (kind, ("", ()))

    def begin_call(self, orders: Mapping[int, Order]) -> None:
        """Ask for methods of the contract."""
        super().begin_call({worker: o for worker, o in orders.items() if worker != _OWN})
        if _OWN in orders:
            self._asked = (CALL, orders[_OWN])

    def collect(self, workers: Sequence[int]) -> dict[int, Any]:
        """Do the own share, and wait for the answers of the others."""
        answers = self._work() if _OWN in workers else {}
        others = [worker for worker in workers if worker != _OWN]
        return answers | super().collect(others) if others else answers

    def close(self) -> None:
        """End all workers. Safe to call twice."""
        super().close()
        if self._own is not None:
            self._own.engine.close()

    def _work(self) -> dict[int, Any]:
        asked, self._asked = self._asked, None
        if asked is None or self._own is None:
            return {}
        kind, (method, arguments) = asked
        try:
            if kind == CALL:
                return {_OWN: self._own.call(method, arguments)}
            self._own.do(kind)
        except Exception as error:
            return {_OWN: RemoteError(*parts(error))}
        return {}

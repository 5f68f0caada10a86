"""Workers on other machines: the same contract over Ray, with an actor in place of a process.

An actor holds one engine over a chunk of the worlds. Commands and states travel with each step
instead of lying in shared memory, so a step costs a round trip of the network; it pays where the
physics of a chunk takes longer than that. The machines need this package and the simulator.
"""

import os
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simreal.engines.base import EngineSpec
from simreal.engines.bell import HELD_STEP, RESET, SAMPLED_STEP
from simreal.engines.crew import Crew, Loss, Order, RemoteError
from simreal.engines.registry import engine_class
from simreal.engines.shared import Layout
from simreal.engines.worker_process import Worker, parts
from simreal.errors import ConfigError, DependencyError, EngineError

_BUILD_S = 600.0
_SHARERS: "weakref.WeakSet[RayCrew]" = weakref.WeakSet()
"""Who works with a Ray that was started here; the last one that closes ends it."""
Answer = tuple[bool, Any, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Whether it worked, the answer or the error's parts, and state, sample and failures."""


@dataclass(frozen=True, kw_only=True)
class RayWorkers:
    """Ask for workers that are Ray actors.

    Attributes:
        count: Actors; at most one per world is started.
        address: Address of a running Ray cluster, `auto` for the one this machine belongs to; a Ray
            of its own on this machine if None.
        cpus: Processors that a running cluster reserves for each actor; a Ray of its own reserves
            none.
    """

    count: int
    address: str | None = None
    cpus: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: One is out of its range.
        """
        if self.count < 1 or not self.cpus >= 0:
            raise ConfigError(
                f"count is {self.count}, cpus {self.cpus}; at least 1 actor and no negative number "
                "of processors are needed"
            )

    def make_crew(
        self, engine: str, layout: Layout, num_workers: int, patience_s: float
    ) -> "RayCrew":
        """Return the crew of an engine.

        Args:
            engine: Engine name.
            layout: What is exchanged.
            num_workers: W.
            patience_s: Longest time one control step or call may take [s].
        """
        return RayCrew(self, engine, layout, patience_s)


class RayCrew(Crew):
    """Reach Ray actors.

    Attributes:
        actors: The actors, one per worker.
    """

    def __init__(
        self, settings: RayWorkers, engine: str, layout: Layout, patience_s: float
    ) -> None:
        """Connect to Ray, or start it.

        Args:
            settings: Where and how many.
            engine: Engine name.
            layout: What is exchanged.
            patience_s: Longest time one control step or call may take [s].

        Raises:
            DependencyError: Ray is not installed.
            EngineError: There is no Ray at the address.
        """
        self._ray = ray = _import_ray()
        self._engine, self._layout, self._patience_s = engine, layout, patience_s
        if not ray.is_initialized():
            _connect(ray, settings.address)
            _SHARERS.clear()
            _SHARERS.add(self)
        elif _SHARERS:
            _SHARERS.add(self)
        alone = self in _SHARERS and settings.address is None
        self._cpus = 0.0 if alone else settings.cpus
        self._class = ray.remote(RayWorker)
        self.shared = layout.views(np.zeros(layout.size))
        self.actors: dict[int, Any] = {}
        self._rows: dict[int, slice] = {}
        self._answers: dict[int, Any] = {}
        self._closed = False

    def start(self, worker: int, first: int, spec: EngineSpec) -> None:
        """Begin to build a worker, or a new one in its place."""
        layout = replace(self._layout, num_worlds=spec.num_worlds)
        place = self._class.options(num_cpus=self._cpus, max_restarts=0)
        self.actors[worker] = place.remote(self._engine, layout, spec)
        self._rows[worker] = slice(first, first + spec.num_worlds)
        self._answers[worker] = self.actors[worker].build.remote()

    def built(self, worker: int) -> bool | Loss | RemoteError:
        """Wait until a worker has built its worlds."""
        found = self._take(worker, _BUILD_S, time.monotonic() + _BUILD_S)
        return found if isinstance(found, Loss | RemoteError) else bool(found)

    def begin(self, workers: Sequence[int], kind: int) -> None:
        """Ask for something whose particulars stand in `shared`."""
        shared = self.shared
        for worker in workers:
            rows, numbers = self._rows[worker], {}
            if kind == RESET:
                numbers = {"begins": shared.begins[rows], "start": shared.start[rows]}
            else:
                ticks = slice(1 if kind == HELD_STEP else None)
                numbers = {"commands": shared.commands[ticks, rows]}
                if kind == SAMPLED_STEP:
                    numbers["sample_tick"] = shared.sample_tick[rows]
            self._answers[worker] = self.actors[worker].do.remote(kind, numbers)

    def begin_call(self, orders: Mapping[int, Order]) -> None:
        """Ask for methods of the contract."""
        for worker, (method, arguments) in orders.items():
            self._answers[worker] = self.actors[worker].call.remote(method, arguments)

    def collect(self, workers: Sequence[int]) -> dict[int, Any]:
        """Wait for the answers to what was asked last."""
        end = time.monotonic() + self._patience_s
        return {worker: self._take(worker, self._patience_s, end) for worker in workers}

    def close(self) -> None:
        """End all actors, and with the last of them a Ray that was started here.

        Safe to call twice.
        """
        if self._closed:
            return
        self._closed = True
        if self._ray.is_initialized():  # to be asked for anything, Ray would start again
            for actor in self.actors.values():
                self._ray.kill(actor)
        self.actors.clear()
        if self in _SHARERS:
            _SHARERS.discard(self)
            if not _SHARERS:
                self._ray.shutdown()

    def _take(self, worker: int, patience_s: float, end: float) -> Any:
        errors = self._ray.exceptions
        left = max(0.0, end - time.monotonic())
        try:
            answer: Answer = self._ray.get(self._answers[worker], timeout=left)
        except errors.GetTimeoutError:
            self._ray.kill(self.actors[worker])
            return Loss(f"did not answer within {patience_s:g} s and was ended")
        except errors.RayTaskError:
            raise  # a fault of this module: what an engine raises travels as an answer
        except errors.RayError as error:  # memory ran out, its machine is gone, ...
            return Loss(f"ended: {str(error).strip().splitlines()[0]}")
        worked, said, numbers = answer
        rows, shared = self._rows[worker], self.shared
        if not worked:
            return RemoteError(*said)
        for part, values in zip((shared.now, shared.sampled, shared.failed), numbers, strict=True):
            part[rows] = values
        return said


class RayWorker:
    """Be the actor: one engine, with the numbers that a process would share kept here."""

    def __init__(self, engine: str, layout: Layout, spec: EngineSpec) -> None:
        """Take what is built later, so that an error of it can be told.

        Args:
            engine: Engine name.
            layout: The numbers of this worker's worlds.
            spec: What to build.
        """
        self._engine, self._spec = engine, spec
        self._shared = layout.views(np.zeros(layout.size))
        self._worker: Worker | None = None

    def build(self) -> Answer:
        """Build the engine and return whether its state is exact."""
        try:
            engine = engine_class(self._engine, self._spec.robot)(self._spec)
            self._worker = Worker(engine, self._shared, 0)
        except Exception as error:
            return self._answer(False, parts(error))
        return self._answer(True, engine.exact_state)

    def do(self, kind: int, numbers: dict[str, np.ndarray]) -> Answer:
        """Advance or reset as the numbers say.

        Args:
            kind: `STEP`, `SAMPLED_STEP`, `HELD_STEP` or `RESET`.
            numbers: Parts of `Shared` by name.
        """
        for name, values in numbers.items():
            getattr(self._shared, name)[...] = values
        return self._try(lambda worker: worker.do(kind))

    def call(self, method: str, arguments: tuple[Any, ...]) -> Answer:
        """Call a method of the contract.

        Args:
            method: Its name.
            arguments: Its arguments.
        """
        return self._try(lambda worker: worker.call(method, arguments))

    def process_id(self) -> int:
        """Return the number of the actor's process on its machine."""
        return os.getpid()

    def _try(self, work: Any) -> Answer:
        try:
            if self._worker is None:
                raise EngineError("a Ray worker was asked before it was built")
            return self._answer(True, work(self._worker))
        except Exception as error:
            return self._answer(False, parts(error))

    def _answer(self, worked: bool, said: Any) -> Answer:
        shared = self._shared
        return worked, said, (shared.now, shared.sampled, shared.failed)


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise DependencyError(
            "workers on other machines need the package 'ray', which is not installed; "
            'run: pip install "simreal[ray]"'
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=address, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError) as error:
        raise EngineError(
            f"there is no Ray at address {address!r}: {error}; start one with "
            "`ray start --head`, or leave the address out"
        ) from error

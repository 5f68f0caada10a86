"""Who does the physics of a spread-out engine: workers that are started, asked, lost and replaced.

A crew knows how to reach its workers (a process on this machine, an actor on another one) and
nothing of worlds; `WorkerEngine` knows which worlds each has and what to tell a new one.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simreal.engines.base import EngineSpec
from simreal.engines.shared import Shared
from simreal.errors import EngineError

MAX_RESTARTS, WINDOW_S = 5, 60.0
Order = tuple[str, tuple[Any, ...]]
"""Name of a method, and its arguments."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Say how a worker ended.

    Attributes:
        reason: One line.
    """

    reason: str


class RemoteError(Exception):
    """Carry what a worker raised while it did as asked, and went on."""

    def __init__(self, error: Exception | None, text: str) -> None:
        """Keep the exception, if it can travel, and the traceback.

        Args:
            error: The exception.
            text: The worker's traceback.
        """
        super().__init__(text)
        self.error, self.text = error, text


class Crew(ABC):
    """Reach W workers. All calls name a worker by its index."""

    shared: Shared
    """Commands and states of all worlds, valid after `collect`."""

    @abstractmethod
    def start(self, worker: int, first: int, spec: EngineSpec) -> None:
        """Begin to build a worker, or a new one in its place.

        Args:
            worker: Index.
            first: Its first world.
            spec: What it builds, for its worlds alone.
        """

    @abstractmethod
    def built(self, worker: int) -> bool | Loss | RemoteError:
        """Wait until a worker has built its worlds.

        Returns:
            Its engine's `exact_state`; how it ended; or what it raised.
        """

    @abstractmethod
    def begin(self, workers: Sequence[int], kind: int) -> None:
        """Ask for something whose particulars stand in `shared`.

        Args:
            workers: Indices.
            kind: `STEP`, `SAMPLED_STEP` (where `sample_tick` counts), `HELD_STEP` (with the first
                tick's commands in every tick) or `RESET` (of the worlds that `begins` names).
        """

    @abstractmethod
    def begin_call(self, orders: Mapping[int, Order]) -> None:
        """Ask for methods of the contract.

        Args:
            orders: Index to order.
        """

    @abstractmethod
    def collect(self, workers: Sequence[int]) -> dict[int, Any]:
        """Wait for the answers to what was asked last.

        Args:
            workers: Indices.

        Returns:
            Index to what a method returned, to a `Loss` where the worker ended or took too long,
            or to a `RemoteError`. Who only had to step or to reset, and did, may be left out.
        """

    @abstractmethod
    def close(self) -> None:
        """End all workers. Safe to call twice."""


class RestartLimit:
    """Count restarts, and end the run where there are too many.

    Attributes:
        total: Restarts so far.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.total = 0
        self._recent: deque[float] = deque()

    def count(self, reason: str) -> None:
        """Count one more.

        Args:
            reason: How the worker ended.

        Raises:
            EngineError: There were more than five within a minute.
        """
        now = time.monotonic()
        while self._recent and now - self._recent[0] > WINDOW_S:
            self._recent.popleft()
        if len(self._recent) >= MAX_RESTARTS:
            raise EngineError(
                f"{reason}, after {MAX_RESTARTS} restarts within {WINDOW_S:.0f} s; if memory ran "
                "out, use fewer worlds (and see the system log)"
            )
        self._recent.append(now)
        self.total += 1

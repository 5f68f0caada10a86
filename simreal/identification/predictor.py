"""Simulate stretches of logs, many at once and each with several guesses of the parameters.

Every stretch begins in the measured state and runs open loop under the logged commands, so that
what differs at its end is the fault of the dynamics. One world per stretch and guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simreal.core.params import DynamicsParams, catalogue
from simreal.core.robot import Robot
from simreal.domains.domain import Domain
from simreal.engines import EngineSpec, make_engine
from simreal.errors import ConfigError
from simreal.identification.signals import Signals
from simreal.identification.unknowns import COMMAND_DELAY, UnknownVector

MAX_DELAY_S = 0.1
_KEPT = 64  # schedules, one per delay


@dataclass(frozen=True, slots=True)
class Windows:
    """Hold W stretches of logs, each of S steps of K ticks.

    Attributes:
        source: Which log each is from (W).
        start_s: When each begins on that log's clock (W) [s].
        start_pos: (W, J) [rad or m].
        start_vel: (W, J) [rad/s or m/s].
        pos: Measured at the end of every step (W, S, J).
        vel: (W, S, J).
    """

    source: np.ndarray
    start_s: np.ndarray
    start_pos: np.ndarray
    start_vel: np.ndarray
    pos: np.ndarray
    vel: np.ndarray

    def __len__(self) -> int:
        """Return W."""
        return len(self.source)

    def first(self, count: int) -> "Windows":
        """Return the first few."""
        return Windows(*(getattr(self, part)[:count] for part in self.__dataclass_fields__))

    @property
    def starts(self) -> np.ndarray:
        """Return positions and velocities that windows begin with (W, 2 J)."""
        return np.concatenate([self.start_pos, self.start_vel], axis=1)

    @property
    def measured(self) -> np.ndarray:
        """Return positions and velocities (W, S, 2 J)."""
        return np.concatenate([self.pos, self.vel], axis=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Say how time is cut.

    Attributes:
        tick_s: Physics time step [s].
        ticks: Ticks between two comparisons, K.
        steps: Comparisons in a window, S.
    """

    tick_s: float
    ticks: int
    steps: int

    @property
    def window_s(self) -> float:
        """Return how long a window is [s]."""
        return self.steps * self.ticks * self.tick_s


class Worlds(NamedTuple):
    """Say how many worlds there are.

    Attributes:
        at_once: At a time.
        workers: Processes they are spread over.
    """

    at_once: int
    workers: int


def cut(signals: Sequence[Signals], clock: Clock, stride_s: float) -> Windows:
    """Cut logs into windows.

    Args:
        signals: The logs.
        clock: How long a window is.
        stride_s: From the beginning of one to that of the next [s].

    Raises:
        ConfigError: No log is long enough for one.
    """
    starts = [one.starts(clock.window_s, stride_s, MAX_DELAY_S) for one in signals]
    if not sum(map(len, starts)):
        names = ", ".join(one.log.name for one in signals)
        raise ConfigError(
            f"{names}: no stretch of {clock.window_s:g} s without a gap; choose a shorter "
            "fit.window_s, or shorter fit.horizons_s"
        )
    ends = np.arange(1, clock.steps + 1) * clock.ticks * clock.tick_s
    first = [one.state(at, clock.tick_s) for one, at in zip(signals, starts, strict=True)]
    later = [
        one.state(at[:, None] + ends, clock.tick_s) for one, at in zip(signals, starts, strict=True)
    ]
    return Windows(
        source=np.repeat(np.arange(len(signals)), [len(at) for at in starts]),
        start_s=np.concatenate(starts),
        start_pos=np.concatenate([pos for pos, _ in first]),
        start_vel=np.concatenate([vel for _, vel in first]),
        pos=np.concatenate([pos for pos, _ in later]),
        vel=np.concatenate([vel for _, vel in later]),
    )


class Predictor:
    """Predict what windows measure, for vectors of unknowns."""

    def __init__(
        self,
        robot: Robot,
        domain: Domain,
        unknowns: UnknownVector,
        signals: Sequence[Signals],
        windows: Windows,
        clock: Clock,
        num_vectors: int,
        where: Worlds,
    ) -> None:
        """Build the worlds.

        Args:
            robot: The robot.
            domain: Engine and everything that is not unknown.
            unknowns: What the vectors mean.
            signals: The logs.
            windows: Stretches of them.
            clock: How time is cut.
            num_vectors: How many vectors it will mostly be asked for.
            where: How many worlds at a time; what is more comes after.
        """
        specs = catalogue(robot)
        fixed = domain.fixed(robot)
        held = {name: value for name, value in fixed.items() if specs[name].owner == "engine"}
        self._delay_s = float(fixed.get(COMMAND_DELAY, 0.0))
        self._unknowns, self._clock, self._windows = unknowns, clock, windows
        self._signals = signals
        pairs = num_vectors * len(windows)
        worlds = -(-pairs // -(-pairs // where.at_once))  # as many in every turn
        self._engine = make_engine(
            domain.engine,
            EngineSpec(
                robot=robot,
                num_worlds=worlds,
                tick_s=clock.tick_s,
                ticks=clock.ticks,
                params=unknowns.engine_names,
                fixed=held,
                scale_inertia=domain.scale_inertia,
                options=domain.options,
            ),
            where.workers,
        )
        self._everyone = np.ones(worlds, dtype=bool)
        self._state = self._engine.new_state()
        self._schedules: dict[float, np.ndarray] = {}

    def __call__(self, vectors: np.ndarray, shift: np.ndarray | None = None) -> np.ndarray:
        """Simulate.

        Args:
            vectors: (M, P).
            shift: What is added to positions and velocities that windows begin with (M, W, 2 J).

        Returns:
            Positions and velocities (M, W, S, 2 J); not finite from where a world diverged.
        """
        values = self._unknowns.values(vectors)
        delay = values.pop(COMMAND_DELAY, np.full(len(vectors), self._delay_s))
        schedules = np.stack([self._schedule(float(d)) for d in delay], axis=1)  # (S K, M, W, A)
        width = 2 * self._windows.pos.shape[2]
        found = np.empty((len(vectors), len(self._windows), self._clock.steps, width))
        starts = np.tile(self._windows.starts, (len(vectors), 1, 1))
        if shift is not None:
            starts += shift
        pairs = np.indices(starts.shape[:2]).reshape(2, -1)
        for i in range(0, pairs.shape[1], self._engine.num_worlds):
            turn = vector, window = tuple(pairs[:, i : i + self._engine.num_worlds])
            chosen = {name: value[vector] for name, value in values.items()}
            found[turn] = self._run(chosen, starts[turn], schedules[:, vector, window])
        return found

    def _run(
        self, values: Mapping[str, np.ndarray], starts: np.ndarray, commands: np.ndarray
    ) -> np.ndarray:
        """Simulate one turn; worlds that it does not need do the last one's work again."""
        engine, clock, used, joints = self._engine, self._clock, len(starts), starts.shape[1] // 2
        every = np.minimum(np.arange(engine.num_worlds), used - 1)
        if values:
            padded = {name: value[every] for name, value in values.items()}
            params = DynamicsParams(engine.specs, padded, engine.num_worlds)
            engine.apply(params, self._everyone)
        starts, commands = starts[every], commands[:, every]
        engine.reset(self._everyone, starts[:, :joints].copy(), starts[:, joints:].copy())
        found = np.empty((used, clock.steps, 2 * joints))
        for i in range(clock.steps):
            engine.step(commands[i * clock.ticks : (i + 1) * clock.ticks])
            engine.read(self._state)
            found[:, i, :joints] = self._state.joint_pos[:used]
            found[:, i, joints:] = self._state.joint_vel[:used]
        return found

    def close(self) -> None:
        """Release the worlds."""
        self._engine.close()

    def _schedule(self, delay_s: float) -> np.ndarray:
        """Return what the actuators get in each tick where commands take that long (S K, W, A)."""
        clock, windows = self._clock, self._windows
        if len(self._schedules) > _KEPT:
            self._schedules.clear()
        if delay_s not in self._schedules:
            at = np.arange(clock.steps * clock.ticks)[:, None] * clock.tick_s
            at = at + windows.start_s - delay_s
            parts = []
            for i, signals in enumerate(self._signals):
                parts.append(signals.mean_command(at[:, windows.source == i], clock.tick_s))
            self._schedules[delay_s] = np.concatenate(parts, axis=1)
        return self._schedules[delay_s]

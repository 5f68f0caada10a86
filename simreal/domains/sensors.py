"""What the sensors make of the truth: delay, bias, noise, quantization and dropout of raw signals.

Signals are corrupted before any observation term sees them, as on a robot. Where nothing is
corrupted the truth is passed through without a copy.
"""

from collections.abc import Mapping

import numpy as np

from simreal.core.seeding import NoiseBlocks, Stream
from simreal.core.state import State


class Sensors:
    """Measure N worlds.

    Attributes:
        measured: The last measurement.
        ring: Samples of the last control steps, newest first (R, N, D), for delays beyond one step.
        ideal: Whether measurements equal the truth.
    """

    def __init__(
        self,
        layout: State,
        *,
        ticks: int,
        tick_s: float,
        max_delay_s: float,
        seed: int,
        first_world: int = 0,
    ) -> None:
        """Allocate buffers.

        Args:
            layout: A state whose layout measurements share.
            ticks: Ticks of one control step, K.
            tick_s: Length of a tick [s].
            max_delay_s: Largest measurement delay that will be set [s].
            seed: Seed of the noise.
            first_world: Index of the first world in the whole batch.
        """
        self.ticks, self.tick_s = ticks, tick_s
        self.measured = layout.like()
        self._joints = layout.num_joints
        self._worlds = np.arange(layout.num_worlds)
        depth = 1 + int(np.rint(max_delay_s / tick_s)) // ticks
        self.ring = np.zeros((depth, *layout.buffer.shape))
        self.sample_tick: np.ndarray | None = None
        self._steps_back = np.zeros(layout.num_worlds, dtype=np.intp)
        worlds, width = layout.num_worlds, 2 * self._joints
        first = {"first_world": first_world}
        self._noise = NoiseBlocks(seed, worlds, width, Stream.SENSING, uniform=False, **first)
        self._chance = NoiseBlocks(seed, worlds, 1, Stream.DROPOUT, uniform=True, **first)
        self._std: np.ndarray | None = None
        self._bias: np.ndarray | None = None
        self._grid: np.ndarray | None = None
        self._dropout: np.ndarray | None = None
        self.ideal = True

    def configure(self, values: Mapping[str, np.ndarray]) -> None:
        """Set the sensor parameters of every world.

        Args:
            values: Parameter name to (N,), the names of `Sensing`; `joint_pos_bias` may have one
                number per joint, (N, J).
        """
        ticks = np.rint(values["measurement_delay"] / self.tick_s).astype(np.intp)
        self.sample_tick = self.ticks - ticks % self.ticks if ticks.any() else None
        self._steps_back = ticks // self.ticks
        pos, vel = values["joint_pos_noise"], values["joint_vel_noise"]
        self._std = None
        if pos.any() or vel.any():
            self._std = np.repeat(np.stack([pos, vel], axis=1), self._joints, axis=1)
        self._bias = _column(values["joint_pos_bias"])
        self._grid = _column(values["joint_pos_resolution"])
        self._dropout = values["dropout"].copy() if values["dropout"].any() else None
        parts = (self.sample_tick, self._std, self._bias, self._grid, self._dropout)
        self.ideal = all(part is None for part in parts)

    def reseed(self, seed: int) -> None:
        """Go on with the noise of another seed."""
        self._noise.reseed(seed)
        self._chance.reseed(seed)

    def measure(self, sample: State, episode: np.ndarray, step: np.ndarray) -> State:
        """Measure after a control step.

        Args:
            sample: The state at the tick the sensors were read; it is returned itself where nothing
                is corrupted.
            episode: Episode number (N,).
            step: Step number (N,).
        """
        if self.ideal:
            return sample
        if self.ring.shape[0] > 1:
            self.ring[1:] = self.ring[:-1].copy()
        self.ring[0] = sample.buffer
        fresh = self.ring[self._steps_back, self._worlds]
        self._corrupt(fresh, episode, step)
        if self._dropout is not None:
            kept = self._chance.at(episode, step)[:, 0] < self._dropout
            fresh[kept] = self.measured.buffer[kept]
        self.measured.buffer[...] = fresh
        return self.measured

    def restart(
        self, truth: State, mask: np.ndarray, episode: np.ndarray, step: np.ndarray
    ) -> State:
        """Measure the first state of an episode in some worlds.

        Args:
            truth: The state after the reset.
            mask: Worlds that were reset (N,), bool.
            episode: Episode number (N,).
            step: Step number (N,).
        """
        if self.ideal:
            return truth
        self.ring[:, mask] = truth.buffer[mask]
        fresh = truth.buffer.copy()
        self._corrupt(fresh, episode, step)
        self.measured.buffer[mask] = fresh[mask]
        return self.measured

    def _corrupt(self, fresh: np.ndarray, episode: np.ndarray, step: np.ndarray) -> None:
        joints = self._joints
        if self._bias is not None:
            fresh[:, :joints] += self._bias
        if self._std is not None:
            fresh[:, : 2 * joints] += self._std * self._noise.at(episode, step)
        if self._grid is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                snapped = np.rint(fresh[:, :joints] / self._grid) * self._grid
            fresh[:, :joints] = np.where(self._grid > 0, snapped, fresh[:, :joints])


def _column(values: np.ndarray) -> np.ndarray | None:
    return values.reshape(len(values), -1).copy() if values.any() else None

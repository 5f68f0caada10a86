"""The way of a command to the motor: delay at the resolution of a tick, and noise.

A command acts `delay` seconds after the measurement it was computed from. The tick in which two
commands meet gets their mean weighted by time, so a delay need not be a multiple of the tick and
the impulse is exact.
"""

import math

import numpy as np

from simreal.core.seeding import NoiseBlocks, Stream


class CommandLine:
    """Turn the command of each control step into what the actuators get in each tick.

    Attributes:
        ring: Past commands, newest first (R, N, A) [Nm or rad].
    """

    def __init__(
        self,
        num_worlds: int,
        idle: np.ndarray,
        driven: np.ndarray,
        *,
        ticks: int,
        tick_s: float,
        max_delay_s: float,
        seed: int,
        first_world: int = 0,
    ) -> None:
        """Allocate the ring of past commands.

        Args:
            num_worlds: N.
            idle: Command that stands before the episode began (A) [Nm or rad].
            driven: Indices of the actuators that the policy commands; only they have noise.
            ticks: Ticks of one control step, K.
            tick_s: Length of a tick [s].
            max_delay_s: Largest delay that will be set [s].
            seed: Seed of the torque noise.
            first_world: Index of the first world in the whole batch.
        """
        self.ticks, self.tick_s, self.period_s = ticks, tick_s, ticks * tick_s
        self._idle, self._driven = idle, driven
        depth = 1 if max_delay_s <= 0 else math.ceil(max_delay_s / self.period_s + 1e-9) + 1
        self.ring = np.tile(idle, (depth, num_worlds, 1))
        self._direct = np.broadcast_to(self.ring[0], (ticks, num_worlds, idle.size))
        self._delayed = False
        self._worlds = np.arange(num_worlds)
        self._age = np.zeros((ticks, num_worlds), dtype=np.intp)
        self._weight = np.zeros((ticks, num_worlds, 1))
        self._noise = NoiseBlocks(
            *(seed, num_worlds, driven.size, Stream.ACTUATION),
            uniform=False,
            first_world=first_world,
        )
        self._noise_std: np.ndarray | None = None

    def configure(self, delay_s: np.ndarray, noise_std: np.ndarray) -> None:
        """Set delay and noise of every world.

        Args:
            delay_s: (N,) [s].
            noise_std: (N,) [Nm].
        """
        self._noise_std = noise_std[:, None].copy() if noise_std.any() else None
        self._delayed = bool(delay_s.any())
        if not self._delayed:
            return
        # When each tick begins, on the clock of the commands, whose present one is issued at 0.
        start = np.arange(self.ticks)[:, None] * self.tick_s - delay_s  # (K, N)
        period = self.period_s
        issued = np.floor(start / period + 1e-9)
        share = np.clip(((issued + 1.0) * period - start) / self.tick_s, 0.0, 1.0)
        self._age = (-issued).astype(np.intp)
        share[self._age == 0] = 1.0  # exactly, whatever the division above rounds
        self._weight = share[..., None]

    def push(self, command: np.ndarray, episode: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Take the command of this control step and return the schedule of its ticks.

        Args:
            command: (N, A) [Nm or rad].
            episode: Episode number (N,).
            step: Step number (N,).

        Returns:
            (K, N, A); where nothing is delayed a view whose ticks are one and the same.
        """
        if self.ring.shape[0] > 1:
            self.ring[1:] = self.ring[:-1].copy()
        self.ring[0] = command
        if self._noise_std is not None:
            self.ring[0][:, self._driven] += self._noise_std * self._noise.at(episode, step)
        if not self._delayed:
            return self._direct
        older = self.ring[self._age, self._worlds]
        newer = self.ring[np.maximum(self._age - 1, 0), self._worlds]
        return np.asarray(self._weight * older + (1.0 - self._weight) * newer)

    def reseed(self, seed: int) -> None:
        """Go on with the noise of another seed."""
        self._noise.reseed(seed)

    def restart(self, mask: np.ndarray) -> None:
        """Forget past commands in some worlds (N,), bool."""
        self.ring[:, mask] = self._idle

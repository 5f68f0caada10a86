"""Random numbers that depend on seed, world, episode and purpose, and on nothing else.

Every draw comes from a counter-based generator whose counter is the purpose and the episode and
whose key is the seed and the world. So results do not depend on how worlds are spread over
processes, in which order they end, or whether a run was interrupted: there is no generator state to
save.
"""

import zlib
from enum import IntEnum
from typing import Any

import numpy as np

from simreal.errors import ConfigError


class Stream(IntEnum):
    """Name what random numbers are for."""

    INITIAL = 1
    DYNAMICS = 2
    SENSING = 3
    ACTUATION = 4
    STARTUP = 5
    STAGGER = 6
    DROPOUT = 7


def check_seed(seed: int) -> int:
    """Return a seed that can be used.

    Raises:
        ConfigError: It is not a whole number from 0 to 2**64 - 1.
    """
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**64:
        raise ConfigError(f"seed is {seed!r}; a whole number from 0 to 2**64 - 1 is needed")
    return int(seed)


def generator(
    seed: int, world: int, episode: int, stream: Stream, block: int = 0, label: str = ""
) -> np.random.Generator:
    """Return the generator of one purpose in one episode of one world.

    Args:
        seed: Seed of the run.
        world: Index of the world in the whole batch.
        episode: Number of the episode in this world.
        stream: Purpose.
        block: Number of the block, for streams that are drawn in blocks.
        label: What is drawn, where one purpose has several independent numbers, each of which must
            not depend on which others there are.
    """
    key = np.array([seed, world], dtype=np.uint64)
    purpose = int(stream) + (zlib.crc32(label.encode()) << 8)
    counter = np.array([0, block, episode, purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


class Starts:
    """Serve the uniform numbers that initial states are made of, for N worlds.

    Those of several episodes are drawn at once, since making a generator costs more than they do.
    """

    def __init__(self, num_worlds: int, width: int, first_world: int = 0, block: int = 8) -> None:
        """Allocate one block per world.

        Args:
            num_worlds: N.
            width: Numbers of one initial state.
            first_world: Index of the first world in the whole batch.
            block: Episodes of one block.
        """
        self._first_world, self._block = first_world, block
        self._values = np.zeros((num_worlds, block, width))
        self._held: list[tuple[int, int]] = [(-1, -1)] * num_worlds  # seed and block

    def at(self, seed: int, worlds: np.ndarray, episode: np.ndarray) -> np.ndarray:
        """Return the numbers of some worlds (M, width).

        Args:
            seed: Seed of the run.
            worlds: Which of the N worlds (M,).
            episode: Their episode numbers (M,).
        """
        block = self._block
        for world, number in zip(worlds.tolist(), episode.tolist(), strict=True):
            wanted = (seed, number // block)
            if self._held[world] != wanted:
                self._fill(seed, world, number - number % block)
                self._held[world] = wanted
        return np.asarray(self._values[worlds, episode % block])

    def _fill(self, seed: int, world: int, first: int) -> None:
        rng = generator(seed, self._first_world + world, first, Stream.INITIAL)
        state: Any = rng.bit_generator.state
        for row in self._values[world]:
            rng.bit_generator.state = state
            rng.random(out=row)
            state["state"]["counter"][2] += 1  # where `generator` puts the episode


class NoiseBlocks:
    """Serve per-step random numbers for N worlds, drawn a block of steps at a time.

    The numbers of a step depend only on seed, world, episode, stream and step, so they need no
    checkpoint: any step can be asked for at any time.
    """

    def __init__(
        self,
        seed: int,
        num_worlds: int,
        width: int,
        stream: Stream,
        *,
        uniform: bool,
        block: int = 128,
        first_world: int = 0,
    ) -> None:
        """Allocate one block per world.

        Args:
            seed: Seed of the run.
            num_worlds: N.
            width: Numbers per step, D.
            stream: Purpose.
            uniform: Uniform on [0, 1) if true, else standard normal.
            block: Steps per block.
            first_world: Index of the first of the N worlds in the whole batch.
        """
        self.first_world = first_world
        self.seed, self.stream, self.uniform, self.block = seed, stream, uniform, block
        self._values = np.zeros((num_worlds, block, width))
        self._tags = np.full((num_worlds, 2), -1, dtype=np.int64)  # episode, block held
        self._rows = np.arange(num_worlds)

    def at(self, episode: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return the numbers of one step in every world (N, D).

        Args:
            episode: Episode number of each world (N,).
            step: Step number in the episode of each world (N,).
        """
        block = step // self.block
        stale = (self._tags[:, 0] != episode) | (self._tags[:, 1] != block)
        if stale.any():
            for world in np.flatnonzero(stale):
                self._fill(int(world), int(episode[world]), int(block[world]))
        return np.asarray(self._values[self._rows, step % self.block])

    def reseed(self, seed: int) -> None:
        """Go on with the numbers of another seed."""
        self.seed = seed
        self._tags[:] = -1

    def _fill(self, world: int, episode: int, block: int) -> None:
        rng = generator(self.seed, self.first_world + world, episode, self.stream, block)
        shape = self._values.shape[1:]
        self._values[world] = rng.random(shape) if self.uniform else rng.standard_normal(shape)
        self._tags[world] = (episode, block)

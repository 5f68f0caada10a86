"""The numbers that parent and workers share: commands, states, flags of all worlds, one block."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Shared(NamedTuple):
    """Name the parts of the shared numbers, float64.

    Attributes:
        commands: (K, N, A).
        now: Present truth (N, D).
        sampled: What the sensors saw (N, D).
        sample_tick: (N,).
        failed: (N,), 1 where the engine itself, beside what the state shows, reports a failure.
        begins: (N,), 1 where a reset is asked for.
        start: (N, 2 J), joint positions and velocities of that reset.
    """

    commands: np.ndarray
    now: np.ndarray
    sampled: np.ndarray
    sample_tick: np.ndarray
    failed: np.ndarray
    begins: np.ndarray
    start: np.ndarray


@dataclass(frozen=True, slots=True)
class Layout:
    """Say where commands and states of all worlds lie in the shared numbers.

    Attributes:
        ticks: K.
        num_worlds: N.
        num_actuators: A.
        width: Numbers of one world's state, D.
        num_joints: J.
        num_words: Numbers in front that are whole, for signals.
    """

    ticks: int
    num_worlds: int
    num_actuators: int
    width: int
    num_joints: int
    num_words: int = 0

    @property
    def size(self) -> int:
        """Return how many numbers of eight bytes are shared."""
        each = self.ticks * self.num_actuators + 2 * self.width + 3 + 2 * self.num_joints
        return self.num_words + self.num_worlds * each

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
            (self.num_worlds,),
            (self.num_worlds, 2 * self.num_joints),
        )
        views, start = [], self.num_words
        for shape in shapes:
            stop = start + int(np.prod(shape))
            views.append(flat[start:stop].reshape(shape))
            start = stop
        return Shared(*views)

    def words(self, memory: Any) -> memoryview:
        """Return the whole numbers in front, which cost little to read one by one."""
        whole: Any = np.frombuffer(memory, dtype=np.int64)
        return memoryview(whole[: self.num_words])

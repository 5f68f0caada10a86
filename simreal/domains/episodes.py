"""The book-keeping of episodes: lengths, returns per reward term, success, and why they ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simreal.core.task import Task


@dataclass(frozen=True, slots=True)
class EpisodeInfo:
    """Summarize one finished episode.

    Attributes:
        world: Index of the world.
        episode: Number of the episode in its world.
        return_: Sum of rewards.
        length: Control steps.
        success: Whether the success test held throughout its window; never for an episode that
            ended before the window did.
        terms: Sum of each reward term.
        reason: `time limit`, `terminated`, `diverged`, or `lost` where the world's process ended.
        partial: Whether it began in the middle (staggered start) or was lost, and should not be
            counted.
        params: Randomized parameters of the episode as they were at its end; those with several
            components as `name[0]`, `name[1]`, ...
    """

    world: int
    episode: int
    return_: float
    length: int
    success: bool
    terms: Mapping[str, float]
    reason: str
    partial: bool
    params: Mapping[str, float]


class EpisodeBook:
    """Accumulate the episodes of N worlds.

    Attributes:
        episode: Episode number of each world (N,).
        step: Control steps since the episode began (N,).
        terms: Sum of each reward term (K, N).
        ok: Whether the success test held so far (N,), bool.
        start: Step at which the episode began (N,), beyond 0 where staggered.
        num_diverged: Episodes that ended because the physics failed.
        num_lost: Episodes that ended because a process did, since this object was made.
    """

    def __init__(self, task: Task, num_worlds: int, *, training: bool = False) -> None:
        """Start before the first episode.

        Args:
            task: The task.
            num_worlds: N.
            training: Whether episodes are cut as in training.
        """
        self.limit = task.episode_steps(training=training)
        self.names: Sequence[str] = task.reward_names
        low, high = task.success_window_s
        self._first = round(low / task.control_period_s)
        self._last = round(high / task.control_period_s)
        self.episode = np.full(num_worlds, -1, dtype=np.int64)
        self.step = np.zeros(num_worlds, dtype=np.int64)
        self.start = np.zeros(num_worlds, dtype=np.int64)
        self.terms = np.zeros((len(self.names), num_worlds))
        self.ok = np.ones(num_worlds, dtype=bool)
        self.num_diverged = self.num_lost = 0
        self._one = np.ones(1, dtype=np.int64)
        self._recount()

    def begin(self, mask: np.ndarray, start: np.ndarray) -> None:
        """Begin a new episode in some worlds.

        Args:
            mask: Worlds (N,), bool.
            start: Step to begin at (N,).
        """
        self.episode += mask
        np.copyto(self.step, start, where=mask)
        np.copyto(self.start, start, where=mask)
        np.copyto(self.terms, 0.0, where=mask)
        self.ok |= mask
        self._recount()

    def advance(self) -> None:
        """Count one control step in every world."""
        self.step += self._one
        self._to_limit -= 1
        self._to_window -= 1

    @property
    def due(self) -> bool:
        """Return whether any world has reached the time limit."""
        return self._to_limit <= 0

    @property
    def judging(self) -> bool:
        """Return whether any world has reached the success window."""
        return self._to_window <= 0

    def judge(self, success: np.ndarray) -> None:
        """Take the success test of the present step (N,), bool."""
        outside = (self.step < self._first) | (self.step > self._last)
        self.ok &= success | outside

    def summary(self, world: int, reason: str, params: Mapping[str, np.ndarray]) -> EpisodeInfo:
        """Summarize the episode that just ended in a world.

        Args:
            world: Index of the world.
            reason: Why it ended.
            params: Randomized parameters, name to (N,) or (N, k).
        """
        self.num_diverged += int(reason == "diverged")
        self.num_lost += int(reason == "lost")
        terms = self.terms[:, world]
        return EpisodeInfo(
            world=world,
            episode=int(self.episode[world]),
            return_=float(terms.sum()),
            length=int(self.step[world] - self.start[world]),
            success=bool(self.ok[world]) and int(self.step[world]) >= self._last,
            terms=dict(zip(self.names, (float(t) for t in terms), strict=True)),
            reason=reason,
            partial=bool(self.start[world] > 0) or reason == "lost",
            params=_named(params, world),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that a checkpoint needs."""
        return {
            "episode": self.episode,
            "step": self.step,
            "start": self.start,
            "terms": self.terms,
            "ok": self.ok,
            "num_diverged": np.array([self.num_diverged]),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restore what `arrays` returned."""
        for name in ("episode", "step", "start", "terms", "ok"):
            getattr(self, name)[...] = arrays[name]
        self.num_diverged = int(arrays["num_diverged"][0])
        self._recount()

    def _recount(self) -> None:
        # All worlds advance together, so two plain numbers say when anything can happen next.
        furthest = int(self.step.max())
        self._to_limit, self._to_window = self.limit - furthest, self._first - furthest


def _named(params: Mapping[str, np.ndarray], world: int) -> dict[str, float]:
    named = {}
    for name, value in params.items():
        numbers = np.ravel(value[world]).tolist()
        if len(numbers) == 1:
            named[name] = numbers[0]
        else:
            named.update({f"{name}[{i}]": number for i, number in enumerate(numbers)})
    return named

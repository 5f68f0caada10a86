"""Episodes of N worlds as tensors, with a log of finished ones that the host reads when it wants.

A finished episode is one row of a table on the device. Every world has rows of its own and counts
them itself: writing one needs neither the host, nor a shape that depends on values, nor a sum over
worlds, which on a GPU is the work of a single block while all others wait. Episodes that there was
no room for are counted.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from simreal.core.task import Task
from simreal.domains.episodes import EpisodeInfo

_REASONS = ("time limit", "terminated", "diverged")
_FIXED = 8  # world, episode, length, success, reason, partial, return, when it was logged
_REASON, _WHEN = 4, 7


class TensorBook:
    """Accumulate the episodes of N worlds.

    Attributes:
        limit: Control steps of an episode.
        episode: Episode number of each world (N,), int64.
        step: Control steps since the episode began (N,), int64.
        start: Step at which the episode began (N,), int64.
        terms: Sum of each reward term (K, N).
        ok: Whether the success test held so far (N,), bool.
        num_diverged: Episodes that ended because the physics failed, of those drained.
        num_lost: Finished episodes that the log had no room for.
    """

    def __init__(
        self,
        task: Task,
        num_worlds: int,
        device: torch.device,
        *,
        training: bool,
        params: Sequence[str],
        capacity: int,
    ) -> None:
        """Start before the first episode.

        Args:
            task: The task.
            num_worlds: N.
            device: Where the worlds are.
            training: Whether episodes are cut as in training.
            params: Names of the randomized numbers that a summary holds (P).
            capacity: Finished episodes of a world that are kept between two calls of `drain`, the
                last ones.
        """
        self.limit = task.episode_steps(training=training)
        self.names = tuple(task.reward_names)
        low, high = task.success_window_s
        self._first = round(low / task.control_period_s)
        self._last = round(high / task.control_period_s)
        self._params = tuple(params)
        whole = {"dtype": torch.int64, "device": device}
        self.episode = torch.full((num_worlds,), -1, **whole)  # type: ignore[call-overload]
        self.step = torch.zeros(num_worlds, dtype=torch.int64, device=device)
        self.start = torch.zeros(num_worlds, dtype=torch.int64, device=device)
        self.terms = torch.zeros(len(self.names), num_worlds, device=device)
        self.ok = torch.ones(num_worlds, dtype=torch.bool, device=device)
        self._worlds = torch.arange(num_worlds, device=device)
        columns = _FIXED + len(self.names) + len(self._params)
        self._capacity = capacity
        # The last row of a world takes what is not to be kept.
        self._log = torch.zeros(
            num_worlds, capacity + 1, columns, dtype=torch.float64, device=device
        )
        self._count = torch.zeros(num_worlds, dtype=torch.int64, device=device)
        self._now = torch.zeros(num_worlds, dtype=torch.int64, device=device)
        self.num_diverged = self.num_lost = 0

    def begin(self, mask: Tensor, start: Tensor | int) -> None:
        """Begin a new episode in some worlds.

        Args:
            mask: Worlds (N,), bool.
            start: Step to begin at, (N,) or a number.
        """
        self.episode.add_(mask)
        for counter in (self.step, self.start):
            counter.copy_(torch.where(mask, start, counter))
        self.terms.copy_(torch.where(mask, 0.0, self.terms))
        self.ok.logical_or_(mask)

    def judge(self, success: Tensor) -> None:
        """Take the success test of the present step (N,), bool."""
        outside = (self.step < self._first) | (self.step > self._last)
        self.ok.logical_and_(success | outside)

    def log(self, done: Tensor, ended: Tensor, diverged: Tensor, params: Sequence[Tensor]) -> None:
        """Append the episodes that end now.

        Args:
            done: Worlds whose episode ended (N,), bool.
            ended: Those that the task or diverged physics ended (N,), bool.
            diverged: Those whose physics failed (N,), bool.
            params: Randomized numbers, each (N,).
        """
        row = torch.where(done, self._count % self._capacity, self._capacity)
        columns = [
            self._worlds,
            self.episode,
            self.step - self.start,
            self.ok & (self.step >= self._last),
            ended.to(torch.int64) + diverged,
            self.start > 0,
            self.terms.sum(dim=0),
            self._now,
            *self.terms,
            *params,
        ]
        self._log[self._worlds, row] = torch.stack([c.double() for c in columns], dim=1)
        self._count.add_(done)
        self._now.add_(1)

    def drain(self, most: int | None = None) -> list[EpisodeInfo]:
        """Return the episodes that ended since the last call, and empty the log.

        The one place that waits for the device.

        Args:
            most: How many of the last ones are returned; all if None. Thousands of worlds end
                thousands of episodes in a rollout, and each costs the host microseconds.

        Returns:
            Oldest first, those of one control step in the order of the worlds.
        """
        kept = torch.clamp(self._count, max=self._capacity)
        self.num_lost += int((self._count - kept).sum())
        slots = torch.arange(self._capacity, device=kept.device)
        rows = self._log[:, :-1][slots < kept[:, None]]
        self.num_diverged += int((rows[:, _REASON] == _REASONS.index("diverged")).sum())
        rows = rows[torch.argsort(rows[:, _WHEN], stable=True)]
        first = 0 if most is None else max(0, len(rows) - most)
        self._count.zero_()
        self._now.zero_()
        return [self._info(row) for row in rows[first:].cpu().numpy().tolist()]

    def _info(self, row: Sequence[float]) -> EpisodeInfo:
        terms = row[_FIXED : _FIXED + len(self.names)]
        return EpisodeInfo(
            world=int(row[0]),
            episode=int(row[1]),
            return_=row[6],
            length=int(row[2]),
            success=bool(row[3]),
            terms=dict(zip(self.names, terms, strict=True)),
            reason=_REASONS[int(row[_REASON])],
            partial=bool(row[5]),
            params=dict(zip(self._params, row[_FIXED + len(terms) :], strict=True)),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint needs."""
        return {
            "episode": self.episode,
            "step": self.step,
            "start": self.start,
            "terms": self.terms,
            "ok": self.ok,
        }

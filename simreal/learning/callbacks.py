"""What happens beside learning: normalizer updates, logs, calls between rollouts, progress."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from simreal.domains.episodes import EpisodeInfo
from simreal.errors import ConfigError
from simreal.learning.normalizer import RunningNorm
from simreal.learning.policy import normalizers

EPISODE_WINDOW = 512
"""Most episodes that one record of `EpisodeLog` covers."""


_PRIOR_WEIGHT = 1e-4


class StopTraining(BaseException):
    """Leave a training between two rollouts; no failure, so no `Exception`.

    Stable-Baselines3 asks a callback whether to go on only after another environment step, whose
    data nobody would use; on a robot that step would be a real one.
    """


class NormalizerUpdate(BaseCallback):
    """Merge the observations of the last rollout into the policy's statistics.

    It runs between two rollouts, after the update: within one rollout and its update the policy
    must not change by itself. Off-policy algorithms merge every step during their random phase and
    then stop, because the replay buffer holds raw observations and the targets must not drift.
    """

    def __init__(self) -> None:
        """Begin without a rollout."""
        super().__init__()
        self._rollout: np.ndarray | None = None

    def _on_rollout_start(self) -> None:
        if self._rollout is None:
            return
        batch = torch.as_tensor(self._rollout).reshape(-1, self._rollout.shape[-1])
        for normalizer in normalizers(self.model.policy):
            normalizer.update(batch)
        self._rollout = None

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        if isinstance(model, OnPolicyAlgorithm):
            # Kept aside: the buffer is emptied before the next rollout is announced.
            self._rollout = model.rollout_buffer.observations

    def _on_step(self) -> bool:
        model: Any = self.model
        if isinstance(model, OffPolicyAlgorithm) and model.num_timesteps <= model.learning_starts:
            batch = torch.as_tensor(self.locals["new_obs"])
            for normalizer in normalizers(model.policy):
                normalizer.update(batch)
        return True


class NormalizerEveryStep(BaseCallback):
    """Merge the observations of every step before the policy sees them, as SB3's `VecNormalize`.

    An update must see what its rollout's policy saw. So at the end of a rollout every observation
    in the buffer becomes the one from which the statistics of then make what those of its own step
    made of it. Statistics begin as in `VecNormalize`, too: with the weight of 1e-4 observations of
    mean 0 and variance 1.
    """

    def __init__(self) -> None:
        """Begin without a rollout."""
        super().__init__()
        self._moving: list[RunningNorm] | None = None
        self._used: list[tuple[torch.Tensor, torch.Tensor]] = []

    def _on_rollout_start(self) -> None:
        self._moving, self._used = None, []
        every = normalizers(self.model.policy)
        if fresh := [n for n in every if not n.count and not n.frozen]:
            for normalizer in fresh:
                normalizer.count.fill_(_PRIOR_WEIGHT)
            self._merge(fresh, self.model._last_obs)

    def _on_step(self) -> bool:
        if self._moving is None:  # what is frozen may have changed since the rollout was announced
            self._moving = moving_together(self.model.policy)
        if self._moving:
            first = self._moving[0]
            self._used.append((first.mean.clone(), first.scale.clone()))
            self._merge(self._moving, self.locals["new_obs"])
        return True

    def _on_rollout_end(self) -> None:
        if not self._moving:
            return
        model: Any = self.model
        seen: np.ndarray = model.rollout_buffer.observations  # (T, N, dim)
        means, scales = (
            torch.stack(part).unsqueeze(1).numpy() for part in zip(*self._used, strict=True)
        )
        now = self._moving[0]
        normalized = np.clip((seen - means) / scales, -now.limit, now.limit)
        seen[...] = normalized * now.scale.numpy() + now.mean.numpy()

    def _merge(self, some: list[RunningNorm], observations: Any) -> None:
        for normalizer in some:
            normalizer.update(torch.as_tensor(observations))


def moving_together(policy: torch.nn.Module) -> list[RunningNorm]:
    """Return the normalizers whose statistics move: all of a policy or none, and all the same.

    Args:
        policy: A policy with the kit's parts.

    Raises:
        ConfigError: Some of them cannot move with the others.
    """
    every = normalizers(policy)
    moving = [normalizer for normalizer in every if not normalizer.frozen]
    alike = all(
        torch.equal(a, b)
        for one in every
        for a, b in zip(one.buffers(), every[0].buffers(), strict=True)
    )
    if moving and (len(moving) < len(every) or not alike):
        raise ConfigError(
            "normalize_every_step is true, and the normalizers of actor and critic are frozen or "
            "filled differently, so a rollout cannot be kept for both; set "
            "algo.normalize_every_step=false"
        )
    return moving


class EpisodeLog(BaseCallback):
    """Record reward terms and realized dynamics parameters of finished episodes.

    Tags: `reward/<term>` is the mean per control step and `domain/<param>/mean` and `/std` are
    those of the draws, over the last episodes; `rollout/num_diverged` counts episodes that physics
    ended, `rollout/num_lost` those whose worker process did, or that a device's log had no room
    for. Worlds on a device tell once per rollout what ended.
    """

    def __init__(self, window: int = EPISODE_WINDOW) -> None:
        """Keep a window of episodes.

        Args:
            window: Most episodes that one record covers.
        """
        super().__init__()
        self._episodes: deque[EpisodeInfo] = deque(maxlen=window)
        self._new = False

    def _on_step(self) -> bool:
        env: Any = self.training_env
        if env.finished:
            self._take(env.finished)
        return True

    def _take(self, episodes: Iterable[EpisodeInfo]) -> None:
        self._episodes.extend(episodes)
        self._new = True

    def _on_rollout_end(self) -> None:
        env: Any = self.training_env
        if env.drained:
            self._take(env.drained)
            env.drained.clear()
        self.logger.record("rollout/num_diverged", env.sim.book.num_diverged)
        if env.sim.book.num_lost:
            self.logger.record("rollout/num_lost", env.sim.book.num_lost)
        if not self._new:
            return
        self._new = False
        steps = sum(e.length for e in self._episodes)
        for name in self._episodes[0].terms:
            total = sum(e.terms[name] for e in self._episodes)
            self.logger.record(f"reward/{name}", total / max(steps, 1))
        for name in self._episodes[0].params:
            drawn = np.array([e.params[name] for e in self._episodes])
            self.logger.record(f"domain/{name}/mean", float(drawn.mean()))
            self.logger.record(f"domain/{name}/std", float(drawn.std()))


class Every(BaseCallback):
    """Call a function between two rollouts, every so many environment steps.

    The function returns False to end the training there and then.
    """

    def __init__(
        self, interval: int, function: Callable[[], bool], *, at_start: bool = False
    ) -> None:
        """Set the interval.

        Args:
            interval: Environment steps between calls.
            function: What to call.
            at_start: Whether to call before the first rollout, too.
        """
        super().__init__()
        self._interval, self._function, self._at_start = interval, function, at_start
        self._next: int | None = None

    def _on_rollout_start(self) -> None:
        now = self.num_timesteps
        due = now >= self._next if self._next is not None else self._at_start and now == 0
        # Multiples of the interval, not "so many after the last call": a continued run, which only
        # knows where it stands, then calls at the same steps.
        self._next = (now // self._interval + 1) * self._interval
        if due and not self._function():
            raise StopTraining

    def _on_step(self) -> bool:
        return True


class ProgressSink(Protocol):
    """Show progress to a person."""

    def update(self, done: int, total: int, facts: dict[str, float]) -> None:
        """Show where a run is.

        Args:
            done: Environment steps so far.
            total: Environment steps of the run.
            facts: `steps_per_s` and `left_s`, and where they are known `reward` and `success`.
        """

    def note(self, text: str) -> None:
        """Show one line that stays, for instance about what trains.

        Args:
            text: The line.
        """


class Progress(BaseCallback):
    """Tell a sink about the run after every rollout, a few times per second at most.

    Attributes:
        facts: Numbers that others add, for instance the success of the last evaluation.
    """

    def __init__(self, sink: ProgressSink, total: int, every_s: float = 0.2) -> None:
        """Connect.

        Args:
            sink: Where progress is shown.
            total: Environment steps of the run.
            every_s: Least time between two reports [s].
        """
        super().__init__()
        self._sink, self._total, self._every_s = sink, total, every_s
        self.facts: dict[str, float] = {}
        self._begun, self._first = time.perf_counter(), 0
        self._told = -math.inf

    def _on_training_start(self) -> None:
        self._begun, self._first = time.perf_counter(), self.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        now = time.perf_counter()
        if now - self._told < self._every_s and self.num_timesteps < self._total:
            return
        self._told = now
        model: Any = self.model
        rate = (self.num_timesteps - self._first) / max(now - self._begun, 1e-9)
        facts: dict[str, float] = {}
        if model.ep_info_buffer:
            facts["reward"] = float(np.mean([e["r"] for e in model.ep_info_buffer]))
        facts |= self.facts
        facts["steps_per_s"] = rate
        facts["left_s"] = max(self._total - self.num_timesteps, 0) / max(rate, 1e-9)
        self._sink.update(self.num_timesteps, self._total, facts)

"""What happens beside learning: normalizer updates, logs, held-out evaluation, checkpoints, progress."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from simreal.domains.episodes import EpisodeInfo
from simreal.learning.normalizer import RunningNorm
from simreal.learning.policy import normalizers
from simreal.learning.vec_env import SB3VecEnv


class NormalizerUpdate(BaseCallback):
    """Merge the observations of the last rollout into the policy's statistics.

    It runs between two rollouts, after the update: within one rollout and its update the policy must not
    change by itself. Off-policy algorithms merge every step during their random phase and then stop,
    because the replay buffer holds raw observations and the targets must not drift.
    """

    def _on_rollout_start(self) -> None:
        model: Any = self.model
        if not isinstance(model, OnPolicyAlgorithm):
            return
        buffer: Any = model.rollout_buffer
        if buffer.full and model.num_timesteps > 0 and not getattr(buffer, "merged", False):
            batch = torch.as_tensor(buffer.observations).reshape(-1, buffer.observations.shape[-1])
            for normalizer in normalizers(model.policy):
                normalizer.update(batch)
            buffer.merged = True

    def _on_step(self) -> bool:
        model: Any = self.model
        if isinstance(model, OnPolicyAlgorithm):
            model.rollout_buffer.merged = False  # type: ignore[attr-defined]
        elif model.num_timesteps <= model.learning_starts:
            batch = torch.as_tensor(self.locals["new_obs"])
            for normalizer in _distinct(model.policy):
                normalizer.update(batch)
        return True


class EpisodeLog(BaseCallback):
    """Record reward terms and realized dynamics parameters of finished episodes.

    Tags: `reward/<term>` is the mean per control step, `domain/<param>/mean` and `/std` are over the
    episodes since the last record, `rollout/num_diverged` counts episodes that physics ended.
    """

    def __init__(self, window: int = 512) -> None:
        """Keep a window of episodes.

        Args:
            window: Most episodes that one record covers.
        """
        super().__init__()
        self._window = window
        self._episodes: list[EpisodeInfo] = []

    def _on_step(self) -> bool:
        env: Any = self.training_env
        if env.finished:
            self._episodes.extend(env.finished)
            del self._episodes[: -self._window]
        return True

    def _on_rollout_end(self) -> None:
        if not self._episodes:
            return
        steps = sum(e.length for e in self._episodes)
        for name in self._episodes[0].terms:
            total = sum(e.terms[name] for e in self._episodes)
            self.logger.record(f"reward/{name}", total / max(steps, 1))
        for name in self._episodes[0].params:
            drawn = np.array([e.params[name] for e in self._episodes])
            self.logger.record(f"domain/{name}/mean", float(drawn.mean()))
            self.logger.record(f"domain/{name}/std", float(drawn.std()))
        sim = self._sim()
        self.logger.record("rollout/num_diverged", sim.book.num_diverged)
        self._episodes = []

    def _sim(self) -> Any:
        env: Any = self.training_env
        return env.sim


class Every(BaseCallback):
    """Call a function between two rollouts, every so many environment steps.

    The function returns False to end the training.
    """

    def __init__(self, interval: int, function: Callable[[], bool], *, at_start: bool = False) -> None:
        """Set the interval.

        Args:
            interval: Environment steps between calls.
            function: What to call.
            at_start: Whether to call before the first rollout, too.
        """
        super().__init__()
        self._interval, self._function, self._at_start = interval, function, at_start
        self._next: int | None = None
        self._go_on = True

    def _on_rollout_start(self) -> None:
        now = self.num_timesteps
        if self._next is None:
            self._next = (now // self._interval + 1) * self._interval
            if self._at_start and now == 0:
                self._go_on = self._function() and self._go_on
        elif now >= self._next:
            self._next = (now // self._interval + 1) * self._interval
            self._go_on = self._function() and self._go_on

    def _on_step(self) -> bool:
        return self._go_on


class ProgressSink(Protocol):
    """Show progress to a person."""

    def update(self, done: int, total: int, facts: dict[str, float]) -> None:
        """Show where a run is.

        Args:
            done: Environment steps so far.
            total: Environment steps of the run.
            facts: Name to number, for instance reward and success.
        """


class Progress(BaseCallback):
    """Tell a sink about the run after every rollout.

    Attributes:
        facts: Numbers that others add, for instance the success of the last evaluation.
    """

    def __init__(self, sink: ProgressSink, total: int) -> None:
        """Connect.

        Args:
            sink: Where progress is shown.
            total: Environment steps of the run.
        """
        super().__init__()
        self._sink, self._total = sink, total
        self.facts: dict[str, float] = {}
        self._begun, self._first = time.perf_counter(), 0

    def _on_training_start(self) -> None:
        self._begun, self._first = time.perf_counter(), self.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        elapsed = max(time.perf_counter() - self._begun, 1e-9)
        rate = (self.num_timesteps - self._first) / elapsed
        facts: dict[str, float] = {}
        if model.ep_info_buffer:
            facts["reward"] = float(np.mean([e["r"] for e in model.ep_info_buffer]))
        facts |= self.facts
        facts["steps_per_s"] = rate
        facts["left_s"] = max(self._total - self.num_timesteps, 0) / max(rate, 1e-9)
        self._sink.update(self.num_timesteps, self._total, facts)


def _distinct(policy: Any) -> list[RunningNorm]:
    return list(dict.fromkeys(normalizers(policy)))


def env_of(model: Any) -> SB3VecEnv:
    """Return the kit's environment of a model."""
    env: SB3VecEnv = model.get_env()
    return env

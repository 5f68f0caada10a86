"""Train one policy: phases, held-out evaluation, checkpoints, logs, and exact continuation.

One function for every method: training from scratch is one phase over all parts, fine-tuning begins with
other parameters, a frozen extractor is a phase in which some parts do not learn. All environment steps are
counted, those of held-out evaluations included, because on a robot they all cost the same.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import configure

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains import Domain, SimVecEnv
from simreal.domains.rollout import mean_return, num_steps, run_episodes, success_rate
from simreal.errors import CheckpointError, ConfigError
from simreal.learning.algorithms import AlgorithmSettings, single_thread
from simreal.learning.callbacks import EpisodeLog, Every, NormalizerUpdate, Progress, ProgressSink
from simreal.learning.checkpoint import newest_checkpoint, write_checkpoint
from simreal.learning.freezing import freeze, set_learning_rates, trainable, unfreeze
from simreal.learning.snapshot import model_state, restore_model
from simreal.learning.vec_env import SB3VecEnv

EVALUATION_SEED = 1_000_003
"""Seed of held-out evaluations; training seeds are smaller, so no training episode is ever repeated."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Describe a stretch of training.

    Attributes:
        until: Environment steps at which it ends, counted from the beginning of the training.
        frozen: Parts that do not learn, by name or pattern.
        learning_rates: Parts with a learning rate of their own, relative to the algorithm's: part or
            pattern to rate.
    """

    until: int
    frozen: tuple[str, ...] = ()
    learning_rates: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Say how long to train and how to watch it.

    Attributes:
        num_steps: Environment steps of training.
        eval_every: Environment steps between held-out evaluations; 0 evaluates at the end only.
        eval_episodes: Episodes of one held-out evaluation.
        stop_success: End the training when this success rate was reached in `stop_patience` evaluations
            in a row; never if None.
        stop_patience: See `stop_success`.
        checkpoint_every: Environment steps between checkpoints; 0 writes none.
        phases: Stretches of training; one over all parts if empty.
        keep: `best` keeps the policy of the best held-out evaluation, `last` the final one.
    """

    num_steps: int
    eval_every: int = 200_000
    eval_episodes: int = 64
    stop_success: float | None = None
    stop_patience: int = 3
    checkpoint_every: int = 200_000
    phases: tuple[Phase, ...] = ()
    keep: str = "best"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A number is out of its range.
        """
        if self.num_steps < 1 or self.eval_every < 0 or self.checkpoint_every < 0:
            raise ConfigError(
                f"num_steps is {self.num_steps}, eval_every {self.eval_every}, checkpoint_every "
                f"{self.checkpoint_every}; num_steps >= 1 and the others >= 0 are needed"
            )
        if self.eval_episodes < 1:
            raise ConfigError(f"eval_episodes is {self.eval_episodes}; at least 1 is needed")
        if self.keep not in ("best", "last"):
            raise ConfigError(f"keep is '{self.keep}'; 'best' or 'last' is needed")


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Say what to train, where.

    Attributes:
        robot: The robot.
        task: The task.
        domain: The domain to learn in.
        settings: The algorithm.
        plan: Length and watching.
        seed: Seed of everything.
        folder: Where logs and checkpoints go.
        workers: Processes that run the physics.
        initialize: Called with the fresh model before the first step, for instance to load parameters.
    """

    robot: Robot
    task: Task
    domain: Domain
    settings: AlgorithmSettings
    plan: TrainingPlan
    seed: int
    folder: Path
    workers: int = 1
    initialize: Callable[[BaseAlgorithm], None] | None = None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Hold one held-out evaluation.

    Attributes:
        num_steps: Training steps so far.
        eval_steps: Evaluation steps so far, this one included.
        success: Success rate.
        return_: Mean return.
    """

    num_steps: int
    eval_steps: int
    success: float
    return_: float


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """Hold what a training gave.

    Attributes:
        state: Parameters of the kept policy, SB3's names.
        curve: Held-out evaluations.
        num_steps: Training steps.
        eval_steps: Evaluation steps.
        kept_at: Training steps at which the kept policy stood.
        model: The model, with its environment closed.
    """

    state: dict[str, torch.Tensor]
    curve: tuple[CurvePoint, ...]
    num_steps: int
    eval_steps: int
    kept_at: int
    model: BaseAlgorithm


def train(job: TrainingJob, *, sink: ProgressSink | None = None, resume: bool = False) -> TrainingOutcome:
    """Run a training job.

    Args:
        job: The job.
        sink: Where progress is shown.
        resume: Whether to continue from the newest checkpoint in the job's folder, if there is one.

    Raises:
        CheckpointError: The checkpoint is of another job.
    """
    run = _Run(job, sink)
    try:
        return run.execute(resume)
    finally:
        run.close()


class _Run:
    """Keep together what one training needs while it runs."""

    def __init__(self, job: TrainingJob, sink: ProgressSink | None) -> None:
        single_thread()
        self.job, self.plan = job, job.plan
        self.sim = SimVecEnv(
            job.robot,
            job.task,
            job.domain,
            job.settings.num_worlds,
            seed=job.seed,
            training=True,
            workers=job.workers,
        )
        self.env = SB3VecEnv(self.sim)
        self.held_out = SimVecEnv(job.robot, job.task, job.domain, job.plan.eval_episodes)
        self.model = job.settings.build(self.env, job.seed)
        self.curve: list[CurvePoint] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_at, self.good_in_a_row = 0, 0
        self.phase = -1
        self.progress = Progress(sink, self.plan.num_steps) if sink else None

    def execute(self, resume: bool) -> TrainingOutcome:
        job, plan = self.job, self.plan
        job.folder.mkdir(parents=True, exist_ok=True)
        self.model.set_logger(configure(str(job.folder / "tensorboard"), ["tensorboard", "csv"]))
        if job.initialize is not None:
            job.initialize(self.model)
        done = self._continue() if resume else 0
        self._enter_phase()
        if done < plan.num_steps:
            self.model.learn(
                plan.num_steps - done,
                callback=self._callbacks(),
                reset_num_timesteps=False,
                log_interval=5,
            )
        if not self.curve or self.curve[-1].num_steps < self.model.num_timesteps:
            self._evaluate()
        if plan.keep == "last":
            self.best, self.best_at = self._parameters(), self.model.num_timesteps
        return TrainingOutcome(
            state=self.best,
            curve=tuple(self.curve),
            num_steps=self.model.num_timesteps,
            eval_steps=self.curve[-1].eval_steps,
            kept_at=self.best_at,
            model=self.model,
        )

    def close(self) -> None:
        self.env.close()
        self.held_out.close()

    def _callbacks(self) -> CallbackList:
        callbacks = [NormalizerUpdate(), EpisodeLog(), Every(1, self._enter_phase)]
        if self.plan.eval_every:
            callbacks.append(Every(self.plan.eval_every, self._evaluate))
        if self.plan.checkpoint_every:
            callbacks.append(Every(self.plan.checkpoint_every, self._checkpoint, at_start=True))
        if self.progress is not None:
            callbacks.append(self.progress)
        return CallbackList(callbacks)

    # ---------------------------------------------------------------- phases

    def _enter_phase(self) -> bool:
        phases = self.plan.phases
        if not phases:
            return True
        now = self.model.num_timesteps
        index = next((i for i, p in enumerate(phases) if now < p.until), len(phases) - 1)
        if index == self.phase:
            return True
        self.phase = index
        phase = phases[index]
        unfreeze(self.model.policy, "*")
        if phase.frozen:
            freeze(self.model.policy, *phase.frozen)
        set_learning_rates(self.model, self.job.settings.learning_rate, phase.learning_rates)
        self.model.logger.record("transfer/num_trainable", trainable(self.model.policy).num_trainable)
        return True

    # ------------------------------------------------------------ evaluation

    def _evaluate(self) -> bool:
        policy = self.model.policy

        def act(obs: np.ndarray) -> np.ndarray:
            return policy.predict(obs, deterministic=True)[0]

        episodes = run_episodes(self.held_out, act, self.plan.eval_episodes, EVALUATION_SEED)
        spent = (self.curve[-1].eval_steps if self.curve else 0) + num_steps(episodes)
        point = CurvePoint(
            self.model.num_timesteps, spent, success_rate(episodes), mean_return(episodes)
        )
        before = max(((p.success, p.return_) for p in self.curve), default=(-1.0, -np.inf))
        if (point.success, point.return_) > before:
            self.best, self.best_at = self._parameters(), point.num_steps
        self.curve.append(point)
        self.model.logger.record("eval/success_rate", point.success)
        self.model.logger.record("eval/mean_reward", point.return_)
        if self.progress is not None:
            self.progress.facts["success"] = point.success
        goal = self.plan.stop_success
        good = goal is not None and point.success >= goal
        self.good_in_a_row = self.good_in_a_row + 1 if good else 0
        return not (goal is not None and self.good_in_a_row >= self.plan.stop_patience)

    def _parameters(self) -> dict[str, torch.Tensor]:
        return {k: v.detach().clone() for k, v in self.model.policy.state_dict().items()}

    # ----------------------------------------------------------- checkpoints

    def _checkpoint(self) -> bool:
        if not self.sim.engine.exact_state:
            # The engine hides part of its state: worlds begin anew in this run and in a resumed one.
            self.model._last_obs = self.env.reset()  # noqa: SLF001
            self.model._last_episode_starts = np.ones(self.sim.num_worlds, dtype=bool)
        tensors, meta = model_state(self.model)
        tensors |= {f"world.{k}": v for k, v in self.sim.get_state().items()}
        tensors |= {f"best.{k}": v.cpu().numpy() for k, v in self.best.items()}
        meta |= {
            "identity": self._identity(),
            "curve": [asdict(point) for point in self.curve],
            "best_at": self.best_at,
            "good_in_a_row": self.good_in_a_row,
        }
        write_checkpoint(self._checkpoints, self.model.num_timesteps, tensors, meta)
        return True

    def _continue(self) -> int:
        found = newest_checkpoint(self._checkpoints)
        if found is None:
            return 0
        wanted, seen = self._identity(), found.meta["identity"]
        for key in wanted:
            if wanted[key] != seen.get(key):
                raise CheckpointError(
                    f"{found.path} is of another run: {key} was {seen.get(key)}, now {wanted[key]}; "
                    "resume with the same settings, or train into another folder"
                )
        self.model.num_timesteps = int(found.meta["num_timesteps"])
        self._enter_phase()
        world = {k[6:]: v for k, v in found.tensors.items() if k.startswith("world.")}
        obs = self.sim.set_state(world)
        restore_model(self.model, found.tensors, found.meta, obs)
        self.best = {
            k[5:]: torch.from_numpy(np.array(v))
            for k, v in found.tensors.items()
            if k.startswith("best.")
        }
        self.curve = [CurvePoint(**point) for point in found.meta["curve"]]
        self.best_at = found.meta["best_at"]
        self.good_in_a_row = found.meta["good_in_a_row"]
        return int(self.model.num_timesteps)

    @property
    def _checkpoints(self) -> Path:
        return self.job.folder / "checkpoints"

    def _identity(self) -> dict[str, str]:
        job = self.job
        return {
            "robot": job.robot.interface_sha256,
            "task": job.task.name,
            "domain": job.domain.name,
            "seed": str(job.seed),
            "settings": json.dumps(asdict(job.settings), sort_keys=True),
            "num_steps": str(job.plan.num_steps),
        }


def describe(model: Any) -> str:
    """Return one line about what a model trains."""
    return str(trainable(model.policy))

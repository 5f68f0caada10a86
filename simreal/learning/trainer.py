"""Train one policy: phases, held-out evaluation, checkpoints, logs, and exact continuation.

One function for every method: training from scratch is one phase over all parts, fine-tuning begins
with other parameters, a frozen extractor is a phase in which some parts do not learn. All
environment steps are counted, those of held-out evaluations included, because on a robot they all
cost the same.

With several processes (`simreal.learning.processes`) each has its own worlds; the first one alone
evaluates and writes, and tells the others what follows from it.

Whatever happens beside learning happens between two rollouts, in this order: the normalizer takes
up the last rollout, the phase changes, the policy is evaluated, a checkpoint is written.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains import Domain, SimVecEnv
from simreal.domains.rollout import mean_return, num_steps, run_episodes, success_rate
from simreal.engines.workers import Workers
from simreal.errors import CheckpointError, ConfigError
from simreal.learning.actor_critic import Acting
from simreal.learning.algorithms import AlgorithmSettings, single_thread
from simreal.learning.callbacks import (
    EpisodeLog,
    Every,
    Progress,
    ProgressSink,
    StopTraining,
)
from simreal.learning.checkpoint import Checkpoint, newest_checkpoint, write_checkpoint
from simreal.learning.freezing import freeze, set_learning_rates, trainable, unfreeze
from simreal.learning.identity import Identity, check_identity, identity_of
from simreal.learning.logs import open_logs
from simreal.learning.parallel_state import apart, part_of_process
from simreal.learning.processes import SEED_STEP, processes
from simreal.learning.snapshot import model_state, restore_model
from simreal.learning.torch_ppo import TorchPPO

EVALUATION_SEED = 1_000_003
"""Seed of held-out evaluations; training seeds are smaller, so no training episode is repeated."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Describe a stretch of training.

    Attributes:
        until: Environment steps at which it ends, counted from the beginning of the training.
        frozen: Parts that do not learn, by name or pattern.
        learning_rates: Parts with a learning rate of their own, relative to the algorithm's: part
            or pattern to rate.
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
        stop_success: End the training when this success rate was reached in `stop_patience`
            evaluations in a row; never if None.
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
        if self.eval_episodes < 1 or self.stop_patience < 1:
            raise ConfigError(
                f"eval_episodes is {self.eval_episodes}, stop_patience {self.stop_patience}; at "
                "least 1 each is needed"
            )
        if self.stop_success is not None and not 0 <= self.stop_success <= 1:
            raise ConfigError(f"stop_success is {self.stop_success}; 0 to 1 or null is needed")
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
        workers: Processes that run the physics, or where workers live.
        initialize: Called with the fresh model before the first step, for instance to load
            parameters.
        origin: What it begins with, for instance a hash; a checkpoint of another origin is refused.
    """

    robot: Robot
    task: Task
    domain: Domain
    settings: AlgorithmSettings
    plan: TrainingPlan
    seed: int
    folder: Path
    workers: int | Workers = 1
    initialize: Callable[[BaseAlgorithm], None] | None = None
    origin: str = ""


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
        initial: Parameters before the first step.
        curve: Held-out evaluations.
        num_steps: Training steps.
        eval_steps: Evaluation steps.
        kept_at: Training steps at which the kept policy stood.
        model: The model, with its environment closed.
    """

    state: dict[str, torch.Tensor]
    initial: dict[str, torch.Tensor]
    curve: tuple[CurvePoint, ...]
    num_steps: int
    eval_steps: int
    kept_at: int
    model: BaseAlgorithm


def train(
    job: TrainingJob, *, sink: ProgressSink | None = None, resume: bool = False
) -> TrainingOutcome:
    """Run a training job.

    Args:
        job: The job.
        sink: Where progress is shown.
        resume: Whether to continue from the newest checkpoint in the job's folder, if there is one.
            The continued run equals an uninterrupted one bit for bit.

    Raises:
        CheckpointError: The checkpoint is of another job, all checkpoints are damaged, or there are
            checkpoints and the run shall not continue from them.
    """
    with ExitStack() as stack:
        return _Run(job, sink, stack).execute(resume)


class _Run:
    """Keep together what one training needs while it runs."""

    def __init__(self, job: TrainingJob, sink: ProgressSink | None, stack: ExitStack) -> None:
        single_thread()
        self.processes = processes()
        self.job, self.plan, self.sink, self.stack = job, job.plan, sink, stack
        # Before anything runs, so that what a task keeps for itself while it runs is no setting.
        self.identity = self._identity()
        self.sim = job.settings.worlds(
            job.robot,
            job.task,
            job.domain,
            job.settings.num_worlds,
            seed=job.seed,
            training=True,
            workers=job.workers,
            first_world=self.processes.rank * job.settings.num_worlds,
        )
        stack.callback(self.sim.close)
        self.env = job.settings.face(self.sim)
        self.held_out = SimVecEnv(job.robot, job.task, job.domain, job.plan.eval_episodes)
        stack.callback(self.held_out.close)
        self.model = job.settings.build(self.env, job.seed)
        self._split()
        self.curve: list[CurvePoint] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_at, self.good_in_a_row = 0, 0
        self.phase = -1
        self.progress = Progress(sink, self.plan.num_steps) if sink else None

    def _split(self) -> None:
        """Let the processes begin with one policy and draw different exploration."""
        rank, size = self.processes.rank, self.processes.size
        if size == 1:
            return
        if not isinstance(self.model, TorchPPO) or self.model.get_vec_normalize_env() is not None:
            raise ConfigError(
                f"{size} processes train together, with algo={type(self.job.settings).__name__}; "
                "TorchPPO without normalize_reward can: set algo=torch_ppo, or leave out torchrun"
            )
        if rank:
            torch.manual_seed(self.job.seed + SEED_STEP * rank)

    def execute(self, resume: bool) -> TrainingOutcome:
        """Train to the end of the plan, from the beginning or from the newest checkpoint."""
        if self.job.initialize is not None:
            self.job.initialize(self.model)
        self._check_phases()
        initial = self._parameters()
        found = self._found(resume)
        done = int(found.meta["num_timesteps"]) if found else None
        folder = self.job.folder / "tensorboard"
        logger = open_logs(folder, done) if self.processes.first else Logger(None, [])
        self.stack.callback(logger.close)
        self.model.set_logger(logger)
        if found:
            self._restore(found)
        self._enter_phase()
        if not self._fulfilled:
            self._learn(continued=found is not None)
            now = self.model.num_timesteps
            if not self.curve or self.curve[-1].num_steps < now:
                self._evaluate()
            logger.record("time/total_timesteps", now, exclude="tensorboard")
            logger.dump(now)
            if self.plan.checkpoint_every:
                self._checkpoint()
        if self.plan.keep == "last":
            self.best, self.best_at = self._parameters(), self.model.num_timesteps
        return TrainingOutcome(
            state=self.best,
            initial=initial,
            curve=tuple(self.curve),
            num_steps=self.model.num_timesteps,
            eval_steps=self.curve[-1].eval_steps,
            kept_at=self.best_at,
            model=self.model,
        )

    @property
    def _fulfilled(self) -> bool:
        """Return whether nothing is left to do: also true where a run was killed after its end."""
        plan, now = self.plan, self.model.num_timesteps
        evaluated = bool(self.curve) and self.curve[-1].num_steps == now
        return evaluated and (now >= plan.num_steps or self._good_enough)

    @property
    def _good_enough(self) -> bool:
        return self.plan.stop_success is not None and self.good_in_a_row >= self.plan.stop_patience

    def _learn(self, *, continued: bool) -> None:
        left = self.plan.num_steps - self.model.num_timesteps
        if left <= 0:
            return
        # A rollout is a row of the log; off-policy rollouts are single steps, and episodes are
        # counted.
        interval = 1 if isinstance(self.model, OnPolicyAlgorithm) else 4
        try:
            self.model.learn(
                left,
                callback=self._callbacks(continued),
                reset_num_timesteps=False,
                log_interval=interval,
            )
        except StopTraining:
            return

    def _callbacks(self, continued: bool) -> CallbackList:
        plan = self.plan
        callbacks: list[BaseCallback] = [self.job.settings.normalizer_callback, EpisodeLog()]
        if len(plan.phases) > 1:
            callbacks.append(Every(1, self._enter_phase))
        if plan.eval_every:
            callbacks.append(Every(plan.eval_every, self._evaluate))
        if plan.checkpoint_every:
            callbacks.append(Every(plan.checkpoint_every, self._checkpoint, at_start=not continued))
        if self.progress is not None:
            callbacks.append(self.progress)
        return CallbackList(callbacks)

    # ---------------------------------------------------------------- phases

    def _check_phases(self) -> None:
        """Let the algorithm refuse what would not work before anything is simulated."""
        if not self.plan.phases:
            self.job.settings.check(self.model.policy)
        for phase in self.plan.phases:
            self._freeze(phase)
            self.job.settings.check(self.model.policy)

    def _freeze(self, phase: Phase) -> None:
        unfreeze(self.model.policy, "*")
        if phase.frozen:
            freeze(self.model.policy, *phase.frozen)

    def _enter_phase(self) -> bool:
        phases, policy = self.plan.phases, self.model.policy
        now = self.model.num_timesteps
        index = next((i for i, p in enumerate(phases) if now < p.until), len(phases) - 1)
        if not phases or index == self.phase:
            return True
        self.phase = index
        phase = phases[index]
        self._freeze(phase)
        set_learning_rates(self.model, self.job.settings.learning_rate, phase.learning_rates)
        counted = trainable(policy)
        self.model.logger.record("transfer/num_trainable", counted.num_trainable)
        if self.sink is not None:
            self.sink.note(f"from step {now:,}: {counted}")
        return True

    # ------------------------------------------------------------ evaluation

    def _evaluate(self) -> bool:
        point: CurvePoint = self.processes.tell(self._measured() if self.processes.first else None)
        before = max(((p.success, p.return_) for p in self.curve), default=(-1.0, -np.inf))
        if (point.success, point.return_) > before:
            self.best, self.best_at = self._parameters(), point.num_steps
        self.curve.append(point)
        self.model.logger.record("eval/success_rate", point.success)
        self.model.logger.record("eval/mean_reward", point.return_)
        self._tell_success()
        goal = self.plan.stop_success
        self.good_in_a_row = (
            self.good_in_a_row + 1 if goal is not None and point.success >= goal else 0
        )
        return not self._good_enough

    def _measured(self) -> CurvePoint:
        episodes = run_episodes(
            self.held_out, Acting(self.model.policy), self.plan.eval_episodes, EVALUATION_SEED
        )
        spent = (self.curve[-1].eval_steps if self.curve else 0) + num_steps(episodes)
        return CurvePoint(
            self.model.num_timesteps, spent, success_rate(episodes), mean_return(episodes)
        )

    def _tell_success(self) -> None:
        if self.progress is not None and self.curve:
            self.progress.facts["success"] = self.curve[-1].success

    def _parameters(self) -> dict[str, torch.Tensor]:
        return {k: v.detach().clone() for k, v in self.model.policy.state_dict().items()}

    # ----------------------------------------------------------- checkpoints

    def _checkpoint(self) -> bool:
        if not self.sim.engine.exact_state:
            # The engine hides part of its state: worlds begin anew in this run and in a resumed
            # one.
            self.model._last_obs = self.env.reset()
            self.model._last_episode_starts = np.ones(self.sim.num_worlds, dtype=bool)
        tensors, meta = model_state(self.model)
        tensors |= {f"world.{k}": v for k, v in self.sim.get_state().items()}
        tensors, meta = apart(self.processes, tensors, meta)
        tensors |= {f"best.{k}": v.cpu().numpy() for k, v in self.best.items()}
        meta |= {
            "identity": self.identity.table,
            "curve": [asdict(point) for point in self.curve],
            "best_at": self.best_at,
            "good_in_a_row": self.good_in_a_row,
        }
        if self.processes.first:
            write_checkpoint(self._checkpoints, self.model.num_timesteps, tensors, meta)
        if getattr(self.model, "use_sde", False):
            # A rollout draws its exploration before callbacks run. A resumed run draws it from the
            # generator just saved, and so must this one.
            self.model.policy.reset_noise(self.sim.num_worlds)  # type: ignore[operator]
        return True

    def _found(self, resume: bool) -> Checkpoint | None:
        """Return what the run continues from; the first process looks, for all of them."""
        found = self._newest(resume) if self.processes.first else None
        return part_of_process(self.processes, self.processes.tell(found))

    def _newest(self, resume: bool) -> Checkpoint | None:
        if not resume and any(self._checkpoints.glob("checkpoint-*.json")):
            raise CheckpointError(
                f"{self._checkpoints} holds the checkpoints of a run; resume it, or train into "
                "another folder"
            )
        found = newest_checkpoint(self._checkpoints) if resume else None
        if found is not None:
            check_identity(self.identity, found.meta["identity"], str(found.path))
        return found

    def _restore(self, found: Checkpoint) -> None:
        self.model.num_timesteps = int(found.meta["num_timesteps"])
        self._enter_phase()
        world = {k[6:]: v for k, v in found.tensors.items() if k.startswith("world.")}
        self.env.forget_seed()
        obs = self.sim.set_state(world)
        restore_model(self.model, found.tensors, found.meta, self.env.observed(obs).copy())
        self.best = {
            k[5:]: torch.from_numpy(np.array(v))
            for k, v in found.tensors.items()
            if k.startswith("best.")
        }
        self.curve = [CurvePoint(**point) for point in found.meta["curve"]]
        self.best_at = found.meta["best_at"]
        self.good_in_a_row = found.meta["good_in_a_row"]
        self._tell_success()

    @property
    def _checkpoints(self) -> Path:
        return self.job.folder / "checkpoints"

    def _identity(self) -> Identity:
        job = self.job
        together = {"processes": self.processes.size} if self.processes.size > 1 else {}
        return identity_of(
            robot={"interface": job.robot.interface_sha256, "dynamics": job.robot.dynamics_sha256},
            task=job.task,
            domain=job.domain,
            algo=job.settings,
            plan=job.plan,
            seed=job.seed,
            origin=job.origin,
            **together,
        )

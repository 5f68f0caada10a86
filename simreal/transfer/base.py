"""What every transfer method takes and gives."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains import Domain
from simreal.engines.workers import Workers
from simreal.errors import ConfigError
from simreal.learning.algorithms import AlgorithmSettings
from simreal.learning.callbacks import ProgressSink
from simreal.learning.trainer import CurvePoint, TrainingJob, TrainingOutcome, TrainingPlan, train


@dataclass(frozen=True, kw_only=True)
class TransferProblem:
    """Say what to transfer, from where to where.

    Attributes:
        robot: The robot.
        task: The task.
        target: The target domain.
        settings: The algorithm, as used in the source.
        source_state: Parameters of the source policy, SB3's names; None for methods that need none.
        seed: Seed of everything.
        folder: Where logs and checkpoints go.
        workers: Processes that run the physics, or where workers live.
        sink: Where progress is shown.
        resume: Whether to continue from a checkpoint in `folder`, if there is one.
    """

    robot: Robot
    task: Task
    target: Domain
    settings: AlgorithmSettings
    source_state: dict[str, torch.Tensor] | None
    seed: int
    folder: Path
    workers: int | Workers = 1
    sink: ProgressSink | None = None
    resume: bool = False

    def source(self, method: str) -> dict[str, torch.Tensor]:
        """Return the source policy's parameters.

        Args:
            method: Who asks.

        Raises:
            ConfigError: There is no source policy.
        """
        if self.source_state is None:
            raise ConfigError(
                f"transfer method '{method}' begins with a source policy and none was given; "
                "set policy=PATH to a trained bundle"
            )
        return self.source_state


@dataclass(frozen=True, slots=True)
class TransferResult:
    """Hold what a method gave.

    Attributes:
        method: Name of the method.
        state: Parameters of the resulting policy, SB3's names.
        initial: Parameters before the first step on the target.
        curve: Held-out evaluations on the target, by steps.
        train_steps: Environment steps of training on the target.
        eval_steps: Environment steps on the target that chose the checkpoint.
        kept_at: Training steps at which the kept policy stood.
        settings: The algorithm whose network the parameters fit.
    """

    method: str
    state: dict[str, torch.Tensor]
    initial: dict[str, torch.Tensor]
    curve: tuple[CurvePoint, ...]
    train_steps: int
    eval_steps: int
    kept_at: int
    settings: AlgorithmSettings

    @property
    def target_steps(self) -> int:
        """Return all steps on the target, those for choosing a checkpoint included."""
        return self.train_steps + self.eval_steps


class TransferMethod(ABC):
    """Turn a source policy, and perhaps data from the target, into a policy for the target."""

    name: str = ""
    needs_target_data: bool = True
    needs_source: bool = True

    @abstractmethod
    def run(self, problem: TransferProblem) -> TransferResult:
        """Run the method.

        Args:
            problem: What to transfer.
        """


def train_on_target(
    method: TransferMethod,
    problem: TransferProblem,
    settings: AlgorithmSettings,
    plan: TrainingPlan,
    initialize: Callable[[BaseAlgorithm], None] | None = None,
) -> TransferResult:
    """Train on the target domain and pack the result.

    Args:
        method: Who trains.
        problem: What to transfer.
        settings: The algorithm.
        plan: Length and watching.
        initialize: Called with the fresh model before the first step.
    """
    job = TrainingJob(
        robot=problem.robot,
        task=problem.task,
        domain=problem.target,
        settings=settings,
        plan=plan,
        seed=problem.seed,
        folder=problem.folder,
        workers=problem.workers,
        initialize=initialize,
        origin=_digest(problem.source_state) if initialize else "",
    )
    outcome: TrainingOutcome = train(job, sink=problem.sink, resume=problem.resume)
    return TransferResult(
        method=method.name,
        state=outcome.state,
        initial=outcome.initial,
        curve=outcome.curve,
        train_steps=outcome.num_steps,
        eval_steps=outcome.eval_steps,
        kept_at=outcome.kept_at,
        settings=settings,
    )


def _digest(state: Mapping[str, torch.Tensor] | None) -> str:
    """Return a hash of parameters, so that a run is only continued with those it began with."""
    digest = hashlib.sha256()
    for name, value in sorted((state or {}).items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

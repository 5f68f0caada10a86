"""`simreal train`: train a policy in its source domain, measure it, and write its bundle."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from simreal.apps.output import ProgressLine, continuable, run_folder, save_config, say, say_run
from simreal.apps.runs import SUMMARY, check_outputs, opened
from simreal.config import Composed, jobs
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import Evaluation
from simreal.domains import Domain, Randomization
from simreal.domains.fit import check_robot
from simreal.engines.workers import Workers
from simreal.evaluation.atomic_file import write_atomic
from simreal.evaluation.matrix import MatrixCell, aggregate
from simreal.evaluation.measure import check_episodes, measure
from simreal.evaluation.provenance import git_commit
from simreal.learning.algorithms import AlgorithmSettings
from simreal.learning.artifact import Trained, network_of, save_policy
from simreal.learning.processes import Processes, started_by_torchrun
from simreal.learning.trainer import TrainingJob, TrainingOutcome, TrainingPlan, train
from simreal.paths import project_root


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Hold the settings of `simreal train` that belong to no group.

    Attributes:
        plan: Length and watching of the training.
        seed: Seed of everything.
        workers: Processes that run the physics, or where workers live.
        num_test_episodes: Test episodes after the training.
        output: Folder of the run; chosen if None.
        resume: Folder of a run to continue; None begins a new one.
    """

    plan: TrainingPlan
    seed: int = 0
    workers: int | Workers = 1
    num_test_episodes: int = 200
    output: str | None = None
    resume: str | None = None


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: Overrides.

    Returns:
        The exit code.
    """
    composed = jobs("train", args)
    check_outputs(composed)
    with started_by_torchrun() as processes:
        for job in composed:
            _run(job, args, processes)
    return 0


def _run(composed: Composed, args: list[str], processes: Processes) -> None:
    # The first process makes the folder of the run, or finds it, and the others learn where it is.
    first = processes.first
    found = processes.tell(opened("train", composed, TrainSettings, args) if first else None)
    if found is None:
        return
    composed, settings, folder = found
    job = _job(composed, settings, folder) if first else None
    place = processes.tell(job.folder if job else None)
    if job is None:
        train(_job(composed, settings, place), resume=folder is not None)
        return
    say_run(job.folder)
    path = job.folder / "policy"
    with continuable("train", job.folder):
        with ProgressLine(f"{job.task.name} in {job.domain.name}") as line:
            outcome = train(job, sink=line, resume=folder is not None)
        if outcome.num_steps < job.plan.num_steps:
            say(f"stopped    {_why_stopped(job.plan)}")
        cell = finish(job, outcome, settings.num_test_episodes, path)
    tested = f"{job.domain.name}, {settings.num_test_episodes} test episodes"
    say(f"source     {describe(cell)} ({tested})")
    say(f"policy     {path}")


def _job(composed: Composed, settings: TrainSettings, folder: Path | None) -> TrainingJob:
    """Build what to train; the folder of a new run is made when everything else is right."""
    robot: Robot = composed.build("robot", Robot)
    task: Task = composed.build("task", Task)
    source: Domain = composed.build("source", Domain)
    randomization: Randomization = composed.build("randomization", Randomization)
    algo: AlgorithmSettings = composed.build("algo", AlgorithmSettings)
    if randomization:
        source = replace(source, name=f"{source.name}_randomized", randomization=randomization)
    check_robot(task, robot)
    check_episodes(settings.num_test_episodes)
    if folder is None:
        label = str(composed.choices.get("pair") or task.name)
        folder = run_folder(settings.output, label, settings.seed)
        save_config(folder, composed)
    return TrainingJob(
        robot=robot,
        task=task,
        domain=source,
        settings=algo,
        plan=settings.plan,
        seed=settings.seed,
        folder=folder,
        workers=settings.workers,
    )


def _why_stopped(plan: TrainingPlan) -> str:
    return (
        f"as told: {plan.stop_patience} evaluations in a row with a success rate of at least "
        f"{plan.stop_success} (plan.stop_success; null for all steps)"
    )


def finish(job: TrainingJob, outcome: TrainingOutcome, num_episodes: int, path: Path) -> MatrixCell:
    """Measure a trained policy in its own domain and write its bundle and summary.

    Args:
        job: What was trained.
        outcome: What it gave.
        num_episodes: Test episodes.
        path: Folder of the bundle.
    """
    activation = job.settings.activation
    network = network_of(outcome.state, activation)
    records = measure(
        network,
        job.robot,
        job.task,
        job.domain,
        policy=job.task.name,
        seed=job.seed,
        num_episodes=num_episodes,
    )
    cell = aggregate(records)
    save_policy(
        path,
        Trained(
            name=f"{job.task.name}-{job.domain.name}",
            robot=job.robot,
            task=job.task,
            domain=job.domain,
            state=outcome.state,
            activation=activation,
            algo=job.settings.name,
            seed=job.seed,
            env_steps=outcome.num_steps,
            evaluation=(
                Evaluation(
                    domain=job.domain.name,
                    seeds=(job.seed,),
                    episodes=num_episodes,
                    successes=sum(bool(r.success) for r in records),
                    return_mean=sum(r.episode_return for r in records) / num_episodes,
                ),
            ),
            git_commit=git_commit(project_root()),
        ),
    )
    summary = {
        "task": job.task.name,
        "domain": job.domain.name,
        "seed": job.seed,
        "num_steps": outcome.num_steps,
        "eval_steps": outcome.eval_steps,
        "kept_at": outcome.kept_at,
        "num_test_episodes": num_episodes,
        "success_rate": sum(bool(r.success) for r in records) / num_episodes,
        "return_iqm": cell.returns.estimate,
        "curve": [asdict(point) for point in outcome.curve],
    }
    write_atomic(job.folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    return cell


def describe(cell: MatrixCell) -> str:
    """Return success and return of a cell in one line."""
    text = f"return {cell.returns.estimate:.1f}"
    if cell.success is not None:
        low, high = 100 * cell.success.low, 100 * cell.success.high
        text = f"success {100 * cell.success.estimate:.1f} % [{low:.1f}, {high:.1f}], {text}"
    return text

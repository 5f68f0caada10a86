"""`simreal transfer`: run one transfer method and measure its policy on the target."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from scipy.stats import binomtest

from simreal.apps.output import ProgressLine, continuable, run_folder, save_config, say, say_run
from simreal.apps.policies import check_fits, find_policy
from simreal.apps.runs import SUMMARY, check_outputs, opened
from simreal.apps.train import describe
from simreal.config import Composed, jobs
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import Evaluation
from simreal.domains import Domain, Randomization
from simreal.domains.fit import check_robot
from simreal.engines.workers import Workers
from simreal.errors import ConfigError
from simreal.evaluation.atomic_file import write_atomic
from simreal.evaluation.episodes import EpisodeRecord
from simreal.evaluation.matrix import aggregate
from simreal.evaluation.measure import check_episodes, measure
from simreal.evaluation.provenance import git_commit
from simreal.learning.algorithms import AlgorithmSettings
from simreal.learning.artifact import Network, Trained, load_policy, save_policy
from simreal.learning.artifact import network_of as network_of_state
from simreal.paths import project_root
from simreal.transfer import TransferMethod, TransferProblem, TransferResult

_DOUBT = 0.05


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """Hold the settings of `simreal transfer` that belong to no group.

    Attributes:
        policy: Source policy: a bundle, a run, or the name of a shipped one; the task's shipped
            policy if None.
        seed: Seed of everything.
        workers: Processes that run the physics, or where workers live.
        num_test_episodes: Test episodes on the target afterwards.
        output: Folder of the run; chosen if None.
        resume: Folder of a run to continue; None begins a new one.
    """

    policy: str | None = None
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
    composed = jobs("transfer", args)
    check_outputs(composed)
    for job in composed:
        _run(job, args)
    return 0


def _run(composed: Composed, args: list[str]) -> None:
    found = opened("transfer", composed, TransferSettings, args)
    if found is None:
        return
    composed, settings, folder = found
    resume = folder is not None
    robot: Robot = composed.build("robot", Robot)
    task: Task = composed.build("task", Task)
    target: Domain = composed.build("target", Domain)
    method: TransferMethod = composed.build("transfer", TransferMethod)
    algo: AlgorithmSettings = composed.build("algo", AlgorithmSettings)
    randomization: Randomization = composed.build("randomization", Randomization)
    _refuse_randomization(randomization, str(composed.choices.get("randomization")))
    check_robot(task, robot)
    check_episodes(settings.num_test_episodes)
    state, parent = None, None
    if method.needs_source:
        bundle, state = load_policy(find_policy(settings.policy, task.name))
        check_fits(bundle, robot, task, algo)
        parent = bundle.sha256
    if folder is None:
        label = f"{composed.choices.get('pair') or task.name}-{method.name}"
        folder = run_folder(settings.output, label, settings.seed)
        save_config(folder, composed)
    say_run(folder)
    with (
        continuable("transfer", folder),
        ProgressLine(f"{method.name} on {target.name}") as line,
    ):
        problem = TransferProblem(
            robot=robot,
            task=task,
            target=target,
            settings=algo,
            source_state=state,
            seed=settings.seed,
            folder=folder,
            workers=settings.workers,
            sink=line,
            resume=resume,
        )
        result = method.run(problem)
    records = measure_result(result, problem, settings.num_test_episodes)
    before = measure_result(result, problem, settings.num_test_episodes, initial=True)
    cell = aggregate(records)
    save_result(folder / "policy", problem, result, records, parent, before=before)
    say(f"before     {describe(aggregate(before))}")
    say(f"target     {describe(cell)} ({target.name}, {settings.num_test_episodes} test episodes)")
    if warning := negative_transfer(before, records):
        say(warning)
    say(
        f"steps      {result.train_steps:,} for training and {result.eval_steps:,} for choosing a "
        "checkpoint, on the target"
    )
    say(f"policy     {folder / 'policy'}")


def negative_transfer(before: list[EpisodeRecord], after: list[EpisodeRecord]) -> str:
    """Return a line if a policy lost by what was done to it, or an empty string.

    The same episodes are met before and after, so what counts is which of them changed (exact sign
    test, McNemar 1947, one-sided at 5 %).

    Args:
        before: Test episodes of the policy before its first step on the target.
        after: The same episodes with the policy afterwards.
    """
    pairs = [(bool(b.success), bool(a.success)) for b, a in zip(before, after, strict=True)]
    lost, won = pairs.count((True, False)), pairs.count((False, True))
    if not lost or binomtest(lost, lost + won, alternative="greater").pvalue > _DOUBT:
        return ""
    return (
        f"NEGATIVE   {lost} of {len(pairs)} test episodes succeeded before and fail now, {won} the "
        "other way round: keep the policy as it was"
    )


def _refuse_randomization(randomization: Randomization, choice: str) -> None:
    if randomization:
        raise ConfigError(
            f"randomization: got '{choice}', and a transfer trains on the target as it is; "
            f"randomize the source with 'simreal train randomization={choice}' and give its "
            "policy here"
        )


def network_of(result: TransferResult, *, initial: bool = False) -> Network:
    """Return the policy of a result as a batch network.

    Args:
        result: What a method gave.
        initial: Whether the policy before its first step on the target is meant.
    """
    state = result.initial if initial else result.state
    return network_of_state(state, result.settings.activation)


def measure_result(
    result: TransferResult,
    problem: TransferProblem,
    num_episodes: int,
    *,
    name: str | None = None,
    initial: bool = False,
) -> list[EpisodeRecord]:
    """Measure the policy of a result on the target.

    Args:
        result: What a method gave.
        problem: What was transferred.
        num_episodes: Test episodes.
        name: Name in the table; the method's if None.
        initial: Whether the policy before its first step on the target is meant.
    """
    return measure(
        network_of(result, initial=initial),
        problem.robot,
        problem.task,
        problem.target,
        policy=name or result.method,
        seed=problem.seed,
        num_episodes=num_episodes,
    )


def save_result(
    path: Path,
    problem: TransferProblem,
    result: TransferResult,
    records: list[EpisodeRecord],
    parent: str | None,
    *,
    before: list[EpisodeRecord],
) -> None:
    """Write the bundle and the summary of a transfer.

    Args:
        path: Folder of the bundle.
        problem: What was transferred.
        result: What the method gave.
        records: Test episodes on the target.
        parent: Hash of the source policy.
        before: Test episodes of the policy before its first step on the target.
    """
    successes = sum(bool(r.success) for r in records)
    save_policy(
        path,
        Trained(
            name=f"{problem.task.name}-{problem.target.name}-{result.method}",
            robot=problem.robot,
            task=problem.task,
            domain=problem.target,
            state=result.state,
            activation=result.settings.activation,
            algo=result.settings.name,
            seed=problem.seed,
            env_steps=result.train_steps,
            evaluation=(
                Evaluation(
                    domain=problem.target.name,
                    seeds=(problem.seed,),
                    episodes=len(records),
                    successes=successes,
                    return_mean=sum(r.episode_return for r in records) / len(records),
                ),
            ),
            parent=parent,
            git_commit=git_commit(project_root()),
        ),
    )
    summary = {
        "task": problem.task.name,
        "method": result.method,
        "target": problem.target.name,
        "seed": problem.seed,
        "train_steps": result.train_steps,
        "eval_steps": result.eval_steps,
        "kept_at": result.kept_at,
        "num_test_episodes": len(records),
        "initial_success_rate": sum(bool(r.success) for r in before) / len(before),
        "success_rate": successes / len(records),
        "curve": [asdict(point) for point in result.curve],
    }
    write_atomic(path.parent / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())

"""`simreal evaluate`: policies by domains, with common random numbers and confidence intervals."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from simreal.apps.output import CONSOLE, run_folder, save_config, say
from simreal.apps.policies import baseline, find_policy, load_for
from simreal.config import Composed, jobs
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains import Domain
from simreal.domains.rollout import Act
from simreal.errors import ConfigError
from simreal.evaluation.episodes import EpisodeRecord
from simreal.evaluation.matrix import EvaluationResult, MatrixCell
from simreal.evaluation.measure import TEST_SEED, check_episodes, measure
from simreal.evaluation.provenance import collect_provenance
from simreal.evaluation.report import ReportData, write_report

_MOST_COLUMNS = 2


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Hold the settings of `simreal evaluate` that belong to no group.

    Attributes:
        policy: Policies to measure: bundles, runs, names of shipped ones, `zero` or `random`; one
            or a list; the task's shipped policy if None.
        seed: Added to the seed of the test episodes.
        num_episodes: Test episodes per policy and domain.
        output: Folder of the results; chosen if None.
    """

    policy: str | list[str] | None = None
    seed: int = 0
    num_episodes: int = 200
    output: str | None = None


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: Overrides.

    Returns:
        The exit code.
    """
    sweep = jobs("evaluate", args)
    composed = sweep[0]
    settings = composed.settings(EvaluateSettings)
    robot: Robot = composed.build("robot", Robot)
    task: Task = composed.build("task", Task)
    domains = _domains(sweep)
    check_episodes(settings.num_episodes)
    wanted = settings.policy if isinstance(settings.policy, list) else [settings.policy]
    acts = _acts(wanted, robot, task)
    folder = run_folder(settings.output, f"{task.name}-evaluate", settings.seed)
    for i, job in enumerate(sweep):
        place = folder if len(sweep) == 1 else folder / f"job_{i + 1}"
        place.mkdir(exist_ok=True)
        save_config(place, job)
    records: list[EpisodeRecord] = []
    for name, (act, trained_seed) in acts.items():
        for domain in domains:
            records += measure(
                act,
                robot,
                task,
                domain,
                policy=name,
                seed=trained_seed,
                num_episodes=settings.num_episodes,
                test_seed=TEST_SEED + settings.seed,
            )
    result = EvaluationResult(tuple(records), collect_provenance([s for _, s in acts.values()]))
    result.to_json(folder / "evaluation.json")
    write_report(
        ReportData(
            title=f"{task.name}: evaluation",
            summary=f"{len(acts)} policies in {len(domains)} domains.",
            matrix=result.cells,
            provenance=result.provenance,
        ),
        folder / "report.html",
    )
    _print(result, [d.name for d in domains])
    say(f"results    {folder / 'evaluation.json'}")
    say(f"report     {folder / 'report.html'}")
    return 0


def _domains(sweep: Sequence[Composed]) -> list[Domain]:
    """Return the source and the target domains of all jobs, each once."""
    found: dict[str, Domain] = {}
    for job in sweep:
        _check_same(sweep[0], job)
        for role in ("source", "target"):
            domain: Domain = job.build(role, Domain)
            if found.setdefault(domain.name, domain) != domain:
                raise ConfigError(
                    f"{role}: two domains are named '{domain.name}' and differ; set source.name or "
                    "target.name"
                )
    return list(found.values())


def _check_same(one: Composed, other: Composed) -> None:
    for key, value in one.values.items():
        if key not in ("source", "target") and other.values[key] != value:
            hint = "policy=[a,b] measures several" if key == "policy" else "run one after another"
            raise ConfigError(
                f"{key}: got several values; a sweep of evaluate goes over source= and target= "
                f"alone: {hint}"
            )


def _acts(wanted: Sequence[str | None], robot: Robot, task: Task) -> dict[str, tuple[Act, int]]:
    """Return label to policy and training seed; a label that is taken gives way to the path."""
    acts: dict[str, tuple[Act, int]] = {}
    for name in wanted:
        if wanted.count(name) > 1:
            raise ConfigError(f"policy: got '{name}' twice; name each policy once")
        label, loaded = load_act(name, robot, task)
        acts[label if label not in acts else str(Path(str(name)).resolve())] = loaded
    return acts


def load_act(name: str | None, robot: Robot, task: Task) -> tuple[str, tuple[Act, int]]:
    """Return the label of a policy, the policy, and its training seed.

    Args:
        name: See `EvaluateSettings.policy`.
        robot: The robot.
        task: The task.

    Raises:
        ConfigError: There is no such policy, or it is of another task.
    """
    simple = baseline(name, len(task.action(robot))) if name else None
    if name and simple is not None:
        return name, (simple, 0)
    path = find_policy(name, task.name)
    bundle, act = load_for(path, robot, task)
    label = path.parent.name if path.name == "policy" else path.name
    return label, (act, bundle.manifest.provenance.seed)


def _print(result: EvaluationResult, domains: list[str]) -> None:
    """Print the matrix, or, where that would be too wide for a terminal, its cells as lines."""
    table = Table(box=None, pad_edge=False)
    table.add_column("policy")
    if len(domains) > _MOST_COLUMNS:
        table.add_column("domain")
        for title in ("success", "return"):
            table.add_column(title, justify="right")
    else:
        for domain in domains:
            table.add_column(f"{domain}: success", justify="right")
            table.add_column("return", justify="right")
    for policy in result.policies:
        cells = [result.cell(policy, domain) for domain in domains]
        texts = [(success_text(cell), f"{cell.returns.estimate:.1f}") for cell in cells]
        if len(domains) > _MOST_COLUMNS:
            for domain, text in zip(domains, texts, strict=True):
                table.add_row(policy, domain, *text)
        else:
            table.add_row(policy, *itertools.chain(*texts))
    CONSOLE.print(table)


def success_text(cell: MatrixCell) -> str:
    """Return a success rate with its interval, or a dash."""
    if cell.success is None:
        return "-"
    s = cell.success
    return f"{100 * s.estimate:.1f} % [{100 * s.low:.1f}, {100 * s.high:.1f}]"

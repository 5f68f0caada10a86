"""Measure the transfer table of the README: every method, with and without randomization.

Trains what is not trained yet (`outputs/transfer_table/<task>/...`, continued after an
interruption), then measures all policies with common random numbers and writes
`benchmarks/results/transfer_<task>.json`, the figure of the README and a page. Every run is one
command of the README; this script only lines them up.

    python benchmarks/transfer_table.py --task pendubot --seeds 5 --jobs 2

With `--first-seed 5 --suffix _held_out` the same settings are measured on seeds that no choice of a
setting has seen.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simreal.config import compose
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import load_bundle
from simreal.domains import Domain
from simreal.evaluation.comparison import compare_curves
from simreal.evaluation.curves import target_curve
from simreal.evaluation.episodes import EpisodeRecord
from simreal.evaluation.figures import Bar, to_png, transfer_chart
from simreal.evaluation.matrix import EvaluationResult
from simreal.evaluation.measure import measure
from simreal.evaluation.provenance import collect_provenance
from simreal.evaluation.report import ReportData, TransferRow, write_report
from simreal.evaluation.transfer_metrics import Curve
from simreal.evaluation.verdict import verdict
from simreal.learning.artifact import act_of

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("frozen_extractor", "frozen_extractor_head", "fine_tune")
KINDS = {
    "plain": (),
    "randomized": (
        "randomization=uniform_remote",
        "algo=torch_ppo_randomized",
        "plan.num_steps=12000000",
        "plan.eval_episodes=64",
        "plan.eval_every=400000",
        "plan.stop_success=null",
    ),
}
"""How the sources are trained; the randomized one as the shipped policy."""


@dataclass(frozen=True)
class Run:
    """Describe one command line.

    Attributes:
        label: Row of the table.
        folder: Where it writes.
        words: `simreal` verb and overrides.
    """

    label: str
    folder: Path
    words: tuple[str, ...]


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--task", default="pendubot")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--suffix", default="", help="ending of the results' file names")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "transfer_table")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    folder = args.folder / args.task
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    sources, methods = plan(args.task, seeds, folder)
    for stage in (sources, methods):
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(execute, stage))
    content, figure, page = table(args.task, seeds, args.episodes, sources, methods)
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / f"transfer_{args.task}{args.suffix}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    if path == ROOT / "benchmarks" / "results" / path.name:
        write_readme(path.stem, markdown(content))
    path.with_suffix(".png").write_bytes(figure)
    write_report(page, path.with_suffix(".html"))
    print(path)
    return 0


def plan(task: str, seeds: range, folder: Path) -> tuple[list[Run], list[Run]]:
    """Return the source trainings, and the transfers that need them."""
    pair = f"pair={task}_real"
    sources, methods = [], []
    for seed in seeds:
        for kind, extra in KINDS.items():
            at = folder / f"source-{kind}-{seed}"
            words = ("train", pair, *extra, f"seed={seed}")
            sources.append(Run(f"source, {kind}", at, words))
            for method in METHODS:
                to = folder / f"{method}-{kind}-{seed}"
                words = ("transfer", pair, f"transfer={method}", f"seed={seed}", f"policy={at}")
                methods.append(Run(f"{method}, {kind}", to, words))
        words = ("transfer", pair, "transfer=scratch", f"seed={seed}")
        methods.append(Run("scratch", folder / f"scratch-{seed}", words))
    return sources, methods


def execute(run: Run) -> None:
    """Run a command unless its result is there; continue it where it was interrupted.

    Args:
        run: The command.

    Raises:
        SystemExit: The folder holds the run of another command.
    """
    if (run.folder / "run.json").is_file():
        held = json.loads((run.folder / "run.json").read_text())
        words = [held["verb"], *(w for w in held["overrides"] if not w.startswith("output="))]
        if words != list(run.words):
            raise SystemExit(
                f"{run.folder}: expected the run of '{' '.join(run.words)}', found that of "
                f"'{' '.join(words)}'; remove it, or choose another --folder"
            )
    if (run.folder / "summary.json").is_file():
        return
    begun = (run.folder / "run.json").is_file()
    last = (run.words[0], f"resume={run.folder}") if begun else (*run.words, f"output={run.folder}")
    print("simreal", *last, flush=True)
    log = run.folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        words = [sys.executable, "-m", "simreal", *last]
        subprocess.run(words, stdout=file, stderr=file, check=True)


def table(
    task: str, seeds: range, episodes: int, sources: list[Run], methods: list[Run]
) -> tuple[dict[str, Any], bytes, ReportData]:
    """Measure every policy; return the content of the results file, the figure and the page."""
    composed = compose("transfer", [f"pair={task}_real"])
    robot: Robot = composed.build("robot", Robot)
    task_object: Task = composed.build("task", Task)
    source: Domain = composed.build("source", Domain)
    target: Domain = composed.build("target", Domain)
    records: list[EpisodeRecord] = []
    steps: dict[str, list[int]] = {}
    runs: list[dict[str, Any]] = []

    def add(label: str, run: Run, domain: Domain) -> None:
        bundle = load_bundle(run.folder / "policy")
        records.extend(
            measure(
                act_of(bundle),
                robot,
                task_object,
                domain,
                policy=label,
                seed=bundle.manifest.provenance.seed,
                num_episodes=episodes,
            )
        )

    for run in sources:
        kind = run.label.split(", ")[1]
        add(run.label, run, source)
        add(f"zero-shot, {kind}", run, target)
    for run in methods:
        add(run.label, run, target)
    for run in (*sources, *methods):
        summary = json.loads((run.folder / "summary.json").read_text())
        words = (word.replace(f"{run.folder.parent}/", "") for word in run.words)
        command = " ".join(("simreal", *words))
        runs.append({"row": run.label, "command": command, **summary})
        if "train_steps" in summary:
            spent = summary["train_steps"] + summary["eval_steps"]
            steps.setdefault(run.label, []).append(spent)
    result = EvaluationResult(tuple(records), collect_provenance(seeds))
    scratch = result.cell("scratch", target.name)
    rows = []
    for cell in result.cells:
        row: dict[str, Any] = {
            "row": cell.policy,
            "domain": cell.domain,
            "success": cell.success.estimate if cell.success else None,
            "success_low": cell.success.low if cell.success else None,
            "success_high": cell.success.high if cell.success else None,
            "success_by_seed": list(cell.seed_success_rates or ()),
            "return_iqm": cell.returns.estimate,
            "return_low": cell.returns.low,
            "return_high": cell.returns.high,
            "target_steps": max(steps.get(cell.policy, [0])),
        }
        if cell.domain == target.name and cell.policy != "scratch":
            judged = verdict(
                cell.seed_success_rates or (), scratch.seed_success_rates or (), paired=False
            )
            row["verdict"] = judged.label
            row["difference"] = [judged.difference, judged.low, judged.high]
        rows.append(row)
    content = {
        "what": f"{task}: transfer from {source.name} to {target.name}",
        "episodes_per_seed": episodes,
        "provenance": result.provenance.to_dict(),
        "rows": rows,
        "runs": runs,
    }
    bars = [
        Bar(
            cell.policy,
            cell.success,
            cell.seed_success_rates or (),
            f"{max(steps.get(cell.policy, [0])):,} target steps",
        )
        for cell in result.cells
        if cell.domain == target.name and cell.success is not None
    ]
    figure = transfer_chart(bars, f"success on {target.name}", percent=True)
    curves = curves_of(runs, {r["row"]: r["success_by_seed"] for r in rows})
    page = ReportData(
        title=content["what"],
        summary=f"Seeds {seeds[0]} to {seeds[-1]}, {episodes} test episodes each, with common "
        "random numbers.",
        rows=[
            TransferRow(cell.policy, cell, max(steps.get(cell.policy, [0])))
            for cell in result.cells
        ],
        matrix=[
            replace(cell, policy=cell.policy.split(", ")[1])
            for cell in result.cells
            if cell.policy.startswith(("source", "zero-shot"))
        ],
        success_curves=curves,
        comparisons=[
            compare_curves(name, curve, curves["scratch"], 0.9, paired=False)
            for name, curve in curves.items()
            if name != "scratch"
        ],
        threshold=0.9,
        provenance=result.provenance,
    )
    return content, to_png(figure), page


def markdown(content: dict[str, Any]) -> str:
    """Return the table of the README.

    Args:
        content: Of the results file.
    """
    seeds, episodes = len(content["rows"][0]["success_by_seed"]), content["episodes_per_seed"]
    heads = (
        *(f"{seeds} seeds, {episodes} episodes each", "measured on", "target steps"),
        *("success, 95 % interval", "worst seed", "return (IQM)", "against scratch"),
    )
    lines = [heads, ("---",) * len(heads)]
    for row in content["rows"]:
        mean, low, high = (100.0 * row[f"success{end}"] for end in ("", "_low", "_high"))
        lines.append(
            (
                row["row"],
                row["domain"],
                f"{row['target_steps']:,}",
                f"{mean:.1f} % [{low:.1f}, {high:.1f}]",
                f"{100.0 * min(row['success_by_seed']):.1f} %",
                f"{row['return_iqm']:.1f}",
                row.get("verdict", ""),
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_readme(name: str, text: str) -> None:
    """Put a table between its marks in the README, if it has such marks.

    Args:
        name: What the marks name.
        text: The table.
    """
    path = ROOT / "README.md"
    first, last = f"<!-- table:{name} -->\n", "\n<!-- /table -->"
    before, found, rest = path.read_text().partition(first)
    if found:
        path.write_text(before + first + text + last + rest.partition(last)[2])


def curves_of(runs: list[dict[str, Any]], final: dict[str, list[float]]) -> dict[str, Curve]:
    """Return the success on the target against all target steps, per method.

    The first point is the policy before its first step on the target, the last one the test
    episodes of the kept policy; the points between are the evaluations that chose the checkpoint,
    where there were any.

    Args:
        runs: Summaries of all runs.
        final: Row to success by seed.
    """
    curves = {}
    for label in dict.fromkeys(run["row"] for run in runs if "train_steps" in run):
        group = [run for run in runs if run["row"] == label]
        curves[label] = target_curve(
            [run.get("initial_success_rate") for run in group],
            [
                [(p["num_steps"] + p["eval_steps"], p["success"]) for p in run["curve"]]
                for run in group
            ],
            [
                (run["train_steps"] + run["eval_steps"], final[label][i])
                for i, run in enumerate(group)
            ],
        )
    return curves


if __name__ == "__main__":
    raise SystemExit(main())

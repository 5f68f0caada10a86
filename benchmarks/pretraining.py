"""Measure how well a task is pretrained: one training per seed, by the README's own command.

Trains what is not trained yet (`outputs/pretraining/<task>/...`, continued after an interruption),
then measures every seed's policy in its source domain, and as it is on the target, and writes
`benchmarks/results/pretraining_<task>.json`.

    python benchmarks/pretraining.py --task acrobot --seeds 10 --jobs 1
    python benchmarks/pretraining.py --task pendubot --suffix _randomized --options algo=...
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from simreal.config import compose
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import load_bundle
from simreal.domains import Domain, Randomization
from simreal.evaluation.episodes import EpisodeRecord
from simreal.evaluation.matrix import EvaluationResult
from simreal.evaluation.measure import measure
from simreal.evaluation.provenance import collect_provenance
from simreal.learning.artifact import act_of
from transfer_table import ROOT, Run, execute


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--task", default="acrobot")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--options", nargs="+", default=[], help="of the trainings")
    parser.add_argument("--suffix", default="", help="ending of the results' file name")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "pretraining")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    if args.options and not args.suffix:
        parser.error("--options without --suffix: other trainings' results would be overwritten")
    folder = args.folder / f"{args.task}{args.suffix}"
    words = ("train", f"pair={args.task}_real", *args.options)
    runs = [Run("source", folder / f"seed-{s}", (*words, f"seed={s}")) for s in range(args.seeds)]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(execute, runs))
    content = table(args.task, args.options, runs, args.episodes)
    path = args.results / f"pretraining_{args.task}{args.suffix}.json"
    args.results.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    for row in content["rows"]:
        print(
            f"{row['row']} on {row['domain']}: {100 * row['success']:.1f} % "
            f"[{100 * row['success_low']:.1f}, {100 * row['success_high']:.1f}], "
            f"worst seed {100 * min(row['success_by_seed']):.1f} %"
        )
    print(path)
    return 0


def table(task: str, options: Sequence[str], runs: list[Run], episodes: int) -> dict[str, Any]:
    """Measure every policy and return the content of the results file.

    Args:
        task: Its name.
        options: Those of the trainings; a randomized source is measured as it is drawn.
        runs: The trainings, finished.
        episodes: Test episodes of each policy in each domain.
    """
    composed = compose("transfer", [f"pair={task}_real"])
    robot: Robot = composed.build("robot", Robot)
    task_object: Task = composed.build("task", Task)
    target: Domain = composed.build("target", Domain)
    trained = compose("train", [f"pair={task}_real", *options])
    source: Domain = trained.build("source", Domain)
    drawn: Randomization = trained.build("randomization", Randomization)
    if drawn.params:
        source = replace(source, name=f"{source.name}_randomized", randomization=drawn)
    records: list[EpisodeRecord] = []
    trainings = []
    for run in runs:
        bundle = load_bundle(run.folder / "policy")
        seed = bundle.manifest.provenance.seed
        for label, domain in (("source", source), ("zero-shot", target)):
            records += measure(
                act_of(bundle),
                robot,
                task_object,
                domain,
                policy=label,
                seed=seed,
                num_episodes=episodes,
            )
        summary = json.loads((run.folder / "summary.json").read_text())
        trainings.append({"command": " ".join(("simreal", *run.words)), **summary})
    seeds = [training["seed"] for training in trainings]
    result = EvaluationResult(tuple(records), collect_provenance(seeds))
    rows = [
        {
            "row": cell.policy,
            "domain": cell.domain,
            "success": cell.success.estimate,
            "success_low": cell.success.low,
            "success_high": cell.success.high,
            "success_by_seed": list(cell.seed_success_rates or ()),
            "return_iqm": cell.returns.estimate,
            "return_low": cell.returns.low,
            "return_high": cell.returns.high,
        }
        for cell in result.cells
        if cell.success is not None
    ]
    return {
        "what": f"{task}: pretraining in {source.name}, one policy per seed",
        "episodes_per_seed": episodes,
        "provenance": result.provenance.to_dict(),
        "rows": rows,
        "runs": trainings,
    }


if __name__ == "__main__":
    raise SystemExit(main())

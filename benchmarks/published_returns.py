"""Train the Bullet locomotion robots with the published settings and measure their returns.

PPO with state-dependent exploration, two million steps, five seeds, as in the tables of
Stable-Baselines3 (`docs/modules/ppo.md`: mean and standard error over six seeds). Every run is one
command of `simreal train`; what is there already is kept, and what was interrupted goes on. The
results file is written after every run; a run that it holds is not made again.

    python benchmarks/published_returns.py --tasks hopper --seeds 5
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from simreal.evaluation.atomic_file import write_atomic
from simreal.evaluation.provenance import collect_provenance
from simreal.evaluation.statistics import iqm

ROOT = Path(__file__).resolve().parents[1]
# Task: settings, and the published mean and standard error.
PUBLISHED = {
    "hopper": ("ppo_published_linear", 2512.0, 21.0),
    "walker2d": ("ppo_published_linear", 2019.0, 64.0),
    "half_cheetah": ("ppo_published", 2826.0, 45.0),
    "ant": ("ppo_published_ant", 2782.0, 76.0),
}


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=PUBLISHED, default=["hopper"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "published_returns")
    results = ROOT / "benchmarks" / "results" / "published_returns.json"
    parser.add_argument("--output", type=Path, default=results)
    options = parser.parse_args()
    for task in options.tasks:
        for seed in range(options.seeds):
            before = {}
            if options.output.is_file():
                before = json.loads(options.output.read_text(encoding="utf-8"))
            if str(seed) not in before.get("tasks", {}).get(task, {}).get("runs", {}):
                train(task, seed, options.steps, options.folder / f"{task}-{seed}")
            where = collect_provenance(tuple(range(options.seeds)), ["python", *sys.argv])
            report = collect(options.folder, options.seeds, before, where.to_dict())
            options.output.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(options.output, (json.dumps(report, indent=1) + "\n").encode())
            print(json.dumps(report["tasks"][task]), flush=True)
    return 0


def train(task: str, seed: int, steps: int, folder: Path) -> None:
    """Run one training unless its result is there; continue it where it was interrupted.

    Args:
        task: Task.
        seed: Seed.
        steps: Environment steps.
        folder: Where it writes.
    """
    if (folder / "summary.json").is_file():
        return
    words = [f"resume={folder}"]
    if not (folder / "run.json").is_file():
        words = [
            f"task={task}",
            "source=pybullet_published",
            f"algo={PUBLISHED[task][0]}",
            f"seed={seed}",
            f"plan.num_steps={steps}",
            "plan.eval_episodes=20",
            "plan.stop_success=null",
            "plan.keep=last",
            "num_test_episodes=50",
            f"output={folder}",
        ]
    command = [sys.executable, "-m", "simreal", "train", *words]
    print("simreal train", *words, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("a", encoding="utf-8") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True)


def collect(folder: Path, num_seeds: int, before: dict[str, Any], where: dict[str, Any]) -> Any:
    """Return what the finished runs gave, with the published figures beside.

    Args:
        folder: Where the runs are.
        num_seeds: Seeds per task.
        before: What the results file held; its runs are kept, with where they were made.
        where: Provenance of the runs that it does not hold.
    """
    tasks: dict[str, Any] = {}
    made = {key: where[key] for key in ("commit", "hardware", "time")}
    for task, (algo, mean, error) in PUBLISHED.items():
        runs = dict(before.get("tasks", {}).get(task, {}).get("runs", {}))
        for seed in map(str, range(num_seeds)):
            summary = folder / f"{task}-{seed}" / "summary.json"
            if seed not in runs and summary.is_file():
                found = json.loads(summary.read_text(encoding="utf-8"))
                # The held-out evaluation of the final policy: 20 whole episodes, no exploration.
                final = {"return": float(found["curve"][-1]["return_"])}
                runs[seed] = final | {"iqm_of_50_episodes": float(found["return_iqm"]), **made}
        if not runs:
            continue
        returns = [run["return"] for run in runs.values()]
        spread = statistics.stdev(returns) / len(returns) ** 0.5 if len(returns) > 1 else None
        tasks[task] = {
            "settings": algo,
            "published": {"mean": mean, "standard_error": error},
            "mean": statistics.fmean(returns),
            "standard_error": spread,
            "median": statistics.median(returns),
            "iqm": iqm(returns),
            "runs": dict(sorted(runs.items())),
        }
    return {"tasks": tasks, "provenance": where}


if __name__ == "__main__":
    sys.exit(main())

"""Train the Bullet locomotion robots with the published settings and measure their returns.

PPO with state-dependent exploration, two million steps, as in the tables of Stable-Baselines3
(`docs/modules/ppo.md`: mean and standard error over six seeds). These were made
in 2020 with the settings that rl-baselines3-zoo had then: policies saw the share of the episode
that was left (`hyperparams/ppo.yml` until December 2021), and hopper and walker2d had a gae_lambda
of 0.92 (until June 2021). `hopper_between` and `hopper_2025` have normalizers that move between
rollouts only, as the kit's do unless told otherwise; `hopper_2025` also has the settings of that
file in 2025, without a time feature. Every run is one command of `simreal train`; what is there
already is kept, and what was interrupted goes on. The results file is written after every run; a
run that it holds is not made again.

    python benchmarks/published_returns.py --rows hopper --seeds 5 --jobs 2
"""

import argparse
import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simreal.evaluation.atomic_file import write_atomic
from simreal.evaluation.provenance import collect_provenance
from simreal.evaluation.statistics import iqm
from transfer_table import Run, execute

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """Say how a row is trained, and what is published for it.

    Attributes:
        task: Task.
        settings: Overrides of `simreal train`.
        mean: Published mean.
        error: Published standard error.
    """

    task: str
    settings: tuple[str, ...]
    mean: float
    error: float


_TIMED = "task.time_feature=true"
_BETWEEN = "algo.normalize_every_step=false"
ROWS = {
    "hopper": Row("hopper", ("algo=ppo_published_linear", _TIMED), 2512.0, 21.0),
    "walker2d": Row("walker2d", ("algo=ppo_published_linear", _TIMED), 2019.0, 64.0),
    "half_cheetah": Row("half_cheetah", ("algo=ppo_published", _TIMED), 2826.0, 45.0),
    "ant": Row("ant", ("algo=ppo_published_ant", _TIMED), 2782.0, 76.0),
    "hopper_between": Row("hopper", ("algo=ppo_published_linear", _TIMED, _BETWEEN), 2512.0, 21.0),
    "hopper_2025": Row(
        "hopper", ("algo=ppo_published_linear", "algo.gae_lambda=0.9", _BETWEEN), 2512.0, 21.0
    ),
}


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=["hopper"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "published_returns")
    results = ROOT / "benchmarks" / "results" / "published_returns.json"
    parser.add_argument("--output", type=Path, default=results)
    options = parser.parse_args()
    where = collect_provenance(tuple(range(options.seeds)), ["python", *sys.argv]).to_dict()
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = {
            pool.submit(train, row, seed, options.steps, options.folder / f"{row}-{seed}"): row
            for row in options.rows
            for seed in range(options.seeds)
            if str(seed) not in held(options.output).get(row, {}).get("runs", {})
        }
        for run in as_completed(runs):
            if run.exception() is not None:
                pool.shutdown(cancel_futures=True)
            run.result()
            rows = collect(options.folder, options.seeds, held(options.output), where)
            report = {"rows": rows, "provenance": where}
            options.output.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(options.output, (json.dumps(report, indent=1) + "\n").encode())
            print(json.dumps(rows[runs[run]]), flush=True)
    return 0


def held(output: Path) -> Any:
    """Return the rows that a results file holds."""
    return json.loads(output.read_text(encoding="utf-8"))["rows"] if output.is_file() else {}


def train(row: str, seed: int, steps: int, folder: Path) -> None:
    """Run one training unless its result is there; continue it where it was interrupted.

    Args:
        row: Row.
        seed: Seed.
        steps: Environment steps.
        folder: Where it writes.
    """
    words = (
        "train",
        f"task={ROWS[row].task}",
        "source=pybullet_published",
        *ROWS[row].settings,
        f"seed={seed}",
        f"plan.num_steps={steps}",
        "plan.eval_episodes=20",
        "plan.stop_success=null",
        "plan.keep=last",
        "num_test_episodes=50",
    )
    execute(Run(row, folder, words))


def collect(folder: Path, num_seeds: int, before: dict[str, Any], where: dict[str, Any]) -> Any:
    """Return what the finished runs gave, with the published figures beside.

    Args:
        folder: Where the runs are.
        num_seeds: Seeds per row.
        before: The rows of the results file; their runs are kept, with where they were made.
        where: Provenance of the runs that it does not hold.
    """
    rows: dict[str, Any] = {}
    made = {key: where[key] for key in ("commit", "hardware", "time")}
    for name, row in ROWS.items():
        runs = dict(before.get(name, {}).get("runs", {}))
        for seed in map(str, range(num_seeds)):
            summary = folder / f"{name}-{seed}" / "summary.json"
            if seed not in runs and summary.is_file():
                found = json.loads(summary.read_text(encoding="utf-8"))
                # The held-out evaluation of the final policy: 20 whole episodes, no exploration.
                final = {"return": float(found["curve"][-1]["return_"])}
                runs[seed] = final | {"iqm_of_50_episodes": float(found["return_iqm"]), **made}
        if not runs:
            continue
        returns = [run["return"] for run in runs.values()]
        spread = statistics.stdev(returns) / len(returns) ** 0.5 if len(returns) > 1 else None
        rows[name] = {
            "settings": row.settings,
            "published": {"mean": row.mean, "standard_error": row.error},
            "mean": statistics.fmean(returns),
            "standard_error": spread,
            "median": statistics.median(returns),
            "iqm": iqm(returns),
            "runs": dict(sorted(runs.items())),
        }
    return rows


if __name__ == "__main__":
    sys.exit(main())

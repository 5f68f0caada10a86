"""Measure that TorchPPO learns what Stable-Baselines3's PPO learns: pendubot, paired seeds.

Both arms train with the settings of `algo=ppo` in the source domain, as long as `simreal train`
does by default, with the same worlds and the same seed, and are measured on the same held-out
episodes after the last step. The figure is the difference of the final returns, as a share of
SB3's mean, with its paired 95 % interval over seeds.

Finished trainings are kept in the results file and their folders; run the same command again to go
on, also after a kill.

    OMP_NUM_THREADS=1 python benchmarks/ppo_learning.py --seeds 10
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from simreal.evaluation.atomic_file import write_atomic
from simreal.evaluation.provenance import collect_provenance
from simreal.evaluation.statistics import paired_bootstrap_t
from simreal.learning.algorithms import PPOSettings, TorchPPOSettings
from simreal.learning.trainer import TrainingJob, TrainingPlan, train
from simreal_envs.domains import domain
from simreal_envs.robots import double_pendulum
from simreal_envs.tasks.double_pendulum import Pendubot

ROOT = Path(__file__).resolve().parents[1]
ARMS: dict[str, type[PPOSettings]] = {"TorchPPO": TorchPPOSettings, "SB3 PPO": PPOSettings}
SETTINGS: dict[str, Any] = {"learning_rate": 1.5e-3, "final_learning_rate": 5.0e-5}
GOAL = -0.10


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3_000_000)
    parser.add_argument("--episodes", type=int, default=64, help="held-out episodes")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "ppo_learning")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "benchmarks" / "results" / "ppo_learning.json"
    )
    options = parser.parse_args()
    runs = finished(options.output, options.steps, options.episodes)
    for seed in range(options.seeds):
        for arm in ARMS:
            if f"{arm}, seed {seed}" not in runs:
                runs[f"{arm}, seed {seed}"] = trained(arm, seed, options)
                save(options, runs)
    print(json.dumps(save(options, runs)["difference"], indent=1))
    return 0


def finished(path: Path, steps: int, episodes: int) -> dict[str, Any]:
    """Return the runs of a results file, if it is of the same lengths."""
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    same = (content["steps"], content["episodes"]) == (steps, episodes)
    return dict(content["runs"]) if same else {}


def trained(arm: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one arm with one seed, or go on with it, and measure the final policy."""
    plan = TrainingPlan(
        num_steps=options.steps,
        eval_every=0,
        eval_episodes=options.episodes,
        checkpoint_every=200_000,
        keep="last",
    )
    job = TrainingJob(
        robot=double_pendulum(),
        task=Pendubot(),
        domain=domain("pybullet_ideal"),
        settings=ARMS[arm](**SETTINGS),
        plan=plan,
        seed=seed,
        folder=options.folder / f"{arm.replace(' ', '_')}-{seed}",
    )
    begun = time.process_time()
    outcome = train(job, resume=True)
    point = outcome.curve[-1]
    row = {
        "return": point.return_,
        "success": point.success,
        "steps": outcome.num_steps,
        "processor_s": round(time.process_time() - begun, 1),
    }
    print(f"{arm}, seed {seed}: {row}", flush=True)
    return row


def save(options: argparse.Namespace, runs: dict[str, Any]) -> dict[str, Any]:
    """Write the runs and what they say so far, and return it."""
    both = [
        seed for seed in range(options.seeds) if all(f"{arm}, seed {seed}" in runs for arm in ARMS)
    ]
    content = {
        "steps": options.steps,
        "episodes": options.episodes,
        "settings": SETTINGS,
        "goal": f"lower end above {GOAL:g}",
        "difference": difference(runs, both) if len(both) > 1 else None,
        "runs": runs,
        "provenance": collect_provenance(tuple(both) or (0,), ["python", *sys.argv]).to_dict(),
    }
    write_atomic(options.output, (json.dumps(content, indent=1) + "\n").encode())
    return content


def difference(runs: dict[str, Any], seeds: list[int]) -> dict[str, Any]:
    """Return the paired difference of the final returns, as a share of SB3's mean."""
    ours, theirs = (
        np.array([runs[f"{arm}, seed {seed}"]["return"] for seed in seeds]) for arm in ARMS
    )
    interval = paired_bootstrap_t((ours - theirs) / theirs.mean())
    return {
        "seeds": len(seeds),
        "mean": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "method": interval.method,
        "met": interval.low > GOAL,
    }


if __name__ == "__main__":
    sys.exit(main())

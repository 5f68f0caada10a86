"""Measure whole trainings on Bullet's hopper: rollouts, updates and all that is between them.

Ours is `TorchPPO` on `SimVecEnv`; the peers run on `pybullet_envs_gymnasium` in Stable-Baselines3's
`SubprocVecEnv`: SB3's PPO as it is installed, the same with fused Adam, and a single file in the
manner of CleanRL. All have the same hyperparameters and networks of two times 64 units. Every arm
of a round begins with a reset of its worlds and takes the same number of environment steps.

    python benchmarks/training.py                        # environment steps per second
    python benchmarks/training.py --to-return 1500       # hours: time to a return, five seeds

The second keeps every finished run in its results file, and goes on from there.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy, and for every process started from here

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from peers.single_file_ppo import SingleFilePPO
from rounds import RESULTS, Arm, Ratio, arguments, print_table, summarize, take_turns, write
from simreal.domains import SimVecEnv
from simreal.evaluation.atomic_file import write_atomic
from simreal.evaluation.provenance import collect_provenance
from simreal.learning.torch_ppo import TorchPPO
from simreal.learning.vec_env import SB3VecEnv
from simreal_envs.domains import domain
from simreal_envs.robots import hopper
from simreal_envs.tasks.bullet_locomotion import HopperBullet

WORLDS, STEPS = 8, 256
SETTINGS: dict[str, Any] = {
    "n_steps": STEPS,
    "n_epochs": 10,
    "learning_rate": 3e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
}
GOALS = {64: 1.6, 512: 2.5}
FUSED: dict[str, Any] = {"policy_kwargs": {"optimizer_kwargs": {"eps": 1e-5, "fused": True}}}
OURS, STOCK, FLAGS, SINGLE = "TorchPPO", "SB3 PPO", "SB3 PPO fused", "single file"
EVERY, EPISODES = 16_384, 10

Trainer = tuple[Any, Callable[[int], None]]


def main() -> int:
    """Run the script."""
    parser = arguments(__doc__)
    parser.add_argument("--rollouts", type=int, default=2, help="rollouts per arm and round")
    parser.add_argument("--to-return", type=float, default=None, help="train up to a mean return")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2_000_000, help="most steps of such a run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    theirs = published()  # forks, hence first
    ours = own()
    try:
        if options.to_return is not None:
            return to_return(options, ours, theirs)
        return speed(options, ours, theirs)
    finally:
        theirs.close()
        ours.close()


def speed(options: argparse.Namespace, ours: VecEnv, theirs: VecEnv) -> int:
    """Time all arms in turn, and write the results."""
    arms: list[Arm] = []
    ratios: list[Ratio] = []
    for batch, goal in GOALS.items():
        for name in (OURS, STOCK, FLAGS, SINGLE):
            _, learn = trainer(name, ours if name == OURS else theirs, 0, batch)
            arms.append(arm(f"{name}, minibatch {batch}", learn, options.rollouts))
        for name in (STOCK, FLAGS, SINGLE):
            top, bottom = f"{name}, minibatch {batch}", f"{OURS}, minibatch {batch}"
            aim = goal if name == STOCK else None
            ratios.append(Ratio(name=f"{top} / {OURS}", top=top, bottom=bottom, at_least=aim))
    take_turns(arms, options.rounds)
    rates = {a.name: round(1.0 / statistics.median(a.wall), 1) for a in arms}
    shared = {"settings": SETTINGS, "worlds": WORLDS, "workers of ours": os.cpu_count()}
    extra = {"shared": shared, "network": "64, 64, tanh", "steps_per_s": rates}
    report = summarize(arms, ratios, unit="environment step", extra=extra)
    print_table(report)
    print("environment steps per second (median)", json.dumps(rates, indent=1))
    write(report, "training", options.output)
    return 0


def arm(name: str, learn: Callable[[int], None], rollouts: int) -> Arm:
    """Return an arm whose round is a number of rollouts with their updates."""
    number = rollouts * WORLDS * STEPS

    def run() -> float:
        learn(number)
        return number

    return Arm(name, run)


def own() -> SB3VecEnv:
    """Return this kit's hoppers with the published settings, on a worker per core."""
    where = domain("pybullet_published")
    return SB3VecEnv(
        SimVecEnv(hopper(), HopperBullet(), where, WORLDS, workers=os.cpu_count() or 1)
    )


def published() -> SubprocVecEnv:
    """Return the published hoppers, each in its process, with SB3's monitor."""
    import pybullet_envs_gymnasium  # noqa: F401 - registers its ids

    fork = {"start_method": "fork"}
    env = make_vec_env("HopperBulletEnv-v0", WORLDS, vec_env_cls=SubprocVecEnv, vec_env_kwargs=fork)
    assert_same_kind(env)
    return env  # type: ignore[return-value]


def assert_same_kind(env: VecEnv) -> None:
    """Refuse to compare environments of other spaces.

    Args:
        env: The published one.

    Raises:
        ValueError: Its observations or actions have another width than ours.
    """
    seen = env.observation_space.shape, env.action_space.shape
    if seen != ((15,), (3,)):
        raise ValueError(f"the published hopper has spaces {seen}; (15,) and (3,) are needed")


def trainer(name: str, env: VecEnv, seed: int, batch: int) -> Trainer:
    """Return an arm's policy, and a function that trains it for so many steps more.

    Args:
        name: The arm.
        env: Its environments.
        seed: Seed of the policy.
        batch: Transitions of a minibatch.
    """
    settings = SETTINGS | {"batch_size": batch}
    if name == SINGLE:
        single = SingleFilePPO(env, seed, settings)
        return single.agent, single.learn
    kind = TorchPPO if name == OURS else PPO
    more = FUSED if name == FLAGS else {}
    model = kind("MlpPolicy", env, seed=seed, device="cpu", **settings, **more)
    model.set_logger(Logger(None, []))

    def learn(number: int) -> None:
        # Arms share their environments: each begins with new episodes.
        model._last_obs = env.reset()
        model._last_episode_starts = np.ones(WORLDS, dtype=bool)
        model.learn(number, reset_num_timesteps=False)

    return model, learn


def to_return(options: argparse.Namespace, ours: VecEnv, theirs: VecEnv) -> int:
    """Train every arm and seed up to a mean return, and write the time that took."""
    path: Path = options.output or RESULTS / "training_to_return.json"
    plan = {"return": options.to_return, "most_steps": options.steps, "episodes": EPISODES}
    runs: dict[str, Any] = {}
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        runs = content["runs"] if content["plan"] == plan else {}
    test = SB3VecEnv(SimVecEnv(hopper(), HopperBullet(), domain("pybullet_published"), EPISODES))
    for seed in range(options.seeds):
        for batch in GOALS:
            for name in (OURS, STOCK):
                key = f"{name}, minibatch {batch}, seed {seed}"
                if key in runs:
                    continue
                made = trainer(name, ours if name == OURS else theirs, seed, batch)
                found = reached(made, test, options)
                print(key, found, flush=True)
                where = collect_provenance(tuple(range(options.seeds)), ["python", *sys.argv])
                made_at = where.to_dict()
                runs[key] = found | {what: made_at[what] for what in ("commit", "hardware")}
                content = {"plan": plan, "runs": runs, "provenance": made_at}
                write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())
    test.close()
    return 0


def reached(made: Trainer, test: VecEnv, options: argparse.Namespace) -> dict[str, Any]:
    """Train up to a return; evaluations are not timed.

    Args:
        made: Policy and training.
        test: Worlds for the evaluation, the same for all arms.
        options: Of the command line.
    """
    policy, learn = made
    seconds, steps, mean = 0.0, 0, -np.inf
    while steps < options.steps and mean < options.to_return:
        begun = time.perf_counter()
        learn(EVERY)
        seconds, steps = seconds + time.perf_counter() - begun, steps + EVERY
        test.seed(1_000_003)
        mean = float(evaluate_policy(policy, test, EPISODES, deterministic=True, warn=False)[0])
    done = mean >= options.to_return
    return {"reached": done, "seconds": round(seconds, 1), "steps": steps, "return": mean}


if __name__ == "__main__":
    sys.exit(main())

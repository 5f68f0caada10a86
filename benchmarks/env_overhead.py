"""Measure what an environment costs beside the bare physics it runs.

The bare loop steps the same Bullet worlds, built by the same engine: in every tick one torque
command and one step, and nothing is read. It is written twice, with the keywords one would use and
with positional arguments, which PyBullet parses faster; the ratios are against the faster one, and
the other is reported beside. Arms take turns within every round, so that a change of the machine's
speed meets all of them, and the time is the processor's, so that other programs do not count.

    python benchmarks/env_overhead.py
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import simreal_envs
from simreal.domains import SimVecEnv
from simreal.engines.pybullet_world import p
from simreal.evaluation.provenance import collect_provenance
from simreal_envs.domains import domain
from simreal_envs.robots import double_pendulum
from simreal_envs.tasks.double_pendulum import Pendubot

RESULTS = Path(__file__).resolve().parent / "results" / "env_overhead.json"
TARGETS = {"batch of 16": 1.4, "gym.make": 2.5}
NUM_WORLDS = 16


@dataclass
class Arm:
    """Hold one thing that is measured.

    Attributes:
        name: What it is.
        num_worlds: Environments that advance together.
        run: Advance by a number of control steps.
        microseconds: One number per round, per environment and control step.
    """

    name: str
    num_worlds: int
    run: Callable[[int], None]
    microseconds: list[float] = field(default_factory=list)


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=11, help="at least 7")
    parser.add_argument(
        "--steps", type=int, default=1600, help="environment steps per arm and round"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.rounds < 7:
        parser.error(f"--rounds is {arguments.rounds}; at least 7 are needed for a median")
    arms = build_arms()
    for arm in arms.values():  # every code path once, before anything counts
        arm.run(50)
    for _ in range(arguments.rounds):
        for arm in arms.values():
            arm.microseconds.append(clock(arm, arguments.steps))
    report = summarize(arms)
    print_table(report)
    command = ["python", "benchmarks/env_overhead.py", *sys.argv[1:]]
    report["provenance"] = collect_provenance((0,), command).to_dict()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.output}")
    return 0


def build_arms() -> dict[str, Arm]:
    """Build every arm with worlds of its own, all of which get the same commands."""
    many = np.random.default_rng(0).uniform(-1.0, 1.0, (4096, NUM_WORLDS, 1))
    arms: dict[str, Arm] = {}
    for title, num_worlds in (("", NUM_WORLDS), (", one world", 1)):
        for style, loop in (("positional", bare_positional), ("keywords", bare_keywords)):
            name = f"bare loop, {style}{title}"
            env = build_env(num_worlds)
            arms[name] = Arm(name, num_worlds, loop(env, 6.0 * many[:, :num_worlds, 0]))
    batch = build_env(NUM_WORLDS)
    arms["batch of 16"] = Arm("batch of 16", NUM_WORLDS, stepping(batch, many))
    arms["batch of 1"] = Arm("batch of 1", 1, stepping(build_env(1), many[:, :1]))
    arms["gym.make"] = Arm("gym.make", 1, gym_stepping(many[:, 0].astype(np.float32)))
    return arms


def build_env(num_worlds: int) -> SimVecEnv:
    """Return pendubots in the source domain, at the start of an episode."""
    env = SimVecEnv(double_pendulum(), Pendubot(), domain("pybullet_ideal"), num_worlds)
    env.reset(0)
    return env


def bare_positional(env: SimVecEnv, torques: np.ndarray) -> Callable[[int], None]:
    """Return the bare loop over an environment's worlds, written for speed."""
    engine: Any = env.engine
    worlds = [(w.body, w.client, w.joints[0]) for w in engine._worlds]
    motor, tick, mode = p.setJointMotorControl2, p.stepSimulation, p.TORQUE_CONTROL
    tape, ticks = torques.tolist(), env.task.ticks

    def run(num_steps: int) -> None:
        for row in tape[:num_steps]:
            for (body, client, joint), torque in zip(worlds, row, strict=True):
                for _ in range(ticks):
                    motor(body, joint, mode, 0, 0, torque, 0, 0, 0, client)
                    tick(client)

    return run


def bare_keywords(env: SimVecEnv, torques: np.ndarray) -> Callable[[int], None]:
    """Return the bare loop over an environment's worlds, as one would write it."""
    engine: Any = env.engine
    worlds = [(w.body, w.client, w.joints[0]) for w in engine._worlds]
    tape, ticks = torques.tolist(), env.task.ticks

    def run(num_steps: int) -> None:
        for row in tape[:num_steps]:
            for (body, client, joint), torque in zip(worlds, row, strict=True):
                for _ in range(ticks):
                    p.setJointMotorControl2(
                        body, joint, p.TORQUE_CONTROL, force=torque, physicsClientId=client
                    )
                    p.stepSimulation(physicsClientId=client)

    return run


def stepping(env: SimVecEnv, actions: np.ndarray) -> Callable[[int], None]:
    """Return the batch's step, with observation, reward, episodes and resets."""

    def run(num_steps: int) -> None:
        for action in actions[:num_steps]:
            env.step(action)

    return run


def gym_stepping(actions: np.ndarray) -> Callable[[int], None]:
    """Return the step of what `gymnasium.make` gives, its wrappers included."""
    gymnasium.register_envs(simreal_envs)  # importing it has registered them
    env = gymnasium.make("simreal/Pendubot-v0")
    env.reset(seed=0)

    def run(num_steps: int) -> None:
        for action in actions[:num_steps]:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return run


def clock(arm: Arm, num_env_steps: int) -> float:
    """Return the processor time of one environment and control step [us]."""
    num_steps = num_env_steps // arm.num_worlds
    start = time.process_time()
    arm.run(num_steps)
    return (time.process_time() - start) / (num_steps * arm.num_worlds) * 1e6


def summarize(arms: dict[str, Arm]) -> dict[str, Any]:
    """Return medians, and ratios to the bare loops taken round by round."""
    ratios: dict[str, Any] = {}
    for name, single in (("batch of 16", ""), ("gym.make", ", one world")):
        for style in ("positional", "keywords"):
            bare = arms[f"bare loop, {style}{single}"].microseconds
            rounds = [a / b for a, b in zip(arms[name].microseconds, bare, strict=True)]
            ratios[f"{name} / bare loop, {style}"] = {
                "median": round(statistics.median(rounds), 3),
                "worst": round(max(rounds), 3),
                "best": round(min(rounds), 3),
                "target": TARGETS[name],
            }
    return {
        "unit": "us of processor time per environment and control step of five ticks",
        "arms": {
            name: {
                "median": round(statistics.median(arm.microseconds), 2),
                "worst": round(max(arm.microseconds), 2),
                "rounds": [round(value, 2) for value in arm.microseconds],
            }
            for name, arm in arms.items()
        },
        "ratios": ratios,
    }


def print_table(report: dict[str, Any]) -> None:
    """Print the report for people."""
    print(report["unit"])
    for name, row in report["arms"].items():
        print(f"  {name:36s} median {row['median']:7.2f}   worst {row['worst']:7.2f}")
    print("ratio, round by round")
    for name, row in report["ratios"].items():
        print(
            f"  {name:36s} median {row['median']:7.2f}   worst {row['worst']:7.2f}   "
            f"target {row['target']}"
        )


if __name__ == "__main__":
    sys.exit(main())

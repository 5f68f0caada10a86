"""Measure what an environment costs beside the bare physics it runs.

The bare loop steps the same Bullet worlds, built by the same engine: in every tick one torque
command and one step, and nothing is read. It is written twice, with the keywords one would use and
with positional arguments, which PyBullet parses faster; the ratios are against the faster one, and
the other is reported beside. Arms take turns within every round, so that a change of the machine's
speed meets all of them, and the time is the processor's, so that other programs do not count.

    python benchmarks/env_overhead.py
"""

import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

import simreal_envs
from rounds import Arm, Ratio, arguments, close, print_table, summarize, take_turns, write
from simreal.domains import SimVecEnv
from simreal.engines.pybullet_world import p
from simreal_envs.domains import domain
from simreal_envs.robots import double_pendulum
from simreal_envs.tasks.double_pendulum import Pendubot

NUM_WORLDS = 16
Loop = Callable[[int], None]
RATIOS = tuple(
    Ratio(
        name=f"{name} / bare loop, {style}",
        top=name,
        bottom=f"bare loop, {style}{single}",
        at_most=most,
    )
    for name, single, most in (("batch of 16", "", 1.4), ("gym.make", ", one world", 2.5))
    for style in ("positional", "keywords")
)


def main() -> int:
    """Run the script."""
    parser = arguments(__doc__, rounds=11)
    parser.add_argument(
        "--steps", type=int, default=1600, help="environment steps per arm and round"
    )
    options = parser.parse_args()
    arms = build_arms(options.steps)
    take_turns(arms, options.rounds)
    report = summarize(arms, RATIOS, unit="environment and control step of five ticks", clock="cpu")
    print_table(report)
    write(report, "env_overhead", options.output)
    close(arms)
    return 0


def build_arms(num_env_steps: int) -> list[Arm]:
    """Build every arm with worlds of its own, all of which get the same commands.

    Args:
        num_env_steps: Environment steps of one round.
    """
    many = np.random.default_rng(0).uniform(-1.0, 1.0, (4096, NUM_WORLDS, 1))
    arms: list[Arm] = []

    def add(
        name: str, num_worlds: int, loop: Callable[[int], None], end: Callable[[], None]
    ) -> None:
        num_steps = num_env_steps // num_worlds

        def run() -> float:
            loop(num_steps)
            return num_steps * num_worlds

        arms.append(Arm(name, run, close=end))

    for title, num_worlds in (("", NUM_WORLDS), (", one world", 1)):
        for style, loop in (("positional", bare_positional), ("keywords", bare_keywords)):
            env = build_env(num_worlds)
            torques = 6.0 * many[:, :num_worlds, 0]
            add(f"bare loop, {style}{title}", num_worlds, loop(env, torques), env.close)
    for num_worlds in (NUM_WORLDS, 1):
        env = build_env(num_worlds)
        add(f"batch of {num_worlds}", num_worlds, stepping(env, many[:, :num_worlds]), env.close)
    gymnasium.register_envs(simreal_envs)  # importing it has registered them
    single = gymnasium.make("simreal/Pendubot-v0")
    add("gym.make", 1, gym_stepping(single, many[:, 0].astype(np.float32)), single.close)
    return arms


def build_env(num_worlds: int) -> SimVecEnv:
    """Return pendubots in the source domain, at the start of an episode."""
    env = SimVecEnv(double_pendulum(), Pendubot(), domain("pybullet_ideal"), num_worlds)
    env.reset(0)
    return env


def bare_positional(env: SimVecEnv, torques: np.ndarray) -> Loop:
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


def bare_keywords(env: SimVecEnv, torques: np.ndarray) -> Loop:
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


def stepping(env: SimVecEnv, actions: np.ndarray) -> Loop:
    """Return the batch's step, with observation, reward, episodes and resets."""

    def run(num_steps: int) -> None:
        for action in actions[:num_steps]:
            env.step(action)

    return run


def gym_stepping(env: gymnasium.Env, actions: np.ndarray) -> Loop:
    """Return the step of what `gymnasium.make` gives, its wrappers included."""
    env.reset(seed=0)

    def run(num_steps: int) -> None:
        for action in actions[:num_steps]:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return run


if __name__ == "__main__":
    sys.exit(main())

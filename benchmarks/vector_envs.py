"""Measure many environments at once against what steps them elsewhere.

PyBullet hopper: worker processes over shared memory, one batch and two halves in turn, against
`SubprocVecEnv` and `AsyncVectorEnv`, each on `pybullet_envs_gymnasium` and on this kit's own single
environment. MuJoCo half cheetah: the batch against `AsyncVectorEnv` on Gymnasium's own. All arms of
a pair get the same uniform random actions, and resets count: the hopper falls after about twenty
steps of them. Last, the engine alone in one process and in two.

    python benchmarks/vector_envs.py            # 8 and 32 environments, workers, memory
    python benchmarks/vector_envs.py --only 8
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy, and for every process started from here

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np

import simreal_envs
from rounds import Arm, Ratio, arguments, close, print_table, summarize, take_turns, write
from simreal.domains import Domain, SimVecEnv
from simreal.domains.halves import HalvesVecEnv
from simreal.engines import Engine
from simreal_envs.domains import domain
from simreal_envs.robots import half_cheetah, hopper
from simreal_envs.tasks.bullet_locomotion import HalfCheetahBullet, HopperBullet

NUM_CORES = os.cpu_count() or 1
HOPPER, PUBLISHED, CHEETAH = "simreal/HopperBullet-v0", "HopperBulletEnv-v0", "HalfCheetah-v5"
BULLET, MUJOCO = "Bullet hopper", "MuJoCo half cheetah"
MEMORY = """
from pathlib import Path
from simreal.domains import SimVecEnv
from simreal_envs.domains import domain
from simreal_envs.robots import hopper
from simreal_envs.tasks.bullet_locomotion import HopperBullet
env = SimVecEnv(hopper(), HopperBullet(), domain("pybullet_published"), {count})
env.reset(0)
for _ in range(20):
    env.step(__import__("numpy").zeros(({count}, env.action_map.dim)))
status = Path("/proc/self/status").read_text()
print(status.split("VmRSS:")[1].split()[0])
"""


def main() -> int:
    """Run the script."""
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=2048, help="environment steps per arm, round")
    parser.add_argument("--only", type=int, choices=(8, 32), help="one number of environments")
    options = parser.parse_args()
    gymnasium.register_envs(simreal_envs)
    arms: list[Arm] = []
    ratios: list[Ratio] = []
    for count in (options.only,) if options.only else (8, 32):
        # One number after the other: all processes of both would not fit into memory.
        for build in (bullet_arms, mujoco_arms, worker_arms):
            group, goals = build(count, options.steps)
            take_turns(group, options.rounds)
            close(group)
            arms, ratios = arms + group, ratios + goals
    report = summarize(
        arms,
        ratios,
        unit="environment step",
        extra={"memory": memory_per_world(), "cores": NUM_CORES},
    )
    print_table(report)
    print(f"memory per further hopper world: {report['memory']['mb_per_world']:.1f} MB (<= 40)")
    write(report, "vector_envs", options.output)
    return 0


def bullet_arms(count: int, num_steps: int) -> tuple[list[Arm], list[Ratio]]:
    """Build the hopper's arms; those that fork come first.

    Args:
        count: Environments.
        num_steps: Environment steps of a round.
    """
    arms, ratios = [], []
    ours, parts = f"{count} x {BULLET}, SimVecEnv", f"{count} x {BULLET}, HalvesVecEnv"
    for name, env_id, goal in (("pybullet_envs", PUBLISHED, 4.0), ("own single", HOPPER, 2.0)):
        for kind, make in (("SubprocVecEnv", subproc), ("AsyncVectorEnv", asynchronous)):
            title = f"{count} x {BULLET}, {kind}, {name}"
            arms.append(make(title, env_id, count, num_steps))
            ratios.append(Ratio(name=title, top=title, bottom=ours, at_least=goal))
    arms.append(
        batch(
            ours,
            bullet_env(count, NUM_CORES),
            num_steps,
            f"{NUM_CORES} workers, this one among them",
        )
    )
    arms.append(halves(parts, count, num_steps))
    ratios.append(Ratio(name=f"{count} x {BULLET}, one batch / halves", top=ours, bottom=parts))
    return arms, ratios


def mujoco_arms(count: int, num_steps: int) -> tuple[list[Arm], list[Ratio]]:
    """Build the half cheetah's arms.

    Args:
        count: Environments.
        num_steps: Environment steps of a round.
    """
    ours = f"{count} x {MUJOCO}, SimVecEnv"
    theirs = f"{count} x {MUJOCO}, AsyncVectorEnv, {CHEETAH}"
    peer = asynchronous(theirs, CHEETAH, count, num_steps)
    env = SimVecEnv(half_cheetah(), HalfCheetahBullet(), mujoco_domain(), count)
    note = f"{env.task.ticks} ticks of {1e3 * env.task.tick_s:g} ms, {NUM_CORES} threads"
    peer.note = "5 ticks of 10 ms"
    ratio = Ratio(name=theirs, top=theirs, bottom=ours, at_least=2.0)
    return [peer, batch(ours, env, num_steps, note)], [ratio]


def worker_arms(count: int, num_steps: int) -> tuple[list[Arm], list[Ratio]]:
    """Build the same hoppers in this process, in two, and on one and two others.

    The engines alone are stepped: nothing observes or resets. With two workers this process is one
    of them; on one and two others it waits.

    Args:
        count: Environments.
        num_steps: Environment steps of a round.
    """
    from simreal.engines import make_engine
    from simreal.engines.process_workers import ProcessWorkers

    with_spec = bullet_env(1, 1)
    spec = replace(with_spec.engine.spec, num_worlds=count)
    with_spec.close()
    workers: dict[str, int | ProcessWorkers] = {
        "in process": 1,
        "2 workers": ProcessWorkers(count=2, joins=True),
        "1 other process": ProcessWorkers(count=1, joins=False),
        "2 other processes": ProcessWorkers(count=2, joins=False),
    }
    commands = np.zeros((spec.ticks, count, spec.robot.num_actuators))
    arms = []
    for kind, chosen in workers.items():
        engine = make_engine("pybullet", spec, workers=chosen)
        title = f"{count} x {BULLET}, engine alone, {kind}"
        arms.append(Arm(title, engine_loop(engine, commands, num_steps), "", engine.close))
    alone, two, other, others = [arm.name for arm in arms]
    names = ("two workers against none", "two other processes against one")
    ratios = [
        Ratio(name=f"{count} x {BULLET}, {name}", top=top, bottom=bottom, at_least=1.7)
        for name, top, bottom in zip(names, (alone, other), (two, others), strict=True)
    ]
    return arms, ratios


def engine_loop(engine: Engine, commands: np.ndarray, num_steps: int) -> Callable[[], float]:
    """Return one round of an engine's steps."""

    def run() -> float:
        for _ in range(num_steps // engine.num_worlds):
            engine.step(commands)
        return num_steps // engine.num_worlds * engine.num_worlds

    return run


def bullet_env(count: int, workers: int) -> SimVecEnv:
    """Return hoppers with the published settings."""
    return SimVecEnv(hopper(), HopperBullet(), domain("pybullet_published"), count, workers=workers)


def mujoco_domain() -> Domain:
    """Return the published settings on all cores."""
    found = domain("mujoco_published")
    return Domain(
        name=found.name,
        engine=found.engine,
        dynamics=found.dynamics,
        options={"threads": NUM_CORES},
    )


def tape(count: int, dim: int) -> np.ndarray:
    """Return the actions that every arm gets (256, N, dim) float32."""
    return np.random.default_rng(0).uniform(-1.0, 1.0, (256, count, dim)).astype(np.float32)


def loop(step: Callable[[np.ndarray], Any], actions: np.ndarray, num: int) -> Callable[[], float]:
    """Return one round: a number of environment steps with the tape's actions in turn."""
    count = actions.shape[1]

    def run() -> float:
        for i in range(num // count):
            step(actions[i % len(actions)])
        return num // count * count

    return run


def batch(title: str, env: SimVecEnv, num_steps: int, note: str) -> Arm:
    """Return the arm of one of this kit's batches."""
    env.reset(0)
    actions = tape(env.num_worlds, env.action_map.dim)
    return Arm(title, loop(env.step, actions, num_steps), note, env.close)


def halves(title: str, count: int, num_steps: int) -> Arm:
    """Return the arm of two halves that take turns; a policy would work in between."""
    robot, task, where = hopper(), HopperBullet(), domain("pybullet_published")
    env = HalvesVecEnv(robot, task, where, count, workers=NUM_CORES)
    env.reset(0)
    actions = tape(count, env.halves[0].action_map.dim)
    rounds = num_steps // count

    def run() -> float:
        left = {rows.start: iter(range(rounds)) for rows in env.rows}
        for _ in env.alternate(
            lambda rows, _: actions[next(left[rows.start]) % len(actions), rows], rounds
        ):
            pass
        return rounds * count

    return Arm(title, run, f"{NUM_CORES} workers for each half", env.close)


def subproc(title: str, env_id: str, count: int, num_steps: int) -> Arm:
    """Return the arm of Stable-Baselines3's process per environment."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    env = SubprocVecEnv([maker(env_id) for _ in range(count)], start_method="fork")
    env.reset()
    actions = tape(count, env.action_space.shape[0])
    return Arm(title, loop(env.step, actions, num_steps), "start method fork", env.close)


def asynchronous(title: str, env_id: str, count: int, num_steps: int) -> Arm:
    """Return the arm of Gymnasium's process per environment, with its shared memory."""
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    env = gymnasium.vector.AsyncVectorEnv(
        [maker(env_id) for _ in range(count)], shared_memory=True, autoreset_mode=mode
    )
    env.reset(seed=0)
    actions = tape(count, env.single_action_space.shape[0])
    return Arm(title, loop(env.step, actions, num_steps), "shared memory, fork", env.close)


def maker(env_id: str) -> Callable[[], gymnasium.Env]:
    """Return a function that makes an environment in the process that calls it."""

    def make() -> gymnasium.Env:
        if env_id == PUBLISHED:
            import pybullet_envs_gymnasium  # noqa: F401 - registers its ids
        return gymnasium.make(env_id)

    return make


def memory_per_world() -> dict[str, Any]:
    """Return the resident memory of a process with 1 and with 17 hoppers, and of one more."""
    sizes = []
    for count in (1, 17):
        script = MEMORY.format(count=count)
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        sizes.append(int(done.stdout.split()[-1]) / 1024.0)
    return {"mb": sizes, "mb_per_world": (sizes[1] - sizes[0]) / 16.0, "goal": "<= 40"}


if __name__ == "__main__":
    sys.exit(main())

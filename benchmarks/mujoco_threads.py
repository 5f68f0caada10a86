"""Measure what threads buy MuJoCo on the CPU, with masses that differ from world to world.

The engine steps all worlds in one call into `mujoco.batch`, whose threads hold no interpreter lock;
per-world parameters stand in its expanded fields. The third arm is the loop over worlds that one
would write: one compiled model and one data per world, `mj_step` for every one. Arms take turns
within every round.

    python benchmarks/mujoco_threads.py
"""

import sys
from collections.abc import Callable

import mujoco
import numpy as np

from rounds import Arm, Ratio, arguments, close, print_table, summarize, take_turns, write
from simreal.core.params import DynamicsParams
from simreal.core.robot import Robot
from simreal.engines import EngineSpec
from simreal.engines.mujoco import MuJoCoEngine
from simreal_envs.robots import double_pendulum, hopper

NUM_WORLDS = 256
ROBOTS: dict[str, tuple[Callable[[], Robot], float, int, bool]] = {
    "pendubot": (double_pendulum, 0.002, 5, False),
    "hopper": (hopper, 0.0165 / 4, 4, True),
}
"""Name to robot, tick [s], ticks of a control step, and whether there is ground."""


def main() -> int:
    """Run the script."""
    parser = arguments(__doc__, rounds=9)
    parser.add_argument("--steps", type=int, default=20, help="control steps per arm and round")
    options = parser.parse_args()
    arms = [arm for name in ROBOTS for arm in build_arms(name, options.steps)]
    ratios = [
        Ratio(name=f"{name}: {top} / {bottom}", top=f"{name}, {top}", bottom=f"{name}, {bottom}")
        for name in ROBOTS
        for top, bottom in (("1 thread", "2 threads"), ("loop of mj_step", "1 thread"))
    ]
    take_turns(arms, options.rounds)
    report = summarize(arms, ratios, unit=f"control step of {NUM_WORLDS} worlds")
    print_table(report)
    write(report, "mujoco_threads", options.output)
    close(arms)
    return 0


def build_arms(name: str, steps: int) -> list[Arm]:
    """Build the arms of one robot, all with the same masses and commands.

    Args:
        name: One of `ROBOTS`.
        steps: Control steps of one round.
    """
    arms = []
    for threads in (1, 2):
        engine = build_engine(name, threads)
        shape = (engine.spec.ticks, NUM_WORLDS, engine.robot.num_actuators)
        commands = np.zeros(shape)

        def run(engine: MuJoCoEngine = engine, commands: np.ndarray = commands) -> float:
            for _ in range(steps):
                engine.step(commands)
            return steps

        label = "1 thread" if threads == 1 else f"{threads} threads"
        arms.append(Arm(f"{name}, {label}", run, close=engine.close))
    arms.append(Arm(f"{name}, loop of mj_step", loop(build_engine(name, 1), steps)))
    return arms


def build_engine(name: str, threads: int) -> MuJoCoEngine:
    """Return worlds whose masses differ by up to 20 %.

    Args:
        name: One of `ROBOTS`.
        threads: Threads of the pool.
    """
    make, tick_s, ticks, ground = ROBOTS[name]
    robot = make()
    names = tuple(f"mass.{link.name}" for link in robot.links[robot.fixed_base :] if link.mass > 0)
    engine = MuJoCoEngine(
        EngineSpec(
            robot=robot,
            num_worlds=NUM_WORLDS,
            tick_s=tick_s,
            ticks=ticks,
            ground=ground,
            params=names,
            options={"threads": threads},
        )
    )
    rng = np.random.default_rng(0)
    values = {n: engine.specs[n].nominal[0] * rng.uniform(0.8, 1.2, NUM_WORLDS) for n in names}
    everywhere = np.ones(NUM_WORLDS, dtype=bool)
    engine.apply(DynamicsParams(engine.specs, values, NUM_WORLDS), everywhere)
    return engine


def loop(engine: MuJoCoEngine, steps: int) -> Callable[[], float]:
    """Return the loop over worlds, on copies of the engine's models.

    Args:
        engine: Gives every world's model and state.
        steps: Control steps of one round.
    """
    batch, ticks = engine._batch, engine.spec.ticks
    worlds = [(batch.get_model(world), batch.get_data(world)) for world in range(NUM_WORLDS)]

    def run() -> float:
        for _ in range(steps):
            for model, data in worlds:
                mujoco.mj_step(model, data, ticks)
        return steps

    return run


if __name__ == "__main__":
    sys.exit(main())

"""A control step that Bullet divides into ticks by itself gives what single ticks give, exactly."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from simreal.core.params import DynamicsParams
from simreal.core.robot import Robot
from simreal.engines import Engine
from simreal_envs.robots import double_pendulum
from tests.engines import sample_robots as robots
from tests.engines.conftest import Build

pytest.importorskip("pybullet")

NO_ROTOR = {"armature.shoulder": 0.0, "armature.elbow": 0.0}
UNDAMPED = {**NO_ROTOR, "joint_damping.shoulder": 0.0, "joint_damping.elbow": 0.0}


def calls(engine: Any) -> int:
    """Return how many ticks one call of Bullet advances at present."""
    return int(engine._worlds[0].ticks)


def single_ticks(engine: Any) -> None:
    """Keep an engine from merging ticks."""
    engine._drive._divides = engine._drive._merges = False


def pair(build: Build, robot: Robot, **settings: Any) -> tuple[Engine, Engine]:
    merged, single = (build("pybullet", robot, 2, **settings) for _ in range(2))
    single_ticks(single)
    return merged, single


def step_both(
    engines: tuple[Engine, Engine], num_steps: int, between: Callable[[Engine, int], None]
) -> None:
    shape = (engines[0].spec.ticks, 2, engines[0].robot.num_actuators)
    rng = np.random.default_rng(0)
    for step in range(num_steps):
        commands = np.broadcast_to(rng.uniform(-3, 3, shape[1:]), shape)
        states = []
        for engine in engines:
            between(engine, step)
            engine.step(commands)
            states.append(engine.new_state())
            engine.read(states[-1])
        np.testing.assert_array_equal(states[0].buffer, states[1].buffer)


def reset_sometimes(engine: Engine, step: int) -> None:
    if step % 37 == 20:
        joints = engine.robot.num_joints
        engine.reset(np.array([True, False]), np.full((2, joints), 0.2), np.zeros((2, joints)))


CASES: dict[str, tuple[Robot, dict[str, Any]]] = {
    "friction": (double_pendulum(), {"fixed": UNDAMPED}),
    "ten ticks": (robots.pendulums(), {"ticks": 10, "tick_s": 0.001}),
    "rails": (robots.gantry(), {}),
    "rail with a stop": (robots.cart(upper=0.05), {}),
    "floating": (robots.flywheel(), {}),
    "sliding on the ground": (robots.skater(), {"ground": True}),
    "falling on the ground": (robots.crate(height=0.4), {"ground": True, "contacts": ("box",)}),
}


@pytest.mark.parametrize("case", CASES)
def test_merged_ticks_equal_single_ones(build: Build, case: str) -> None:
    robot, settings = CASES[case]
    engines = pair(build, robot, **settings)
    step_both(engines, 120, reset_sometimes)
    assert (calls(engines[0]), calls(engines[1])) == (engines[0].spec.ticks, 1)


def test_friction_changed_between_merged_steps_is_that_of_one_tick(build: Build) -> None:
    names = ("joint_friction.shoulder", "mass.arm1", "com.arm0")
    engines = pair(build, robots.pendulums(friction=0.05), params=names)

    def change(engine: Engine, step: int) -> None:
        if step % 30 == 15:
            values = {names[0]: 0.01 * step, names[1]: 0.6 + 0.01 * step, names[2]: [0, 0, -0.1]}
            params = DynamicsParams(engine.specs, values, 2)
            engine.apply(params, np.array([True, False]))

    step_both(engines, 100, change)
    assert calls(engines[0]) == 5


def test_a_restored_engine_goes_on_where_ticks_are_merged(build: Build) -> None:
    engines = pair(build, robots.pendulums())
    step_both(engines, 20, lambda engine, step: None)
    engines[0].set_state(engines[1].get_state())
    step_both(engines, 20, lambda engine, step: None)


@pytest.mark.parametrize(
    ("robot", "settings"),
    [
        (robots.pendulums(damping=0.1), {}),  # Bullet damps once per call
        (robots.cart(kp=50.0), {}),  # the law needs the state at every tick
        (robots.cart(), {"tick_s": 0.003, "ticks": 3}),  # 0.009 s / 3 is not 0.003 s
    ],
    ids=["damping", "position law", "rounding"],
)
def test_ticks_are_not_merged_where_that_would_differ(
    build: Build, robot: Robot, settings: dict[str, Any]
) -> None:
    engine = build("pybullet", robot, **settings)
    engine.step(np.ones((engine.spec.ticks, 1, robot.num_actuators)))
    assert calls(engine) == 1


def test_ticks_are_merged_only_while_nothing_changes_within_a_step(build: Build) -> None:
    engine = build("pybullet", robots.cart(), params=("joint_damping.rail",))
    seen = []
    changing = np.arange(5.0).reshape(5, 1, 1)
    for commands, sample in (
        (np.ones((5, 1, 1)), None),
        (changing, None),
        (np.ones((5, 1, 1)), np.array([3])),
        (np.ones((5, 1, 1)), None),
    ):
        engine.step(commands, sample)
        seen.append(calls(engine))
    engine.apply(DynamicsParams(engine.specs, {"joint_damping.rail": 0.5}, 1), np.ones(1, bool))
    engine.step(np.ones((5, 1, 1)))
    assert [*seen, calls(engine)] == [5, 1, 1, 5, 1]

"""PyBullet worlds of a robot that Bullet loads from its own file: checked, reset, changed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simreal.core.params import DynamicsParams, catalogue
from simreal.core.robot import Robot
from simreal.engines import Engine, EngineSpec, engine_class, make_engine
from simreal.engines.audit import audit
from simreal.errors import EngineError, ParameterError, RobotError, UnknownNameError
from simreal_envs.robots import ant, half_cheetah, hopper

pytest.importorskip("pybullet")

STEP_S, TICKS = 0.0165, 4


def spec(robot: Robot, num_worlds: int = 1, **settings: Any) -> EngineSpec:
    return EngineSpec(
        robot=robot,
        num_worlds=num_worlds,
        tick_s=STEP_S / TICKS,
        ticks=TICKS,
        ground=settings.pop("ground", True),
        fixed={"gravity": 9.8, **settings.pop("fixed", {})},
        **settings,
    )


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = make_engine("pybullet", spec(hopper(), 2, contacts=("foot",), bodies=("thigh", "foot")))
    yield made
    made.close()


def torques(num_steps: int, worlds: int = 2, seed: int = 0) -> np.ndarray:
    """Return commands (steps, K, N, 3), the same in all ticks."""
    drawn = np.random.default_rng(seed).uniform(-75, 75, (num_steps, 1, worlds, 3))
    return np.repeat(drawn, TICKS, axis=1)


def run(engine: Engine, commands: np.ndarray) -> np.ndarray:
    """Return the states after every step (steps, N, D)."""
    states = []
    for command in commands:
        engine.step(command)
        state = engine.new_state()
        engine.read(state)
        states.append(state.buffer)
    return np.array(states)


def everything(engine: Engine) -> np.ndarray:
    return np.ones(engine.num_worlds, dtype=bool)


def start(engine: Engine, angle: float = 0.05) -> None:
    shape = (engine.num_worlds, engine.robot.num_joints)
    engine.reset(everything(engine), np.full(shape, angle), np.zeros(shape))


def test_the_robot_decides_which_engine_it_is() -> None:
    assert engine_class("pybullet", hopper()).__name__ == "NativePyBulletEngine"
    assert engine_class("pybullet").__name__ == "PyBulletEngine"
    assert engine_class("mujoco", hopper()).__name__ == "MuJoCoEngine"


@pytest.mark.parametrize("robot", [hopper(), half_cheetah(), ant()], ids=lambda robot: robot.name)
@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("links", {"mass": 3.0}, "mass of link"),
        ("links", {"contact_friction": 0.8}, "friction of link"),
        ("links", {"com": (0.0, 0.0, 0.3)}, "center of mass of link"),
        ("joints", {"damping": 0.1}, "damping of joint"),
        ("joints", {"upper": 2.0}, "limits of"),
        ("joints", {"xyz": (0.1, 0.0, 0.0)}, "center of mass of link"),
    ],
)
def test_a_table_that_says_something_else_is_refused(
    robot: Robot, part: str, change: dict[str, Any], message: str
) -> None:
    name = robot.links[-1].name if part == "links" else robot.joints[-1].name
    with pytest.raises(EngineError, match=message):
        make_engine("pybullet", spec(robot.revised(**{part: {name: change}})))


def test_what_bullet_cannot_load_is_refused() -> None:
    robot = hopper()
    with pytest.raises(EngineError, match=r"has no file 'mjcf/hoper\.xml'"):
        make_engine("pybullet", spec(_with(robot, model="mjcf/hoper.xml")))
    with pytest.raises(EngineError, match="which is not installed; install it"):
        make_engine("pybullet", spec(_with(robot, package="pybullet_dada")))
    with pytest.raises(EngineError, match="has no joint or body 'rootx'"):
        make_engine("pybullet", spec(_with(robot, joints={})))
    placed = robot.revised(actuators={"foot_joint": {"kind": "position", "kp": 1.0}})
    with pytest.raises(RobotError, match=r"\['foot_joint'\].*torque motors are needed"):
        make_engine("pybullet", spec(placed))
    with pytest.raises(UnknownNameError, match="solver_iterations"):
        make_engine("pybullet", spec(robot, options={"iterations": 5}))


def _with(robot: Robot, **change: Any) -> Robot:
    return replace(robot, native=(replace(robot.native[0], **change),))


def test_a_reset_leaves_no_trace(engine: Engine) -> None:
    commands = torques(80)
    start(engine)
    first = run(engine, commands)
    run(engine, torques(37, seed=1))
    start(engine)
    np.testing.assert_array_equal(run(engine, commands), first)


def test_worlds_do_not_touch_each_other(engine: Engine) -> None:
    start(engine)
    commands = torques(40)
    both = run(engine, commands)
    alone = make_engine("pybullet", spec(hopper(), contacts=("foot",), bodies=("thigh", "foot")))
    start(alone)
    np.testing.assert_array_equal(run(alone, commands[:, :, 1:])[:, 0], both[:, 1])
    alone.close()


def test_nothing_touches_right_after_a_reset(engine: Engine) -> None:
    start(engine)
    states = run(engine, np.zeros((60, TICKS, 2, 3)))
    touched = states[:, 0, engine.new_state().width(6, False, ("thigh", "foot"), ()) - 1]
    assert touched.any()
    start(engine)
    state = engine.new_state()
    engine.read(state)
    assert state.contact["foot"].tolist() == [0.0, 0.0]


def test_positions_of_bodies_are_those_of_the_table(engine: Engine) -> None:
    state = engine.new_state()
    start(engine, 0.0)
    engine.read(state)
    # Joints of thigh and foot at the default pose.
    np.testing.assert_allclose(state.body_pos["thigh"], [[0, 0, 1.05]] * 2, atol=1e-7)
    np.testing.assert_allclose(state.body_pos["foot"], [[0, 0, 0.1]] * 2, atol=1e-7)


def test_ticks_one_by_one_equal_a_whole_step(engine: Engine) -> None:
    commands = torques(60)
    start(engine)
    whole = run(engine, commands)
    start(engine)
    single = []
    for command in commands:
        engine.step(command, np.array([2, TICKS]))
        state = engine.new_state()
        engine.read(state)
        single.append(state.buffer)
    np.testing.assert_array_equal(np.array(single), whole)


def test_sensors_are_read_at_their_tick(engine: Engine) -> None:
    start(engine)
    command = torques(1)[0]
    engine.step(command, np.array([2, TICKS]))
    now, seen = engine.new_state(), engine.new_state()
    engine.read(now)
    engine.sample(seen)
    np.testing.assert_array_equal(seen.buffer[1], now.buffer[1])
    assert seen.time[0] == pytest.approx(STEP_S / 2)
    assert (seen.joint_pos[0] != now.joint_pos[0]).sum() >= 5
    half = make_engine("pybullet", replace(engine.spec, ticks=2))
    start(half)
    np.testing.assert_allclose(run(half, command[None, :2])[0, 0], seen.buffer[0], atol=1e-9)
    half.close()


def test_a_saved_state_goes_on_alike_in_both_runs(engine: Engine) -> None:
    start(engine)
    run(engine, torques(20))
    saved = engine.get_state()
    there = run(engine, torques(30, seed=3))
    run(engine, torques(5, seed=4))
    engine.set_state(saved)
    np.testing.assert_array_equal(run(engine, torques(30, seed=3)), there)
    with pytest.raises(EngineError, match="engine state 'now' has shape"):
        engine.set_state({**saved, "now": np.zeros((3, 2))})


def test_a_world_that_was_lost_is_loaded_anew(engine: Engine) -> None:
    commands = torques(30)
    start(engine)
    first = run(engine, commands)
    engine._now.buffer[0] = np.nan  # type: ignore[attr-defined]
    start(engine)
    np.testing.assert_array_equal(run(engine, commands), first)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mass.torso", 5.0),
        ("inertia.foot", (0.1, 0.3, 0.3)),
        ("contact_friction.foot", 0.1),
        ("joint_damping.leg_joint", 2.0),
        ("joint_friction.leg_joint", 5.0),
        ("motor_strength.leg_joint", 0.5),
        ("torque_limit.leg_joint", 10.0),
        ("gravity", 5.0),
    ],
)
def test_a_parameter_acts_at_once_survives_a_reset_and_equals_a_fixed_one(
    name: str, value: Any
) -> None:
    commands = torques(50)
    engine = make_engine("pybullet", spec(hopper(), 2, params=(name,)))
    start(engine)
    before = run(engine, commands)
    params = DynamicsParams(catalogue(hopper()), {name: value}, 2)
    engine.apply(params, np.array([True, False]))
    start(engine)
    after = run(engine, commands)
    engine.close()
    np.testing.assert_array_equal(after[:, 1], before[:, 1])
    assert np.abs(after[:, 0] - before[:, 0]).max() > 1e-3
    fixed = make_engine("pybullet", spec(hopper(), 2, fixed={name: value}))
    start(fixed)
    np.testing.assert_array_equal(run(fixed, commands)[:, 0], after[:, 0])
    fixed.close()


@pytest.mark.parametrize("name", ["com.torso", "link_length.thigh", "rolling_friction.foot"])
def test_what_the_file_settles_cannot_be_changed(name: str) -> None:
    with pytest.raises(ParameterError, match=f"cannot apply '{name}'"):
        make_engine("pybullet", spec(hopper(), params=(name,)))


def test_wrong_commands_are_refused(engine: Engine) -> None:
    with pytest.raises(EngineError, match="commands have shape"):
        engine.step(np.zeros((TICKS, 2, 2)))


def test_a_picture_shows_the_robot(engine: Engine) -> None:
    picture = engine.render(0, 64, 48)
    assert picture.shape == (48, 64, 3)
    assert picture.std() > 1


def test_a_free_robot_goes_on_from_where_it_was() -> None:
    engine = make_engine("pybullet", spec(ant(), 2, contacts=("left_back_foot",)))
    start(engine, 0.0)
    commands = np.repeat(np.random.default_rng(0).uniform(-99, 99, (40, 1, 2, 8)), TICKS, axis=1)
    run(engine, commands)
    saved = engine.get_state()
    there = run(engine, commands)
    start(engine, 0.0)
    engine.set_state(saved)
    np.testing.assert_allclose(run(engine, commands), there, rtol=0, atol=1e-9)
    state = engine.new_state()
    engine.read(state)
    assert np.linalg.norm(state.root_pose[:, 3:], axis=1) == pytest.approx(np.ones(2))
    assert (state.root_pose[:, :2] != 0.0).all()
    engine.close()


@pytest.mark.parametrize(
    "name", ["mass.foot", "inertia.torso", "joint_friction.foot_joint", "gravity"]
)
def test_the_audit_sees_what_acts(name: str) -> None:
    (row,) = audit(hopper(), "pybullet", only=(name,))
    assert row.verdict == "acts"


def test_the_audit_names_what_the_file_settles() -> None:
    rows = audit(hopper(), "pybullet", only=("com", "link_length"))
    assert {row.verdict.split(":")[0] for row in rows} == {"refused"}

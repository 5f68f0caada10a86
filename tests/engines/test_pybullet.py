"""What holds for the Bullet engine alone; the contract itself is in test_conformance."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from simreal.core.params import DynamicsParams, catalogue
from simreal.core.robot import Actuator, Robot, Shape, inertia_matrix
from simreal.core.rotations import matrix_from_rpy
from simreal.core.state import State
from simreal.engines import Engine
from simreal.errors import EngineError, RobotError, SimrealError, UnknownNameError
from simreal_envs.robots import double_pendulum
from tests.engines import sample_robots as robots
from tests.engines.conftest import Build

pytest.importorskip("pybullet")
from simreal.engines.pybullet import PyBulletEngine

NO_ROTOR = {"armature.shoulder": 0.0, "armature.elbow": 0.0}
ONE = np.ones(1, dtype=bool)


def put(engine: Engine, pos: Any, vel: Any = None) -> None:
    rows = np.tile(np.asarray(pos, dtype=float), (engine.num_worlds, 1))
    speeds = np.zeros_like(rows) if vel is None else np.tile(vel, (engine.num_worlds, 1))
    engine.reset(np.ones(engine.num_worlds, dtype=bool), rows, speeds)


def only_state(engine: Engine) -> State:
    state = engine.new_state()
    engine.read(state)
    return state


def apply(engine: Engine, **values: Any) -> None:
    names = {name.replace("__", "."): value for name, value in values.items()}
    params = DynamicsParams(engine.specs, names, engine.num_worlds)
    engine.apply(params, np.ones(engine.num_worlds, dtype=bool))


# -- accuracy --------------------------------------------------------------------------------------


def equations_of_motion(
    robot: Robot, torque: Callable[[float], np.ndarray], damping: float
) -> Callable[[float, np.ndarray], list[float]]:
    """Return the double pendulum's right-hand side from the published parameters."""
    (m1, m2), (r1, r2), l1 = (0.523460, 0.625568), (0.2, 0.255693), 0.2
    i1, i2, h = 0.0318872, 0.0508698, 0.625568 * 0.2 * 0.255693

    def rhs(t: float, y: np.ndarray) -> list[float]:
        q1, q2, v1, v2 = y
        c, s = math.cos(q2), math.sin(q2)
        mass = np.array([[i1 + i2 + m2 * l1**2 + 2 * h * c, i2 + h * c], [i2 + h * c, i2]])
        coriolis = h * s * np.array([-(2 * v1 * v2 + v2**2), v1**2])
        far = m2 * r2 * math.sin(q1 + q2)
        gravity = 9.81 * np.array([(m1 * r1 + m2 * l1) * math.sin(q1) + far, far])
        force = torque(t) - damping * np.array([v1, v2]) - coriolis - gravity
        return [v1, v2, *np.linalg.solve(mass, force)]

    return rhs


@pytest.mark.parametrize("damping", [0.0, 0.05])
def test_the_published_double_pendulum_is_followed_to_first_order_in_the_tick(
    build: Build, damping: float
) -> None:
    end, start = 0.5, [1.0, 0.5, 0.0, 0.0]
    robot = double_pendulum("1.1")
    rhs = equations_of_motion(robot, lambda t: np.array([2.0, -0.5]), damping)
    exact = solve_ivp(rhs, (0, end), start, rtol=1e-10, atol=1e-12).y[:, -1]
    errors = []
    for tick in (0.002, 0.001, 0.0005):
        fixed = {f"joint_damping.{j}": damping for j in robot.joint_names}
        engine = build("pybullet", robot, tick_s=tick, ticks=1, fixed=fixed)
        put(engine, start[:2])
        for _ in range(round(end / tick)):
            engine.step(np.array([[[2.0, -0.5]]]))
        errors.append(np.abs(only_state(engine).buffer[0, :4] - exact).max())
    assert errors[0] < 0.06
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2.0, rel=0.1)


def test_one_tick_is_semi_implicit_euler_on_the_exact_acceleration(build: Build) -> None:
    robot = double_pendulum("1.1")
    engine = build("pybullet", robot, ticks=1)
    start = np.array([1.0, -0.7, 2.0, 3.0])
    put(engine, start[:2], start[2:])
    engine.step(np.array([[[1.0, 0.5]]]))
    slope = equations_of_motion(robot, lambda t: np.array([1.0, 0.5]), 0.0)(0.0, start)
    velocity = start[2:] + 0.002 * np.array(slope[2:])
    state = only_state(engine)
    np.testing.assert_allclose(state.joint_vel[0], velocity, atol=1e-12)
    np.testing.assert_allclose(state.joint_pos[0], start[:2] + 0.002 * velocity, atol=1e-12)


def test_no_speed_is_clamped(build: Build) -> None:
    engine = build("pybullet", robots.cart(), ticks=1)
    put(engine, [0.0], [5000.0])
    engine.step(np.zeros((1, 1, 1)))
    assert only_state(engine).joint_vel[0, 0] == pytest.approx(5000.0, rel=1e-12)


def test_a_free_top_precesses_like_eulers_equations_with_a_tilted_inertia(build: Build) -> None:
    turn = matrix_from_rpy((0.4, -0.3, 0.8))
    full = turn @ np.diag([0.1, 0.2, 0.25]) @ turn.T
    pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    inertia = tuple(float(full[i, j]) for i, j in pairs)
    # The whole body hangs on a joint about x: its acceleration sees Ixx of the tilted matrix.
    arm = robots.pendulums(count=1).revised(
        links={"arm0": {"inertia": inertia, "com": (0.0, 0.0, 0.0)}},
        joints={"shoulder": {"axis": (1.0, 0.0, 0.0)}},
    )
    engine = build("pybullet", arm, ticks=1)
    engine.step(np.full((1, 1, 1), 3.0))
    wanted = 3.0 * 0.002 / inertia_matrix(arm.links[1])[0, 0]
    assert only_state(engine).joint_vel[0, 0] == pytest.approx(wanted, rel=1e-9)


# -- what Bullet cannot represent ------------------------------------------------------------------


def test_armature_is_refused_with_the_line_that_leaves_it_out(build: Build) -> None:
    with pytest.raises(
        RobotError, match=r"shoulder 0\.002263 .*armature\.shoulder: 0\.0, armature"
    ):
        build("pybullet", double_pendulum())
    build("pybullet", double_pendulum(), fixed=NO_ROTOR)


@pytest.mark.parametrize(
    "settings", [{"fixed": {"armature.elbow": 0.1}}, {"params": ("armature.elbow",)}]
)
def test_armature_above_zero_and_as_a_parameter_is_refused(
    build: Build, settings: dict[str, Any]
) -> None:
    with pytest.raises(SimrealError, match=r"cannot apply 'armature\.elbow'.*no rotor inertia"):
        build("pybullet", double_pendulum("1.1"), **settings)


def test_contact_parameters_of_shapeless_links_are_refused() -> None:
    robot = robots.crate()
    params = catalogue(robot)
    supported = {
        name: PyBulletEngine.capability(robot, params[name]).supported
        for name in ("contact_friction.box", "contact_friction.wheel")
    }
    assert supported == {"contact_friction.box": True, "contact_friction.wheel": False}


def test_an_unknown_option_is_refused(build: Build) -> None:
    with pytest.raises(UnknownNameError, match="solver_iterations"):
        build("pybullet", robots.cart(), options={"solver_iteration": 10})


def test_commands_of_a_wrong_shape_are_refused(build: Build) -> None:
    with pytest.raises(EngineError, match=r"\(5, 1, 1\) needed"):
        build("pybullet", robots.cart()).step(np.zeros((4, 1, 1)))


# -- motors ----------------------------------------------------------------------------------------


def test_the_position_law_is_evaluated_at_every_tick(build: Build) -> None:
    gains = {"kp": 40.0, "kd": 3.0, "strength": 0.8}
    engine = build("pybullet", robots.cart(**gains), ticks=7)
    put(engine, [0.1], [0.5])
    targets = np.linspace(0.3, 1.0, 7)
    engine.step(targets.reshape(7, 1, 1))
    q, v = 0.1, 0.5
    for target in targets:
        force = 0.8 * (40.0 * (target - q) - 3.0 * v)
        v += 0.002 * force / robots.CART_MASS
        q += 0.002 * v
    state = only_state(engine)
    np.testing.assert_allclose([state.joint_pos[0, 0], state.joint_vel[0, 0]], [q, v], atol=1e-12)


def test_torque_and_position_motors_mix(build: Build) -> None:
    motors = (
        Actuator(joint="mid", torque_limit=50.0, strength=0.5),
        Actuator(joint="zeta", torque_limit=3.0, kind="position", kp=100.0),
    )
    robot = robots.gantry()
    mixed = Robot(name="mixed", links=robot.links, joints=robot.joints, actuators=motors)
    engine = build("pybullet", mixed, ticks=1, fixed={"gravity": 0.0})
    engine.step(np.array([[[8.0, 1.0]]]))
    # mid: 0.5 * 8 N on 4 kg; zeta: 100 N clipped to 3 N on 7 kg.
    wanted = [0.002 * 3.0 / 7.0, 0.0, 0.002 * 4.0 / 4.0]
    np.testing.assert_allclose(only_state(engine).joint_vel[0], wanted, atol=1e-12)


def test_gains_can_be_changed_while_running(build: Build) -> None:
    robot = robots.cart(kp=10.0, kd=1.0)
    params = ("kp.rail", "kd.rail", "torque_limit.rail", "motor_strength.rail")
    engine = build("pybullet", robot, ticks=1, params=params)
    apply(engine, kp__rail=20.0, kd__rail=2.0, motor_strength__rail=0.5)
    put(engine, [0.0], [1.0])
    engine.step(np.full((1, 1, 1), 2.0))
    wanted = 1.0 + 0.002 * 0.5 * (20.0 * 2.0 - 2.0 * 1.0) / 2.0
    assert only_state(engine).joint_vel[0, 0] == pytest.approx(wanted, abs=1e-12)


# -- parameters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["com__arm1", "link_length__arm0", "inertia__arm0"])
def test_a_world_that_is_loaded_anew_keeps_its_state_and_other_parameters(
    build: Build, name: str
) -> None:
    robot = robots.pendulums()
    tilted = robot.revised(links={"arm0": {"inertia": (0.01, 0.01, 0.008, 0.001, 0.0, 0.0)}})
    dotted = name.replace("__", ".")
    engine = build(
        "pybullet", tilted, params=(dotted, "gravity", "joint_friction.elbow", "mass.arm0")
    )
    assert engine.capability(tilted, engine.specs[dotted]).rebuilds
    put(engine, [1.0, 0.5], [2.0, -1.0])
    apply(engine, gravity=3.0, joint_friction__elbow=0.5, mass__arm0=0.7)
    before = only_state(engine).buffer.copy()
    changed = {
        "com__arm1": (0.0, 0.02, -0.2),
        "link_length__arm0": 0.3,
        "inertia__arm0": (0.012, 0.011, 0.01),
    }[name]
    apply(engine, **{name: changed})
    np.testing.assert_array_equal(only_state(engine).buffer, before)
    engine.step(np.zeros((5, 1, 2)))
    fixed = {"gravity": 3.0, "joint_friction.elbow": 0.5, "mass.arm0": 0.7, dotted: changed}
    fresh = build("pybullet", tilted, fixed=fixed)
    put(fresh, [1.0, 0.5], [2.0, -1.0])
    fresh.step(np.zeros((5, 1, 2)))
    np.testing.assert_allclose(only_state(engine).buffer, only_state(fresh).buffer, atol=1e-12)


def test_a_longer_link_moves_the_next_joint_and_nothing_else(build: Build) -> None:
    engine = build("pybullet", robots.pendulums(), bodies=("arm1",), params=("link_length.arm0",))
    apply(engine, link_length__arm0=0.35)
    put(engine, [np.pi / 2, 0.0])
    np.testing.assert_allclose(only_state(engine).body_pos["arm1"][0], [0.35, 0, 0], atol=1e-12)


def test_a_scaled_mass_keeps_a_tilted_inertia_tilted_without_a_reload(build: Build) -> None:
    tilted = robots.pendulums(count=1).revised(
        links={"arm0": {"inertia": (0.01, 0.011, 0.012, 0.001, 0.002, 0.0005)}}
    )
    values = {"mass.arm0": 1.5}
    applied = build("pybullet", tilted, params=("mass.arm0",))
    body = applied._worlds[0].body
    apply(applied, mass__arm0=1.5)
    assert applied._worlds[0].body == body
    fixed = build("pybullet", tilted, fixed=values)
    for engine in (applied, fixed):
        put(engine, [1.0])
        engine.step(np.ones((5, 1, 1)))
    np.testing.assert_allclose(
        only_state(applied).buffer, only_state(fixed).buffer, rtol=1e-12, atol=1e-14
    )


def test_nothing_is_written_when_one_parameter_is_not_declared(build: Build) -> None:
    engine = build("pybullet", robots.cart(), params=("mass.cart",))
    with pytest.raises(SimrealError, match="gravity"):
        apply(engine, mass__cart=20.0, gravity=1.0)
    engine.step(np.full((5, 1, 1), 2.0))
    assert only_state(engine).joint_vel[0, 0] == pytest.approx(0.01 * 2.0 / 2.0)


# -- state -----------------------------------------------------------------------------------------


def test_the_state_is_exact_exactly_where_nothing_can_touch(build: Build) -> None:
    assert build("pybullet", robots.pendulums()).exact_state
    assert build("pybullet", robots.skater()).exact_state
    assert not build("pybullet", robots.skater(), ground=True).exact_state
    assert not build("pybullet", robots.flywheel()).exact_state


def test_200_steps_with_friction_and_torques_continue_bit_for_bit(build: Build) -> None:
    def drive(engine: Engine, first: int) -> np.ndarray:
        found = []
        for step in range(first, first + 200):
            engine.step(np.full((5, 2, 2), 2.0 * np.sin(0.05 * step)))
            found.append(only_state(engine).buffer.copy())
        return np.array(found)

    first, second = (build("pybullet", double_pendulum(), 2, fixed=NO_ROTOR) for _ in range(2))
    drive(first, 0)
    second.set_state(first.get_state())
    np.testing.assert_array_equal(drive(first, 200), drive(second, 200))


@pytest.mark.parametrize("robot", [robots.crate(height=0.12), robots.skater()])
def test_with_contacts_a_run_with_checkpoints_equals_a_resumed_one(
    build: Build, robot: Robot
) -> None:
    def push(engine: Engine) -> np.ndarray:
        engine.step(np.full((5, 1, robot.num_actuators), 0.3))
        return only_state(engine).buffer.copy()

    first, second = (build("pybullet", robot, ground=True) for _ in range(2))
    for _ in range(60):
        push(first)
    saved = first.get_state()
    second.set_state(saved)
    for _ in range(40):
        np.testing.assert_array_equal(push(first), push(second))


def test_a_reset_forgets_contacts(build: Build) -> None:
    used, fresh = (build("pybullet", robots.crate(height=0.1), ground=True) for _ in range(2))
    for _ in range(30):
        used.step(np.full((5, 1, 1), 1.0))
    for each in (used, fresh):
        put(each, [0.0])
        for _ in range(30):
            each.step(np.full((5, 1, 1), 0.3))
    np.testing.assert_array_equal(only_state(used).buffer, only_state(fresh).buffer)


def test_a_world_that_ran_into_nan_is_whole_again_after_a_reset(build: Build) -> None:
    engine = build("pybullet", robots.crate(), ground=True)
    fresh = build("pybullet", robots.crate(), ground=True)
    engine.step(np.full((5, 1, 1), np.nan))
    assert engine.health(only_state(engine)).diverged.all()
    for each in (engine, fresh):
        put(each, [0.0])
        for _ in range(20):
            each.step(np.full((5, 1, 1), 0.1))
    np.testing.assert_array_equal(only_state(engine).buffer, only_state(fresh).buffer)


def test_a_state_with_a_missing_part_is_refused(build: Build) -> None:
    engine = build("pybullet", robots.cart())
    state = engine.get_state()
    state.pop("tick")
    with pytest.raises(EngineError, match="'tick' has shape nothing"):
        engine.set_state(state)


def test_a_single_floating_body_without_joints_falls(build: Build) -> None:
    body = robots.flywheel()
    ball = Robot(name="ball", links=body.links[:1], joints=(), actuators=(), fixed_base=False)
    engine = build("pybullet", ball, ticks=1)
    engine.step(np.zeros((1, 1, 0)))
    assert only_state(engine).root_vel[0, 2] == pytest.approx(-9.81 * 0.002)


# -- pictures and the end --------------------------------------------------------------------------


def test_a_picture_shows_the_pose_and_leaves_the_physics_alone(build: Build) -> None:
    engine = build("pybullet", double_pendulum("1.1"), 2)
    pose = np.array([[0.0, 0.0], [1.5, 0.0]])
    engine.reset(np.ones(2, dtype=bool), pose, np.zeros((2, 2)))
    before = only_state(engine).buffer.copy()
    hanging, raised = (engine.render(world, 96, 72) for world in (0, 1))
    assert hanging.shape == (72, 96, 3)
    assert hanging.dtype == np.uint8
    orange = [(p[:, :, 0].astype(int) - p[:, :, 2] > 60) for p in (hanging, raised)]
    assert orange[0].sum() > 10
    assert np.mean(np.nonzero(orange[1])[1]) > np.mean(np.nonzero(orange[0])[1]) + 5
    np.testing.assert_array_equal(only_state(engine).buffer, before)


def test_closing_frees_every_client_and_can_be_repeated(build: Build) -> None:
    import pybullet

    def clients() -> int:
        return sum(pybullet.isConnected(i) for i in range(1024))

    before = clients()
    engine = build("pybullet", robots.cart(), 3)
    engine.render(0, 16, 16)
    assert clients() == before + 4
    engine.close()
    engine.close()
    assert clients() == before


def test_a_failed_build_leaves_no_client(build: Build) -> None:
    import pybullet

    before = sum(pybullet.isConnected(i) for i in range(1024))
    with pytest.raises(UnknownNameError, match="absent"):
        build("pybullet", robots.cart(), 2, bodies=("absent",))
    shape = Shape(kind="mesh", size=(1.0,), mesh="absent.obj", collides=True)
    robot = robots.cart().revised(links={"cart": {"shapes": (shape,)}})
    with pytest.raises(EngineError, match="cart"):
        build("pybullet", robot, 2)
    assert sum(pybullet.isConnected(i) for i in range(1024)) == before

"""What only the MuJoCo engine promises: threads, its fast path, its options and its refusals."""

import numpy as np
import pytest

from simreal.core.kinematics import link_frames
from simreal.core.params import DynamicsParams
from simreal.core.robot import Joint, Link, Robot
from simreal.engines import Engine
from simreal.errors import (
    DependencyError,
    EngineError,
    ParameterError,
    RobotError,
    UnknownNameError,
)
from simreal_envs.robots import hopper
from tests.engines import sample_robots as robots
from tests.engines.annotations import Build, Run

mujoco = pytest.importorskip("mujoco")
SimulationError = pytest.importorskip("mujoco.batch").SimulationError

ROBOT = robots.pendulums(damping=0.01, friction=0.05)


def spread(num_worlds: int) -> np.ndarray:
    return np.linspace(-2, 2, 2 * num_worlds).reshape(num_worlds, 2)


def trajectory(engine: Engine, *, sample: bool = False) -> np.ndarray:
    n = engine.num_worlds
    engine.reset(np.ones(n, dtype=bool), spread(n), -spread(n))
    state, found = engine.new_state(), []
    for step in range(30):
        commands = np.full((5, n, 2), np.cos(0.2 * step))
        engine.step(commands, np.arange(n) % 5 + 1 if sample else None)
        engine.read(state)
        found.append(np.concatenate([state.joint_pos, state.joint_vel], axis=1))
    return np.array(found)


def test_results_do_not_depend_on_the_number_of_threads(build: Build) -> None:
    found = [trajectory(build("mujoco", ROBOT, 7, options={"threads": n})) for n in (1, 2, 3)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_one_call_for_constant_commands_equals_tick_by_tick(build: Build) -> None:
    fast = trajectory(build("mujoco", ROBOT, 5))
    slow = trajectory(build("mujoco", ROBOT, 5), sample=True)
    looking = trajectory(build("mujoco", ROBOT, 5, bodies=("arm1",)), sample=True)
    np.testing.assert_array_equal(fast, slow)
    np.testing.assert_array_equal(fast, looking)


def test_parameters_changed_in_mid_air_act_alike_with_and_without_body_positions(
    build: Build,
) -> None:
    found = []
    for bodies in ((), ("arm1",)):
        engine = build("mujoco", ROBOT, 3, bodies=bodies, params=("mass.arm1", "link_length.arm0"))
        trajectory(engine)
        values = {"mass.arm1": [0.3, 0.9, 2.0], "link_length.arm0": [0.1, 0.2, 0.5]}
        mask = np.array([True, False, True])
        engine.apply(DynamicsParams(engine.specs, values, 3), mask)
        state = engine.new_state()
        engine.read(state)
        if bodies:  # at once, before any tick
            elbow = np.linalg.norm(state.body_pos["arm1"], axis=1)
            np.testing.assert_allclose(elbow, [0.1, 0.2, 0.5], atol=1e-12)
        for _ in range(10):
            engine.step(np.zeros((5, 3, 2)))
        engine.read(state)
        found.append(np.concatenate([state.joint_pos, state.joint_vel], axis=1))
    np.testing.assert_array_equal(found[0], found[1])


def test_a_com_at_the_origin_can_be_moved(build: Build, run: Run) -> None:
    centered = ROBOT.revised(links={"arm0": {"com": (0.0, 0.0, 0.0)}})
    engine = build("mujoco", centered, 2, params=("com.arm0",))
    plain = build("mujoco", centered, 2)
    for each in (engine, plain):
        each.reset(np.ones(2, dtype=bool), np.ones((2, 2)), np.zeros((2, 2)))
    values = DynamicsParams(engine.specs, {"com.arm0": (0.0, 0.0, -0.3)}, 2)
    engine.apply(values, np.array([True, False]))
    moved, nominal = run(engine, 0.0, 10)[0], run(plain, 0.0, 10)[0]
    np.testing.assert_allclose(moved[:, 1], nominal[:, 1], atol=1e-12)
    assert np.abs(moved[-1, 0] - nominal[-1, 0]).max() > 1e-3


def test_a_center_of_mass_that_may_move_changes_nothing_until_it_does(build: Build) -> None:
    plain, movable = (build("mujoco", ROBOT, params=p)._at.model for p in ((), ("com.arm1",)))
    for field in ("body_ipos", "body_invweight0", "dof_invweight0", "body_subtreemass", "dof_M0"):
        np.testing.assert_allclose(getattr(movable, field), getattr(plain, field), rtol=1e-12)


def test_the_center_of_mass_of_a_lone_free_body_can_be_moved(build: Build) -> None:
    box = robots.crate().links[0]
    lone = Robot(
        name="lone", links=(box,), joints=(), actuators=(), fixed_base=False, base_height=0.15
    )
    com = {"com.box": (0.06, 0.02, 0.0)}
    applied = build("mujoco", lone, ground=True, params=("com.box",))
    applied.apply(DynamicsParams(applied.specs, com, 1), np.ones(1, dtype=bool))
    found = []
    for engine in (applied, build("mujoco", lone, ground=True, fixed=com)):
        state = engine.new_state()
        for _ in range(30):
            engine.step(np.zeros((5, 1, 0)))
        engine.read(state)
        found.append(state.root_pose[0].copy())
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)
    assert np.abs(found[0][4:]).max() > 1e-5  # it landed askew


def test_a_full_inertia_tensor_reaches_the_model(build: Build) -> None:
    tensor = (0.02, 0.03, 0.025, 0.003, -0.002, 0.004)
    robot = ROBOT.revised(links={"arm1": {"inertia": tensor}})
    model = build("mujoco", robot)._at.model
    body = model.body("arm1")
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, body.iquat)
    axes = rotation.reshape(3, 3)
    full = axes @ np.diag(body.inertia) @ axes.T
    wanted = [[0.02, 0.003, -0.002], [0.003, 0.03, 0.004], [-0.002, 0.004, 0.025]]
    np.testing.assert_allclose(full, wanted, atol=1e-12)


def test_the_model_holds_the_record_and_nothing_else(build: Build) -> None:
    model = build("mujoco", robots.gantry())._at.model
    np.testing.assert_array_equal(model.body_mass, [0, 0, 1, 2, 4])
    np.testing.assert_array_equal(model.dof_damping, 0.0)
    np.testing.assert_array_equal(model.dof_frictionloss, 0.0)
    np.testing.assert_array_equal(model.dof_armature, 0.0)
    assert model.nbody == 5
    assert model.opt.timestep == 0.002


def test_only_declared_parameters_are_expanded(build: Build) -> None:
    engine = build("mujoco", ROBOT, 2, params=("joint_damping.elbow",))
    assert engine._batch.expanded("dof_damping") is not None
    assert engine._batch.expanded("body_mass") is None


def test_a_finer_reference_integrator_can_be_chosen(build: Build) -> None:
    default, reference = (
        trajectory(build("mujoco", robots.pendulums(), 3, options={"integrator": name}))
        for name in ("implicitfast", "rk4")
    )
    difference = np.abs(default - reference).max()
    assert 1e-6 < difference < 0.2


def test_unknown_options_are_refused_with_the_nearest_name(build: Build) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'threads'"):
        build("mujoco", ROBOT, options={"thread": 2})
    with pytest.raises(UnknownNameError, match="implicitfast"):
        build("mujoco", ROBOT, options={"integrator": "euler2"})


def test_restitution_is_refused_with_the_reason(build: Build) -> None:
    with pytest.raises(ParameterError, match="soft"):
        build("mujoco", robots.skater(), params=("restitution.foot",), ground=True)
    bouncy = robots.skater().revised(links={"foot": {"restitution": 0.5}})
    with pytest.raises(RobotError, match="restitution"):
        build("mujoco", bouncy, ground=True)


def test_an_inertia_of_no_body_is_refused(build: Build) -> None:
    engine = build("mujoco", ROBOT, params=("inertia.arm0",))
    values = DynamicsParams(engine.specs, {"inertia.arm0": (0.1, 0.1, 0.3)}, 1)
    with pytest.raises(ParameterError, match="no rigid body"):
        engine.apply(values, np.ones(1, dtype=bool))


def test_a_fixed_link_length_moves_the_next_joint(build: Build) -> None:
    fixed = {"link_length.arm0": 0.35}
    engine = build("mujoco", ROBOT, fixed=fixed, bodies=("arm1",))
    state = engine.new_state()
    engine.read(state)
    np.testing.assert_allclose(state.body_pos["arm1"], [[0, 0, -0.35]], atol=1e-12)
    assert engine.realized("link_length.arm0") == pytest.approx(0.35)


def test_bad_commands_are_reported(build: Build) -> None:
    engine = build("mujoco", ROBOT, 2)
    commands = np.zeros((5, 2, 2))
    commands[:, 1] = np.nan
    engine.step(commands)
    state = engine.new_state()
    engine.read(state)
    health = engine.health(state)
    np.testing.assert_array_equal(health.diverged, [False, True])
    assert "command" in health.reason


def test_a_world_in_which_mujoco_raises_is_reported_until_its_reset(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build("mujoco", ROBOT, 3)
    state = engine.new_state()

    def fail(**_: object) -> None:
        raise SimulationError(np.array([2]), "stack overflow")

    monkeypatch.setattr(engine._batch, "step", fail)
    engine.step(np.zeros((5, 3, 2)))
    engine.read(state)
    health = engine.health(state)
    np.testing.assert_array_equal(health.diverged, [False, False, True])
    assert "stack overflow" in health.reason
    engine.reset(health.diverged, spread(3), spread(3))
    assert not engine.health(state).diverged.any()


def test_a_world_that_diverged_stays_where_it_is(build: Build, run: Run) -> None:
    engine = build("mujoco", ROBOT, 2)
    speed = np.array([[0.0, 0.0], [1e11, 0.0]])
    engine.reset(np.ones(2, dtype=bool), spread(2), speed)
    _, vel = run(engine, 0.0, 3)
    assert not np.abs(vel[-1, 1]).max() < 1e9


def test_a_state_of_another_batch_is_refused(build: Build) -> None:
    with pytest.raises(EngineError, match="num_worlds"):
        build("mujoco", ROBOT, 2).set_state(build("mujoco", ROBOT, 3).get_state())


def test_what_mujoco_refuses_is_a_robot_error(build: Build) -> None:
    tiny = Robot(
        name="tiny",
        links=(
            Link(name="base", mass=0.0),
            Link(name="dust", mass=1e-20, inertia=(1e-20,) * 3 + (0,) * 3),
        ),
        joints=(Joint(name="hinge", kind="continuous", parent="base", child="dust"),),
        actuators=(),
    )
    with pytest.raises(RobotError, match="MuJoCo refuses"):
        build("mujoco", tiny)


def test_a_picture_shows_the_world_or_the_error_says_what_is_missing(build: Build) -> None:
    engine = build("mujoco", robots.crate(), ground=True)
    try:
        picture = engine.render(0, 64, 48)
    except DependencyError as error:
        pytest.skip(str(error))
    assert picture.shape == (48, 64, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 5


def test_without_opengl_a_picture_is_a_dependency_error(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build("mujoco", robots.crate())
    monkeypatch.setattr(
        "importlib.import_module", lambda name: (_ for _ in ()).throw(ImportError(name))
    )
    with pytest.raises(DependencyError, match="engine=pybullet"):
        engine.render(0, 64, 48)


def test_joints_on_links_without_mass_stand_on_one_body(build: Build) -> None:
    engine = build("mujoco", hopper(), 1, bodies=("torso", "foot"))
    model = engine._at.model  # type: ignore[attr-defined]
    assert model.body("torso").jntnum[0] == 3
    assert model.nbody == 6  # the world, the base, and four links with mass
    assert model.body_subtreemass[0] == pytest.approx(15.82, abs=0.01)
    pose = np.array([[0.3, -0.1, 0.4, -0.5, -0.7, 0.2]])
    engine.reset(np.array([True]), pose, np.zeros_like(pose))
    state = engine.new_state()
    engine.read(state)
    frames = link_frames(hopper(), pose[0].tolist())
    for name, position in state.body_pos.items():
        np.testing.assert_allclose(position[0], frames[name][0], atol=1e-12)
    with pytest.raises(RobotError, match="only carry a joint"):
        build("mujoco", hopper(), 1, bodies=("carrier_z",))

"""What only the Warp engine promises: agreement with MuJoCo, graphs, tensors, sizes that fit."""

import logging

import numpy as np
import pytest

from simreal.core.params import DynamicsParams
from simreal.core.robot import Robot
from simreal.engines import Engine
from simreal.errors import EngineError, ParameterError, UnknownNameError
from tests.engines import sample_robots as robots
from tests.engines.annotations import Build, Run
from tests.engines.driving import params, put, read

torch = pytest.importorskip("torch")
mujoco = pytest.importorskip("mujoco")
pytest.importorskip("mujoco_warp")
setup = pytest.importorskip("simreal.engines.warp_setup")

ROBOT = robots.pendulums(damping=0.01, friction=0.05)
CPU = {"device": "cpu"}


def driven(engine: Engine, num_steps: int, torque: float) -> np.ndarray:
    """Return positions and velocities (T, N, 2 J) under a slow sine of torque."""
    state, found = engine.new_state(), []
    shape = (engine.spec.ticks, engine.num_worlds, engine.robot.num_actuators)
    for step in range(num_steps):
        engine.step(np.full(shape, torque * np.sin(0.1 * step)))
        engine.read(state)
        found.append(np.concatenate([state.joint_pos, state.joint_vel], axis=1))
    return np.array(found)


@pytest.mark.parametrize(
    ("robot", "start"),
    [
        (robots.pendulums(damping=0.02), 0.8),
        (robots.gantry(), 0.3),
        (robots.flywheel(), 0.3),
        (robots.cart(kp=200.0, kd=8.0), 0.05),
    ],
    ids=["pendulum", "gantry", "floating", "position control"],
)
def test_it_agrees_with_mujoco_over_100_steps_with_randomized_masses(
    build: Build, robot: Robot, start: float
) -> None:
    rng = np.random.default_rng(3)
    names = tuple(f"mass.{link.name}" for link in robot.links if link.mass > 0)
    factors = {name: rng.uniform(0.5, 1.5, 8) for name in names}
    found = []
    for engine_name in ("mujoco", "warp"):
        engine = build(engine_name, robot, 8, params=names, ticks=1)
        values = {name: engine.specs[name].nominal[0] * factors[name] for name in names}
        engine.apply(DynamicsParams(engine.specs, values, 8), np.ones(8, dtype=bool))
        spread = np.linspace(-start, start, 8)[:, None]
        put(engine, spread, -spread)
        found.append(driven(engine, 100, 0.5))
    assert np.abs(found[0][-1] - found[0][0]).max() > 0.02
    assert np.abs(found[0] - found[1]).max() < 1e-5


def test_replayed_graphs_equal_single_launches_bit_for_bit(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = build("warp", ROBOT, 3, bodies=("arm1",))
    put(replayed, [[0.3, 0.1], [1.0, -0.5], [2.0, 0.0]])
    found = driven(replayed, 20, 0.4)
    monkeypatch.setattr(setup, "_obstacle", lambda device: "a test forbids it")
    with pytest.raises(EngineError, match="allow_eager: true"):
        build("warp", ROBOT, 3)
    eager = build("warp", ROBOT, 3, bodies=("arm1",), options={**CPU, "allow_eager": True})
    assert not eager.device.graphs  # type: ignore[attr-defined]
    put(eager, [[0.3, 0.1], [1.0, -0.5], [2.0, 0.0]])
    np.testing.assert_array_equal(driven(eager, 20, 0.4), found)


def test_tensors_drive_the_same_worlds_as_arrays(build: Build) -> None:
    arrays, tensors = (build("warp", ROBOT, 4, params=("mass.arm1",)) for _ in range(2))
    start = np.linspace(-1, 1, 8).reshape(4, 2)
    mask = np.array([True, False, True, True])
    masses = np.array([0.3, 0.6, 0.9, 1.2])
    put(arrays, start, mask=mask)
    arrays.apply(params(arrays, mass__arm1=masses), mask)
    face = tensors.tensors  # type: ignore[attr-defined]
    face.mask.copy_(torch.from_numpy(mask))
    face.joint_pos.copy_(torch.from_numpy(start))
    face.joint_vel.zero_()
    tensors.launch_reset()  # type: ignore[attr-defined]
    tensors.launch_apply(  # type: ignore[attr-defined]
        {"mass.arm1": torch.from_numpy(masses)}, torch.from_numpy(mask)
    )
    for _ in range(10):
        arrays.step(np.full((5, 4, 2), 0.3))
        face.commands.fill_(0.3)
        tensors.launch_step()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(face.truth[:, :4].numpy(), read(arrays).buffer[:, :4])


def test_derived_constants_follow_a_changed_mass(build: Build) -> None:
    engine = build("warp", ROBOT, 2, params=("mass.arm1", "armature.elbow"))
    changed = {"mass.arm1": [0.6, 1.8], "armature.elbow": [0.0, 0.02]}
    engine.apply(DynamicsParams(engine.specs, changed, 2), np.array([False, True]))
    heavy = ROBOT.revised(
        links={"arm1": {"mass": 1.8, "inertia": tuple(3 * v for v in ROBOT.links[2].inertia)}},
        joints={"elbow": {"armature": 0.02}},
    )
    models = [build("mujoco", robot)._at.model for robot in (ROBOT, heavy)]
    for field in ("body_subtreemass", "body_invweight0", "dof_invweight0", "actuator_acc0"):
        found = getattr(engine._model, field).numpy()  # type: ignore[attr-defined]
        for world, model in enumerate(models):
            np.testing.assert_allclose(found[world], getattr(model, field), rtol=2e-5, atol=1e-6)


def test_a_full_inertia_tensor_reaches_the_model(build: Build) -> None:
    robot = ROBOT.revised(links={"arm1": {"inertia": (0.02, 0.03, 0.025, 0.003, -0.002, 0.004)}})
    engine = build("warp", robot, 2, params=("inertia.arm1",))
    engine.apply(params(engine, inertia__arm1=(0.03, 0.03, 0.04)), np.array([False, True]))
    body = engine._at.bodies["arm1"]  # type: ignore[attr-defined]
    model = engine._model  # type: ignore[attr-defined]
    for world, diagonal in enumerate([(0.02, 0.03, 0.025), (0.03, 0.03, 0.04)]):
        quat = model.body_iquat.numpy()[world, body].astype(float)
        axes = np.empty(9)
        mujoco.mju_quat2Mat(axes, quat)
        moments = model.body_inertia.numpy()[world, body]
        full = axes.reshape(3, 3) @ np.diag(moments) @ axes.reshape(3, 3).T
        xx, yy, zz = diagonal
        wanted = [[xx, 0.003, -0.002], [0.003, yy, 0.004], [-0.002, 0.004, zz]]
        np.testing.assert_allclose(full, wanted, atol=1e-7)


def test_an_inertia_of_no_body_is_reported(build: Build) -> None:
    engine = build("warp", ROBOT, 2, params=("inertia.arm0",))
    engine.apply(params(engine, inertia__arm0=(0.1, 0.1, 0.3)), np.array([False, True]))
    with pytest.raises(EngineError, match="world 1 was given an inertia of no rigid body"):
        engine.health(read(engine))


def test_too_few_contacts_are_an_error_with_setting_and_peak(build: Build, run: Run) -> None:
    engine = build("warp", robots.crate(height=0.1), 3, ground=True, options={"nconmax": 2})
    run(engine, 0.0, 2)
    with pytest.raises(EngineError, match=r"12 contacts at once in 3 worlds.*nconmax: 4"):
        engine.health(read(engine))


def test_too_few_constraint_rows_are_an_error_with_setting_and_peak(build: Build, run: Run) -> None:
    engine = build("warp", robots.crate(height=0.1), 2, ground=True, options={"njmax": 5})
    run(engine, 0.0, 2)
    with pytest.raises(EngineError, match=r"12 constraint rows at once in world 0.*njmax: 12"):
        engine.health(read(engine))


def test_default_sizes_hold_what_the_model_can_have(build: Build, run: Run) -> None:
    engine = build("warp", robots.crate(height=0.1), 2, ground=True)
    assert (engine.nconmax, engine.njmax) == (4, 24)  # type: ignore[attr-defined]
    run(engine, 0.0, 3)
    engine.health(read(engine))
    assert engine.peaks == (8, 12)  # type: ignore[attr-defined]
    empty = build("warp", ROBOT, 2)
    assert empty.nconmax == 0  # type: ignore[attr-defined]


def test_a_masked_reset_leaves_the_contacts_of_the_others(build: Build, run: Run) -> None:
    engine = build("warp", robots.crate(height=0.1), 3, ground=True, contacts=("box",))
    run(engine, 0.0, 5)
    np.testing.assert_array_equal(read(engine).contact["box"], 1.0)
    put(engine, 0.0, mask=np.array([True, False, False]))
    before = read(engine).buffer.copy()
    other = build("warp", robots.crate(height=0.1), 3, ground=True, contacts=("box",))
    run(other, 0.0, 5)
    np.testing.assert_array_equal(read(other).buffer[1:], before[1:])
    run(engine, 0.0, 5)
    run(other, 0.0, 5)
    np.testing.assert_array_equal(read(other).buffer[1:], read(engine).buffer[1:])


def test_unknown_options_and_devices_are_refused(build: Build) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'nconmax'"):
        build("warp", ROBOT, options={"nconmx": 2})
    with pytest.raises(UnknownNameError, match="device of engine 'warp'"):
        build("warp", ROBOT, options={"device": "cuda:7"})


def test_a_control_step_of_another_length_is_refused(build: Build) -> None:
    with pytest.raises(EngineError, match="3 ticks of commands; its control step has 5"):
        build("warp", ROBOT).step(np.zeros((3, 1, 2)))


def test_a_state_of_another_batch_is_refused(build: Build) -> None:
    with pytest.raises(EngineError, match="num_worlds"):
        build("warp", ROBOT, 2).set_state(build("warp", ROBOT, 3).get_state())


def test_restitution_is_refused(build: Build) -> None:
    with pytest.raises(ParameterError, match="soft"):
        build("warp", robots.skater(), params=("restitution.foot",), ground=True)


def test_a_long_build_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    device = setup.find_device(CPU)
    with caplog.at_level(logging.INFO):
        setup.log_build(device, 0.2)
        setup.log_build(device, 31.4)
    assert len(caplog.records) == 1
    assert "built Warp kernels for cpu in 31 s" in caplog.text

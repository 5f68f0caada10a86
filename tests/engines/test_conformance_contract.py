"""What every engine must keep: resets, determinism, schedules, parameters, checkpoints."""

from pathlib import Path

import numpy as np
import pytest

from simreal.core.params import DynamicsParams
from simreal.errors import ParameterError
from tests.engines import sample_robots as robots
from tests.engines.annotations import Build, Run
from tests.engines.driving import WEIGHTLESS, held, params, put, read, slack

# Resets, determinism, worlds


def test_reset_is_exact_and_forgets_what_was(engine_name: str, build: Build, run: Run) -> None:
    engine = build(engine_name, robots.pendulums(damping=0.01, friction=0.05), 2)
    start = np.array([[0.3, -1.7], [2.5, 9.0]])
    put(engine, start, -start)
    state = read(engine)
    np.testing.assert_array_equal(state.joint_pos, held(engine, start))
    np.testing.assert_array_equal(state.joint_vel, held(engine, -start))
    first = run(engine, [0.5, -0.5], 30)
    run(engine, [3.0, 1.0], 17)
    put(engine, start, -start)
    second = run(engine, [0.5, -0.5], 30)
    np.testing.assert_array_equal(first, second)


def test_a_masked_reset_touches_only_its_worlds(engine_name: str, build: Build, run: Run) -> None:
    engine = build(engine_name, robots.pendulums(friction=0.05), 3)
    other = build(engine_name, robots.pendulums(friction=0.05), 3)
    for each in (engine, other):
        put(each, [1.0, 0.5])
        run(each, 0.0, 10)
    put(engine, [-0.5, 0.0], mask=np.array([False, True, False]))
    found, _ = run(engine, 0.0, 10)
    wanted, _ = run(other, 0.0, 10)
    np.testing.assert_array_equal(found[:, [0, 2]], wanted[:, [0, 2]])
    assert np.abs(found[0, 1] - wanted[0, 1]).max() > 0.1


def test_a_floating_base_is_reset_upright_at_its_height(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(engine_name, robots.flywheel(), 2)
    run(engine, 3.0, 30)
    put(engine, 0.0, mask=np.array([True, False]))
    state = read(engine)
    np.testing.assert_array_equal(state.root_pose[0], [0, 0, 10, 1, 0, 0, 0])
    np.testing.assert_array_equal(state.root_vel[0], np.zeros(6))
    assert state.root_pose[1, 2] < 9.9


def test_equal_worlds_are_identical_and_unequal_ones_are_not(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(engine_name, robots.pendulums(friction=0.05), 3)
    put(engine, [[1.0, 0.5], [1.0, 0.5], [1.0, 0.5001]])
    pos, _ = run(engine, 0.1, 50)
    np.testing.assert_array_equal(pos[:, 0], pos[:, 1])
    assert np.abs(pos[-1, 0] - pos[-1, 2]).max() > 1e-5


def test_a_world_does_not_depend_on_how_many_there_are(
    engine_name: str, build: Build, run: Run
) -> None:
    alone = build(engine_name, robots.pendulums(friction=0.05), 1)
    among = build(engine_name, robots.pendulums(friction=0.05), 4)
    put(alone, [1.0, 0.5])
    put(among, [[0.0, 0.0], [2.0, 0.0], [1.0, 0.5], [0.0, 1.0]])
    np.testing.assert_array_equal(run(alone, 0.2, 40)[0][:, 0], run(among, 0.2, 40)[0][:, 2])


# Schedules and samples


def test_a_command_switches_at_its_tick_in_its_world(engine_name: str, build: Build) -> None:
    engine = build(engine_name, robots.cart(), 3)
    commands = np.zeros((5, 3, 1))
    for world, switch in enumerate((0, 2, 4)):
        commands[switch:, world] = 10.0  # 5 m/s^2
    engine.step(commands)
    np.testing.assert_allclose(read(engine).joint_vel[:, 0], np.array([5, 3, 1]) * 0.01, atol=1e-12)


def test_samples_are_taken_after_their_tick(engine_name: str, build: Build) -> None:
    engine = build(engine_name, robots.cart(), 3)
    state = engine.new_state()
    engine.step(np.full((5, 3, 1), 10.0), np.array([1, 3, 5]))
    engine.sample(state)
    np.testing.assert_allclose(state.joint_vel[:, 0], np.array([1, 3, 5]) * 0.01, atol=1e-12)
    np.testing.assert_allclose(state.time, np.array([1, 3, 5]) * 0.002)
    np.testing.assert_allclose(read(engine).joint_vel[:, 0], 0.05, atol=1e-12)


def test_without_sample_ticks_a_sample_is_the_present(engine_name: str, build: Build) -> None:
    engine = build(engine_name, robots.pendulums(), 2, bodies=("arm1",))
    engine.step(np.ones((5, 2, 2)), np.array([1, 2]))
    engine.step(np.ones((5, 2, 2)))
    state = engine.new_state()
    engine.sample(state)
    np.testing.assert_array_equal(state.buffer, read(engine).buffer)


def test_after_a_reset_a_sample_is_the_new_beginning(engine_name: str, build: Build) -> None:
    engine = build(engine_name, robots.pendulums(), 2, bodies=("arm1",))
    engine.step(np.ones((5, 2, 2)), np.array([1, 2]))
    put(engine, 0.7, mask=np.array([False, True]))
    state = engine.new_state()
    engine.sample(state)
    np.testing.assert_array_equal(state.buffer[1], read(engine).buffer[1])
    assert state.time[0] == pytest.approx(0.002)


def test_sampling_does_not_change_the_physics(engine_name: str, build: Build) -> None:
    robot = robots.pendulums(friction=0.05)
    plain = build(engine_name, robot, 2)
    looking = build(engine_name, robot, 2, bodies=("arm1",))
    for tick in (1, 4, 2, 5):
        plain.step(np.ones((5, 2, 2)))
        looking.step(np.ones((5, 2, 2)), np.array([tick, 3]))
    np.testing.assert_array_equal(read(plain).joint_pos, read(looking).joint_pos)
    np.testing.assert_array_equal(read(plain).joint_vel, read(looking).joint_vel)


def test_body_positions_belong_to_the_joint_positions(engine_name: str, build: Build) -> None:
    engine = build(engine_name, robots.pendulums(), 2, bodies=("arm1",))
    engine.step(np.ones((5, 2, 2)) * 3, np.array([2, 5]))
    sampled = engine.new_state()
    engine.sample(sampled)
    for state in (sampled, read(engine)):
        q = state.joint_pos[:, 0]
        wanted = np.stack([0.2 * np.sin(q), 0 * q, -0.2 * np.cos(q)], axis=1)
        np.testing.assert_allclose(state.body_pos["arm1"], wanted, atol=1e-9)
        assert np.abs(q).min() > 1e-5


def test_body_positions_are_right_after_a_reset(engine_name: str, build: Build) -> None:
    engine = build(engine_name, robots.pendulums(), 2, bodies=("arm1",))
    put(engine, [np.pi / 2, 0.0], mask=np.array([False, True]))
    found = read(engine).body_pos["arm1"]
    np.testing.assert_allclose(found, [[0, 0, -0.2], [0.2, 0, 0]], atol=1e-9)


# Parameters


def test_applying_the_nominal_values_changes_nothing(
    engine_name: str, build: Build, run: Run
) -> None:
    names = ("mass.arm1", "joint_damping.elbow", "joint_friction.elbow", "gravity", "com.arm1")
    robot = robots.pendulums(damping=0.01, friction=0.05)
    plain, applied = (build(engine_name, robot, 2, params=names) for _ in range(2))
    nominal = {name: applied.specs[name].nominal for name in names}
    everywhere = np.ones(2, dtype=bool)
    applied.apply(DynamicsParams(applied.specs, nominal, 2), everywhere)
    for each in (plain, applied):
        put(each, [1.0, 0.5])
    np.testing.assert_allclose(run(plain, 0.3, 40)[0], run(applied, 0.3, 40)[0], atol=1e-10)


def test_a_mass_takes_its_inertia_along_unless_told_otherwise(
    engine_name: str, build: Build, run: Run
) -> None:
    doubled = 2 * 0.01 + 1.0 * 0.2**2
    kept = 0.01 + 1.0 * 0.2**2
    for scale, inertia in ((True, doubled), (False, kept)):
        engine = build(
            engine_name,
            robots.pendulums(count=1),
            fixed=WEIGHTLESS,
            params=("mass.arm0",),
            scale_inertia=scale,
        )
        engine.apply(params(engine, mass__arm0=1.0), np.ones(1, dtype=bool))
        _, vel = run(engine, 0.1, 10)
        assert vel[-1, 0, 0] == pytest.approx(0.01 / inertia, rel=1e-4)


def test_a_mass_given_with_an_inertia_does_not_scale_it(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(
        engine_name,
        robots.pendulums(count=1),
        fixed=WEIGHTLESS,
        params=("inertia.arm0", "mass.arm0"),
    )
    both = params(engine, mass__arm0=1.0, inertia__arm0=(0.02, 0.03, 0.02))
    engine.apply(both, np.ones(1, dtype=bool))
    _, vel = run(engine, 0.1, 10)
    assert vel[-1, 0, 0] == pytest.approx(0.01 / (0.03 + 0.04), rel=1e-4)


def test_fixed_and_applied_parameters_mean_the_same(
    engine_name: str, build: Build, run: Run
) -> None:
    values = {
        "mass.arm1": 0.9,
        "com.arm1": (0.01, 0.0, -0.2),
        "joint_damping.shoulder": 0.02,
        "joint_friction.elbow": 0.03,
        "motor_strength.elbow": 0.7,
        "gravity": 5.0,
    }
    fixed = build(engine_name, robots.pendulums(), fixed=values)
    applied = build(engine_name, robots.pendulums(), params=tuple(values))
    applied.apply(DynamicsParams(applied.specs, values, 1), np.ones(1, dtype=bool))
    for each in (fixed, applied):
        put(each, [1.0, 0.5])
    found = [run(each, [0.2, 0.4], 40)[0] for each in (fixed, applied)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-7)


def test_parameters_act_from_the_next_tick_in_the_masked_worlds(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(engine_name, robots.cart(), 2, params=("mass.cart",))
    run(engine, 10.0, 1)
    engine.apply(params(engine, mass__cart=[5.0, 4.0]), np.array([False, True]))
    _, vel = run(engine, 10.0, 1)
    np.testing.assert_allclose(vel[0, :, 0], [0.1, 0.05 + 0.025], atol=slack(engine_name, 1e-9))


def test_what_was_not_asked_for_cannot_be_applied(engine_name: str, build: Build) -> None:
    engine = build(engine_name, robots.pendulums(), params=("gravity",))
    with pytest.raises(ParameterError, match=r"mass\.arm1"):
        engine.apply(params(engine, mass__arm1=1.0), np.ones(1, dtype=bool))


def test_unknown_and_inert_parameters_are_refused_when_built(
    engine_name: str, build: Build
) -> None:
    with pytest.raises(ParameterError, match=r"mass\.nose"):
        build(engine_name, robots.pendulums(), params=("mass.nose",))
    with pytest.raises(ParameterError, match="no colliding shape"):
        build(engine_name, robots.pendulums(), params=("contact_friction.arm1",), ground=True)
    with pytest.raises(ParameterError, match="ground"):
        build(engine_name, robots.skater(), params=("contact_friction.foot",))


# Checkpoints and health


def test_a_saved_state_continues_bit_for_bit_in_another_engine(
    engine_name: str, build: Build, run: Run
) -> None:
    robot = robots.pendulums(damping=0.01, friction=0.05)
    first, second = (build(engine_name, robot, 2, bodies=("arm1",)) for _ in range(2))
    put(first, [[1.0, 0.5], [2.0, -0.3]])
    run(first, [0.4, -0.2], 23)
    second.set_state(first.get_state())
    np.testing.assert_array_equal(read(first).buffer, read(second).buffer)
    for each in (first, second):
        each.step(np.ones((5, 2, 2)) * 0.3, np.array([2, 4]))
    for method in ("read", "sample"):
        states = [engine.new_state() for engine in (first, second)]
        getattr(first, method)(states[0])
        getattr(second, method)(states[1])
        np.testing.assert_array_equal(states[0].buffer, states[1].buffer)
    np.testing.assert_array_equal(run(first, 0.1, 20), run(second, 0.1, 20))


def test_a_diverging_world_is_reported_and_the_others_go_on(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(engine_name, robots.pendulums(), 3)
    put(engine, [0.3, 0.2], [[0.0, 0.0], [1e9, -1e9], [0.0, 0.0]])
    pos, _ = run(engine, 0.0, 10)
    health = engine.health(read(engine))
    np.testing.assert_array_equal(health.diverged, [False, True, False])
    assert "world 1" in health.reason
    np.testing.assert_array_equal(pos[:, 0], pos[:, 2])
    put(engine, [0.3, 0.2], mask=health.diverged)
    again, _ = run(engine, 0.0, 10)
    np.testing.assert_array_equal(again[:, 1], pos[:, 0])
    assert not engine.health(read(engine)).diverged.any()


def test_nothing_is_printed_and_nothing_is_written(
    engine_name: str,
    build: Build,
    run: Run,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = build(engine_name, robots.crate(), 2, ground=True)
    run(engine, 0.1, 3)
    put(engine, 0.0, [[0.0], [1e12]])
    run(engine, 0.1, 3)
    engine.close()
    engine.close()
    assert tuple(capfd.readouterr()) == ("", "")
    assert list(tmp_path.iterdir()) == []

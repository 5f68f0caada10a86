"""What every engine must do, whatever simulates it. An engine is supported when this is green."""

import numpy as np
import pytest
from tests.engines import sample_robots as robots

from simreal.core.params import DynamicsParams, catalogue
from simreal.engines import Engine, engine_class
from simreal.errors import ParameterError

G = robots.GRAVITY
WEIGHTLESS = {"gravity": 0.0}


def put(engine: Engine, pos: object, vel: object = 0.0, mask: np.ndarray | None = None) -> None:
    """Reset worlds to joint positions and velocities that broadcast to (N, J)."""
    shape = (engine.num_worlds, engine.robot.num_joints)
    everywhere = np.ones(engine.num_worlds, dtype=bool)
    engine.reset(
        everywhere if mask is None else mask,
        np.array(np.broadcast_to(np.asarray(pos, dtype=float), shape)),
        np.array(np.broadcast_to(np.asarray(vel, dtype=float), shape)),
    )


def params(engine: Engine, **values: object) -> DynamicsParams:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return DynamicsParams(engine.specs, named, engine.num_worlds)


def read(engine: Engine):
    state = engine.new_state()
    engine.read(state)
    return state


# Order and units


def test_joints_are_in_the_robots_order_and_commands_in_the_motors_order(engine_name, build, run):
    engine = build(engine_name, robots.gantry(), fixed=WEIGHTLESS)
    _, vel = run(engine, [8.0, 14.0], 1)  # mid moves 4 kg, zeta 1 + 2 + 4 kg, alpha is passive
    np.testing.assert_allclose(vel[-1, 0], [0.01 * 14 / 7, 0.0, 0.01 * 8 / 4], atol=1e-9)


def test_positions_are_read_back_in_the_robots_order(engine_name, build):
    engine = build(engine_name, robots.gantry())
    put(engine, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    state = read(engine)
    np.testing.assert_array_equal(state.joint_pos, [[0.1, 0.2, 0.3]])
    np.testing.assert_array_equal(state.joint_vel, [[1.0, 2.0, 3.0]])


def test_a_torque_turns_an_inertia_by_half_a_t_squared(engine_name, build, run):
    engine = build(engine_name, robots.pendulums(count=1), fixed=WEIGHTLESS)
    about_joint = 0.01 + 0.5 * 0.2**2  # 0.03 kg m^2
    pos, vel = run(engine, 0.03, 50)  # 1 rad/s^2 for 0.5 s
    assert about_joint == pytest.approx(0.03)
    np.testing.assert_allclose(vel[-1, 0, 0], 0.5, rtol=1e-6)
    np.testing.assert_allclose(pos[-1, 0, 0], 0.125, rtol=0.01)


def test_the_torque_limit_clips_and_strength_scales_before_it(engine_name, build, run):
    motor = {"motor_strength.rail": 0.5, "torque_limit.rail": 6.0}
    engine = build(engine_name, robots.cart(), 3, fixed=motor, ticks=1)
    _, vel = run(engine, [[[4.0], [100.0], [-100.0]]], 1)
    np.testing.assert_allclose(vel[0, :, 0], np.array([2.0, 6.0, -6.0]) / 2 * 0.002, atol=1e-10)


def test_time_counts_seconds_since_reset(engine_name, build, run):
    engine = build(engine_name, robots.cart(), 2)
    run(engine, 0.0, 7)
    np.testing.assert_allclose(read(engine).time, 0.07)
    put(engine, 0.0, mask=np.array([False, True]))
    np.testing.assert_allclose(read(engine).time, [0.07, 0.0], atol=1e-15)


# Dynamics against formulas


def test_a_floating_body_falls_freely(engine_name, build, run):
    engine = build(engine_name, robots.flywheel())
    run(engine, 0.0, 50)
    state = read(engine)
    np.testing.assert_allclose(state.root_pose[0, :3], [0, 0, 10 - G / 8], atol=0.006)
    np.testing.assert_allclose(state.root_pose[0, 3:], [1, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(state.root_vel[0], [0, 0, -G / 2, 0, 0, 0], atol=1e-6)


def test_a_floating_body_and_its_wheel_exchange_angular_momentum(engine_name, build, run):
    engine = build(engine_name, robots.flywheel(), fixed=WEIGHTLESS)
    _, vel = run(engine, 0.2, 50)  # 0.1 Nm s: the body gets -0.5 rad/s, the wheel +1 rad/s
    state = read(engine)
    np.testing.assert_allclose(state.root_vel[0], [0, 0, 0, 0, 0, -0.5], atol=1e-5)
    np.testing.assert_allclose(vel[-1, 0, 0], 1.5, rtol=1e-4)
    angle = -0.125
    wanted = [np.cos(angle / 2), 0, 0, np.sin(angle / 2)]
    np.testing.assert_allclose(state.root_pose[0, 3:], wanted, atol=2e-3)


def test_a_pendulum_swings_with_its_period(engine_name, build, run):
    engine = build(engine_name, robots.pendulums(count=1), ticks=1)
    put(engine, 0.05)
    pos, _ = run(engine, 0.0, 2500)
    q = pos[:, 0, 0]
    falls = np.flatnonzero((q[:-1] > 0) & (q[1:] <= 0))
    crossings = falls + q[falls] / (q[falls] - q[falls + 1])
    period = np.diff(crossings).mean() * 0.002
    assert len(falls) > 3
    assert period == pytest.approx(2 * np.pi * np.sqrt(0.03 / (0.5 * G * 0.2)), rel=2e-3)


def test_a_position_actuator_answers_like_a_second_order_system(engine_name, build, run):
    engine = build(engine_name, robots.cart(kp=200.0, kd=8.0), tick_s=0.001, ticks=1)
    pos, _ = run(engine, 0.1, 1000)
    t = np.arange(1, 1001) * 0.001
    omega, zeta = 10.0, 0.2  # kp / m = 100, kd / m = 4
    damped = omega * np.sqrt(1 - zeta**2)
    sine = zeta / np.sqrt(1 - zeta**2) * np.sin(damped * t)
    wanted = 0.1 * (1 - np.exp(-zeta * omega * t) * (np.cos(damped * t) + sine))
    np.testing.assert_allclose(pos[:, 0, 0], wanted, atol=0.001)


def energies(pos: np.ndarray, vel: np.ndarray) -> np.ndarray:
    robot = robots.pendulums()
    pairs = zip(pos[:, 0], vel[:, 0], strict=True)
    return np.array([robots.pendulum_energy(robot, list(q), list(dq)) for q, dq in pairs])


def test_energy_stays_without_friction(engine_name, build, run):
    engine = build(engine_name, robots.pendulums(), tick_s=0.001, ticks=10)
    put(engine, [1.2, 0.4])
    start = robots.pendulum_energy(engine.robot, [1.2, 0.4], [0.0, 0.0])
    found = energies(*run(engine, 0.0, 300))
    swing = start - robots.pendulum_energy(engine.robot, [0.0, 0.0], [0.0, 0.0])
    assert np.abs(found - start).max() < 0.03 * swing


@pytest.mark.parametrize("loss", [{"damping": 0.05}, {"friction": 0.1}])
def test_energy_only_falls_with_friction(engine_name, build, run, loss):
    engine = build(engine_name, robots.pendulums(**loss), ticks=10)
    put(engine, [1.2, 0.4])
    found = energies(*run(engine, 0.0, 100))
    swing = found[0] - robots.pendulum_energy(engine.robot, [0.0, 0.0], [0.0, 0.0])
    assert np.diff(found).max() < 0.002 * swing
    assert found[-1] < found[0] - 0.25 * swing


def test_viscous_friction_decays_exponentially(engine_name, build, run):
    engine = build(engine_name, robots.cart(damping=4.0))  # d / m = 2 1/s
    put(engine, 0.0, 1.0)
    _, vel = run(engine, 0.0, 50)
    assert vel[-1, 0, 0] == pytest.approx(np.exp(-1.0), rel=3e-3)


def test_stiction_holds_below_the_friction_and_lets_go_above(engine_name, build, run):
    engine = build(engine_name, robots.cart(friction=1.0), 3)
    pos, vel = run(engine, [[[0.9], [-0.9], [2.0]]], 50)
    assert np.abs(pos[-1, :2]).max() < 2e-5
    assert vel[-1, 2, 0] == pytest.approx((2.0 - 1.0) / 2 * 0.5, rel=5e-3)


def test_kinetic_friction_stops_a_body_where_its_energy_ends(engine_name, build, run):
    engine = build(engine_name, robots.cart(friction=1.0))
    put(engine, 0.0, 0.5)
    pos, vel = run(engine, 0.0, 150)
    assert pos[-1, 0, 0] == pytest.approx(2.0 * 0.5**2 / (2 * 1.0), rel=0.01)
    assert abs(vel[-1, 0, 0]) < 1e-4


def test_a_joint_limit_holds(engine_name, build, run):
    engine = build(engine_name, robots.cart(upper=0.1))
    pos, _ = run(engine, 20.0, 100)
    assert pos[:, 0, 0].max() < 0.12
    assert pos[-1, 0, 0] == pytest.approx(0.1, abs=0.01)


# Contacts


def test_a_crate_falls_touches_and_rests_on_the_ground(engine_name, build, run):
    engine = build(engine_name, robots.crate(height=0.3), ground=True, contacts=("box", "wheel"))
    assert read(engine).contact["box"] == 0
    run(engine, 0.0, 100)
    state = read(engine)
    assert state.root_pose[0, 2] == pytest.approx(0.1, abs=0.003)
    assert np.abs(state.root_vel).max() < 0.01
    assert (state.contact["box"][0], state.contact["wheel"][0]) == (1.0, 0.0)


@pytest.mark.parametrize("mu", [0.2, 0.8])
def test_a_contact_has_the_links_friction_coefficient(engine_name, build, run, mu):
    engine = build(engine_name, robots.skater(friction=mu), ground=True)
    run(engine, 0.0, 50)
    settled = read(engine).joint_pos[0].copy()
    put(engine, settled, [1.0, 0.0])
    _, vel = run(engine, 0.0, 14)
    # MuJoCo's contacts chatter while they slide: their mean force is right to about a tenth.
    tolerance = {"mujoco": 0.12}.get(engine_name, 0.01)
    assert (1.0 - vel[-1, 0, 0]) / 0.14 == pytest.approx(mu * 3 * G / 4, rel=tolerance)


def test_a_sticking_contact_does_not_creep(engine_name, build, run):
    engine = build(engine_name, robots.skater(friction=0.5), ground=True)
    run(engine, 0.0, 20)
    pos, _ = run(engine, [0.9 * 0.5 * 3 * G, 0.0], 50)
    assert np.abs(pos[:, 0, 0]).max() < 2e-4


def test_restitution_returns_its_share_of_the_speed(engine_name, build, run):
    spec = catalogue(robots.skater())["restitution.foot"]
    if not engine_class(engine_name).capability(robots.skater(), spec).supported:
        pytest.skip(f"{engine_name} refuses restitution")
    fixed = {"restitution.foot": 0.6}
    engine = build(engine_name, robots.skater(), ground=True, fixed=fixed, ticks=1)
    put(engine, 0.0, [0.0, 1.0])  # up, and down again after 0.204 s
    _, vel = run(engine, 0.0, 115)
    assert vel[:, 0, 1].min() == pytest.approx(-1.0, abs=0.03)
    landed = int(vel[:, 0, 1].argmin())
    assert vel[landed + 1 : landed + 4, 0, 1].max() == pytest.approx(0.6, abs=0.03)


# Resets, determinism, worlds


def test_reset_is_exact_and_forgets_what_was(engine_name, build, run):
    engine = build(engine_name, robots.pendulums(damping=0.01, friction=0.05), 2)
    start = np.array([[0.3, -1.7], [2.5, 9.0]])
    put(engine, start, -start)
    state = read(engine)
    np.testing.assert_array_equal(state.joint_pos, start)
    np.testing.assert_array_equal(state.joint_vel, -start)
    first = run(engine, [0.5, -0.5], 30)
    run(engine, [3.0, 1.0], 17)
    put(engine, start, -start)
    second = run(engine, [0.5, -0.5], 30)
    np.testing.assert_array_equal(first, second)


def test_a_masked_reset_touches_only_its_worlds(engine_name, build, run):
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


def test_a_floating_base_is_reset_upright_at_its_height(engine_name, build, run):
    engine = build(engine_name, robots.flywheel(), 2)
    run(engine, 3.0, 30)
    put(engine, 0.0, mask=np.array([True, False]))
    state = read(engine)
    np.testing.assert_array_equal(state.root_pose[0], [0, 0, 10, 1, 0, 0, 0])
    np.testing.assert_array_equal(state.root_vel[0], np.zeros(6))
    assert state.root_pose[1, 2] < 9.9


def test_equal_worlds_are_identical_and_unequal_ones_are_not(engine_name, build, run):
    engine = build(engine_name, robots.pendulums(friction=0.05), 3)
    put(engine, [[1.0, 0.5], [1.0, 0.5], [1.0, 0.5001]])
    pos, _ = run(engine, 0.1, 50)
    np.testing.assert_array_equal(pos[:, 0], pos[:, 1])
    assert np.abs(pos[-1, 0] - pos[-1, 2]).max() > 1e-5


def test_a_world_does_not_depend_on_how_many_there_are(engine_name, build, run):
    alone = build(engine_name, robots.pendulums(friction=0.05), 1)
    among = build(engine_name, robots.pendulums(friction=0.05), 4)
    put(alone, [1.0, 0.5])
    put(among, [[0.0, 0.0], [2.0, 0.0], [1.0, 0.5], [0.0, 1.0]])
    np.testing.assert_array_equal(run(alone, 0.2, 40)[0][:, 0], run(among, 0.2, 40)[0][:, 2])


# Schedules and samples


def test_a_command_switches_at_its_tick_in_its_world(engine_name, build):
    engine = build(engine_name, robots.cart(), 3)
    commands = np.zeros((5, 3, 1))
    for world, switch in enumerate((0, 2, 4)):
        commands[switch:, world] = 10.0  # 5 m/s^2
    engine.step(commands)
    np.testing.assert_allclose(read(engine).joint_vel[:, 0], np.array([5, 3, 1]) * 0.01, atol=1e-12)


def test_samples_are_taken_after_their_tick(engine_name, build):
    engine = build(engine_name, robots.cart(), 3)
    state = engine.new_state()
    engine.step(np.full((5, 3, 1), 10.0), np.array([1, 3, 5]))
    engine.sample(state)
    np.testing.assert_allclose(state.joint_vel[:, 0], np.array([1, 3, 5]) * 0.01, atol=1e-12)
    np.testing.assert_allclose(state.time, np.array([1, 3, 5]) * 0.002)
    np.testing.assert_allclose(read(engine).joint_vel[:, 0], 0.05, atol=1e-12)


def test_without_sample_ticks_a_sample_is_the_present(engine_name, build):
    engine = build(engine_name, robots.pendulums(), 2, bodies=("arm1",))
    engine.step(np.ones((5, 2, 2)), np.array([1, 2]))
    engine.step(np.ones((5, 2, 2)))
    state = engine.new_state()
    engine.sample(state)
    np.testing.assert_array_equal(state.buffer, read(engine).buffer)


def test_sampling_does_not_change_the_physics(engine_name, build):
    robot = robots.pendulums(friction=0.05)
    plain = build(engine_name, robot, 2)
    looking = build(engine_name, robot, 2, bodies=("arm1",))
    for tick in (1, 4, 2, 5):
        plain.step(np.ones((5, 2, 2)))
        looking.step(np.ones((5, 2, 2)), np.array([tick, 3]))
    np.testing.assert_array_equal(read(plain).joint_pos, read(looking).joint_pos)
    np.testing.assert_array_equal(read(plain).joint_vel, read(looking).joint_vel)


def test_body_positions_belong_to_the_joint_positions(engine_name, build):
    engine = build(engine_name, robots.pendulums(), 2, bodies=("arm1",))
    engine.step(np.ones((5, 2, 2)) * 3, np.array([2, 5]))
    sampled = engine.new_state()
    engine.sample(sampled)
    for state in (sampled, read(engine)):
        q = state.joint_pos[:, 0]
        wanted = np.stack([0.2 * np.sin(q), 0 * q, -0.2 * np.cos(q)], axis=1)
        np.testing.assert_allclose(state.body_pos["arm1"], wanted, atol=1e-9)
        assert np.abs(q).min() > 1e-5


def test_body_positions_are_right_after_a_reset(engine_name, build):
    engine = build(engine_name, robots.pendulums(), 2, bodies=("arm1",))
    put(engine, [np.pi / 2, 0.0], mask=np.array([False, True]))
    found = read(engine).body_pos["arm1"]
    np.testing.assert_allclose(found, [[0, 0, -0.2], [0.2, 0, 0]], atol=1e-9)


# Parameters


def test_applying_the_nominal_values_changes_nothing(engine_name, build, run):
    names = ("mass.arm1", "joint_damping.elbow", "joint_friction.elbow", "gravity", "com.arm1")
    robot = robots.pendulums(damping=0.01, friction=0.05)
    plain, applied = (build(engine_name, robot, 2, params=names) for _ in range(2))
    nominal = {name: applied.specs[name].nominal for name in names}
    everywhere = np.ones(2, dtype=bool)
    applied.apply(DynamicsParams(applied.specs, nominal, 2), everywhere)
    for each in (plain, applied):
        put(each, [1.0, 0.5])
    np.testing.assert_allclose(run(plain, 0.3, 40)[0], run(applied, 0.3, 40)[0], atol=1e-10)


def test_a_mass_takes_its_inertia_along_unless_told_otherwise(engine_name, build, run):
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


def test_a_mass_given_with_an_inertia_does_not_scale_it(engine_name, build, run):
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


def test_fixed_and_applied_parameters_mean_the_same(engine_name, build, run):
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


def test_parameters_act_from_the_next_tick_in_the_masked_worlds(engine_name, build, run):
    engine = build(engine_name, robots.cart(), 2, params=("mass.cart",))
    run(engine, 10.0, 1)
    engine.apply(params(engine, mass__cart=[5.0, 4.0]), np.array([False, True]))
    _, vel = run(engine, 10.0, 1)
    np.testing.assert_allclose(vel[0, :, 0], [0.1, 0.05 + 0.025], atol=1e-9)


def test_what_was_not_asked_for_cannot_be_applied(engine_name, build):
    engine = build(engine_name, robots.pendulums(), params=("gravity",))
    with pytest.raises(ParameterError, match=r"mass\.arm1"):
        engine.apply(params(engine, mass__arm1=1.0), np.ones(1, dtype=bool))


def test_unknown_and_inert_parameters_are_refused_when_built(engine_name, build):
    with pytest.raises(ParameterError, match=r"mass\.nose"):
        build(engine_name, robots.pendulums(), params=("mass.nose",))
    with pytest.raises(ParameterError, match="no colliding shape"):
        build(engine_name, robots.pendulums(), params=("contact_friction.arm1",), ground=True)
    with pytest.raises(ParameterError, match="ground"):
        build(engine_name, robots.skater(), params=("contact_friction.foot",))


# Checkpoints and health


def test_a_saved_state_continues_bit_for_bit_in_another_engine(engine_name, build, run):
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


def test_a_diverging_world_is_reported_and_the_others_go_on(engine_name, build, run):
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
    engine_name, build, run, capfd, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    engine = build(engine_name, robots.crate(), 2, ground=True)
    run(engine, 0.1, 3)
    put(engine, 0.0, [[0.0], [1e12]])
    run(engine, 0.1, 3)
    engine.close()
    engine.close()
    assert tuple(capfd.readouterr()) == ("", "")
    assert list(tmp_path.iterdir()) == []


# Between engines


@pytest.mark.parametrize(
    ("loss", "tolerance"),
    [({}, 5e-3), ({"damping": 0.02}, 5e-3), ({"damping": 0.002, "friction": 0.1}, 1e-2)],
    ids=["free", "damped", "dry friction"],
)
def test_engines_agree_on_a_double_pendulum_for_a_second(build, run, loss, tolerance):
    pytest.importorskip("pybullet")
    pytest.importorskip("mujoco")
    found = []
    for name in ("pybullet", "mujoco"):
        engine = build(name, robots.pendulums(**loss), tick_s=0.001, ticks=10)
        put(engine, [1.0, 0.5])
        found.append(run(engine, [0.1, 0.0], 100)[0][:, 0])
    assert np.abs(found[0]).max() > 0.5
    assert np.abs(found[0] - found[1]).max() < tolerance

"""What every engine must compute: order, units and physics, against formulas.

An engine is supported when this file and `test_conformance_contract.py` are green.
"""

from itertools import pairwise

import numpy as np
import pytest

from simreal.core.params import catalogue
from simreal.engines import engine_class
from tests.engines import sample_robots as robots
from tests.engines.annotations import Build, Run
from tests.engines.driving import WEIGHTLESS, held, put, read, slack

G = robots.GRAVITY


# Order and units


def test_joints_are_in_the_robots_order_and_commands_in_the_motors_order(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(engine_name, robots.gantry(), fixed=WEIGHTLESS)
    _, vel = run(engine, [8.0, 14.0], 1)  # mid moves 4 kg, zeta 1 + 2 + 4 kg, alpha is passive
    np.testing.assert_allclose(
        vel[-1, 0], [0.01 * 14 / 7, 0.0, 0.01 * 8 / 4], atol=slack(engine_name, 1e-9)
    )


def test_positions_are_read_back_in_the_robots_order(engine_name: str, build: Build) -> None:
    engine = build(engine_name, robots.gantry())
    put(engine, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    state = read(engine)
    np.testing.assert_array_equal(state.joint_pos, held(engine, [[0.1, 0.2, 0.3]]))
    np.testing.assert_array_equal(state.joint_vel, [[1.0, 2.0, 3.0]])


def test_a_torque_turns_an_inertia_by_half_a_t_squared(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(engine_name, robots.pendulums(count=1), fixed=WEIGHTLESS)
    about_joint = 0.01 + 0.5 * 0.2**2  # 0.03 kg m^2
    pos, vel = run(engine, 0.03, 50)  # 1 rad/s^2 for 0.5 s
    assert about_joint == pytest.approx(0.03)
    np.testing.assert_allclose(vel[-1, 0, 0], 0.5, rtol=slack(engine_name, 1e-6, 1e-5))
    np.testing.assert_allclose(pos[-1, 0, 0], 0.125, rtol=0.01)


def test_the_torque_limit_clips_and_strength_scales_before_it(
    engine_name: str, build: Build, run: Run
) -> None:
    motor = {"motor_strength.rail": 0.5, "torque_limit.rail": 6.0}
    engine = build(engine_name, robots.cart(), 3, fixed=motor, ticks=1)
    _, vel = run(engine, [[[4.0], [100.0], [-100.0]]], 1)
    np.testing.assert_allclose(vel[0, :, 0], np.array([2.0, 6.0, -6.0]) / 2 * 0.002, atol=1e-10)


def test_time_counts_seconds_since_reset(engine_name: str, build: Build, run: Run) -> None:
    engine = build(engine_name, robots.cart(), 2)
    run(engine, 0.0, 7)
    np.testing.assert_allclose(read(engine).time, 0.07)
    put(engine, 0.0, mask=np.array([False, True]))
    np.testing.assert_allclose(read(engine).time, [0.07, 0.0], atol=1e-15)


# Dynamics against formulas


def test_a_floating_body_falls_freely(engine_name: str, build: Build, run: Run) -> None:
    engine = build(engine_name, robots.flywheel())
    run(engine, 0.0, 50)
    state = read(engine)
    np.testing.assert_allclose(state.root_pose[0, :3], [0, 0, 10 - G / 8], atol=0.006)
    np.testing.assert_allclose(state.root_pose[0, 3:], [1, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(
        state.root_vel[0], [0, 0, -G / 2, 0, 0, 0], atol=slack(engine_name, 1e-6, 5e-5)
    )


def test_a_floating_body_and_its_wheel_exchange_angular_momentum(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(engine_name, robots.flywheel(), fixed=WEIGHTLESS)
    _, vel = run(engine, 0.2, 50)  # 0.1 Nm s: the body gets -0.5 rad/s, the wheel +1 rad/s
    state = read(engine)
    np.testing.assert_allclose(state.root_vel[0], [0, 0, 0, 0, 0, -0.5], atol=1e-5)
    np.testing.assert_allclose(vel[-1, 0, 0], 1.5, rtol=1e-4)
    angle = -0.125
    wanted = [np.cos(angle / 2), 0, 0, np.sin(angle / 2)]
    np.testing.assert_allclose(state.root_pose[0, 3:], wanted, atol=2e-3)


def turned(quat: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the rotation vector in the world frame that leads from one attitude to another."""
    w, v = quat[0], -quat[1:]
    real = other[0] * w - other[1:] @ v
    vector = other[0] * v + w * other[1:] + np.cross(other[1:], v)
    return 2 * vector * np.sign(real)


def test_root_velocities_are_rates_of_the_root_pose_in_the_world(
    engine_name: str, build: Build
) -> None:
    engine = build(engine_name, robots.tumbler(), fixed=WEIGHTLESS, tick_s=0.001, ticks=1)
    poses, speeds = [], []
    for _ in range(600):
        engine.step(np.full((1, 1, 1), 0.5))
        state = read(engine)
        poses.append(state.root_pose[0].copy())
        speeds.append(state.root_vel[0].copy())
    rate = np.array([turned(a[3:], b[3:]) for a, b in pairwise(poses)]) / 0.001
    moved = np.diff([pose[:3] for pose in poses], axis=0) / 0.001
    assert np.abs(poses[-1][4:6]).max() > 0.3  # it is tilted well out of its first attitude
    np.testing.assert_allclose(speeds[1:], np.hstack([moved, rate]), atol=0.04)
    assert np.abs(speeds[-1]).max() > 1.0


def test_engines_agree_on_a_tumbling_body(build: Build) -> None:
    pytest.importorskip("pybullet")
    pytest.importorskip("mujoco")
    found = []
    for name in ("pybullet", "mujoco"):
        engine = build(name, robots.tumbler(), tick_s=0.001, ticks=10)
        for _ in range(40):
            engine.step(np.full((10, 1, 1), 0.5))
        state = read(engine)
        found.append(np.concatenate([state.root_pose[0], state.root_vel[0], state.joint_vel[0]]))
    np.testing.assert_allclose(found[0], found[1], atol=0.03)


def test_a_pendulum_swings_with_its_period(engine_name: str, build: Build, run: Run) -> None:
    engine = build(engine_name, robots.pendulums(count=1), ticks=1)
    put(engine, 0.05)
    pos, _ = run(engine, 0.0, 2500)
    q = pos[:, 0, 0]
    falls = np.flatnonzero((q[:-1] > 0) & (q[1:] <= 0))
    crossings = falls + q[falls] / (q[falls] - q[falls + 1])
    period = np.diff(crossings).mean() * 0.002
    assert len(falls) > 3
    assert period == pytest.approx(2 * np.pi * np.sqrt(0.03 / (0.5 * G * 0.2)), rel=2e-3)


def test_a_position_actuator_answers_like_a_second_order_system(
    engine_name: str, build: Build, run: Run
) -> None:
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


def test_energy_stays_without_friction(engine_name: str, build: Build, run: Run) -> None:
    engine = build(engine_name, robots.pendulums(), tick_s=0.001, ticks=10)
    put(engine, [1.2, 0.4])
    start = robots.pendulum_energy(engine.robot, [1.2, 0.4], [0.0, 0.0])
    found = energies(*run(engine, 0.0, 300))
    swing = start - robots.pendulum_energy(engine.robot, [0.0, 0.0], [0.0, 0.0])
    assert np.abs(found - start).max() < 0.03 * swing


@pytest.mark.parametrize("loss", [{"damping": 0.05}, {"friction": 0.1}])
def test_energy_only_falls_with_friction(
    engine_name: str, build: Build, run: Run, loss: dict[str, float]
) -> None:
    engine = build(engine_name, robots.pendulums(**loss), ticks=10)
    put(engine, [1.2, 0.4])
    found = energies(*run(engine, 0.0, 100))
    swing = found[0] - robots.pendulum_energy(engine.robot, [0.0, 0.0], [0.0, 0.0])
    assert np.diff(found).max() < 0.002 * swing
    assert found[-1] < found[0] - 0.25 * swing


def test_viscous_friction_decays_exponentially(engine_name: str, build: Build, run: Run) -> None:
    engine = build(engine_name, robots.cart(damping=4.0))  # d / m = 2 1/s
    put(engine, 0.0, 1.0)
    _, vel = run(engine, 0.0, 50)
    assert vel[-1, 0, 0] == pytest.approx(np.exp(-1.0), rel=3e-3)


def test_stiction_holds_below_the_friction_and_lets_go_above(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(engine_name, robots.cart(friction=1.0), 3)
    pos, vel = run(engine, [[[0.9], [-0.9], [2.0]]], 50)
    assert np.abs(pos[-1, :2]).max() < 2e-5
    assert vel[-1, 2, 0] == pytest.approx((2.0 - 1.0) / 2 * 0.5, rel=5e-3)


def test_kinetic_friction_stops_a_body_where_its_energy_ends(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(engine_name, robots.cart(friction=1.0))
    put(engine, 0.0, 0.5)
    pos, vel = run(engine, 0.0, 150)
    assert pos[-1, 0, 0] == pytest.approx(2.0 * 0.5**2 / (2 * 1.0), rel=0.01)
    assert abs(vel[-1, 0, 0]) < 1e-4


def test_a_joint_limit_holds(engine_name: str, build: Build, run: Run) -> None:
    engine = build(engine_name, robots.cart(upper=0.1))
    pos, _ = run(engine, 20.0, 100)
    assert pos[:, 0, 0].max() < 0.12
    assert pos[-1, 0, 0] == pytest.approx(0.1, abs=0.01)


def test_a_hinge_limit_is_in_radians(engine_name: str, build: Build, run: Run) -> None:
    limits = {"shoulder": {"kind": "revolute", "lower": -0.5, "upper": 0.5}}
    engine = build(engine_name, robots.pendulums(count=1).revised(joints=limits))
    pos, _ = run(engine, 2.0, 60)
    assert pos[-1, 0, 0] == pytest.approx(0.5, abs=0.02)


# Contacts


def test_a_crate_falls_touches_and_rests_on_the_ground(
    engine_name: str, build: Build, run: Run
) -> None:
    engine = build(engine_name, robots.crate(height=0.3), ground=True, contacts=("box", "wheel"))
    assert read(engine).contact["box"] == 0
    run(engine, 0.0, 100)
    state = read(engine)
    assert state.root_pose[0, 2] == pytest.approx(0.1, abs=0.003)
    assert np.abs(state.root_vel).max() < 0.01
    assert (state.contact["box"][0], state.contact["wheel"][0]) == (1.0, 0.0)


@pytest.mark.parametrize("mu", [0.2, 0.8])
def test_a_contact_has_the_links_friction_coefficient(
    engine_name: str, build: Build, run: Run, mu: float
) -> None:
    engine = build(engine_name, robots.skater(friction=mu), ground=True)
    run(engine, 0.0, 50)
    settled = read(engine).joint_pos[0].copy()
    put(engine, settled, [1.0, 0.0])
    _, vel = run(engine, 0.0, 14)
    # MuJoCo's contacts chatter while they slide: their mean force is right to about a tenth.
    tolerance = {"mujoco": 0.12, "warp": 0.12}.get(engine_name, 0.01)
    assert (1.0 - vel[-1, 0, 0]) / 0.14 == pytest.approx(mu * 3 * G / 4, rel=tolerance)


def test_a_sticking_contact_does_not_creep(engine_name: str, build: Build, run: Run) -> None:
    engine = build(engine_name, robots.skater(friction=0.5), ground=True)
    run(engine, 0.0, 20)
    pos, _ = run(engine, [0.9 * 0.5 * 3 * G, 0.0], 50)
    assert np.abs(pos[:, 0, 0]).max() < 2e-4


def test_restitution_returns_its_share_of_the_speed(
    engine_name: str, build: Build, run: Run
) -> None:
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


# Between engines


@pytest.mark.parametrize(
    ("loss", "tolerance"),
    [({}, 1e-9), ({"damping": 0.02}, 3e-3), ({"damping": 0.002, "friction": 0.1}, 5e-4)],
    ids=["free", "damped", "dry friction"],
)
def test_engines_agree_on_a_double_pendulum_for_a_second(
    build: Build, run: Run, loss: dict[str, float], tolerance: float
) -> None:
    pytest.importorskip("pybullet")
    pytest.importorskip("mujoco")
    found = []
    for name in ("pybullet", "mujoco"):
        engine = build(name, robots.pendulums(**loss), tick_s=0.001, ticks=10)
        put(engine, [1.0, 0.5])
        found.append(run(engine, [0.1, 0.0], 100)[0][:, 0])
    assert np.abs(found[0]).max() > 0.5
    assert np.abs(found[0] - found[1]).max() < tolerance

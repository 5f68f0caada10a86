"""The acrobot in closed form: against hand-computed numbers, an engine, and its own equations."""

import math

import numpy as np
import pytest

from simreal.domains import Domain, SimVecEnv
from simreal_envs.robots import double_pendulum
from simreal_envs.tasks.acrobot import Acrobot
from simreal_envs.tasks.acrobot_model import AcrobotModel, cost_to_go, reachable_states

MODEL = AcrobotModel.of(double_pendulum())


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=float)


def energy(pos: np.ndarray, vel: np.ndarray) -> np.ndarray:
    (q1, q2), (v1, v2) = pos.T, vel.T
    bent = MODEL.coupling * np.cos(q2)
    moving = 0.5 * (MODEL.shoulder + 2 * bent) * v1**2 + (MODEL.elbow + bent) * v1 * v2
    lifted = -MODEL.upper_weight * np.cos(q1) - MODEL.lower_weight * np.cos(q1 + q2)
    return np.asarray(moving + 0.5 * MODEL.elbow * v2**2 + lifted)


def test_the_model_of_the_record() -> None:
    # Published: m = 0.523460, 0.625568 kg; r = 0.2, 0.255693 m; I = 0.0318872, 0.0508698 kg m^2.
    assert MODEL.elbow == pytest.approx(0.0508698)
    assert MODEL.shoulder == pytest.approx(0.0318872 + 0.0508698 + 0.625568 * 0.04)
    assert MODEL.coupling == pytest.approx(0.625568 * 0.2 * 0.255693)
    assert MODEL.lower_weight == pytest.approx(9.81 * 0.625568 * 0.255693)
    assert MODEL.upper_weight == pytest.approx(9.81 * 0.2 * (0.523460 + 0.625568))


def test_a_level_arm_at_rest_by_hand() -> None:
    # q = (pi/2, 0): M = [[a + 2c, b + c], [b + c, b]], forces -(weights), -(lower weight) + 1 Nm.
    mass = [
        [0.10777972 + 2 * 0.0319906717, 0.0508698 + 0.0319906717],
        [0.0508698 + 0.0319906717, 0.0508698],
    ]
    force = [-2.254392936 - 1.569142448, 1.0 - 1.569142448]
    expected = np.linalg.solve(mass, force)
    found = MODEL.accelerations(row(math.pi / 2, 0.0), row(0.0, 0.0), np.array([1.0]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_the_model_moves_as_the_engine_does() -> None:
    task = Acrobot()
    frictionless = {f"joint_{what}.*": 0.0 for what in ("friction", "damping")}
    domain = Domain(name="ideal", engine="mujoco", dynamics={**frictionless, "armature.*": 0.0})
    env = SimVecEnv(double_pendulum("1.1"), task, domain, 1)
    env.reset(0)
    pos, vel = env.truth.joint_pos.copy(), env.truth.joint_vel.copy()
    for _ in range(20):
        env.step(np.full((1, 1), 0.5))
        for _ in range(10):
            pos, vel = MODEL.advance(pos, vel, np.array([3.0]), 0.001)
    np.testing.assert_allclose(env.truth.joint_pos, pos, atol=0.06)
    env.close()


def test_energy_stays_without_torque() -> None:
    pos, vel = row(1.0, -2.0), row(3.0, 4.0)
    before = energy(pos, vel)
    for _ in range(200):
        pos, vel = MODEL.advance(pos, vel, np.zeros(1), 0.005)
    np.testing.assert_allclose(energy(pos, vel), before, atol=1e-5)


def test_the_motion_runs_backward_as_it_runs_forward() -> None:
    rng = np.random.default_rng(0)
    pos, vel = rng.uniform(-2, 2, (5, 2)), rng.uniform(-5, 5, (5, 2))
    torques = rng.uniform(-6, 6, (40, 5))
    there = pos, vel
    for torque in torques:
        there = MODEL.advance(*there, torque, 0.005)
    back = there[0], -there[1]
    for torque in torques[::-1]:
        back = MODEL.advance(*back, torque, 0.005)
    np.testing.assert_allclose(back[0], pos, atol=1e-4)
    np.testing.assert_allclose(-back[1], vel, atol=1e-3)


def test_the_linear_motion_is_the_slope_of_the_full_one() -> None:
    a, b = MODEL.linearized()
    step = 1e-6
    for column in range(4):
        state = np.zeros(4)
        state[column] = step
        pos, vel = row(math.pi + state[0], state[1]), row(*state[2:])
        found = MODEL.accelerations(pos, vel, np.zeros(1))[0] / step
        np.testing.assert_allclose(found, a[2:, column], atol=1e-4)
    found = MODEL.accelerations(row(math.pi, 0.0), row(0.0, 0.0), np.ones(1))[0]
    np.testing.assert_allclose(found, b[2:, 0], atol=1e-8)


def test_the_cost_to_go_solves_the_riccati_equation() -> None:
    weights, price = (1.0, 1.0, 0.1, 0.1), 1.0
    s = cost_to_go(MODEL, weights, price)
    a, b = MODEL.linearized()
    rest = a.T @ s + s @ a - s @ b @ b.T @ s / price + np.diag(weights)
    assert np.abs(rest).max() < 1e-6 * np.abs(s).max()
    assert np.linalg.eigvalsh(s).min() > 0
    assert np.linalg.eigvals(a - b @ b.T @ s / price).real.max() < 0


def test_a_double_integrator_by_hand() -> None:
    """With unit weights the least cost of a unit mass is known: S = [[sqrt 3, 1], [1, sqrt 3]]."""

    class Masses:
        def linearized(self) -> tuple[np.ndarray, np.ndarray]:
            a, b = np.zeros((4, 4)), np.array([[0.0], [0.0], [1.0], [0.0]])
            a[0, 2] = 1.0
            a[1, 1], a[3, 3] = -1.0, -2.0  # two decays beside it, left alone
            return a, b

    s = cost_to_go(Masses(), (1.0, 0.0, 1.0, 0.0), 1.0)  # type: ignore[arg-type]
    root = math.sqrt(3.0)
    np.testing.assert_allclose(s[np.ix_([0, 2], [0, 2])], [[root, 1.0], [1.0, root]], atol=1e-9)


def test_reachable_states_are_dense_near_upright_and_low_in_energy_far_from_it() -> None:
    matrix = cost_to_go(MODEL, (1.0, 1.0, 0.1, 0.1), 1.0)
    states = reachable_states(MODEL, matrix, 6.0, 3.0, 2000)
    assert states.shape == (2000, 4)
    upright = energy(row(math.pi, 0.0), row(0.0, 0.0))[0]
    height = -0.4 * np.cos(states[:, 0]) - 0.6 * np.cos(states[:, 0] + states[:, 1])
    assert (height > 0.9).mean() > 0.4
    assert (energy(states[:, :2], states[:, 2:]) < upright - 1.0).mean() > 0.1
    np.testing.assert_array_equal(states, reachable_states(MODEL, matrix, 6.0, 3.0, 2000))

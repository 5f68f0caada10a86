import numpy as np
import pytest

from simreal.core.state import State
from simreal.domains.domain import Sensing
from simreal.domains.sensors import Sensors
from tests.domains.toy import TICK, TICKS

DEFAULTS = {
    "joint_pos_noise": 0.0,
    "joint_vel_noise": 0.0,
    "joint_pos_bias": 0.0,
    "joint_pos_resolution": 0.0,
    "measurement_delay": 0.0,
    "dropout": 0.0,
}
NOW = np.zeros(2, dtype=int)
ALL = np.ones(2, dtype=bool)


def sensors(*, seed: int = 0, **values: float | list[float]) -> Sensors:
    """Return the sensors of two worlds with one joint."""
    full = {k: np.broadcast_to(values.get(k, v), 2).astype(float) for k, v in DEFAULTS.items()}
    delay = float(full["measurement_delay"].max())
    made = Sensors(State(2, 1), ticks=TICKS, tick_s=TICK, max_delay_s=delay, seed=seed)
    made.configure(full)
    return made


def state(pos: float, vel: float = 0.0) -> State:
    made = State(2, 1)
    made.joint_pos[...], made.joint_vel[...] = pos, vel
    return made


def measure(made: Sensors, pos: float, vel: float = 0.0, step: int = 0) -> np.ndarray:
    """Return the measured positions (N,)."""
    return made.measure(state(pos, vel), NOW, NOW + step).joint_pos[:, 0].copy()


def test_ideal_sensors_pass_the_truth_itself() -> None:
    made = sensors()
    truth = state(1.0)
    assert made.ideal
    assert made.sample_tick is None
    assert made.measure(truth, NOW, NOW) is truth
    assert made.restart(truth, ALL, NOW, NOW) is truth


# -- delay -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay_ms", "tick", "steps_back"),
    [(2, 4, 0), (8, 1, 0), (10, 5, 1), (12, 4, 1), (23.2, 3, 2), (2.9, 4, 0), (3.1, 3, 0)],
)
def test_a_delay_is_a_tick_of_this_step_or_of_one_before(
    delay_ms: float, tick: int, steps_back: int
) -> None:
    made = sensors(measurement_delay=delay_ms / 1000)
    assert made.sample_tick is not None
    assert made.sample_tick.tolist() == [tick, tick]
    made.restart(state(0.0), ALL, NOW, NOW)
    seen = [measure(made, float(step), step=step)[0] for step in range(1, 6)]
    expected = [max(step - steps_back, 0) for step in range(1, 6)]
    assert seen == expected, "before the episode began there is its first state"


def test_worlds_may_differ_in_their_delay() -> None:
    made = sensors(measurement_delay=[0.0, 0.014])
    assert made.sample_tick is not None
    assert made.sample_tick.tolist() == [5, 3]
    made.restart(state(0.0), ALL, NOW, NOW)
    measure(made, 1.0)
    np.testing.assert_array_equal(measure(made, 2.0), [2.0, 1.0])


def test_restarting_a_world_forgets_its_samples_alone() -> None:
    made = sensors(measurement_delay=0.010)
    made.restart(state(0.0), ALL, NOW, NOW)
    measure(made, 1.0)
    made.restart(state(7.0), np.array([False, True]), NOW, NOW)
    np.testing.assert_array_equal(measure(made, 2.0), [1.0, 7.0])


# -- corruption ------------------------------------------------------------------------------------


def test_bias_is_on_positions_alone() -> None:
    made = sensors(joint_pos_bias=[0.1, -0.2])
    measured = made.measure(state(1.0, 3.0), NOW, NOW)
    np.testing.assert_allclose(measured.joint_pos[:, 0], [1.1, 0.8])
    np.testing.assert_array_equal(measured.joint_vel[:, 0], [3.0, 3.0])


def test_every_joint_may_have_a_bias_of_its_own() -> None:
    layout = State(2, 2)
    made = Sensors(layout, ticks=5, tick_s=0.002, max_delay_s=0.0, seed=0)
    zero = {name: np.zeros(2) for name in Sensing.__dataclass_fields__}
    made.configure({**zero, "joint_pos_bias": np.array([[0.1, 0.2], [0.0, -0.3]])})
    layout.joint_pos[...] = 1.0
    measured = made.measure(layout, NOW, NOW).joint_pos
    np.testing.assert_allclose(measured, [[1.1, 1.2], [1.0, 0.7]])


def test_quantization_rounds_to_the_encoders_step_where_there_is_one() -> None:
    made = sensors(joint_pos_resolution=[0.25, 0.0])
    np.testing.assert_array_equal(measure(made, 0.40), [0.5, 0.40])
    np.testing.assert_array_equal(measure(made, -0.1), [0.0, -0.1])


def test_noise_has_its_standard_deviation_and_leaves_the_truth_alone() -> None:
    made = sensors(joint_pos_noise=0.01, joint_vel_noise=[0.0, 2.0])
    truth = state(1.0, 5.0)
    at = [made.measure(truth, NOW, NOW + step).buffer.copy() for step in range(500)]
    seen = np.array(at)  # (500, 2, 3)
    assert seen[:, :, 0].std() == pytest.approx(0.01, rel=0.1)
    assert seen[:, :, 0].mean() == pytest.approx(1.0, abs=4 * 0.01 / 1000**0.5)
    assert (seen[:, 0, 1] == 5.0).all()
    assert seen[:, 1, 1].std() == pytest.approx(2.0, rel=0.15)
    np.testing.assert_array_equal(truth.joint_pos, 1.0)


def test_the_first_measurement_of_an_episode_is_noisy_too() -> None:
    made = sensors(joint_pos_noise=0.1)
    measured = made.restart(state(1.0), ALL, NOW, NOW)
    assert (measured.joint_pos != 1.0).all()


def test_noise_depends_on_seed_world_episode_and_step() -> None:
    first = measure(sensors(joint_pos_noise=1.0), 0.0, step=3)
    np.testing.assert_array_equal(measure(sensors(joint_pos_noise=1.0), 0.0, step=3), first)
    assert first[0] != first[1]
    assert (measure(sensors(joint_pos_noise=1.0, seed=1), 0.0, step=3) != first).all()
    assert (measure(sensors(joint_pos_noise=1.0), 0.0, step=4) != first).all()


def test_dropout_repeats_the_last_measurement_with_its_noise() -> None:
    made = sensors(dropout=[0.0, 1.0], joint_pos_noise=0.1)
    first = made.restart(state(0.0), ALL, NOW, NOW).joint_pos[:, 0].copy()
    for step in range(1, 4):
        seen = measure(made, 5.0, step=step)
        assert seen[0] == pytest.approx(5.0, abs=1.0)
        assert seen[1] == first[1]


def test_dropout_happens_as_often_as_it_says() -> None:
    made = sensors(dropout=0.3)
    made.restart(state(0.0), ALL, NOW, NOW)
    kept = 0
    for step in range(1, 1001):
        kept += int((measure(made, float(step), step=step) != step).sum())
    assert kept / 2000 == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 2000) ** 0.5)


def test_delay_comes_before_noise_so_old_samples_are_measured_afresh() -> None:
    made = sensors(measurement_delay=0.010, joint_pos_noise=1e-3)
    made.restart(state(2.0), ALL, NOW, NOW)
    seen = measure(made, 3.0, step=1)
    assert seen == pytest.approx([2.0, 2.0], abs=0.01)
    np.testing.assert_array_equal(made.ring[:, :, 0], [[3.0, 3.0], [2.0, 2.0]])

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.domains.actuators import CommandLine
from tests.domains.toy import PERIOD, TICK, TICKS

ZERO = np.zeros(1, dtype=int)


def line(delays: list[float], *, motors: int = 1, noise: float = 0.0, seed: int = 0) -> CommandLine:
    """Return a command line of one world per delay [s], all but the first motor idle."""
    made = CommandLine(
        len(delays),
        np.zeros(motors),
        np.array([0]),
        ticks=TICKS,
        tick_s=TICK,
        max_delay_s=max(delays),
        seed=seed,
    )
    made.configure(np.array(delays), np.full(len(delays), noise))
    return made


def push(made: CommandLine, value: float, step: int = 0) -> np.ndarray:
    """Push one value to every world and return the schedule of the first motor (K, N)."""
    worlds, motors = made.ring.shape[1:]
    command = np.zeros((worlds, motors))
    command[:, 0] = value
    episode = np.zeros(worlds, dtype=int)
    return made.push(command, episode, np.full(worlds, step))[:, :, 0].copy()


@pytest.mark.parametrize(
    ("delay_ms", "expected"),
    [
        # After commands 100, 200, 300 and 400 (now): what acts in the five ticks of 2 ms.
        (0, [400, 400, 400, 400, 400]),
        (4, [300, 300, 400, 400, 400]),
        (5, [300, 300, 350, 400, 400]),  # the switch falls into the middle of the third tick
        (0.5, [375, 400, 400, 400, 400]),  # a quarter of the first tick is the old command's
        (9.5, [300, 300, 300, 300, 325]),
        (10, [300, 300, 300, 300, 300]),
        (11, [250, 300, 300, 300, 300]),  # the 50:50 tick, then the command of the step before
        (20, [200, 200, 200, 200, 200]),
        (23, [100, 150, 200, 200, 200]),
    ],
)
def test_which_command_acts_in_which_tick(delay_ms: float, expected: list[float]) -> None:
    made = line([delay_ms / 1000])
    for value in (100.0, 200.0, 300.0):
        push(made, value)
    np.testing.assert_allclose(push(made, 400.0)[:, 0], expected, rtol=1e-9)


def test_before_the_first_command_the_idle_one_stands() -> None:
    made = line([0.011])
    np.testing.assert_allclose(push(made, 8.0)[:, 0], [0, 0, 0, 0, 0])
    np.testing.assert_allclose(push(made, 8.0)[:, 0], [4, 8, 8, 8, 8])


def test_every_world_has_its_own_delay() -> None:
    made = line([0.0, 0.004, 0.010])
    push(made, 1.0)
    expected = [[2, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 1], [2, 2, 1]]
    np.testing.assert_array_equal(push(made, 2.0), expected)


def test_restarting_a_world_forgets_its_commands_alone() -> None:
    made = line([0.010, 0.010])
    push(made, 5.0)
    made.restart(np.array([False, True]))
    np.testing.assert_array_equal(push(made, 6.0)[0], [5.0, 0.0])


def test_without_delay_the_ticks_are_one_view() -> None:
    made = line([0.0, 0.0])
    schedule = made.push(np.ones((2, 1)), np.zeros(2, int), np.zeros(2, int))
    assert schedule.shape == (TICKS, 2, 1)
    assert schedule.strides[0] == 0


def test_a_delay_can_be_changed_and_removed() -> None:
    made = line([0.010])
    push(made, 1.0)
    made.configure(np.zeros(1), np.zeros(1))
    np.testing.assert_array_equal(push(made, 2.0)[:, 0], [2.0] * 5)
    made.configure(np.full(1, 0.010), np.zeros(1))
    np.testing.assert_array_equal(push(made, 3.0)[:, 0], [2.0] * 5)


@settings(deadline=None, max_examples=80)
@given(delay=st.floats(0.0, 0.06), values=st.lists(st.floats(-9, 9), min_size=3, max_size=9))
def test_every_tick_gets_the_mean_of_the_delayed_command_over_it(
    delay: float, values: list[float]
) -> None:
    made = line([delay])
    got = np.concatenate([push(made, value)[:, 0] for value in values])
    for tick, found in enumerate(got):
        start = tick * TICK - delay
        mean = 0.0
        for index, value in enumerate(values):
            overlap = min(start + TICK, (index + 1) * PERIOD) - max(start, index * PERIOD)
            mean += max(overlap, 0.0) / TICK * value
        assert found == pytest.approx(mean, abs=1e-5)


# -- noise -----------------------------------------------------------------------------------------


def test_noise_is_on_driven_motors_alone_and_differs_from_step_to_step() -> None:
    made = line([0.0], motors=2, noise=0.5)
    at = [made.push(np.zeros((1, 2)), ZERO, ZERO + step)[0, 0].copy() for step in range(400)]
    noise = np.array(at)
    assert not noise[:, 1].any()
    assert noise[:, 0].std() == pytest.approx(0.5, rel=0.15)
    assert abs(noise[:, 0].mean()) < 4 * 0.5 / math.sqrt(400)
    assert np.unique(noise[:, 0]).size == 400


def test_a_delayed_command_keeps_the_noise_it_was_given() -> None:
    direct, delayed = line([0.0], noise=1.0), line([0.010], noise=1.0)
    first = push(direct, 2.0, step=7)[0, 0]
    push(delayed, 2.0, step=7)
    np.testing.assert_array_equal(push(delayed, 0.0, step=8)[:, 0], [first] * 5)


def test_reseeding_gives_other_noise() -> None:
    made = line([0.0], noise=1.0)
    first = push(made, 0.0)
    made.reseed(1)
    assert (push(made, 0.0) != first).all()
    np.testing.assert_array_equal(push(line([0.0], noise=1.0, seed=1), 0.0), push(made, 0.0))

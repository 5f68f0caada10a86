"""Each fault does to a measurement, a clock or a network what its name says, and ends on time."""

import math
from typing import Any

import numpy as np
import pytest

from simreal.deploy.transports import Disturbance
from simreal.domains.robot_faults import FAULTS, Fault, FaultBox, RobotClock
from simreal.errors import ConfigError, UnknownNameError


@pytest.fixture
def clock() -> RobotClock:
    return RobotClock(lambda: 10.0)


@pytest.fixture
def box(clock: RobotClock) -> FaultBox:
    return FaultBox(clock, Disturbance())


def measurement(i: int) -> tuple[dict[str, np.ndarray], float]:
    return {"joint_pos": np.array([0.1 * i, 1.0]), "joint_vel": np.zeros(2)}, 0.002 * i


def begin(box: FaultBox, **fault: Any) -> None:
    box.plan(Fault(**fault))
    box.update(0.0)


def test_without_a_fault_nothing_changes(box: FaultBox) -> None:
    values, time_s = measurement(3)
    assert box.distort(values, time_s) == (values, time_s)
    assert box.injected == []


def test_nan_spoils_one_joint_and_not_what_was_measured(box: FaultBox) -> None:
    begin(box, name="nan", size=1)
    values, time_s = measurement(3)
    spoiled, _ = box.distort(values, time_s)
    assert math.isnan(spoiled["joint_pos"][1])
    assert np.isfinite(values["joint_pos"]).all()


def test_a_jump_moves_the_first_encoder(box: FaultBox) -> None:
    begin(box, name="jump", size=0.5)
    np.testing.assert_allclose(box.distort(*measurement(3))[0]["joint_pos"], [0.8, 1.0])


def test_frozen_values_stay_while_times_go_on(box: FaultBox) -> None:
    box.distort(*measurement(1))
    begin(box, name="frozen")
    for i in (2, 3, 4):
        values, time_s = box.distort(*measurement(i))
        assert (values["joint_pos"][0], time_s) == (0.2, 0.002 * i)
    box.plan(Fault(name="none", at_s=1.0))
    box.update(1.0)
    assert box.distort(*measurement(9))[0]["joint_pos"][0] == 0.9


def test_stale_measurements_are_old_ones_with_their_own_time(box: FaultBox) -> None:
    begin(box, name="stale", size=0.01)
    got = [box.distort(*measurement(i)) for i in range(12)]
    assert [round(time_s / 0.002) for _, time_s in got] == [0] * 6 + [1, 2, 3, 4, 5, 6]
    assert got[-1][0]["joint_pos"][0] == pytest.approx(0.6)


def test_what_is_kept_of_the_past_is_bounded(box: FaultBox) -> None:
    for i in range(5000):
        box.distort(*measurement(i))
    assert len(box._past) == 1001


def test_a_clock_is_stepped_and_stepped_back(box: FaultBox, clock: RobotClock) -> None:
    begin(box, name="clock", size=-5.0, for_s=1.0)
    assert (clock(), clock.true()) == (5.0, 10.0)
    box.update(0.99)
    assert clock() == 5.0
    box.update(1.0)
    assert clock() == 10.0


def test_a_rate_error_is_told_to_the_loop(box: FaultBox) -> None:
    begin(box, name="rate")
    assert box.rate == 0.1
    box.plan(Fault())
    box.update(0.0)
    assert box.rate == 0.0


@pytest.mark.parametrize("name", ["drop", "duplicate", "reorder", "corrupt"])
def test_network_faults_reach_the_link(name: str, box: FaultBox) -> None:
    begin(box, name=name, at_s=0.0, for_s=2.0)
    assert getattr(box.network, name) == 0.3
    box.update(2.0)
    assert getattr(box.network, name) == 0.0
    begin(box, name="delay")
    assert box.network.delay_s == 0.05


def test_a_fault_begins_when_it_is_due(box: FaultBox) -> None:
    box.plan(Fault(name="jump", at_s=3.0))
    box.update(2.9)
    assert box.injected == []
    box.update(3.0)
    assert box.injected == ["jump"]


def test_a_control_message_is_understood_or_not(box: FaultBox) -> None:
    assert box.take({"fault": "jump", "size": 0.25, "for_s": 1.0}, 5.0)
    box.update(5.0)
    assert box.distort(*measurement(0))[0]["joint_pos"][0] == 0.25
    box.update(6.0)
    assert box.distort(*measurement(0))[0]["joint_pos"][0] == 0.0
    for message in (
        {},
        {"other": 1},
        {"fault": 3},
        {"fault": "earthquake"},
        {"fault": "drop", "size": 2.0},
        {"fault": "drop", "size": "much"},
        {"fault": "drop", "size": math.nan},
        {"fault": "drop", "for_s": -1.0},
        {"fault": "drop", "more": 1},
    ):
        assert not box.take(message, 5.0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"name": "drop", "size": 1.5}, "size of fault 'drop': got 1.5; 0.0 to 1.0 allowed"),
        ({"name": "jump", "size": math.inf}, "size of fault 'jump': got inf"),
        ({"name": "nan", "at_s": -1.0}, "at_s of fault 'nan': got -1.0"),
        ({"name": "nan", "for_s": math.nan}, "for_s of fault 'nan': got nan"),
    ],
)
def test_impossible_numbers_are_refused(fault: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Fault(**fault)


def test_an_unknown_fault_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'frozen'"):
        Fault(name="frosen")


def test_every_fault_has_a_usual_size_within_its_bounds() -> None:
    for name, (size, words) in FAULTS.items():
        assert Fault(name=name).amount == size
        assert words

"""Every stage of the filter does what its numbers say, and tests for finite numbers first."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.core.robot import Robot
from simreal.deploy import BundleSpec, ControlSettings, Manifest, Signals
from simreal.deploy.intake import SignalIntake
from simreal.deploy.safety import CommandFilter
from simreal.deploy.spec import build

# The arm: command 0 is the elbow's torque, to 6 Nm, joint without ends and 30 rad/s; command 1 is
# the shoulder's target, kp 20 and kd 1, to 9 Nm, within -3 and 3 rad and 20 rad/s.
ELEMENTS = dict.fromkeys(("joint_pos", "joint_vel"), ("shoulder", "slider", "elbow"))
FREE = {"shoulder": 1e6, "elbow": 1e6}


class Bench:
    """A filter with a measurement that a test chooses."""

    def __init__(self, manifest: Manifest, **changes: Any) -> None:
        settings = ControlSettings.of(manifest, **changes)
        self.intake = SignalIntake(manifest, ELEMENTS, settings)
        self.filter = CommandFilter(manifest, settings, self.intake)
        self.time_s = 0.0
        self.measure()
        self.filter.begin()

    def measure(self, pos: Any = (0.0, 0.0, 0.0), vel: Any = (0.0, 0.0, 0.0)) -> str | None:
        self.time_s += 0.01
        values = {"joint_pos": np.array(pos), "joint_vel": np.array(vel)}
        return self.intake.take(Signals(self.time_s, values), self.time_s)

    def __call__(self, elbow: float, shoulder: float, share: float = 1.0) -> tuple[float, float]:
        assert self.filter.apply(np.array([elbow, shoulder]), share) is None
        first, second = self.filter.command.tolist()
        return first, second


@pytest.fixture(scope="module")
def manifest(make_spec: Callable[..., BundleSpec]) -> Manifest:
    return build(make_spec())[0]


@pytest.fixture(scope="module")
def torque_manifest(make_spec: Callable[..., BundleSpec], robot: Robot) -> Manifest:
    """The same arm with a torque-driven shoulder, which has ends."""
    driven = robot.revised(actuators={"shoulder": {"kind": "torque", "kp": 0.0, "kd": 0.0}})
    return build(make_spec(robot=driven, safe_stop_kd={"elbow": 0.5, "shoulder": 0.5}))[0]


@pytest.fixture
def bench(manifest: Manifest) -> Bench:
    return Bench(manifest, rate_limit=FREE)


def test_what_is_within_all_limits_passes_unchanged(bench: Bench) -> None:
    assert bench(2.5, 0.3) == (2.5, 0.3)
    assert sum(bench.filter.counts.values()) == 0


def test_torque_limit_and_soft_joint_limit(manifest: Manifest) -> None:
    # 95 % of 6 rad are 2.85 to either side; the gains allow 9 / 20 rad from where the joint is.
    bench = Bench(manifest, rate_limit=FREE)
    bench.measure(pos=(2.7, 0.0, 0.0))
    assert bench(7.0, 2.99) == (6.0, pytest.approx(2.85))
    assert bench(-7.0, 2.84) == (-6.0, 2.84)
    assert bench.filter.counts["torque limit"] == 2


def test_a_range_that_is_stated_is_kept_as_it_is(manifest: Manifest) -> None:
    kept = {**manifest.safety.joint_position, "shoulder": (-0.1, 0.2)}
    narrow = dataclasses.replace(
        manifest, safety=dataclasses.replace(manifest.safety, joint_position=kept)
    )
    bench = Bench(narrow, rate_limit=FREE)
    assert bench(0.0, 1.0)[1] == 0.2
    assert bench(0.0, -1.0)[1] == -0.1


def test_rates_are_limited_from_where_the_robot_is(manifest: Manifest) -> None:
    # At 100 Hz: 20 rad/s are 0.2 rad, 300 Nm/s are 3 Nm per command.
    bench = Bench(manifest, rate_limit={"elbow": 300.0})
    bench.measure(pos=(0.3, 0.0, 0.0))
    bench.filter.begin()
    assert bench(6.0, 0.7) == (3.0, 0.5)
    assert bench(6.0, 0.7) == (6.0, 0.7)
    assert bench(-6.0, 0.7) == (3.0, 0.7)


def test_a_faster_loop_takes_smaller_steps(manifest: Manifest) -> None:
    # 12 Nm within 10 ms are 2.4 Nm in 2 ms; 20 rad/s are 0.04 rad.
    bench = Bench(manifest, actuator_multiple=5)
    assert bench(6.0, 0.3) == (pytest.approx(2.4), pytest.approx(0.04))


def test_acceleration_is_limited_where_one_is_stated(manifest: Manifest) -> None:
    # 500 rad/s^2 are 0.05 rad more per command than before.
    bench = Bench(manifest, acceleration_limit={"shoulder": 500.0}, rate_limit=FREE)
    seen = [bench(0.0, 0.4)[1] for _ in range(3)]
    assert seen == pytest.approx([0.05, 0.15, 0.3])
    assert bench.filter.counts["acceleration limit"] == 3


def test_the_gains_never_ask_for_more_than_the_torque_limit(bench: Bench) -> None:
    # |20 (target - q) - dq| <= 9
    bench.measure(pos=(0.1, 0.0, 0.0), vel=(2.0, 0.0, 0.0))
    assert bench(0.0, 2.0)[1] == pytest.approx(0.1 + (9.0 + 2.0) / 20.0)
    assert bench(0.0, -2.0)[1] == pytest.approx(0.1 + (-9.0 + 2.0) / 20.0)
    assert bench.filter.counts["torque from gains"] == 2


def test_the_range_has_the_last_word_over_the_gains(bench: Bench) -> None:
    # The gains ask for at least 3.0 + (10 - 9) / 20 rad, where the range ends at 2.85.
    bench.measure(pos=(3.0, 0.0, 0.0), vel=(10.0, 0.0, 0.0))
    assert bench(0.0, 2.8) == (0.0, pytest.approx(2.85))
    assert bench.filter.counts["torque from gains"] == bench.filter.counts["final limit"] == 1


def test_blending_in_goes_from_holding_to_the_policy(bench: Bench) -> None:
    bench.measure(pos=(0.2, 0.0, 0.0), vel=(0.0, 0.0, 4.0))
    bench.filter.begin()
    # The elbow is damped with -0.5 * 4 Nm, the shoulder held at 0.2 rad.
    assert bench(6.0, 0.4, share=0.25) == (pytest.approx(0.0), pytest.approx(0.25))
    assert bench(6.0, 0.4, share=1.0) == (6.0, 0.4)


def test_holding_and_stopping(bench: Bench) -> None:
    bench.measure(pos=(0.2, 0.0, 0.0), vel=(0.0, 0.0, 4.0))
    bench.filter.begin()
    bench.filter.hold()
    assert bench.filter.by_name() == {"elbow": -2.0, "shoulder": 0.2}
    bench(3.0, 0.3)
    bench.filter.stop(usable=True)
    assert bench.filter.by_name() == {"elbow": -2.0, "shoulder": 0.3}
    bench.filter.stop(usable=False)
    assert bench.filter.by_name() == {"elbow": 0.0, "shoulder": 0.3}
    bench.measure(vel=(0.0, 0.0, 29.0))
    bench.filter.stop(usable=True)
    assert bench.filter.by_name()["elbow"] == -6.0


def test_torque_towards_an_end_fades_and_turns_back(torque_manifest: Manifest) -> None:
    # Ends at 3 rad, 9 Nm; the barrier is 5 % of 6 rad wide, and looks 30 ms ahead.
    bench = Bench(torque_manifest, rate_limit=FREE)
    for pos, vel, most in (
        (2.0, 0.0, 9.0),
        (2.7, 0.0, 9.0),
        (2.85, 0.0, 4.5),
        (3.0, 0.0, 0.0),
        (3.05, 0.0, -1.5),
        (2.7, 10.0, 0.0),  # 0.3 rad are passed within 30 ms
        (2.85, 10.0, -4.5),
        (3.0, -1.0, 0.0),  # on its way back it is not driven to the end again
    ):
        bench.measure(pos=(pos, 0.0, 0.0), vel=(vel, 0.0, 0.0))
        assert bench(0.0, 9.0)[1] == pytest.approx(most)
        bench.measure(pos=(-pos, 0.0, 0.0), vel=(-vel, 0.0, 0.0))
        assert bench(0.0, -9.0)[1] == pytest.approx(-most)
    bench.measure(pos=(2.95, 0.0, 0.0))
    assert bench(0.0, -9.0)[1] == -9.0  # away from the end everything is allowed


def test_torque_that_speeds_up_fades_towards_the_largest_speed(torque_manifest: Manifest) -> None:
    # 30 rad/s: free to 24, none at 27, all of it against the motion at 30.
    bench = Bench(torque_manifest, rate_limit=FREE)
    for speed, most in ((20.0, 6.0), (24.0, 6.0), (25.5, 3.0), (27.0, 0.0), (28.5, -3.0)):
        bench.measure(vel=(0.0, 0.0, speed))
        assert bench(6.0, 0.0)[0] == pytest.approx(most)
        assert bench(-6.0, 0.0)[0] == -6.0
        bench.measure(vel=(0.0, 0.0, -speed))
        assert bench(-6.0, 0.0)[0] == pytest.approx(-most)
    assert bench.filter.counts["velocity barrier"] == 6


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 1])
def test_no_clamp_sees_what_is_not_a_number(value: float, at: int, bench: Bench) -> None:
    bench(1.0, 0.1)
    target = np.array([1.0, 0.1])
    target[at] = value
    problem = bench.filter.apply(target)
    assert problem is not None
    assert problem.startswith("command: expected finite numbers, found [")
    assert bench.filter.command.tolist() == [1.0, 0.1]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_limit_that_is_not_a_number_lets_nothing_through(value: float, bench: Bench) -> None:
    """Signals are judged before; if one slipped through, the command after its clamp would tell."""
    bench.intake.pos.value[0] = value
    problem = bench.filter.apply(np.array([0.0, 0.1]))
    assert problem is not None
    assert "expected finite numbers" in problem


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            *[st.floats(-50, 50)] * 2, *[st.floats(-3.2, 3.2)] * 2, *[st.floats(-40, 40)] * 2
        ),
        min_size=1,
        max_size=20,
    ),
    st.floats(0.0, 1.0),
)
def test_no_command_leaves_the_limits(steps: list[tuple[float, ...]], share: float) -> None:
    for manifest in _BOTH:
        bench = Bench(manifest)
        for elbow, shoulder, pos, elbow_pos, vel, elbow_vel in steps:
            bench.measure((pos, 0.0, elbow_pos), (vel, 0.0, elbow_vel))
            torque, other = bench(elbow, shoulder, share)
            assert abs(torque) <= 6.0
            driven = manifest.robot.actuators[1].kind == "torque"
            assert abs(other) <= (9.0 if driven else 2.85)
            if elbow_vel >= 30.0 and share == 1.0:
                assert torque == -6.0
            if elbow_vel <= -30.0 and share == 1.0:
                assert torque == 6.0
            if driven and pos >= 3.0 and vel >= 0.0 and share == 1.0:
                assert other <= 0.0


NUMBERS = (math.nan, math.inf, -math.inf, 1e155, 0.0, -0.0, 6.0, -6.0, 2.85, 9.0)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            *[st.floats(-1.5, 1.5) | st.floats(-10, 10) | st.sampled_from(NUMBERS)] * 2,
            *[st.floats(-3.0, 3.0)] * 2,
            *[st.floats(-32, 32)] * 2,
            st.sampled_from((0.0, 0.3, 1.0, 1.0, 1.0)),
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from((None, 2000.0)),
)
def test_what_passes_at_once_would_pass_every_stage(
    steps: list[tuple[float, ...]], acceleration: float | None
) -> None:
    """A second filter takes every command through all stages: same bits, words and counts."""
    limits = {} if acceleration is None else {"elbow": 1e4, "shoulder": acceleration}
    for manifest in _BOTH:
        quick, slow = (Bench(manifest, acceleration_limit=limits) for _ in range(2))
        slow.filter._all_inside = b""
        for elbow, shoulder, pos, elbow_pos, vel, elbow_vel, share in steps:
            found = []
            for bench in (quick, slow):
                bench.measure((pos, 0.0, elbow_pos), (vel, 0.0, elbow_vel))
                with np.errstate(over="ignore"):  # the test for finite numbers, as in a controller
                    problem = bench.filter.apply(np.array([elbow, shoulder]), share)
                found.append((bench.filter.command.tobytes(), problem, bench.filter.counts))
            assert found[0] == found[1]


def test_what_lies_on_a_bound_goes_through_every_stage(bench: Bench) -> None:
    """Of two zeros a clamp may give the other one, which counts as a change."""
    counted = bench.filter.counts
    bench(5.9, 0.4)
    bench.filter._clamp = _refusing  # type: ignore[method-assign]
    bench(5.9, 0.4)
    for bound in (6.0, -6.0):
        with pytest.raises(AssertionError, match="torque limit"):
            bench(bound, 0.4)
    assert set(counted.values()) == {0}


def _refusing(lower: np.ndarray, upper: np.ndarray, name: str) -> str | None:
    raise AssertionError(name)


_BOTH: list[Manifest] = []


@pytest.fixture(autouse=True, scope="module")
def _both(manifest: Manifest, torque_manifest: Manifest) -> None:
    _BOTH[:] = [manifest, torque_manifest]

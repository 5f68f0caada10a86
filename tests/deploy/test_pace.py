"""The loop keeps its grid under jitter, and does with a late cycle what was asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.core.robot import Robot
from simreal.deploy import Bundle, Mode, Signals, load
from simreal.deploy.timing import LoopTimer, RateMonitor
from tests.deploy.fake_robot import PERIOD, TICK, FakeRobot, make_controller


@pytest.fixture(scope="module")
def bundle(written: Path) -> Bundle:
    return load(written)


@pytest.fixture
def fake(robot: Robot) -> FakeRobot:
    return FakeRobot(robot)


def busy(fake: FakeRobot, delay: Callable[[int], float]) -> Callable[[Signals], Signals]:
    """Every cycle takes so long, by its number."""
    count = [0]

    def sense(signals: Signals) -> Signals:
        taken = delay(count[0])
        count[0] += 1
        if taken:
            fake.sleep(taken)
        return signals

    return sense


def _times(fake: FakeRobot) -> list[float]:
    return [t for t, c in fake.written if c.mode is Mode.RUN]


@pytest.mark.parametrize(
    ("overrun", "cycles", "skipped", "fault"),
    [
        ("skip", 98, 2, None),
        ("late", 100, 0, None),
        ("stop", 98, 2, "1 cycles in a row took longer than 0.01 s"),
    ],
)
def test_one_late_cycle(
    overrun: str, cycles: int, skipped: int, fault: str | None, bundle: Bundle, fake: FakeRobot
) -> None:
    changes = {"overrun": overrun, "actuator_multiple": 1}
    controller = make_controller(bundle, fake, changes=changes)
    controller.arm()
    fake.sense = busy(fake, lambda n: 0.025 if n == 10 else 0.0)
    report = controller.run(1.0)
    assert (report.cycles, report.skipped, report.fault) == (cycles, skipped, fault)
    assert (report.overruns, report.missed) == (1, 1)
    times = _times(fake)
    if overrun == "skip":
        assert times[11] == pytest.approx(0.13)  # back on the grid
    if overrun == "late":
        # Cycles 11 and 12 follow at once, 13 waits for its place again.
        assert times[10:14] == pytest.approx([0.125, 0.125, 0.125, 0.13])
        assert report.jitter_max_s == pytest.approx(0.015)
    if overrun == "stop":
        assert len(times) == 11


def test_late_cycles_in_a_row_stop_it_even_if_it_may_run_late(
    bundle: Bundle, fake: FakeRobot
) -> None:
    controller = make_controller(
        bundle, fake, changes={"overrun": "late", "actuator_multiple": 1, "rate_window": 1000}
    )
    controller.arm()
    fake.sense = busy(fake, lambda n: 0.012 if n >= 10 else 0.0)
    report = controller.run(1.0)
    assert report.fault == "3 cycles in a row took longer than 0.01 s"


def test_an_hour_of_jitter_leaves_the_loop_on_its_grid() -> None:
    """Drift of at most one tick in an hour, 500 Hz, with a scheduler that is late at random."""
    rng = np.random.default_rng(1)
    timer, step, now, count = LoopTimer(TICK), 0, 0.0, round(3600 / TICK)
    jitter = np.minimum(rng.exponential(2e-4, size=count), 4e-3).tolist()
    last = 0.0
    for late in jitter:
        now = max(now, step * TICK) + late
        last = now - step * TICK
        now += 3e-4
        step = timer.next_step(step, now)
        if step >= count:
            break
    assert step == count
    assert abs(now - count * TICK) <= TICK
    assert 0.0 <= last < 2 * TICK


def test_the_controller_does_not_drift(bundle: Bundle, fake: FakeRobot) -> None:
    """The same with the whole controller, for a simulated minute and a half."""
    fake.keep = False
    rng = np.random.default_rng(2)
    late = np.minimum(rng.exponential(3e-4, size=20_000), 1.5e-3).tolist()
    controller = make_controller(bundle, fake, changes={"actuator_multiple": 1})
    controller.arm()
    fake.sense = busy(fake, lambda n: late[n])
    begun = fake.time_s
    report = controller.run(90.0)
    assert report.fault is None
    assert (report.cycles, report.overruns) == (9000, 0)
    assert abs(fake.time_s - begun - 90.0) <= PERIOD
    assert report.mean_rate_hz == pytest.approx(100.0, rel=1e-5)
    assert report.latency_p50_s == pytest.approx(np.median(late[:9000]), rel=0.05)


def test_the_policy_keeps_its_period_under_a_faster_loop(bundle: Bundle, fake: FakeRobot) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    asked = []
    plain = controller._policy.step
    controller._policy.step = lambda s: (asked.append(fake.time_s), plain(s))[1]  # type: ignore
    # The cycle at 0.1 s takes 7 ms: three are skipped, none of the policy's periods is.
    fake.sense = busy(fake, lambda n: 0.007 if n == 50 else 0.0)
    report = controller.run(0.3)
    assert report.skipped == 3
    assert asked == pytest.approx(
        [PERIOD * k + (0.007 if k == 10 else 0.0) for k in range(1, 30)], abs=1e-9
    )


@pytest.mark.parametrize(("interpolation", "levels"), [("none", 1), ("linear", 5)])
def test_commands_between_two_answers(
    interpolation: str, levels: int, bundle: Bundle, fake: FakeRobot
) -> None:
    free = {"shoulder": 1e6, "elbow": 1e6}
    changes = {"interpolation": interpolation, "rate_limit": free}
    controller = make_controller(bundle, fake, changes=changes)
    controller.arm()
    answers = iter([0.0, 1.0, 3.0, 2.0])
    constant = [0.0, 0.1]

    def answer(signals: Any) -> np.ndarray:
        constant[0] = next(answers)
        return np.array(constant)

    controller._policy.step = controller._policy.reset = answer  # type: ignore[method-assign]
    controller.run(4 * PERIOD)
    sent = [c.values["elbow"] for _, c in fake.written if c.mode is Mode.RUN]
    expected = {
        1: [0.0] * 5 + [1.0] * 5 + [3.0] * 5 + [2.0] * 5,
        5: [0.0] * 5 + [0.2, 0.4, 0.6, 0.8, 1.0, 1.4, 1.8, 2.2, 2.6, 3.0, 2.8, 2.6, 2.4, 2.2, 2.0],
    }
    assert sent == pytest.approx(expected[levels])


def test_blending_in_takes_its_time(bundle: Bundle, fake: FakeRobot) -> None:
    controller = make_controller(bundle, fake, changes={"blend_in_s": 0.1})
    controller.arm()
    states = []
    for _ in range(60):
        controller.cycle()
        states.append(controller.state.value)
        fake.sleep(TICK)
    assert states == ["blend"] * 49 + ["run"] * 11


def test_hold_and_go(bundle: Bundle, fake: FakeRobot) -> None:
    """A person may hold the robot; the policy begins a new episode afterwards."""
    controller = make_controller(bundle, fake)
    controller.arm()
    controller.hold()
    for _ in range(20):
        controller.cycle()
        fake.sleep(TICK)
    assert {c.mode for _, c in fake.written} == {Mode.HOLD}
    assert {c.values["shoulder"] for _, c in fake.written} == {0.1}
    controller.go()
    controller.cycle()
    assert controller.state.value == "run"
    assert fake.written[-1][1].mode is Mode.RUN
    controller.hold()
    fake.sleep(TICK)
    controller.cycle()
    assert fake.written[-1][1].mode is Mode.HOLD


def test_a_clock_that_was_set_back_does_not_keep_the_joints_waiting(
    bundle: Bundle, fake: FakeRobot
) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()

    def sense(signals: Signals) -> Signals:
        if fake.time_s > 0.1:
            fake.clock_offset_s = -3600.0
        return signals

    fake.sense = sense
    controller.run(0.2)
    assert fake.time_s == pytest.approx(0.2, abs=2 * PERIOD)
    assert controller.fault is not None


def test_rate_monitor_looks_at_a_full_window() -> None:
    monitor = RateMonitor(0.01, 50, 0.05)
    assert all(monitor.problem(0.011 * i) is None for i in range(50))
    assert monitor.problem(0.011 * 50) == (
        "control rate: expected 100 Hz within 5 %, found 90.91 Hz over 50 cycles"
    )
    still = RateMonitor(0.01, 2, 0.05)
    assert [still.problem(1.0) for _ in range(3)][-1] is not None

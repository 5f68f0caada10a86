"""Every fault has the end state and the time to damping that docs/safety.md promises.

Policy at 100 Hz, commands at 500 Hz, simulated time. The time runs from the first faulty sample, or
the last sign of life, to the first moment at which the robot's gate damps the joints for good.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.core.robot import Robot
from simreal.deploy import (
    Bundle,
    BundleSpec,
    Command,
    EventLog,
    Mode,
    Signals,
    State,
    TrainedLatency,
    Verdict,
    load,
    read_log,
    write_bundle,
)
from tests.deploy.fake_robot import MULTIPLE, PERIOD, TICK, FakeRobot, changed, make_controller

AT = 0.2  # when the fault begins [s]
LAST = 0.5
NOW = TICK + 1e-9  # the cycle that saw it damps
Sense = Callable[[Signals], Signals]


@pytest.fixture(scope="module")
def bundle(written: Path) -> Bundle:
    return load(written)


@pytest.fixture
def fake(robot: Robot) -> FakeRobot:
    return FakeRobot(robot)


def from_fault(fake: FakeRobot, change: Callable[[dict[str, Any]], Any]) -> Sense:
    return lambda s: changed(s, change) if fake.time_s >= AT - 1e-9 else s


def late(fake: FakeRobot, periods: float) -> Sense:
    """From the fault on, everything arrives so late; afterwards in time again."""
    seen: list[tuple[float, Signals]] = []

    def sense(signals: Signals) -> Signals:
        seen.append((fake.time_s, signals))
        if not AT - 1e-9 <= fake.time_s < AT + 0.1:
            return signals
        return [s for t, s in seen if t <= fake.time_s - periods * PERIOD + 1e-9][-1]

    return sense


def stop_for(fake: FakeRobot, seconds: float) -> Sense:
    """The process stands still for a while, as if stopped and continued."""
    begun = []

    def sense(signals: Signals) -> Signals:
        if fake.time_s >= AT - 1e-9 and not begun:
            begun.append(True)
            fake.sleep(seconds)
        return signals

    return sense


def set_clock(fake: FakeRobot, seconds: float) -> Sense:
    def sense(signals: Signals) -> Signals:
        if fake.time_s >= AT - 1e-9:
            fake.clock_offset_s = seconds
        return signals

    return sense


def nan_at(name: str, index: int, value: float) -> Callable[[FakeRobot], Sense]:
    return lambda fake: from_fault(fake, lambda v: v[name].__setitem__(index, value))


def freeze(*names: str, index: int | slice = slice(None)) -> Callable[[FakeRobot], Sense]:
    """From the fault on, some numbers stay what they are, in new samples."""

    def make(fake: FakeRobot) -> Sense:
        kept: dict[str, Any] = {}

        def change(values: dict[str, Any]) -> None:
            for name in names:
                kept.setdefault(name, values[name].copy())
                values[name][index] = kept[name][index]

        return from_fault(fake, change)

    return make


NON_FINITE = [
    pytest.param(nan_at(name, i, value), NOW, f"signal '{name}' of '{joint}'", id=f"{name}-{value}")
    for name in ("joint_pos", "joint_vel")
    for i, joint in enumerate(("shoulder", "slider", "elbow"))
    for value in (np.nan, np.inf, -np.inf)
]
FAULTS = [
    *NON_FINITE,
    pytest.param(
        lambda f: from_fault(f, lambda v: v.pop("joint_pos")),
        NOW,
        "signal 'joint_pos': expected 3 numbers, found nothing",
        id="missing",
    ),
    pytest.param(
        lambda f: from_fault(f, lambda v: v.update(joint_vel=np.zeros(160))),
        NOW,
        "signal 'joint_vel': expected 3 numbers, found shape (160,)",
        id="160 numbers",
    ),
    pytest.param(
        freeze("joint_pos", index=0),
        6 * PERIOD,
        "position of joint 'shoulder': expected it to change",
        id="frozen position",
    ),
    pytest.param(
        freeze("joint_pos", "joint_vel"),
        6 * PERIOD,
        "position of joint 'shoulder': expected it to change",
        id="all frozen",
    ),
    pytest.param(
        lambda f: from_fault(f, lambda v: v["joint_pos"].__setitem__(0, v["joint_pos"][0] + 0.5)),
        NOW,
        "position of joint 'shoulder': expected a change of at most 0.13 in 0.002 s, found 0.5",
        id="encoder jump",
    ),
    pytest.param(
        lambda f: from_fault(f, lambda v: v["joint_vel"].__setitem__(2, -30.1)),
        NOW,
        "velocity of joint 'elbow': expected at most 30, found 30.1",
        id="over-speed",
    ),
    pytest.param(
        lambda f: from_fault(f, lambda v: v["joint_pos"].__setitem__(1, 0.65)),
        NOW,
        "position of joint 'slider': expected -0.5 to 0.5, found 0.65",
        id="beyond its limit",
    ),
    *[
        pytest.param(
            lambda f, n=n: late(f, n),
            4 * PERIOD + NOW,
            "age of the signals: expected 0 to 0.02 s, found 0.04",
            id=f"stale by {n} periods",
        )
        for n in range(5, 11)
    ],
    pytest.param(
        lambda f: stop_for(f, 0.1),
        0.01 + NOW,
        "age of the signals: expected 0 to 0.02 s, found 0.1",
        id="process stopped and continued",
    ),
    pytest.param(
        lambda f: set_clock(f, -5.0), 2 * NOW, "age of the signals: expected 0", id="clock back"
    ),
    pytest.param(
        lambda f: set_clock(f, 5.0), NOW, "age of the signals: expected 0", id="clock forward"
    ),
]


@pytest.mark.parametrize(("fault", "within_s", "message"), FAULTS)
def test_it_ends_in_a_latched_fault(
    fault: Callable[[FakeRobot], Sense],
    within_s: float,
    message: str,
    bundle: Bundle,
    fake: FakeRobot,
) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    fake.sense = fault(fake)
    report = controller.run(LAST)
    assert report.fault is not None
    assert report.fault.startswith(message)
    assert controller.state is State.FAULT
    assert any(c.mode is Mode.RUN for t, c in fake.applied if t < AT)
    assert fake.damped_at(AT) - AT <= within_s
    # Only a person may go on, and only with a new epoch.
    fake.sense = lambda signals: signals
    before = controller.epoch
    controller.clear_fault()
    fake.pos, fake.vel = [0.1, 0.0, 0.0], [0.0, 0.0, 0.0]
    fake.clock_offset_s = 0.0
    controller.arm()
    assert controller.epoch == before + 1
    assert controller.run(0.1).fault is None


def broken_from(fake: FakeRobot) -> Sense:
    return from_fault(fake, lambda v: v["joint_pos"].fill(np.nan))


def test_a_fault_is_told_once_and_after_its_first_damping_command(
    bundle: Bundle, fake: FakeRobot
) -> None:
    heard: list[tuple[str, float]] = []
    controller = make_controller(
        bundle, fake, told=lambda why: heard.append((why, fake.damped_at(AT)))
    )
    controller.arm()
    fake.sense = broken_from(fake)
    report = controller.run(LAST)
    assert [why for why, _ in heard] == [report.fault]
    assert heard[0][1] - AT <= NOW


def test_the_joints_are_damped_even_if_nobody_can_be_told(
    bundle: Bundle, fake: FakeRobot, tmp_path: Path
) -> None:
    def told(why: str) -> None:
        raise BrokenPipeError("nobody reads")

    path = tmp_path / "run.log"
    with EventLog(path) as log:
        controller = make_controller(bundle, fake, told=told, log=log)
        controller.arm()
        fake.sense = broken_from(fake)
        report = controller.run(LAST)
    assert report.fault is not None
    assert fake.damped_at(AT) - AT <= NOW
    assert report.cycles == round(LAST / TICK)
    said = [event for event in read_log(path).events if event["event"] == "nobody was told"]
    assert [event["error"] for event in said] == ["BrokenPipeError: nobody reads"]


@pytest.mark.parametrize("periods", [1, 2, 3, 4])
def test_signals_that_are_late_for_a_while_are_borne(
    periods: int, bundle: Bundle, fake: FakeRobot
) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    fake.sense = late(fake, periods) if periods <= 2 else _late_once(fake, periods)
    report = controller.run(LAST)
    assert report.fault is None
    assert (report.counts["degraded ticks"] > 0) == (periods > 2)
    # It ran until its time was over, and the last command is the stop.
    assert {c.mode for t, c in fake.applied if 0.0 < t < LAST - 1.5 * TICK} == {Mode.RUN}


def _late_once(fake: FakeRobot, periods: int) -> Sense:
    """No new sample until the newest one is so old."""
    held: list[Signals] = []

    def sense(signals: Signals) -> Signals:
        if AT - 1e-9 <= fake.time_s < AT + periods * PERIOD - 1e-9:
            held.append(signals) if not held else None
            return held[0]
        return signals

    return sense


@pytest.mark.parametrize(("periods", "warns"), [(1, False), (2, True)])
def test_latency_beyond_what_was_trained_is_told(
    periods: int,
    warns: bool,
    make_spec: Callable[..., BundleSpec],
    fake: FakeRobot,
    tmp_path: Path,
) -> None:
    """Trained with up to 11 ms of commands and 5 ms of measurements."""
    latency = TrainedLatency(command_s=(0.0, 0.011), measurement_s=(0.0, 0.005))
    spec = make_spec(trained_latency=latency)
    with EventLog(tmp_path / "run.log", process=False) as log:
        controller = make_controller(load(write_bundle(tmp_path / "p", spec)), fake, log=log)
        controller.arm()
        fake.sense = late(fake, periods)
        report = controller.run(LAST)
    assert report.fault is None
    assert (report.counts["latency beyond training"] > 0) is warns
    told = [e for e in read_log(tmp_path / "run.log").events if e["event"].startswith("latency")]
    assert len(told) == warns


def test_a_frozen_velocity_is_seen_by_the_way_that_it_claims(
    bundle: Bundle, fake: FakeRobot
) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()

    def change(values: dict[str, Any]) -> None:
        values["joint_vel"][0] = 3.0
        values["joint_pos"][0] = 0.3 + 0.1 * np.sin(100 * fake.time_s)

    fake.sense = from_fault(fake, change)
    report = controller.run(LAST)
    assert report.fault is not None
    assert report.fault.startswith("velocity of joint 'shoulder': expected it to change, found 25")
    assert fake.damped_at(AT) - AT <= 6 * PERIOD


def test_signals_that_stand_still_are_frozen_only_where_the_robot_is_commanded(
    bundle: Bundle, fake: FakeRobot
) -> None:
    def still(values: dict[str, Any]) -> None:
        values["joint_pos"][:], values["joint_vel"][:] = (0.1, 0.0, 0.0), 0.0

    fake.sense = lambda signals: changed(signals, still)
    controller = make_controller(bundle, fake)
    controller.arm()
    controller.hold()
    assert controller.run(10 * PERIOD).fault is None  # nobody wants it to move
    controller.arm()
    controller.go()
    begun = fake.time_s
    report = controller.run(LAST)
    assert report.fault == (
        "position of joint 'shoulder': expected it to change, found 25 equal samples of it and all "
        "others, while commanded; a sensor is frozen"
    )
    assert fake.damped_at(begun) - begun <= 6 * PERIOD


def test_a_position_that_flickers_at_rest_has_no_frozen_velocity(
    bundle: Bundle, fake: FakeRobot
) -> None:
    """From the first sample on: what it has moved by since then is counted from there."""

    def flicker(values: dict[str, Any]) -> None:
        values["joint_pos"] += 1e-4 * (fake.seq % 2)
        values["joint_vel"][:] = 0.0

    fake.sense = lambda signals: changed(signals, flicker)
    controller = make_controller(bundle, fake)
    for _ in range(2):
        controller.arm()
        controller.hold()
        assert controller.run(10 * PERIOD).fault is None


def test_dropped_repeated_and_reordered_samples_are_borne_and_counted(
    bundle: Bundle, fake: FakeRobot
) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    rng = np.random.default_rng(0)
    past: list[Signals] = []

    def sense(signals: Signals) -> Signals:
        past.append(signals)
        return past[-1 - int(rng.integers(0, min(4, len(past))))]

    fake.sense = sense
    report = controller.run(1.0)
    assert report.fault is None
    for what in ("samples lost", "samples repeated", "samples out of order"):
        assert report.counts[what] > 50
    assert report.counts["degraded ticks"] == 0


def test_samples_that_are_refused_are_not_counted_as_lost(bundle: Bundle, fake: FakeRobot) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    fake.sense = broken_from(fake)
    report = controller.run(LAST)
    assert report.fault is not None
    assert report.counts["samples lost"] == 0


def test_commands_that_are_lost_doubled_or_overtaken_are_dropped_by_the_gate(
    bundle: Bundle, fake: FakeRobot
) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    rng = np.random.default_rng(0)
    past: list[Command] = []

    def carry(command: Command) -> list[Command]:
        past.append(command)
        lucky = rng.random()
        if lucky < 0.3:
            return []
        return [command] if lucky < 0.5 else [command, past[int(rng.integers(0, len(past)))]]

    fake.carry = carry
    report = controller.run(1.0)
    assert report.fault is None
    assert fake.gate.counts[Verdict.OLD_SEQ] > 100
    seqs = [c.seq for _, c in fake.applied if c.mode is Mode.RUN]
    assert seqs == sorted(seqs)


def test_a_command_that_no_successor_follows_lives_10_ms(bundle: Bundle, fake: FakeRobot) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    fake.carry = lambda c: [] if fake.time_s >= AT - 1e-9 else [c]
    controller.run(LAST)
    assert 0.0 < fake.damped_at(AT) - AT <= 0.01 + NOW
    assert fake.gate.timeouts == 1
    assert fake.gate.latched is None


def test_a_process_that_was_stopped_while_it_decided_damps(bundle: Bundle, fake: FakeRobot) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    plain = controller._policy.step

    def step(signals: Any) -> np.ndarray:
        if AT - 1e-9 <= fake.time_s < AT + TICK / 2:
            fake.sleep(0.1)
        return plain(signals)

    controller._policy.step = step  # type: ignore[method-assign]
    report = controller.run(LAST)
    assert report.fault is not None
    assert report.fault.startswith("time in a cycle: expected at most 0.05 s, found 0.1 s")
    assert fake.damped_at(AT) - AT <= 0.01 + NOW


def test_a_process_that_was_stopped_between_two_cycles_damps(
    bundle: Bundle, fake: FakeRobot
) -> None:
    """What is measured afterwards is fresh, and its own time alone tells that it was away."""
    controller = make_controller(bundle, fake)
    controller.arm()
    for _ in range(100):
        controller.cycle()
        fake.sleep(TICK)
    stopped = fake.time_s
    fake.sleep(0.1)
    controller.cycle()
    assert controller.fault is not None
    assert controller.fault.startswith(
        "time between two cycles: expected at most 0.05 s, found 0.102 s"
    )
    assert fake.damped_at(stopped) - stopped <= 0.01


def test_a_killed_process_leaves_damped_joints(bundle: Bundle, fake: FakeRobot) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    for _ in range(100):
        controller.cycle()
        fake.sleep(TICK)
    killed = fake.time_s  # nothing is ever sent again
    fake.sleep(0.1)
    assert fake.damped_at(killed) - killed <= 0.01


@pytest.mark.parametrize(("call", "within_s"), [("read", NOW), ("write", 0.01 + NOW)])
def test_a_driver_that_raises_is_a_fault(
    call: str, within_s: float, bundle: Bundle, fake: FakeRobot
) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    plain = getattr(fake, call)

    def broken(*arguments: Any) -> Any:
        if AT - 1e-9 <= fake.time_s < AT + 0.02:
            raise OSError("no such device")
        return plain(*arguments)

    setattr(fake, call, broken)
    report = controller.run(LAST)
    assert report.fault is not None
    assert "OSError: no such device" in report.fault
    assert fake.damped_at(AT) - AT <= within_s


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_network_that_answers_no_number_is_caught(
    value: float, bundle: Bundle, fake: FakeRobot
) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    network = controller._policy._network
    plain, bias = fake.sense, network.rows[-1]

    def sense(signals: Signals) -> Signals:
        if fake.time_s >= AT - 1e-9:
            bias[-1, 0] = value
        return plain(signals)

    fake.sense = sense
    report = controller.run(LAST)
    assert report.fault is not None
    assert report.fault.startswith("network output: expected finite numbers")
    assert fake.damped_at(AT) - AT <= NOW


def test_a_runtime_that_raises_is_caught(bundle: Bundle, fake: FakeRobot) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    plain = controller._policy.step

    def step(signals: Any) -> np.ndarray:
        if fake.time_s >= AT - 1e-9:
            raise RuntimeError("out of memory")
        return plain(signals)

    controller._policy.step = step  # type: ignore[method-assign]
    report = controller.run(LAST)
    assert report.fault == "the policy failed: RuntimeError: out of memory"
    assert fake.damped_at(AT) - AT <= NOW


def test_the_dead_man_switch_stops_without_a_fault(bundle: Bundle, fake: FakeRobot) -> None:
    held = [0.0]
    controller = make_controller(bundle, fake, dead_man=lambda: held[0])
    fake.sleep(0.6)
    with pytest.raises(Exception, match=r"dead-man switch: expected it to be held within 0\.5 s"):
        controller.arm()
    held[0] = fake.clock()
    controller.arm()
    begun = fake.time_s
    report = controller.run(1.0)
    assert report.fault is None
    assert fake.damped_at(begun) - begun <= 0.5 + NOW
    held[0] = fake.clock()
    controller.arm()  # no fault to clear, but a new arming
    assert controller.run(0.1).fault is None


def test_a_switch_on_another_clock_or_without_an_answer_is_not_held(
    bundle: Bundle, fake: FakeRobot
) -> None:
    """Ahead by what asking takes it may be; years ahead it would never be let go."""
    ahead = [0.4]
    controller = make_controller(bundle, fake, dead_man=lambda: fake.clock() + ahead[0])
    controller.arm()
    controller.cycle()
    assert fake.act().mode is Mode.RUN
    ahead[0] = 1.7e9
    fake.sleep(TICK)
    controller.cycle()
    assert fake.act().mode is Mode.DAMP
    assert controller.state is State.SAFE_STOP
    with pytest.raises(Exception, match=r"dead-man switch: .* within 0\.5 s, found -1\.7e\+09 s"):
        controller.arm()

    def unplugged() -> float:
        raise OSError("no such device")

    controller = make_controller(bundle, fake, dead_man=lambda: fake.clock())
    controller.arm()
    controller.cycle()
    controller._guards._dead_man = unplugged
    fake.sleep(TICK)
    controller.cycle()
    assert fake.act().mode is Mode.DAMP
    with pytest.raises(Exception, match="the dead-man switch failed: OSError: no such device"):
        controller.arm()


def test_a_latched_gate_is_a_fault_and_refuses_to_arm(bundle: Bundle, fake: FakeRobot) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    for _ in range(20):
        controller.cycle()
        fake.sleep(TICK)
    fake.gate.trip("a person pressed the button")
    assert fake.act().mode is Mode.DAMP
    controller.cycle()
    assert controller.fault == (
        "the robot's gate is latched (a person pressed the button); reset it at the robot"
    )
    controller.clear_fault()
    with pytest.raises(Exception, match="gate is latched"):
        controller.arm()
    fake.gate.reset()
    controller.arm()
    controller.cycle()
    assert controller.epoch == 2
    assert fake.act().mode is Mode.RUN


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_rate_that_is_off_by_a_tenth_is_a_fault(
    factor: float, bundle: Bundle, fake: FakeRobot
) -> None:
    """The loop is somebody else's; 50 periods of the policy, 250 commands, are looked at."""
    controller = make_controller(bundle, fake)
    controller.arm()
    faults = []
    for _ in range(50 * MULTIPLE + 1):
        controller.cycle()
        faults.append(controller.fault)
        fake.sleep(TICK / factor)
    assert faults[-2] is None
    assert faults[-1] is not None
    assert faults[-1].startswith("control rate: expected 500 Hz within 5 %, found")


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_a_rate_within_its_tolerance_is_none(
    factor: float, bundle: Bundle, fake: FakeRobot
) -> None:
    controller = make_controller(bundle, fake)
    controller.arm()
    for _ in range(300):
        controller.cycle()
        fake.sleep(TICK / factor)
    assert controller.fault is None


def test_a_full_disk_does_not_disturb_the_commands(
    bundle: Bundle, robot: Robot, tmp_path: Path
) -> None:
    """`/dev/full` refuses every byte; the same run without a log sends the same commands."""
    runs = []
    for path in (None, tmp_path / "good.log", Path("/dev/full")):
        fake = FakeRobot(robot)
        log = None if path is None else EventLog(os.open(path, os.O_WRONLY | os.O_CREAT))
        controller = make_controller(bundle, fake, log=log)
        controller.arm()
        report = controller.run(0.5)
        assert report.fault is None
        counts = log.close() if log is not None else {}
        assert (counts.get("log bytes lost", 0) > 0) == (path == Path("/dev/full"))
        assert counts.get("log records dropped", 0) == 0
        runs.append(fake.written)
    assert runs[0] == runs[1] == runs[2]

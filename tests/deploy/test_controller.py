"""The controller arms on the right robot alone, and every fault ends in damping."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.core.robot import Robot
from simreal.deploy import Bundle, Command, Controller, Mode, Signals, State, load
from simreal.errors import ArmError

PERIOD = 0.01


class SimulatedRobot:
    """A robot in simulated time: sleeping advances it, and faults can be put into what it says."""

    def __init__(self, robot: Robot, order: tuple[int, ...] = (0, 1, 2)) -> None:
        self.time_s = 0.0
        self.read_s = 0.0
        self.age_s = 0.0
        self.pos, self.vel = np.zeros(3), np.zeros(3)
        self.order = list(order)
        self.interface: dict[str, Any] = robot.interface
        self.interface["joints"] = [self.interface["joints"][i] for i in order]
        self.sent: list[tuple[float, dict[str, float]]] = []
        self.commands: list[Command] = []
        self.fault: Callable[[int, dict[str, Any]], Any] = lambda cycle, values: None
        self.speeds: list[float] = []
        self.armed = False
        self.torque = {"elbow": 0.0, "shoulder": 0.0}

    def clock(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds
        acceleration = np.array(
            [8 * (self.torque["shoulder"] - self.pos[0]), 0, self.torque["elbow"]]
        )
        self.vel += seconds * (acceleration - self.vel)
        self.pos += seconds * self.vel

    def read(self) -> Signals:
        self.time_s += self.read_s
        values: dict[str, Any] = {"joint_pos": self.pos.copy(), "joint_vel": self.vel.copy()}
        values = {name: value[self.order] for name, value in values.items()}
        self.fault(len(self.sent), values)
        if self.armed:
            self.speeds.append(float(values["joint_vel"][2]) if "joint_vel" in values else 0.0)
        return Signals(self.time_s - self.age_s, values)

    def write(self, command: Command) -> None:
        self.torque = dict(command.values)
        self.sent.append((command.time_s, dict(command.values)))
        self.commands.append(command)


@pytest.fixture(scope="module")
def bundle(written: Path) -> Bundle:
    return load(written)


@pytest.fixture
def sim(robot: Robot) -> SimulatedRobot:
    return SimulatedRobot(robot)


def _controller(bundle: Bundle, sim: SimulatedRobot, **options: Any) -> Controller:
    options = {"without_watchdog": True, **options}
    return Controller(bundle, sim, clock=sim.clock, sleep=sim.sleep, **options)


def test_it_runs_at_the_trained_rate(bundle: Bundle, sim: SimulatedRobot) -> None:
    controller = _controller(bundle, sim)
    controller.arm()
    assert controller.state is State.SELF_TESTED
    report = controller.run(2.0)
    assert (report.cycles, report.overruns, report.skipped, report.fault) == (200, 0, 0, None)
    assert report.mean_rate_hz == pytest.approx(100.0)
    times = [time for time, _ in sim.sent[:-1]]
    np.testing.assert_allclose(times, PERIOD * np.arange(200), atol=1e-9)
    # When it is over, the motors are let go and the position-driven joint stays.
    assert sim.sent[-1][1]["elbow"] == pytest.approx(-0.5 * sim.vel[2])
    assert sim.sent[-1][1]["shoulder"] == sim.sent[-2][1]["shoulder"]
    assert controller.state is State.INIT


def test_it_sends_what_the_policy_says_within_limits(bundle: Bundle, sim: SimulatedRobot) -> None:
    controller = _controller(bundle, sim)
    controller.arm()
    controller.run(1.0)
    torques = np.array([command["elbow"] for _, command in sim.sent])
    assert np.abs(torques).max() <= 6.0
    assert len(np.unique(torques)) > 10


def test_commands_are_counted_and_every_arming_raises_the_epoch(
    bundle: Bundle, sim: SimulatedRobot
) -> None:
    controller = _controller(bundle, sim)
    for _ in range(2):
        controller.arm()
        controller.run(0.05)
    assert [c.epoch for c in sim.commands] == [1] * 6 + [2] * 6
    assert [c.seq for c in sim.commands] == [*range(6), *range(6)]
    assert [c.mode for c in sim.commands] == ([Mode.RUN] * 5 + [Mode.DAMP]) * 2
    # Within two periods, with a margin.
    assert [c.ttl_s for c in sim.commands] == [pytest.approx(0.018)] * 12


def test_joint_order_of_the_robot_does_not_matter(bundle: Bundle, robot: Robot) -> None:
    straight, turned = SimulatedRobot(robot), SimulatedRobot(robot, (2, 0, 1))
    for sim in (straight, turned):
        controller = _controller(bundle, sim)
        controller.arm()
        controller.run(0.5)
    assert straight.sent == turned.sent


def _interface(change: Callable[[dict[str, Any]], Any]) -> Callable[[SimulatedRobot], Any]:
    return lambda sim: change(sim.interface)


def _fault(change: Callable[[dict[str, Any]], Any]) -> Callable[[SimulatedRobot], Any]:
    def apply(sim: SimulatedRobot) -> None:
        sim.fault = lambda cycle, values: change(values)

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_interface(lambda i: i.update(name="leg")), "name of the robot: expected 'arm', found"),
        (
            _interface(lambda i: i["joints"][2].update(name="elbo")),
            "joint 'elbow': expected one, found none. Did you mean 'elbo'?",
        ),
        (_interface(lambda i: i["joints"].pop()), "joint 'elbow': expected one, found none"),
        (
            _interface(lambda i: i["joints"].append(i["joints"][0])),
            "joint table: expected every name once",
        ),
        (_interface(lambda i: i.update(joints=5)), "joint table: expected a list of tables"),
        (
            _interface(lambda i: i["joints"][0].update(axis=[0.0, -1.0, 0.0])),
            "axis of joint 'shoulder': expected [0.0, 1.0, 0.0], found [0.0, -1.0, 0.0]",
        ),
        (
            _interface(lambda i: i["joints"][0].update(upper=172.0)),
            "upper of joint 'shoulder': expected 3.0, found 172.0",
        ),
        (
            _interface(lambda i: i["units"].update(angle="deg")),
            "unit of angle: expected 'rad', found 'deg'",
        ),
        (_interface(lambda i: i.pop("units")), "unit of angle: expected 'rad', found nothing"),
        (
            _interface(lambda i: i["actuators"][0].update(torque_limit=5.0)),
            "torque_limit of actuator 'elbow': expected 6.0, found 5.0",
        ),
        (
            _interface(lambda i: i["actuators"].append({"joint": "slider"})),
            "actuator 'slider': expected none, found one",
        ),
        (
            _fault(lambda v: v.update(joint_pos=np.zeros(154))),
            "joint_pos': expected 3 numbers, found shape",
        ),
        (
            _fault(lambda v: v.pop("joint_vel")),
            "signal 'joint_vel': expected 3 numbers, found nothing",
        ),
        (
            _fault(lambda v: v["joint_vel"].fill(np.inf)),
            "joint_vel' of 'shoulder': expected a number",
        ),
        (_fault(lambda v: v.update(joint_vel="fast")), "reading the robot failed: ValueError"),
        (
            lambda sim: setattr(sim, "age_s", 0.05),
            "age of the signals: expected 0 to 0.02 s, found 0.05",
        ),
        (lambda sim: setattr(sim, "age_s", -0.05), "age of the signals: expected 0 to 0.02 s"),
        (lambda sim: setattr(sim, "age_s", math.nan), "age of the signals: expected 0 to 0.02 s"),
    ],
)
def test_it_refuses_to_arm(
    change: Callable[[SimulatedRobot], Any], message: str, bundle: Bundle, sim: SimulatedRobot
) -> None:
    change(sim)
    controller = _controller(bundle, sim)
    with pytest.raises(ArmError, match="refuses to arm") as caught:
        controller.arm()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sim.sent == []
    with pytest.raises(ArmError, match=r"not armed; call arm\(\) first"):
        controller.cycle()
    with pytest.raises(ArmError, match="not armed"):
        controller.run(1.0)


def test_it_names_every_problem_at_once(bundle: Bundle, sim: SimulatedRobot) -> None:
    sim.interface["name"] = "leg"
    with pytest.raises(ArmError) as caught:
        _controller(bundle, sim, period_s=0.02).arm()
    assert "found 'leg'; control period: expected 0.01 s, found 0.02 s" in str(caught.value)


def test_it_refuses_a_policy_that_fails_its_self_test(bundle: Bundle, sim: SimulatedRobot) -> None:
    layers = bundle.layers[::-1][::-1]
    wrong = dataclasses.replace(layers[0], bias=layers[0].bias + np.float32(0.01))
    broken = dataclasses.replace(bundle, layers=(wrong, *layers[1:]))
    with pytest.raises(ArmError, match="refuses to arm: golden replay, output at step 0"):
        _controller(broken, sim).arm()


def _at(
    cycle: int, change: Callable[[dict[str, Any]], Any]
) -> Callable[[int, dict[str, Any]], Any]:
    return lambda now, values: change(values) if now >= cycle else None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v: v["joint_pos"].__setitem__(1, np.nan),
            "signal 'joint_pos' of 'slider': expected a number",
        ),
        (lambda v: v["joint_vel"].__setitem__(0, -np.inf), "signal 'joint_vel' of 'shoulder'"),
        (lambda v: v.pop("joint_pos"), "signal 'joint_pos': expected 3 numbers, found nothing"),
        (
            lambda v: v["joint_vel"].__setitem__(2, 30.5),
            "velocity of joint 'elbow': expected at most 30",
        ),
        (
            lambda v: v["joint_vel"].__setitem__(0, -21.0),
            "velocity of joint 'shoulder': expected at most 20",
        ),
        (lambda v: v.update(joint_pos=[{}] * 3), "reading the robot failed: TypeError"),
    ],
)
def test_a_fault_is_latched_within_its_cycle(
    change: Callable[[dict[str, Any]], Any], message: str, bundle: Bundle, sim: SimulatedRobot
) -> None:
    controller = _controller(bundle, sim)
    controller.arm()
    sim.armed, sim.fault = True, _at(10, change)
    report = controller.run(0.3)
    assert report.fault is not None
    assert report.fault.startswith(message)
    assert report.cycles == 30
    assert sim.sent[9][1]["elbow"] != 0.0
    held = sim.sent[9][1]["shoulder"]
    for _, command in sim.sent[10:]:
        assert command["shoulder"] == held
    # Without a measurement the motor is let go; with one it is damped, -0.5 Nm s/rad, to 6 Nm.
    for (_, command), speed in zip(sim.sent[10:], sim.speeds[10:], strict=True):
        damped = float(np.clip(-0.5 * speed, -6.0, 6.0)) if "velocity of" in message else 0.0
        assert command["elbow"] == damped
    with pytest.raises(ArmError, match="a fault is latched"):
        controller.arm()
    sim.fault = lambda cycle, values: None
    controller.clear_fault()
    sim.vel[:] = 0.0
    controller.arm()
    assert controller.run(0.1).fault is None


def test_the_fault_stays_when_its_cause_goes(bundle: Bundle, sim: SimulatedRobot) -> None:
    controller = _controller(bundle, sim)
    controller.arm()
    sim.fault = lambda cycle, v: v["joint_pos"].fill(np.nan) if cycle == 5 else None
    sim.vel[2] = 2.0
    report = controller.run(0.2)
    assert report.fault is not None
    assert controller.state is State.FAULT
    speeds = [command["elbow"] for _, command in sim.sent[6:]]
    assert all(torque < 0 for torque in speeds)  # damped against the motion, -0.5 Nm s/rad


def test_stale_signals_stop_it(bundle: Bundle, sim: SimulatedRobot) -> None:
    controller = _controller(bundle, sim)
    controller.arm()

    def freeze(cycle: int, values: dict[str, Any]) -> None:
        sim.age_s = PERIOD * max(0, cycle - 10)  # the sensor stops after cycle 10

    sim.fault = freeze
    report = controller.run(0.3)
    # Up to 0.02 s they are good, for two periods more the last command is held.
    assert report.fault == "age of the signals: expected 0 to 0.02 s, found 0.05 s"
    assert report.counts["degraded ticks"] == 3
    assert sim.sent[12][1]["elbow"] != 0.0
    assert sim.sent[12][1] == sim.sent[13][1] == sim.sent[14][1]
    assert all(command["elbow"] == 0.0 for _, command in sim.sent[15:])


def test_an_infinite_output_is_caught_before_the_clip(bundle: Bundle, sim: SimulatedRobot) -> None:
    controller = _controller(bundle, sim)
    controller.arm()
    controller.cycle()
    controller._policy._network.rows[-1][-1, 1] = np.inf
    command = controller.cycle()
    assert controller.fault is not None
    assert controller.fault.startswith("network output: expected finite numbers, found [")
    assert command["elbow"] == pytest.approx(-0.5 * sim.vel[2])


def test_commands_are_clamped_to_the_limits(bundle: Bundle, sim: SimulatedRobot) -> None:
    safety = dataclasses.replace(
        bundle.manifest.safety, torque_limit={"elbow": 0.5, "shoulder": 9.0}
    )
    tight = dataclasses.replace(
        bundle, manifest=dataclasses.replace(bundle.manifest, safety=safety)
    )
    controller = _controller(tight, sim)
    controller.arm()
    controller.run(0.5)
    torques = [abs(command["elbow"]) for _, command in sim.sent]
    assert max(torques) == 0.5


def test_one_late_cycle_is_counted_and_skipped(bundle: Bundle, sim: SimulatedRobot) -> None:
    controller = _controller(bundle, sim)
    controller.arm()

    def late(cycle: int, values: dict[str, Any]) -> None:
        sim.time_s += 0.025 if cycle == 10 else 0.0

    sim.fault = late
    report = controller.run(0.3)
    assert report.fault is None
    assert (report.overruns, report.skipped, report.cycles) == (1, 2, 28)
    assert report.latency_max_s == pytest.approx(0.025)
    times = [time for time, _ in sim.sent]
    assert times[10] == pytest.approx(0.125)  # begun at 0.1
    assert times[11] == pytest.approx(0.13)  # back on the grid, not back to back


def test_overruns_in_a_row_stop_it(bundle: Bundle, sim: SimulatedRobot) -> None:
    controller = _controller(bundle, sim)
    controller.arm()
    sim.read_s = 0.012
    report = controller.run(0.3)
    assert report.fault == "3 cycles in a row took longer than 0.01 s"
    assert report.overruns == report.cycles == 15
    assert report.mean_rate_hz == pytest.approx(50.0)


def test_an_interrupted_run_leaves_the_robot_stopped(bundle: Bundle, sim: SimulatedRobot) -> None:
    controller = _controller(bundle, sim)
    controller.arm()

    def interrupt(cycle: int, values: dict[str, Any]) -> None:
        if cycle == 5 and len(sim.sent) == 5 and sim.torque["elbow"] != 0.0:
            sim.torque["elbow"] = 0.0
            raise KeyboardInterrupt

    sim.fault = interrupt
    with pytest.raises(KeyboardInterrupt):
        controller.run(1.0)
    assert len(sim.sent) == 6
    assert sim.sent[-1][1]["elbow"] == pytest.approx(-0.5 * sim.vel[2])


def test_a_second_arming_begins_a_new_episode(bundle: Bundle, robot: Robot) -> None:
    sim = SimulatedRobot(robot)
    controller = _controller(bundle, sim)
    runs = []
    for _ in range(2):
        sim.pos[:], sim.vel[:], sim.sent = 0.1, 0.0, []
        controller.arm()
        controller.run(0.1)
        runs.append([command for _, command in sim.sent])
    for first, second in zip(*runs, strict=True):
        assert first == pytest.approx(second, abs=1e-12)

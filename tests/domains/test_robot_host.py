"""A hosted robot keeps its grid, obeys only the gate, and tells what happened."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import Command, CommandGate, Mode
from simreal.deploy.transports import Disturbance, RobotClient, RobotServer, loopback
from simreal.domains import Domain
from simreal.domains.robot_faults import Fault, FaultBox, RobotClock
from simreal.domains.robot_host import RobotHost
from simreal.domains.ticked_robot import TickedRobot


class Bench:
    """A robot and a controller in one thread, in simulated time: waiting lets the other one act."""

    def __init__(self, robot: TickedRobot, window_s: tuple[float, float] = (0.1, 0.2)) -> None:
        self.now = 100.0
        self.clock = RobotClock(lambda: self.now)
        ends = loopback(1024)
        self.faults = FaultBox(self.clock, Disturbance())
        self.gate = CommandGate(robot.actuators, shared_clock=True)
        self.server = RobotServer(
            ends[1],
            robot.interface,
            robot.signals,
            self.gate,
            period_s=robot.tick_s,
            clock=self.clock,
            on_control=lambda message: self.host.control(message),
        )
        self.robot = robot
        self.host = RobotHost(
            robot, self.server, self.faults, self.clock, window_s=window_s, sleep=self.sleep
        )
        self.client = RobotClient(ends[0], clock=lambda: self.now)
        self.epoch, self.seq = 1, 0
        self.torque = 0.5
        self.act: Callable[[], Any] = self.command
        self.times: list[float] = []
        self.stall_s = 0.0
        self.asked = False

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.times.append(self.now)
        if not self.asked:
            self.client._ask()
            self.asked = True
        self.client._drain()
        if self.client._signals is not None:
            self.act()
        self.now += self.stall_s

    def command(self, **changes: Any) -> None:
        content: dict[str, Any] = {"ttl_s": 0.01, "mode": Mode.RUN}
        values = {self.robot.actuators[0]: self.torque}
        self.client.write(
            Command(
                epoch=self.epoch,
                seq=self.seq,
                time_s=self.now,
                values=values,
                **(content | changes),
            )
        )
        self.seq += 1


@pytest.fixture
def robot(
    toy_robot: Robot, toy_task: Task, toy_domain: Callable[..., Domain]
) -> Iterator[TickedRobot]:
    with TickedRobot(toy_robot, toy_task, toy_domain(), seed=1) as made:
        yield made


@pytest.fixture
def bench(robot: TickedRobot) -> Bench:
    return Bench(robot)


def test_every_tick_has_its_place_on_the_grid(bench: Bench) -> None:
    report = bench.host.run(1.0)
    assert report.ticks == 500 + 10
    assert (report.late, report.missed) == (0, 0)
    np.testing.assert_allclose(np.diff(bench.times), 0.002, atol=1e-9)


def test_commands_move_it_and_silence_brakes_it(bench: Bench) -> None:
    calls: list[int] = []

    def for_a_while() -> None:
        calls.append(1)
        if len(calls) <= 200:
            bench.command()

    bench.act = for_a_while
    report = bench.host.run(1.0)
    assert report.gate == {"accepted": 200}
    # Until the controller is there, and from 10 ms after its last command on, it damps itself.
    assert report.ticks - report.damped_ticks == pytest.approx(200 + 5, abs=2)
    assert report.timeouts == 1
    assert report.latched is None
    assert len(report.runs) == 1
    assert report.runs[0].epoch == 1
    assert report.runs[0].duration_s == pytest.approx(0.41, abs=0.01)


def test_the_controller_is_told_that_the_robot_is_switched_off(bench: Bench) -> None:
    bench.host.run(0.1)
    bench.client._drain()
    assert bench.client.read().latched == "the robot is switched off"
    assert bench.gate.latched == "the robot is switched off"


def test_a_measurement_is_the_state_at_its_time(bench: Bench) -> None:
    seen: list[tuple[float, float]] = []

    def look() -> None:
        signals = bench.client.read()
        seen.append((bench.now - signals.time_s, float(signals.values["joint_pos"][0])))

    bench.act = look
    bench.host.run(0.1)
    # It was published one tick ago. The clocks are equal, but a robot that answers at its ticks
    # alone looks half a tick ahead: the round trip of a tick, seen as half there and half back.
    assert bench.client.sync.uncertainty_s == pytest.approx(0.001)
    assert [age for age, _ in seen[2:]] == pytest.approx([0.001] * len(seen[2:]), abs=1e-6)
    assert len({position for _, position in seen}) > 40


def test_a_late_tick_is_made_up_for(bench: Bench) -> None:
    bench.stall_s = 0.005
    report = bench.host.run(0.5)
    assert report.ticks == 250 + 10
    assert report.late > 100
    assert report.missed == 0


def test_after_a_long_stall_ticks_are_given_up(bench: Bench) -> None:
    stalls = iter([0.5])
    bench.act = lambda: setattr(bench, "now", bench.now + next(stalls, 0.0))
    report = bench.host.run(1.0)
    assert report.missed == pytest.approx(250, abs=2)
    assert report.ticks == 510 - report.missed


def test_a_run_is_judged_by_the_tasks_window(bench: Bench, monkeypatch: Any) -> None:
    # Upright from 0.05 s of the run on, but for one tick at 0.3 s.
    ticks: list[int] = []

    def succeeds(robot: TickedRobot) -> bool:
        ticks.append(1)
        return len(ticks) > 25 and len(ticks) != 150

    monkeypatch.setattr(TickedRobot, "succeeds", property(succeeds))
    report = bench.host.run(0.5)
    run = report.runs[0]
    assert run.window is True  # from 0.1 to 0.2 s
    assert run.up_at_s == pytest.approx(0.3)
    assert run.held_share == pytest.approx(1.0 - 1.0 / (run.duration_s / 0.002 - 50), abs=1e-6)
    assert report.to_dict()["runs"][0]["epoch"] == 1


def test_a_new_arming_is_a_new_run(bench: Bench) -> None:
    def act() -> None:
        bench.epoch = 1 if bench.now < 100.25 else 2
        bench.command()

    bench.act = act
    report = bench.host.run(0.5)
    assert [run.epoch for run in report.runs] == [1, 2]
    assert all(run.duration_s == pytest.approx(0.25, abs=0.02) for run in report.runs)
    assert all(run.window is not None for run in report.runs)


def test_a_fault_planned_by_option_reaches_the_controller(bench: Bench) -> None:
    bench.faults.plan(Fault(name="nan", at_s=0.1))
    found: list[float] = []

    def look() -> None:
        if np.isnan(bench.client.read().values["joint_pos"]).any():
            found.append(bench.now)

    bench.act = look
    report = bench.host.run(0.2)
    assert found[0] == pytest.approx(100.102, abs=0.003)
    assert report.faults == ["nan"]


def test_faults_and_reset_by_message(bench: Bench) -> None:
    sent: list[int] = []

    def act() -> None:
        if not sent:
            bench.client.control({"fault": "frozen"})
            bench.client.trip("test")
            bench.client.control({"reset": True})
            bench.client.control({"fault": "nothing"})
        sent.append(1)

    bench.act = act
    report = bench.host.run(0.1)
    assert report.faults == ["frozen"]
    assert report.latched is None
    assert bench.gate.trips == 2  # the message's, and the end's
    assert report.dropped == {"payload": 1}


@pytest.mark.parametrize("step_s", [5.0, -5.0])
def test_a_stepped_clock_ends_in_damping(bench: Bench, step_s: float) -> None:
    bench.faults.plan(Fault(name="clock", size=step_s, at_s=0.2))
    report = bench.host.run(0.5)
    assert report.ticks - report.damped_ticks == pytest.approx(100, abs=3)
    assert (report.latched is not None) == (step_s < 0)


def test_a_rate_error_changes_the_grid(bench: Bench) -> None:
    bench.faults.plan(Fault(name="rate", size=0.25))
    report = bench.host.run(1.0)
    assert report.ticks == pytest.approx(625 + 10, abs=2)


def test_it_ends_when_it_is_asked_to(bench: Bench) -> None:
    report = bench.host.run(10.0, lambda: bench.now > 100.1)
    assert report.ticks == pytest.approx(50 + 10, abs=2)

"""Hours of simulated running with faults at random: nothing beyond the limits, nothing stale.

What is tested stands at the actuator, after the robot's gate. An operator who clears every fault,
resets the gate and arms anew keeps the robot running.
"""

import math
from collections import Counter
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
    Controller,
    Mode,
    Signals,
    State,
    load,
    write_bundle,
)
from simreal.errors import ArmError
from tests.deploy.fake_robot import PERIOD, TICK, FakeRobot, changed, make_controller

# A measurement may be two periods old, and is held for two more.
MAX_AGE, HOLD = 2 * PERIOD, 2 * PERIOD
TORQUE, TARGET = 6.0, 2.85


class Actuator:
    """Judges every command that reaches the motors."""

    def __init__(self, fake: FakeRobot, targets: bool) -> None:
        self.fake, self.targets = fake, targets
        self.arrived: dict[tuple[int, int], float] = {}
        self.delivered_s = -math.inf
        self.newest = (0, -1)
        self.seen: Counter[Mode] = Counter()
        self.wrong: list[str] = []
        fake.watch = self.judge

    def judge(self, command: Command) -> None:
        self.seen[command.mode] += 1
        if command.mode is Mode.DAMP:
            return
        now, key = self.fake.time_s, (command.epoch, command.seq)
        elbow, shoulder = command.values["elbow"], command.values["shoulder"]
        most = TARGET if self.targets else 9.0
        if not (abs(elbow) <= TORQUE and abs(shoulder) <= most):
            self.wrong.append(f"{now}: {command.values} is beyond the limits")
        if key < self.newest:
            self.wrong.append(f"{now}: {key} after {self.newest}")
        if key != self.newest:
            self.newest, self.first_s = key, now
        if now - self.first_s > command.ttl_s + 1e-9:
            self.wrong.append(f"{now}: acted on for {now - self.first_s} s")
        if now - self.delivered_s > MAX_AGE + HOLD + 2 * TICK + command.ttl_s:
            self.wrong.append(f"{now}: rests on a measurement of {self.delivered_s} s")


class Trouble:
    """Puts one fault after the other into what passes between controller and robot."""

    def __init__(self, fake: FakeRobot, actuator: Actuator, seed: int) -> None:
        self.fake, self.actuator = fake, actuator
        self.rng = np.random.default_rng(seed)
        self.kinds: list[Callable[[Signals], Signals]] = [
            self.not_finite,
            self.missing,
            self.frozen,
            self.late,
            self.shuffled,
            self.jump,
            self.too_fast,
            self.kicked,
            self.stopped,
            self.clock,
            self.raising,
        ]
        self.history: list[Signals] = []
        self.sent: list[Command] = []
        self.tried: Counter[str] = Counter()
        self.quiet()
        fake.sense, fake.carry = self.sense, self.carry

    def quiet(self) -> None:
        """Nothing happens for a second or two."""
        self.begin_s = self.fake.time_s + self.rng.uniform(0.3, 2.0)
        self.end_s = self.begin_s + self.rng.choice([TICK, 0.01, 0.05, 0.2])
        self.kind = self.kinds[int(self.rng.integers(len(self.kinds)))]
        self.network = bool(self.rng.random() < 0.3)
        self.done = False
        self.number = float(self.rng.choice([np.nan, np.inf, -np.inf, 1e300]))
        self.at = int(self.rng.integers(3))
        self.name = str(self.rng.choice(["joint_pos", "joint_vel"]))
        self.periods = int(self.rng.integers(1, 11))

    def sense(self, signals: Signals) -> Signals:
        self.history = [*self.history[-60:], signals]
        now = self.fake.time_s
        if now >= self.end_s:
            self.quiet()
        given = signals
        if self.begin_s <= now < self.end_s:
            self.tried[self.kind.__name__] += not self.done
            given = self.kind(signals)
            self.done = True
        self.actuator.delivered_s = max(
            self.actuator.delivered_s, given.time_s - self.fake.clock_offset_s
        )
        return given

    def carry(self, command: Command) -> list[Command]:
        self.sent = [*self.sent[-60:], command]
        if not (self.network and self.begin_s <= self.fake.time_s < self.end_s):
            return [command]
        lucky = self.rng.random()
        old = self.sent[int(self.rng.integers(len(self.sent)))]
        return [] if lucky < 0.4 else [old, command] if lucky < 0.7 else [command, command, old]

    def not_finite(self, signals: Signals) -> Signals:
        return changed(signals, lambda v: v[self.name].__setitem__(self.at, self.number))

    def missing(self, signals: Signals) -> Signals:
        return changed(signals, lambda v: v.pop(self.name))

    def frozen(self, signals: Signals) -> Signals:
        if not self.done:
            self.kept = signals
            self.end_s = self.fake.time_s + 0.2
        row = self.kept.values[self.name]
        return changed(signals, lambda v: v[self.name].__setitem__(slice(None), row))

    def late(self, signals: Signals) -> Signals:
        return self.history[max(0, len(self.history) - 1 - 5 * self.periods)]

    def shuffled(self, signals: Signals) -> Signals:
        return self.history[-1 - int(self.rng.integers(min(8, len(self.history))))]

    def jump(self, signals: Signals) -> Signals:
        return changed(
            signals, lambda v: v["joint_pos"].__setitem__(self.at, self.rng.normal(0, 9))
        )

    def too_fast(self, signals: Signals) -> Signals:
        return changed(signals, lambda v: v["joint_vel"].__setitem__(self.at, 40.0))

    def kicked(self, signals: Signals) -> Signals:
        if not self.done:
            self.fake.vel[self.at] += float(self.rng.normal(0, 15))
        return signals

    def stopped(self, signals: Signals) -> Signals:
        if not self.done:
            self.done = True
            self.fake.sleep(float(self.rng.choice([0.004, 0.03, 0.3])))
        return signals

    def clock(self, signals: Signals) -> Signals:
        if not self.done:
            self.fake.clock_offset_s += float(self.rng.choice([-10.0, -0.01, 0.01, 10.0]))
        return signals

    def raising(self, signals: Signals) -> Signals:
        raise OSError("no such device")


Run = tuple[Actuator, Trouble, int]


def _make_mad(controller: Controller, rng: np.random.Generator) -> None:
    """Let one answer of the policy in ten be far beyond all limits."""
    for name in ("step", "reset"):
        plain = getattr(controller._policy, name)

        def answer(signals: Any, plain: Any = plain) -> np.ndarray:
            mad = controller.state is not State.INIT and rng.random() < 0.1
            return plain(signals) + mad * rng.normal(0, 30, 2)

        setattr(controller._policy, name, answer)


def _run_for(seconds: float, bundle: Bundle, robot: Robot, seed: int) -> Run:
    fake = FakeRobot(robot)
    fake.keep = False
    actuator = Actuator(fake, targets="shoulder" not in fake.torque_driven)
    trouble = Trouble(fake, actuator, seed)
    controller = make_controller(bundle, fake)
    _make_mad(controller, trouble.rng)
    faults = 0
    while fake.time_s < seconds:
        try:
            controller.arm()
        except ArmError:
            # A fault that goes on: the operator waits, clears, and puts the arm back.
            fake.sleep(0.05)
        while controller.state.value not in ("init", "fault") and fake.time_s < seconds:
            controller.cycle()
            fake.sleep(TICK)
        if controller.fault is not None:
            faults += 1
            for _ in range(3):
                controller.cycle()
                fake.sleep(TICK)
            controller.clear_fault()
        fake.pos, fake.vel = [0.1, 0.0, 0.0], [0.0, 0.0, 0.0]
        fake.gate.reset()
    return actuator, trouble, faults


def _judge(run: Run, seconds: float) -> None:
    actuator, trouble, faults = run
    assert actuator.wrong == []
    assert faults > seconds / 10
    assert actuator.seen[Mode.RUN] > 0.5 * seconds / TICK
    assert actuator.seen[Mode.DAMP] > faults
    assert {kind.__name__ for kind in trouble.kinds} == set(trouble.tried)


@pytest.fixture(scope="module")
def targets(written: Path) -> Bundle:
    return load(written)


@pytest.fixture(scope="module")
def torque_robot(robot: Robot) -> Robot:
    return robot.revised(actuators={"shoulder": {"kind": "torque", "kp": 0.0, "kd": 0.0}})


@pytest.fixture(scope="module")
def torques(
    make_spec: Callable[..., BundleSpec],
    torque_robot: Robot,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    spec = make_spec(robot=torque_robot, safe_stop_kd={"elbow": 0.5, "shoulder": 0.5})
    return load(write_bundle(tmp_path_factory.mktemp("torque") / "torque.policy", spec))


def test_two_minutes_of_trouble(targets: Bundle, robot: Robot) -> None:
    _judge(_run_for(120.0, targets, robot, seed=0), 120.0)


@pytest.mark.slow
def test_an_hour_of_trouble_with_targets(targets: Bundle, robot: Robot) -> None:
    _judge(_run_for(3600.0, targets, robot, seed=1), 3600.0)


@pytest.mark.slow
def test_an_hour_of_trouble_with_torques(torques: Bundle, torque_robot: Robot) -> None:
    _judge(_run_for(3600.0, torques, torque_robot, seed=2), 3600.0)

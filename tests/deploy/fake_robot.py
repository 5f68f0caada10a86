"""A robot in simulated time with a command gate, into which every kind of fault can be put."""

from collections.abc import Callable
from typing import Any

import numpy as np

from simreal.core.robot import Robot
from simreal.deploy import (
    Bundle,
    Command,
    CommandGate,
    Controller,
    ControlSettings,
    Mode,
    Signals,
)

JOINTS = ("shoulder", "slider", "elbow")
PERIOD = 0.01
MULTIPLE = 5
TICK = PERIOD / MULTIPLE
INERTIA, FRICTION = 0.5, 0.5
KP, KD, TORQUE = 20.0, 1.0, {"shoulder": 9.0, "elbow": 6.0}
OWN_DAMPING = 0.5

Change = Callable[[dict[str, Any]], Any]


class FakeRobot:
    """Three joints, of which the shoulder follows targets, the elbow torques, the slider nothing.

    `clock` and `sleep` belong to the controller. What the controller reads goes through `sense`,
    what it writes through `carry`; a test replaces either to put in a fault.
    """

    def __init__(self, robot: Robot, order: tuple[int, ...] = (0, 1, 2)) -> None:
        self.interface: dict[str, Any] = robot.interface
        self.interface["joints"] = [self.interface["joints"][i] for i in order]
        self.order = list(order)
        self.torque_driven = {a.joint for a in robot.actuators if a.kind == "torque"}
        self.gate = CommandGate([a.joint for a in robot.actuators])
        self.time_s = 0.0
        self.clock_offset_s = 0.0
        self.seq = 0
        self.pos, self.vel = [0.1, 0.0, 0.0], [0.0, 0.0, 0.0]
        self.written: list[tuple[float, Command]] = []
        self.applied: list[tuple[float, Command]] = []
        self.sense: Callable[[Signals], Signals] = lambda signals: signals
        self.carry: Callable[[Command], list[Command]] = lambda command: [command]
        self.watch: Callable[[Command], Any] = lambda command: None
        self.keep = True

    def clock(self) -> float:
        return self.time_s + self.clock_offset_s

    def sleep(self, seconds: float) -> None:
        """Let the robot move on; its own loop runs at most 2 ms apart."""
        steps = max(1, round(seconds / TICK))
        for _ in range(steps):
            self._advance(seconds / steps)

    def read(self) -> Signals:
        values = {
            "joint_pos": np.array([self.pos[i] for i in self.order]),
            "joint_vel": np.array([self.vel[i] for i in self.order]),
        }
        made = Signals(
            self.clock(), values, self.seq, epoch=self.gate.epoch, latched=self.gate.latched
        )
        return self.sense(made)

    def write(self, command: Command) -> None:
        if self.keep:
            self.written.append((self.time_s, command))
        for arrived in self.carry(command):
            self.gate.accept(arrived, self.time_s)
        self.act()

    def act(self) -> Command:
        """Do what the gate lets through."""
        active = self.gate.active(self.time_s)
        if self.keep:
            self.applied.append((self.time_s, active))
        self.watch(active)
        return active

    def damped_at(self, since_s: float) -> float:
        """Return the first time from which on the joints were damped."""
        since = [i for i, (t, _) in enumerate(self.applied) if t >= since_s - 1e-9]
        acting = [i for i in since if self.applied[i][1].mode is not Mode.DAMP]
        return self.applied[acting[-1] + 1 if acting else since[0]][0]

    def _advance(self, seconds: float) -> None:
        self.time_s += seconds
        self.seq += 1
        active = self.act()
        for i, joint in enumerate(JOINTS):
            torque = -OWN_DAMPING * self.vel[i]
            if active.mode is not Mode.DAMP and joint in active.values:
                torque = active.values[joint]
                if joint not in self.torque_driven:
                    torque = KP * (torque - self.pos[i]) - KD * self.vel[i]
                torque = min(max(torque, -TORQUE[joint]), TORQUE[joint])
            self.vel[i] += seconds * (torque - FRICTION * self.vel[i]) / INERTIA
            self.pos[i] += seconds * self.vel[i]


def make_controller(bundle: Bundle, robot: FakeRobot, **options: Any) -> Controller:
    """A controller at 500 Hz under a policy at 100 Hz, unless told otherwise."""
    changes = {"actuator_multiple": MULTIPLE, **options.pop("changes", {})}
    settings = ControlSettings.of(bundle.manifest, **changes)
    return Controller(
        bundle,
        robot,
        **{
            "clock": robot.clock,
            "sleep": robot.sleep,
            "settings": settings,
            "without_watchdog": True,
            **options,
        },
    )


def changed(signals: Signals, change: Change) -> Signals:
    """Return a measurement with other values."""
    values = {name: value.copy() for name, value in signals.values.items()}
    change(values)
    return Signals(
        signals.time_s, values, signals.seq, epoch=signals.epoch, latched=signals.latched
    )

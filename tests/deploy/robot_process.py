"""A robot in real time, in a thread, and a controller in a process that may be killed.

They talk JSON over local datagram sockets: enough to see what stopping a process does.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from simreal.core.robot import Robot
from simreal.deploy import (
    Command,
    CommandGate,
    Controller,
    ControlSettings,
    Mode,
    RealTime,
    Signals,
    Watchdog,
    load,
)

TICK = 0.002


class LiveRobot(threading.Thread):
    """Sends samples at 500 Hz, acts on what its gate lets through, and notes when it damps."""

    def __init__(self, robot: Robot, folder: Path, priority: int | None = None) -> None:
        super().__init__(daemon=True)
        self.paths = {name: str(folder / name) for name in ("robot", "controller")}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.paths["robot"])
        self.socket.setblocking(False)
        self.gate = CommandGate([a.joint for a in robot.actuators], shared_clock=True)
        self.priority = priority
        self.over = threading.Event()
        self.running = threading.Event()
        self.acted_s = 0.0  # last time at which a command of the policy was acted on
        self.tripped_s = 0.0
        self.trips: list[str] = []

    def run(self) -> None:
        with RealTime(priority=self.priority, required=False).granted():
            seq, following = 0, time.monotonic()
            while not self.over.is_set():
                self._receive()
                now = time.monotonic()
                if self.gate.active(now).mode is Mode.RUN:
                    self.acted_s = now
                    self.running.set()
                if now >= following:
                    seq, following = seq + 1, following + TICK
                    self._send(seq, now)
                time.sleep(1e-4)
        self.socket.close()

    def _receive(self) -> None:
        while True:
            try:
                message = json.loads(self.socket.recv(4096))
            except BlockingIOError:
                return
            if "trip" in message:
                if self.gate.latched is None:
                    self.tripped_s = time.monotonic()
                self.trips.append(message["trip"])
                self.gate.trip(message["trip"], message["epoch"])
            else:
                command = Command(**{**message, "mode": Mode(message["mode"])})
                self.gate.accept(command, time.monotonic())

    def _send(self, seq: int, now: float) -> None:
        angle = 0.1 + 0.01 * np.sin(now)
        sample = {
            "time_s": now,
            "seq": seq,
            "epoch": self.gate.epoch,
            "latched": self.gate.latched,
            "values": {"joint_pos": [angle, 0.0, angle], "joint_vel": [0.01 * np.cos(now)] * 3},
        }
        try:
            self.socket.sendto(json.dumps(sample).encode(), self.paths["controller"])
        except OSError:
            return  # nobody is there, or it is stopped and its queue is full

    def stop(self) -> None:
        self.over.set()
        self.join()


class Link:
    """The controller's side."""

    def __init__(self, interface: dict[str, Any], robot: str, controller: str) -> None:
        self.interface = interface
        self._robot = robot
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        Path(controller).unlink(missing_ok=True)
        self._socket.bind(controller)
        self._newest = json.loads(self._socket.recv(4096))
        self._socket.setblocking(False)

    def read(self) -> Signals:
        while True:
            try:
                self._newest = json.loads(self._socket.recv(4096))
            except BlockingIOError:
                break
        sample = dict(self._newest)
        values = {name: np.array(value) for name, value in sample.pop("values").items()}
        return Signals(values=values, **sample)

    def write(self, command: Command) -> None:
        message = {name: getattr(command, name) for name in Command.__dataclass_fields__}
        message["mode"] = command.mode.value
        self._socket.sendto(json.dumps(message).encode(), self._robot)


class DatagramTrip:
    """The watchdog's way to the robot."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def trip(self, reason: str, epoch: int) -> None:
        message = json.dumps({"trip": reason, "epoch": epoch})
        self._socket.sendto(message.encode(), self._path)

    def close(self) -> None:
        self._socket.close()


def start_controller(
    bundle: Path, robot: LiveRobot, priority: int | None = None, seconds: float = 30.0
) -> subprocess.Popen[bytes]:
    """Start a controller at 500 Hz under a policy at 100 Hz, with a watchdog."""
    task = {
        "bundle": str(bundle),
        "paths": robot.paths,
        "priority": priority,
        "seconds": seconds,
    }
    return subprocess.Popen(
        [sys.executable, __file__, json.dumps(task)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def main(argument: str) -> None:
    """Be the controller process."""
    task = json.loads(argument)
    bundle, paths, priority = load(task["bundle"]), task["paths"], task["priority"]
    link = Link(bundle.manifest.robot.interface, paths["robot"], paths["controller"])
    target = {"path": paths["robot"]}
    watch_priority = None if priority is None else priority + 1
    with Watchdog(
        "robot_process:DatagramTrip",
        target,
        priority=watch_priority,
        environment={
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
        },
    ) as watchdog:
        settings = ControlSettings.of(
            bundle.manifest,
            actuator_multiple=5,
            rate_window=500,
            max_consecutive_overruns=100,
            probe_steps=0,  # how quick this machine is just now is not what is tested
        )
        real_time = None if priority is None else RealTime(priority=priority)
        controller = Controller(
            bundle, link, settings=settings, watchdog=watchdog, real_time=real_time
        )
        controller.arm()
        print(json.dumps({"watchdog": watchdog.pid}), flush=True)
        report = controller.run(task["seconds"])
        print(json.dumps({"fault": report.fault}), flush=True)


def kill(process: subprocess.Popen[bytes], number: signal.Signals) -> float:
    """Send a signal, and return when."""
    now = time.monotonic()
    process.send_signal(number)
    return now


if __name__ == "__main__":
    main(sys.argv[1])

"""A robot, a clock that a test moves, and both sides of a link."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from simreal.deploy.transports import DisturbedLink, RobotClient, RobotServer

INTERFACE: dict[str, Any] = {
    "name": "arm",
    "fixed_base": True,
    "joints": [{"name": "elbow"}, {"name": "shoulder"}],
    "actuators": [{"joint": "shoulder"}, {"joint": "elbow"}],
    "units": {"angle": "rad"},
}
SIGNALS = {"joint_pos": ("elbow", "shoulder"), "joint_vel": ("elbow", "shoulder"), "force": ("x",)}


@dataclass
class Clock:
    """Time that only a test moves."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Pair:
    """Both sides of a loopback, the robot's clock ahead by a known offset."""

    clock: Clock
    robot_clock: Clock
    server: RobotServer
    client: RobotClient
    to_robot: DisturbedLink
    ends: tuple[Any, Any]

    def tick(self, seconds: float = 0.002) -> None:
        """Let time pass and the robot work."""
        self.clock.now += seconds
        self.robot_clock.now += seconds
        self.serve()

    def serve(self) -> None:
        """Let the robot take what arrived and publish its time as a measurement."""
        self.server.poll()
        now = self.robot_clock.now
        values = {"joint_pos": np.array([now, 2.0]), "joint_vel": np.zeros(2), "force": np.ones(1)}
        self.server.publish(values, now)

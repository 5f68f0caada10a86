"""Control a robot in this process, in simulated time: three methods are all that a robot needs.

python examples/control_in_process.py policies/pendubot-pybullet-randomized mujoco_real 10
"""

import sys
from collections.abc import Mapping
from typing import Any

from simreal.config import compose
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import Command, CommandGate, Controller, ControlSettings, Signals, load
from simreal.domains import Domain
from simreal.domains.ticked_robot import TickedRobot


class InProcess:
    """Be a robot for a controller, and its clock; a command arrives one tick after it was sent."""

    def __init__(self, robot: TickedRobot) -> None:
        self.robot, self.gate, self.ticks = robot, CommandGate(robot.actuators), 0
        self.interface: Mapping[str, Any] = robot.interface
        self.under_way: Command | None = None

    def clock(self) -> float:
        """Return simulated time [s]."""
        return self.ticks * self.robot.tick_s

    def sleep(self, seconds: float) -> None:
        """Let the robot live for so long."""
        for _ in range(round(seconds / self.robot.tick_s)):
            active = self.gate.active(self.clock())
            self.robot.obey(active.mode, active.values)
            self.robot.tick()
            self.ticks += 1
            if self.under_way is not None:
                self.gate.accept(self.under_way, self.clock())
            self.under_way = None

    def read(self) -> Signals:
        """Return what the sensors give now."""
        return Signals(self.clock(), self.robot.measure(), self.ticks)

    def write(self, command: Command) -> None:
        """Send a command on its way to the robot's gate."""
        self.under_way = command


def main(policy: str, target: str, duration_s: float) -> tuple[str | None, bool]:
    """Run a policy; return the fault, if there was one, and whether the task succeeds now."""
    bundle, parts = load(policy), compose("robot_sim", ["task=pendubot", f"target={target}"])
    kinds = parts.build("robot", Robot), parts.build("task", Task), parts.build("target", Domain)
    with TickedRobot(*kinds) as simulated:
        robot = InProcess(simulated)
        ticks = round(bundle.manifest.timing.control_period_s / simulated.tick_s)
        settings = ControlSettings.of(bundle.manifest, actuator_multiple=ticks)
        controller = Controller(
            bundle,
            robot,
            settings=settings,
            clock=robot.clock,
            sleep=robot.sleep,
            period_s=simulated.tick_s,
            without_watchdog=True,  # what cannot do harm
        )
        controller.arm()
        return controller.run(duration_s).fault, simulated.succeeds


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))

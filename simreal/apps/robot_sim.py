"""`simreal robot-sim`: a process that is a robot, to run controllers against."""

import json
from contextlib import ExitStack
from dataclasses import dataclass

from simreal.apps.interrupts import until_interrupted
from simreal.apps.result import check_output, give
from simreal.config import compose
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import CommandGate
from simreal.deploy.realtime import RealTime, quiet_memory
from simreal.deploy.transports import Disturbance, DisturbedLink, RobotServer
from simreal.deploy.transports.links import read_key, robot_link, same_machine
from simreal.domains import Domain
from simreal.domains.robot_faults import Fault, FaultBox, RobotClock
from simreal.domains.robot_host import HostReport, RobotHost
from simreal.domains.ticked_robot import TickedRobot
from simreal.errors import ConfigError

_FOREVER_S = 1e9
_NAN_FAULT = "fault='nan'"  # without the quotes a command line's nan is a number


@dataclass(frozen=True, kw_only=True)
class RobotSimSettings:
    """Hold the settings of `simreal robot-sim` that belong to no group.

    Attributes:
        transport: `udp` or `zenoh`.
        host: Address to listen at; only this machine by default.
        port: Port to listen at; 0 for any free one, which is printed.
        key_file: File with a key that the controller shares; frames without its tag are dropped.
        duration: How long [s]; until it is interrupted if None.
        seed: Seed of initial state and noise.
        damping: Torque per joint speed while nobody commands [Nm s/rad].
        priority: `SCHED_FIFO` priority, 1 to 99; ordinary scheduling if None.
        fault: A fault to inject, see `simreal.domains.robot_faults.FAULTS`.
        fault_size: Its size; the usual one if None.
        fault_at: When it begins [s].
        fault_for: How long it lasts [s]; to the end if None.
        output: File for the result; it is printed in any case.
    """

    transport: str = "udp"
    host: str = "127.0.0.1"
    port: int = 47800
    key_file: str | None = None
    duration: float | None = None
    seed: int = 0
    damping: float = 0.1
    priority: int | None = None
    fault: str = "none"
    fault_size: float | None = None
    fault_at: float = 0.0
    fault_for: float | None = None
    output: str | None = None


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: Overrides.

    Returns:
        The exit code.
    """
    composed = compose("robot_sim", [_NAN_FAULT if arg == "fault=nan" else arg for arg in args])
    settings = composed.settings(RobotSimSettings)
    check_output(settings.output)
    if settings.priority is not None and not 1 <= settings.priority <= 99:
        raise ConfigError(f"priority: got {settings.priority}; 1 to 99, or null, is needed")
    if settings.duration is not None and not settings.duration > 0:
        raise ConfigError(f"duration: got {settings.duration}; more than 0 s is needed")
    fault = Fault(
        name=settings.fault,
        size=settings.fault_size,
        at_s=settings.fault_at,
        for_s=settings.fault_for,
    )
    robot: Robot = composed.build("robot", Robot)
    task: Task = composed.build("task", Task)
    target: Domain = composed.build("target", Domain)
    with TickedRobot(
        robot, task, target, seed=settings.seed, damping=settings.damping
    ) as simulated:
        report = _host(settings, simulated, task, fault, f"{robot.name} in {target.name}")
    result = {"robot": robot.name, "domain": target.name, "seed": settings.seed}
    give(json.dumps({**result, **report.to_dict()}), settings.output)
    return 0


def _host(
    settings: RobotSimSettings, simulated: TickedRobot, task: Task, fault: Fault, what: str
) -> HostReport:
    clock, network = RobotClock(), Disturbance()
    faults = FaultBox(clock, network)
    if fault.name != "none":
        faults.plan(fault)
    link = robot_link(settings.transport, settings.host, settings.port)
    port = getattr(link, "port", settings.port)
    disturbed = DisturbedLink(
        link, clock=clock.true, outgoing=network, incoming=network, seed=settings.seed
    )
    with ExitStack() as stack:
        stack.callback(disturbed.close)
        server = RobotServer(
            disturbed,
            simulated.interface,
            simulated.signals,
            CommandGate(simulated.actuators, shared_clock=same_machine(settings.host)),
            period_s=simulated.tick_s,
            key=read_key(settings.key_file),
            clock=clock,
            on_control=lambda message: host.control(message),
        )
        host = RobotHost(simulated, server, faults, clock, window_s=task.success_window_s)
        real_time = RealTime(priority=settings.priority, lock_memory=settings.priority is not None)
        stack.enter_context(real_time.granted())
        stack.enter_context(quiet_memory())
        stopping = stack.enter_context(until_interrupted())
        rate = 1.0 / simulated.tick_s
        place = f"{settings.transport} {settings.host}:{port}"
        print(f"robot-sim  {what}, {rate:g} Hz, {place}", flush=True)
        return host.run(settings.duration or _FOREVER_S, stopping.is_set)

"""Let a simulated robot live in real time, behind a transport and a command gate.

Every tick has its place on an absolute grid: publish what the sensors gave, take what has arrived,
apply what the gate allows, advance the physics. What is published at a tick is the state at that
tick, never one that physics computed ahead of time. A process that is late makes up for its ticks,
since physics does not pause; after a tenth of a second it gives up, and counts what it lost.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from simreal.deploy import CommandGate, Mode
from simreal.domains.robot_faults import FaultBox, RobotClock
from simreal.domains.ticked_robot import TickedRobot

_GIVE_UP_S = 0.1
_LAST_TICKS = 10
_SLACK_S = 1e-6  # rounding of the grid


class Server(Protocol):
    """Describe the robot's side of a transport; see `simreal.deploy.transports.RobotServer`."""

    gate: CommandGate
    received: int
    sessions: int

    @property
    def dropped(self) -> dict[str, int]:
        """Return how often each reason to drop something was met."""
        ...

    def poll(self) -> int:
        """Take what has arrived."""
        ...

    def publish(self, values: Mapping[str, np.ndarray], time_s: float) -> None:
        """Send a measurement."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


@dataclass(kw_only=True)
class RunRecord:
    """State what one arming of a controller achieved.

    Attributes:
        epoch: The arming.
        duration_s: From its first to its last applied command [s].
        up_at_s: When the success test began to hold for good [s]; None if it does not hold at the
            end.
        window: Whether it held at every tick of the task's window; None if that was not reached.
        held_share: Share of the ticks after the window's begin at which it held; None before.
    """

    epoch: int
    duration_s: float = 0.0
    up_at_s: float | None = None
    window: bool | None = None
    held_share: float | None = None


@dataclass(kw_only=True)
class HostReport:
    """State what happened to a robot.

    Attributes:
        ticks: Physics ticks.
        late: Ticks that began more than a tick after their time.
        missed: Ticks that were given up.
        sessions: Controllers that connected.
        received: Datagrams that arrived.
        dropped: Reason to how many were dropped before the gate.
        gate: Verdict of the command gate to how often it was given.
        timeouts: Commands whose time was over before a newer one came.
        latched: Why the gate was latched when the robot was stopped; None if it was not.
        damped_ticks: Ticks in which the robot damped its joints.
        faults: Faults that were injected.
        runs: One record per arming.
    """

    ticks: int = 0
    late: int = 0
    missed: int = 0
    sessions: int = 0
    received: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    gate: dict[str, int] = field(default_factory=dict)
    timeouts: int = 0
    latched: str | None = None
    damped_ticks: int = 0
    faults: list[str] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


class RobotHost:
    """Run a simulated robot in real time."""

    def __init__(
        self,
        robot: TickedRobot,
        server: Server,
        faults: FaultBox,
        clock: RobotClock,
        *,
        window_s: tuple[float, float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare.

        Args:
            robot: The robot.
            server: Its side of a transport, with the gate.
            faults: Faults that act.
            clock: The robot's clock.
            window_s: When in a run the success test has to hold [s].
            sleep: Wait so many seconds.
        """
        self._robot, self._server, self._faults, self._clock = robot, server, faults, clock
        self._sleep, self._window_s = sleep, window_s
        self.report = HostReport()
        self.running_s = 0.0
        self._good = bytearray()
        self._applied = 0

    def control(self, message: dict[str, Any]) -> bool:
        """Act on a control message: a fault, or `{"reset": true}` for a latched gate.

        Args:
            message: What arrived.
        """
        if message == {"reset": True}:
            self._server.gate.reset()
            return True
        return self._faults.take(message, self.running_s)

    def run(self, duration_s: float, stopping: Callable[[], bool] = lambda: False) -> HostReport:
        """Live, then damp the joints and tell the controller.

        Args:
            duration_s: How long [s].
            stopping: Says whether to end before that.

        Returns:
            What happened.
        """
        begin = due = self._clock.true()
        while due - begin < duration_s - _SLACK_S and not stopping():
            self._wait(due)
            late = self._clock.true() - due
            self.report.late += late > self._robot.tick_s
            if late > _GIVE_UP_S:
                lost = int(late / self._robot.tick_s)
                self.report.missed += lost
                due += lost * self._robot.tick_s
            self.running_s = due - begin
            self._tick(due)
            due += self._robot.tick_s / (1.0 + self._faults.rate)
        self.report.latched = self._server.gate.latched
        self._server.gate.trip("the robot is switched off")
        for _ in range(_LAST_TICKS):
            self._wait(due)
            self._tick(due)
            due += self._robot.tick_s
        return self._finish()

    def _wait(self, due_s: float) -> None:
        left = due_s - self._clock.true()
        if left > 0:
            self._sleep(left)

    def _tick(self, due_s: float) -> None:
        faults, gate = self._faults, self._server.gate
        faults.update(self.running_s)
        values, taken_s = faults.distort(self._robot.measure(), due_s + self._clock.step_s)
        self._server.publish(values, taken_s)
        self._server.poll()
        command = gate.active(self._clock())
        self._robot.obey(command.mode, command.values)
        self._robot.tick()
        self.report.ticks += 1
        self.report.damped_ticks += command.mode is Mode.DAMP
        if command.mode is Mode.RUN:
            self._judge(command.epoch)
        elif self._good:
            self._good.append(self._robot.succeeds)

    def _judge(self, epoch: int) -> None:
        """Count a tick under command; a new arming begins a new record."""
        runs = self.report.runs
        if not runs or runs[-1].epoch != epoch:
            self._close_run()
            runs.append(RunRecord(epoch=epoch))
        self._good.append(self._robot.succeeds)
        self._applied = len(self._good)

    def _close_run(self) -> None:
        """Evaluate the last run; what came after its last command is no part of it."""
        if not self.report.runs or not self._good:
            return
        run, tick_s = self.report.runs[-1], self._robot.tick_s
        good = np.frombuffer(bytes(self._good[: self._applied]), dtype=bool)
        first, last = (round(t / tick_s) for t in self._window_s)
        run.duration_s = good.size * tick_s
        bad = np.flatnonzero(~good)
        if good[-1]:
            run.up_at_s = float((bad[-1] + 1) * tick_s) if bad.size else 0.0
        if good.size >= last:
            run.window = bool(good[max(first - 1, 0) : last].all())
        if good.size > first:
            run.held_share = float(good[first:].mean())
        self._good.clear()
        self._applied = 0

    def _finish(self) -> HostReport:
        self._close_run()
        report, server = self.report, self._server
        report.sessions, report.received = server.sessions, server.received
        report.dropped = server.dropped
        report.gate = {verdict.value: n for verdict, n in server.gate.counts.items() if n}
        report.timeouts, report.faults = server.gate.timeouts, self._faults.injected
        return report

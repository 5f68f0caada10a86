"""Run a policy on a robot at its trained rate, and stop rather than do harm.

Most damage on record came from silence: a policy that read other joints than it thought, a clamp
that let NaN pass, a loop that kept sending the last command. So a controller refuses to arm unless
robot and policy agree in every name and number, tests every number before it is clamped, and
latches the first fault: from then on the joints are damped until a person clears it.
"""

import math
import time
from collections.abc import Callable
from enum import Enum

from simreal.deploy.binding import interface_differences
from simreal.deploy.bundle import Bundle
from simreal.deploy.check import replay
from simreal.deploy.decode import one_line
from simreal.deploy.messages import Command, Mode, RobotIO, Signals
from simreal.deploy.runtime import NumpyPolicy
from simreal.deploy.safety import SafetyFilter
from simreal.deploy.timing import LoopReport, LoopTimer
from simreal.errors import ArmError, BundleError, SimrealError


class State(Enum):
    """Name what a controller is doing."""

    INIT = "init"
    SELF_TESTED = "self-tested"
    RUN = "run"
    FAULT = "fault"


class Controller:
    """Run a policy on a robot.

    `arm` compares and tests, `run` loops, `cycle` is one control period for those who have a loop.
    """

    def __init__(
        self,
        bundle: Bundle,
        robot: RobotIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        period_s: float | None = None,
        max_consecutive_overruns: int = 3,
        ttl_s: float | None = None,
    ) -> None:
        """Prepare; nothing is sent before `arm`.

        Args:
            bundle: The policy.
            robot: The robot.
            clock: Monotonic time [s]; measurements carry times of the same clock.
            sleep: Wait so many seconds; a simulated robot may advance here.
            period_s: Period at which the robot expects commands, if it has one [s].
            max_consecutive_overruns: Late cycles in a row from which the controller stops.
            ttl_s: How long the robot may act on a command [s]; two periods, at least 10 ms, if
                None.
        """
        self.bundle, self.robot = bundle, robot
        self.manifest = bundle.manifest
        self.state = State.INIT
        self.fault: str | None = None
        self.timer = LoopTimer(self.manifest.timing.control_period_s)
        self._clock, self._sleep, self._period_s = clock, sleep, period_s
        self._max_overruns = max_consecutive_overruns
        self._policy = NumpyPolicy(bundle)
        self._safety = SafetyFilter(self.manifest, self._policy.elements)
        self._begun = False
        self._epoch, self._seq = 0, 0
        self._ttl_s = max(2.0 * self.timer.period_s, 0.01) if ttl_s is None else ttl_s

    def arm(self) -> None:
        """Check that this policy may command this robot.

        Raises:
            ArmError: It may not; one line names every field, what was expected and what was found.
        """
        if self.state is State.FAULT:
            raise ArmError(f"a fault is latched: {self.fault}; find the cause, then clear_fault()")
        self.state = State.INIT
        interface = self.robot.interface
        problems = interface_differences(self.manifest.robot, interface)
        expected, found = self.manifest.timing.control_period_s, self._period_s
        if found is not None and not math.isclose(found, expected, rel_tol=1e-6):
            problems.append(f"control period: expected {expected} s, found {found} s")
        problems += self._self_test()
        if problems:
            raise ArmError(
                one_line(f"policy '{self.manifest.name}' refuses to arm: {'; '.join(problems)}")
            )
        self._policy.bind([joint["name"] for joint in interface["joints"]])
        self._safety = SafetyFilter(self.manifest, self._policy.elements)
        self._epoch, self._seq = max(self._epoch, self._refuse_signals()) + 1, 0
        self.timer = LoopTimer(expected)
        self._begun = False
        self.state = State.SELF_TESTED

    def cycle(self) -> dict[str, float]:
        """Read, decide and command once.

        Returns:
            What was sent, by joint [Nm, N, rad or m].

        Raises:
            ArmError: The controller is not armed.
        """
        if self.state is State.INIT:
            raise ArmError(f"policy '{self.manifest.name}' is not armed; call arm() first")
        begin = self._clock()
        signals, problem = self._read()
        command, mode = None, Mode.RUN
        if problem is None and self.state is not State.FAULT and signals is not None:
            command, problem = self._decide(signals)
        if problem is not None:
            self._latch(problem)
        if command is None:
            command = self._safety.stop(signals.values if signals is not None else None)
            mode = Mode.DAMP
        now = self._clock()
        self._send(command, mode, now)
        self.timer.record(begin, now)
        return command

    def run(self, duration_s: float) -> LoopReport:
        """Run at the trained rate, and leave the robot stopped.

        A late cycle is not made up for: its successor waits for the next whole period. After a
        fault the joints are damped until the time is over.

        Args:
            duration_s: How long [s].

        Returns:
            What happened, with the fault if there was one.

        Raises:
            ArmError: The controller is not armed.
        """
        if self.state is State.INIT:
            raise ArmError(f"policy '{self.manifest.name}' is not armed; call arm() first")
        period = self.manifest.timing.control_period_s
        start, step = self._clock(), 0
        try:
            while step < round(duration_s / period):
                wait = start + step * period - self._clock()
                if wait > 0:
                    self._sleep(wait)
                self.cycle()
                step = self.timer.next_step(step, self._clock() - start)
                if self.timer.consecutive_overruns >= self._max_overruns:
                    late = self.timer.consecutive_overruns
                    self._latch(f"{late} cycles in a row took longer than {period} s")
        finally:
            self.stop()
        return self.timer.report(self.fault)

    def stop(self) -> None:
        """Send the stop command once more and disarm; a fault stays latched."""
        if self.state is not State.FAULT:
            self.state = State.INIT
        signals, _ = self._read()
        values = signals.values if signals is not None else None
        self._send(self._safety.stop(values), Mode.DAMP, self._clock())

    def clear_fault(self) -> None:
        """Forget a latched fault; for a person who has found its cause."""
        self.fault, self.state = None, State.INIT

    def _self_test(self) -> list[str]:
        try:
            replay(self.bundle)
        except BundleError as error:
            return [str(error)]
        return []

    def _send(self, values: dict[str, float], mode: Mode, now_s: float) -> None:
        self.robot.write(
            Command(
                epoch=self._epoch,
                seq=self._seq,
                time_s=now_s,
                ttl_s=self._ttl_s,
                mode=mode,
                values=values,
            )
        )
        self._seq += 1

    def _refuse_signals(self) -> int:
        """Return the highest epoch that the robot knows."""
        signals, problem = self._read()
        if problem is None and signals is not None and signals.latched is not None:
            problem = f"the robot's gate is latched ({signals.latched}); reset it at the robot"
        if problem is not None:
            raise ArmError(one_line(f"policy '{self.manifest.name}' refuses to arm: {problem}"))
        return 0 if signals is None else signals.epoch

    def _read(self) -> tuple[Signals | None, str | None]:
        """Return a measurement that may be used, or None and why there is none."""
        try:
            signals = self.robot.read()
            problem = self._safety.signal_problem(signals.values)
            problem = problem or self._safety.age_problem(self._clock() - signals.time_s)
        except Exception as error:  # whatever a driver gives, the joints must still be damped
            return None, f"reading the robot failed: {type(error).__name__}: {error}"
        return (None, problem) if problem else (signals, None)

    def _decide(self, signals: Signals) -> tuple[dict[str, float] | None, str | None]:
        """Return the command for a measurement, or None and why there is none."""
        problem = self._safety.velocity_problem(signals.values)
        if problem is not None:
            return None, problem
        try:
            act = self._policy.step if self._begun else self._policy.reset
            command = act(signals.values)
        except SimrealError as error:
            return None, str(error)
        self._begun, self.state = True, State.RUN
        problem = self._safety.output_problem(self._policy.output, command)
        return (None, problem) if problem else (self._safety.limit(command), None)

    def _latch(self, problem: str) -> None:
        """Keep the first fault; later ones follow from it."""
        if self.fault is None:
            self.fault = one_line(problem)
        self.state = State.FAULT

"""Run a policy on a robot at its trained rate, and stop rather than do harm.

Most damage on record came from silence: a policy that read other joints than it thought, a clamp
that let NaN pass, a loop that kept sending the last command. So a controller refuses to arm unless
robot and policy agree in every name and number, judges every measurement, filters every command,
and latches the first fault: from then on the joints are damped until a person clears it.

Its protections are no certified functional safety: an emergency stop belongs at hand.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from simreal.deploy import arming
from simreal.deploy.blackbox import BlackBox
from simreal.deploy.bundle import Bundle
from simreal.deploy.deciding import Decider
from simreal.deploy.decode import one_line
from simreal.deploy.eventlog import EventLog
from simreal.deploy.guards import Guards
from simreal.deploy.intake import SignalIntake
from simreal.deploy.messages import Command, Mode, RobotIO
from simreal.deploy.policy import Policy
from simreal.deploy.realtime import RealTime, quiet_memory
from simreal.deploy.runtime import NumpyPolicy
from simreal.deploy.safety import CommandFilter
from simreal.deploy.settings import ControlSettings
from simreal.deploy.states import COMMANDING, STOPPED, UNARMED, State, StateMachine
from simreal.deploy.takeover import Takeover
from simreal.deploy.timing import LoopReport, LoopTimer, Pace
from simreal.deploy.watchdog import Watchdog, time_to_damping_s
from simreal.errors import ArmError

_PROBE_STEPS = 1000
_FIRST_READS = 10
_RUN = State.RUN  # looking up a member of an enumeration takes as long as a small clamp
_TTL_SHARE = 0.9  # the rest is for a robot that looks at its clock now and then


class Controller:
    """Run a policy on a robot.

    `arm` compares and tests, `run` loops, `cycle` is one command for those who have a loop.

    Attributes:
        bundle: The policy.
        robot: The robot.
        manifest: The policy's manifest.
        settings: What is enforced.
        timer: What the loop did since the last arming.
    """

    def __init__(
        self,
        bundle: Bundle,
        robot: RobotIO,
        *,
        policy: Policy | None = None,
        settings: ControlSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        period_s: float | None = None,
        ttl_s: float | None = None,
        watchdog: Watchdog | None = None,
        without_watchdog: bool = False,
        dead_man: Callable[[], float] | None = None,
        real_time: RealTime | None = None,
        log: EventLog | None = None,
        told: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare; nothing is sent before `arm`.

        Args:
            bundle: The policy.
            robot: The robot.
            policy: Runtime of that bundle; numpy's if None.
            settings: What is enforced; from the manifest if None.
            clock: Monotonic time [s]; measurements carry times of the same clock.
            sleep: Wait so many seconds; a simulated robot may advance here.
            period_s: Period at which the robot expects commands, if it has one [s].
            ttl_s: How long the robot may act on a command [s]; if None, nearly the time within
                which it is to be damped after the controller's last sign of life.
            watchdog: A started watchdog.
            without_watchdog: Says that there is none, where a robot cannot do harm.
            dead_man: Gives when the operator last held the switch, on the same clock [s].
            real_time: What to ask the system for while running.
            log: Where every event and step goes.
            told: Is given a latched fault, once the first command that damps the joints was sent;
                it has to return at once.

        Raises:
            ArmError: The runtime is of another bundle.
        """
        self.bundle, self.robot, self.manifest = bundle, robot, bundle.manifest
        self._live = clock is time.monotonic
        settings = ControlSettings.of(self.manifest) if settings is None else settings
        if settings.probe_steps is None:
            settings = replace(settings, probe_steps=_PROBE_STEPS if self._live else 0)
        self.settings = settings
        self._clock, self._sleep, self._robot_period_s = clock, sleep, period_s
        self._policy = NumpyPolicy(bundle) if policy is None else policy
        if self._policy.manifest != bundle.manifest:
            raise ArmError(
                f"runtime: expected one of the bundle '{bundle.manifest.name}', found one of "
                f"another, '{self._policy.manifest.name}'"
            )
        self._real_time, self._log, self._told = real_time, log, told
        fast = real_time is not None and real_time.priority is not None
        self._guards = Guards(watchdog, without_watchdog, dead_man, settings, fast)
        limit_s = time_to_damping_s(settings.tick_s, fast)
        self._ttl_s = _TTL_SHARE * limit_s if ttl_s is None else ttl_s
        self._machine = StateMachine(self._state_changed)
        self._quiet_turn = _quiet_numbers()(self._turn)  # made once, since each costs a microsecond
        self._box: BlackBox | None = None
        self._epoch, self._robot_epoch, self._seq = 0, 0, 0
        latency = self.manifest.timing.trained_latency
        self._trained_s = latency.command_s[1] + latency.measurement_s[1] + settings.tick_s
        self._lay_out()

    @property
    def state(self) -> State:
        """Return what the controller is doing."""
        return self._machine.state

    @property
    def fault(self) -> str | None:
        """Return the latched fault, if any."""
        return self._machine.fault

    @property
    def epoch(self) -> int:
        """Return the epoch of the last arming; 0 before the first."""
        return self._epoch

    @property
    def counts(self) -> dict[str, int]:
        """Return what was counted since the last arming, by name."""
        log = {} if self._log is None else self._log.counts
        own = {**self._takeover.counts, **self._counts}
        return {**own, **self._intake.counts, **self._filter.counts, **log}

    def arm(self) -> None:
        """Check that this policy may command this robot.

        Raises:
            ArmError: It may not; one line names every field, what was expected and what was found.
        """
        if self.fault is not None:
            raise ArmError(f"a fault is latched: {self.fault}; find the cause, then clear_fault()")
        self._machine.rest()
        interface = self.robot.interface
        self._refuse(
            arming.robot_problems(self.manifest, self.settings, interface, self._robot_period_s)
            + arming.self_test_problems(self.bundle, self._policy)
        )
        self._refuse(arming.timing_problems(self._policy, self.bundle, self.settings))
        self._policy.bind([joint["name"] for joint in interface["joints"]])
        self._lay_out()
        self._machine.to(State.BOUND)
        try:
            with _quiet_numbers():
                self._arm_on_signals()
        except ArmError:
            self._machine.rest()
            raise
        if self._log is not None:
            self._box = BlackBox(
                self._log, self.manifest, self.bundle.sha256, self.settings, self._policy.elements
            )
            self._box.event("armed", self._clock(), epoch=self._epoch)
        self._machine.to(State.SELF_TESTED)

    def go(self) -> None:
        """Let the policy take over; it does so by itself unless `hold` was called."""
        self._takeover.going = True

    def hold(self) -> None:
        """Hold from the next cycle on, until `go`; the policy begins a new episode then."""
        self._takeover.going = False

    def cycle(self) -> dict[str, float]:
        """Read, decide and command once.

        Returns:
            What was sent, by joint [Nm, N, rad or m].

        Raises:
            ArmError: The controller is not armed.
        """
        self._refuse_unarmed()
        begin = self._clock()
        self._machine.settle()
        mode = self._quiet_turn(begin)
        now = self._clock()
        gap = self._pace.gap("in a cycle", now - begin)
        if gap is not None:
            # The process was stopped in between: what was decided is of another time.
            self._machine.stop(gap, latch=True)
            mode = self._takeover.damp()
        values = self._send(mode, now)
        self.timer.record(begin, now)
        if self._box is not None:
            age, late, share = self._intake.age_s, self._late_s, self._takeover.share
            numbers = (begin, late, now - begin, age, float(self._intake.is_new), share)
            self._box.tick(
                self.state,
                (*numbers, float(self._epoch), float(self._seq)),
                self._intake,
                self._filter.command,
            )
        self._index += 1
        return values

    def _turn(self, begin_s: float) -> Mode:
        """Judge time, guards and measurement, and decide what is sent."""
        problem = self._pace.problem(begin_s) or self._ask_guards(begin_s) or self._observe()
        if problem is not None:
            self._machine.stop(one_line(problem), latch=True)
        return self._command(begin_s)

    def run(self, duration_s: float, stopping: Callable[[], bool] | None = None) -> LoopReport:
        """Run at the trained rate, and leave the robot stopped.

        After a fault the joints are damped until the time is over.

        Args:
            duration_s: How long [s].
            stopping: Asked before every cycle whether to end early; never if None.

        Returns:
            What happened, with the fault if there was one.

        Raises:
            ArmError: The controller is not armed, or the system refuses real time that is required.
        """
        self._refuse_unarmed()
        with ExitStack() as stack:
            if self._real_time is not None:
                refused = stack.enter_context(self._real_time.granted())
                self._event("real time refused", lines=refused) if refused else None
            if self._live:
                stack.enter_context(quiet_memory())
            try:
                self._loop(round(duration_s / self.settings.tick_s), stopping)
            finally:
                self.stop()
        return self.timer.report(self.fault, self.counts)

    def stop(self) -> None:
        """Send the stop command once more and disarm; a fault stays latched."""
        if self._machine.state is not State.INIT:
            with _quiet_numbers():
                self._observe()
            self._filter.stop(self._intake.usable)
            self._send(Mode.DAMP, self._clock())
        self._machine.rest()
        self._guards.disarm()
        self._event("stopped", counts=self.counts, fault=self.fault)

    def clear_fault(self) -> None:
        """Forget a latched fault; for a person who has found its cause."""
        self._machine.clear()

    def _loop(self, ticks: int, stopping: Callable[[], bool] | None) -> None:
        tick_s, start, step = self.settings.tick_s, self._clock(), 0
        settings = self.settings
        most = settings.max_consecutive_overruns * settings.actuator_multiple
        most = 1 if settings.overrun == "stop" else most
        while step < ticks and not (stopping is not None and stopping()):
            now = self._clock()
            wait = start + step * tick_s - now
            if wait > 2.0 * tick_s:  # the clock was set back; the joints must not wait for it
                start, wait = now - step * tick_s, 0.0
            if wait > 0:
                self._sleep(wait)
            self._late_s = self._clock() - start - step * tick_s
            self.timer.woke(self._late_s)
            self._index = step
            self.cycle()
            stopped = self.state in STOPPED
            step = self.timer.next_step(step, self._clock() - start, stopped=stopped)
            if self.timer.consecutive_overruns >= most:
                late = self.timer.consecutive_overruns
                self._machine.stop(
                    f"{late} cycles in a row took longer than {tick_s:g} s", latch=True
                )

    def _lay_out(self) -> None:
        """Begin anew, with the joints in the order of the robot."""
        settings, manifest = self.settings, self.manifest
        self._intake = SignalIntake(manifest, self._policy.elements, settings)
        self._filter = CommandFilter(manifest, settings, self._intake)
        self.timer = LoopTimer(settings.tick_s, settings.overrun, settings.deadline)
        self._pace = Pace(settings)
        self._counts = {"latency beyond training": 0}
        self._decider = Decider(self._policy, settings, self._intake, len(manifest.robot.actuators))
        self._takeover = Takeover(
            self._machine, self._filter, self._intake, self._decider, settings
        )
        self._index, self._late_s = 0, 0.0

    def _arm_on_signals(self) -> None:
        problem = self._observe()
        # While everything was compared, old measurements may have queued up on the way.
        for _ in range(_FIRST_READS):
            if problem is not None or not self._intake.stale:
                break
            self._sleep(self.settings.tick_s)
            problem = self._observe()
        if problem is None and self._intake.stale:
            problem = self._intake.age_problem()
        self._refuse(
            ([] if problem is None else [problem])
            + arming.start_problems(self.manifest, self.settings, self._intake)
            + self._guards.missing(self._clock())
        )
        self._epoch = max(self._epoch, self._robot_epoch, self._guards.tripped_epoch) + 1
        self._seq = 0

    def _refuse(self, problems: list[str]) -> None:
        if problems:
            raise ArmError(
                one_line(f"policy '{self.manifest.name}' refuses to arm: {'; '.join(problems)}")
            )

    def _refuse_unarmed(self) -> None:
        if self._machine.state in UNARMED:
            raise ArmError(f"policy '{self.manifest.name}' is not armed; call arm() first")

    def _ask_guards(self, begin_s: float) -> str | None:
        """Ask watchdog and operator; return a problem, if there is one."""
        problem = self._guards.tripped(self._machine.state, self._epoch)
        if problem is None:
            let_go = self._guards.let_go(begin_s)
            if let_go is not None:
                self._machine.stop(let_go, latch=False)
        return problem

    def _observe(self) -> str | None:
        """Read and judge a measurement; return why the robot must stop, if it must."""
        intake = self._intake
        try:
            signals = self.robot.read()
            problem = intake.take(signals, self._clock())
        except Exception as error:  # whatever a driver gives, the joints must still be damped
            intake.usable = False
            return f"reading the robot failed: {type(error).__name__}: {error}"
        self._robot_epoch = signals.epoch
        if signals.latched is not None:
            return f"the robot's gate is latched ({signals.latched}); reset it at the robot"
        return problem or intake.frozen_problem(self._filter.commanding)

    def _command(self, begin_s: float) -> Mode:
        """Fill the filter's command, and return what the robot is to do with it."""
        takeover = self._takeover
        if self._machine.state is not _RUN or self._intake.stale or not takeover.going:
            mode = takeover.advance()
            if mode is not None:
                return mode
        problem = self._decider.ask(self._index, begin_s, self._box)
        problem = problem or self._filter.apply(self._decider.target(self._index), takeover.share)
        if problem is not None:
            self._machine.stop(one_line(problem), latch=True)
            return self._takeover.damp()
        return Mode.RUN

    def _send(self, mode: Mode, now_s: float) -> dict[str, float]:
        """Send the filter's command; a robot that cannot be reached is a fault."""
        values = self._filter.by_name()
        if self._machine.state in COMMANDING and now_s - self._intake.time_s > self._trained_s:
            if self._counts["latency beyond training"] == 0:
                found_s = now_s - self._intake.time_s
                self._event("latency beyond training", trained_s=self._trained_s, found_s=found_s)
            self._counts["latency beyond training"] += 1
        command = Command(
            epoch=self._epoch,
            seq=self._seq,
            time_s=now_s,
            ttl_s=self._ttl_s,
            mode=mode,
            values=values,
        )
        self._seq += 1
        try:
            self.robot.write(command)
        except Exception as error:  # the next cycle tries again, to damp
            problem = f"writing to the robot failed: {type(error).__name__}: {error}"
            self._machine.stop(one_line(problem), latch=True)
        return values

    def _event(self, what: str, **fields: object) -> None:
        if self._box is not None:
            self._box.event(what, self._clock(), **fields)

    def _state_changed(self, before: State, after: State, why: str) -> None:
        self._event("state", before=before.value, after=after.value, why=why)
        if after is State.FAULT and self._told is not None:
            try:
                self._told(why)
            except Exception as error:  # the joints must be damped, whether anybody hears of it
                self._event("nobody was told", error=f"{type(error).__name__}: {error}")


def _quiet_numbers() -> np.errstate:
    """What overflows, or is no number, is found by looking, and told in words."""
    return np.errstate(over="ignore", invalid="ignore")

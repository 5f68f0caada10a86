"""Lead from holding to the policy, and back to less while its signals are missing.

The states before and beside RUN: what is sent while the policy does not command yet, or no more.
"""

from simreal.deploy.deciding import Decider
from simreal.deploy.intake import SignalIntake
from simreal.deploy.messages import Mode
from simreal.deploy.safety import CommandFilter
from simreal.deploy.settings import ControlSettings
from simreal.deploy.states import STOPPED, State, StateMachine


class Takeover:
    """Move the state machine on, cycle by cycle.

    Attributes:
        going: Whether the policy may command; joints are held otherwise.
        share: How far the policy has taken over from holding, 0 to 1.
        counts: Cycles in which the last command was held for want of signals.
    """

    def __init__(
        self,
        machine: StateMachine,
        command: CommandFilter,
        intake: SignalIntake,
        decider: Decider,
        settings: ControlSettings,
    ) -> None:
        """Begin before the first cycle.

        Args:
            machine: The state of the controller.
            command: Where commands are set to holding or damping.
            intake: Measurements.
            decider: The policy, which begins an episode whenever it takes over.
            settings: Times of blending and of patience.
        """
        self._machine, self._filter = machine, command
        self._intake, self._decider = intake, decider
        self.going, self.share = True, 0.0
        self.counts = {"degraded ticks": 0}
        self._blended = 0
        self._blend_ticks = round(settings.blend_in_s / settings.tick_s)
        self._resume = State.RUN
        self._max_stale_s = settings.max_stale_periods * settings.period_s

    def advance(self) -> Mode | None:
        """Move on to the state that lets the policy command; return what is done until then."""
        machine = self._machine
        if machine.state in STOPPED:
            return self.damp()
        if machine.state is State.SELF_TESTED:
            self._filter.begin()
            machine.to(State.HOLD)
        if self._intake.stale:
            return self._degrade()
        if machine.state is State.DEGRADED:
            machine.to(self._resume, "signals are back")
        if not self.going:
            machine.to(State.HOLD, "asked to hold")
            self._filter.hold()
            return Mode.HOLD
        if machine.state is State.HOLD:
            self._begin()
        if machine.state is State.BLEND:
            self._blend()
        return None

    def damp(self) -> Mode:
        """Set the command to damping."""
        self._filter.stop(self._intake.usable)
        return Mode.DAMP

    def _degrade(self) -> Mode:
        """Hold the last command for a few periods, then stop."""
        machine = self._machine
        self.counts["degraded ticks"] += 1
        if self._intake.overdue_s > self._max_stale_s:
            machine.stop(self._intake.age_problem(), latch=True)
            return self.damp()
        if machine.state is not State.DEGRADED:
            self._resume = machine.state
            machine.to(State.DEGRADED, self._intake.age_problem())
        return Mode.HOLD if self._resume is State.HOLD else Mode.RUN

    def _begin(self) -> None:
        """Begin an episode of the policy, blended in from holding."""
        self._filter.begin()
        self._decider.begin()
        self._blended = 0
        self._machine.to(State.BLEND)

    def _blend(self) -> None:
        """Let the policy take over by one more step."""
        self._blended += 1
        self.share = min(self._blended / max(self._blend_ticks, 1), 1.0)
        if self.share >= 1.0:
            self._machine.to(State.RUN)

"""What a controller is doing, and what it may do next.

`INIT -> BOUND -> SELF_TESTED -> HOLD -> BLEND -> RUN`, with `DEGRADED` while signals are missing,
and `SAFE_STOP -> FAULT` at any problem. A transition that is not listed is a mistake of ours, and
raises: a state machine that can go anywhere protects nothing.
"""

from collections.abc import Callable
from enum import Enum

from simreal.errors import ArmError


class State(Enum):
    """Name what a controller is doing.

    Attributes:
        INIT: Nothing was checked; nothing is sent.
        BOUND: The robot is the one the policy was trained for; its joints are found by name.
        SELF_TESTED: The policy gives its golden answers here, in time; signals are plausible.
        HOLD: Position-driven joints are held where they are, the others damped.
        BLEND: The policy takes over from holding.
        RUN: The policy commands.
        DEGRADED: Signals are too old; the last command is held, for a few periods.
        SAFE_STOP: Joints are damped.
        FAULT: Joints are damped, and stay so until a person has found the cause.
    """

    INIT = "init"
    BOUND = "bound"
    SELF_TESTED = "self-tested"
    HOLD = "hold"
    BLEND = "blend"
    RUN = "run"
    DEGRADED = "degraded"
    SAFE_STOP = "safe-stop"
    FAULT = "fault"


_ENDS = {State.SAFE_STOP, State.INIT}
TRANSITIONS: dict[State, set[State]] = {
    State.INIT: {State.BOUND, State.SAFE_STOP},
    State.BOUND: {State.SELF_TESTED, *_ENDS},
    State.SELF_TESTED: {State.HOLD, *_ENDS},
    State.HOLD: {State.BLEND, State.DEGRADED, *_ENDS},
    State.BLEND: {State.RUN, State.HOLD, State.DEGRADED, *_ENDS},
    State.RUN: {State.HOLD, State.DEGRADED, *_ENDS},
    State.DEGRADED: {State.RUN, State.BLEND, State.HOLD, *_ENDS},
    State.SAFE_STOP: {State.FAULT, State.INIT},
    State.FAULT: {State.INIT},
}
# Tuples, since finding a member in them is quicker than hashing it.
COMMANDING = (State.RUN, State.BLEND, State.DEGRADED)
STOPPED = (State.SAFE_STOP, State.FAULT)
UNARMED = (State.INIT, State.BOUND)


class StateMachine:
    """Hold the state, and the first fault.

    Attributes:
        state: The state.
        fault: The latched fault; later ones follow from it. None without one.
        reason: Why it stopped, fault or not.
    """

    def __init__(self, listener: Callable[[State, State, str], None] | None = None) -> None:
        """Begin in INIT.

        Args:
            listener: Told of every change: from, to, and why.
        """
        self.state = State.INIT
        self.fault: str | None = None
        self.reason: str | None = None
        self._listener = listener

    def to(self, state: State, why: str = "") -> None:
        """Change the state; nothing happens if it is the present one.

        Args:
            state: The next state.
            why: For the log.

        Raises:
            ArmError: The change is not allowed.
        """
        before = self.state
        if state is before:
            return
        if state not in TRANSITIONS[before]:
            allowed = sorted(s.value for s in TRANSITIONS[before])
            raise ArmError(
                f"state: expected one of {allowed} after {before.value}, got {state.value}"
            )
        self.state = state
        if self._listener is not None:
            self._listener(before, state, why)

    def stop(self, why: str, *, latch: bool) -> None:
        """Stop, from any state.

        Args:
            why: What happened.
            latch: Whether it is a fault, which only a person may clear.
        """
        if self.reason is None:
            self.reason = why
        if latch and self.fault is None:
            self.fault = why
        if self.state not in STOPPED:
            self.to(State.SAFE_STOP, why)

    def settle(self) -> None:
        """Latch a fault whose first damping command was sent."""
        if self.fault is not None and self.state is State.SAFE_STOP:
            self.to(State.FAULT, self.fault)

    def rest(self) -> None:
        """Disarm; a fault stays."""
        if self.fault is None:
            self.to(State.INIT, "disarmed")
            self.reason = None
        else:
            self.stop(self.fault, latch=True)
            self.settle()

    def clear(self) -> None:
        """Forget a fault, and disarm; for a person who has found its cause."""
        self.fault = self.reason = None
        self.to(State.INIT, "cleared by a person")

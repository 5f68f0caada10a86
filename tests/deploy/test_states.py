"""A controller goes only where its table lets it, and never leaves a fault by itself."""

import pytest

from simreal.deploy.states import TRANSITIONS, State, StateMachine
from simreal.errors import ArmError

WAY = (State.BOUND, State.SELF_TESTED, State.HOLD, State.BLEND, State.RUN)


@pytest.fixture
def machine() -> StateMachine:
    return StateMachine()


def test_the_way_to_running() -> None:
    told = []
    machine = StateMachine(lambda before, after, why: told.append((before, after, why)))
    for state in WAY:
        machine.to(state, "why")
    assert machine.state is State.RUN
    assert told[-1] == (State.BLEND, State.RUN, "why")
    machine.to(State.RUN)
    assert len(told) == 5  # staying is no change


@pytest.mark.parametrize("state", [State.RUN, State.BLEND, State.HOLD, State.SELF_TESTED])
def test_no_step_is_left_out(state: State, machine: StateMachine) -> None:
    with pytest.raises(ArmError, match=r"state: expected one of .* after init, got"):
        machine.to(state)
    assert machine.state is State.INIT


def test_every_state_but_a_fault_can_stop_and_none_leads_out_of_a_fault_but_a_person() -> None:
    stops = {state for state, following in TRANSITIONS.items() if State.SAFE_STOP in following}
    assert stops == set(State) - {State.SAFE_STOP, State.FAULT}
    assert TRANSITIONS[State.FAULT] == {State.INIT}
    assert TRANSITIONS[State.SAFE_STOP] == {State.FAULT, State.INIT}


def test_the_first_fault_is_kept_and_latched_after_its_first_damping(machine: StateMachine) -> None:
    for state in WAY:
        machine.to(state)
    machine.stop("first", latch=True)
    assert machine.state is State.SAFE_STOP
    machine.stop("second", latch=True)
    machine.settle()
    assert machine.state is State.FAULT
    assert machine.fault == "first"
    machine.rest()
    assert machine.state is State.FAULT
    machine.clear()
    assert (machine.state, machine.fault) == (State.INIT, None)


def test_a_stop_without_a_fault_needs_no_clearing(machine: StateMachine) -> None:
    for state in WAY:
        machine.to(state)
    machine.stop("the operator let go", latch=False)
    machine.settle()
    assert machine.state is State.SAFE_STOP
    assert machine.reason == "the operator let go"
    machine.rest()
    assert (machine.state, machine.reason) == (State.INIT, None)


def test_a_fault_after_an_operators_stop_is_latched(machine: StateMachine) -> None:
    for state in WAY:
        machine.to(state)
    machine.stop("the operator let go", latch=False)
    machine.stop("an encoder jumped", latch=True)
    machine.settle()
    assert machine.state is State.FAULT

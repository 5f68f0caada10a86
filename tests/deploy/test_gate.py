"""The receiver decides what it acts on, by its own clock, whatever the sender does."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.deploy import Command, CommandGate, Mode, Signals, Verdict

JOINTS = ("shoulder", "elbow")
TTL = 0.02


def command(epoch: int = 1, seq: int = 0, time_s: float = 100.0, **fields: Any) -> Command:
    """A command of a sender whose clock stands at 100 s when the receiver's stands at 0."""
    values = {"values": {"shoulder": 1.0, "elbow": -1.0}, "mode": Mode.RUN, "ttl_s": TTL}
    return Command(epoch=epoch, seq=seq, time_s=time_s, **{**values, **fields})


@pytest.fixture
def gate() -> CommandGate:
    return CommandGate(JOINTS)


def damps(gate: CommandGate, now_s: float) -> bool:
    active = gate.active(now_s)
    assert active.mode is not Mode.DAMP or active.values == {}
    return active.mode is Mode.DAMP


def test_an_unknown_attribute_raises() -> None:
    for record in (command(), Signals(0.0, {})):
        with pytest.raises((AttributeError, TypeError)):
            record.qd = 0.0
    with pytest.raises(TypeError, match="qd"):
        command(qd={"shoulder": 0.0})
    with pytest.raises(dataclasses.FrozenInstanceError):
        command().epoch = 2


def test_it_damps_until_it_is_commanded(gate: CommandGate) -> None:
    assert damps(gate, 0.0)
    assert gate.accept(command(), 0.0) is Verdict.ACCEPTED
    assert gate.active(0.0) == command()
    assert gate.timeouts == 0


def test_a_command_lives_for_its_time_from_its_arrival(gate: CommandGate) -> None:
    gate.accept(command(), 5.0)
    assert not damps(gate, 5.0199)
    assert damps(gate, 5.0201)
    assert damps(gate, 5.0202)
    assert gate.timeouts == 1  # once, however often it is asked
    # It is not latched: the next fresh command acts.
    assert gate.accept(command(seq=1, time_s=100.03), 5.03) is Verdict.ACCEPTED
    assert not damps(gate, 5.03)


@pytest.mark.parametrize(
    ("changed", "now_s", "verdict"),
    [
        ({"epoch": 1, "seq": 9}, 0.01, Verdict.OLD_EPOCH),
        ({"epoch": 0, "seq": 9}, 0.01, Verdict.REVOKED_EPOCH),
        ({"seq": 3}, 0.01, Verdict.OLD_SEQ),  # doubled
        ({"seq": 2}, 0.01, Verdict.OLD_SEQ),  # overtaken
        ({"seq": 4, "time_s": 100.5}, 0.01, Verdict.FUTURE),
        ({"seq": 4, "time_s": 100.0}, 0.03, Verdict.EXPIRED),
        ({"seq": 4, "time_s": math.nan}, 0.01, Verdict.INVALID),
        ({"seq": 4, "ttl_s": math.nan}, 0.01, Verdict.INVALID),
        ({"seq": 4, "ttl_s": 0.0}, 0.01, Verdict.INVALID),
        ({"seq": 4, "ttl_s": 1.1}, 0.01, Verdict.INVALID),
        ({"seq": 4, "values": {"shoulder": 1.0}}, 0.01, Verdict.INVALID),
        ({"seq": 4, "values": {}}, 0.01, Verdict.INVALID),
        ({"seq": 4, "values": {"shoulder": 1.0, "elbo": 1.0}}, 0.01, Verdict.INVALID),
        ({"seq": 4, "values": {"shoulder": math.nan, "elbow": 0.0}}, 0.01, Verdict.INVALID),
        ({"seq": 4, "values": {"shoulder": 0.0, "elbow": -math.inf}}, 0.01, Verdict.INVALID),
        ({"seq": 4, "mode": Mode.DAMP, "values": {}}, 0.01, Verdict.ACCEPTED),
        ({"seq": 4, "mode": Mode.DAMP, "time_s": 90.0}, 0.01, Verdict.ACCEPTED),  # never too late
        ({"seq": 3, "mode": Mode.DAMP}, 0.01, Verdict.OLD_SEQ),
        ({"seq": 9, "time_s": 100.01}, 0.01, Verdict.ACCEPTED),  # others were lost
        ({"epoch": 3, "seq": 7, "time_s": 5.0}, 0.01, Verdict.ACCEPTED),  # another arming
    ],
)
def test_what_is_dropped_is_counted(
    changed: dict[str, Any], now_s: float, verdict: Verdict, gate: CommandGate
) -> None:
    gate.accept(command(epoch=2, seq=3), 0.0)
    arrived = command(**{"epoch": 2, "time_s": 100.01, **changed})
    assert gate.accept(arrived, now_s) is verdict
    assert gate.counts[verdict] == (2 if verdict is Verdict.ACCEPTED else 1)
    assert sum(gate.counts.values()) == 2
    if verdict is not Verdict.ACCEPTED:
        assert gate.active(0.015 if now_s < 0.015 else now_s).seq == 3


def test_on_a_shared_clock_a_late_first_command_is_expired() -> None:
    gate = CommandGate(JOINTS, shared_clock=True)
    assert gate.accept(command(time_s=1.0), 1.03) is Verdict.EXPIRED
    assert gate.accept(command(time_s=1.04), 1.03) is Verdict.FUTURE
    assert gate.accept(command(time_s=1.03), 1.031) is Verdict.ACCEPTED
    # Without one, nothing is known of the sender's clock at the first command.
    assert CommandGate(JOINTS).accept(command(time_s=1.0), 1.03) is Verdict.ACCEPTED


def test_a_stopped_and_continued_policy_cannot_command(gate: CommandGate) -> None:
    """It sleeps for 0.5 s between computing a command and sending it; nobody has tripped yet."""
    for i in range(10):
        assert gate.accept(command(seq=i, time_s=100 + 0.01 * i), 0.01 * i) is Verdict.ACCEPTED
    assert gate.accept(command(seq=10, time_s=100.1), 0.6) is Verdict.EXPIRED
    assert damps(gate, 0.6)
    # Tripped, also its next ones, computed in time, are of no use, nor after an operator's reset.
    gate.trip("the heartbeat stopped")
    fresh = command(seq=11, time_s=100.61)
    assert gate.accept(fresh, 0.61) is Verdict.REVOKED_EPOCH
    gate.reset()
    assert gate.accept(fresh, 0.61) is Verdict.REVOKED_EPOCH
    assert damps(gate, 0.61)
    assert gate.accept(command(epoch=2, time_s=100.62), 0.62) is Verdict.ACCEPTED
    assert not damps(gate, 0.62)


def test_a_trip_is_latched_until_an_operator_resets_it(gate: CommandGate) -> None:
    gate.accept(command(), 0.0)
    gate.trip("first")
    gate.trip("second")
    assert gate.latched == "first"
    assert gate.trips == 1
    assert damps(gate, 0.001)
    assert gate.accept(command(epoch=2), 0.002) is Verdict.LATCHED
    gate.reset()
    assert damps(gate, 0.003)  # what was accepted before the trip is forgotten
    assert gate.accept(command(epoch=2), 0.004) is Verdict.ACCEPTED


def test_an_epoch_can_be_revoked_before_its_first_command(gate: CommandGate) -> None:
    gate.trip("killed while arming", epoch=4)
    gate.reset()
    assert gate.accept(command(epoch=4), 0.0) is Verdict.REVOKED_EPOCH
    assert gate.accept(command(epoch=5), 0.0) is Verdict.ACCEPTED


def test_a_trip_that_is_said_again_does_not_undo_a_reset(gate: CommandGate) -> None:
    gate.accept(command(epoch=3), 0.0)
    for _ in range(3):
        gate.trip("the heartbeat stopped", epoch=3)
    gate.reset()
    gate.trip("the heartbeat stopped", epoch=3)
    assert gate.latched is None
    assert gate.accept(command(epoch=3, seq=1), 0.001) is Verdict.REVOKED_EPOCH
    assert gate.accept(command(epoch=4), 0.001) is Verdict.ACCEPTED
    gate.trip("the heartbeat stopped again", epoch=4)
    assert gate.latched == "the heartbeat stopped again"


@pytest.mark.parametrize("step_s", [-0.5, -1e-9, math.nan])
def test_a_receiver_clock_that_goes_back_trips(step_s: float, gate: CommandGate) -> None:
    gate.accept(command(), 10.0)
    assert damps(gate, 10.0 + step_s)
    assert gate.latched is not None
    assert gate.latched.startswith("the receiver's clock went from 10.0 s to")


def test_a_drifting_clock_of_another_machine_is_followed(gate: CommandGate) -> None:
    """100 ppm slower for an hour is 360 ms, many times the time to live."""
    seen = [
        gate.accept(command(seq=i, time_s=100 + 0.1 * i * (1 - 1e-4)), 0.1 * i)
        for i in range(36_000)
    ]
    assert set(seen) == {Verdict.ACCEPTED}


def test_delay_that_grows_is_not_taken_for_drift(gate: CommandGate) -> None:
    gate.accept(command(), 0.0)
    verdicts = [
        gate.accept(command(seq=i, time_s=100 + 0.01 * i), 0.01 * i + 0.001 * i)
        for i in range(1, 40)
    ]
    # 1 ms more per command: beyond the time to live of 20 ms from the 20th on, but for the drift.
    assert verdicts.index(Verdict.EXPIRED) in (19, 20)
    assert set(verdicts[20:]) == {Verdict.EXPIRED}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 5), st.floats(-0.05, 0.05), st.floats(0.0, 0.03)
        ),
        max_size=30,
    )
)
def test_nothing_is_acted_on_beyond_its_time_or_out_of_order(
    arrivals: list[tuple[int, int, float, float]],
) -> None:
    gate, now, newest = CommandGate(JOINTS, shared_clock=True), 1.0, (0, -1)
    born = {}
    for epoch, seq, age_s, wait_s in arrivals:
        now += wait_s
        arrived = command(epoch, seq, now - age_s)
        if gate.accept(arrived, now) is Verdict.ACCEPTED:
            assert (epoch, seq) > newest
            newest, born[epoch, seq] = (epoch, seq), now
        active = gate.active(now)
        if active.mode is Mode.RUN:
            assert (active.epoch, active.seq) == newest
            assert now - born[newest] < TTL
            assert now - active.time_s < 2 * TTL

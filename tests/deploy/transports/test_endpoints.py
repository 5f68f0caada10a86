"""Controller and robot find each other, trust only each other, and use nothing twice."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.deploy import CommandGate, Mode, Verdict
from simreal.deploy.transports import (
    Disturbance,
    Drop,
    Frame,
    FrameCodec,
    Kind,
    RobotClient,
    RobotServer,
    loopback,
)
from simreal.deploy.transports.introduction import Introduction
from simreal.errors import SignalError, TransportError
from tests.deploy.transports.setup import INTERFACE, SIGNALS, Clock, Pair

KEY = b"a shared key of 32 bytes or more"
Make = Callable[..., Any]


def dropped(counts: dict[Drop, int]) -> dict[Drop, int]:
    return {reason: n for reason, n in counts.items() if n}


def test_the_robot_introduces_itself_by_name(pair: Pair) -> None:
    assert pair.client.interface == INTERFACE
    assert pair.client.period_s == 0.002
    assert pair.server.connected
    assert pair.server.sessions == 1


def test_a_measurement_arrives_by_name_on_the_controllers_clock(pair: Pair) -> None:
    pair.tick()
    signals = pair.client.read()
    assert signals.values.keys() == SIGNALS.keys()
    np.testing.assert_array_equal(signals.values["joint_pos"], [pair.robot_clock.now, 2.0])
    np.testing.assert_array_equal(signals.values["force"], [1.0])
    assert signals.time_s == pytest.approx(pair.clock.now, abs=2e-3)
    assert signals.time_s <= pair.clock.now
    assert (signals.epoch, signals.latched) == (0, None)


def test_only_the_newest_measurement_is_given(pair: Pair) -> None:
    for _ in range(20):
        pair.tick()
    first = pair.client.read()
    assert first.values["joint_pos"][0] == pair.robot_clock.now
    # Without a newer one it is given again, with its own time and number.
    pair.clock.now += 0.1
    again = pair.client.read()
    assert (again.seq, again.time_s) == (first.seq, first.time_s)


def test_after_a_pause_the_measurement_is_new_although_the_socket_was_full(pair: Pair) -> None:
    kept = deque(maxlen=100)
    pair.ends[1].send = lambda data, peer=None: kept.append(data) if len(kept) < 100 else None
    for _ in range(400):
        pair.tick()  # a socket loses the newest, not the oldest
    pair.ends[0]._inbox.extend(kept)
    del pair.ends[1].send
    signals = pair.client.read()
    assert signals.values["joint_pos"][0] == pair.robot_clock.now


def test_a_command_reaches_the_gate_by_name(pair: Pair, command: Make) -> None:
    pair.client.write(command(time_s=pair.clock.now))
    pair.server.poll()
    active = pair.server.gate.active(pair.robot_clock.now)
    assert active.mode is Mode.RUN
    assert active.values == {"elbow": 1.5, "shoulder": -2.0}
    assert (active.epoch, active.seq, active.ttl_s) == (1, 0, 0.02)
    pair.tick()
    assert pair.client.read().epoch == 1


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_survives_the_way(mode: Mode, pair: Pair, command: Make) -> None:
    pair.client.write(command(time_s=pair.clock.now, mode=mode))
    pair.server.poll()
    assert pair.server.gate.active(pair.robot_clock.now).mode is mode


def test_damping_needs_no_values(pair: Pair, command: Make) -> None:
    pair.client.write(command(time_s=pair.clock.now, mode=Mode.DAMP, values={}))
    pair.client.write(command(seq=1, time_s=pair.clock.now, values={}))
    pair.server.poll()
    assert pair.server.gate.counts[Verdict.ACCEPTED] == 1
    assert dropped(pair.server.drops) == {Drop.PAYLOAD: 1}


def test_the_time_to_live_is_counted_by_the_robot(pair: Pair, command: Make) -> None:
    pair.client.write(command(time_s=pair.clock.now))
    pair.server.poll()
    pair.robot_clock.now += 0.019
    assert pair.server.gate.active(pair.robot_clock.now).mode is Mode.RUN
    pair.robot_clock.now += 0.002
    assert pair.server.gate.active(pair.robot_clock.now).mode is Mode.DAMP


def test_a_recorded_command_is_dropped_when_sent_again(pair: Pair, command: Make) -> None:
    recorded: list[bytes] = []
    outbox = pair.ends[0].send
    pair.ends[0].send = lambda data, peer=None: (recorded.append(data), outbox(data))
    for seq in range(3):
        pair.client.write(command(seq=seq, time_s=pair.clock.now))
    pair.server.poll()
    for data in recorded:
        outbox(data)
    outbox(recorded[0][:-1] + b"\0")
    pair.server.poll()
    assert pair.server.gate.counts[Verdict.ACCEPTED] == 3
    assert dropped(pair.server.drops) == {Drop.REPLAYED: 3, Drop.CHECKSUM: 1}


def test_a_recorded_session_opens_no_new_one(make_pair: Make, command: Make) -> None:
    pair = make_pair(key=KEY)
    recorded: list[bytes] = []
    outbox = pair.ends[0].send
    pair.ends[0].send = lambda data, peer=None: (recorded.append(data), outbox(data))
    pair.client.connect()
    pair.client.write(command(time_s=pair.clock.now))
    pair.server.poll()
    pair.ends[0].send = outbox
    pair.tick(2.0)  # the controller is gone
    assert not pair.server.connected
    restarted = make_pair(key=KEY)
    for victim in (pair, restarted):
        before = victim.server.gate.counts[Verdict.ACCEPTED]
        for data in recorded:
            victim.ends[0].send(data)
        victim.server.poll()
        assert victim.server.gate.counts[Verdict.ACCEPTED] == before
    assert restarted.server.sessions == 0
    assert dropped(restarted.server.drops) == {Drop.SESSION: len(recorded) - 1}
    assert Drop.REPLAYED in dropped(pair.server.drops)


def test_without_the_key_nothing_is_believed(make_pair: Make) -> None:
    pair = make_pair(key=KEY, client_key=KEY[::-1])
    with pytest.raises(TransportError, match="the same key"):
        pair.client.connect(0.5)
    assert dropped(pair.server.drops).keys() == {Drop.TAG}


def test_nobody_there_is_an_error_that_says_what_to_check() -> None:
    clock = Clock()
    link, _ = loopback()
    link.pump = lambda: setattr(clock, "now", clock.now + 0.1)
    client = RobotClient(link, clock=clock)
    with pytest.raises(TransportError, match=r"nobody answered within 1 s; check that the robot"):
        client.connect(1.0)
    with pytest.raises(SignalError, match=r"call connect\(\) first"):
        client.read()
    with pytest.raises(TransportError, match=r"call connect\(\) first"):
        _ = client.interface


def test_a_second_controller_is_refused_while_the_first_is_heard(pair: Pair, command: Make) -> None:
    def both() -> None:
        pair.client._ask()
        pair.tick()

    pair.ends[0].pump = both
    other = RobotClient(pair.ends[0], clock=pair.clock)
    with pytest.raises(TransportError, match="robot 'arm' obeys another controller"):
        other.connect(0.5)
    # What the refused one sent opened nothing.
    assert dropped(pair.server.drops).keys() == {Drop.BUSY}
    assert pair.server.sessions == 1
    pair.client.write(command(time_s=pair.clock.now))
    pair.server.poll()
    assert pair.server.gate.counts[Verdict.ACCEPTED] == 1
    pair.ends[0].pump = pair.tick
    pair.tick(1.5)  # the first one has gone silent
    again = RobotClient(pair.ends[0], clock=pair.clock)
    again.connect()
    assert pair.server.sessions == 2


def test_frames_of_another_robot_are_dropped(pair: Pair, command: Make) -> None:
    pair.client._digest = b"8 others"
    pair.client.write(command(time_s=pair.clock.now))
    pair.server.poll()
    assert dropped(pair.server.drops) == {Drop.INTERFACE: 1}


def test_a_measurement_from_the_future_is_dropped(pair: Pair) -> None:
    pair.tick()
    last = pair.client.read()
    pair.robot_clock.now += 5.0  # the robot's clock is stepped
    pair.serve()
    assert pair.client.read().seq == last.seq
    assert dropped(pair.client.drops) == {Drop.FUTURE: 1}
    pair.robot_clock.now -= 10.0
    pair.serve()
    assert pair.client.read().time_s == pytest.approx(pair.clock.now - 5.0, abs=2e-3)


def test_a_stepped_clock_is_not_followed_by_later_comparisons(pair: Pair) -> None:
    pair.robot_clock.now += 5.0
    for _ in range(1000):
        pair.tick()
        pair.client.read()
    assert pair.client.sync.refused >= 7
    assert pair.client.drops[Drop.FUTURE] >= 990


def test_a_tripped_gate_is_told_to_the_controller(pair: Pair, command: Make) -> None:
    pair.client.write(command(epoch=4, time_s=pair.clock.now))
    pair.client.trip("the operator let go")
    pair.tick()
    signals = pair.client.read()
    assert (signals.epoch, signals.latched) == (4, "the operator let go")
    pair.client.write(command(epoch=4, seq=1, time_s=pair.clock.now))
    pair.tick()
    assert pair.server.gate.counts[Verdict.REVOKED_EPOCH] == 1


def test_control_messages_reach_only_who_takes_them(make_pair: Make) -> None:
    seen: list[dict[str, Any]] = []

    def take(message: dict[str, Any]) -> bool:
        seen.append(message)
        return "fault" in message

    pair = make_pair(on_control=take)
    pair.client.connect()
    pair.client.control({"fault": "nan"})
    pair.client.control({"other": 1})
    pair.server.poll()
    assert seen == [{"fault": "nan"}, {"other": 1}]
    assert dropped(pair.server.drops) == {Drop.PAYLOAD: 1}
    plain = make_pair()
    plain.client.connect()
    plain.client.control({"fault": "nan"})
    plain.server.poll()
    assert dropped(plain.server.drops) == {Drop.PAYLOAD: 1}


def test_a_command_of_other_joints_is_not_sent(pair: Pair, command: Make) -> None:
    with pytest.raises(TransportError, match=r"names \['elbow'\]; \['elbow', 'shoulder'\] are"):
        pair.client.write(command(values={"elbow": 1.0}))
    with pytest.raises(TransportError, match="wrist"):
        pair.client.write(command(values={"elbow": 1.0, "wrist": 1.0}))


def test_a_signal_of_another_size_is_not_published(pair: Pair) -> None:
    values = {"joint_pos": np.zeros(3), "joint_vel": np.zeros(2), "force": np.zeros(1)}
    with pytest.raises(TransportError, match=r"'joint_pos': \(2,\) was announced, and \(3,\)"):
        pair.server.publish(values, 0.0)
    del values["joint_pos"]
    with pytest.raises(TransportError, match="nothing is to be sent"):
        pair.server.publish(values, 0.0)


def test_an_interface_that_fits_into_no_frame_is_refused() -> None:
    _, link = loopback()
    with pytest.raises(TransportError, match="fit into a frame"):
        RobotServer(link, INTERFACE | {"note": "x" * 40_000}, SIGNALS, Any, period_s=0.01)  # type: ignore[arg-type]


def test_work_per_poll_is_bounded(pair: Pair) -> None:
    for _ in range(1000):
        pair.ends[0].send(b"noise")
    assert [pair.server.poll() for _ in range(4)] == [256, 256, 256, 232]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"interface": {}, "signals": {}, "period_s": 1, "busy": false}',
        b'{"interface": {"joints": [], "actuators": [{"joint": 1}]}, "signals": {}, '
        b'"period_s": 1, "busy": false}',
        b'{"interface": {"joints": [], "actuators": []}, "signals": {"a": "b"}, '
        b'"period_s": 1, "busy": false}',
        b'{"interface": {"joints": [], "actuators": []}, "signals": {}, "period_s": 0, '
        b'"busy": false}',
        b'{"interface": {"joints": [], "actuators": []}, "signals": {}, "period_s": true, '
        b'"busy": false}',
        b'{"interface": {"joints": [], "actuators": []}, "signals": {}, "period_s": 1, "busy": 0}',
        b'{"interface": NaN}',
        b"[" * 30_000,
    ],
)
def test_what_is_no_introduction_is_none(text: bytes) -> None:
    assert Introduction.from_bytes(text) is None


header = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(Kind),
        "interface": st.sampled_from(
            [bytes(8), Introduction(interface=INTERFACE, signals=SIGNALS, period_s=0.002).digest]
        ),
        "controller": st.sampled_from(["own", 0, 7]),
        "robot": st.sampled_from(["own", 0, 7]),
        "epoch": st.integers(0, 3),
        "seq": st.integers(0, 2**32 - 1),
        "time_s": st.floats(allow_nan=False, allow_infinity=False),
        "ttl_s": st.floats(0.0, 10.0),
        "mode": st.integers(0, 255),
        "numbers": st.lists(st.floats(), max_size=6),
        "text": st.one_of(
            st.binary(max_size=40), st.sampled_from([b'{"trip": "x"}', b'{"trip": 1}', b"[]"])
        ),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(header, max_size=6))
def test_no_sequence_of_frames_breaks_either_side(heads: list[dict[str, Any]]) -> None:
    ends = loopback()
    clock = Clock()
    gate = CommandGate(("shoulder", "elbow"))
    server = RobotServer(ends[1], INTERFACE, SIGNALS, gate, period_s=0.002, clock=clock)
    client = RobotClient(ends[0], clock=clock)
    values = {"joint_pos": np.zeros(2), "joint_vel": np.zeros(2), "force": np.zeros(1)}

    def serve() -> None:
        clock.now += 0.002
        server.poll()
        server.publish(values, clock.now)

    ends[0].pump = serve
    client.connect()
    for head in heads:
        own = {"controller": client._nonce, "robot": client._robot}
        head = {k: own.get(k) if v == "own" else v for k, v in head.items()}
        data = FrameCodec().encode(replace(Frame(kind=Kind.HELLO), **head))
        for end in ends:
            end.send(data)
        serve()
        client.read()
    active = gate.active(clock.now)
    assert np.isfinite(list(active.values.values())).all()


def test_a_bad_network_lets_only_new_frames_through(make_pair: Make, command: Make) -> None:
    pair = make_pair(
        incoming=Disturbance(drop=0.2, duplicate=0.2, reorder=0.2, corrupt=0.2, delay_s=0.001)
    )
    pair.to_robot.outgoing.drop = pair.to_robot.outgoing.corrupt = 0.2
    pair.to_robot.outgoing.duplicate = pair.to_robot.outgoing.reorder = 0.2
    pair.client.connect(60.0)
    seqs = []
    for seq in range(500):
        pair.client.write(command(seq=seq, time_s=pair.clock.now))
        pair.tick()
        seqs.append(pair.client.read().seq)
    assert seqs == sorted(seqs)
    met = {Drop.REPLAYED, Drop.REORDERED, Drop.CHECKSUM}
    assert met <= dropped(pair.server.drops).keys()
    assert met <= dropped(pair.client.drops).keys()
    accepted = pair.server.gate.counts[Verdict.ACCEPTED]
    assert 200 < accepted < 400  # 0.8 of 0.8 arrive whole, of which the overtaken are dropped
    assert pair.server.gate.counts[Verdict.OLD_SEQ] == 0

"""A disturbed link does what was asked for, and nothing else."""

from typing import Any

import pytest

from simreal.deploy.transports import Disturbance, DisturbedLink, loopback
from tests.deploy.transports.setup import Clock

SENT = [bytes([i]) for i in range(200)]


def send_all(**what: Any) -> tuple[list[bytes], list[bytes]]:
    """Return what comes out of the outgoing and of the incoming direction."""
    out, clock = [], Clock()
    for disturbed in ("outgoing", "incoming"):
        near, far = loopback(1000)
        link = DisturbedLink(near, clock=clock, **{disturbed: Disturbance(**what)})
        sender, receiver = (link, far) if disturbed == "outgoing" else (far, link)
        got = []
        for data in SENT:
            sender.send(data)
            clock.now += 0.001
            while (arrived := receiver.receive()) is not None:
                got.append(arrived[0])
        out.append(got)
    return out[0], out[1]


def test_without_a_fault_everything_passes() -> None:
    assert send_all() == (SENT, SENT)


def test_dropped_and_doubled_shares_are_as_asked_for() -> None:
    for got in send_all(drop=0.3):
        assert 110 < len(got) < 170
        assert set(got) <= set(SENT)
    for got in send_all(duplicate=0.3):
        assert 230 < len(got) < 290
        assert list(dict.fromkeys(got)) == SENT
    assert send_all(drop=1.0) == ([], [])


def test_swapped_datagrams_are_overtaken_by_one() -> None:
    for got in send_all(reorder=0.5):
        assert got != SENT
        for i, data in enumerate(got):
            assert abs(i - data[0]) <= 1


def test_a_corrupted_datagram_differs_in_one_bit() -> None:
    for got in send_all(corrupt=1.0):
        assert all((a[0] ^ b[0]).bit_count() == 1 for a, b in zip(got, SENT, strict=True))


def test_a_delayed_datagram_arrives_when_it_is_due() -> None:
    near, far = loopback()
    clock = Clock()
    link = DisturbedLink(near, clock=clock, outgoing=Disturbance(delay_s=0.01))
    link.send(b"a")
    clock.now += 0.009
    assert link.receive() is None
    assert far.receive() is None
    clock.now += 0.0011
    assert link.receive() is None
    assert far.receive() == (b"a", "loopback")


def test_one_seed_gives_one_fate() -> None:
    assert send_all(drop=0.5) == send_all(drop=0.5)


def test_it_passes_the_rest_on() -> None:
    near, far = loopback(1)
    link = DisturbedLink(near, clock=Clock())
    assert not link.wait(0.0)
    link.send(b"a")
    link.send(b"b")
    assert link.lost == 1
    assert far.receive() == (b"b", "loopback")
    far.send(b"c")
    assert link.wait(0.0)
    link.close()
    assert link.receive() is None


@pytest.mark.parametrize("at", [0, 1])
def test_a_full_loopback_loses_the_oldest(at: int) -> None:
    ends = loopback(2)
    for data in SENT[:3]:
        ends[at].send(data)
    assert ends[at].lost == 1
    assert [ends[1 - at].receive(), ends[1 - at].receive()] == [
        (SENT[1], "loopback"),
        (SENT[2], "loopback"),
    ]

"""UDP on this machine: nothing blocks, nothing raises, and both sides meet."""

import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from simreal.deploy import Command, CommandGate, Mode
from simreal.deploy.transports import RobotClient, RobotServer, UdpLink
from simreal.deploy.transports.links import controller_link, read_key, robot_link, same_machine
from simreal.deploy.transports.tripwire import TripWire
from simreal.errors import TransportError, UnknownNameError
from tests.deploy.transports.setup import INTERFACE, SIGNALS

HERE = "127.0.0.1"


@pytest.fixture
def ends() -> tuple[UdpLink, UdpLink]:
    robot = UdpLink(bind=(HERE, 0))
    return UdpLink(to=(HERE, robot.port)), robot


def test_datagrams_pass_both_ways(ends: tuple[UdpLink, UdpLink]) -> None:
    controller, robot = ends
    assert robot.receive() is None
    assert not robot.wait(0.0)
    controller.send(b"up")
    assert robot.wait(5.0)
    arrived = robot.receive()
    assert arrived is not None
    assert arrived[0] == b"up"
    robot.send(b"down", arrived[1])
    assert controller.wait(5.0)
    assert controller.receive() == (b"down", (HERE, robot.port))
    for end in ends:
        end.close()
        end.close()
    controller.send(b"after the end")
    assert controller.lost == 1


def test_nobody_listening_raises_nothing() -> None:
    robot = UdpLink(bind=(HERE, 0))
    port = robot.port
    robot.close()
    controller = UdpLink(to=(HERE, port))
    for _ in range(20):
        controller.send(b"hello?")
        assert controller.receive() is None
    controller.close()


def test_a_stranger_is_not_heard(ends: tuple[UdpLink, UdpLink]) -> None:
    controller, _ = ends
    stranger = UdpLink(bind=(HERE, 0))
    stranger.send(b"it is me", (HERE, controller.port))
    assert not controller.wait(0.05)
    for end in (*ends, stranger):
        end.close()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"bind": (HERE, 70_000)}, "got port 70000"),
        ({"to": (HERE, 0)}, "got port 0; 1 to 65535"),
        ({"to": ("no.such.host.invalid", 5)}, r"cannot use no\.such\.host\.invalid port 5"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(
    where: dict[str, tuple[str, int]], message: str
) -> None:
    with pytest.raises(TransportError, match=message):
        UdpLink(**where)


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HERE, 0))
        with pytest.raises(TransportError, match="choose another host or port"):
            UdpLink(bind=(HERE, taken.getsockname()[1]))


def test_robot_and_controller_meet_over_udp(ends: tuple[UdpLink, UdpLink]) -> None:
    gate = CommandGate(("shoulder", "elbow"), shared_clock=True)
    server = RobotServer(ends[1], INTERFACE, SIGNALS, gate, period_s=0.002)
    values = {"joint_pos": np.arange(2.0), "joint_vel": np.zeros(2), "force": np.zeros(1)}
    commanded, stop = threading.Event(), threading.Event()

    def serve() -> None:
        while not stop.is_set():
            ends[1].wait(0.002)
            server.poll()
            now = server._clock()
            server.publish(values, now)
            if gate.active(now).mode is Mode.RUN:
                commanded.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with RobotClient(ends[0]).connect(10.0) as client:
            for seq in range(2000):
                now = client._clock()
                joints = {"elbow": 0.5, "shoulder": 0.25}
                client.write(
                    Command(epoch=1, seq=seq, time_s=now, ttl_s=1.0, mode=Mode.RUN, values=joints)
                )
                if commanded.wait(0.005):
                    break
            assert commanded.is_set()
            signals = client.read()
            np.testing.assert_array_equal(signals.values["joint_pos"], [0.0, 1.0])
            assert abs(client.sync.offset_s) <= client.sync.uncertainty_s + 1e-3
            # A watchdog trips from a socket of its own, and measurements still come to this one.
            arguments = client.ticket.watchdog_arguments("udp", HERE, ends[1].port, None)
            wire = TripWire(**json.loads(json.dumps(arguments)))
            wire.trip("the policy is silent", 7)
            wire._link.close()
            for _ in range(2000):
                if client.read().latched is not None:
                    break
                ends[0].wait(0.005)
            assert (client.read().latched, client.read().epoch) == ("the policy is silent", 7)
    finally:
        stop.set()
        thread.join()
        server.close()


def test_a_key_is_read_without_the_white_space_around_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  secret secret secret\n")
    assert read_key(str(tmp_path / "key")) == b"secret secret secret"
    assert read_key(None) is None
    with pytest.raises(TransportError, match="token_hex"):
        read_key(str(tmp_path / "none"))


def test_links_open_by_name() -> None:
    robot = robot_link("udp", HERE, 0)
    controller = controller_link("udp", HERE, robot.port)
    controller.send(b"a")
    assert robot.wait(5.0)
    for end in (robot, controller):
        end.close()
    for opened in (robot_link, controller_link):
        with pytest.raises(UnknownNameError, match="Did you mean 'udp'"):
            opened("upd", HERE, 1)


def test_only_this_machine_shares_its_clock() -> None:
    assert [same_machine(h) for h in ("127.0.0.1", "localhost", "127.1.2.3", "10.0.0.1")] == [
        True,
        True,
        True,
        False,
    ]

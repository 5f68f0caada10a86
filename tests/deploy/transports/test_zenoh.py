"""Two zenoh peers on this machine, connected by address, carry the same frames as UDP."""

import builtins
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from simreal.deploy import Command, CommandGate, Mode
from simreal.deploy.transports import RobotClient, RobotServer
from simreal.deploy.transports.links import controller_link, robot_link
from simreal.deploy.transports.zenoh import ZenohLink
from simreal.errors import DependencyError, TransportError
from tests.deploy.transports.setup import INTERFACE, SIGNALS

HERE = "127.0.0.1"


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind((HERE, 0))
        number: int = free.getsockname()[1]
        return number


@pytest.fixture
def ends(port: int) -> Iterator[tuple[Any, Any]]:
    robot = robot_link("zenoh", HERE, port)
    controller = controller_link("zenoh", HERE, port)
    yield controller, robot
    for end in (controller, robot):
        end.close()
        end.close()


def receive(link: Any, send: Any) -> bytes:
    """Return the first datagram; what is sent before two peers know each other is lost."""
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        send()
        if link.wait(0.2):
            data: bytes = link.receive()[0]
            return data
    raise AssertionError("nothing arrived")


def test_datagrams_pass_both_ways(ends: tuple[Any, Any]) -> None:
    controller, robot = ends
    assert robot.receive() is None
    assert receive(robot, lambda: controller.send(b"up")) == b"up"
    big = bytes(60_000)
    assert receive(controller, lambda: robot.send(big)) == big
    controller.close()
    controller.send(b"after the end")
    assert controller.lost == 1


def test_robot_and_controller_meet_over_zenoh(ends: tuple[Any, Any]) -> None:
    gate = CommandGate(("shoulder", "elbow"), shared_clock=True)
    key = b"0123456789abcdef"
    server = RobotServer(ends[1], INTERFACE, SIGNALS, gate, period_s=0.005, key=key)
    values = {"joint_pos": np.arange(2.0), "joint_vel": np.zeros(2), "force": np.zeros(1)}
    commanded, stop = threading.Event(), threading.Event()

    def serve() -> None:
        while not stop.wait(0.005):
            server.poll()
            now = time.monotonic()
            server.publish(values, now)
            if gate.active(now).mode is Mode.RUN:
                commanded.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client = RobotClient(ends[0], key=key).connect(20.0)
        for seq in range(1000):
            now, joints = time.monotonic(), {"elbow": 0.5, "shoulder": 0.25}
            client.write(
                Command(epoch=1, seq=seq, time_s=now, ttl_s=1.0, mode=Mode.RUN, values=joints)
            )
            if commanded.wait(0.01):
                break
        assert commanded.is_set()
        assert client.interface == INTERFACE
        np.testing.assert_array_equal(client.read().values["joint_pos"], [0.0, 1.0])
    finally:
        stop.set()
        thread.join()


def test_a_controller_may_be_started_before_the_robot(port: int) -> None:
    controller = ZenohLink("controller", HERE, port)
    robot = ZenohLink("robot", HERE, port)
    assert receive(robot, lambda: controller.send(b"up")) == b"up"
    controller.close()
    robot.close()


def test_an_address_that_cannot_be_used_is_refused(ends: tuple[Any, Any], port: int) -> None:
    with pytest.raises(TransportError, match="choose another host or port"):
        ZenohLink("robot", HERE, port)
    with pytest.raises(TransportError, match="got port 0; 1 to 65535"):
        ZenohLink("robot", HERE, 0)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "zenoh":
            raise ModuleNotFoundError("No module named 'zenoh'", name="zenoh")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DependencyError, match=r"pip install 'simreal\[zenoh\]'"):
        ZenohLink("robot", HERE, 5)

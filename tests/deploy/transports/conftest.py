"""A robot and a controller on one link, with a clock that a test moves."""

from collections.abc import Callable
from typing import Any

import pytest

from simreal.deploy import Command, CommandGate, Mode
from simreal.deploy.transports import (
    Disturbance,
    DisturbedLink,
    RobotClient,
    RobotServer,
    loopback,
)
from tests.deploy.transports.setup import INTERFACE, SIGNALS, Clock, Pair


@pytest.fixture
def command() -> Callable[..., Command]:
    def make(epoch: int = 1, seq: int = 0, time_s: float = 100.0, **changes: Any) -> Command:
        content: dict[str, Any] = {
            "ttl_s": 0.02,
            "mode": Mode.RUN,
            "values": {"elbow": 1.5, "shoulder": -2.0},
        }
        return Command(epoch=epoch, seq=seq, time_s=time_s, **(content | changes))

    return make


@pytest.fixture
def make_pair() -> Callable[..., Pair]:
    def make(
        *,
        offset_s: float = 50.0,
        key: bytes | None = None,
        client_key: bytes | None = None,
        incoming: Disturbance | None = None,
        **server: Any,
    ) -> Pair:
        clock = Clock()
        robot_clock = Clock(100.0 + offset_s)
        ends = loopback(1024)
        near = DisturbedLink(ends[0], clock=clock, incoming=incoming)
        gate = CommandGate(("shoulder", "elbow"), max_ttl_s=1.0)
        robot = RobotServer(
            ends[1],
            INTERFACE,
            SIGNALS,
            gate,
            period_s=0.002,
            key=key,
            clock=robot_clock,
            **server,
        )
        client = RobotClient(near, key=client_key or key, clock=clock)
        pair = Pair(clock, robot_clock, robot, client, near, ends)
        ends[0].pump = pair.tick
        return pair

    return make


@pytest.fixture
def pair(make_pair: Callable[..., Pair]) -> Pair:
    made = make_pair()
    made.client.connect()
    return made

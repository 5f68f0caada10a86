"""Datagrams over zenoh: two peers, connected by address, nothing found by multicast.

Needs the package `eclipse-zenoh`. The frame is the same as over UDP, and so are handshake, sessions
and tags: zenoh may cross networks that UDP does not, but is trusted no more.
"""

import json
import threading
from collections import deque
from typing import Any, Literal

from simreal.deploy.transports.link import Peer
from simreal.errors import DependencyError, TransportError

_DEPTH = 1024
_PREFIX = "simreal/robot"


class ZenohLink:
    """Be one end of a link over zenoh.

    Attributes:
        lost: Datagrams that could not be sent, or that found the box full when they arrived.
        port: Port of the robot's side.
    """

    def __init__(self, role: Literal["robot", "controller"], host: str, port: int) -> None:
        """Open a session of its own.

        Args:
            role: The robot listens, the controller connects.
            host: The robot's address.
            port: Its port; 1 to 65535.

        Raises:
            DependencyError: The package `eclipse-zenoh` is missing.
            TransportError: The address cannot be used.
        """
        if not 1 <= port <= 65535:
            raise TransportError(f"zenoh: got port {port}; 1 to 65535 is allowed")
        zenoh = _package()
        self.lost, self.port = 0, port
        self._inbox: deque[bytes] = deque(maxlen=_DEPTH)
        self._arrived = threading.Event()
        self._closed = False
        listens = role == "robot"
        try:
            self._session = zenoh.open(_config(zenoh, listens, f"tcp/{host}:{port}"))
        except zenoh.ZError as error:
            raise TransportError(
                f"zenoh: cannot use {host} port {port}: {error}; choose another host or port"
            ) from error
        up, down = f"{_PREFIX}/{port}/up", f"{_PREFIX}/{port}/down"
        self._publisher = self._session.declare_publisher(
            down if listens else up,
            congestion_control=zenoh.CongestionControl.DROP,
            priority=zenoh.Priority.REAL_TIME,
            express=True,
        )
        self._subscriber = self._session.declare_subscriber(up if listens else down, self._take)
        self._error = zenoh.ZError

    def send(self, data: bytes, peer: Peer | None = None) -> None:
        """Send a datagram, or lose it."""
        if self._closed:
            self.lost += 1
            return
        try:
            self._publisher.put(data)
        except self._error:  # the session has ended, or nobody takes it
            self.lost += 1

    def receive(self) -> tuple[bytes, Peer] | None:
        """Return the oldest datagram in the box."""
        return (self._inbox.popleft(), "zenoh") if self._inbox else None

    def wait(self, timeout_s: float) -> bool:
        """Wait until a datagram is there."""
        if not self._inbox:
            self._arrived.wait(timeout_s)
        self._arrived.clear()
        return bool(self._inbox)

    def close(self) -> None:
        """End the session."""
        if not self._closed:
            self._closed = True
            self._session.close()

    def _take(self, sample: Any) -> None:
        """Put what arrived into the box; called from a thread of zenoh's."""
        self.lost += len(self._inbox) == _DEPTH
        self._inbox.append(sample.payload.to_bytes())
        self._arrived.set()


def _package() -> Any:
    try:
        import zenoh
    except ModuleNotFoundError as error:
        raise DependencyError(
            "the package 'eclipse-zenoh' is not installed, and transport=zenoh needs it. "
            "Install it with: pip install 'simreal[zenoh]'"
        ) from error
    return zenoh


def _config(zenoh: Any, listens: bool, endpoint: str) -> Any:
    config = zenoh.Config()
    for key, value in (
        ("mode", "peer"),
        ("scouting/multicast/enabled", False),
        ("scouting/gossip/enabled", False),
        ("listen/endpoints", [endpoint] if listens else []),
        ("connect/endpoints", [] if listens else [endpoint]),
        # Go on trying in the background: the controller may be started before the robot.
        ("connect/timeout_ms", -1),
        ("connect/exit_on_failure", False),
    ):
        config.insert_json5(key, json.dumps(value))
    return config

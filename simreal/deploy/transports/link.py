"""What a transport has to do: carry datagrams, without waiting and without promising anything."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

Peer = tuple[str, int] | str
"""Where a datagram came from; only the link that gave it knows what it means."""


class Link(Protocol):
    """Carry datagrams between one robot and whoever speaks to it.

    A link never raises because of what arrives or because nobody listens: what cannot be sent is
    lost, as on any network, and counted.
    """

    @property
    def lost(self) -> int:
        """Return how many datagrams could not be sent."""
        ...

    def send(self, data: bytes, peer: Peer | None = None) -> None:
        """Send a datagram, or lose it.

        Args:
            data: What to send.
            peer: To whom; the only other side if None.
        """
        ...

    def receive(self) -> tuple[bytes, Peer] | None:
        """Return the next datagram and its sender, or None if there is none now."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait until something may have arrived.

        Args:
            timeout_s: Longest wait [s].

        Returns:
            Whether something may have arrived.
        """
        ...

    def close(self) -> None:
        """Release everything. Safe to call twice."""
        ...


class LoopbackLink:
    """Be one end of a link inside one process and thread; see `loopback`."""

    def __init__(self, inbox: deque[bytes], outbox: deque[bytes]) -> None:
        self._inbox, self._outbox = inbox, outbox
        self.pump: Callable[[], object] = lambda: None
        self.lost = 0

    def send(self, data: bytes, peer: Peer | None = None) -> None:
        """Put a datagram into the other end's box; a full box loses its oldest."""
        self.lost += len(self._outbox) == self._outbox.maxlen
        self._outbox.append(data)

    def receive(self) -> tuple[bytes, Peer] | None:
        """Return the oldest datagram in the box."""
        return (self._inbox.popleft(), "loopback") if self._inbox else None

    def wait(self, timeout_s: float) -> bool:
        """Let the other side work, by calling `pump`; nothing else could bring a datagram."""
        self.pump()
        return bool(self._inbox)

    def close(self) -> None:
        """Forget what is in the box."""
        self._inbox.clear()


def loopback(depth: int = 256) -> tuple[LoopbackLink, LoopbackLink]:
    """Return the two ends of a link inside one process: the controller's, the robot's.

    Set `pump` of the controller's end to a function that lets the robot take one step.

    Args:
        depth: Most datagrams under way in one direction.
    """
    down: deque[bytes] = deque(maxlen=depth)
    up: deque[bytes] = deque(maxlen=depth)
    return LoopbackLink(down, up), LoopbackLink(up, down)

"""Do to datagrams what a bad network does: lose, double, swap, hold back and corrupt them.

For tests and for `simreal robot-sim`; every choice comes from one seed.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simreal.deploy.transports.link import Link, Peer


@dataclass(kw_only=True)
class Disturbance:
    """Say how often what happens to a datagram, as shares from 0 to 1.

    Attributes:
        drop: Share that is lost.
        duplicate: Share that arrives twice.
        reorder: Share that is overtaken by the next one.
        corrupt: Share in which one bit is turned over.
        delay_s: Time every datagram takes [s].
    """

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    delay_s: float = 0.0


class _Channel:
    """Disturb one direction."""

    def __init__(self, disturbance: Disturbance, seed: int) -> None:
        self.disturbance = disturbance
        self._rng = np.random.default_rng(seed)
        self._held: tuple[bytes, Peer | None] | None = None
        self._due: deque[tuple[float, bytes, Peer | None]] = deque()

    def push(self, data: bytes, peer: Peer | None, now: float) -> None:
        what, chance = self.disturbance, self._rng.random(4)
        if chance[0] < what.drop:
            return
        if chance[1] < what.corrupt and data:
            turned = bytearray(data)
            turned[self._rng.integers(len(data))] ^= 1 << int(self._rng.integers(8))
            data = bytes(turned)
        at = now + what.delay_s
        if self._held is None and chance[2] < what.reorder:
            self._held = (data, peer)
            return
        copies = 2 if chance[3] < what.duplicate else 1
        self._due.extend([(at, data, peer)] * copies)
        if self._held is not None:
            self._due.append((at, *self._held))
            self._held = None

    def pop(self, now: float) -> tuple[bytes, Peer | None] | None:
        if self._due and self._due[0][0] <= now:
            return self._due.popleft()[1:]
        return None


class DisturbedLink:
    """Be a link whose datagrams suffer on the way out and on the way in.

    Attributes:
        outgoing: What happens to what is sent.
        incoming: What happens to what arrives.
    """

    def __init__(
        self,
        link: Link,
        *,
        clock: Callable[[], float],
        outgoing: Disturbance | None = None,
        incoming: Disturbance | None = None,
        seed: int = 0,
    ) -> None:
        """Wrap a link.

        Args:
            link: The link; it is closed with this one.
            clock: Monotonic time [s].
            outgoing: What happens to what is sent; may be changed at any time.
            incoming: What happens to what arrives; may be changed at any time.
            seed: Seed of all choices.
        """
        self.outgoing, self.incoming = outgoing or Disturbance(), incoming or Disturbance()
        self._link, self._clock = link, clock
        self._out = _Channel(self.outgoing, seed)
        self._in = _Channel(self.incoming, seed + 1)

    @property
    def lost(self) -> int:
        """Return how many datagrams the wrapped link could not send."""
        return self._link.lost

    def send(self, data: bytes, peer: Peer | None = None) -> None:
        """Send, now or when it is due."""
        self._out.push(data, peer, self._clock())
        self._flush()

    def receive(self) -> tuple[bytes, Peer] | None:
        """Return the next datagram that is due."""
        self._flush()
        arrived = self._link.receive()
        if arrived is not None:
            self._in.push(*arrived, self._clock())
        due = self._in.pop(self._clock())
        return None if due is None or due[1] is None else (due[0], due[1])

    def wait(self, timeout_s: float) -> bool:
        """Wait for the wrapped link; what is held back here may be due earlier or later."""
        self._flush()
        return self._link.wait(timeout_s)

    def close(self) -> None:
        """Close the wrapped link."""
        self._link.close()

    def _flush(self) -> None:
        while (due := self._out.pop(self._clock())) is not None:
            self._link.send(*due)

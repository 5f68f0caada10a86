"""Datagrams over UDP: the built-in transport, with sockets that never block."""

import select
import socket

from simreal.deploy.transports.frames import MAX_FRAME_BYTES
from simreal.deploy.transports.link import Peer
from simreal.errors import TransportError

DEFAULT_PORT = 47800


class UdpLink:
    """Send and receive over one socket.

    Attributes:
        lost: Datagrams that could not be sent.
        port: Port of this side.
    """

    def __init__(
        self, *, bind: tuple[str, int] | None = None, to: tuple[str, int] | None = None
    ) -> None:
        """Open the socket.

        Args:
            bind: Address and port of the robot's side; port 0 is any free one. Any address if None.
            to: Address and port of the robot, for the controller's side: nothing from anywhere else
                is received then.

        Raises:
            TransportError: The address cannot be used.
        """
        self.lost = 0
        address = to or bind or ("", 0)
        if not 0 <= address[1] <= 65535 or (to is not None and address[1] == 0):
            raise TransportError(f"udp: got port {address[1]}; 1 to 65535 is allowed")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if bind is not None:
                self._socket.bind(bind)
            if to is not None:
                self._socket.connect(to)
        except OSError as error:
            self._socket.close()
            raise TransportError(
                f"udp: cannot use {address[0] or 'any address'} port {address[1]}: "
                f"{error.strerror or error}; choose another host or port"
            ) from error
        self._to = to
        self.port: int = self._socket.getsockname()[1]

    def send(self, data: bytes, peer: Peer | None = None) -> None:
        """Send a datagram, or lose it where the network does not take it now."""
        try:
            if isinstance(peer, tuple) and self._to is None:
                self._socket.sendto(data, peer)
            else:
                self._socket.send(data)
        except OSError:  # nobody listens, no route, or a full buffer: lost, as any datagram may be
            self.lost += 1

    def receive(self) -> tuple[bytes, Peer] | None:
        """Return the next datagram and its sender's address, or None."""
        try:
            # One byte more than a frame may have, so that what is too long is seen to be.
            data, peer = self._socket.recvfrom(MAX_FRAME_BYTES + 1)
        except OSError:  # nothing there, or the other side does not listen yet
            return None
        return data, peer

    def wait(self, timeout_s: float) -> bool:
        """Wait until a datagram is there."""
        ready, _, _ = select.select([self._socket], [], [], max(timeout_s, 0.0))
        return bool(ready)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

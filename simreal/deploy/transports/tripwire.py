"""Trip the robot's gate from another process, as a watchdog does when the controller is silent."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from simreal.deploy.transports.frames import Frame, FrameCodec, Kind
from simreal.deploy.transports.links import controller_link, read_key

_REASON_BYTES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Name a session, so that its gate can be tripped by whoever holds the ticket.

    Attributes:
        controller: Nonce of the controller.
        robot: Nonce of the robot.
        interface: First 8 bytes of the interface's SHA-256, in hexadecimal.
    """

    controller: int
    robot: int
    interface: str

    def trip(self, codec: FrameCodec, reason: str, epoch: int) -> bytes:
        """Return the frame that trips.

        Args:
            codec: Writes frames, with the shared key if there is one.
            reason: Why.
            epoch: An epoch to revoke.
        """
        now = time.monotonic()
        return codec.encode(
            Frame(
                kind=Kind.TRIP,
                interface=bytes.fromhex(self.interface),
                controller=self.controller,
                robot=self.robot,
                epoch=epoch,
                # Milliseconds, so that those of two processes are in order.
                seq=int(now * 1e3) % 2**32,
                time_s=now,
                text=reason.encode()[:_REASON_BYTES],
            )
        )

    def watchdog_arguments(
        self, transport: str, host: str, port: int, key_file: str | None
    ) -> dict[str, Any]:
        """Return the arguments of `simreal.deploy.Watchdog` for the target `TripWire`.

        Args:
            transport: Name of the transport.
            host: The robot's address.
            port: Its port.
            key_file: File with the shared key; its content appears in no list of processes.
        """
        place = {"transport": transport, "host": host, "port": port, "key_file": key_file}
        return {**place, **asdict(self)}


class TripWire:
    """Be the trip target of a watchdog; see `simreal.deploy.watch.TripTarget`."""

    TARGET = "simreal.deploy.transports.tripwire:TripWire"

    def __init__(
        self, *, transport: str, host: str, port: int, key_file: str | None, **ticket: Any
    ) -> None:
        """Open a way of its own to the robot.

        Args:
            transport: Name of the transport.
            host: The robot's address.
            port: Its port.
            key_file: File with the shared key.
            **ticket: Fields of the `Ticket`.

        Raises:
            TransportError: The transport cannot be used.
        """
        self._ticket = Ticket(**ticket)
        self._codec = FrameCodec(read_key(key_file))
        self._link = controller_link(transport, host, port)

    def trip(self, reason: str, epoch: int) -> None:
        """Latch damping and revoke an epoch.

        Args:
            reason: Why.
            epoch: The epoch to revoke.
        """
        self._link.send(self._ticket.trip(self._codec, reason, epoch))

    def close(self) -> None:
        """Close the link."""
        self._link.close()

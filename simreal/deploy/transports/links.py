"""Open a link by the name of its transport, and read the key that both sides share."""

from pathlib import Path

from simreal.deploy.transports.link import Link
from simreal.deploy.transports.udp import UdpLink
from simreal.deploy.transports.zenoh import ZenohLink
from simreal.errors import TransportError, unknown_name

FRAMED = ("udp", "zenoh")
"""Transports that carry frames, between two processes."""


def controller_link(transport: str, host: str, port: int) -> Link:
    """Return the controller's end of a link.

    Args:
        transport: One of `FRAMED`.
        host: The robot's address.
        port: Its port.

    Raises:
        UnknownNameError: There is no such transport.
        TransportError: The address cannot be used.
        DependencyError: A package is missing.
    """
    _check(transport)
    if transport == "zenoh":
        return ZenohLink("controller", host, port)
    return UdpLink(to=(host, port))


def robot_link(transport: str, host: str, port: int) -> Link:
    """Return the robot's end of a link.

    Args:
        transport: One of `FRAMED`.
        host: Address to listen at.
        port: Port to listen at.

    Raises:
        UnknownNameError: There is no such transport.
        TransportError: The address cannot be used.
        DependencyError: A package is missing.
    """
    _check(transport)
    if transport == "zenoh":
        return ZenohLink("robot", host, port)
    return UdpLink(bind=(host, port))


def read_key(path: str | None) -> bytes | None:
    """Return the key in a file, without white space around it; None without a file.

    Args:
        path: The file.

    Raises:
        TransportError: It cannot be read.
    """
    if path is None:
        return None
    try:
        return Path(path).read_bytes().strip()
    except OSError as error:
        raise TransportError(
            f"key_file: got '{path}', which cannot be read ({error.strerror}); make one with: "
            'python -c "import secrets; print(secrets.token_hex(32))" > robot.key'
        ) from error


def same_machine(host: str) -> bool:
    """Return whether an address is this machine's own, so that both sides share a clock."""
    return host == "localhost" or host.startswith("127.")


def _check(transport: str) -> None:
    if transport not in FRAMED:
        raise unknown_name("transport", transport, FRAMED)

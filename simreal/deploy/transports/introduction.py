"""How a robot introduces itself: what it is and what it measures, as JSON of bounded size.

The hash in every frame says only *that* two sides differ. The introduction carries the table
itself, so that a controller compares names, and can say which one differs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from simreal.deploy.decode import parse_json
from simreal.deploy.manifest import interface_sha256
from simreal.deploy.transports.frames import MAX_NUMBERS, MAX_TEXT_BYTES
from simreal.errors import BundleError, TransportError

_MAX_NAME = 200


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """Say what a robot is and what its frames hold.

    Attributes:
        interface: In the form of `simreal.core.robot.Robot.interface`; commands are in the order of
            its actuators.
        signals: Raw signal name to its element names, in the order of a frame's numbers.
        period_s: Time between two measurements [s].
        busy: Whether another controller commands now.
    """

    interface: Mapping[str, Any]
    signals: Mapping[str, tuple[str, ...]]
    period_s: float
    busy: bool = False

    @cached_property
    def digest(self) -> bytes:
        """Return the first 8 bytes of the interface's SHA-256."""
        return bytes.fromhex(interface_sha256(dict(self.interface)))[:8]

    @cached_property
    def actuators(self) -> tuple[str, ...]:
        """Return the joints of a command, in the order of its numbers (A)."""
        return tuple(str(row["joint"]) for row in self.interface["actuators"])

    def to_bytes(self) -> bytes:
        """Return the JSON text.

        Raises:
            TransportError: It is too long for one frame.
        """
        content = {
            "interface": dict(self.interface),
            "signals": {name: list(elements) for name, elements in self.signals.items()},
            "period_s": self.period_s,
            "busy": self.busy,
        }
        text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        if len(text) > MAX_TEXT_BYTES:
            raise TransportError(
                f"the robot's interface takes {len(text)} bytes; {MAX_TEXT_BYTES} fit into a frame"
            )
        return text

    @classmethod
    def from_bytes(cls, text: bytes) -> "Introduction | None":
        """Return what a text says, or None if it is no introduction; never raises.

        Args:
            text: What arrived.
        """
        try:
            content = parse_json(text, "introduction")
        except BundleError:
            return None
        if not isinstance(content, dict) or set(content) != _KEYS or not _sound(content):
            return None
        return cls(
            interface=content["interface"],
            signals={name: tuple(elements) for name, elements in content["signals"].items()},
            period_s=float(content["period_s"]),
            busy=content["busy"],
        )


_KEYS = {"interface", "signals", "period_s", "busy"}


def _sound(content: dict[str, Any]) -> bool:
    interface, signals, period = content["interface"], content["signals"], content["period_s"]
    return (
        isinstance(interface, dict)
        and _table(interface.get("joints"), "name")
        and _table(interface.get("actuators"), "joint")
        and isinstance(signals, dict)
        and all(_names(elements) for elements in signals.values())
        and sum(map(len, signals.values())) <= MAX_NUMBERS
        and isinstance(period, int | float)
        and not isinstance(period, bool)
        and 0.0 < period < 3600.0
        and isinstance(content["busy"], bool)
    )


def _table(rows: Any, key: str) -> bool:
    return isinstance(rows, list) and all(
        isinstance(row, dict) and isinstance(row.get(key), str) for row in rows
    )


def _names(elements: Any) -> bool:
    return isinstance(elements, list) and all(
        isinstance(name, str) and len(name) <= _MAX_NAME for name in elements
    )


class SignalPacker:
    """Lay named signals into the numbers of a frame, and back."""

    def __init__(self, signals: Mapping[str, Sequence[str]]) -> None:
        """Fix the order.

        Args:
            signals: Signal name to its element names.
        """
        self.sizes = {name: len(elements) for name, elements in signals.items()}
        self.size = sum(self.sizes.values())

    def pack(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the numbers of a frame (size,).

        Args:
            values: Signal name to (k,).

        Raises:
            TransportError: A signal is missing or of another size.
        """
        parts = []
        for name, size in self.sizes.items():
            shape = np.shape(values[name]) if name in values else "nothing"
            if shape != (size,):
                raise TransportError(
                    f"signal '{name}': {(size,)} was announced, and {shape} is to be sent"
                )
            parts.append(values[name])
        return np.concatenate(parts) if parts else np.zeros(0)

    def unpack(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Return the signals in the numbers of a frame, as copies.

        Args:
            numbers: (size,).
        """
        values, at = {}, 0
        for name, size in self.sizes.items():
            values[name] = np.array(numbers[at : at + size], dtype=np.float64)
            at += size
        return values

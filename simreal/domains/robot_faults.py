"""Faults of a simulated robot: of its sensors, its clock, its rate and its network.

Each has one number, its size, whose meaning stands in `FAULTS`. They are set by option or, while it
runs, by a control message `{"fault": name, "size": number, "for_s": number}`; `none` ends all.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simreal.deploy.transports import Disturbance
from simreal.errors import ConfigError, unknown_name

FAULTS: dict[str, tuple[float, str]] = {
    "none": (0.0, "nothing; ends every fault"),
    "nan": (0.0, "index of the joint whose position is not a number"),
    "frozen": (0.0, "not used; values stay, times go on"),
    "stale": (0.1, "age of every measurement [s]"),
    "jump": (0.5, "offset of the first encoder [rad or m]"),
    "rate": (0.1, "relative error of the robot's rate; 0.1 is too fast by 10 %"),
    "clock": (5.0, "step of the robot's clock [s]"),
    "drop": (0.3, "share of datagrams lost, both ways"),
    "duplicate": (0.3, "share of datagrams doubled, both ways"),
    "reorder": (0.3, "share of datagrams overtaken, both ways"),
    "corrupt": (0.3, "share of datagrams with one wrong bit, both ways"),
    "delay": (0.05, "time every datagram takes, both ways [s]"),
}
"""Fault to its usual size and what the size means."""

_NETWORK = {
    "drop": "drop",
    "duplicate": "duplicate",
    "reorder": "reorder",
    "corrupt": "corrupt",
    "delay": "delay_s",
}
_PAST_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Say what is to go wrong, and when.

    Attributes:
        name: One of `FAULTS`.
        size: How much; the usual size if None.
        at_s: When it begins, in the robot's running time [s].
        for_s: How long it lasts [s]; to the end if None.
    """

    name: str = "none"
    size: float | None = None
    at_s: float = 0.0
    for_s: float | None = None

    def __post_init__(self) -> None:
        """Check name and numbers.

        Raises:
            ConfigError: The name is unknown or a number out of bounds.
        """
        if self.name not in FAULTS:
            raise unknown_name("fault", self.name, FAULTS)
        size = self.amount
        least, most = _BOUNDS.get(self.name, (-math.inf, math.inf))
        if not math.isfinite(size) or not least <= size <= most:
            raise ConfigError(f"size of fault '{self.name}': got {size}; {least} to {most} allowed")
        for key, value in (("at_s", self.at_s), ("for_s", self.for_s)):
            if value is not None and not (0.0 <= value < math.inf):
                raise ConfigError(f"{key} of fault '{self.name}': got {value}; a time >= 0 needed")

    @property
    def amount(self) -> float:
        """Return the size, or the usual one."""
        return FAULTS[self.name][0] if self.size is None else float(self.size)


_BOUNDS = {
    "nan": (0.0, 1e3),
    "stale": (0.0, _PAST_S),
    "rate": (-0.5, 0.5),
    "delay": (0.0, 1.0),
    **dict.fromkeys(("drop", "duplicate", "reorder", "corrupt"), (0.0, 1.0)),
}


class RobotClock:
    """Be the robot's clock, which a fault may step; everything the robot stamps comes from it.

    Attributes:
        step_s: How far it was stepped [s].
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin unstepped.

        Args:
            clock: Monotonic time [s].
        """
        self.true, self.step_s = clock, 0.0

    def __call__(self) -> float:
        """Return the time that the robot believes in [s]."""
        return self.true() + self.step_s


class FaultBox:
    """Hold the faults that act now, and do what they say.

    Attributes:
        network: What happens to datagrams; shared with the link.
        rate: Relative error of the robot's rate.
        injected: Faults so far, in the order they began.
    """

    def __init__(self, clock: RobotClock, network: Disturbance) -> None:
        """Begin without a fault.

        Args:
            clock: The robot's clock.
            network: Disturbance of the link, both ways.
        """
        self.network, self.rate = network, 0.0
        self.injected: list[str] = []
        self._clock = clock
        self._ends: dict[str, float] = {}
        self._sizes: dict[str, float] = {}
        self._waiting: list[Fault] = []
        self._kept: dict[str, np.ndarray] | None = None
        self._past: deque[tuple[float, dict[str, np.ndarray]]] = deque()

    def plan(self, fault: Fault) -> None:
        """Let a fault begin when its time has come.

        Args:
            fault: The fault.
        """
        self._waiting.append(fault)

    def take(self, message: Mapping[str, Any], now_s: float) -> bool:
        """Act on a control message; return whether it was one about faults.

        Args:
            message: `fault`, and perhaps `size` and `for_s`.
            now_s: The robot's running time [s].
        """
        if "fault" not in message or set(message) - {"fault", "size", "for_s"}:
            return False
        numbers = [message.get(key) for key in ("size", "for_s")]
        sound = all(n is None or (isinstance(n, int | float) and n == n) for n in numbers)
        if not isinstance(message["fault"], str) or not sound:
            return False
        try:
            fault = Fault(name=message["fault"], size=numbers[0], at_s=now_s, for_s=numbers[1])
        except ConfigError:
            return False
        self._waiting.append(fault)
        return True

    def update(self, now_s: float) -> None:
        """Begin and end what is due.

        Args:
            now_s: The robot's running time [s].
        """
        for fault in [fault for fault in self._waiting if fault.at_s <= now_s]:
            self._waiting.remove(fault)
            self._begin(fault)
        for name in [name for name, end in self._ends.items() if end <= now_s]:
            self._set(name, 0.0)

    def distort(
        self, values: dict[str, np.ndarray], time_s: float
    ) -> tuple[dict[str, np.ndarray], float]:
        """Return what the robot says of a measurement, and when it was taken.

        Args:
            values: What the sensors gave, signal name to (k,).
            time_s: When, on the robot's clock [s].
        """
        self._past.append((time_s, values))
        while self._past[0][0] < time_s - _PAST_S:
            self._past.popleft()
        if not self._sizes:
            return values, time_s
        if "stale" in self._sizes:
            until = time_s - self._sizes["stale"] + 1e-9
            time_s, values = max(
                (sample for sample in self._past if sample[0] <= until),
                default=self._past[0],
                key=lambda sample: sample[0],
            )
        if "frozen" in self._sizes:
            self._kept = values if self._kept is None else self._kept
            values = self._kept
        return self._spoil(values), time_s

    def _spoil(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not {"nan", "jump"} & self._sizes.keys():
            return values
        values = {name: value.copy() for name, value in values.items()}
        position = values["joint_pos"]
        if "jump" in self._sizes:
            position[0] += self._sizes["jump"]
        if "nan" in self._sizes:
            position[min(int(self._sizes["nan"]), position.size - 1)] = math.nan
        return values

    def _begin(self, fault: Fault) -> None:
        self.injected.append(fault.name)
        if fault.name == "none":
            for name in list(self._sizes):
                self._set(name, 0.0)
            return
        self._set(fault.name, fault.amount, on=True)
        if fault.for_s is not None:
            self._ends[fault.name] = fault.at_s + fault.for_s

    def _set(self, name: str, size: float, *, on: bool = False) -> None:
        self._ends.pop(name, None)
        self._sizes.pop(name, None)
        if on:
            self._sizes[name] = size
        if name in _NETWORK:
            setattr(self.network, _NETWORK[name], size)
        elif name == "rate":
            self.rate = size
        elif name == "clock":
            self._clock.step_s = size
        elif name == "frozen":
            self._kept = None

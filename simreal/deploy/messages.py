"""What passes between controller and robot: measurements one way, commands the other.

Both are slotted records: a name that does not exist raises instead of being set beside the one that
was meant. Both count, so that what is lost, doubled or out of order can be told from what is new.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np


class Mode(Enum):
    """Say what the receiver of a command does.

    Attributes:
        RUN: Apply the values.
        DAMP: Damp every joint. The values, if there are any, are the sender's own damping; a robot
            that damps its joints itself ignores them.
        HOLD: Keep position-driven joints at the values, damp the others.
    """

    RUN = "run"
    DAMP = "damp"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Hold one command.

    Attributes:
        epoch: Raised at every arming, at least 1; commands of an earlier arming are never acted on.
        seq: Raised by one with every command of an epoch.
        time_s: When it was computed, on the sender's monotonic clock [s].
        ttl_s: How long its receiver may act on it, counted from its arrival [s].
        mode: What to do.
        values: Joint to command [Nm, N, rad or m].
    """

    epoch: int
    seq: int
    time_s: float
    ttl_s: float
    mode: Mode
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Signals:
    """Hold one measurement.

    Attributes:
        time_s: When it was taken, on the controller's clock [s].
        values: Raw signal name to (k,); joint signals in the order of the robot's interface.
        seq: Raised by one with every measurement; None if the robot does not count them.
        epoch: Highest epoch that the robot's command gate has seen; a controller arms above it.
        latched: Why the robot's command gate is latched in damping; None if it is not.
    """

    time_s: float
    values: Mapping[str, np.ndarray]
    seq: int | None = None
    epoch: int = 0
    latched: str | None = None


class RobotIO(Protocol):
    """Describe what a controller needs of a robot, simulated or real."""

    @property
    def interface(self) -> Mapping[str, Any]:
        """Return what the robot is, in the form of `simreal.core.robot.Robot.interface`."""
        ...

    def read(self) -> Signals:
        """Return the newest measurement, without waiting for one."""
        ...

    def write(self, command: Command) -> None:
        """Send a command, without waiting for an answer.

        Args:
            command: The command.
        """
        ...

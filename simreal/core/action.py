"""What a policy's output means: from numbers in [-1, 1] to commands of named actuators."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simreal.core.robot import Robot
from simreal.errors import ConfigError, unknown_name

_FEW = 8  # actions up to which Python is faster than numpy


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTerm:
    """Describe the command of one joint.

    The command is `offset + scale * clip(action, -1, 1)`.

    Attributes:
        joint: Actuated joint.
        scale: Command at action 1, beside the offset [Nm, or rad for a position actuator].
        offset: Command at action 0 [Nm or rad].
    """

    joint: str
    scale: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: The scale is 0, or a number is not finite.
        """
        if not (math.isfinite(self.scale) and math.isfinite(self.offset)) or self.scale == 0:
            raise ConfigError(
                f"action of joint '{self.joint}': scale {self.scale}, offset {self.offset}; finite "
                "numbers are needed, and a scale other than 0"
            )


class ActionMap:
    """Turn actions into commands for every actuator of a robot.

    Actuators without a term get a constant: 0 Nm, or the default position for position actuators.
    """

    def __init__(self, terms: Sequence[ActionTerm], robot: Robot) -> None:
        """Resolve the joints by name.

        Args:
            terms: One per action entry, in the order of the policy's output.
            robot: The robot.

        Raises:
            UnknownNameError: A term names a joint without an actuator.
            ConfigError: A joint has two terms, or there are none.
        """
        names = [actuator.joint for actuator in robot.actuators]
        for term in terms:
            if term.joint not in names:
                raise unknown_name(f"actuated joint of robot '{robot.name}'", term.joint, names)
        if not terms or len({t.joint for t in terms}) != len(terms):
            raise ConfigError(
                "an action needs at least one term and at most one per joint, "
                f"got {[t.joint for t in terms]}"
            )
        self.terms = tuple(terms)
        self.joints = tuple(term.joint for term in terms)
        self.dim = len(terms)
        self.index = np.array([names.index(term.joint) for term in terms])
        self._columns = _as_slice(self.index)
        self.scale = np.array([term.scale for term in terms], dtype=np.float64)
        self.offset = np.array([term.offset for term in terms], dtype=np.float64)
        self._shifts = bool(self.offset.any())
        self._plain = not self._shifts and isinstance(self._columns, slice)
        self.idle = np.array(
            [
                robot.joint(a.joint).default if a.kind == "position" else 0.0
                for a in robot.actuators
            ],
            dtype=np.float64,
        )

    def limit(self, actions: np.ndarray, out: np.ndarray) -> bool:
        """Write actions clipped to [-1, 1], and return whether all of them are numbers.

        Args:
            actions: (N, dim).
            out: (N, dim), float64.
        """
        if out.size <= _FEW:  # the same numbers, for less than the price of one call of numpy
            numbers = actions.reshape(-1).tolist()
            numbers = [-1.0 if x < -1.0 else 1.0 if x > 1.0 else x for x in numbers]
            out.reshape(-1)[:] = numbers
            total: float = sum(numbers)
            return total == total
        np.maximum(actions, -1.0, out=out)
        np.minimum(out, 1.0, out=out)
        flat = out.reshape(-1)
        return not math.isnan(flat.dot(flat))  # the limits have removed the infinities

    def command(self, action: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Write the commands of all actuators.

        Args:
            action: Clipped actions (N, dim).
            out: (N, A) [Nm or rad]; rows of idle actuators keep their constant.

        Returns:
            `out`.
        """
        if self._plain:
            np.multiply(action, self.scale, out=out[:, self._columns])
            return out
        command = action * self.scale
        out[:, self._columns] = command + self.offset if self._shifts else command
        return out

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the JSON form of the terms."""
        return [{"joint": t.joint, "scale": t.scale, "offset": t.offset} for t in self.terms]


def _as_slice(index: np.ndarray) -> Any:
    """Return consecutive columns as a slice, which numpy reads and writes faster than an array."""
    first, count = int(index[0]), index.size
    return slice(first, first + count) if (np.diff(index) == 1).all() else index

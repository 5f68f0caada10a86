"""Judge what says how a body lies: quaternions and gravity directions have length 1.

A gravity of 9.81 is an acceleration, a quaternion of another length is none, and a robot that lies
on its side is where no policy was trained. Each is told from the numbers themselves.
"""

import math
from collections.abc import Mapping

import numpy as np

from simreal.deploy.manifest import Manifest
from simreal.deploy.settings import ControlSettings


class Attitude:
    """Test length and tilt of the orientation signals of a policy."""

    def __init__(
        self,
        manifest: Manifest,
        settings: ControlSettings,
        elements: Mapping[str, tuple[str, ...]],
    ) -> None:
        """Find the signals.

        Args:
            manifest: The manifest.
            settings: Tolerance of the length.
            elements: Signal name to its element names, in the order they are given.
        """
        self._tilt_max = manifest.safety.tilt_max_rad
        self._tolerance = settings.unit_tolerance
        self._vectors = [
            (s.name, s.kind == "quaternion", [elements[s.name].index(axis) for axis in "xyz"])
            for s in manifest.signals
            if s.kind in ("quaternion", "gravity")
        ]

    def problem(self, values: Mapping[str, np.ndarray]) -> str | None:
        """Return what is wrong with an orientation, if anything.

        Args:
            values: Raw signal name to (k,), finite.
        """
        for name, is_quaternion, (x, y, z) in self._vectors:
            value = values[name]
            length = math.sqrt(value.dot(value))
            if not abs(length - 1.0) <= self._tolerance:
                return (
                    f"length of signal '{name}': expected 1 within {self._tolerance:g}, found "
                    f"{length:.4g}"
                )
            if self._tilt_max is None:
                continue
            # How far the body's z axis leans away from the world's, opposite to gravity.
            square = length * length
            upright = 1.0 - 2.0 * float(value[x] ** 2 + value[y] ** 2) / square
            if not is_quaternion:
                upright = -float(value[z]) / length
            tilt = math.acos(min(max(upright, -1.0), 1.0))
            if tilt > self._tilt_max:
                most = f"{self._tilt_max:g} rad"
                return f"tilt by signal '{name}': expected at most {most}, found {tilt:.4g} rad"
        return None

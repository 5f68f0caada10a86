"""Test every number between robot and policy, then bound what is sent.

The order matters: a clamp turns infinity into a limit and lets NaN pass, so each stage tests for
finite numbers first. Nothing here keeps the last command: what cannot be trusted ends in damping.
"""

from collections.abc import Mapping

import numpy as np

from simreal.deploy.manifest import Manifest

_CLOCK_SLACK_S = 1e-6


class SafetyFilter:
    """Hold the limits of a manifest, in the order in which a robot gives its signals."""

    def __init__(self, manifest: Manifest, elements: Mapping[str, tuple[str, ...]]) -> None:
        """Lay out the limits.

        Args:
            manifest: The manifest.
            elements: Signal name to its element names, in the order they are given.
        """
        self._elements = dict(elements)
        self._max_age_s = manifest.timing.max_signal_age_s
        self._names = manifest.robot.actuator_names
        kinds = {signal.name: signal.kind for signal in manifest.signals}
        limits = manifest.safety.joint_velocity_max
        self._velocity_max = {
            name: np.array([limits[element] for element in names], dtype=np.float64)
            for name, names in elements.items()
            if kinds[name] == "joint_velocity"
        }
        self._places = {
            kind: {
                element: (name, column)
                for name, names in elements.items()
                if kinds[name] == kind
                for column, element in enumerate(names)
            }
            for kind in ("joint_position", "joint_velocity")
        }
        self._bounds(manifest)

    def signal_problem(self, values: Mapping[str, np.ndarray]) -> str | None:
        """Return why a measurement cannot be used: missing, of another size, or not finite.

        Args:
            values: Raw signal name to (k,).
        """
        for name, names in self._elements.items():
            if name not in values:
                return f"signal '{name}': expected {len(names)} numbers, found nothing"
            value = np.asarray(values[name], dtype=np.float64)
            if value.shape != (len(names),):
                return f"signal '{name}': expected {len(names)} numbers, found shape {value.shape}"
            if not np.isfinite(value).all():
                worst = int(np.flatnonzero(~np.isfinite(value))[0])
                return (
                    f"signal '{name}' of '{names[worst]}': expected a number, found {value[worst]}"
                )
        return None

    def age_problem(self, age_s: float) -> str | None:
        """Return why a measurement of some age cannot be used.

        Args:
            age_s: Time since it was taken [s].
        """
        # Written so that an age that is not a number is a problem too.
        if -_CLOCK_SLACK_S <= age_s <= self._max_age_s + _CLOCK_SLACK_S:
            return None
        return f"age of the signals: expected 0 to {self._max_age_s:g} s, found {age_s:g} s"

    def velocity_problem(self, values: Mapping[str, np.ndarray]) -> str | None:
        """Return which joint moves faster than allowed, if any.

        Args:
            values: Raw signal name to (k,), finite.
        """
        for name, most in self._velocity_max.items():
            speed = np.abs(values[name])
            if (speed > most).any():
                worst = int(np.flatnonzero(speed > most)[0])
                joint = self._elements[name][worst]
                return (
                    f"velocity of joint '{joint}': expected at most {most[worst]:g}, "
                    f"found {speed[worst]:g}"
                )
        return None

    def output_problem(self, output: np.ndarray, command: np.ndarray) -> str | None:
        """Return why a decision cannot be used: something in it is not finite.

        Args:
            output: Network outputs, before any clip (n).
            command: Commands (A).
        """
        for what, value in (("network output", output), ("command", command)):
            if not np.isfinite(value).all():
                return f"{what}: expected finite numbers, found {value.tolist()}"
        return None

    def limit(self, command: np.ndarray) -> dict[str, float]:
        """Return finite commands within torque and position limits, by joint.

        Args:
            command: Commands of all actuators (A) [Nm, N, rad or m].
        """
        bounded = np.minimum(np.maximum(command, self._lower), self._upper)
        self._held = bounded
        return dict(zip(self._names, bounded.tolist(), strict=True))

    def stop(self, values: Mapping[str, np.ndarray] | None) -> dict[str, float]:
        """Return the command that stops: damping, or holding for position-driven joints.

        Args:
            values: A measurement that may be used; None if there is none: torque-driven joints are
                let go then, and the others stay at the last target.
        """
        command: dict[str, float] = {}
        for i, joint in enumerate(self._names):
            if self._is_torque[i]:
                speed = self._measured("joint_velocity", joint, values)
                torque = -self._kd.get(joint, 0.0) * (speed or 0.0)
                command[joint] = min(max(torque, float(self._lower[i])), float(self._upper[i]))
            else:
                command[joint] = float(self._held[i])
        return command

    def _measured(
        self, kind: str, joint: str, values: Mapping[str, np.ndarray] | None
    ) -> float | None:
        place = self._places[kind].get(joint)
        if place is None or values is None:
            return None
        return float(values[place[0]][place[1]])

    def _bounds(self, manifest: Manifest) -> None:
        joints = {joint.name: joint for joint in manifest.robot.joints}
        lower, upper = [], []
        for actuator in manifest.robot.actuators:
            joint, limit = joints[actuator.joint], manifest.safety.torque_limit[actuator.joint]
            torque = actuator.kind == "torque"
            lower.append(-limit if torque else -np.inf if joint.lower is None else joint.lower)
            upper.append(limit if torque else np.inf if joint.upper is None else joint.upper)
        self._lower, self._upper = np.array(lower, dtype=float), np.array(upper, dtype=float)
        self._is_torque = [a.kind == "torque" for a in manifest.robot.actuators]
        self._kd = manifest.safety.safe_stop_kd
        self._held = np.array([joints[name].default for name in self._names], dtype=float)

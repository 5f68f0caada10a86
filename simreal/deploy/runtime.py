"""Run a policy with numpy alone, one row, nothing allocated that need not be.

The reference for every other runtime: it evaluates the manifest with the observation pipeline that
training uses, in float32 as training does. A step of the policy costs tens of microseconds, where
the training library takes half a millisecond.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from simreal.core.observation import LAST_ACTION
from simreal.deploy.bundle import Bundle, Layer, Normalizer
from simreal.deploy.consistency import build_pipeline
from simreal.deploy.decode import one_line
from simreal.deploy.manifest import Manifest, SignalEntry
from simreal.errors import ArmError, SignalError, nearest


class NumpyPolicy:
    """Turn raw signals into commands, once per control period.

    The first measurement of an episode goes to `reset`, every later one to `step`; both return the
    command that answers it. Signals are arrays whose columns are found by element name: `bind` says
    in which order this robot gives its joints.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Prepare the network and the observation.

        Args:
            bundle: A loaded bundle.
        """
        self.manifest = bundle.manifest
        self._network = _Network(bundle.layers, self.manifest.network.squash)
        self._output: np.ndarray = self._network.output
        self._normalize = _Normalize(bundle.normalizer, self.manifest.observation.dim)
        self._action_map(self.manifest)
        self._started = False
        self.bind(self.manifest.robot.joint_names)

    def bind(
        self, joint_names: Sequence[str], elements: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """State the order in which the robot gives the elements of its signals; ends the episode.

        Args:
            joint_names: Its joints, in the order of its joint signals (J).
            elements: Other signal name to its element names; as in the manifest if absent.

        Raises:
            ArmError: A name is missing, doubled, or not known to the policy.
        """
        self._order: dict[str, tuple[str, ...]] = {}
        _check_joints(joint_names, self.manifest.robot.joint_names)
        for entry in self.manifest.signals:
            given = (elements or {}).get(entry.name)
            if given is None and entry.kind == "other":
                given = entry.elements
            elif given is None:
                # A signal that holds some of the joints keeps the robot's order among them.
                given = [name for name in joint_names if name in entry.elements]
            self._order[entry.name] = _permutation(entry, given)
        self._pipeline = build_pipeline(self.manifest, self._order)
        self._rows = {name: np.zeros((1, len(names))) for name, names in self._order.items()}
        self._rows[LAST_ACTION] = np.zeros((1, self._action.size))
        self._last_action = self._rows[LAST_ACTION][0]
        self._batch = np.zeros((1, self._pipeline.dim), dtype=np.float32)
        self._observation: np.ndarray = self._batch[0]
        self._started = False

    @property
    def elements(self) -> dict[str, tuple[str, ...]]:
        """Return for every signal the element names in the order they must be given in."""
        return dict(self._order)

    def reset(self, signals: Mapping[str, np.ndarray]) -> np.ndarray:
        """Begin an episode.

        Args:
            signals: Raw signal name to (k,), the first measurement.

        Returns:
            Commands of all actuators, in the order of the manifest (A) [Nm, N, rad or m].

        Raises:
            SignalError: A signal is missing or of the wrong size.
        """
        self._take(signals)
        self._last_action.fill(0.0)
        self._pipeline.restart(self._rows)
        self._started = True
        return self._act()

    def step(self, signals: Mapping[str, np.ndarray]) -> np.ndarray:
        """Continue the episode by one control period.

        Args:
            signals: Raw signal name to (k,), the newest measurement.

        Returns:
            Commands of all actuators, in the order of the manifest (A) [Nm, N, rad or m].

        Raises:
            SignalError: A signal is missing or of the wrong size, or no episode was begun.
        """
        if not self._started:
            raise SignalError(
                f"policy '{self.manifest.name}': step before reset; give the first measurement of "
                "an episode to reset, so that the observation history begins with it"
            )
        self._take(signals)
        self._last_action[:] = self._action
        self._pipeline.push(self._rows)
        return self._act()

    def applied(self, action: np.ndarray) -> None:
        """State which action was really applied, where it was not the policy's own.

        The next observation shows it as the last action.

        Args:
            action: What was applied, clipped to [-1, 1] (n).
        """
        np.clip(action, -1.0, 1.0, out=self._action)

    def command_by_name(self) -> dict[str, float]:
        """Return the last command of every actuator, by joint [Nm, N, rad or m]."""
        names = self.manifest.robot.actuator_names
        return dict(zip(names, self._command.tolist(), strict=True))

    @property
    def observation(self) -> np.ndarray:
        """Return the last observation, before normalization (dim), float32."""
        return self._observation.copy()

    @property
    def output(self) -> np.ndarray:
        """Return the last network output, before clipping (n), float32."""
        return self._output.copy()

    @property
    def action(self) -> np.ndarray:
        """Return the last action, clipped to [-1, 1] (n), float32."""
        return self._action.copy()

    @property
    def entry_names(self) -> tuple[str, ...]:
        """Return one name per observation entry: `term[element]@age`, age in control steps."""
        return self._pipeline.entry_names

    def _take(self, signals: Mapping[str, np.ndarray]) -> None:
        for name, names in self._order.items():
            if name not in signals:
                raise SignalError(
                    one_line(
                        f"signal '{name}': expected {len(names)} numbers, found nothing."
                        f"{nearest(name, signals)}"
                    )
                )
            value = np.asarray(signals[name])
            # Without this test, one number would silently be taken for all elements.
            if value.shape != (len(names),):
                raise SignalError(
                    f"signal '{name}': expected shape ({len(names)},) for {list(names)}, "
                    f"found {value.shape}"
                )
            self._rows[name][0] = value

    def _act(self) -> np.ndarray:
        self._pipeline.emit(self._batch)
        output = self._network(self._normalize(self._observation))
        # A NaN passes through the clip; the controller tests the output before it comes to that.
        np.maximum(output, -1.0, out=self._action)
        np.minimum(self._action, 1.0, out=self._action)
        np.multiply(self._action, self._scale, out=self._scaled)
        np.add(self._scaled, self._offset, out=self._scaled)
        self._command[self._index] = self._scaled
        return self._command.copy()

    def _action_map(self, manifest: Manifest) -> None:
        """Lay out what `simreal.core.action.ActionMap` does, from the manifest's tables."""
        robot, entries = manifest.robot, manifest.action.entries
        default = {joint.name: joint.default for joint in robot.joints}
        self._index = np.array([robot.actuator_names.index(e.joint) for e in entries])
        self._scale = np.array([e.scale for e in entries], dtype=np.float64)
        self._offset = np.array([e.offset for e in entries], dtype=np.float64)
        self._command = np.array(
            [default[a.joint] if a.kind == "position" else 0.0 for a in robot.actuators],
            dtype=np.float64,
        )
        self._action = np.zeros(len(entries), dtype=np.float32)
        self._scaled = np.zeros(len(entries))


class _Normalize:
    """Apply the observation statistics."""

    def __init__(self, normalizer: Normalizer | None, dim: int) -> None:
        self._on = normalizer is not None
        self._clip = normalizer.clip if normalizer else None
        self._out = np.zeros(dim, dtype=np.float32)
        if normalizer is not None:
            self._mean = normalizer.mean.astype(np.float32)
            self._std = np.sqrt(normalizer.var + normalizer.epsilon).astype(np.float32)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        if not self._on:
            return observation
        out = self._out
        np.subtract(observation, self._mean, out=out)
        np.divide(out, self._std, out=out)
        if self._clip is not None:
            np.maximum(out, -self._clip, out=out)
            np.minimum(out, self._clip, out=out)
        return out


class _Network:
    """Evaluate the dense layers into buffers that are made once."""

    def __init__(self, layers: Sequence[Layer], squash: str) -> None:
        self._layers = [
            (
                # Inputs along the rows: the product then runs along memory.
                np.ascontiguousarray(layer.weight.T, dtype=np.float32),
                layer.bias.astype(np.float32),
                np.zeros(layer.bias.size, dtype=np.float32),
                np.zeros(layer.bias.size, dtype=np.float32),
                layer.activation,
            )
            for layer in layers
        ]
        self._squash = squash == "tanh"
        self.output = self._layers[-1][2]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for weight, bias, out, spare, activation in self._layers:
            np.dot(x, weight, out=out)
            np.add(out, bias, out=out)
            if activation == "tanh":
                np.tanh(out, out=out)
            elif activation == "relu":
                np.maximum(out, 0.0, out=out)
            elif activation == "elu":
                np.minimum(out, 0.0, out=spare)
                np.expm1(spare, out=spare)
                np.maximum(out, 0.0, out=out)
                np.add(out, spare, out=out)
            x = out
        if self._squash:
            np.tanh(x, out=x)
        return x


def _check_joints(found: Sequence[str], expected: Sequence[str]) -> None:
    doubled = sorted({name for name in found if list(found).count(name) > 1})
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if doubled or missing or extra:
        hint = nearest(missing[0], extra) if missing else ""
        raise ArmError(
            one_line(
                f"joint names: expected {sorted(expected)} in any order, found {sorted(found)} "
                f"(missing {missing}, unknown {extra}, doubled {doubled}).{hint}"
            )
        )


def _permutation(entry: SignalEntry, given: Sequence[str]) -> tuple[str, ...]:
    if len(given) != len(entry.elements) or set(given) != set(entry.elements):
        raise ArmError(
            one_line(
                f"elements of signal '{entry.name}': expected {sorted(entry.elements)} in any "
                f"order, found {list(given)}"
            )
        )
    return tuple(given)

"""What every runtime of a policy offers, and what all of them share: signals by name.

A policy is bound to a robot by names alone. Whatever order the robot gives its joints in, the
runtimes see one packed row in the order of the manifest, so that numpy, ONNX Runtime and generated
C start from the same numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from simreal.deploy.decode import one_line
from simreal.deploy.manifest import Manifest, SignalEntry
from simreal.errors import ArmError, SignalError, nearest

Layout = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of signals, each with the names of its elements, in the order of a row."""


class Policy(Protocol):
    """Describe a runtime: raw signals in, commands out, once per control period."""

    manifest: Manifest

    def bind(
        self, joint_names: Sequence[str], elements: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """State the order in which the robot gives its signals; ends the episode."""
        ...

    def reset(self, signals: Mapping[str, np.ndarray]) -> np.ndarray:
        """Begin an episode with its first measurement; return the command (A)."""
        ...

    def step(self, signals: Mapping[str, np.ndarray]) -> np.ndarray:
        """Continue the episode by one control period; return the command (A)."""
        ...

    def applied(self, action: np.ndarray) -> None:
        """State which action (n) was really applied, where it was not the policy's own."""
        ...

    def command_by_name(self) -> dict[str, float]:
        """Return the last command of every actuator, by joint [Nm, N, rad, m, rad/s or m/s]."""
        ...

    @property
    def elements(self) -> dict[str, tuple[str, ...]]:
        """Return for every signal the element names in the order they must be given in."""
        ...

    @property
    def observation(self) -> np.ndarray:
        """Return the last observation, before normalization (dim), float32."""
        ...

    @property
    def output(self) -> np.ndarray:
        """Return the last network output, before clipping (n), float32."""
        ...

    @property
    def action(self) -> np.ndarray:
        """Return the last action, clipped to [-1, 1] (n), float32."""
        ...


class PackedSignals(Mapping[str, np.ndarray]):
    """Hold a measurement whose signals are parts of one row.

    A policy that is bound to the same layout takes the row instead of one signal after the other.

    Attributes:
        layout: Signal and element names, in the order of the row.
        packed: All signals, one after the other (S), float64.
        rows: Signal name to its part of `packed` (k,).
    """

    __slots__ = ("layout", "packed", "rows")

    def __init__(self, layout: Layout, packed: np.ndarray) -> None:
        """Lay the signals over a row.

        Args:
            layout: Signal and element names, in the order of the row.
            packed: The row (S), float64; what is written there later is seen here.

        Raises:
            SignalError: The row is of another size than its signals together.
        """
        self.layout, self.packed = layout, packed
        self.rows: dict[str, np.ndarray] = {}
        at = 0
        for name, names in layout:
            self.rows[name] = packed[at : at + len(names)]
            at += len(names)
        if packed.shape != (at,):
            raise SignalError(f"row of signals: expected shape ({at},), found {packed.shape}")

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a signal (k,)."""
        return self.rows[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names of the signals."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Return the number of signals."""
        return len(self.rows)


class SignalRows:
    """Collect the signals of one step in one packed row, in the order of the manifest.

    Attributes:
        row: All signals, one after the other, and room for the last action (S + n), float64.
        packed: The signals in it (S).
        rows: Signal name to its part of `packed` (k,).
    """

    def __init__(self, manifest: Manifest) -> None:
        """Lay out the row.

        Args:
            manifest: The manifest.
        """
        self._joints = manifest.robot.joint_names
        self._entries = manifest.signals
        size = sum(len(s.elements) for s in manifest.signals)
        self.row = np.zeros(size + len(manifest.action.entries))
        self.packed = self.row[:size]
        self.rows: dict[str, np.ndarray] = {}
        at = 0
        for entry in manifest.signals:
            self.rows[entry.name] = self.packed[at : at + len(entry.elements)]
            at += len(entry.elements)
        self.bind(self._joints, None)

    def bind(
        self, joint_names: Sequence[str], elements: Mapping[str, Sequence[str]] | None
    ) -> None:
        """State the order in which the robot gives the elements.

        Args:
            joint_names: Its joints, in the order of its joint signals (J).
            elements: Other signal name to its element names; as in the manifest if absent.

        Raises:
            ArmError: A name is missing, doubled, or not known to the policy.
        """
        _check_joints(joint_names, self._joints)
        order: dict[str, tuple[str, ...]] = {}
        for entry in self._entries:
            given = (elements or {}).get(entry.name)
            if given is None and not entry.kind.startswith("joint_"):
                given = entry.elements
            elif given is None:
                # A signal that holds some of the joints keeps the robot's order among them.
                given = [name for name in joint_names if name in entry.elements]
            order[entry.name] = _permutation(entry, given)
        self.elements = order
        self._layout: Layout = tuple(order.items())
        self._plan: list[tuple[str, np.ndarray, tuple[int], Any]] = []
        places: list[int] = []
        for entry in self._entries:
            names = order[entry.name]
            columns = [names.index(element) for element in entry.elements]
            index = None if names == entry.elements else np.array(columns)
            self._plan.append((entry.name, self.rows[entry.name], (len(names),), index))
            at = len(places)
            places += [at + column for column in columns]
        in_order = places == list(range(len(places)))
        self._order = None if in_order else np.array(places, dtype=np.intp)

    def take(self, signals: Mapping[str, np.ndarray]) -> None:
        """Copy a measurement into the row.

        Args:
            signals: Raw signal name to (k,), in the bound order.

        Raises:
            SignalError: A signal is missing or of the wrong size.
        """
        if type(signals) is PackedSignals and self._knows(signals.layout):
            if self._order is None:
                self.packed[:] = signals.packed
            else:
                signals.packed.take(self._order, 0, self.packed, "clip")
            return
        for name, row, shape, index in self._plan:
            if name not in signals:
                raise self._missing(name, signals)
            value = signals[name]
            # Without this test, one number would silently be taken for all elements.
            if value.__class__ is not np.ndarray or value.shape != shape:
                value = self._checked(name, value)
            row[:] = value if index is None else value[index]

    def _knows(self, layout: Layout) -> bool:
        if layout is self._layout:
            return True
        if layout != self._layout:
            return False
        self._layout = layout  # names are compared once
        return True

    def _checked(self, name: str, value: Any) -> np.ndarray:
        array, names = np.asarray(value), self.elements[name]
        if array.shape != (len(names),):
            raise SignalError(
                f"signal '{name}': expected shape ({len(names)},) for {list(names)}, "
                f"found {array.shape}"
            )
        return array

    def _missing(self, name: str, signals: Mapping[str, np.ndarray]) -> SignalError:
        count = len(self.elements[name])
        return SignalError(
            one_line(
                f"signal '{name}': expected {count} numbers, found nothing.{nearest(name, signals)}"
            )
        )


class PolicyBase(ABC):
    """Hold what all runtimes share; a runtime computes observation, output, action and command.

    The first measurement of an episode goes to `reset`, every later one to `step`; both return the
    command that answers it. Signals are arrays whose columns are found by element name: `bind` says
    in which order this robot gives its joints.
    """

    _observation: np.ndarray
    _output: np.ndarray
    _action: np.ndarray
    _command: np.ndarray

    def __init__(self, manifest: Manifest) -> None:
        """Lay out the signals.

        Args:
            manifest: The manifest.
        """
        self.manifest = manifest
        self._signals = SignalRows(manifest)
        self._started = False
        self._names = manifest.robot.actuator_names

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
        self._signals.bind(joint_names, elements)
        self._started = False

    def reset(self, signals: Mapping[str, np.ndarray]) -> np.ndarray:
        """Begin an episode.

        Args:
            signals: Raw signal name to (k,), the first measurement.

        Returns:
            Commands of all actuators, in the order of the manifest (A), in the units of their
            action entries.

        Raises:
            SignalError: A signal is missing or of the wrong size.
        """
        self._signals.take(signals)
        self._begin()
        self._started = True
        return self._command.copy()

    def step(self, signals: Mapping[str, np.ndarray]) -> np.ndarray:
        """Continue the episode by one control period.

        Args:
            signals: Raw signal name to (k,), the newest measurement.

        Returns:
            Commands of all actuators, in the order of the manifest (A), in the units of their
            action entries.

        Raises:
            SignalError: A signal is missing or of the wrong size, or no episode was begun.
        """
        if not self._started:
            raise SignalError(
                f"policy '{self.manifest.name}': step before reset; give the first measurement of "
                "an episode to reset, so that the observation history begins with it"
            )
        self._signals.take(signals)
        self._advance()
        return self._command.copy()

    def applied(self, action: np.ndarray) -> None:
        """State which action was really applied, where it was not the policy's own.

        The next observation shows it as the last action.

        Args:
            action: What was applied, clipped to [-1, 1] (n).
        """
        np.clip(action, -1.0, 1.0, out=self._action)

    def command_by_name(self) -> dict[str, float]:
        """Return the last command of every actuator, by joint, in the units of the action."""
        return dict(zip(self._names, self._command.tolist(), strict=True))

    @property
    def elements(self) -> dict[str, tuple[str, ...]]:
        """Return for every signal the element names in the order they must be given in."""
        return dict(self._signals.elements)

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

    @abstractmethod
    def _begin(self) -> None:
        """Compute the answer to the first measurement, with nothing left of an earlier episode."""

    @abstractmethod
    def _advance(self) -> None:
        """Compute the answer to the next measurement; `_action` is the action before."""


def entry_names(manifest: Manifest) -> tuple[str, ...]:
    """Return one name per observation entry: `term[element]@age`, age in control steps.

    Args:
        manifest: The manifest.
    """
    return tuple(
        f"{term.name}[{element}]@{age}"
        for term in manifest.observation.terms
        for age in term.ages
        for element in term.elements
    )


def idle_command(manifest: Manifest) -> np.ndarray:
    """Return what actuators without an action entry are sent (A): the default position, or 0.

    Args:
        manifest: The manifest.
    """
    default = {joint.name: joint.default for joint in manifest.robot.joints}
    return np.array(
        [default[a.joint] if a.kind == "position" else 0.0 for a in manifest.robot.actuators],
        dtype=np.float64,
    )


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

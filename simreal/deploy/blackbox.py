"""What a controller writes into its event log, and how a reader finds it again."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from simreal.deploy.eventlog import DECISION, TICK, EventLog
from simreal.deploy.intake import SignalIntake
from simreal.deploy.manifest import Manifest
from simreal.deploy.policy import Policy
from simreal.deploy.settings import ControlSettings
from simreal.deploy.states import State

TICK_COLUMNS = ("time_s", "late_s", "latency_s", "state", "age_s", "new", "share", "epoch", "seq")
DECISION_COLUMNS = ("time_s", "first", "step")
STATES = tuple(State)
_CODES = {state: float(code) for code, state in enumerate(STATES)}


class BlackBox:
    """Lay out the rows of a log, and fill them."""

    def __init__(
        self,
        log: EventLog,
        manifest: Manifest,
        sha256: str,
        settings: ControlSettings,
        elements: Mapping[str, tuple[str, ...]],
    ) -> None:
        """Write the header.

        Args:
            log: The log.
            manifest: The manifest.
            sha256: Identity of the policy.
            settings: What the controller enforces.
            elements: Signal name to its element names, in the order they are given.
        """
        self._log, self._steps = log, 0
        size = sum(len(names) for names in elements.values())
        actuators, outputs = len(manifest.robot.actuators), len(manifest.action.entries)
        self._tick = _Row(len(TICK_COLUMNS), size, actuators)
        dim = manifest.observation.dim
        self._decision = _Row(len(DECISION_COLUMNS), size, dim, outputs, actuators)
        log.header(
            {
                "policy": manifest.name,
                "sha256": sha256,
                "robot": manifest.robot.id,
                "dynamics_sha256": manifest.robot.dynamics_sha256,
                "elements": {name: list(names) for name, names in elements.items()},
                "actuators": list(manifest.robot.actuator_names),
                "outputs": [entry.joint for entry in manifest.action.entries],
                "observation": dim,
                "states": [state.value for state in STATES],
                "settings": {n: getattr(settings, n) for n in ControlSettings.__dataclass_fields__},
            }
        )

    def event(self, what: str, time_s: float, **fields: Any) -> None:
        """Write an event; see `EventLog.event`."""
        self._log.event(what, time_s, **fields)

    def decision(
        self, time_s: float, first: bool, intake: SignalIntake, policy: Policy, answer: np.ndarray
    ) -> None:
        """Write a step of the policy.

        Args:
            time_s: When [s].
            first: Whether it began an episode.
            intake: What it was given.
            policy: The runtime.
            answer: Its command (A).
        """
        head = self._decision.numbers
        head[0], head[1], head[2] = time_s, float(first), float(self._steps)
        _, packed, observation, output, command = self._decision.parts
        self._steps += 1
        packed[:] = intake.packed
        observation[:] = policy.observation
        output[:] = policy.output
        command[:] = answer
        self._log.row(DECISION, self._decision.bytes)

    def tick(
        self, state: State, numbers: tuple[float, ...], intake: SignalIntake, sent: np.ndarray
    ) -> None:
        """Write a command that was sent.

        Args:
            state: State in which.
            numbers: The columns before and after the state, in order.
            intake: The newest measurement.
            sent: Values of the command (A).
        """
        head = self._tick.numbers
        head[0], head[1], head[2], head[4], head[5], head[6], head[7], head[8] = numbers
        head[3] = _CODES[state]
        _, packed, values = self._tick.parts
        packed[:] = intake.packed
        values[:] = sent
        self._log.row(TICK, self._tick.bytes)


class _Row:
    """Hold a row and views of it: by parts, number by number, which is quicker, and as bytes."""

    def __init__(self, *sizes: int) -> None:
        row = np.zeros(sum(sizes))
        self.numbers = cast("memoryview[float]", row.data)
        self.bytes = row.data.cast("B")
        ends = np.cumsum(sizes)
        self.parts = [row[end - size : end] for size, end in zip(sizes, ends.tolist(), strict=True)]

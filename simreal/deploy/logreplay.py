"""Compare what a controller did with what its policy should have done.

A log holds the raw signals of every step of the policy, and what the policy made of them. They go
through the reference runtime once more; the first number that differs is named by its term, its
joint and its step. That tells a wrong policy from a wrong robot: where nothing differs, the policy
did what it does in training, and the signals are what to look at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simreal.deploy.blackbox import DECISION_COLUMNS
from simreal.deploy.bundle import Bundle
from simreal.deploy.eventlog import LogContent
from simreal.deploy.runtime import NumpyPolicy
from simreal.errors import ConfigError

_FLOAT32 = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Name the first number that differs.

    Attributes:
        step: Step of the policy, counted from the beginning of the log.
        time_s: When [s].
        stage: `observation`, `output` or `command`.
        name: Observation entry `term[element]@age`, or joint.
        expected: What the reference runtime gives.
        found: What the log says.
    """

    step: int
    time_s: float
    stage: str
    name: str
    expected: float
    found: float

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"step {self.step} ({self.time_s:.3f} s), {self.stage} {self.name}: expected "
            f"{self.expected!r}, found {self.found!r}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReplay:
    """State how far a log agrees with its policy.

    Attributes:
        steps: Steps of the policy in the log.
        skipped: Those that could not be compared, since the log lost a step before them.
        episodes: How often it began.
        first: First difference, if there is one.
        worst: Largest absolute difference of each stage.
    """

    steps: int
    skipped: int
    episodes: int
    first: Difference | None
    worst: dict[str, float]


def replay_log(log: LogContent, bundle: Bundle) -> LogReplay:
    """Put the signals of a log through the reference runtime.

    Args:
        log: The log.
        bundle: The policy.

    Raises:
        ConfigError: The log is of another policy, or is none of a controller.
    """
    manifest = bundle.manifest
    if not log.header:
        raise ConfigError(
            "log: expected a header, found none; its controller was never armed, or its first "
            "record is damaged"
        )
    if log.header.get("sha256") != bundle.sha256:
        raise ConfigError(
            f"log: expected one of policy '{manifest.name}' ({bundle.sha256[:12]}), found "
            f"'{log.header.get('policy')}' ({str(log.header.get('sha256'))[:12]})"
        )
    policy = NumpyPolicy(bundle)
    elements = _elements(log, bundle)
    joints = _joint_order(bundle, elements)
    policy.bind(joints, elements)
    table = _Table(log.decisions, bundle, elements)
    stages = _stages(bundle, policy)
    worst = {stage: 0.0 for stage, _, _ in stages}
    first: Difference | None = None
    for step in range(table.steps):
        if not table.follows(step):
            continue
        signals = table.signals(step)
        command = policy.reset(signals) if table.first[step] else policy.step(signals)
        found = {"observation": policy.observation, "output": policy.output, "command": command}
        for stage, names, allowed in stages:
            logged = table.part[stage][step]
            error = np.abs(found[stage].astype(np.float64) - logged)
            worst[stage] = max(worst[stage], float(error.max(initial=0.0)))
            wrong = np.flatnonzero(~(error <= allowed))
            if first is None and wrong.size:
                at = int(wrong[0])
                first = Difference(
                    step=step,
                    time_s=float(table.time_s[step]),
                    stage=stage,
                    name=names[at],
                    expected=float(found[stage][at]),
                    found=float(logged[at]),
                )
        # The logged history goes on, so that the first difference does not cause all others.
        policy.applied(table.part["output"][step].astype(np.float32))
    return LogReplay(
        steps=table.steps,
        skipped=table.skipped,
        episodes=int(table.first.sum()),
        first=first,
        worst=worst,
    )


def _stages(
    bundle: Bundle, policy: NumpyPolicy
) -> tuple[tuple[str, Sequence[str], np.ndarray], ...]:
    """Return name, entry names and allowed difference of what is compared, in order."""
    manifest = bundle.manifest
    atol = manifest.golden.atol
    scales = {entry.joint: entry.scale for entry in manifest.action.entries}
    names = manifest.robot.actuator_names
    resolved = np.array([max(atol, _FLOAT32 * scales.get(name, 0.0)) for name in names])
    outputs = [entry.joint for entry in manifest.action.entries]
    return (
        ("observation", policy.entry_names, np.array(atol)),
        ("output", outputs, np.array(atol)),
        ("command", names, resolved),
    )


def _elements(log: LogContent, bundle: Bundle) -> dict[str, list[str]]:
    """Return signal name to element names, as the header of a log says."""
    found = log.header.get("elements")
    names = [signal.name for signal in bundle.manifest.signals]
    if not isinstance(found, dict) or set(found) != set(names) or not _are_lists_of_words(found):
        raise ConfigError(
            f"log: expected the elements of {', '.join(names)} in its header, found "
            f"{str(found)[:80]}; its first record was changed"
        )
    return dict(found)


def _are_lists_of_words(found: dict[str, Any]) -> bool:
    lists = all(isinstance(parts, list) for parts in found.values())
    return lists and all(isinstance(part, str) for parts in found.values() for part in parts)


def _joint_order(bundle: Bundle, elements: dict[str, list[str]]) -> list[str]:
    """Return the joints in an order that agrees with every joint signal of the log."""
    given: list[str] = []
    for signal in bundle.manifest.signals:
        if signal.kind.startswith("joint_"):
            given += [name for name in elements[signal.name] if name not in given]
    return given + [n for n in bundle.manifest.robot.joint_names if n not in given]


class _Table:
    """Take the rows of a log apart."""

    def __init__(self, rows: np.ndarray, bundle: Bundle, elements: dict[str, list[str]]) -> None:
        manifest = bundle.manifest
        sizes = {
            **{name: len(names) for name, names in elements.items()},
            "observation": manifest.observation.dim,
            "output": len(manifest.action.entries),
            "command": len(manifest.robot.actuators),
        }
        head = len(DECISION_COLUMNS)
        width = head + sum(sizes.values())
        if rows.size and rows.shape[1] != width:
            raise ConfigError(
                f"log: expected {width} numbers per step of the policy, found {rows.shape[1]}"
            )
        rows = rows.reshape(-1, width)
        self.steps = len(rows)
        self.time_s, self.first, self._number = rows[:, 0], rows[:, 1] > 0.5, rows[:, 2]
        self.skipped, self._whole = 0, False
        self.part: dict[str, np.ndarray] = {}
        at = head
        for name, size in sizes.items():
            self.part[name] = rows[:, at : at + size]
            at += size
        self._names = list(elements)

    def signals(self, step: int) -> dict[str, np.ndarray]:
        """Return the raw signals of a step."""
        return {name: self.part[name][step] for name in self._names}

    def follows(self, step: int) -> bool:
        """Return whether all steps since the beginning of the episode are there."""
        if self.first[step]:
            self._whole = True
        elif step == 0 or self._number[step] != self._number[step - 1] + 1:
            self._whole = False
        self.skipped += not self._whole
        return self._whole

"""Check that every declared dynamics parameter acts: the remedy for silent no-op randomization.

A parameter that changes nothing, changes all worlds at once, or is gone after a reset is the most
repeated failure of domain randomization. For each parameter of a robot the audit builds five worlds
(low, middle, high, middle again, untouched), applies values to the first four, and compares what
happens next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simreal.core.params import DynamicsParams, ParamSpec, catalogue
from simreal.core.robot import Robot
from simreal.engines.audit_poses import center_of_mass
from simreal.engines.audit_probes import (
    MOST_TICKS,
    TICK_S,
    Probe,
    not_applicable,
    probes,
    response_ticks,
    values,
)
from simreal.engines.base import Engine, EngineSpec
from simreal.engines.registry import engine_class
from simreal.errors import ParameterError

ACTS, NO_EFFECT, WRONG_DIRECTION = "acts", "NO EFFECT", "WRONG DIRECTION"
WRONG_VALUE, NOT_KEPT, LEAKS = "WRONG VALUE", "NOT KEPT AFTER RESET", "LEAKS TO OTHER WORLDS"
FLOOR = 1e-6
_LEAST_SHARE = 0.005  # of the way of a center of mass
_NUM_WORLDS = 5
_LOW, _MIDDLE, _HIGH, _AGAIN, _UNTOUCHED = range(_NUM_WORLDS)
_MASK = np.array([True, True, True, True, False])


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """Hold what was found about one parameter.

    Attributes:
        name: Parameter name.
        unit: SI unit.
        nominal: Value of the record (k).
        changed: The three values that were applied, each (k).
        effect: Largest change of any joint or root coordinate between low and high.
        floor: What an effect must exceed.
        motion: Motion counted by the probe at the three values.
        direction: What was expected of the motion when the value grows, and in which probe.
        mechanism: What the engine does with it, in its own terms.
        verdict: `acts`, `refused: why`, `not applicable: why`, or what is wrong, in capitals.
    """

    name: str
    unit: str
    nominal: tuple[float, ...]
    changed: tuple[tuple[float, ...], ...] = ()
    effect: float = 0.0
    floor: float = FLOOR
    motion: tuple[float, ...] = ()
    direction: str = ""
    mechanism: str = ""
    verdict: str

    @property
    def passed(self) -> bool:
        """Return whether nothing is wrong with it."""
        return not self.verdict.isupper()


def audit(
    robot: Robot, engine: str | type[Engine], *, only: Sequence[str] = (), floor: float = FLOOR
) -> list[AuditRow]:
    """Audit the engine parameters of a robot on one engine.

    Args:
        robot: The robot.
        engine: Engine name or class.
        only: Names or kinds to audit; all if empty.
        floor: What an effect must exceed [rad, m, rad/s or m/s].

    Returns:
        One row per engine parameter, in the order of the catalogue.
    """
    cls = engine_class(engine, robot) if isinstance(engine, str) else engine
    rows = []
    for param in catalogue(robot).values():
        wanted = not only or param.name in only or param.kind in only
        if param.owner == "engine" and wanted:
            rows.append(_audit_one(robot, cls, param, floor))
    return rows


def _audit_one(robot: Robot, cls: type[Engine], param: ParamSpec, floor: float) -> AuditRow:
    capability = cls.capability(robot, param)
    base: dict[str, Any] = {
        "name": param.name,
        "unit": param.unit,
        "nominal": param.nominal,
        "floor": floor,
    }
    inert = not_applicable(robot, param)
    if inert:
        return AuditRow(**base, verdict=f"not applicable: {inert}")
    if not capability.supported:
        return AuditRow(**base, verdict=f"refused: {capability.mechanism}")
    trials = [_Trial(robot, cls, param, probe) for probe in probes(robot, param, cls)]
    if not trials:
        return AuditRow(**base, verdict="not applicable: the robot has no joint that moves")
    try:
        return _telling(trials, floor).row(base, capability.mechanism)
    except ParameterError as error:
        return AuditRow(**base, mechanism=capability.mechanism, verdict=f"refused: {error}")


def _telling(trials: list["_Trial"], floor: float) -> "_Trial":
    """Choose the trial in which a parameter shows most, or the first in which it does at all."""
    if len(trials) == 1:
        return trials[0]
    best, most = trials[0], -1.0
    for trial in trials:
        effect = trial.effect()
        if effect > floor and not trial.probe.ground:
            return trial
        if effect > most:
            best, most = trial, effect
    return best


class _Trial:
    """Run one probe on one parameter."""

    def __init__(self, robot: Robot, cls: type[Engine], param: ParamSpec, probe: Probe) -> None:
        self.probe, self._param = probe, param
        chosen = values(robot, param)
        self._changed = chosen
        nominal = np.array([param.nominal])
        self._values = np.concatenate([chosen, chosen[1:2], nominal])  # (N, k)
        self._cls = cls
        self._spec = EngineSpec(
            robot=robot,
            num_worlds=_NUM_WORLDS,
            tick_s=TICK_S,
            ticks=1,
            ground=probe.ground,
            params=(param.name,),
            fixed={**_left_out(robot, cls), **probe.fixed},
        )

    def effect(self) -> float:
        """Return how much the parameter changes in one run."""
        engine = self._cls(self._spec)
        try:
            return _spread(self._record(engine, self._apply(engine)))
        finally:
            engine.close()

    def row(self, base: dict[str, Any], mechanism: str) -> AuditRow:
        """Return the finding."""
        engine = self._cls(self._spec)
        try:
            before = self._record(engine, self.probe.num_ticks or MOST_TICKS)
            ticks = self._apply(engine)
            runs = [self._record(engine, ticks) for _ in range(3)]
            realized = engine.realized(self._param.name)
        finally:
            engine.close()
        motion = [self._motion(runs[0][:, world]) for world in (_LOW, _MIDDLE, _HIGH)]
        clear = self._is_clear(motion)
        faults = (
            (NO_EFFECT, _spread(runs[0]) <= base["floor"]),
            (WRONG_VALUE, realized is not None and not self._holds(realized)),
            (NOT_KEPT, not (_same(runs[0], runs[1]) and _same(runs[0], runs[2]))),
            (LEAKS, not _same(runs[0], runs[0], _AGAIN, _MIDDLE)),
            (LEAKS, not _same(runs[0], before[:ticks], _UNTOUCHED, _UNTOUCHED)),
            (WRONG_DIRECTION, self.probe.sign != 0 and clear and not self._turns(motion)),
        )
        return AuditRow(
            **base,
            changed=tuple(tuple(float(v) for v in row) for row in self._changed),
            effect=_spread(runs[0]),
            motion=tuple(motion),
            direction=self.probe.direction
            if clear
            else f"{self.probe.direction}: too small to tell",
            mechanism=mechanism,
            verdict=next((fault for fault, found in faults if found), ACTS),
        )

    def _apply(self, engine: Engine) -> int:
        """Apply the values; return for how many ticks the response stays near its start."""
        column = self._values[:, 0] if self._param.size == 1 else self._values
        params = DynamicsParams(engine.specs, {self._param.name: column}, _NUM_WORLDS)
        engine.apply(params, _MASK)
        if self.probe.num_ticks is not None:
            return self.probe.num_ticks
        joints = engine.robot.num_joints
        first = self._record(engine, 1)[:, :, joints : 2 * joints]
        return response_ticks(self.probe, float(np.abs(first).max()))

    def _is_clear(self, motion: list[float]) -> bool:
        """Return whether a center of mass moves differently enough to have a direction.

        Where the robot lands softly or falls over, a bounce adds less than half a percent of
        the way that the fall itself takes; its sign then tells nothing of the parameter's.

        Args:
            motion: At the low, the middle and the high value.
        """
        if not self.probe.center:
            return True
        return not np.ptp(motion) < _LEAST_SHARE * np.abs(motion).max()

    def _turns(self, motion: list[float]) -> bool:
        """Return whether motion goes the expected way; a link that sticks already goes no further.

        Args:
            motion: At the low, the middle and the high value.
        """
        steps = self.probe.sign * np.diff(motion)
        if self.probe.center:
            whole = float(steps.sum())
            return whole > FLOOR and float(steps.min()) >= -0.01 * whole
        return bool((steps > 0).all())

    def _record(self, engine: Engine, ticks: int) -> np.ndarray:
        """Reset every world to the probe's start and record all coordinates (T, N, D)."""
        probe, state = self.probe, engine.new_state()
        shape = (_NUM_WORLDS, engine.robot.num_joints)
        everywhere = np.ones(_NUM_WORLDS, dtype=bool)
        engine.reset(
            everywhere, np.broadcast_to(probe.pos, shape), np.broadcast_to(probe.vel, shape)
        )
        commands = np.tile(probe.command, (1, _NUM_WORLDS, 1))
        found = []
        for _ in range(ticks):
            engine.step(commands)
            engine.read(state)
            found.append(state.buffer[:, :-1].copy())  # all but the clock
        return np.array(found)

    def _motion(self, world: np.ndarray) -> float:
        """Return the motion the probe counts, from a record of one world (T, D)."""
        joints = len(self.probe.pos)
        if self.probe.center:
            return self._drift(world[-1, :joints])
        way = np.diff(world[:, :joints], axis=0, prepend=self.probe.pos[None])
        if not self.probe.signed:
            way = np.abs(way)
        total = float((way * self.probe.weights).sum())
        if world.shape[1] > 2 * joints and self.probe.name == "fall":
            total += float(abs(world[-1, 2 * joints + 2] - self._spec.robot.base_height))
        return total

    def _drift(self, pose: np.ndarray) -> float:
        """Return how far the center of mass went in the direction of the probe's weights [m]."""
        robot, probe = self._spec.robot, self.probe
        start = center_of_mass(robot, probe.pos)
        along = center_of_mass(robot, probe.pos + probe.weights) - start
        gone = center_of_mass(robot, pose) - start
        return float(gone @ along / np.linalg.norm(along))

    def _holds(self, realized: np.ndarray) -> bool:
        wanted, found = self._values, np.reshape(realized, (_NUM_WORLDS, -1))
        if self._param.kind == "inertia":
            # Engines keep principal moments in an order of their own; the trace is the same in any.
            wanted, found = wanted.sum(axis=1), found.sum(axis=1)
        return bool(np.allclose(found, wanted, rtol=1e-6, atol=1e-9))


def _spread(run: np.ndarray) -> float:
    """Return the largest difference between the low and the high world of a run (T, N, D)."""
    return float(np.abs(run[:, _HIGH] - run[:, _LOW]).max())


def _same(one: np.ndarray, other: np.ndarray, world: Any = ..., twin: Any = ...) -> bool:
    """Compare worlds of two runs (T, N, D); contacts may differ by a thousandth of the effect."""
    slack = 1e-9 + 1e-3 * _spread(one)
    return float(np.abs(one[:, world] - other[:, twin]).max()) <= slack


def _left_out(robot: Robot, cls: type[Engine]) -> dict[str, float]:
    """Return at zero whatever the engine cannot represent of the record; its own row says so.

    Geometry is always represented: there an engine can only be unable to change it.
    """
    return {
        name: 0.0
        for name, spec in catalogue(robot).items()
        if spec.owner == "engine"
        and any(spec.nominal)
        and spec.kind not in ("com", "link_length")
        and not cls.capability(robot, spec).supported
    }

"""The audit passes honest engines and catches every way in which a parameter can fail to act."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from simreal.core.params import DynamicsParams, catalogue
from simreal.core.robot import Robot
from simreal.engines import Engine, engine_class
from simreal.engines.audit import ACTS, LEAKS, NO_EFFECT, NOT_KEPT, WRONG_VALUE, AuditRow, audit
from simreal.engines.audit_probes import reflected_inertia, values
from simreal_envs.robots.double_pendulum import double_pendulum
from simreal_envs.robots.simple_pendulum import simple_pendulum
from tests.engines import sample_robots as robots


def held() -> Robot:
    motors = {
        "shoulder": {"kind": "position", "kp": 20.0, "kd": 1.0},
        "elbow": {"kind": "position", "kp": 10.0, "kd": 0.5},
    }
    return robots.pendulums().revised(actuators=motors)


CONTACTS = ("contact_friction", "spinning_friction", "rolling_friction", "restitution")
LAW = ("motor_strength", "torque_limit", "kp", "kd")
REFUSED = {"mujoco": {"restitution"}, "warp": {"restitution"}, "pybullet": {"armature"}}
SUBJECTS = {
    "double_pendulum": (double_pendulum, ()),
    "simple_pendulum": (simple_pendulum, ()),
    "contacts": (robots.roller, CONTACTS),
    "position control": (held, LAW),
    "floating": (robots.flywheel, ("mass", "gravity")),
}


def check(rows: list[AuditRow]) -> None:
    assert {row.name: row.verdict for row in rows if not row.passed} == {}
    for row in rows:
        if row.verdict == ACTS:
            assert row.effect > 100 * row.floor
        else:
            assert len(row.verdict.partition(": ")[2]) > 10


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_parameter_acts_or_is_refused_with_a_reason(engine_name: str, subject: str) -> None:
    make, only = SUBJECTS[subject]
    rows = audit(make(), engine_name, only=only)
    wanted = [
        spec.name
        for spec in catalogue(make()).values()
        if spec.owner == "engine" and (not only or spec.kind in only)
    ]
    assert [row.name for row in rows] == wanted
    check(rows)


@pytest.mark.slow
@pytest.mark.parametrize("make", [robots.roller, held, robots.flywheel])
def test_every_parameter_of_the_other_robots(engine_name: str, make: Callable[[], Robot]) -> None:
    check(audit(make(), engine_name))


def test_what_each_engine_refuses(engine_name: str) -> None:
    refused = {
        row.name.partition(".")[0]
        for row in audit(robots.roller(), engine_name, only=("restitution", "armature"))
        if row.verdict.startswith("refused")
    }
    assert refused == REFUSED[engine_name]


def broken(**methods: Callable[..., Any]) -> type[Engine]:
    """Return the MuJoCo engine with some methods replaced."""
    pytest.importorskip("mujoco")
    return type("Broken", (engine_class("mujoco"),), methods)


def verdicts(engine: type[Engine], *names: str) -> set[str]:
    return {row.verdict for row in audit(robots.pendulums(), engine, only=names)}


def test_an_engine_that_ignores_parameters_is_caught() -> None:
    deaf = broken(apply=lambda self, params, mask: None, realized=lambda self, name: None)
    rows = audit(double_pendulum(), deaf)
    assert {row.verdict for row in rows if not row.verdict.startswith("not ")} == {NO_EFFECT}
    assert not any(row.passed for row in rows if row.changed)


def test_a_parameter_lost_in_a_reset_is_caught() -> None:
    honest = engine_class("mujoco")

    def reset(self: Engine, mask: np.ndarray, pos: np.ndarray, vel: np.ndarray) -> None:
        # Reset as the first runs, then forget: as an engine that reloads its model would.
        count = self.__dict__.setdefault("count", 0)
        self.count = count + 1
        if self.count > 3 and mask.all():
            nominal = {name: self.specs[name].nominal for name in self.spec.params}
            honest.apply(self, DynamicsParams(self.specs, nominal, self.num_worlds), mask)
        honest.reset(self, mask, pos, vel)

    assert verdicts(broken(reset=reset, realized=lambda s, n: None), "joint_damping") == {NOT_KEPT}


def test_a_parameter_that_reaches_all_worlds_is_caught() -> None:
    honest = engine_class("mujoco")

    def apply(self: Engine, params: DynamicsParams, mask: np.ndarray) -> None:
        honest.apply(self, params, np.ones_like(mask))
        shared = {name: np.roll(params[name], 2, axis=0) for name in params}
        honest.apply(self, DynamicsParams(self.specs, shared, len(mask)), np.arange(len(mask)) == 4)

    assert verdicts(broken(apply=apply, realized=lambda s, n: None), "mass") == {LEAKS}


def test_a_parameter_that_acts_the_wrong_way_round_is_caught() -> None:
    honest = engine_class("mujoco")

    def apply(self: Engine, params: DynamicsParams, mask: np.ndarray) -> None:
        inverse = {name: self.specs[name].nominal[0] ** 2 / params[name] for name in params}
        honest.apply(self, DynamicsParams(self.specs, inverse, len(mask)), mask)

    upside_down = broken(apply=apply, realized=lambda s, n: None)
    assert verdicts(upside_down, "mass", "gravity") == {"WRONG DIRECTION"}


def test_a_parameter_that_reads_back_otherwise_is_caught() -> None:
    honest = engine_class("mujoco")

    def apply(self: Engine, params: DynamicsParams, mask: np.ndarray) -> None:
        more = {name: 1.1 * params[name] for name in params}
        honest.apply(self, DynamicsParams(self.specs, more, len(mask)), mask)

    assert verdicts(broken(apply=apply), "mass") == {WRONG_VALUE}


def test_values_rise_within_their_bounds() -> None:
    for make, _ in SUBJECTS.values():
        robot = make()
        for spec in catalogue(robot).values():
            if spec.owner == "engine":
                chosen = values(robot, spec)
                assert chosen.shape == (3, spec.size)
                assert (np.diff(chosen, axis=0) > 0).all()
                assert chosen.min() >= spec.low
                assert chosen.max() <= spec.high


def test_reflected_inertia_is_exact_for_a_stretched_arm() -> None:
    robot = robots.pendulums()
    # 0.01 + 0.5 * 0.2^2 + 0.012 + 0.6 * (0.2 + 0.25)^2
    assert reflected_inertia(robot, robot.joint("shoulder")) == pytest.approx(0.1635)
    cart = robots.cart()
    assert reflected_inertia(cart, cart.joint("rail")) == pytest.approx(2.0)

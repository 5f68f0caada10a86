"""The order of a robot's joints, signals and actuators means nothing: values are found by name."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simreal.core.action import ActionTerm
from simreal.core.observation import Term
from simreal.core.robot import Actuator, Joint, Link, Robot
from simreal.deploy import (
    Bundle,
    BundleSpec,
    Command,
    Controller,
    ControlSettings,
    Golden,
    Signals,
    load,
    write_bundle,
)
from tests.deploy.conftest import INERTIA, make_layers

JOINTS = tuple(f"joint_{i:02d}" for i in (7, 2, 9, 11, 0, 5, 3, 8, 1, 10, 6, 4))
DRIVEN = tuple(sorted(JOINTS)[::-1][1:-1])  # ten of twelve, in an order of their own


@pytest.fixture(scope="module")
def chain() -> Robot:
    """A chain of twelve joints, ten of which are driven: by targets, by torques, in turn."""
    links = [Link(name="base", mass=0.0)]
    links += [Link(name=f"link_{n}", mass=1.0, inertia=INERTIA) for n in JOINTS]
    parents = [link.name for link in links]
    return Robot(
        name="chain",
        links=tuple(links),
        joints=tuple(
            Joint(
                name=name,
                kind="revolute",
                parent=parents[i],
                child=f"link_{name}",
                axis=(0.0, 1.0, 0.0),
                lower=-1.0 - 0.1 * i,
                upper=1.0 + 0.2 * i,
                max_velocity=5.0 + i,
            )
            for i, name in enumerate(JOINTS)
        ),
        actuators=tuple(
            Actuator(joint=name, torque_limit=3.0 + i, kind="position", kp=10.0 + i, kd=0.1 * i)
            if i % 2
            else Actuator(joint=name, torque_limit=3.0 + i)
            for i, name in enumerate(DRIVEN)
        ),
    )


@pytest.fixture(scope="module")
def bundle(
    make_spec: Callable[..., BundleSpec], chain: Robot, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    rng = np.random.default_rng(0)
    signals = {name: rng.standard_normal((64, 12)) for name in ("joint_pos", "joint_vel")}
    # Terms and actions in orders of their own, too.
    terms = (
        Term(name="pos", source="joint_pos", elements=tuple(sorted(JOINTS))),
        Term(name="vel", source="joint_vel", elements=JOINTS[::-1]),
    )
    ordered = [JOINTS.index(name) for name in sorted(JOINTS)]
    rows = [signals["joint_pos"][:, ordered], signals["joint_vel"][:, ::-1]]
    observation = np.hstack(rows).astype(np.float32)
    layers = make_layers((24, 10), "tanh")
    output = observation @ layers[0].weight.T + layers[0].bias
    acting = tuple(sorted(DRIVEN))
    action = np.clip(output, -1.0, 1.0).astype(np.float64)
    spec = dataclasses.replace(
        make_spec(),
        robot=chain,
        terms=terms,
        actions=tuple(ActionTerm(joint=n, scale=0.5 + 0.1 * i) for i, n in enumerate(acting)),
        layers=layers,
        normalizer=None,
        safe_stop_kd={},
        golden=Golden(
            signals=signals,
            observation=observation,
            output=output,
            command=np.stack(
                [action[:, acting.index(n)] * (0.5 + 0.1 * acting.index(n)) for n in DRIVEN], axis=1
            ),
        ),
    )
    return load(write_bundle(tmp_path_factory.mktemp("chain") / "chain.policy", spec))


class Recorded:
    """A robot that plays back measurements in an order of its own, and keeps what it is sent."""

    def __init__(self, robot: Robot, order: np.ndarray, actuators: np.ndarray) -> None:
        table = robot.interface
        names = [joint["name"] for joint in table["joints"]]
        self.interface = {
            **table,
            "joints": [table["joints"][i] for i in order],
            "actuators": [table["actuators"][i] for i in actuators],
        }
        rng = np.random.default_rng(4)
        steps = 0.02 * rng.standard_normal((12, len(names)))
        self._pos = 0.1 + steps.cumsum(axis=0)[:, order]
        self._vel = rng.uniform(-0.3, 0.3, (12, len(names)))[:, order]
        self.step = 0
        self.sent: list[dict[str, float]] = []

    def read(self) -> Signals:
        values = {"joint_vel": self._vel[self.step], "joint_pos": self._pos[self.step]}
        return Signals(0.01 * self.step, values, self.step)

    def write(self, command: Command) -> None:
        self.sent.append(dict(command.values))
        self.step += 1


def _run(bundle: Bundle, robot: Robot, order: np.ndarray, actuators: np.ndarray) -> list[dict]:
    recorded = Recorded(robot, order, actuators)
    controller = Controller(
        bundle,
        recorded,
        clock=lambda: 0.01 * recorded.step,
        settings=ControlSettings.of(bundle.manifest),
        without_watchdog=True,
    )
    controller.arm()
    for _ in range(10):
        controller.cycle()
    assert controller.fault is None
    return recorded.sent


def test_1000_orders_give_the_same_commands_by_name(
    bundle: Bundle, chain: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The golden replay at each arming is the same each time, and most of the work.
    monkeypatch.setattr("simreal.deploy.arming.replay", lambda bundle, policy: {})
    rng = np.random.default_rng(0)
    expected = _run(bundle, chain, np.arange(12), np.arange(10))
    assert all(len({command[name] for command in expected}) > 5 for name in DRIVEN)
    seen = set()
    for _ in range(1000):
        order, actuators = rng.permutation(12), rng.permutation(10)
        assert _run(bundle, chain, order, actuators) == expected
        seen.add((*order.tolist(), *actuators.tolist()))
    assert len(seen) == 1000


def test_gains_follow_their_joints_where_motors_are_in_another_order(
    written: Path,
) -> None:
    """Two motors in the reverse order of their joints, and a joint without one between them."""
    bundle = load(written)
    gains = {a.joint: (a.kind, a.kp, a.kd) for a in bundle.manifest.robot.actuators}
    assert gains == {"elbow": ("torque", 0.0, 0.0), "shoulder": ("position", 20.0, 1.0)}
    assert bundle.manifest.robot.joint_names == ("shoulder", "slider", "elbow")
    assert bundle.manifest.robot.actuator_names == ("elbow", "shoulder")

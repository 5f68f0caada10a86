"""A small robot, a policy for it in plain numpy, and its bundle."""

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.core.action import ActionMap, ActionTerm
from simreal.core.observation import LAST_ACTION, Op, Term
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.core.robot import Actuator, Joint, Link, Robot
from simreal.deploy import (
    Bundle,
    BundleSpec,
    Evaluation,
    Golden,
    Layer,
    Lstm,
    Normalizer,
    Provenance,
    load,
)
from simreal.deploy.writer import write_bundle

STEPS = 64
RESETS = (0, 40)
INERTIA = (0.01, 0.01, 0.01, 0.0, 0.0, 0.0)


def _robot() -> Robot:
    """Three joints, two motors in the reverse order of their joints, and a passive slider."""
    links = (
        Link(name="base", mass=0.0),
        *(Link(name=f"link_{i}", mass=1.0, inertia=INERTIA) for i in range(3)),
    )
    joints = (
        Joint(
            name="shoulder",
            kind="revolute",
            parent="base",
            child="link_0",
            axis=(0.0, 1.0, 0.0),
            lower=-3.0,
            upper=3.0,
            max_velocity=20,
            default=0.25,
        ),
        Joint(
            name="slider",
            kind="prismatic",
            parent="link_0",
            child="link_1",
            axis=(1, 0, 0),
            lower=-0.5,
            upper=0.5,
            max_velocity=2.0,
        ),
        Joint(
            name="elbow",
            kind="continuous",
            parent="link_1",
            child="link_2",
            axis=(0.0, 1.0, 0.0),
            max_velocity=30.0,
        ),
    )
    actuators = (
        Actuator(joint="elbow", torque_limit=6.0),
        Actuator(joint="shoulder", torque_limit=9.0, kind="position", kp=20.0, kd=1.0),
    )
    return Robot(name="arm", links=links, joints=joints, actuators=actuators)


TERMS = (
    Term(
        name="pos",
        source="joint_pos",
        elements=("shoulder", "elbow"),
        ops=(Op("sin"),),
        history=3,
        fill="zero",
    ),
    Term(
        name="vel", source="joint_vel", elements=("elbow", "shoulder"), ops=(Op("scale", (0.1,)),)
    ),
    Term(
        name="slide",
        source="joint_pos",
        elements=("slider",),
        ops=(Op("clip", (-0.3, 0.3)), Op("offset", (0.05,))),
    ),
    Term(name="last", source=LAST_ACTION, elements=("shoulder", "elbow"), history=2),
)
# Every operation, history with stride in both orders, both fills.
RICH = (
    Term(
        name="pos",
        source="joint_pos",
        elements=("elbow", "shoulder"),
        ops=(Op("unwrap"), Op("sin"), Op("clip", (-0.7, 0.7))),
        history=3,
        stride=2,
        fill="zero",
    ),
    Term(
        name="vel",
        source="joint_vel",
        elements=("slider", "elbow"),
        ops=(Op("low_pass", (0.3,)), Op("scale", (0.1,)), Op("offset", (-0.2,))),
        history=2,
        order="newest_first",
    ),
    Term(
        name="turn",
        source="joint_pos",
        elements=("elbow",),
        ops=(Op("wrap"), Op("cos"), Op("lag", (2.0,))),
    ),
    Term(name="last", source=LAST_ACTION, elements=("elbow", "shoulder"), history=2, fill="zero"),
)
ACTIONS = (
    ActionTerm(joint="shoulder", scale=0.5, offset=0.25),
    ActionTerm(joint="elbow", scale=6.0),
)


def activate(x: np.ndarray, kind: str) -> np.ndarray:
    """Evaluate an activation the plain way."""
    return {
        "tanh": np.tanh(x),
        "relu": np.maximum(x, 0),
        "elu": np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        "identity": x,
    }[kind]


def forward(
    observation: np.ndarray,
    layers: tuple[Layer, ...],
    norm: Normalizer | None,
    squash: str,
    lstm: Lstm | None = None,
    state: list[np.ndarray] | None = None,
) -> np.ndarray:
    """Evaluate a policy in float64, independently of the runtime; `state` is updated."""
    x = observation.astype(np.float64)
    if norm is not None:
        x = (x - norm.mean) / np.sqrt(norm.var + norm.epsilon)
        x = np.clip(x, -norm.clip, norm.clip) if norm.clip else x
    if lstm is not None and state is not None:
        gates = lstm.weight_ih @ x + lstm.bias_ih + lstm.weight_hh @ state[0] + lstm.bias_hh
        write, keep, new, read = np.split(gates, 4)
        state[1] = logistic(keep) * state[1] + logistic(write) * np.tanh(new)
        state[0] = x = logistic(read) * np.tanh(state[1])
    for layer in layers:
        x = activate(layer.weight.astype(np.float64) @ x + layer.bias, layer.activation)
    return np.tanh(x) if squash == "tanh" else x


def logistic(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def record(
    robot: Robot,
    layers: Any,
    norm: Any,
    squash: str,
    steps: int = STEPS,
    lstm: Lstm | None = None,
    terms: tuple[Term, ...] = TERMS,
) -> Golden:
    """Record two episodes with the core's pipeline and action map, as training does."""
    rng = np.random.default_rng(3)
    pos = 2.0 * rng.standard_normal((steps, 3)).cumsum(axis=0) / np.sqrt(steps)
    vel = 3.0 * rng.standard_normal((steps, 3))
    actions = ActionMap(ACTIONS, robot)
    pipeline = ObservationPipeline(
        terms,
        {
            "joint_pos": robot.joint_names,
            "joint_vel": robot.joint_names,
            LAST_ACTION: actions.joints,
        },
    )
    out: dict[str, list[np.ndarray]] = {"observation": [], "output": [], "command": []}
    for step in range(steps):
        if step in RESETS:
            last = np.zeros((1, actions.dim))
            state = [np.zeros(lstm.hidden)] * 2 if lstm else None
        raw = {
            "joint_pos": pos[step : step + 1],
            "joint_vel": vel[step : step + 1],
            LAST_ACTION: last,
        }
        pipeline.restart(raw) if step in RESETS else pipeline.push(raw)
        observation = pipeline.emit()[0]
        output = forward(observation, layers, norm, squash, lstm, state).astype(np.float32)
        last = np.clip(output, -1, 1)[None]
        command = actions.command(last, np.tile(actions.idle, (1, 1)))
        out["observation"].append(observation)
        out["output"].append(output)
        out["command"].append(command[0].copy())
    stacked = {name: np.stack(rows) for name, rows in out.items()}
    return Golden(signals={"joint_pos": pos, "joint_vel": vel}, resets=RESETS, **stacked)


def make_lstm(inputs: int, hidden: int, seed: int = 5) -> Lstm:
    """Draw a recurrent layer."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(hidden)).astype(np.float32)

    return Lstm(
        weight_ih=draw(4 * hidden, inputs),
        weight_hh=draw(4 * hidden, hidden),
        bias_ih=draw(4 * hidden),
        bias_hh=draw(4 * hidden),
    )


def make_layers(widths: tuple[int, ...], activation: str, seed: int = 0) -> tuple[Layer, ...]:
    """Draw a network."""
    rng = np.random.default_rng(seed)
    count = len(widths) - 1
    return tuple(
        Layer(
            weight=(rng.standard_normal((n, k)) / np.sqrt(k)).astype(np.float32),
            bias=(0.1 * rng.standard_normal(n)).astype(np.float32),
            activation=activation if i < count - 1 else "identity",
        )
        for i, (k, n) in enumerate(itertools.pairwise(widths))
    )


@pytest.fixture(scope="session")
def robot() -> Robot:
    return _robot()


@pytest.fixture(scope="session")
def make_spec(robot: Robot) -> Callable[..., BundleSpec]:
    """Return a builder of specifications."""

    def build(
        activation: str = "tanh",
        squash: str = "none",
        normalize: bool = True,
        hidden: int = 0,
        observed: tuple[Term, ...] = TERMS,
        **fields: Any,
    ) -> BundleSpec:
        rng = np.random.default_rng(1)
        dim = sum(term.width for term in observed)
        layers = make_layers((hidden or dim, 16, 16, 2), activation)
        lstm = make_lstm(dim, hidden) if hidden else None
        norm = None
        if normalize:
            mean, var = rng.standard_normal(dim), 0.2 + rng.random(dim)
            norm = Normalizer(mean=mean, var=var, clip=3.0, count=1000.0)
        known: dict[str, Any] = {
            "name": "arm-test",
            "robot": robot,
            "terms": observed,
            "lstm": lstm,
            "actions": ACTIONS,
            "layers": layers,
            "normalizer": norm,
            "squash": squash,
            "control_period_s": 0.01,
            "tick_s": 0.002,
            "safe_stop_kd": {"elbow": 0.5},
            "golden": record(robot, layers, norm, squash, lstm=lstm, terms=observed),
            "provenance": Provenance(
                algo="ppo",
                task="swing_up",
                source_domain="bullet",
                seed=7,
                env_steps=1_000_000,
                versions={"numpy": "2.0"},
                evaluation=(Evaluation(domain="bullet", seeds=(7,), episodes=200, successes=196),),
            ),
        }
        return BundleSpec(**{**known, **fields})

    return build


@pytest.fixture(scope="session")
def written(make_spec: Callable[..., BundleSpec], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good bundle that no test may change."""
    return write_bundle(tmp_path_factory.mktemp("good") / "arm-test.policy", make_spec())


@pytest.fixture(scope="session")
def rich() -> tuple[Term, ...]:
    """Terms with every operation, strides in both orders, and both fills."""
    return RICH


@pytest.fixture(scope="session")
def bundles(
    make_spec: Callable[..., BundleSpec], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Bundle]:
    """One bundle of each kind of policy; no test may change them."""
    folder = tmp_path_factory.mktemp("kinds")
    specs = {
        "tanh": make_spec(),
        "elu": make_spec(activation="elu", squash="tanh"),
        "relu": make_spec(activation="relu", normalize=False),
        "rich": make_spec(observed=RICH),
        "blind": make_spec(observed=TERMS[1:3]),
        "lstm": make_spec(hidden=8),
    }
    return {name: load(write_bundle(folder / f"{name}.policy", s)) for name, s in specs.items()}


@pytest.fixture
def bundle_dir(written: Path, tmp_path: Path) -> Path:
    """A copy of the good bundle, to be broken."""
    return Path(shutil.copytree(written, tmp_path / "arm-test.policy"))


class Editor:
    """Change a bundle the way an attacker would: hashes are made to fit again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def manifest(self, change: Callable[[dict[str, Any]], Any]) -> None:
        file = self.path / "manifest.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    def text(self, old: str, new: str) -> None:
        file = self.path / "manifest.json"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def put(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)
        entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        self.manifest(lambda m: m["files"][name].update(entry))

    def tensors(self, name: str, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
        from safetensors.numpy import load_file, save

        tensors = load_file(self.path / name)
        change(tensors)
        self.put(name, save(tensors))

    def header(self, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
        data = (self.path / name).read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        change(header)
        text = json.dumps(header).encode()
        self.put(name, len(text).to_bytes(8, "little") + text + data[8 + size :])


@pytest.fixture
def edit_copy(tmp_path: Path) -> Callable[[Path], Editor]:
    """Return a function that copies a bundle and gives what changes the copy."""
    return lambda path: Editor(Path(shutil.copytree(path, tmp_path / "copy.policy")))


@pytest.fixture
def edit(bundle_dir: Path) -> Editor:
    return Editor(bundle_dir)

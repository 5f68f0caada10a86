"""The mismatches that damaged robots: units, gravity, quaternions, rates, widths, joint order."""

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
    Golden,
    Layer,
    Normalizer,
    NumpyPolicy,
    Provenance,
    SignalEntry,
    check_bundle,
    joint_signals,
    load,
    write_bundle,
)
from simreal.errors import ArmError, BundleError

INERTIA = (0.01, 0.01, 0.01, 0.0, 0.0, 0.0)
JOINTS, STEPS, HISTORY = 12, 64, 3
# 12 joints, positions and speeds in three frames, three actions, gravity, turn, target, heading.
WIDTH = 2 * JOINTS * HISTORY + JOINTS + 3 + 3 + 3 + 1


def _robot() -> Robot:
    """Twelve joints in a chain on a floating base, with motors in an order of their own."""
    links = [Link(name="base", mass=1.0, inertia=INERTIA)]
    joints = []
    for i in range(JOINTS):
        links.append(Link(name=f"link_{i}", mass=1.0, inertia=INERTIA))
        joints.append(
            Joint(
                name=f"joint_{i}",
                kind="revolute",
                parent=links[-2].name,
                child=links[-1].name,
                lower=-3.0,
                upper=3.0,
            )
        )
    motors = [
        Actuator(joint=f"joint_{i}", kind="position", torque_limit=5.0 + i, kp=20.0, kd=1.0)
        for i in (7, 2, 11, 0, 5, 9, 1, 10, 3, 8, 6, 4)
    ]
    return Robot(
        name="walker",
        links=tuple(links),
        joints=tuple(joints),
        actuators=tuple(motors),
        fixed_base=False,
    )


def _vector(name: str, kind: Any, unit: str, elements: tuple[str, ...]) -> SignalEntry:
    units = (unit,) * len(elements)
    return SignalEntry(name=name, kind=kind, elements=elements, units=units, frame="base")


def _spec() -> BundleSpec:
    robot = _robot()
    names, xyz = robot.joint_names, ("x", "y", "z")
    signals = (
        *joint_signals(robot),
        _vector("gravity", "gravity", "1", xyz),
        _vector("turn", "angular_velocity", "rad/s", xyz),
        _vector("orientation", "quaternion", "1", ("w", *xyz)),
        SignalEntry(
            name="target",
            kind="command",
            elements=("vx", "vy", "wz"),
            units=("m/s", "m/s", "rad/s"),
            frame="base",
            range=((-1.0, 1.0), (-0.5, 0.5), (-2.0, 2.0)),
        ),
    )
    terms = (
        Term(name="pose", source="joint_pos", elements=names, history=HISTORY),
        Term(name="speed", source="joint_vel", elements=names[::-1], history=HISTORY, fill="zero"),
        Term(name="last", source=LAST_ACTION, elements=names),
        Term(name="gravity", source="gravity", elements=xyz),
        Term(name="turn", source="turn", elements=xyz, ops=(Op("scale", (0.25,)),)),
        Term(name="target", source="target", elements=("vx", "vy", "wz")),
        Term(name="heading", source="orientation", elements=("z",)),
    )
    actions = tuple(ActionTerm(joint=name, scale=0.5) for name in names)
    rng = np.random.default_rng(0)
    layers = (
        Layer(
            weight=(0.1 * rng.standard_normal((JOINTS, WIDTH))).astype(np.float32),
            bias=(0.1 * rng.standard_normal(JOINTS)).astype(np.float32),
            activation="identity",
        ),
    )
    norm = Normalizer(mean=0.1 * rng.standard_normal(WIDTH), var=0.5 + rng.random(WIDTH))
    return BundleSpec(
        name="walker",
        robot=robot,
        terms=terms,
        actions=actions,
        layers=layers,
        normalizer=norm,
        control_period_s=0.02,
        tick_s=0.005,
        signals=signals,
        golden=_record(robot, signals, terms, actions, layers[0], norm),
        provenance=Provenance(
            algo="ppo", task="walk", source_domain="toy", seed=0, env_steps=1, versions={}
        ),
    )


def _record(
    robot: Robot,
    signals: tuple[SignalEntry, ...],
    terms: tuple[Term, ...],
    actions: tuple[ActionTerm, ...],
    layer: Layer,
    norm: Normalizer,
) -> Golden:
    rng = np.random.default_rng(1)
    raw = {s.name: rng.standard_normal((STEPS, len(s.elements))) for s in signals}
    for name in ("gravity", "orientation"):
        raw[name] /= np.linalg.norm(raw[name], axis=1, keepdims=True)
    action_map = ActionMap(actions, robot)
    elements = {s.name: s.elements for s in signals}
    pipeline = ObservationPipeline(terms, {**elements, LAST_ACTION: action_map.joints})
    last = np.zeros((1, JOINTS))
    rows: dict[str, list[np.ndarray]] = {"observation": [], "output": [], "command": []}
    for step in range(STEPS):
        now = {**{n: v[step : step + 1] for n, v in raw.items()}, LAST_ACTION: last}
        pipeline.push(now) if step else pipeline.restart(now)
        seen = pipeline.emit()[0]
        x = np.clip((seen - norm.mean) / np.sqrt(norm.var + norm.epsilon), -10, 10)
        output = (layer.weight @ x + layer.bias).astype(np.float32)
        last = np.clip(output, -1, 1)[None]
        command = action_map.command(last, np.tile(action_map.idle, (1, 1)))[0].copy()
        for name, row in zip(rows, (seen, output, command), strict=True):
            rows[name].append(row)
    return Golden(signals=raw, **{name: np.stack(row) for name, row in rows.items()})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("walker") / "walker.policy", _spec())


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    return load(path)


def _signal(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    return next(s for s in manifest["signals"] if s["name"] == name)


def _units(name: str, unit: str) -> Callable[[Any], None]:
    def change(manifest: dict[str, Any]) -> None:
        signal = _signal(manifest, name)
        signal["units"] = [unit] * len(signal["elements"])

    return change


def _in(name: str, **values: Any) -> Callable[[Any], None]:
    return lambda manifest: _signal(manifest, name).update(values)


def _widen(manifest: dict[str, Any]) -> None:
    manifest["network"]["inputs"] = 160


MANIFESTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "degrees": (
        _units("joint_pos", "deg"),
        "signals.joint_pos.units of joint_0: expected 'rad', found 'deg'",
    ),
    "degrees per second": (
        _units("turn", "deg/s"),
        "signals.turn.units of x: expected 'rad/s', found 'deg/s'",
    ),
    "gravity as an acceleration": (
        _units("gravity", "m/s^2"),
        "signals.gravity.units of x: expected '1', found 'm/s^2'",
    ),
    "a unit of no system": (
        _units("target", "knots"),
        "signals.target.units of vx: expected '1' or 'rad' or 'rad/s'",
    ),
    "no frame": (
        _in("turn", frame=None),
        "signals.turn.frame: expected the name of a frame, found None",
    ),
    "a frame for joints": (
        _in("joint_vel", frame="world"),
        "signals.joint_vel.frame: expected null, found 'world'",
    ),
    "a quaternion of three": (
        _in("orientation", elements=["x", "y", "z"], units=["1"] * 3),
        "signals.orientation.elements: expected ['w', 'x', 'y', 'z'] in any order, "
        "found ['x', 'y', 'z']",
    ),
    "gravity of two": (
        _in("gravity", elements=["x", "y"], units=["1"] * 2),
        "signals.gravity.elements: expected ['x', 'y', 'z'] in any order, found ['x', 'y']",
    ),
    "a range for some": (
        _in("target", range=[[-1, 1]]),
        "signals.target.range: expected 3 pairs, or null, found a list of 1 items",
    ),
    "a range that is none": (
        _in("target", range=[[-1, 1], [0.5, 0.5], [-2, 2]]),
        "signals.target.range of vy: expected least < greatest, found [0.5, 0.5]",
    ),
    "an age of nothing": (
        _in("turn", max_age_s=0.0),
        "signals.turn.max_age_s: expected more than 0, or null, found 0.0",
    ),
    "160 for 94 observations": (
        _widen,
        f"network.inputs: expected observation.dim = {WIDTH}, found 160",
    ),
    "wrong rate": (
        lambda m: m["timing"].update(control_period_s=0.01, deadline_s=0.01),
        "timing.control_period_s: expected tick_s * decimation = 0.02, found 0.01",
    ),
    "deadline after the period": (
        lambda m: m["timing"].update(deadline_s=0.03),
        "timing.deadline_s: expected at most the period 0.02, found 0.03",
    ),
    "no rate tolerance": (
        lambda m: m["timing"].update(rate_tolerance=0),
        "timing.rate_tolerance: expected a value in (0, 0.5], found 0",
    ),
    "wrong interface hash": (
        lambda m: m["robot"].update(interface_sha256="0" * 64),
        "the hash of the joint and actuator tables, found 000000000000",
    ),
    "missing normalizer": (
        lambda m: m["observation"]["normalization"].update(mean=None),
        "observation.normalization.mean: expected the name of a tensor, found None",
    ),
    "no golden reset": (
        lambda m: m["golden"].update(resets=[]),
        "golden.resets: expected rising steps below 64, the first of them 0, found []",
    ),
    "golden reset beyond the end": (
        lambda m: m["golden"].update(resets=[0, 64]),
        "golden.resets: expected rising steps below 64, the first of them 0, found [0, 64]",
    ),
    "soft range beyond the limit": (
        lambda m: m["safety"]["joint_position"].update(joint_3=[-3.5, 3]),
        "safety.joint_position.joint_3: expected a range within [-3.0, 3.0], found [-3.5, 3]",
    ),
    "no soft range": (
        lambda m: m["safety"]["joint_position"].pop("joint_3"),
        "safety.joint_position: expected a value for 'joint_3', found none",
    ),
    "torque rate for a position drive": (
        lambda m: m["safety"]["torque_rate_max"].update(joint_3=100.0),
        "safety.torque_rate_max: expected only [], found 'joint_3'",
    ),
    "held for ever": (
        lambda m: m["safety"].update(stale_hold_steps=1000),
        "safety.stale_hold_steps: expected at most 10, found 1000",
    ),
    "no tilt": (
        lambda m: m["safety"].update(tilt_max_rad=0),
        "safety.tilt_max_rad: expected more than 0, or null, found 0",
    ),
    "blended from before": (
        lambda m: m["safety"].update(blend_in_s=-1),
        "safety.blend_in_s: expected at least 0, found -1",
    ),
    "unit of an action": (
        lambda m: m["action"]["entries"][0].update(unit="deg"),
        "action.entries.joint_0.unit: expected 'rad', found 'deg'",
    ),
    "action of another kind": (
        lambda m: m["action"]["entries"][0].update(kind="velocity"),
        "action.entries.joint_0.kind: expected 'position', as the actuator, found 'velocity'",
    ),
    "a gate of no kind": (
        lambda m: m["network"].update(kind="lstm"),
        "network.kind: expected 'mlp', as network.recurrent, found 'lstm'",
    ),
    "stride of nothing": (
        lambda m: m["observation"]["terms"][0].update(stride=0),
        "stride 0; at least 1 needed",
    ),
    "order of frames": (
        lambda m: m["observation"]["terms"][0].update(order="random"),
        "expected 'oldest_first' or 'newest_first', found 'random'",
    ),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_mismatch_is_refused_with_field_expected_and_found(
    case: str, path: Path, edit_copy: Callable[[Path], Any]
) -> None:
    change, message = MANIFESTS[case]
    edit = edit_copy(path)
    edit.manifest(change)
    with pytest.raises(BundleError) as caught:
        load(edit.path)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "factor", "message"),
    [
        ("gravity", 9.81, "signal 'gravity' (gravity): expected vectors of length 1, found 9.8"),
        ("orientation", 57.3, "signal 'orientation' (quaternion): expected vectors of length 1"),
    ],
)
def test_a_recording_in_other_units_is_refused(
    name: str, factor: float, message: str, path: Path, edit_copy: Callable[[Path], Any]
) -> None:
    edit = edit_copy(path)
    key = f"signal.{name}"
    edit.tensors("golden.safetensors", lambda t: t.update({key: factor * t[key]}))
    with pytest.raises(BundleError) as caught:
        load(edit.path)
    assert message in str(caught.value)


def test_joint_positions_in_degrees_do_not_replay(
    path: Path, edit_copy: Callable[[Path], Any]
) -> None:
    edit = edit_copy(path)
    key = "signal.joint_pos"
    edit.tensors("golden.safetensors", lambda t: t.update({key: np.degrees(t[key])}))
    with pytest.raises(BundleError, match=r"observation at step 0, pose\[joint_0\]@2: expected"):
        check_bundle(edit.path)


def test_a_quaternion_in_another_order_does_not_replay(
    path: Path, edit_copy: Callable[[Path], Any]
) -> None:
    edit = edit_copy(path)
    edit.manifest(_in("orientation", elements=["x", "y", "z", "w"]))
    with pytest.raises(BundleError, match=r"observation at step 0, heading\[z\]@0: expected"):
        check_bundle(edit.path)


def test_a_missing_normalizer_tensor_is_named(path: Path, edit_copy: Callable[[Path], Any]) -> None:
    edit = edit_copy(path)
    edit.tensors("weights.safetensors", lambda t: t.pop("normalizer.mean"))
    with pytest.raises(BundleError, match=r"expected a tensor 'normalizer.mean', found none"):
        load(edit.path)


def test_a_robot_may_give_its_quaternion_in_its_own_order(bundle: Bundle) -> None:
    policy, reference = NumpyPolicy(bundle), NumpyPolicy(bundle)
    names = bundle.manifest.robot.joint_names
    policy.bind(names, {"orientation": ("x", "y", "z", "w")})
    signals = {name: value[0] for name, value in bundle.golden.signals.items()}
    turned = {**signals, "orientation": np.roll(signals["orientation"], -1)}
    np.testing.assert_array_equal(policy.reset(turned), reference.reset(signals))
    with pytest.raises(ArmError, match="elements of signal 'orientation': expected"):
        policy.bind(names, {"orientation": ("x", "y", "z")})


def test_a_thousand_orders_of_twelve_joints_give_the_same_commands_by_name(
    bundle: Bundle,
) -> None:
    names = bundle.manifest.robot.joint_names
    golden = bundle.golden
    policy, rng = NumpyPolicy(bundle), np.random.default_rng(2)
    by_name = dict(zip(bundle.manifest.robot.actuator_names, golden.command[1], strict=True))
    for _ in range(1000):
        order = rng.permutation(JOINTS)
        policy.bind([names[i] for i in order])
        for step in range(2):
            signals = {name: value[step] for name, value in golden.signals.items()}
            for name in ("joint_pos", "joint_vel"):
                signals[name] = signals[name][order]
            (policy.step if step else policy.reset)(signals)
        assert policy.command_by_name() == pytest.approx(by_name, abs=1e-5)

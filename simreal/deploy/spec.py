"""State a policy once, and derive its manifest.

The exporter says what it knows in the words of training: a robot, terms, layers. Slices, units,
hashes and tables are computed from that, so that nobody types them a second time.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from simreal.core.action import ActionTerm
from simreal.core.observation import LAST_ACTION, Term
from simreal.core.robot import Joint, Robot
from simreal.deploy.contents import Golden, Layer, Lstm, Normalizer
from simreal.deploy.decode import Words, expect
from simreal.deploy.manifest import (
    FORMAT,
    SCHEMA_VERSION,
    ActionEntry,
    ActionTable,
    ActuatorEntry,
    FileEntry,
    GoldenEntry,
    JointEntry,
    LayerEntry,
    Manifest,
    NetworkEntry,
    Normalization,
    ObservationEntry,
    Provenance,
    RecurrentEntry,
    RobotEntry,
    Safety,
    SignalEntry,
    TermEntry,
    Timing,
    TrainedLatency,
)
from simreal.deploy.sensing import joint_unit, unit_of
from simreal.errors import BundleError

WEIGHTS_FILE = "weights.safetensors"
GOLDEN_FILE = "golden.safetensors"
TRAINING_FILE = "training.safetensors"
STALE_HOLD_STEPS = 2
_MEAN, _VAR = "normalizer.mean", "normalizer.var"
_LSTM = ("lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0")


@dataclass(frozen=True, kw_only=True)
class BundleSpec:
    """State a policy completely.

    Attributes:
        name: Name of the policy.
        robot: Robot it was trained for.
        terms: Observation terms, in order.
        actions: Action terms, one per network output.
        layers: The network; the last layer is linear.
        normalizer: Observation statistics, if any.
        squash: `tanh` if the output is squashed, else `none`.
        control_period_s: Time between two commands [s].
        tick_s: Physics tick of the training [s].
        max_signal_age_s: Age from which a measurement must not be used [s]; two control periods if
            None.
        rate_tolerance: Share by which the measured rate may differ.
        deadline_s: Time from the beginning of a period by which its command must be sent [s]; the
            whole period if None.
        max_consecutive_overruns: Late periods in a row from which the controller stops.
        trained_latency: Delays seen in training.
        signals: Raw signals the robot must supply; joint positions and velocities if None.
        torque_limit: Bound by joint [Nm]; the actuators' own where absent.
        torque_rate_max: Fastest change of torque by joint [Nm/s]; where absent, what a control
            period needs from one limit to the other.
        joint_position: Range that is kept, by joint [rad]; the joints' own limits where absent.
        joint_velocity_max: Velocity that trips the stop, by joint [rad/s]; the joints' own where
            absent.
        safe_stop_kd: Damping after a fault, by joint [Nm s/rad]; 0 where absent.
        start_pose_max_error: Farthest a joint may be from the default pose at the start [rad or m].
        blend_in_s: Time in which the policy takes over [s].
        tilt_max_rad: Tilt of the base that trips the stop [rad].
        stale_hold_steps: Control periods that stale signals are borne for.
        hold: What a faster loop sends between two commands.
        license: SPDX name of the license.
        lstm: Recurrent layer between normalizer and dense layers, if any.
        golden: Recorded episodes of at least 64 steps.
        golden_atol: Largest difference that a runtime may show.
        provenance: Where the policy comes from.
        training: What a trainer needs to go on, name to float array; no controller reads it.
        notes: Text for the card.
        created: When it is written, for the card alone.
    """

    name: str
    robot: Robot
    terms: tuple[Term, ...]
    actions: tuple[ActionTerm, ...]
    layers: tuple[Layer, ...]
    control_period_s: float
    tick_s: float
    golden: Golden
    provenance: Provenance
    normalizer: Normalizer | None = None
    squash: Literal["none", "tanh"] = "none"
    max_signal_age_s: float | None = None
    rate_tolerance: float = 0.05
    deadline_s: float | None = None
    max_consecutive_overruns: int = 3
    trained_latency: TrainedLatency = field(default_factory=TrainedLatency)
    signals: tuple[SignalEntry, ...] | None = None
    torque_limit: Mapping[str, float] = field(default_factory=dict)
    torque_rate_max: Mapping[str, float] = field(default_factory=dict)
    joint_position: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    joint_velocity_max: Mapping[str, float] = field(default_factory=dict)
    safe_stop_kd: Mapping[str, float] = field(default_factory=dict)
    start_pose_max_error: float | None = None
    blend_in_s: float = 0.0
    tilt_max_rad: float | None = None
    stale_hold_steps: int = STALE_HOLD_STEPS
    hold: Literal["zero_order", "linear"] = "zero_order"
    license: str | None = None
    lstm: Lstm | None = None
    golden_atol: float = 1e-5
    training: Mapping[str, np.ndarray] | None = None
    notes: str = ""
    created: str | None = None


def joint_signals(robot: Robot) -> tuple[SignalEntry, ...]:
    """Return the signals `joint_pos` and `joint_vel` of a robot, in canonical order."""

    def signal(name: str, kind: str) -> SignalEntry:
        return SignalEntry(
            name=name,
            kind="joint_position" if kind == "joint_position" else "joint_velocity",
            elements=robot.joint_names,
            units=tuple(joint_unit(kind, joint.kind) for joint in robot.movable),
        )

    return signal("joint_pos", "joint_position"), signal("joint_vel", "joint_velocity")


def build(spec: BundleSpec) -> tuple[Manifest, dict[str, bytes]]:
    """Return the manifest and the content of the files it lists, by name.

    Args:
        spec: The policy.

    Raises:
        BundleError: A term reads what no robot measures, or weights are not float32.
    """
    # Only an exporter needs the package; the controller has a reader of its own.
    from safetensors.numpy import save

    members: dict[str, tuple[Literal["weights", "golden", "training"], bytes]] = {
        WEIGHTS_FILE: ("weights", save(_weight_tensors(spec))),
        GOLDEN_FILE: ("golden", save(_golden_tensors(spec.golden))),
    }
    if spec.training is not None:
        training = {name: _real(np.asarray(value)) for name, value in spec.training.items()}
        members[TRAINING_FILE] = ("training", save(training))
    signals = joint_signals(spec.robot) if spec.signals is None else spec.signals
    terms = _terms(spec.terms, signals)
    dim = terms[-1].slice[1] if terms else 0
    manifest = Manifest(
        format=FORMAT,
        schema_version=SCHEMA_VERSION,
        name=spec.name,
        license=spec.license,
        files={
            name: FileEntry(bytes=len(data), sha256=_hash(data), role=role)
            for name, (role, data) in members.items()
        },
        robot=_robot(spec.robot),
        timing=_timing(spec),
        signals=signals,
        observation=ObservationEntry(
            dtype="float32",
            dim=dim,
            layout="term_major",
            terms=terms,
            normalization=_normalization(spec.normalizer),
        ),
        network=_network(spec, dim),
        action=_action(spec),
        safety=_safety(spec, signals),
        golden=GoldenEntry(
            file=GOLDEN_FILE,
            steps=len(spec.golden.output),
            resets=spec.golden.resets,
            atol=spec.golden_atol,
        ),
        provenance=spec.provenance,
    )
    return manifest, {name: data for name, (_, data) in members.items()}


def with_golden(manifest: Manifest, golden: Golden) -> tuple[Manifest, bytes]:
    """Return a manifest with other golden vectors, and the content of their file.

    Args:
        manifest: The manifest.
        golden: What was recorded.
    """
    from safetensors.numpy import save

    data = save(_golden_tensors(golden))
    name = manifest.golden.file
    file = FileEntry(bytes=len(data), sha256=_hash(data), role="golden")
    entry = replace(manifest.golden, steps=len(golden.output), resets=golden.resets)
    return replace(manifest, files={**manifest.files, name: file}, golden=entry), data


def _weight_tensors(spec: BundleSpec) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for i, layer in enumerate(spec.layers):
        for part, value in (("weight", layer.weight), ("bias", layer.bias)):
            name = f"network.{i}.{part}"
            # A silent cast would change the policy; what was trained is what is written.
            expect(value.dtype == np.float32, name, "float32", Words(value.dtype))
            tensors[name] = np.ascontiguousarray(value)
    if spec.lstm is not None:
        for name, value in zip(_LSTM, spec.lstm.tensors, strict=True):
            expect(value.dtype == np.float32, name, "float32", Words(value.dtype))
            tensors[name] = np.ascontiguousarray(value)
    if spec.normalizer is not None:
        tensors[_MEAN] = _real(spec.normalizer.mean)
        tensors[_VAR] = _real(spec.normalizer.var)
    return tensors


def _golden_tensors(golden: Golden) -> dict[str, np.ndarray]:
    return {
        **{f"signal.{name}": _real(value) for name, value in golden.signals.items()},
        "observation": np.ascontiguousarray(golden.observation, dtype=np.float32),
        "output": np.ascontiguousarray(golden.output, dtype=np.float32),
        "command": np.ascontiguousarray(golden.command, dtype=np.float64),
    }


def _real(value: np.ndarray) -> np.ndarray:
    kept = value.dtype if value.dtype in (np.float32, np.float64) else np.float64
    return np.asarray(value, dtype=kept, order="C")  # keeps a scalar a scalar


def _robot(robot: Robot) -> RobotEntry:
    return RobotEntry(
        id=robot.name,
        fixed_base=robot.fixed_base,
        interface_sha256=robot.interface_sha256,
        dynamics_sha256=robot.dynamics_sha256,
        joints=tuple(_joint(joint) for joint in robot.movable),
        actuators=tuple(
            ActuatorEntry(
                joint=a.joint,
                kind=a.kind,
                torque_limit=a.torque_limit,
                torque_rate_limit=None,
                kp=a.kp,
                kd=a.kd,
                loop="motor",
            )
            for a in robot.actuators
        ),
    )


def _joint(joint: Joint) -> JointEntry:
    if joint.kind == "fixed":
        raise BundleError(f"joint '{joint.name}': expected a joint that moves, found kind 'fixed'")
    return JointEntry(
        name=joint.name,
        kind=joint.kind,
        axis=joint.axis,
        lower=None if np.isinf(joint.lower) else joint.lower,
        upper=None if np.isinf(joint.upper) else joint.upper,
        max_velocity=joint.max_velocity,
        default=joint.default,
    )


def _timing(spec: BundleSpec) -> Timing:
    age = spec.max_signal_age_s
    expect(spec.tick_s > 0, "tick_s", "more than 0", spec.tick_s)
    return Timing(
        control_period_s=spec.control_period_s,
        tick_s=spec.tick_s,
        decimation=round(spec.control_period_s / spec.tick_s),
        max_signal_age_s=2.0 * spec.control_period_s if age is None else age,
        rate_tolerance=spec.rate_tolerance,
        deadline_s=spec.control_period_s if spec.deadline_s is None else spec.deadline_s,
        max_consecutive_overruns=spec.max_consecutive_overruns,
        trained_latency=spec.trained_latency,
    )


def _terms(terms: tuple[Term, ...], signals: tuple[SignalEntry, ...]) -> tuple[TermEntry, ...]:
    by_name = {signal.name: signal for signal in signals}
    made = []
    at = 0
    for term in terms:
        signal = by_name.get(term.source)
        if signal is None and term.source != LAST_ACTION:
            raise BundleError(
                f"observation term '{term.name}' reads '{term.source}', expected one of "
                f"{sorted(by_name)}: a policy that needs what no robot measures cannot be deployed"
            )
        known = set(term.elements) if signal is None else set(signal.elements)
        unit = unit_of(signal, [e for e in term.elements if e in known])
        parts = {name: getattr(term, name) for name in Term.__dataclass_fields__}
        made.append(TermEntry(**parts, unit=unit, slice=(at, at + term.width)))
        at += term.width
    return tuple(made)


def _normalization(normalizer: Normalizer | None) -> Normalization:
    if normalizer is None:
        return Normalization(
            kind="none", mean=None, var=None, count=None, epsilon=None, clip=None, frozen=True
        )
    return Normalization(
        kind="running_mean_std",
        mean=_MEAN,
        var=_VAR,
        count=normalizer.count,
        epsilon=normalizer.epsilon,
        clip=normalizer.clip,
        frozen=True,
    )


def _network(spec: BundleSpec, dim: int) -> NetworkEntry:
    recurrent = None
    if spec.lstm is not None:
        weight_ih, weight_hh, bias_ih, bias_hh = _LSTM
        recurrent = RecurrentEntry(
            kind="lstm",
            hidden=spec.lstm.hidden,
            weight_ih=weight_ih,
            weight_hh=weight_hh,
            bias_ih=bias_ih,
            bias_hh=bias_hh,
        )
    return NetworkEntry(
        kind="mlp" if recurrent is None else "lstm",
        inputs=dim,
        recurrent=recurrent,
        layers=tuple(
            LayerEntry(
                weight=f"network.{i}.weight",
                bias=f"network.{i}.bias",
                units=layer.bias.size,
                activation=layer.activation,
            )
            for i, layer in enumerate(spec.layers)
        ),
        output="gaussian_mean",
        squash=spec.squash,
        onnx=None,
    )


def _action(spec: BundleSpec) -> ActionTable:
    kinds = {a.joint: a.kind for a in spec.robot.actuators}
    entries = []
    for term in spec.actions:
        kind = kinds.get(term.joint, "torque")
        unit = joint_unit(kind, spec.robot.joint(term.joint).kind)
        entries.append(
            ActionEntry(
                joint=term.joint, kind=kind, unit=unit, scale=term.scale, offset=term.offset
            )
        )
    return ActionTable(clip=(-1.0, 1.0), entries=tuple(entries), hold=spec.hold)


def _safety(spec: BundleSpec, signals: tuple[SignalEntry, ...]) -> Safety:
    robot = spec.robot
    seen = [e for s in signals if s.kind == "joint_velocity" for e in s.elements]
    placed = [robot.joint(e) for s in signals if s.kind == "joint_position" for e in s.elements]
    driven = [a for a in robot.actuators if a.kind == "torque"]
    limits = {**{a.joint: a.torque_limit for a in robot.actuators}, **spec.torque_limit}
    swings = {a.joint: 2.0 * limits[a.joint] / spec.control_period_s for a in driven}
    ranges = {j.name: (j.lower, j.upper) for j in placed if np.isfinite([j.lower, j.upper]).all()}
    return Safety(
        torque_limit=limits,
        torque_rate_max={**swings, **spec.torque_rate_max},
        joint_position={**ranges, **spec.joint_position},
        joint_velocity_max={
            **{name: robot.joint(name).max_velocity for name in seen},
            **spec.joint_velocity_max,
        },
        safe_stop_kd={**{a.joint: 0.0 for a in driven}, **spec.safe_stop_kd},
        start_pose_max_error=spec.start_pose_max_error,
        blend_in_s=spec.blend_in_s,
        tilt_max_rad=spec.tilt_max_rad,
        stale_hold_steps=spec.stale_hold_steps,
        requires_human_arm=True,
        on_nan="safe_stop",
    )


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

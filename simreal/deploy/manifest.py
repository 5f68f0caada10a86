"""The manifest: what a policy needs, promises and expects, as typed records, schema 1.0.

Robots were damaged by numbers that were right in one program and retyped, reordered or rounded in
the next. So everything between raw signals and joint commands stands here once, by name and with
its unit, written by the exporter and interpreted by the runtime. There is no time in it: the same
checkpoint gives the same bytes, and their hash is the identity of the policy.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simreal.core.observation import Term
from simreal.core.robot import ControlKind, Vec3
from simreal.deploy.decode import decode, describe, expect, mismatch, parse_json

FORMAT: Literal["simreal/policy-bundle"] = "simreal/policy-bundle"
SCHEMA_VERSION = "1.0"
MAX_MANIFEST_BYTES = 2**20
UNITS = {"angle": "rad", "length": "m", "torque": "Nm", "time": "s"}

Activation = Literal["tanh", "relu", "elu", "identity"]
SignalKind = Literal["joint_position", "joint_velocity", "joint_torque", "other"]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """Describe a member file: its size [bytes], its hash and what it is for."""

    bytes: int
    sha256: str
    role: Literal["weights", "golden", "training"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JointEntry:
    """Describe a joint; see `simreal.core.robot.Joint`. A limit of None is no limit."""

    name: str
    kind: Literal["revolute", "continuous", "prismatic"]
    axis: Vec3
    lower: float | None
    upper: float | None
    max_velocity: float
    default: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ActuatorEntry:
    """Describe a motor; see `simreal.core.robot.Actuator`."""

    joint: str
    kind: ControlKind
    torque_limit: float
    kp: float
    kd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotEntry:
    """Describe the robot the policy was trained for.

    Attributes:
        id: Name of the robot.
        fixed_base: Whether its root is welded to the world.
        interface_sha256: Hash of what must match on the robot.
        dynamics_sha256: Hash of masses and friction, which may differ.
        joints: The one joint table, in the canonical order.
        actuators: Motors, in the order of the commands.
    """

    id: str
    fixed_base: bool
    interface_sha256: str
    dynamics_sha256: str
    joints: tuple[JointEntry, ...]
    actuators: tuple[ActuatorEntry, ...]

    @property
    def interface(self) -> dict[str, Any]:
        """Return what must match on the robot, in the form of `core.robot.Robot.interface`."""
        kept = ("name", "kind", "lower", "upper", "max_velocity")
        return {
            "name": self.id,
            "fixed_base": self.fixed_base,
            "joints": [
                {"axis": list(j.axis), **{key: getattr(j, key) for key in kept}}
                for j in self.joints
            ],
            "actuators": [
                {"joint": a.joint, "kind": a.kind, "torque_limit": a.torque_limit}
                for a in self.actuators
            ],
            "units": dict(UNITS),
        }

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Return the joint names in canonical order (J)."""
        return tuple(j.name for j in self.joints)

    @property
    def actuator_names(self) -> tuple[str, ...]:
        """Return the driven joints in the order of the commands (A)."""
        return tuple(a.joint for a in self.actuators)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedLatency:
    """State the smallest and largest delays seen in training, of commands and measurements [s]."""

    command_s: Span = (0.0, 0.0)
    measurement_s: Span = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """State the rate of the policy.

    Attributes:
        control_period_s: Time between two commands [s].
        tick_s: Physics tick of the training [s].
        decimation: Ticks per command.
        max_signal_age_s: Age from which a measurement must not be used [s].
        trained_latency: Delays seen in training.
    """

    control_period_s: float
    tick_s: float
    decimation: int
    max_signal_age_s: float
    trained_latency: TrainedLatency


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalEntry:
    """Describe a raw signal that the robot must supply.

    Attributes:
        name: Name that observation terms read.
        kind: What is measured; the elements of joint signals are joint names.
        elements: Names of its numbers.
        units: One unit per element.
        dtype: Type in which training saw it.
    """

    name: str
    kind: SignalKind
    elements: tuple[str, ...]
    units: tuple[str, ...]
    dtype: Literal["float64", "float32"] = "float64"


@dataclass(frozen=True, slots=True, kw_only=True)
class TermEntry(Term):
    """Describe an observation term and its place.

    Attributes:
        unit: Unit of what it reads, before its operations; `mixed` if the elements differ.
        slice: First entry and one past the last in the observation.
    """

    unit: str
    slice: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """Describe what happens between observation and network.

    `clip((observation - mean) / sqrt(var + epsilon), -clip, clip)`, or nothing for kind `none`,
    where all numbers are None.

    Attributes:
        kind: Whether there is a normalizer.
        mean: Name of its tensor.
        var: Name of its tensor.
        count: Observations the statistics rest on.
        epsilon: Added to the variance.
        clip: Bound of the result; None is unbounded.
        frozen: The statistics never change on the robot.
    """

    kind: Literal["running_mean_std", "none"]
    mean: str | None
    var: str | None
    count: float | None
    epsilon: float | None
    clip: float | None
    frozen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationEntry:
    """Describe the observation: its terms one after the other, each frame after frame."""

    dtype: Literal["float32"]
    dim: int
    layout: Literal["term_major"]
    terms: tuple[TermEntry, ...]
    normalization: Normalization


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEntry:
    """Describe a dense layer: the names of its tensors, its width and its activation."""

    weight: str
    bias: str
    units: int
    activation: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkEntry:
    """Describe the network, whose output is the mean of the action distribution."""

    kind: Literal["mlp"]
    inputs: int
    layers: tuple[LayerEntry, ...]
    output: Literal["gaussian_mean"]
    squash: Literal["none", "tanh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionEntry:
    """Describe one output: the joint's command is `offset + scale * action` [unit]."""

    joint: str
    kind: ControlKind
    unit: str
    scale: float
    offset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTable:
    """Describe the outputs, in order, and the bounds they are clipped to before scaling."""

    clip: Span
    entries: tuple[ActionEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """State what the controller enforces.

    Attributes:
        torque_limit: Bound of the command or torque of every actuator, by joint [Nm or N].
        joint_velocity_max: Velocity that trips the stop, by joint [rad/s or m/s]; every joint whose
            velocity is a signal.
        safe_stop_kd: Damping of torque-driven joints after a fault, by joint [Nm s/rad]; 0 lets go.
        on_nan: What a number that is not finite leads to.
    """

    torque_limit: dict[str, float]
    joint_velocity_max: dict[str, float]
    safe_stop_kd: dict[str, float]
    on_nan: Literal["safe_stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenEntry:
    """Name the file of golden vectors, their number of steps and the largest allowed difference."""

    file: str
    steps: int
    atol: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """State one measurement of the policy.

    Attributes:
        domain: Where it was measured.
        seeds: Training seeds it covers.
        episodes: Number of episodes.
        successes: How many of them succeeded.
        return_mean: Mean return, if it was measured.
    """

    domain: str
    seeds: tuple[int, ...]
    episodes: int
    successes: int
    return_mean: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """State where the policy comes from.

    Attributes:
        algo: Algorithm.
        task: Task name.
        source_domain: Domain it was trained in.
        seed: Seed of the training.
        env_steps: Environment steps of the training.
        versions: Package to version.
        git_commit: Revision of the code, if known.
        evaluation: What was measured.
        parent: Hash of the manifest of the policy it was transferred from.
    """

    algo: str
    task: str
    source_domain: str
    seed: int
    env_steps: int
    versions: dict[str, str]
    git_commit: str | None = None
    evaluation: tuple[Evaluation, ...] = ()
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Hold a manifest of schema 1.0."""

    format: Literal["simreal/policy-bundle"]
    schema_version: str
    name: str
    files: dict[str, FileEntry]
    robot: RobotEntry
    timing: Timing
    signals: tuple[SignalEntry, ...]
    observation: ObservationEntry
    network: NetworkEntry
    action: ActionTable
    safety: Safety
    golden: GoldenEntry
    provenance: Provenance

    def to_bytes(self) -> bytes:
        """Return the canonical JSON: sorted keys, shortest numbers that read back the same.

        Raises:
            BundleError: A number is not finite, or a value has no form in JSON.
        """
        try:
            text = json.dumps(
                dataclasses.asdict(self),
                sort_keys=True,
                indent=1,
                ensure_ascii=True,
                allow_nan=False,
                default=_plain,
            )
        except ValueError as error:
            raise mismatch("manifest", "finite numbers", str(error)) from None
        return f"{text}\n".encode("ascii")

    def file_of(self, role: str) -> str:
        """Return the name of the file with a role."""
        return next(name for name, entry in self.files.items() if entry.role == role)


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest without comparing its parts; `simreal.deploy.consistency` does that.

    Args:
        data: Content of `manifest.json`.

    Raises:
        BundleError: It is too large, not JSON, of an unknown version, or not of the schema.
    """
    expect(len(data) <= MAX_MANIFEST_BYTES, "manifest.json", "at most 1 MiB", len(data))
    content = parse_json(data, "manifest.json")
    expect(isinstance(content, dict), "manifest.json", "an object", content)
    found = content.get("format")
    expect(found == FORMAT, "format", repr(FORMAT), found)
    version = content.get("schema_version")
    if not isinstance(version, str) or not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", version):
        raise mismatch("schema_version", "a text such as '1.0'", describe(version))
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        expected = f"major version {SCHEMA_VERSION.split('.')[0]}, which this simreal reads"
        raise mismatch("schema_version", expected, describe(version))
    manifest: Manifest = decode(Manifest, content, "")
    return manifest


def _plain(value: object) -> Any:
    """Return the Python number in a numpy scalar, which exporters easily leave in a record."""
    if isinstance(value, np.generic):
        return value.item()
    raise mismatch("manifest", "texts, numbers and lists", f"a {type(value).__name__}")


def interface_sha256(interface: dict[str, Any]) -> str:
    """Return the hash of an interface, equal to `simreal.core.robot.Robot.interface_sha256`.

    Args:
        interface: In the form of `simreal.core.robot.Robot.interface`.
    """
    text = json.dumps(interface, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

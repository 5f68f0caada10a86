"""The records of which a manifest consists, one per thing that is stated in it.

Each is plain data with its unit in its documentation; `simreal.deploy.manifest` puts them together
and `simreal.deploy.consistency` compares them.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from simreal.core.observation import Term
from simreal.core.robot import Vec3

UNITS = {"angle": "rad", "length": "m", "torque": "Nm", "time": "s"}

Activation = Literal["tanh", "relu", "elu", "identity"]
CommandKind = Literal["torque", "position", "velocity"]
Role = Literal["weights", "golden", "training", "onnx", "c_source", "c_header", "leapp"]
SignalKind = Literal[
    "joint_position",
    "joint_velocity",
    "joint_torque",
    "angular_velocity",
    "linear_velocity",
    "linear_acceleration",
    "gravity",
    "quaternion",
    "command",
    "other",
]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """Describe a member file: its size [bytes], its hash and what it is for."""

    bytes: int
    sha256: str
    role: Role


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
    """Describe a motor; see `simreal.core.robot.Actuator`.

    Attributes:
        joint: Joint it drives.
        kind: What a command means.
        torque_limit: Largest torque [Nm] or force [N].
        torque_rate_limit: Fastest change of it that training allowed [Nm/s or N/s]; None if any.
        kp: Position gain [Nm/rad]; position-driven only.
        kd: Velocity gain [Nm s/rad]; position- and velocity-driven only.
        loop: Who closes the loop with these gains: the motor itself, or the host that commands it.
    """

    joint: str
    kind: CommandKind
    torque_limit: float
    torque_rate_limit: float | None
    kp: float
    kd: float
    loop: Literal["motor", "host"]


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
        max_signal_age_s: Age from which a measurement must not be used [s]; a signal may have its
            own.
        rate_tolerance: Share by which the measured rate may differ before the controller disarms.
        deadline_s: Time from the beginning of a period by which its command must be sent [s].
        max_consecutive_overruns: Late periods in a row from which the controller stops.
        trained_latency: Delays seen in training.
    """

    control_period_s: float
    tick_s: float
    decimation: int
    max_signal_age_s: float
    rate_tolerance: float
    deadline_s: float
    max_consecutive_overruns: int
    trained_latency: TrainedLatency


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalEntry:
    """Describe a raw signal that the robot must supply.

    Attributes:
        name: Name that observation terms read.
        kind: What is measured. The elements of joint signals are joint names, those of vectors `x`,
            `y`, `z`, those of quaternions `w`, `x`, `y`, `z`, in the order that is stated.
        elements: Names of its numbers.
        units: One unit per element.
        dtype: Type in which training saw it.
        frame: Frame in which vectors and quaternions are given, such as `base`; None for others.
        range: Least and greatest value per element that training saw, to which a command is
            clipped; None if any.
        max_age_s: Age from which it must not be used [s]; that of the timing if None.
    """

    name: str
    kind: SignalKind
    elements: tuple[str, ...]
    units: tuple[str, ...]
    dtype: Literal["float64", "float32"] = "float64"
    frame: str | None = None
    range: tuple[Span, ...] | None = None
    max_age_s: float | None = None


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
class RecurrentEntry:
    """Describe a recurrent layer between normalizer and dense layers, zero at a reset.

    The definition is that of `torch.nn.LSTM` with one layer: gates in the order input, forget,
    cell, output, and two biases.

    Attributes:
        kind: Which cell.
        hidden: Width of its state (H), which the dense layers read.
        weight_ih: Name of its tensor (4 H, inputs).
        weight_hh: Name of its tensor (4 H, H).
        bias_ih: Name of its tensor (4 H).
        bias_hh: Name of its tensor (4 H).
    """

    kind: Literal["lstm"]
    hidden: int
    weight_ih: str
    weight_hh: str
    bias_ih: str
    bias_hh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxEntry:
    """Describe the ONNX file of a bundle: its operator set, and what is fused in it."""

    opset: int
    fused: tuple[Literal["observation", "normalization", "network", "action"], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkEntry:
    """Describe the network, whose output is the mean of the action distribution.

    Attributes:
        kind: What it is made of; `lstm` is a recurrent layer before the dense ones.
        inputs: Width of an observation.
        recurrent: The recurrent layer, if any.
        layers: The dense layers.
        output: What the output is: the deterministic action, never a sample.
        squash: What follows the last layer.
        onnx: The ONNX file, if the bundle has one.
    """

    kind: Literal["mlp", "lstm"]
    inputs: int
    recurrent: RecurrentEntry | None
    layers: tuple[LayerEntry, ...]
    output: Literal["gaussian_mean"]
    squash: Literal["none", "tanh"]
    onnx: OnnxEntry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionEntry:
    """Describe one output: the joint's command is `offset + scale * action` [unit]."""

    joint: str
    kind: CommandKind
    unit: str
    scale: float
    offset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTable:
    """Describe the outputs, in order.

    Attributes:
        clip: Bounds that they are clipped to before scaling.
        entries: One per output.
        hold: What a loop that is faster than the policy sends between two commands: the last one,
            or a line from the one before to it.
    """

    clip: Span
    entries: tuple[ActionEntry, ...]
    hold: Literal["zero_order", "linear"] = "zero_order"


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """State what the controller enforces.

    Attributes:
        torque_limit: Bound of the command or torque of every actuator, by joint [Nm or N].
        torque_rate_max: Fastest change of the torque of every torque-driven actuator, by joint
            [Nm/s or N/s].
        joint_position: Range that is kept, by joint [rad or m]; every joint that has a limit and
            whose position is a signal.
        joint_velocity_max: Velocity that trips the stop, by joint [rad/s or m/s]; every joint whose
            velocity is a signal.
        safe_stop_kd: Damping of torque-driven joints after a fault, by joint [Nm s/rad]; 0 lets go.
        start_pose_max_error: Farthest a joint may be from the default pose when the policy takes
            over [rad or m]; None for any pose.
        blend_in_s: Time in which the policy takes over from holding [s].
        tilt_max_rad: Tilt of the base that trips the stop [rad]; None for no such limit.
        stale_hold_steps: Control periods that the last command is held for stale signals before the
            stop.
        requires_human_arm: Whether a person has to release the policy each time.
        on_nan: What a number that is not finite leads to.
    """

    torque_limit: dict[str, float]
    torque_rate_max: dict[str, float]
    joint_position: dict[str, Span]
    joint_velocity_max: dict[str, float]
    safe_stop_kd: dict[str, float]
    start_pose_max_error: float | None
    blend_in_s: float
    tilt_max_rad: float | None
    stale_hold_steps: int
    requires_human_arm: bool
    on_nan: Literal["safe_stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenEntry:
    """Describe the golden vectors.

    Attributes:
        file: Name of the file.
        steps: Number of steps.
        resets: Steps that begin an episode, the first of which is 0.
        atol: Largest difference that a runtime may show.
    """

    file: str
    steps: int
    resets: tuple[int, ...]
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
        randomization: Dynamics parameter to the distribution it was drawn from, in words.
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
    randomization: dict[str, str] = field(default_factory=dict)
    evaluation: tuple[Evaluation, ...] = ()
    parent: str | None = None

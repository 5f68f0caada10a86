"""Compare the parts of a manifest with each other.

A manifest whose every value has the right type can still describe a policy that reads 160 numbers
and gets 154. Everything that is stated twice is compared here, and everything that would let a
later step allocate without bound is bounded here.
"""

import re
from itertools import pairwise

from simreal.deploy.decode import (
    Words,
    check_keys,
    check_known,
    check_unique,
    expect,
)
from simreal.deploy.manifest import (
    ActuatorEntry,
    JointEntry,
    Manifest,
    interface_sha256,
)
from simreal.deploy.sensing import MAX_ENTRIES, check_observation, check_signals, joint_unit
from simreal.errors import BundleError

RESERVED_FILES = ("manifest.json", "CARD.md")
MIN_GOLDEN_STEPS = 64
MAX_GOLDEN_ATOL = 1e-4
MAX_HOLD_STEPS = 10

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_manifest(manifest: Manifest) -> None:
    """Check that the parts of a manifest agree.

    Args:
        manifest: A decoded manifest.

    Raises:
        BundleError: Two parts disagree or a number is out of bounds; one line names the field.
    """
    for check in _CHECKS:
        check(manifest)


def disagreements(manifest: Manifest) -> list[str]:
    """Return what `check_manifest` would refuse, one line per part of the manifest.

    Args:
        manifest: A decoded manifest.
    """
    found: list[str] = []
    for check in _CHECKS:
        try:
            check(manifest)
        except BundleError as error:
            found.append(str(error))
        except (LookupError, ValueError):
            if not found:  # else it follows from a part that was refused before
                raise
    return found


def _check_name(manifest: Manifest) -> None:
    name = "letters, digits, '.', '_' and '-'"
    expect(bool(_NAME.fullmatch(manifest.name)), "name", name, manifest.name)


def _check_files(manifest: Manifest) -> None:
    for name, entry in manifest.files.items():
        field = f"files.{name}"
        safe = bool(_FILE.fullmatch(name)) and name not in RESERVED_FILES
        expect(safe, "files", "plain file names without folders", name)
        expect(entry.bytes >= 0, f"{field}.bytes", "a size", entry.bytes)
        _check_hash(f"{field}.sha256", entry.sha256)
    roles = sorted(entry.role for entry in manifest.files.values())
    right = len(set(roles)) == len(roles) and {"golden", "weights"} <= set(roles)
    expect(right, "files", "one of each role, only weights and golden required", Words(roles))
    both = ("c_source" in roles) == ("c_header" in roles)
    expect(both, "files", "both of c_source and c_header, or none", Words(roles))


def _check_hash(field: str, value: str) -> None:
    expect(bool(_SHA256.fullmatch(value)), field, "64 hexadecimal digits", value)


def _check_robot(manifest: Manifest) -> None:
    robot = manifest.robot
    expect(len(robot.joints) >= 1, "robot.joints", "at least one joint", robot.joints)
    check_unique("robot.joints", robot.joint_names)
    check_unique("robot.actuators", robot.actuator_names)
    for joint in robot.joints:
        _check_joint(joint)
    for actuator in robot.actuators:
        check_known("robot.actuators", actuator.joint, robot.joint_names)
        _check_actuator(actuator)
    _check_hash("robot.dynamics_sha256", robot.dynamics_sha256)
    computed = interface_sha256(robot.interface)
    field = "robot.interface_sha256"
    expect(
        robot.interface_sha256 == computed,
        field,
        f"{computed[:12]}, the hash of the joint and actuator tables",
        Words(robot.interface_sha256[:12]),
    )


def _check_joint(joint: JointEntry) -> None:
    field = f"robot.joints.{joint.name}"
    norm = sum(a * a for a in joint.axis) ** 0.5
    expect(abs(norm - 1) <= 1e-6, f"{field}.axis", "a vector of length 1", norm)
    expect(joint.max_velocity > 0, f"{field}.max_velocity", "more than 0", joint.max_velocity)
    lower = -float("inf") if joint.lower is None else joint.lower
    upper = float("inf") if joint.upper is None else joint.upper
    expect(lower < upper, f"{field}.upper", f"more than the lower limit {lower}", upper)
    inside = lower <= joint.default <= upper
    expect(inside, f"{field}.default", f"a value in [{lower}, {upper}]", joint.default)


def _check_actuator(actuator: ActuatorEntry) -> None:
    field = f"robot.actuators.{actuator.joint}"
    limit = actuator.torque_limit
    expect(limit > 0, f"{field}.torque_limit", "more than 0", limit)
    expect(actuator.kp >= 0, f"{field}.kp", "at least 0", actuator.kp)
    expect(actuator.kd >= 0, f"{field}.kd", "at least 0", actuator.kd)
    rate = actuator.torque_rate_limit
    expect(rate is None or rate > 0, f"{field}.torque_rate_limit", "more than 0, or null", rate)


def _check_timing(manifest: Manifest) -> None:
    timing = manifest.timing
    positive = ("control_period_s", "tick_s", "decimation", "max_signal_age_s", "deadline_s")
    for key in (*positive, "max_consecutive_overruns"):
        expect(getattr(timing, key) > 0, f"timing.{key}", "more than 0", getattr(timing, key))
    tolerance = timing.rate_tolerance
    expect(0 < tolerance <= 0.5, "timing.rate_tolerance", "a value in (0, 0.5]", tolerance)
    latest, period = timing.deadline_s, timing.control_period_s
    expect(latest <= period, "timing.deadline_s", f"at most the period {period}", latest)
    product = timing.tick_s * timing.decimation
    fits = abs(product - timing.control_period_s) <= 1e-9
    found = timing.control_period_s
    expect(fits, "timing.control_period_s", f"tick_s * decimation = {product:.9g}", found)
    for key in ("command_s", "measurement_s"):
        low, high = getattr(timing.trained_latency, key)
        field = f"timing.trained_latency.{key}"
        expect(0 <= low <= high, field, "0 <= smallest <= largest", Words(f"[{low}, {high}]"))


def _check_network(manifest: Manifest) -> None:
    network = manifest.network
    dim = manifest.observation.dim
    expect(network.inputs == dim, "network.inputs", f"observation.dim = {dim}", network.inputs)
    expect(1 <= len(network.layers) <= 64, "network.layers", "1 to 64 layers", network.layers)
    for i, layer in enumerate(network.layers):
        expect(layer.units >= 1, f"network.layers[{i}].units", "at least 1", layer.units)
    norm = manifest.observation.normalization
    names = [name for layer in network.layers for name in (layer.weight, layer.bias)]
    recurrent = network.recurrent
    kind = "mlp" if recurrent is None else recurrent.kind
    expect(network.kind == kind, "network.kind", f"{kind!r}, as network.recurrent", network.kind)
    if recurrent is not None:
        fits = 1 <= recurrent.hidden <= MAX_ENTRIES
        expect(fits, "network.recurrent.hidden", f"1 to {MAX_ENTRIES}", recurrent.hidden)
        names += [recurrent.weight_ih, recurrent.weight_hh, recurrent.bias_ih, recurrent.bias_hh]
    check_unique("network.layers", [*names, *(n for n in (norm.mean, norm.var) if n)])
    last, at = network.layers[-1], f"network.layers[{len(network.layers) - 1}]"
    count = len(manifest.action.entries)
    expect(last.units == count, f"{at}.units", f"{count}, one per action entry", last.units)
    linear = last.activation == "identity"
    expect(linear, f"{at}.activation", "'identity' (squash says what follows)", last.activation)
    file = any(entry.role == "onnx" for entry in manifest.files.values())
    stated = (network.onnx is not None) == file
    expect(stated, "network.onnx", "an entry if files lists one, else null", network.onnx)


def _check_action(manifest: Manifest) -> None:
    action, robot = manifest.action, manifest.robot
    clip = tuple(float(c) for c in action.clip)
    expect(clip == (-1.0, 1.0), "action.clip", "[-1, 1]", Words(list(clip)))
    check_unique("action.entries", (e.joint for e in action.entries))
    kinds = {j.name: j.kind for j in robot.joints}
    actuators = {a.joint: a for a in robot.actuators}
    for entry in action.entries:
        field = f"action.entries.{entry.joint}"
        check_known("action.entries", entry.joint, actuators)
        kind = actuators[entry.joint].kind
        expect(entry.kind == kind, f"{field}.kind", f"{kind!r}, as the actuator", entry.kind)
        unit = joint_unit(kind, kinds[entry.joint])
        expect(entry.unit == unit, f"{field}.unit", repr(unit), entry.unit)
        expect(entry.scale > 0, f"{field}.scale", "more than 0", entry.scale)


def _check_safety(manifest: Manifest) -> None:
    safety, robot = manifest.safety, manifest.robot
    check_keys("safety.torque_limit", safety.torque_limit, robot.actuator_names)
    for actuator in robot.actuators:
        limit, most = safety.torque_limit[actuator.joint], actuator.torque_limit
        field = f"safety.torque_limit.{actuator.joint}"
        expect(0 < limit <= most, field, f"a value in (0, {most}]", limit)
    driven = [a.joint for a in robot.actuators if a.kind == "torque"]
    for key in ("torque_rate_max", "safe_stop_kd"):
        values: dict[str, float] = getattr(safety, key)
        check_keys(f"safety.{key}", values, driven)
        for name, value in values.items():
            allowed = value > 0 if key == "torque_rate_max" else value >= 0
            words = "more than 0" if key == "torque_rate_max" else "at least 0"
            expect(allowed, f"safety.{key}.{name}", words, value)
    _check_joint_limits(manifest)
    for key in ("start_pose_max_error", "tilt_max_rad"):
        bound = getattr(safety, key)
        expect(bound is None or bound > 0, f"safety.{key}", "more than 0, or null", bound)
    for key in ("blend_in_s", "stale_hold_steps"):
        expect(getattr(safety, key) >= 0, f"safety.{key}", "at least 0", getattr(safety, key))
    few = safety.stale_hold_steps <= MAX_HOLD_STEPS
    expect(few, "safety.stale_hold_steps", f"at most {MAX_HOLD_STEPS}", safety.stale_hold_steps)


def _check_joint_limits(manifest: Manifest) -> None:
    safety, joints = manifest.safety, {j.name: j for j in manifest.robot.joints}
    seen = [e for s in manifest.signals if s.kind == "joint_velocity" for e in s.elements]
    check_keys("safety.joint_velocity_max", safety.joint_velocity_max, seen)
    for name, limit in safety.joint_velocity_max.items():
        most, field = joints[name].max_velocity, f"safety.joint_velocity_max.{name}"
        expect(0 < limit <= most, field, f"a value in (0, {most}]", limit)
    placed = {e for s in manifest.signals if s.kind == "joint_position" for e in s.elements}
    limited = [n for n in placed if None not in (joints[n].lower, joints[n].upper)]
    found = set(safety.joint_position)
    check_keys("safety.joint_position", found, {*limited, *(found & placed)})
    for name, (low, high) in safety.joint_position.items():
        lower, upper = joints[name].lower, joints[name].upper
        inside = (lower is None or low >= lower) and (upper is None or high <= upper)
        field, range_ = f"safety.joint_position.{name}", Words(f"[{low}, {high}]")
        expect(low < high and inside, field, f"a range within [{lower}, {upper}]", range_)


def _check_golden(manifest: Manifest) -> None:
    golden = manifest.golden
    file = manifest.file_of("golden")
    expect(golden.file == file, "golden.file", f"{file!r}, of role golden", golden.file)
    enough = MIN_GOLDEN_STEPS <= golden.steps <= 2**20
    expect(enough, "golden.steps", f"at least {MIN_GOLDEN_STEPS}", golden.steps)
    begins = [0, *golden.resets[1:], golden.steps]
    rising = golden.resets[:1] == (0,) and all(a < b for a, b in pairwise(begins))
    expected = f"rising steps below {golden.steps}, the first of them 0"
    expect(rising, "golden.resets", expected, Words(list(golden.resets[:8])))
    tight = 0 < golden.atol <= MAX_GOLDEN_ATOL
    expect(tight, "golden.atol", f"a value in (0, {MAX_GOLDEN_ATOL}]", golden.atol)


def _check_provenance(manifest: Manifest) -> None:
    origin = manifest.provenance
    expect(origin.env_steps >= 0, "provenance.env_steps", "at least 0", origin.env_steps)
    if origin.parent is not None:
        _check_hash("provenance.parent", origin.parent)
    for i, figure in enumerate(origin.evaluation):
        field = f"provenance.evaluation[{i}]"
        expect(figure.episodes >= 1, f"{field}.episodes", "at least 1", figure.episodes)
        fits = 0 <= figure.successes <= figure.episodes
        found = figure.successes
        expect(fits, f"{field}.successes", f"a number in [0, {figure.episodes}]", found)


_CHECKS = (
    _check_name,
    _check_files,
    _check_robot,
    _check_timing,
    check_signals,
    check_observation,
    _check_network,
    _check_action,
    _check_safety,
    _check_golden,
    _check_provenance,
)

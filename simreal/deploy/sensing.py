"""Check what a policy measures: signals with units and frames, and the observation made of them."""

from collections.abc import Iterable

from simreal.core.observation import LAST_ACTION
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.deploy.decode import Words, check_known, check_unique, expect, one_line
from simreal.deploy.manifest import Manifest, SignalEntry, TermEntry
from simreal.errors import BundleError, SimrealError

MAX_ENTRIES = 16384
MAX_ELEMENTS = 1024
MAX_FRAMES = 2**20

SI_UNITS = ("1", "rad", "rad/s", "rad/s^2", "m", "m/s", "m/s^2", "N", "Nm", "s", "Hz", "kg")
_XYZ = ("x", "y", "z")
# Kind of a vector to its elements and the one unit that they may have.
_VECTORS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "angular_velocity": (_XYZ, ("rad/s",)),
    "linear_velocity": (_XYZ, ("m/s",)),
    "linear_acceleration": (_XYZ, ("m/s^2",)),
    "gravity": (_XYZ, ("1",)),  # of length 1: a direction, not an acceleration
    "quaternion": (("w", *_XYZ), ("1",)),
}


def check_signals(manifest: Manifest) -> None:
    """Check names, elements, units, ranges and frames of the signals.

    Args:
        manifest: A decoded manifest.

    Raises:
        BundleError: Something disagrees; one line names the field.
    """
    kinds = {j.name: j.kind for j in manifest.robot.joints}
    check_unique("signals", (s.name for s in manifest.signals))
    for signal in manifest.signals:
        field = f"signals.{signal.name}"
        expect(signal.name != LAST_ACTION, "signals", "raw signals only", signal.name)
        check_unique(f"{field}.elements", signal.elements)
        count = len(signal.elements)
        expect(1 <= count <= MAX_ELEMENTS, f"{field}.elements", f"1 to {MAX_ELEMENTS}", count)
        expect(len(signal.units) == count, f"{field}.units", f"{count} units", signal.units)
        age = signal.max_age_s
        expect(age is None or age > 0, f"{field}.max_age_s", "more than 0, or null", age)
        _check_range(field, signal)
        _check_frame(field, signal)
        for element, unit in zip(signal.elements, signal.units, strict=True):
            right: tuple[str, ...]
            if signal.kind.startswith("joint_"):
                check_known(f"{field}.elements", element, kinds)
                right = (joint_unit(signal.kind, kinds[element]),)
            else:
                right = _VECTORS[signal.kind][1] if signal.kind in _VECTORS else SI_UNITS
            expected = " or ".join(repr(unit) for unit in right)
            expect(unit in right, f"{field}.units of {element}", expected, unit)


def _check_range(field: str, signal: SignalEntry) -> None:
    if signal.range is None:
        return
    count = len(signal.elements)
    expect(len(signal.range) == count, f"{field}.range", f"{count} pairs, or null", signal.range)
    for element, (low, high) in zip(signal.elements, signal.range, strict=True):
        found = Words(f"[{low}, {high}]")
        expect(low < high, f"{field}.range of {element}", "least < greatest", found)


def _check_frame(field: str, signal: SignalEntry) -> None:
    """Check that a vector says in which frame it is given, and has the elements of its kind."""
    if signal.kind not in _VECTORS:
        free = signal.frame is None or signal.kind in ("command", "other")
        expect(free, f"{field}.frame", "null", signal.frame)
        return
    expect(bool(signal.frame), f"{field}.frame", "the name of a frame", signal.frame)
    elements = _VECTORS[signal.kind][0]
    whole = set(signal.elements) == set(elements)
    inside = set(signal.elements) <= set(elements) and signal.kind not in ("quaternion", "gravity")
    expected = f"{list(elements)} in any order"
    expect(whole or inside, f"{field}.elements", expected, Words(list(signal.elements)))


def check_observation(manifest: Manifest) -> None:
    """Check that the observation is made of the signals, and is of the size that is stated.

    Args:
        manifest: A decoded manifest.

    Raises:
        BundleError: Something disagrees; one line names the field.
    """
    observation = manifest.observation
    check_unique("observation.terms", (t.name for t in observation.terms))
    signals = {s.name: s for s in manifest.signals}
    at = 0
    for term in observation.terms:
        field = f"observation.terms.{term.name}"
        span = [at, at + term.width]
        begin, end = term.slice
        expect(list(term.slice) == span, f"{field}.slice", span, Words(f"[{begin}, {end}]"))
        at += term.width
        expect(at <= MAX_ENTRIES, f"{field}.history", f"at most {MAX_ENTRIES} entries", at)
    dim = observation.dim
    expect(dim == at, "observation.dim", f"{at}, the sum of the slices", dim)
    expect(dim >= 1, "observation.dim", "at least 1", dim)
    depth = max(t.span for t in observation.terms)
    frames = depth * sum(len(t.elements) for t in observation.terms)
    expect(frames <= MAX_FRAMES, "observation.terms", f"at most {MAX_FRAMES} stored", frames)
    build_pipeline(manifest, {s.name: s.elements for s in manifest.signals})
    for term in observation.terms:
        _check_unit(term, signals)
    _check_normalization(manifest)


def _check_unit(term: TermEntry, signals: dict[str, SignalEntry]) -> None:
    unit = unit_of(signals.get(term.source), term.elements)
    expect(term.unit == unit, f"observation.terms.{term.name}.unit", repr(unit), term.unit)


def _check_normalization(manifest: Manifest) -> None:
    norm = manifest.observation.normalization
    field = "observation.normalization"
    expect(norm.frozen, f"{field}.frozen", "true", norm.frozen)
    if norm.kind == "none":
        for key in ("mean", "var", "count", "epsilon", "clip"):
            expect(getattr(norm, key) is None, f"{field}.{key}", "null", getattr(norm, key))
        return
    for key in ("mean", "var"):
        expect(getattr(norm, key), f"{field}.{key}", "the name of a tensor", getattr(norm, key))
    for key in ("count", "epsilon"):
        value = getattr(norm, key)
        expect(value is not None and value >= 0, f"{field}.{key}", "at least 0", value)
    usable = norm.clip is None or norm.clip > 0
    expect(usable, f"{field}.clip", "more than 0, or null", norm.clip)


def build_pipeline(manifest: Manifest, signals: dict[str, tuple[str, ...]]) -> ObservationPipeline:
    """Build the observation pipeline of one row.

    Args:
        manifest: The manifest.
        signals: Raw signal name to its element names, in the order in which they will be given.

    Raises:
        BundleError: A term reads what is not there.
    """
    actions = tuple(entry.joint for entry in manifest.action.entries)
    try:
        return ObservationPipeline(manifest.observation.terms, {**signals, LAST_ACTION: actions})
    except SimrealError as error:
        raise BundleError(one_line(f"observation.terms: {error}")) from None


def unit_of(signal: SignalEntry | None, elements: Iterable[str]) -> str:
    """Return the common unit of some elements of a signal, or `mixed`.

    Args:
        signal: The signal; None for the last action, which has no unit.
        elements: Names of elements of it.
    """
    if signal is None:
        return "1"
    units = {signal.units[signal.elements.index(element)] for element in elements}
    return units.pop() if len(units) == 1 else "mixed"


def joint_unit(kind: str, joint_kind: str) -> str:
    """Return the unit of a joint quantity.

    Args:
        kind: `joint_position`, `joint_velocity` or `joint_torque`; for commands `position`,
            `velocity` or `torque`.
        joint_kind: Kind of the joint.
    """
    length = "m" if joint_kind == "prismatic" else "rad"
    force = "N" if joint_kind == "prismatic" else "Nm"
    units = {"position": length, "velocity": f"{length}/s", "torque": force}
    return units[kind.removeprefix("joint_")]

"""Load a policy bundle, or refuse it in one line.

A bundle is a folder with a manifest, weights, golden vectors and a card. It may come from anybody,
so each file is opened once, never through a link, never larger than it declares, hashed, and then
read from the very bytes that were hashed. No file of a bundle can hold code, and none is ever
executed.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from simreal.deploy.consistency import check_manifest, disagreements
from simreal.deploy.decode import Words, decode, describe, expect, mismatch, one_line, problems
from simreal.deploy.manifest import (
    MAX_MANIFEST_BYTES,
    Activation,
    Manifest,
    decode_manifest,
    manifest_content,
)
from simreal.deploy.tensors import read_tensors, refuse_foreign
from simreal.errors import BundleError, nearest

MANIFEST = "manifest.json"
CARD = "CARD.md"
MAX_BUNDLE_BYTES = 64 * 2**20

# A member that is a link must not be followed, one that is a pipe must not block.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_SNIFFED = 8
_DIRECTION = 0.1  # by how much a recorded direction may differ from length 1, noise included
_TENSOR_ROLES = ("weights", "golden", "training")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """Hold a dense layer: `activation(weight @ x + bias)`.

    Attributes:
        weight: (units, inputs), float32.
        bias: (units,), float32.
        activation: What follows.
    """

    weight: np.ndarray
    bias: np.ndarray
    activation: Activation

    @property
    def inputs(self) -> int:
        """Return how many numbers it reads."""
        return int(self.weight.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lstm:
    """Hold a recurrent layer as `torch.nn.LSTM` with one layer defines it, zero at a reset.

    Attributes:
        weight_ih: (4 H, inputs), gates in the order input, forget, cell, output; float32.
        weight_hh: (4 H, H), float32.
        bias_ih: (4 H,), float32.
        bias_hh: (4 H,), float32.
    """

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray
    bias_hh: np.ndarray

    @property
    def inputs(self) -> int:
        """Return how many numbers it reads beside its state."""
        return int(self.weight_ih.shape[1])

    @property
    def hidden(self) -> int:
        """Return the width of its state, H."""
        return int(self.weight_hh.shape[1])

    @property
    def tensors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return its four tensors in the order of the attributes."""
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normalizer:
    """Hold observation statistics: `clip((x - mean) / sqrt(var + epsilon), -clip, clip)`.

    Attributes:
        mean: (dim,), float32 or float64.
        var: (dim,), float32 or float64.
        epsilon: Added to the variance.
        clip: Bound of the result; None is unbounded.
        count: Observations the statistics rest on.
    """

    mean: np.ndarray
    var: np.ndarray
    epsilon: float = 1e-8
    clip: float | None = 10.0
    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Golden:
    """Hold episodes that start at a reset, recorded through the training code.

    Attributes:
        signals: Raw signal name to (T, k), as the policy was given them.
        observation: (T, dim), before normalization.
        output: Network outputs (T, n), after squashing and before clipping.
        command: Commands of all actuators (T, A) [Nm, N, rad or m].
        resets: Steps that begin an episode, the first of which is 0.
    """

    signals: Mapping[str, np.ndarray]
    observation: np.ndarray
    output: np.ndarray
    command: np.ndarray
    resets: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """Hold a bundle that passed every check of its content.

    Attributes:
        path: Where it was read from.
        manifest: Its manifest.
        sha256: Hash of the manifest, which covers all hashes in it: the identity of the policy.
        layers: The network.
        normalizer: Observation statistics, if the policy has any.
        lstm: The recurrent layer, if the policy has one.
        golden: The recorded episodes.
        derived: Content of the files that were derived from the others, by role: `onnx`,
            `c_source`, `c_header`, `leapp`.
        training: Everything a trainer continues from, name to array, if the bundle holds it. No
            controller reads it.
    """

    path: Path
    manifest: Manifest
    sha256: str
    layers: tuple[Layer, ...]
    normalizer: Normalizer | None
    golden: Golden
    lstm: Lstm | None = None
    training: Mapping[str, np.ndarray] | None = None
    derived: Mapping[str, bytes] = field(default_factory=dict)


def load_bundle(path: str | Path, max_bytes: int = MAX_BUNDLE_BYTES) -> Bundle:
    """Load a bundle.

    Args:
        path: The folder.
        max_bytes: Most bytes that its files may hold together.

    Raises:
        BundleError: Anything about it is not as its manifest says, or must not be trusted.
    """
    folder = Path(path)
    try:
        return _load(folder, max_bytes)
    except BundleError as error:
        raise BundleError(one_line(f"bundle '{folder}': {error}")) from None
    except (OSError, ValueError) as error:
        raise BundleError(one_line(f"bundle '{folder}': cannot be read: {error}")) from error


def read_members(bundle: Bundle) -> dict[str, bytes]:
    """Return the content of every listed file of a bundle, by name, checked once more.

    Args:
        bundle: A loaded bundle.

    Raises:
        BundleError: A file is not as it was when the bundle was loaded.
    """
    manifest = bundle.manifest
    return {name: _read_declared(bundle.path, name, manifest) for name in manifest.files}


def find_problems(path: str | Path) -> list[str]:
    """Return everything that is wrong with a bundle's manifest and files, one line each.

    `load_bundle` stops at the first problem; this goes on, for whoever has to mend them all.

    Args:
        path: The folder.
    """
    folder = Path(path)
    try:
        load_bundle(folder)
    except BundleError as error:
        first = str(error)
    else:
        return []
    prefix = one_line(f"bundle '{folder}': ")
    try:
        content = manifest_content(_read(folder, MANIFEST, MAX_MANIFEST_BYTES))
        found = problems(Manifest, content, "")
        found = found or _deeper_problems(folder, decode(Manifest, content, ""))
    except (BundleError, OSError):
        return [first]  # there is nothing to go on with
    return [f"{prefix}{problem}" for problem in found] or [first]


def _deeper_problems(folder: Path, manifest: Manifest) -> list[str]:
    found = disagreements(manifest)
    for name in manifest.files if not found else ():
        try:
            _read_declared(folder, name, manifest)
        except BundleError as error:
            found.append(str(error))
    return found


def _load(folder: Path, max_bytes: int) -> Bundle:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise mismatch("path", "a folder with a manifest.json", found)
    content = _read(folder, MANIFEST, MAX_MANIFEST_BYTES)
    manifest = decode_manifest(content)
    check_manifest(manifest)
    _check_members(folder, manifest)
    total = len(content) + sum(entry.bytes for entry in manifest.files.values())
    expect(total <= max_bytes, "files", f"at most {max_bytes} bytes together", total)
    data = {name: _read_declared(folder, name, manifest) for name in manifest.files}
    weights, golden = manifest.file_of("weights"), manifest.file_of("golden")
    tensors = read_tensors(data[weights], weights)
    _check_shapes(tensors, _weight_shapes(manifest), weights)
    recorded = read_tensors(data[golden], golden)
    _check_shapes(recorded, _golden_shapes(manifest), golden)
    _check_directions(recorded, manifest, golden)
    extra = next((n for n, entry in manifest.files.items() if entry.role == "training"), None)
    return Bundle(
        path=folder,
        manifest=manifest,
        sha256=hashlib.sha256(content).hexdigest(),
        layers=_layers(tensors, manifest, weights),
        normalizer=_normalizer(tensors, manifest),
        lstm=_lstm(tensors, manifest, weights),
        golden=Golden(
            signals={s.name: recorded[f"signal.{s.name}"] for s in manifest.signals},
            observation=recorded["observation"],
            output=recorded["output"],
            command=recorded["command"],
            resets=manifest.golden.resets,
        ),
        training=None if extra is None else read_tensors(data[extra], extra),
        derived={
            entry.role: data[name]
            for name, entry in manifest.files.items()
            if entry.role not in _TENSOR_ROLES
        },
    )


def _check_members(folder: Path, manifest: Manifest) -> None:
    """Check that the folder holds what is listed; only the card, which nothing reads, may lack."""
    listed = {MANIFEST, *manifest.files}
    seen = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name not in listed | {CARD}:
                hint = nearest(entry.name[:99], listed)
                raise mismatch("files", f"only {sorted(listed)}", describe(entry.name) + hint)
            plain = entry.is_file(follow_symlinks=False)
            expect(plain, entry.name, "a plain file", Words("a link or a folder"))
            seen.add(entry.name)
    for name in sorted(listed - seen):
        raise mismatch("files", f"the member {name!r}", "none")


def _read(folder: Path, name: str, most: int, *, tensors: bool = False) -> bytes:
    """Return the content of a member, which must be a plain file of at most so many bytes."""
    try:
        handle = os.open(folder / name, _OPEN_FLAGS)
    except OSError as error:
        _refuse_open(name, error)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        expect(stat.S_ISREG(status.st_mode), name, "a plain file", Words("something else"))
        if tensors:
            refuse_foreign(file.read(_SNIFFED), status.st_size, name)
            file.seek(0)
        expect(status.st_size <= most, name, f"{most} bytes at most", status.st_size)
        content = file.read(most + 1)
    expect(len(content) <= most, name, f"{most} bytes at most", len(content))
    return content


def _refuse_open(name: str, error: OSError) -> NoReturn:
    if error.errno == errno.ELOOP:
        raise mismatch(name, "a plain file", "a link") from None
    if isinstance(error, FileNotFoundError):
        raise mismatch("files", f"the member {name!r}", "none") from None
    raise error


def _read_declared(folder: Path, name: str, manifest: Manifest) -> bytes:
    entry = manifest.files[name]
    content = _read(folder, name, entry.bytes, tensors=entry.role in _TENSOR_ROLES)
    expect(len(content) == entry.bytes, name, f"{entry.bytes} bytes", len(content))
    found = hashlib.sha256(content).hexdigest()
    expect(found == entry.sha256, name, f"sha256 {entry.sha256[:12]}", Words(found[:12]))
    return content


def _weight_shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = manifest.network.inputs
    recurrent = manifest.network.recurrent
    if recurrent is not None:
        hidden = recurrent.hidden
        shapes[recurrent.weight_ih] = (4 * hidden, inputs)
        shapes[recurrent.weight_hh] = (4 * hidden, hidden)
        shapes[recurrent.bias_ih] = shapes[recurrent.bias_hh] = (4 * hidden,)
        inputs = hidden
    for layer in manifest.network.layers:
        shapes[layer.weight] = (layer.units, inputs)
        shapes[layer.bias] = (layer.units,)
        inputs = layer.units
    norm = manifest.observation.normalization
    for name in (norm.mean, norm.var):
        if name is not None:
            shapes[name] = (manifest.observation.dim,)
    return shapes


def _golden_shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    steps = manifest.golden.steps
    return {
        "observation": (steps, manifest.observation.dim),
        "output": (steps, len(manifest.action.entries)),
        "command": (steps, len(manifest.robot.actuators)),
        **{f"signal.{s.name}": (steps, len(s.elements)) for s in manifest.signals},
    }


def _check_shapes(
    tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], where: str
) -> None:
    for name, shape in shapes.items():
        if name not in tensors:
            hint = nearest(name, tensors.keys() - shapes.keys())
            raise mismatch(where, f"a tensor {describe(name)}", one_line(f"none.{hint}"))
        found = tensors[name].shape
        expect(found == shape, f"{where} tensor {describe(name)}", f"shape {shape}", Words(found))
    for name in tensors:
        expect(name in shapes, where, "only the tensors of the manifest", name)


def _check_directions(recorded: Mapping[str, np.ndarray], manifest: Manifest, where: str) -> None:
    """Refuse a recording in which gravity is an acceleration, or a quaternion is no rotation."""
    for signal in manifest.signals:
        if signal.kind not in ("gravity", "quaternion"):
            continue
        length = np.linalg.norm(recorded[f"signal.{signal.name}"], axis=1)
        worst = float(length[int(np.argmax(np.abs(length - 1.0)))])
        field = f"{where} signal {describe(signal.name)} ({signal.kind})"
        expect(abs(worst - 1.0) < _DIRECTION, field, "vectors of length 1", worst)


def _layers(tensors: Mapping[str, np.ndarray], manifest: Manifest, where: str) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            weight=_float32(tensors, entry.weight, where),
            bias=_float32(tensors, entry.bias, where),
            activation=entry.activation,
        )
        for entry in manifest.network.layers
    )


def _lstm(tensors: Mapping[str, np.ndarray], manifest: Manifest, where: str) -> Lstm | None:
    entry = manifest.network.recurrent
    if entry is None:
        return None
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return Lstm(**{name: _float32(tensors, getattr(entry, name), where) for name in names})


def _float32(tensors: Mapping[str, np.ndarray], name: str, where: str) -> np.ndarray:
    found = tensors[name].dtype
    expect(found == np.float32, f"{where} tensor {describe(name)}", "float32", Words(found))
    return tensors[name]


def _normalizer(tensors: Mapping[str, np.ndarray], manifest: Manifest) -> Normalizer | None:
    norm = manifest.observation.normalization
    if norm.mean is None or norm.var is None:
        return None
    var, epsilon = tensors[norm.var], norm.epsilon or 0.0
    smallest = float(var.min()) + epsilon
    for name in (norm.mean, norm.var):
        largest = float(np.abs(tensors[name]).max())
        held = largest <= float(np.finfo(np.float32).max)
        expect(held, f"tensor {describe(name)}", "numbers that float32 holds", largest)
    positive = bool(var.min() >= 0) and bool(np.float32(smallest) > 0)
    expect(positive, f"tensor {describe(norm.var)}", "var >= 0 and var + epsilon > 0", smallest)
    return Normalizer(
        mean=tensors[norm.mean],
        var=var,
        epsilon=epsilon,
        clip=norm.clip,
        count=norm.count or 0.0,
    )

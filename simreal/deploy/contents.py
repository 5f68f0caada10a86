"""The arrays of a bundle: a network, statistics, recorded episodes.

They are made from the tensors of its files, each of which is compared with what the manifest says
of it: no name more, no name less, and every shape and number type as stated.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simreal.deploy.decode import Words, describe, expect, mismatch, one_line
from simreal.deploy.manifest import Activation, Manifest
from simreal.deploy.tensors import read_tensors
from simreal.errors import nearest

_DIRECTION = 0.1  # by how much a recorded direction may differ from length 1, noise included


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


def read_network(
    content: bytes, manifest: Manifest
) -> tuple[tuple[Layer, ...], Normalizer | None, Lstm | None]:
    """Return the network of a policy: dense layers, and statistics and recurrent layer if any.

    Args:
        content: The file of the weights.
        manifest: What they are said to be.

    Raises:
        BundleError: They are something else; one line names the tensor.
    """
    where = manifest.file_of("weights")
    tensors = read_tensors(content, where)
    _check_shapes(tensors, _weight_shapes(manifest), where)
    return (
        _layers(tensors, manifest, where),
        _normalizer(tensors, manifest),
        _lstm(tensors, manifest, where),
    )


def read_golden(content: bytes, manifest: Manifest) -> Golden:
    """Return the recorded episodes.

    Args:
        content: Their file.
        manifest: What they are said to be.

    Raises:
        BundleError: They are something else; one line names the tensor.
    """
    where = manifest.file_of("golden")
    recorded = read_tensors(content, where)
    _check_shapes(recorded, _golden_shapes(manifest), where)
    _check_directions(recorded, manifest, where)
    return Golden(
        signals={s.name: recorded[f"signal.{s.name}"] for s in manifest.signals},
        observation=recorded["observation"],
        output=recorded["output"],
        command=recorded["command"],
        resets=manifest.golden.resets,
    )


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

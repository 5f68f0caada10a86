"""Write a policy as one ONNX graph, from raw signals to joint commands.

Normalizer, clip and scale were lost between trainer and robot often enough, so nothing is left out.
What an episode carries from one step to the next are inputs and outputs of the graph: all of them
zero begin an episode, and each `carry.x` is fed what `next.x` gave. Frames are kept newest first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from simreal.core.observation import LAST_ACTION, Op
from simreal.deploy.bundle import Bundle
from simreal.deploy.manifest import Manifest
from simreal.deploy.policy import idle_command
from simreal.errors import BundleError

OPSET = 17
ONNX_FILE = "policy.onnx"
_IR_VERSION = 8
_OF_AGE = ("lag",)  # a matter of which frame is read, not of its numbers


@dataclass(frozen=True, slots=True)
class Port:
    """Describe an input or output: its name, element type and shape."""

    name: str
    dtype: Any
    shape: tuple[int, ...]


def ports(manifest: Manifest) -> tuple[list[Port], list[Port], list[Port]]:
    """Return the signal inputs, the carry (without its prefix), and the other outputs.

    Args:
        manifest: The manifest.
    """
    plan = FramePlan(manifest)
    outputs, recurrent = len(manifest.action.entries), manifest.network.recurrent
    carry = []
    if plan.uses_action:
        carry.append(Port("action", np.float32, (1, outputs)))
    if plan.depth > 1:
        carry.append(Port("frames", np.float64, (plan.depth - 1, plan.width)))
    if plan.num_states:
        carry.append(Port("state", np.float64, (plan.num_states,)))
    if plan.depth > 1 or plan.num_states:
        carry.append(Port("started", np.bool_, (1,)))
    if recurrent is not None:
        carry += [Port(name, np.float32, (1, recurrent.hidden)) for name in ("hidden", "cell")]
    return (
        [Port(f"signal.{s.name}", np.float64, (len(s.elements),)) for s in manifest.signals],
        carry,
        [
            Port("command", np.float64, (1, len(manifest.robot.actuators))),
            Port("observation", np.float32, (1, manifest.observation.dim)),
            Port("output", np.float32, (1, outputs)),
        ],
    )


class FramePlan:
    """Lay out a frame, its columns grouped by what is done with them.

    Attributes:
        groups: Per group its operations' kinds, and per element its source, name and operations.
        width: Columns of a frame.
        depth: Frames that an observation reads.
        num_states: Numbers that operations remember.
        uses_action: Whether a term reads the last action.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Group the elements.

        Args:
            manifest: The manifest.
        """
        terms = manifest.observation.terms
        keyed: dict[tuple[str, ...], list[tuple[str, str, tuple[Op, ...]]]] = {}
        places: list[list[tuple[tuple[str, ...], int]]] = []
        for term in terms:
            ops = tuple(op for op in term.ops if op.kind not in _OF_AGE)
            kinds = tuple(str(op.kind) for op in ops)
            group = keyed.setdefault(kinds, [])
            begin = len(group)
            group += [(term.source, element, ops) for element in term.elements]
            places.append([(kinds, begin + i) for i in range(len(term.elements))])
        self.groups = keyed
        starts: dict[tuple[str, ...], int] = {}
        at = 0
        for kinds, group in keyed.items():
            starts[kinds] = at
            at += len(group)
        self.width = at
        self.depth = max(age for term in terms for age in term.ages) + 1
        self.num_states = sum(
            len(group) * sum(kind in ("unwrap", "low_pass") for kind in kinds)
            for kinds, group in keyed.items()
        )
        self.uses_action = any(term.source == LAST_ACTION for term in terms)
        columns = [[starts[kinds] + i for kinds, i in place] for place in places]
        self.entries = [
            age * self.width + column
            for term, own in zip(terms, columns, strict=True)
            for age in term.ages
            for column in own
        ]
        kept = np.ones(self.width)
        for term, own in zip(terms, columns, strict=True):
            kept[own] = 0.0 if term.fill == "zero" else 1.0
        self.kept = kept


def onnx_model(bundle: Bundle) -> bytes:
    """Return the graph of a policy; the same bundle gives the same bytes.

    Args:
        bundle: A loaded bundle.

    Raises:
        BundleError: The policy has an operation that has no form in ONNX.
    """
    import onnx
    from onnx import helper

    graph = _Graph()
    signals, carry, outputs = ports(bundle.manifest)
    observation = graph.name("observation", _observe(graph, bundle.manifest))
    output = graph.name("output", _infer(graph, bundle, observation))
    graph.name("command", _command(graph, bundle.manifest, output))
    inputs = [*signals, *(Port(f"carry.{p.name}", p.dtype, p.shape) for p in carry)]
    results = [*outputs, *(Port(f"next.{p.name}", p.dtype, p.shape) for p in carry)]
    made = helper.make_graph(
        graph.nodes,
        "policy",
        [_value(port) for port in inputs],
        [_value(port) for port in results],
        graph.constants,
    )
    model = helper.make_model(
        made, producer_name="simreal", opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def network_model(bundle: Bundle) -> bytes:
    """Return the graph of normalizer and dense layers alone: `observation` to `output`.

    Args:
        bundle: A loaded bundle of a policy that is not recurrent.

    Raises:
        BundleError: It is recurrent.
    """
    from onnx import helper

    if bundle.lstm is not None:
        raise BundleError("a recurrent network has no graph of its own; use onnx_model")
    graph = _Graph()
    graph.name("output", _infer(graph, bundle, "observation"))
    _, _, (_, observation, output) = ports(bundle.manifest)
    ends = [_value(observation)], [_value(output)]
    made = helper.make_graph(graph.nodes, "network", *ends, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = _IR_VERSION
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """Collect nodes and constants, and name what is between them."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        from onnx import helper

        names = [f"{op.lower()}.{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, dtype: Any) -> str:
        from onnx import numpy_helper

        name = f"constant.{len(self.constants)}"
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        self.constants.append(numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return name

    def name(self, name: str, value: str) -> str:
        """Give a value the name of an output; return the name it has from now on."""
        from onnx import helper

        for maker in self.nodes:
            if value in maker.output and "." in value and not value.startswith("next."):
                for node in self.nodes:
                    for names in (node.input, node.output):
                        names[:] = [name if given == value else given for given in names]
                return name
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        return value


def _value(port: Port) -> Any:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
    return helper.make_tensor_value_info(port.name, kind, port.shape)


def _observe(graph: _Graph, manifest: Manifest) -> str:
    plan = FramePlan(manifest)
    frame = _frame(graph, manifest, plan)
    flat = frame
    if plan.depth > 1:
        row = graph.add("Unsqueeze", frame, graph.constant([0], np.int64))
        filled = graph.add("Mul", row, graph.constant(plan.kept[None], np.float64))
        older = graph.add("Where", "carry.started", "carry.frames", filled)
        frames = graph.add("Concat", row, older, axis=0)
        ends = [graph.constant([n], np.int64) for n in (0, plan.depth - 1)]
        graph.name("next.frames", graph.add("Slice", frames, *ends))
        flat = graph.add("Reshape", frames, graph.constant([-1], np.int64))
    if plan.depth > 1 or plan.num_states:
        graph.name("next.started", graph.constant([True], np.bool_))
    entries = graph.add("Gather", flat, graph.constant([plan.entries], np.int64))
    return str(graph.add("Cast", entries, to=_onnx_type(np.float32)))


def _frame(graph: _Graph, manifest: Manifest, plan: FramePlan) -> str:
    """Return all columns of the present frame (width,)."""
    places: dict[tuple[str, str], int] = {}
    raw = [f"signal.{s.name}" for s in manifest.signals]
    for signal in manifest.signals:
        for element in signal.elements:
            places[signal.name, element] = len(places)
    if plan.uses_action:
        wide = graph.add("Cast", "carry.action", to=_onnx_type(np.float64))
        raw.append(graph.add("Reshape", wide, graph.constant([-1], np.int64)))
        for entry in manifest.action.entries:
            places[LAST_ACTION, entry.joint] = len(places)
    packed = graph.add("Concat", *raw, axis=0) if len(raw) > 1 else raw[0]
    parts: list[str] = []
    states: list[str] = []
    kept = 0
    for kinds, group in plan.groups.items():
        index = [places[source, element] for source, element, _ in group]
        x = graph.add("Gather", packed, graph.constant(index, np.int64))
        for position, kind in enumerate(kinds):
            values = np.array([ops[position].values for _, _, ops in group], dtype=np.float64)
            if kind in ("unwrap", "low_pass"):
                x = _remember(graph, x, kind, values, kept)
                states.append(x)
                kept += len(group)
            else:
                x = _operate(graph, x, kind, values)
        parts.append(x)
    if states:
        graph.name("next.state", graph.add("Concat", *states, axis=0))
    return str(graph.add("Concat", *parts, axis=0)) if len(parts) > 1 else parts[0]


def _operate(graph: _Graph, x: str, kind: str, values: np.ndarray) -> str:
    if kind in ("sin", "cos"):
        return str(graph.add(kind.capitalize(), x))
    if kind in ("scale", "offset"):
        op = "Mul" if kind == "scale" else "Add"
        return str(graph.add(op, x, graph.constant(values[:, 0], np.float64)))
    if kind == "clip":
        low, high = (graph.constant(values[:, i], np.float64) for i in (0, 1))
        return str(graph.add("Min", graph.add("Max", x, low), high))
    if kind == "wrap":
        return _wrapped(graph, x)
    raise BundleError(f"observation operation '{kind}' has no form in ONNX")


def _wrapped(graph: _Graph, x: str) -> str:
    """Return an angle in [-pi, pi): what is left of whole turns."""
    half, turn = (graph.constant(v, np.float64) for v in (np.pi, 2.0 * np.pi))
    shifted = graph.add("Add", x, half)
    whole = graph.add("Mul", graph.add("Floor", graph.add("Div", shifted, turn)), turn)
    return str(graph.add("Sub", graph.add("Sub", shifted, whole), half))


def _remember(graph: _Graph, x: str, kind: str, values: np.ndarray, begin: int) -> str:
    count = len(values)
    ends = [graph.constant([n], np.int64) for n in (begin, begin + count)]
    before = graph.add("Slice", "carry.state", *ends)
    way = graph.add("Sub", x, before)
    if kind == "unwrap":
        way = _wrapped(graph, way)
    else:
        way = graph.add("Mul", way, graph.constant(values[:, 0], np.float64))
    return str(graph.add("Where", "carry.started", graph.add("Add", before, way), x))


def _infer(graph: _Graph, bundle: Bundle, observation: str) -> str:
    x, norm = observation, bundle.normalizer
    if norm is not None:
        x = graph.add("Sub", x, graph.constant(norm.mean[None], np.float32))
        std = np.sqrt(norm.var + norm.epsilon)
        x = graph.add("Div", x, graph.constant(std[None], np.float32))
        if norm.clip is not None:
            ends = [graph.constant(np.float32(v), np.float32) for v in (-norm.clip, norm.clip)]
            x = graph.add("Clip", x, *ends)
    if bundle.lstm is not None:
        x = _recur(graph, bundle, x)
    names = {"tanh": "Tanh", "relu": "Relu", "elu": "Elu"}
    for layer in bundle.layers:
        x = _dense(graph, x, layer.weight.T, layer.bias)
        if layer.activation != "identity":
            x = graph.add(names[layer.activation], x)
    return str(graph.add("Tanh", x)) if bundle.manifest.network.squash == "tanh" else x


def _recur(graph: _Graph, bundle: Bundle, x: str) -> str:
    lstm = bundle.lstm
    if lstm is None:
        return x
    both = graph.add("Concat", x, "carry.hidden", axis=1)
    rows = np.vstack([lstm.weight_ih.T, lstm.weight_hh.T])
    gates = _dense(graph, both, rows, lstm.bias_ih + lstm.bias_hh)
    sizes = graph.constant([lstm.hidden] * 4, np.int64)
    write, keep, new, read = graph.add("Split", gates, sizes, outputs=4, axis=1)
    kept = graph.add("Mul", graph.add("Sigmoid", keep), "carry.cell")
    added = graph.add("Mul", graph.add("Sigmoid", write), graph.add("Tanh", new))
    cell = graph.add("Add", kept, added)
    hidden = graph.add("Mul", graph.add("Sigmoid", read), graph.add("Tanh", cell))
    graph.name("next.cell", cell)
    return graph.name("next.hidden", hidden)


def _dense(graph: _Graph, x: str, rows: np.ndarray, bias: np.ndarray) -> str:
    weight, shift = graph.constant(rows, np.float32), graph.constant(bias, np.float32)
    return str(graph.add("Gemm", x, weight, shift))


def _command(graph: _Graph, manifest: Manifest, output: str) -> str:
    entries = manifest.action.entries
    ends = [graph.constant(np.float32(v), np.float32) for v in (-1.0, 1.0)]
    action = graph.add("Clip", output, *ends)
    if FramePlan(manifest).uses_action:
        action = graph.name("next.action", action)
    wide = graph.add("Cast", action, to=_onnx_type(np.float64))
    scaled = graph.add("Mul", wide, graph.constant([[e.scale for e in entries]], np.float64))
    command = graph.add("Add", scaled, graph.constant([[e.offset for e in entries]], np.float64))
    names = manifest.robot.actuator_names
    order = [e.joint for e in entries]
    if tuple(order) == names:
        return str(command)
    idle = graph.constant(idle_command(manifest)[None], np.float64)
    both = graph.add("Concat", command, idle, axis=1)
    index = [order.index(n) if n in order else len(order) + i for i, n in enumerate(names)]
    return str(graph.add("Gather", both, graph.constant(index, np.int64), axis=1))


def _onnx_type(dtype: Any) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

"""Write a policy as C99 without dependencies, from raw signals to joint commands.

The code allocates nothing, keeps everything of an episode in one struct, and is the same for a
desktop and a microcontroller. Weights lie input by input, so that the inner loop runs over outputs:
a compiler vectorizes it without being allowed to reorder sums. Do not compile it with
`-ffast-math`, which removes the tests for numbers that are not finite.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from simreal.core.observation import LAST_ACTION
from simreal.deploy.bundle import Bundle
from simreal.deploy.c_template import (
    ACTIVATION_CODE,
    DENSE,
    HEADER,
    LSTM,
    SOURCE,
    STEP,
)
from simreal.deploy.manifest import Manifest, TermEntry
from simreal.deploy.policy import idle_command
from simreal.errors import BundleError

C_SOURCE, C_HEADER = "policy.c", "policy.h"
_PER_LINE = 8


@dataclass(frozen=True, slots=True)
class CarryField:
    """Describe one array of the carry struct: its C type, name and number of elements."""

    ctype: str
    name: str
    count: int


def carry_fields(manifest: Manifest) -> tuple[CarryField, ...]:
    """Return the fields of the carry struct in order; the wider types come first.

    Args:
        manifest: The manifest.
    """
    plan = _Frame(manifest)
    recurrent = manifest.network.recurrent
    hidden = 0 if recurrent is None else recurrent.hidden
    fields = [
        CarryField("double", "frames", plan.depth * plan.width),
        CarryField("double", "state", plan.states),
        CarryField("float", "hidden", hidden),
        CarryField("float", "cell", hidden),
        CarryField("float", "action", len(manifest.action.entries)),
        CarryField("float", "observation", manifest.observation.dim),
        CarryField("float", "output", len(manifest.action.entries)),
        CarryField("int", "newest", 1),
        CarryField("int", "started", 1),
    ]
    return tuple(field for field in fields if field.count)


def c_files(bundle: Bundle) -> dict[str, bytes]:
    """Return the source and the header of a policy; the same bundle gives the same bytes.

    Args:
        bundle: A loaded bundle.

    Raises:
        BundleError: The policy has an operation that has no C form.
    """
    manifest = bundle.manifest
    header = HEADER.format(
        name=_words(manifest.name),
        weights=manifest.files[manifest.file_of("weights")].sha256[:12],
        sizes=_sizes(manifest),
        signals=_signal_comments(manifest),
        commands=_command_comments(manifest),
        period=repr(float(manifest.timing.control_period_s)),
        interface=manifest.robot.interface_sha256,
        table=_signal_table(manifest),
        carry="\n".join(_member(field) for field in carry_fields(manifest)),
    )
    source = SOURCE.format(
        name=_words(manifest.name),
        header=C_HEADER,
        tables=_tables(bundle),
        functions=_functions(bundle),
        step=_step(bundle),
    )
    texts = {C_SOURCE: source, C_HEADER: header}
    return {name: f"{text.rstrip()}\n".encode("ascii") for name, text in texts.items()}


class _Frame:
    """Lay out one frame: for every element of every term the C expression of its value."""

    def __init__(self, manifest: Manifest) -> None:
        self.terms = manifest.observation.terms
        self.depth = max(age for term in self.terms for age in term.ages) + 1
        self.width = sum(len(term.elements) for term in self.terms)
        self.states = sum(
            len(term.elements) for term in self.terms for op in term.ops if op.kind in _STATEFUL
        )
        places: dict[str, dict[str, str]] = {}
        at = 0
        for signal in manifest.signals:
            places[signal.name] = {e: f"signals[{at + i}]" for i, e in enumerate(signal.elements)}
            at += len(signal.elements)
        outputs = [entry.joint for entry in manifest.action.entries]
        places[LAST_ACTION] = {e: f"(double)carry->action[{i}]" for i, e in enumerate(outputs)}
        self.num_signals = at
        self._places = places

    def lines(self) -> list[str]:
        """Return the statements that fill a frame."""
        out, column, state = [], 0, 0
        for term in self.terms:
            for element in term.elements:
                out.append(f"    x = {self._places[term.source][element]};")
                for op in term.ops:
                    code, used = _operation(op.kind, op.values, state)
                    state += used
                    out += [f"    {code}"] if code else []
                out.append(f"    frame[{column}] = x;  /* {_words(f'{term.name}, {element}')} */")
                column += 1
        return out

    def gather(self) -> tuple[list[int], list[int]]:
        """Return for every entry of the observation how old it is, and its column in a frame."""
        ages: list[int] = []
        columns: list[int] = []
        begin = 0
        for term in self.terms:
            for age in term.ages:
                ages += [age] * len(term.elements)
                columns += range(begin, begin + len(term.elements))
            begin += len(term.elements)
        return ages, columns

    def zero_filled(self) -> list[int]:
        """Return the columns that are zero before an episode began."""
        return [i for i, zero in enumerate(_per_element(self.terms)) if zero]


def _per_element(terms: Iterable[TermEntry]) -> list[bool]:
    return [term.fill == "zero" for term in terms for _ in term.elements]


_STATEFUL = ("unwrap", "low_pass")


def _operation(kind: str, values: Sequence[float], state: int) -> tuple[str, int]:
    """Return the statement of an operation on `x`, and how many numbers it keeps."""
    numbers = [_double(v) for v in values]
    if kind in ("sin", "cos"):
        return f"x = {kind}(x);", 0
    if kind == "wrap":
        return "x = wrapped(x);", 0
    if kind == "scale":
        return f"x = x * {numbers[0]};", 0
    if kind == "offset":
        return f"x = x + {numbers[0]};", 0
    if kind == "clip":
        return f"x = x < {numbers[0]} ? {numbers[0]} : x > {numbers[1]} ? {numbers[1]} : x;", 0
    if kind == "lag":  # a matter of which frame is read
        return "", 0
    kept = f"carry->state[{state}]"
    if kind == "unwrap":
        return f"x = {kept} = first ? x : {kept} + wrapped(x - {kept});", 1
    if kind == "low_pass":
        return f"x = {kept} = first ? x : {kept} + {numbers[0]} * (x - {kept});", 1
    raise BundleError(f"observation operation '{kind}' has no form in C")


def _sizes(manifest: Manifest) -> str:
    plan = _Frame(manifest)
    sizes = {
        "POLICY_SIGNALS": plan.num_signals,
        "POLICY_COMMANDS": len(manifest.robot.actuators),
        "POLICY_OBSERVATION": manifest.observation.dim,
        "POLICY_OUTPUTS": len(manifest.action.entries),
    }
    return "\n".join(f"#define {name} {size}" for name, size in sizes.items())


def _signal_table(manifest: Manifest) -> str:
    """Return signal names and elements as a C literal, as a robot's introduction has them."""
    table = {signal.name: list(signal.elements) for signal in manifest.signals}
    literal = json.dumps(json.dumps(table, separators=(",", ":")))
    return literal.replace("?", r"\?")  # two of them would begin a trigraph


def _signal_comments(manifest: Manifest) -> str:
    rows: list[str] = []
    for signal in manifest.signals:
        frame = f", in {signal.frame}" if signal.frame else ""
        for element, unit in zip(signal.elements, signal.units, strict=True):
            rows.append(
                f" *   {len(rows):3d}  {_words(f'{signal.name} {element} [{unit}]{frame}')}"
            )
    return "\n".join(rows)


def _command_comments(manifest: Manifest) -> str:
    entries = {entry.joint: entry for entry in manifest.action.entries}
    rows = []
    for i, joint in enumerate(manifest.robot.actuator_names):
        entry = entries.get(joint)
        what = f"{entry.kind} [{entry.unit}]" if entry else "not driven by the policy"
        rows.append(f" *   {i:3d}  {_words(f'{joint}, {what}')}")
    return "\n".join(rows)


def _member(field: CarryField) -> str:
    return f"    {field.ctype} {field.name}[{field.count}];"


def _tables(bundle: Bundle) -> str:
    manifest = bundle.manifest
    ages, columns = _Frame(manifest).gather()
    tables = [
        _integers("entry_age", ages),
        _integers("entry_column", columns),
        _integers("frame_zero", [int(zero) for zero in _per_element(manifest.observation.terms)]),
    ]
    norm = bundle.normalizer
    if norm is not None:
        tables.append(_floats("norm_mean", norm.mean))
        tables.append(_floats("norm_std", np.sqrt(norm.var + norm.epsilon)))
    if bundle.lstm is not None:
        lstm, hidden = bundle.lstm, bundle.lstm.hidden
        # Halved, a logistic gate is 0.5 + 0.5 tanh: one function serves all four.
        half = np.full(4 * hidden, 0.5, dtype=np.float32)
        half[2 * hidden : 3 * hidden] = 1.0
        rows = np.vstack([lstm.weight_ih.T, lstm.weight_hh.T]) * half
        tables.append(_floats("lstm_weight", rows))
        tables.append(_floats("lstm_bias", (lstm.bias_ih + lstm.bias_hh) * half))
    for i, layer in enumerate(bundle.layers):
        tables.append(_floats(f"weight_{i}", layer.weight.T))
        tables.append(_floats(f"bias_{i}", layer.bias))
    return "\n".join(tables)


def _functions(bundle: Bundle) -> str:
    used = {layer.activation for layer in bundle.layers} - {"identity"}
    if bundle.manifest.network.squash == "tanh" or bundle.lstm is not None:
        used.add("tanh")
    parts = [ACTIVATION_CODE["exp"]] if used & {"tanh", "elu"} else []
    parts += [ACTIVATION_CODE[kind] for kind in ("tanh", "elu", "relu") if kind in used]
    kinds = {op.kind for term in bundle.manifest.observation.terms for op in term.ops}
    if kinds & {"wrap", "unwrap"}:
        parts.append(ACTIVATION_CODE["wrapped"])
    parts.append(DENSE)
    if bundle.lstm is not None:
        parts.append(LSTM.format(inputs=bundle.lstm.inputs, hidden=bundle.lstm.hidden))
    return "\n".join(parts)


def _step(bundle: Bundle) -> str:
    manifest = bundle.manifest
    plan = _Frame(manifest)
    return STEP.format(
        depth=plan.depth,
        width=plan.width,
        frame="\n".join(plan.lines()),
        network="\n".join(_network_lines(bundle)),
        idle="\n".join(
            f"    command[{i}] = {_double(value)};"
            for i, value in enumerate(idle_command(manifest))
        ),
        commands="\n".join(_command_lines(manifest)),
    )


def _network_lines(bundle: Bundle) -> list[str]:
    dim, norm = bundle.manifest.observation.dim, bundle.normalizer
    widths = [dim, *(layer.bias.size for layer in bundle.layers)]
    largest = max([*widths, bundle.lstm.hidden if bundle.lstm else 0])
    lines = [f"    float a[{largest}], b[{largest}];", f"    for (i = 0; i < {dim}; ++i) {{"]
    lines.append("        float v = carry->observation[i];")
    if norm is not None:
        lines.append("        v = (v - norm_mean[i]) / norm_std[i];")
        if norm.clip is not None:
            bound = _float(norm.clip)
            lines.append(f"        v = v < -{bound} ? -{bound} : v > {bound} ? {bound} : v;")
    lines += ["        a[i] = v;", "    }"]
    if bundle.lstm is not None:
        hidden = bundle.lstm.hidden
        lines.append("    remember(a, carry->hidden, carry->cell);")
        lines.append(f"    for (i = 0; i < {hidden}; ++i) a[i] = carry->hidden[i];")
        widths[0] = hidden
    x, y = "a", "b"
    for i, layer in enumerate(bundle.layers):
        lines.append(f"    dense({x}, {y}, weight_{i}, bias_{i}, {widths[i]}, {widths[i + 1]});")
        if layer.activation != "identity":
            lines.append(f"    {layer.activation}_all({y}, {widths[i + 1]});")
        x, y = y, x
    if bundle.manifest.network.squash == "tanh":
        lines.append(f"    tanh_all({x}, {widths[-1]});")
    lines.append(f"    for (i = 0; i < {widths[-1]}; ++i) carry->output[i] = {x}[i];")
    return lines


def _command_lines(manifest: Manifest) -> list[str]:
    names = manifest.robot.actuator_names
    return [
        f"    command[{names.index(e.joint)}] = carry->action[{i}] * {_double(e.scale)} + "
        f"{_double(e.offset)};"
        for i, e in enumerate(manifest.action.entries)
    ]


def _floats(name: str, values: np.ndarray) -> str:
    flat = [_float(value) for value in values.astype(np.float32).ravel().tolist()]
    return _table("float", name, flat)


def _integers(name: str, values: Sequence[int]) -> str:
    return _table("int", name, [str(value) for value in values])


def _table(ctype: str, name: str, items: Sequence[str]) -> str:
    rows = ["    " + ", ".join(items[i : i + _PER_LINE]) for i in range(0, len(items), _PER_LINE)]
    return f"static const {ctype} {name}[{len(items)}] = {{\n" + ",\n".join(rows) + "\n};"


def _float(value: float) -> str:
    """Return a C literal that reads back as the same float32: nine digits are enough."""
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _double(value: float) -> str:
    return repr(float(value))


def _words(text: str) -> str:
    """Return a text of a manifest that may stand in a comment, whatever it holds."""
    return re.sub(r"[^A-Za-z0-9_.,:/\[\]^ -]|/(?=\*)|\*", "_", text).replace("*/", "__")

"""The operations of observation terms on recorded symbols, one frame at a time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from simreal.core.observation import Op, Term
from simreal.core.tracing import Scalar, Untraceable, record


def trace_frame(
    terms: Sequence[Term], names: Mapping[str, Sequence[str]], signals: Mapping[str, Any]
) -> list[Scalar]:
    """Return the entries of one frame as symbols, in the order of the pipeline.

    Args:
        terms: The terms, in order.
        names: Raw signal name to its element names.
        signals: Raw signal name to its symbols (1, k).

    Raises:
        Untraceable: A term has an operation that is not known here.
    """
    frame = []
    for term in terms:
        known = list(names[term.source])
        for element in term.elements:
            value = signals[term.source][0, known.index(element)]
            for op in term.ops:
                value = _apply(op, value)
            frame.append(value)
    return frame


def _apply(op: Op, value: Scalar) -> Scalar:
    if op.kind in ("sin", "cos"):
        return record(op.kind, value)
    if op.kind == "scale":
        return record("multiply", value, op.values[0])
    if op.kind == "offset":
        return record("add", value, op.values[0])
    if op.kind == "clip":
        return record("minimum", record("maximum", value, op.values[0]), op.values[1])
    if op.kind == "lag":  # a matter of which frame is taken
        return value
    if op.kind == "wrap":
        turned = record("remainder", record("add", value, math.pi), 2.0 * math.pi)
        return record("subtract", turned, math.pi)
    raise Untraceable(f"observation operation {op.kind}")

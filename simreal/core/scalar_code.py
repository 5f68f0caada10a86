"""Turn a recorded graph into straight-line Python over plain numbers.

For a few rows that costs a fraction of numpy's calls, whose price is half a microsecond whatever
they do. `math` and numpy may differ in the last bit, no more. Where Python raises and numpy returns
infinity or no number (a division by zero, the root of a negative number, an overflow) the function
raises `ArithmeticError` or `ValueError`, and the caller asks numpy.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simreal.core.tracing import Graph, Node, Scalar, Untraceable

Rows = list[list[float]]
RowFunction = Callable[..., list[tuple[float, ...]]]
"""From lists of rows, one list per vector, to one tuple of results per row."""

_SHAPES = {
    "negative": "-{0}",
    "absolute": "abs({0})",
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "remainder": "{0} % {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "logical_and": "not (not {0} or not {1})",
    "logical_or": "not (not {0} and not {1})",
    "logical_not": "not {0}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "invert": "not {0}",
    "where": "{1} if {0} else {2}",
    "sign": "{0} if {0} != {0} else float(({0} > 0) - ({0} < 0))",
    "floor": "float(floor({0}))",
}
_MATH = {
    "power": "pow",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    **{name: name for name in ("sqrt", "exp", "expm1", "log", "log1p", "hypot")},
    **{name: name for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
}
_TWICE = ("logical_and", "logical_or", "where", "sign")
_INLINE = frozenset([*_MATH, *_SHAPES]) - frozenset(_TWICE)
"""Operations that take every operand, and write it once."""
_LONGEST = 400  # characters, far from as deep as Python's parser goes
_NAMES = {name: getattr(math, name) for name in (*_MATH.values(), "floor", "inf", "nan")}


def compile_rows(
    graph: Graph,
    vectors: Sequence[str],
    outputs: Sequence[Scalar],
    finite: Scalar | None = None,
) -> RowFunction:
    """Compile a function that evaluates a graph row by row.

    Args:
        graph: The graph.
        vectors: Names of the input vectors, in the order of the function's arguments.
        outputs: What it returns for every row.
        finite: A node that must be finite; the function raises `ArithmeticError` where it is not.

    Raises:
        Untraceable: The graph holds an operation without scalar code.
    """
    lines = _lines(graph, [*outputs, finite])
    if isinstance(finite, Node):
        lines.append(f"if {_text(finite)} - {_text(finite)}: raise ArithmeticError('not finite')")
    values = "".join(f"{_text(value)}, " for value in outputs)
    source = "\n".join(
        [
            f"def rows({', '.join(f'{name}_rows' for name in vectors)}):",
            "    found = []",
            "    put = found.append",
            f"    for {', '.join(vectors)}, in zip({', '.join(f'{n}_rows' for n in vectors)}):",
            *(f"        {line}" for line in lines),
            f"        put(({values}))",
            "    return found",
        ]
    )
    names: dict[str, Any] = dict(_NAMES)
    exec(compile(source, "<rows>", "exec"), names)
    function: RowFunction = names["rows"]
    return function


def count_operations(outputs: Sequence[Scalar]) -> int:
    """Return how many operations one row takes."""
    return len(_reachable(outputs))


def _reachable(outputs: Sequence[Scalar]) -> set[int]:
    found: set[int] = set()
    left = [value for value in outputs if isinstance(value, Node)]
    while left:
        node = left.pop()
        if node.index not in found:
            found.add(node.index)
            left += [a for a in node.args if isinstance(a, Node)]
    return found


def _lines(graph: Graph, outputs: Sequence[Scalar]) -> list[str]:
    """Return one assignment per operation, but for those that only one other operation uses.

    They stand inside the other one, since to name a number costs as much as to add it; unless the
    other one may leave an operand out, or writes it twice.
    """
    needed = _reachable(outputs)
    nodes = [node for node in graph.nodes if node.index in needed]
    operands = [a.index for node in nodes for a in node.args if isinstance(a, Node)]
    uses = Counter([*operands, *(value.index for value in outputs if isinstance(value, Node))])
    takers = {a.index: node for node in nodes for a in node.args if isinstance(a, Node)}
    inside: dict[int, str] = {}
    lines = []
    for node in nodes:
        code, taker = _code(node, inside), takers.get(node.index)
        alone = uses[node.index] == 1 and taker is not None and taker.kind in _INLINE
        if alone and len(code) < _LONGEST:
            inside[node.index] = f"({code})"
        else:
            lines.append(f"t{node.index} = {code}")
    return lines


def _text(value: Scalar) -> str:
    return f"t{value.index}" if isinstance(value, Node) else f"({value!r})"


def _code(node: Node, inside: Mapping[int, str]) -> str:
    if node.kind == "input":
        vector, column = node.args
        return f"{vector}[{column}]"
    texts = [
        inside[arg.index] if isinstance(arg, Node) and arg.index in inside else _text(arg)
        for arg in node.args
    ]
    if node.kind in ("maximum", "minimum"):
        return _extreme("<" if node.kind == "maximum" else ">", node.args, texts)
    if node.kind in _MATH:
        return f"{_MATH[node.kind]}({', '.join(texts)})"
    if node.kind in _SHAPES:
        return _SHAPES[node.kind].format(*texts)
    raise Untraceable(f"operation {node.kind}")


def _extreme(sign: str, args: Sequence[Scalar], texts: Sequence[str]) -> str:
    """Return code that lets what is not a number through, as numpy does."""
    a, b = texts
    if not isinstance(args[1], Node):
        return f"{b} if {a} {sign} {b} else {a}"
    if not isinstance(args[0], Node):
        return f"{a} if {b} {sign} {a} else {b}"
    return f"{b} if {a} {sign} {b} or {b} != {b} else {a}"

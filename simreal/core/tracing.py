"""Record what a function of arrays computes for one row, as a graph of operations on numbers.

Tasks do not branch on array values and keep their shapes, so one call with symbols in place of
numbers sees everything they can ever do. The symbols are elements of numpy arrays of objects:
indexing, broadcasting and stacking are numpy's own, and only arithmetic is recorded. What is not
known here raises `Untraceable`, and whoever asked goes on with arrays.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from simreal.core.arrays import NumpyNamespace

Number = float | int | bool
Scalar = Any
"""A `Node`, or a plain number."""


class Untraceable(Exception):  # noqa: N818 - it is no error of anybody's, but a verdict
    """Say that a function does something that cannot be recorded."""


class Graph:
    """Keep every operation once, in an order in which each comes after what it uses.

    Attributes:
        nodes: The operations.
        num_calls: Array operations that were recorded; one may have made several nodes.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.nodes: list[Node] = []
        self.num_calls = 0
        self._known: dict[tuple[Any, ...], Node] = {}

    def inputs(self, vector: str, width: int) -> "Traced":
        """Return one row of inputs (1, width).

        Args:
            vector: Name of the vector they come from.
            width: How many.
        """
        row = np.empty((1, width), dtype=object)
        for column in range(width):
            row[0, column] = self.node("input", vector, column)
        return row.view(Traced)

    def node(self, kind: str, *args: Any) -> "Node":
        """Return the node of an operation, the same one for the same operation."""
        key = (kind, *(("n", a.index) if isinstance(a, Node) else (type(a), repr(a)) for a in args))
        if key not in self._known:
            self._known[key] = Node(self, len(self.nodes), kind, args)
            self.nodes.append(self._known[key])
        return self._known[key]


class Node:
    """Stand for the result of one operation."""

    __slots__ = ("args", "graph", "index", "kind")

    def __init__(self, graph: Graph, index: int, kind: str, args: tuple[Any, ...]) -> None:
        self.graph, self.index, self.kind, self.args = graph, index, kind, args

    def __bool__(self) -> bool:
        """Refuse: a branch on a value cannot be recorded."""
        raise Untraceable("a branch on the value of an array")

    def __float__(self) -> float:
        """Refuse: the value is not known."""
        raise Untraceable("the value of an array as a plain number")

    __int__ = __index__ = __float__


def record(kind: str, *args: Scalar) -> Scalar:
    """Return the result of one operation on symbols or numbers.

    Args:
        kind: Name of a numpy ufunc out of `KINDS`, or `where`.
        args: Operands.
    """
    plain = [a.item() if isinstance(a, np.generic) else a for a in args]
    graph = next((a.graph for a in plain if isinstance(a, Node)), None)
    if graph is None:
        function: Callable[..., Any] = getattr(np, kind)
        return function(*plain).item()
    if kind == "power" and not isinstance(plain[1], Node):
        # As numpy does, which is exact where a general power is not.
        if plain[1] == 2:
            kind, plain = "multiply", [plain[0], plain[0]]
        elif plain[1] == 0.5:
            kind, plain = "sqrt", plain[:1]
    if kind == "multiply" and any(not isinstance(a, Node) and a == 1.0 for a in plain):
        return plain[0] if isinstance(plain[0], Node) else plain[1]
    if kind == "square":
        kind, plain = "multiply", [plain[0], plain[0]]
    return graph.node(kind, *plain)


_UNARY = (
    *("negative", "absolute", "sqrt", "square", "exp", "expm1", "log", "log1p", "floor", "sign"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
    *("logical_not", "invert"),
)
_BINARY = (
    *("add", "subtract", "multiply", "divide", "remainder", "power", "maximum", "minimum"),
    *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"),
    *("logical_and", "logical_or", "bitwise_and", "bitwise_or", "arctan2", "hypot"),
)
KINDS = frozenset((*_UNARY, *_BINARY))
"""Operations that can be recorded, beside `where`, by the names of numpy's ufuncs."""


def _elementwise(kind: str, num_args: int) -> Any:
    return np.frompyfunc(lambda *args: record(kind, *args), num_args, 1)


_FUNCTIONS: dict[str, Any] = {
    **{kind: _elementwise(kind, 1) for kind in _UNARY},
    **{kind: _elementwise(kind, 2) for kind in _BINARY},
}
_WHERE = _elementwise("where", 3)
_TO_FLOAT = np.frompyfunc(lambda x: record("add", x, 0.0), 1, 1)


class Traced(np.ndarray[Any, Any]):
    """Hold symbols, and record what is done with them."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Record one array operation, or a reduction by one.

        Args:
            ufunc: The operation.
            method: `__call__` or `reduce`.
            inputs: Operands.
            kwargs: Axis of a reduction.

        Raises:
            Untraceable: It is not known, or writes into an array that exists.
        """
        if ufunc is np.matmul and method == "__call__" and not kwargs:
            _count(inputs)
            return _traced(_product(*(_objects(value) for value in inputs)))
        given = {name for name, value in kwargs.items() if not _is_default(value)}
        allowed = {"axis", "keepdims"} if method == "reduce" else set()
        keep = kwargs.get("keepdims") is True
        function = _FUNCTIONS.get(ufunc.__name__)
        if function is None or method not in ("__call__", "reduce") or given - allowed:
            raise Untraceable(f"numpy's {ufunc.__name__} ({method}, {', '.join(sorted(given))})")
        _count(inputs)
        plain = [_objects(value) for value in inputs]
        if method == "reduce":
            found = function.reduce(plain[0], axis=kwargs.get("axis", 0), keepdims=keep)
        else:
            found = function(*plain)
        return _traced(found)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        """Call one of numpy's functions that move entries about, and keep the symbols' class."""
        if func is np.where:
            return TracingNamespace.where(*args, **kwargs)
        found = super().__array_function__(func, types, args, kwargs)
        return _traced(found) if isinstance(found, np.ndarray) else found

    def astype(self, dtype: Any, *_: Any, **__: Any) -> Any:
        """Return numbers of another kind; symbols become floats.

        Args:
            dtype: The kind.

        Raises:
            Untraceable: It is not a float.
        """
        if np.dtype(dtype).kind != "f":
            raise Untraceable(f"a conversion to {np.dtype(dtype)}")
        return _traced(_TO_FLOAT(_objects(self)))


class TracingNamespace(NumpyNamespace):
    """Be the array namespace of a task while it is recorded."""

    @staticmethod
    def where(condition: Any, x: Any, y: Any) -> Any:
        """Return x where the condition holds, else y.

        Args:
            condition: Any shape.
            x: Any shape.
            y: Any shape.
        """
        _count((condition, x, y))
        return _traced(_WHERE(_objects(condition), _objects(x), _objects(y)))

    @staticmethod
    def mean(x: Any, *, axis: int | None = None, keepdims: bool = False) -> Any:
        """Return the mean over one axis, or over all of them.

        Args:
            x: Any shape.
            axis: Axis to average over; all if None.
            keepdims: Whether the axis stays, with length 1.
        """
        count = np.size(x) if axis is None else np.shape(x)[axis]
        return TracingNamespace.sum(x, axis=axis, keepdims=keepdims) / count

    @staticmethod
    def asarray(x: Any, *, dtype: Any = None, device: Any = None) -> Any:
        """Return an array, or symbols as they are.

        Args:
            x: Numbers or symbols.
            dtype: Kind of the numbers.
            device: Where arrays are; symbols are nowhere.
        """
        return x if isinstance(x, Traced) else np.asarray(x, dtype=dtype)


TRACING = TracingNamespace()


def flat(value: Any, size: int) -> list[Scalar]:
    """Return the entries of a row's result.

    Args:
        value: What a recorded function returned.
        size: How many there must be.

    Raises:
        Untraceable: There are others.
    """
    entries = [e.item() if isinstance(e, np.generic) else e for e in np.ravel(_objects(value))]
    if len(entries) != size or any(isinstance(e, float) and math.isnan(e) for e in entries):
        raise Untraceable(f"a result of shape {np.shape(value)}; {size} numbers per row expected")
    return entries


def _product(rows: Any, matrix: Any) -> Any:
    """Return the product of rows (N, k) and a matrix (k, m) or vector (k,), zeros left out."""
    columns = matrix.reshape(len(matrix), -1)
    out = np.empty((len(rows), columns.shape[1]), dtype=object)
    for place in np.ndindex(out.shape):
        pairs = zip(rows[place[0]], columns[:, place[1]], strict=True)
        parts = [record("multiply", x, y) for x, y in pairs if _counts(y)]
        total = parts[0] if parts else 0.0
        for part in parts[1:]:
            total = record("add", total, part)
        out[place] = total
    return out.reshape(rows.shape[:1] + matrix.shape[1:])


def _counts(factor: Any) -> bool:
    return isinstance(factor, Node) or factor != 0


def _is_default(value: Any) -> bool:
    if isinstance(value, np.dtype):  # numpy's any() and all() ask for bool, which these are
        return value == np.dtype(bool)
    return value is None or value is True or type(value).__name__ == "_NoValueType"


def _objects(value: Any) -> Any:
    if isinstance(value, Traced):
        return value.view(np.ndarray)
    if isinstance(value, Node):
        return value
    return np.asarray(value).astype(object)


def _traced(found: Any) -> Any:
    if not isinstance(found, np.ndarray):
        cell = np.empty((), dtype=object)
        cell[()] = found
        found = cell
    return found.view(Traced)


def _count(values: tuple[Any, ...]) -> None:
    for value in values:
        for entry in np.ravel(_objects(value)):
            if isinstance(entry, Node):
                entry.graph.num_calls += 1
                return

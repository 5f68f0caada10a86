"""Recorded functions compute what numpy computes, and what cannot be recorded is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.core.scalar_code import compile_rows, count_operations
from simreal.core.tracing import KINDS, TRACING, Graph, Untraceable, flat, record

UNARY = sorted(kind for kind in KINDS if getattr(np, kind).nin == 1)
BINARY = sorted(KINDS - set(UNARY))
LOGICAL = {"invert", "logical_not", "logical_and", "logical_or", "bitwise_and", "bitwise_or"}
numbers = st.floats(-50.0, 50.0).map(lambda x: round(x, 3))


def compiled(function: Callable[[Any], Any], width: int, outputs: int = 1) -> Callable[..., Any]:
    graph = Graph()
    return compile_rows(graph, "x", flat(function(graph.inputs("x", width)), outputs))


def operands(kind: str, row: list[float]) -> Any:
    return [value > 0 for value in row] if kind in LOGICAL else row


@pytest.mark.parametrize("kind", UNARY + BINARY)
@settings(max_examples=25)
@given(row=st.lists(numbers, min_size=2, max_size=2))
def test_every_operation_is_numpys_or_raises(kind: str, row: list[float]) -> None:
    ufunc = getattr(np, kind)
    args = operands(kind, row)[: ufunc.nin]
    with np.errstate(all="ignore"):
        wanted = float(ufunc(*args))
    rows = compiled(lambda x: ufunc(*(x[:, i] for i in range(ufunc.nin))), 2)
    try:
        found = rows([operands(kind, row)])[0][0]
    except (ArithmeticError, ValueError):
        assert not np.isfinite(wanted)
    else:
        assert found == pytest.approx(wanted, rel=1e-12, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("kind", ["maximum", "minimum"])
@pytest.mark.parametrize("row", [[np.nan, 1.0], [1.0, np.nan]])
def test_what_is_no_number_is_not_hidden(kind: str, row: list[float]) -> None:
    ufunc = getattr(np, kind)
    assert np.isnan(compiled(lambda x: ufunc(x[:, 0], x[:, 1]), 2)([row])[0][0])
    for fixed in (lambda x: ufunc(x[:, 0], 0.5), lambda x: ufunc(0.5, x[:, 0])):
        assert np.isnan(compiled(fixed, 2)([[np.nan, 0.0]])[0][0])


def test_shapes_are_numpys_own() -> None:
    def function(xp: Any, x: Any) -> Any:
        pairs = xp.stack([x[:, :2], x[:, 2:]], axis=-1)  # (N, 2, 2)
        scaled = pairs * np.array([1.0, 10.0])
        inside = (x[:, 0] > 0.0) & (x[:, 1] < 1.0)
        return xp.where(inside[:, None], scaled.reshape(-1, 4), xp.sum(x, axis=1, keepdims=True))

    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 4))
    found = compiled(lambda x: function(TRACING, x), 4, outputs=4)(values.tolist())
    np.testing.assert_allclose(found, function(np, values), rtol=1e-12)


def test_matrix_products_are_recorded_without_their_zeros() -> None:
    weights = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])

    def function(x: Any) -> Any:
        return x @ weights + (x @ weights[:, 1])[:, None]

    values = np.random.default_rng(1).normal(size=(20, 3))
    np.testing.assert_allclose(compiled(function, 3, 2)(values.tolist()), function(values))
    graph = Graph()
    # three inputs, 3 z, x + 3 z, 2 y
    assert count_operations(flat(graph.inputs("x", 3) @ weights, 2)) == 6


def test_reductions_and_conversions_are_recorded() -> None:
    def function(xp: Any, x: Any) -> Any:
        steps = (x > 0.0).astype(np.float64)
        spread = xp.max(x, axis=1) - xp.min(x, axis=1) + xp.mean(x, axis=1)
        some = xp.any(x > 1.0, axis=1) | xp.all(x < 0.5, axis=1)
        limited = xp.where(some, xp.clip(x[:, 0], -1.0, 1.0), 2.0)
        return xp.sum(xp.abs(x), axis=1) + np.prod(steps, axis=1) + spread + limited

    values = np.random.default_rng(1).normal(size=(20, 3))
    found = compiled(lambda x: function(TRACING, x), 3)(values.tolist())
    np.testing.assert_allclose(np.ravel(found), function(np, values), rtol=1e-12)


def test_an_operation_is_done_once() -> None:
    graph = Graph()
    x = graph.inputs("x", 1)
    outputs = flat(np.sin(x) + np.sin(x), 1)
    assert count_operations(outputs) == 3  # the input, the sine, the sum
    assert graph.num_calls == 3


def test_powers_are_exact_where_numpys_are() -> None:
    assert compiled(lambda x: x**2, 1)([[1.1]]) == [(1.1 * 1.1,)]
    assert compiled(lambda x: x**0.5, 1)([[2.0]]) == [(np.sqrt(2.0),)]
    assert compiled(lambda x: 2.0**x, 1)([[3.0]]) == [(8.0,)]


def test_constants_are_folded() -> None:
    assert record("cos", 0.0) == 1.0
    assert compiled(lambda x: 0.0 * x + np.inf, 1)([[1.0]]) == [(np.inf,)]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x if x[0, 0] > 0 else -x,
        lambda x: float(x[0, 0]),
        lambda x: int(x[0, 0]),
        lambda x: x.astype(np.int64),
        lambda x: np.linalg.norm(x, axis=1),
        lambda x: np.add(x, 1.0, out=np.zeros((1, 2))),
        lambda x: np.frexp(x)[0],
        lambda x: flat(x, 1),
        lambda x: flat(np.nan * np.ones(1), 1),
        lambda x: np.sort(x),
    ],
)
def test_what_cannot_be_recorded_is_refused(function: Callable[[Any], Any]) -> None:
    with pytest.raises((Untraceable, TypeError, AttributeError)):
        function(Graph().inputs("x", 2))


def test_a_result_that_is_not_finite_is_told() -> None:
    graph = Graph()
    (total,) = flat(graph.inputs("x", 2)[:, 0] * 1e300, 1)
    rows = compile_rows(graph, "x", [total], finite=total)
    assert rows([[1.0, 0.0]]) == [(1e300,)]
    with pytest.raises(ArithmeticError):
        rows([[1e300, 0.0]])


def test_what_a_branch_leaves_out_still_raises_as_where_every_operation_has_a_name() -> None:
    rows = compiled(lambda x: TRACING.where(x[:, 0] > 0, 1.0 / x[:, 1], x[:, 1]), 2)
    assert rows([[1.0, 4.0]]) == [(0.25,)]
    with pytest.raises(ZeroDivisionError):
        rows([[-1.0, 0.0]])  # numpy evaluates both sides, so numpy is asked


def test_long_chains_of_operations_compile() -> None:
    def chain(x: Any) -> Any:
        total = x[:, 0]
        for _ in range(500):
            total = total * 1.5 - 0.25
        return total

    assert compiled(chain, 1)([[0.5]]) == [(0.5,)]  # 0.5 stays where it is

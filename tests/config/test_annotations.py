"""The table of what YAML values each annotation takes."""

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Protocol

import numpy as np
import numpy.typing as npt
import pytest
from annotated_types import Gt
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simreal.config import annotations

Meters = NewType("Meters", float)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Opaque:
    """Hold what pydantic could not describe."""

    def __init__(self, inner: "Unknown") -> None:  # type: ignore[name-defined]  # noqa: F821
        self.inner = inner


class Stepper(Protocol):
    def step(self) -> None: ...


def _check(annotation: Any, value: Any) -> Any:
    checker = annotations.adapter(annotation)
    assert checker is not None
    return checker.validate_python(value)


ACCEPTED = [
    (int, 3, 3),
    (int, 3.0, 3),
    (float, 3, 3.0),
    (float, 0.5, 0.5),
    (bool, True, True),
    (str, "a", "a"),
    (int | None, None, None),
    (float | str, "a", "a"),
    (Literal["a", "b"], "b", "b"),
    (Path, "a/b", Path("a/b")),
    (Color, "red", Color.RED),
    (Meters, 2, 2.0),
    (list[int], [1, 2], [1, 2]),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[float, str], [1, "a"], (1.0, "a")),
    (Sequence[float], [1, 2.5], [1.0, 2.5]),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (Mapping[str, tuple[int, ...]], {"a": [1]}, {"a": (1,)}),
    (set[str], ["a", "a"], {"a"}),
    (Annotated[int, Gt(0)], 1, 1),
    (Any, object, object),
    (Callable[[int], int], abs, abs),
    (type[Opaque], Opaque, Opaque),
    (Stepper, 3, 3),
]

REFUSED = [
    (int, "3"),
    (int, True),
    (int, 1.5),
    (int, None),
    (float, "0.1"),
    (float, True),
    (bool, 1),
    (bool, "true"),
    (str, 3),
    (int | None, "x"),
    (Literal["a", "b"], "c"),
    (Literal[1, 2], True),
    (Color, "green"),
    (list[int], 3),
    (list[int], ["a"]),
    (list[int], "ab"),
    (Sequence[str], "ab"),
    (tuple[float, float], [1.0]),
    (tuple[int, ...], [1, True]),
    (dict[str, float], {"a": "b"}),
    (dict[str, float], [1]),
    (Mapping[str, int], 3),
    (Opaque, {"inner": 3}),
    (Opaque | None, "x"),
    (Annotated[int, Gt(0)], 0),
    (npt.NDArray[np.float64], ["a"]),
    (npt.NDArray[np.float64], "a"),
    (np.ndarray, True),
    (Callable[[int], int], 3),
    (type[Opaque], int),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), ACCEPTED, ids=str)
def test_value_is_accepted(annotation: Any, value: Any, expected: Any) -> None:
    found = _check(annotation, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(("annotation", "value"), REFUSED, ids=str)
def test_value_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(ValidationError):
        _check(annotation, value)


def test_class_that_pydantic_cannot_describe_is_an_isinstance_check() -> None:
    value = Opaque(None)
    assert _check(Opaque, value) is value
    assert _check(list[Opaque], [value]) == [value]
    assert _check(Iterable[Opaque] | None, None) is None


@given(st.one_of(st.booleans(), st.text(), st.none()))
def test_no_text_bool_or_null_is_a_number(value: bool | str | None) -> None:
    for annotation in (int, float, list[float], tuple[int, ...]):
        with pytest.raises(ValidationError):
            _check(annotation, value)


@given(st.lists(st.floats(allow_nan=False), max_size=5))
def test_numbers_survive_a_tuple_unchanged(values: list[float]) -> None:
    assert _check(tuple[float, ...], values) == tuple(values)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (float | None, "float or null"),
        (Literal["a", "b"], "one of 'a', 'b'"),
        (Color, "one of 'red', 'blue'"),
        (dict[str, list[float]], "dict[str, list[float]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Opaque | None, "Opaque or null"),
        (npt.NDArray[np.float64], "a list of numbers"),
        (Callable[[int], int], "something callable"),
        (Annotated[int, Gt(0)], "int (Gt(gt=0))"),
    ],
    ids=str,
)
def test_annotation_is_described(annotation: Any, text: str) -> None:
    assert annotations.describe(annotation) == text


def test_choices_are_found_inside_unions() -> None:
    assert annotations.choices(Literal["a", "b"] | Color | None) == ["a", "b", "red", "blue"]
    assert annotations.choices(int) == []


def test_location_skips_what_is_not_an_entry() -> None:
    value = {"a": [1, "x"]}
    assert annotations.locate(value, ("a", "list[int]", 1)) == (["a", "1"], "x")
    assert annotations.locate(3, ("int",)) == ([], 3)

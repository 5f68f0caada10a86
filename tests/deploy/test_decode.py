"""Untrusted JSON becomes typed records, or a single line."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.deploy.decode import Words, decode, describe, one_line, parse_json
from simreal.errors import BundleError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inner:
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    name: str
    ratio: float
    on: bool
    kind: Literal["big", "small"]
    span: tuple[float, float]
    many: tuple[_Inner, ...]
    table: dict[str, float]
    limit: float | None


GOOD: dict[str, Any] = {
    "name": "a",
    "ratio": 0.1,
    "on": True,
    "kind": "big",
    "span": [0, 1.5],
    "many": [{"size": 3}],
    "table": {"x": 2},
    "limit": None,
}


def test_a_good_record() -> None:
    found = decode(_Record, GOOD, "top")
    assert found == _Record(
        name="a",
        ratio=0.1,
        on=True,
        kind="big",
        span=(0, 1.5),
        many=(_Inner(size=3),),
        table={"x": 2},
        limit=None,
    )
    assert type(found.span[0]) is int  # encoding gives the same text again


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", 3, "top.name: expected a string, found 3"),
        ("name", "a\x1b[2J", "top.name: expected at most 1024 printable characters"),
        ("name", "\ud800", "top.name: expected at most 1024 printable characters"),
        ("name", "x" * 2000, "top.name: expected at most 1024 printable characters"),
        ("ratio", float("inf"), "top.ratio: expected a finite number, found inf"),
        ("ratio", 10**30, "top.ratio: expected a finite number"),
        ("ratio", None, "top.ratio: expected a finite number, found None"),
        ("on", 1, "top.on: expected true or false, found 1"),
        ("kind", "bigg", "top.kind: expected 'big' or 'small' (Did you mean 'big'?), found 'bigg'"),
        ("kind", ["big"], "top.kind: expected 'big' or 'small', found a list of 1 items"),
        ("span", [1], "top.span: expected a list of 2 items, found a list of 1 items"),
        ("span", "01", "top.span: expected a list, found '01'"),
        ("many", [{"size": 3}, {"size": 0.5}], "top.many[1].size: expected an integer, found 0.5"),
        ("many", [[]], "top.many[0]: expected an object, found a list of 0 items"),
        ("many", [{}] * 5000, "top.many: expected at most 4096 items, found a list of 5000 items"),
        ("many", [{"size": 1, "siez": 2}], "found the unknown key 'siez'. Did you mean 'size'?"),
        ("table", {"x": "2"}, "top.table.x: expected a finite number, found '2'"),
        ("table", {"x\n": 2}, "top.table: expected printable keys"),
        ("limit", "none", "top.limit: expected a finite number, found 'none'"),
    ],
)
def test_a_bad_value(key: str, value: Any, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        decode(_Record, {**GOOD, key: value}, "top")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(key=st.sampled_from(sorted(GOOD)), value=JSON)
def test_any_value_is_taken_or_refused(key: str, value: Any) -> None:
    message = ""
    try:
        decode(_Record, {**GOOD, key: value}, "top")
    except BundleError as error:
        message = str(error)
    assert message.isprintable()


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    message = ""
    try:
        parse_json(data, "file")
    except BundleError as error:
        message = str(error)
    assert message.isprintable()


@given(JSON)
def test_json_is_parsed_as_the_standard_parser_does(value: Any) -> None:
    text = json.dumps(value)
    if "NaN" in text or "Infinity" in text:
        return
    assert parse_json(text.encode(), "file") == json.loads(text)


def test_descriptions_are_short() -> None:
    assert describe("x" * 10_000) == "'" + "x" * 71 + "..."
    assert describe({"a": 1}) == "an object of 1 keys"
    assert describe(Words("nothing")) == "nothing"
    assert one_line("a\nb\x07") == "a\\nb\\x07"

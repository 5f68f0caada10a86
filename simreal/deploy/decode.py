"""Read untrusted JSON into frozen dataclasses, or say in one line which field is wrong.

A bundle comes from somewhere else, and the standard parser accepts far too much: doubled keys, NaN,
numbers that overflow, trees deeper than the stack. Nothing here executes or allocates more than a
small multiple of the bytes it was given, and the only error that leaves it is a `BundleError`.
"""

import dataclasses
import functools
import json
import math
import types
import typing
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from simreal.errors import BundleError, SimrealError, nearest

MAX_ITEMS = 4096
"""Most items of a list and keys of an object; keeps every later check quick."""

MAX_TEXT = 1024
"""Most characters of a string."""

_MAX_INT = 2**63 - 1
_SHOWN = 72


class Words(str):
    """Mark a text as a description of what was found, not as a value that was found."""

    __slots__ = ()


def describe(value: object) -> str:
    """Return a value in a form that fits into one line of a message.

    Args:
        value: Anything that came out of a JSON file, or `Words`.
    """
    if isinstance(value, Words):
        return str(value)
    if isinstance(value, list | tuple):
        return f"a list of {len(value)} items"
    if isinstance(value, Mapping):
        return f"an object of {len(value)} keys"
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def mismatch(field: str, expected: object, found: str) -> BundleError:
    """Build the error for one field.

    Args:
        field: Path of the field.
        expected: What is allowed.
        found: What was seen, already in the form of `describe`.

    Returns:
        The error, to be raised by the caller.
    """
    return BundleError(one_line(f"{field}: expected {expected}, found {found}"))


def expect(holds: bool, field: str, expected: object, found: object) -> None:
    """Raise the error for one field unless a condition holds.

    Args:
        holds: The condition.
        field: Path of the field.
        expected: What is allowed, in words.
        found: What was seen.

    Raises:
        BundleError: The condition does not hold.
    """
    if not holds:
        raise mismatch(field, expected, describe(found))


def one_line(text: object) -> str:
    """Return a text without line breaks and other characters that a terminal would act on."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def parse_json(data: bytes, where: str) -> Any:
    """Parse JSON strictly.

    Args:
        data: UTF-8 text.
        where: What is parsed, for the message.

    Raises:
        BundleError: The text is not JSON, has doubled keys or literals such as NaN, or is too deep.
    """

    def refuse_constant(literal: str) -> NoReturn:
        raise mismatch(where, "finite numbers", f"the literal {literal}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            doubled = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise mismatch(where, "every key once", f"the key {describe(doubled)} twice")
        return made

    try:
        return json.loads(
            data.decode("utf-8"), parse_constant=refuse_constant, object_pairs_hook=unique
        )
    except UnicodeDecodeError as error:
        found = f"byte {error.start} that is none"
        raise mismatch(where, "UTF-8 text", found) from None
    except RecursionError:
        raise mismatch(where, "JSON that nests a few levels", "hundreds of levels") from None
    except json.JSONDecodeError as error:
        found = f"at line {error.lineno} column {error.colno}: {error.msg}"
        raise mismatch(where, "JSON", found) from None
    except ValueError:  # an integer of thousands of digits
        raise mismatch(where, "numbers of at most 64 bit", "a far longer one") from None


def decode(kind: Any, value: Any, field: str) -> Any:
    """Turn parsed JSON into an object of a declared type.

    Numbers keep their form: an integer is allowed where a float is declared, and stays one, so that
    encoding the object gives the same text again.

    Args:
        kind: A frozen dataclass, or the type of one of its fields.
        value: Parsed JSON.
        field: Path of the value, for messages.

    Raises:
        BundleError: A key is missing or unknown, or a value is of another type or not finite.
    """
    if dataclasses.is_dataclass(kind):
        return _record(kind, value, field)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else decode(inner[0], value, field)
    if origin is Literal:
        expect(type(value) is str and value in inner, field, _choices(inner, value), value)
        return value
    if origin is tuple:
        return _list(inner, value, field)
    if origin is dict:
        _object(value, field)
        return {k: decode(inner[1], v, f"{field}.{describe(k)[1:-1]}") for k, v in value.items()}
    return _scalar(kind, value, field)


def problems(kind: Any, value: Any, field: str) -> list[str]:
    """Return every field of parsed JSON that `decode` would refuse, in one line each.

    Args:
        kind: As for `decode`.
        value: Parsed JSON.
        field: Path of the value, for messages.
    """
    origin, inner = get_origin(kind), get_args(kind)
    prefix = f"{field}." if field else ""
    if origin in (Union, types.UnionType) and value is not None:
        return problems(inner[0], value, field)
    if origin is tuple and inner[-1] is Ellipsis and isinstance(value, list):
        items = value[:MAX_ITEMS]
        return [p for i, v in enumerate(items) for p in problems(inner[0], v, f"{field}[{i}]")]
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        found = []
        for key, of in _fields(typing.cast(Any, kind)).items():
            if key in value:
                found += problems(of, value[key], f"{prefix}{key}")
        return found or _problem(kind, value, field)
    return _problem(kind, value, field)


def _problem(kind: Any, value: Any, field: str) -> list[str]:
    try:
        decode(kind, value, field)
    except BundleError as error:
        return [str(error)]
    return []


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _record(kind: Any, value: Any, field: str) -> Any:
    _object(value, field)
    fields = _fields(kind)
    prefix = f"{field}." if field else ""
    for key in value:
        if key not in fields:
            found = f"the unknown key {describe(key)}.{nearest(key[:_SHOWN], fields)}"
            raise mismatch(field or "manifest", "only the keys of the schema", found)
    for key in fields:
        expect(key in value, f"{prefix}{key}", "a value", Words("nothing"))
    made = {key: decode(of, value[key], f"{prefix}{key}") for key, of in fields.items()}
    try:
        return kind(**made)
    except BundleError:
        raise
    except SimrealError as error:  # the core's own checks of its records
        raise BundleError(one_line(f"{field}: {error}")) from None


def _object(value: Any, field: str) -> None:
    expect(isinstance(value, dict), field, "an object", value)
    expect(len(value) <= MAX_ITEMS, field, f"at most {MAX_ITEMS} keys", value)
    for key in value:
        expect(_is_plain(key), field, f"printable keys of at most {MAX_TEXT} characters", key)


def _list(inner: tuple[Any, ...], value: Any, field: str) -> tuple[Any, ...]:
    expect(isinstance(value, list), field, "a list", value)
    if inner[-1] is Ellipsis:
        expect(len(value) <= MAX_ITEMS, field, f"at most {MAX_ITEMS} items", value)
        kinds = inner[:1] * len(value)
    else:
        expect(len(value) == len(inner), field, f"a list of {len(inner)} items", value)
        kinds = inner
    return tuple(
        decode(k, v, f"{field}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))
    )


def _scalar(kind: Any, value: Any, field: str) -> Any:
    if kind is str:
        expect(type(value) is str, field, "a string", value)
        expect(_is_plain(value), field, f"at most {MAX_TEXT} printable characters", value)
    elif kind is bool:
        expect(type(value) is bool, field, "true or false", value)
    elif kind is int:
        expect(type(value) is int and abs(value) <= _MAX_INT, field, "an integer", value)
    else:
        whole = type(value) is int and abs(value) <= _MAX_INT
        real = type(value) is float and math.isfinite(value)
        expect(whole or real, field, "a finite number", value)
    return value


def _is_plain(text: str) -> bool:
    return len(text) <= MAX_TEXT and text.isprintable()


def _choices(allowed: tuple[Any, ...], value: Any) -> str:
    listing = " or ".join(repr(a) for a in allowed)
    hint = nearest(value[:_SHOWN], allowed) if isinstance(value, str) else ""
    return f"{listing}{' (' + hint.strip() + ')' if hint else ''}"


def check_unique(field: str, names: Iterable[str]) -> None:
    """Refuse names that are empty or doubled.

    Args:
        field: For the message.
        names: The names.

    Raises:
        BundleError: One is; it is named.
    """
    seen: set[str] = set()
    for name in names:
        expect(name != "", field, "names that are not empty", name)
        expect(name not in seen, field, "every name once", name)
        seen.add(name)


def check_known(field: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not known, and suggest the nearest one.

    Args:
        field: For the message.
        name: The name.
        known: The known ones.

    Raises:
        BundleError: It is unknown.
    """
    known = list(known)
    if name not in known:
        raise mismatch(field, "a known name", f"{describe(name)}.{nearest(name, known)}")


def check_keys(field: str, found: Iterable[str], expected: Iterable[str]) -> None:
    """Refuse a table whose keys are not the expected ones.

    Args:
        field: For the message.
        found: Its keys.
        expected: The expected ones.

    Raises:
        BundleError: A key is too much or missing; it is named.
    """
    found, expected = set(found), set(expected)
    for name in sorted(found - expected):
        raise mismatch(field, f"only {sorted(expected)}", describe(name))
    for name in sorted(expected - found):
        raise mismatch(field, f"a value for {describe(name)}", "none")

"""Check a value that came from YAML against a parameter's annotation.

pydantic does the checking, on a rewritten annotation: scalars are strict (a bool is no int, a
string is no number), containers accept what YAML can write (a list for a tuple), and a class of
ours is an `isinstance` check, so that pydantic never looks inside a value object.
"""

import enum
import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
from pydantic import (
    BeforeValidator,
    ConfigDict,
    PydanticSchemaGenerationError,
    Strict,
    TypeAdapter,
)
from pydantic_core import CoreSchema, core_schema

_SCALARS = (int, float, bool, str, bytes, complex, type(None))
_LAX = Strict(strict=False)


@dataclass(frozen=True)
class _Instance:
    """Check with `isinstance` alone, without a look at the fields of the class."""

    cls: type

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.is_instance_schema(self.cls)


def adapter(annotation: Any) -> TypeAdapter[Any] | None:
    """Return the checker of an annotation, or None where it cannot be checked.

    Args:
        annotation: The resolved annotation of a parameter, for instance `int | None`.
    """
    try:
        # A whole float is written as 1e6 in YAML; it is an integer where an integer is expected.
        rewritten = _WHOLE if annotation is int else rewrite(annotation)
        return TypeAdapter(rewritten, config=ConfigDict(arbitrary_types_allowed=True, strict=True))
    except (PydanticSchemaGenerationError, TypeError):
        return None


def rewrite(annotation: Any) -> Any:
    """Return the annotation that pydantic is to check in place of the written one.

    Args:
        annotation: The resolved annotation of a parameter.
    """
    if annotation in _SCALARS or annotation is Any:
        return annotation
    origin = get_origin(annotation)
    if origin is None:
        return _rewrite_class(annotation)
    arguments = get_args(annotation)
    if origin is type:
        return annotation
    if origin is Literal:
        return Annotated[annotation, BeforeValidator(functools.partial(_literal, arguments))]
    if origin is Annotated:
        return Annotated[(rewrite(arguments[0]), *annotation.__metadata__)]
    if origin is Union or origin is types.UnionType:
        return functools.reduce(operator.or_, [rewrite(argument) for argument in arguments])
    return _rewrite_generic(annotation, origin, arguments)


def _rewrite_class(annotation: Any) -> Any:
    if isinstance(annotation, typing.NewType):
        return rewrite(annotation.__supertype__)
    if not inspect.isclass(annotation):
        return Any
    if annotation is object:
        return Any
    if annotation is np.ndarray:
        return _ARRAY
    if annotation is Path or issubclass(annotation, enum.Enum):
        return Annotated[annotation, _LAX]
    if annotation in (list, dict, tuple, set, frozenset):
        return Annotated[annotation, _LAX]
    if annotation is typing.cast("Any", Callable):
        return annotation
    if getattr(annotation, "_is_protocol", False) and not _is_runtime(annotation):
        return Any
    return Annotated[Any, _Instance(annotation)]


def _rewrite_generic(annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
    if origin is np.ndarray:
        return _rewrite_class(np.ndarray)
    if origin is Callable or origin is typing.get_origin(Callable[..., Any]):
        return annotation
    if origin.__module__ in ("builtins", "collections.abc"):
        kept = tuple(a if a is Ellipsis else rewrite(a) for a in arguments)
        # pydantic takes any Sequence or Mapping as it is; a list for a tuple has to be allowed.
        return Annotated[origin[kept], _LAX] if origin.__module__ == "builtins" else origin[kept]
    return _rewrite_class(origin)


def _is_runtime(protocol: type) -> bool:
    return bool(getattr(protocol, "_is_runtime_protocol", False))


def _literal(allowed: tuple[Any, ...], value: Any) -> Any:
    """Tell 1 from true, which compare equal."""
    if not any(type(item) is type(value) and item == value for item in allowed):
        raise ValueError("not among the literals")
    return value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _array(value: Any) -> Any:
    if not isinstance(value, list | tuple | int | float) or isinstance(value, bool):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise ValueError("numbers only")
    return array.astype(np.float64)


_WHOLE = Annotated[int, BeforeValidator(_whole)]
_ARRAY = Annotated[Any, _Instance(np.ndarray), BeforeValidator(_array)]


def describe(annotation: Any) -> str:
    """Return an annotation as a message shows it.

    Args:
        annotation: The resolved annotation of a parameter.

    Returns:
        For instance `int`, `one of 'reach', 'push'` or `Distribution or None`.
    """
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if annotation is None or annotation is type(None):
        return "null"
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if origin is Annotated:
        limits = ", ".join(str(item) for item in annotation.__metadata__)
        return f"{describe(arguments[0])} ({limits})"
    if origin is Union or origin is types.UnionType:
        return " or ".join(describe(argument) for argument in arguments)
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(repr(member.value) for member in annotation)
    if origin is not None and arguments:
        return _describe_generic(origin, arguments)
    return getattr(annotation, "__name__", str(annotation))


def _describe_generic(origin: Any, arguments: tuple[Any, ...]) -> str:
    if origin is np.ndarray:
        return "a list of numbers"
    name = getattr(origin, "__name__", str(origin))
    if name == "Callable":
        return "something callable"
    inner = ", ".join("..." if a is Ellipsis else describe(a) for a in arguments)
    return f"{name}[{inner}]"


def choices(annotation: Any) -> list[str]:
    """Return the strings that an annotation names, for a hint; empty where it names none.

    Args:
        annotation: The resolved annotation of a parameter.
    """
    if get_origin(annotation) is Literal:
        return [argument for argument in get_args(annotation) if isinstance(argument, str)]
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return [member.value for member in annotation if isinstance(member.value, str)]
    return [name for argument in get_args(annotation) for name in choices(argument)]


def locate(value: Any, location: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """Follow a pydantic error location as far as it names entries of the value.

    pydantic mixes the branches of a union into a location; those are skipped.

    Args:
        value: What was checked.
        location: The `loc` of one error.

    Returns:
        The keys that lead to the offending entry, and that entry.
    """
    keys: list[str] = []
    for step in location:
        is_entry = isinstance(value, Mapping) and step in value
        is_item = isinstance(value, list | tuple) and isinstance(step, int) and step < len(value)
        if is_entry or is_item:
            value = value[step]
            keys.append(str(step))
    return keys, value

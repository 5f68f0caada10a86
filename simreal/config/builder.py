"""Build objects from configuration nodes, each call checked against the real signature.

A node with `_target_` is a call. Its keys are the keywords, and the signature of what it names is
the schema: there is no second description of any class to keep in step. Plain lists, dicts and
scalars reach the constructors, never a Hydra or OmegaConf object.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from simreal.config import annotations
from simreal.config.origins import Origins
from simreal.config.targets import accepts_any, names, parameters, resolve
from simreal.errors import ConfigError, DependencyError, SimrealError, nearest

TARGET = "_target_"
PARTIAL = "_partial_"
_DIRECTIVES = (TARGET, PARTIAL)

T = TypeVar("T")


def build(node: Any, path: str = "", origins: Origins | None = None) -> Any:
    """Build a node and everything below it.

    Args:
        node: Plain value: scalar, list, or dict. A dict with `_target_` becomes the object that it
            describes, or a `functools.partial` of it under `_partial_: true`.
        path: Dotted key of the node, for messages.
        origins: Where keys came from, for messages.

    Raises:
        ConfigError: For a target that may not be built, an unknown or missing keyword, a value of
            the wrong type, or one that the constructor refuses. One line with file and key.
    """
    keys = tuple(path.split(".")) if path else ()
    return _Builder(origins or Origins()).node(node, keys)


def call(
    function: Callable[..., T],
    values: Mapping[str, Any],
    origins: Origins | None = None,
    ignore: frozenset[str] = frozenset(),
) -> T:
    """Call a function with the root keys of a configuration, checked like any other node.

    Args:
        function: For instance a frozen dataclass with the settings of a verb.
        values: The composed configuration.
        origins: Where keys came from, for messages.
        ignore: Root keys that the function need not take, for instance groups built elsewhere.

    Raises:
        ConfigError: As `build`.
    """
    taken = names(parameters(function))
    kept = {key: value for key, value in values.items() if key in taken or key not in ignore}
    result: T = _Builder(origins or Origins()).call(function, kept, ())
    return result


class _Builder:
    """Carry the origins through the recursion."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def node(self, node: Any, path: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [self.node(item, (*path, str(index))) for index, item in enumerate(node)]
        if not isinstance(node, Mapping):
            return node
        if TARGET not in node:
            if PARTIAL in node:
                raise self._origins.error(path, f"got '{PARTIAL}' without '{TARGET}'.")
            return {key: self.node(value, (*path, str(key))) for key, value in node.items()}
        return self._target(node, path)

    def _target(self, node: Mapping[str, Any], path: tuple[str, ...]) -> Any:
        try:
            target = resolve(node[TARGET])
        except ConfigError as error:
            raise self._origins.error((*path, TARGET), str(error)) from error
        for key in node:
            if str(key).startswith("_") and key not in _DIRECTIVES:
                raise self._origins.error(
                    (*path, str(key)),
                    f"got the directive '{key}', allowed: {', '.join(_DIRECTIVES)}."
                    f"{nearest(str(key), _DIRECTIVES)}",
                )
        partial = node.get(PARTIAL, False)
        if not isinstance(partial, bool):
            raise self._origins.error((*path, PARTIAL), f"got {partial!r}, expected true or false.")
        keywords = {str(k): v for k, v in node.items() if k not in _DIRECTIVES}
        return self.call(target, keywords, path, partial=partial)

    def call(
        self,
        target: Callable[..., Any],
        keywords: Mapping[str, Any],
        path: tuple[str, ...],
        partial: bool = False,
    ) -> Any:
        """Check the keywords, build what they hold, and call the target."""
        taken = parameters(target)
        self._check_names(target, taken, keywords, path, partial)
        checked = {}
        for key, value in keywords.items():
            built = self.node(value, (*path, key))
            known = key in taken and taken[key].kind is not inspect.Parameter.VAR_KEYWORD
            checked[key] = self._check(built, taken[key], (*path, key)) if known else built
        if partial:
            return functools.partial(target, **checked)
        try:
            return target(**checked)
        except DependencyError:
            raise
        except (SimrealError, ValueError) as error:
            raise self._refused(error, keywords, path) from error

    def _check_names(
        self,
        target: Callable[..., Any],
        taken: dict[str, inspect.Parameter],
        keywords: Mapping[str, Any],
        path: tuple[str, ...],
        partial: bool,
    ) -> None:
        label = getattr(target, "__name__", str(target))
        allowed = names(taken)
        listing = ", ".join(allowed) or "none"
        for key in keywords:
            if key not in allowed and not accepts_any(taken):
                raise self._origins.error(
                    (*path, key),
                    f"unknown key '{key}' for {label}. Allowed: {listing}.{nearest(key, allowed)}",
                )
        missing = [
            name
            for name in allowed
            if taken[name].default is inspect.Parameter.empty and name not in keywords
        ]
        if missing and not partial:
            raise self._origins.error(
                path,
                f"{label} needs {', '.join(repr(name) for name in missing)}, got "
                f"{', '.join(repr(key) for key in keywords) or 'no keys'}. Allowed: {listing}.",
            )

    def _check(self, value: Any, parameter: inspect.Parameter, path: tuple[str, ...]) -> Any:
        if parameter.annotation is inspect.Parameter.empty:
            return value
        checker = annotations.adapter(parameter.annotation)
        if checker is None:
            return value
        try:
            return checker.validate_python(value)
        except ValidationError as error:
            # The location that goes deepest into the value is the entry to be edited.
            found = [annotations.locate(value, item["loc"]) for item in error.errors()]
            keys, seen = max(found, key=lambda item: len(item[0]))
            expected = annotations.describe(parameter.annotation)
            hint = nearest(str(seen), annotations.choices(parameter.annotation))
            raise self._origins.error(
                (*path, *keys), f"got {shown(seen)}, expected {expected}.{hint}"
            ) from error

    def _refused(
        self, error: Exception, keywords: Mapping[str, Any], path: tuple[str, ...]
    ) -> SimrealError:
        """Locate what a constructor refused: the entry whose key its message mentions first."""
        text = " ".join(str(error).split())
        mentions = []
        for keys, value in _entries(keywords):
            mention = re.search(rf"\b{re.escape(keys[-1])}\b", text)
            if mention:
                mentions.append((mention.start(), keys, value))
        _, keys, value = min(mentions, key=lambda item: item[0], default=(0, (), None))
        keys = (*path, *keys)
        seen = "" if keys == path or str(value) in text else f"got {shown(value)}: "
        located = self._origins.error(keys, f"{seen}{text}")
        kind = type(error) if isinstance(error, SimrealError) else ConfigError
        return kind(str(located))


def _entries(node: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every key below a node, with its value; objects of their own are not entered."""
    for key, value in node.items():
        yield (str(key),), value
        if isinstance(value, Mapping) and TARGET not in value:
            yield from (((str(key), *rest), inner) for rest, inner in _entries(value))


def shown(value: Any) -> str:
    """Return a value as a message shows it: short, and with its type where that is the point.

    Args:
        value: What was seen.
    """
    if value is None:
        return "null"
    text = repr(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return text if isinstance(value, str) else f"{text} ({type(value).__name__})"

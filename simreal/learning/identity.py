"""What makes a run that run: a flat table of every setting that can change its numbers.

A checkpoint carries it, so that a run is never continued under other settings than it began with,
and so that the refusal can name the setting. A setting that did not exist when a run began counts
as its default.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any

from simreal.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Identity:
    """Hold the settings of a run.

    Attributes:
        table: Every setting by its dotted name, as text.
        defaults: Names of those that are as a dataclass has them by default.
    """

    table: dict[str, str]
    defaults: frozenset[str]


def identity_of(**parts: Any) -> Identity:
    """Return every leaf of some objects by its dotted name.

    Args:
        parts: Name to dataclass, mapping, sequence, object or plain value.
    """
    leaves = _leaves("", parts, default=False)
    return Identity(
        {name: text for name, text, _ in leaves},
        frozenset(name for name, _, default in leaves if default),
    )


def check_identity(wanted: Identity, seen: Mapping[str, str], where: str) -> None:
    """Refuse a checkpoint of other settings.

    Args:
        wanted: Identity of this run.
        seen: Identity in the checkpoint.
        where: The checkpoint.

    Raises:
        CheckpointError: They differ; the first difference is named.
    """
    for key in (*wanted.table, *seen):
        old, new = seen.get(key, "absent"), wanted.table.get(key, "absent")
        if old != new and not (key not in seen and key in wanted.defaults):
            raise CheckpointError(
                f"{where} is of another run: {key} was {old}, now {new}; resume with the same "
                "settings, or train into another folder"
            )


def _leaves(name: str, value: Any, *, default: bool) -> list[tuple[str, str, bool]]:
    content = _content(value)
    if content is None:
        return [(name, repr(value), default)]
    found = []
    if not isinstance(value, Mapping | tuple | list):
        found.append((name, type(value).__qualname__, default))
    usual = _defaults(value)
    for key, inner in content.items():
        inner_default = default or (key in usual and repr(inner) == usual[key])
        found += _leaves(f"{name}.{key}" if name else str(key), inner, default=inner_default)
    return found


def _defaults(value: Any) -> dict[Any, str]:
    """Return the texts of a dataclass's defaults by name; nothing for anything else."""
    if not is_dataclass(value):
        return {}
    return {f.name: repr(_default(f)) for f in fields(value) if _default(f) is not MISSING}


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _content(value: Any) -> Mapping[Any, Any] | None:
    """Return what an object holds by name, or None for a plain value."""
    if isinstance(value, Mapping):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, tuple | list) and any(_content(v) is not None for v in value):
        return dict(enumerate(value))
    # Objects that only have the standard text, which is an address, are taken apart.
    if repr(value).endswith(f"at {id(value):#x}>") and hasattr(value, "__dict__"):
        return {k: v for k, v in vars(value).items() if not callable(v)}
    return None

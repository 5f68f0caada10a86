"""What makes a run that run: a flat table of every setting that can change its numbers.

A checkpoint carries it, so that a run is never continued under other settings than it began with,
and so that the refusal can name the setting.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from simreal.errors import CheckpointError


def identity_of(**parts: Any) -> dict[str, str]:
    """Return every leaf of some objects by its dotted name, as text.

    Args:
        parts: Name to dataclass, mapping, sequence, object or plain value.
    """
    return dict(_leaves("", parts))


def check_identity(wanted: Mapping[str, str], seen: Mapping[str, str], where: str) -> None:
    """Refuse a checkpoint of other settings.

    Args:
        wanted: Identity of this run.
        seen: Identity in the checkpoint.
        where: The checkpoint.

    Raises:
        CheckpointError: They differ; the first difference is named.
    """
    for key in (*wanted, *seen):
        old, new = seen.get(key, "absent"), wanted.get(key, "absent")
        if old != new:
            raise CheckpointError(
                f"{where} is of another run: {key} was {old}, now {new}; resume with the same "
                "settings, or train into another folder"
            )


def _leaves(name: str, value: Any) -> list[tuple[str, str]]:
    content = _content(value)
    if content is None:
        return [(name, repr(value))]
    found = []
    if not isinstance(value, Mapping | tuple | list):
        found.append((name, type(value).__qualname__))
    for key, inner in content.items():
        found += _leaves(f"{name}.{key}" if name else str(key), inner)
    return found


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

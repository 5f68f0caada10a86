"""Which file a configuration key came from, so that a message can name it.

Hydra merges files in the order of its defaults list. The same list, kept as layers, is searched
backwards: the last file that has the key is the one to be edited.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simreal.errors import ConfigError


@dataclass(frozen=True)
class Layer:
    """Hold one file of the defaults list.

    Attributes:
        file: Its path as messages show it.
        package: Where its content is mounted, for instance `("source",)`; `()` is the root.
        content: Its content, unresolved, without the defaults list.
        primary: Whether it is the file that the verb names.
    """

    file: str
    package: tuple[str, ...]
    content: Mapping[str, Any]
    primary: bool = False


@dataclass(frozen=True)
class Origins:
    """Find the file of a key among the layers, in merge order.

    Attributes:
        layers: The files, the earliest first.
        overridden: Keys that the command line sets.
    """

    layers: tuple[Layer, ...] = ()
    overridden: frozenset[tuple[str, ...]] = field(default_factory=frozenset)

    def override(self, lines: Iterable[str]) -> "Origins":
        """Return the origins after the command line has set values.

        Args:
            lines: Overrides such as `task.horizon=3`.
        """
        keys = (line.lstrip("+~").split("=", 1)[0] for line in lines)
        return Origins(self.layers, self.overridden | {tuple(key.split(".")) for key in keys})

    def file(self, path: Sequence[str]) -> str:
        """Return the last file that has the key, or else the nearest section above it.

        Args:
            path: The key, for instance `("task", "horizon")`.

        Returns:
            The path of the file as messages show it, "" when there is no file at all.
        """
        for length in range(len(path), 0, -1):
            for layer in reversed(self.layers):
                if _has(layer, tuple(path[:length])):
                    return layer.file
        primary = [layer.file for layer in self.layers if layer.primary]
        return primary[0] if primary else ""

    def where(self, path: Sequence[str]) -> str:
        """Return the file of a key, and say when the command line has set the value.

        Args:
            path: The key, for instance `("task", "horizon")`.
        """
        file = self.file(path)
        key = tuple(path)
        if not any(key[: len(o)] == o or o[: len(key)] == key for o in self.overridden):
            return file or "configuration"
        return f"command line ({file})" if file else "command line"

    def error(self, path: Sequence[str], text: str) -> ConfigError:
        """Build the error for a key, to be raised by the caller.

        Args:
            path: The key; empty for the whole configuration.
            text: What was seen, what is allowed, what to do.
        """
        key = f"{'.'.join(path)}: " if path else ""
        return ConfigError(f"{self.where(path)}: {key}{text}")


def _has(layer: Layer, path: tuple[str, ...]) -> bool:
    depth = len(layer.package)
    if path[:depth] != layer.package:
        # A section above the mount point exists because of this file.
        return layer.package[: len(path)] == path
    node: Any = layer.content
    for step in path[depth:]:
        if isinstance(node, Mapping) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdigit() and int(step) < len(node):
            node = node[int(step)]
        else:
            return False
    return True

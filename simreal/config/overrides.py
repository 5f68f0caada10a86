"""Check what the command line sets before Hydra sees it.

Hydra accepts `+anything=1`, names no near misses, and answers in several lines. Here every override
is held against the composed files and the signatures they target, and the first one that cannot be
used is refused in one line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from simreal.catalog import Catalog
from simreal.config.builder import TARGET, shown
from simreal.config.origins import Origins
from simreal.config.targets import names, parameters, resolve
from simreal.errors import ConfigError, nearest
from simreal.paths import display

SWEEP_FLAGS = ("-m", "--multirun")
"""What makes a command line with sweeps (`seed=0,1,2`) one of several jobs."""
_FLAGS = (*SWEEP_FLAGS, "--help", "--cfg")


def parse(lines: Sequence[str], primary: str, catalog: Catalog) -> list[Override]:
    """Parse override lines one by one.

    Args:
        lines: For instance `["task=reach", "seed=3"]`.
        primary: The primary configuration, for instance `train`.
        catalog: What can be chosen.

    Raises:
        ConfigError: For the first line that is not `key=value`, `group=option`, `+key=value` or
            `~key`.
    """
    parser = OverridesParser.create()
    parsed = []
    for line in lines:
        where = f"command line ({_primary_file(primary, catalog)})"
        if line in SWEEP_FLAGS:
            raise ConfigError(
                f"{where}: 'simreal {primary}' runs one job and knows no '{line}'; sweeps are for "
                "train, transfer and evaluate"
            )
        if line.startswith("-"):
            raise ConfigError(
                f"{where}: unknown flag '{line}'. Allowed: {', '.join(_FLAGS)}."
                f"{nearest(line, _FLAGS)}"
            )
        if "=" not in line and not line.startswith("~"):
            raise ConfigError(
                f"{where}: got '{line}', expected key=value or group=option.{_guess(line, catalog)}"
            )
        try:
            parsed.append(parser.parse_override(line))
        except HydraException as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"{where}: got '{line}', which is not key=value ({reason}). Allowed: key=3, "
                "key=[1,2], group=option, +key=value, ~key; quote special characters, as in "
                "'key=\"a, b\"'."
            ) from error
    return parsed


def is_choice(override: Override, catalog: Catalog) -> bool:
    """Return whether an override chooses an option of a group (or tries to).

    A dict is no option: it is merged into the section of the group's name.

    Args:
        override: A parsed line.
        catalog: What can be chosen.
    """
    key = override.key_or_group
    if isinstance(override.value(), dict):
        return False
    return key in catalog.groups or "/" in key or override.package is not None


def check_choice(override: Override, catalog: Catalog) -> None:
    """Check an override that chooses an option.

    Args:
        override: For instance `task=reach`.
        catalog: What can be chosen.

    Raises:
        ConfigError: For an unknown group or option.
    """
    group = override.key_or_group
    if group not in catalog.groups:
        raise ConfigError(
            f"command line ({display(catalog.folders[0].path)}): unknown group '{group}' in "
            f"'{override.input_line}'. Allowed: {', '.join(catalog.groups)}."
            f"{nearest(group, catalog.groups)}"
        )
    if override.is_delete():
        return
    where = f"command line ({display(catalog.folders[0].path / group)}/): {group}"
    options = list(catalog.options(group))
    listing = ", ".join(options)
    if override.is_sweep_override():
        raise ConfigError(
            f"{where}: got '{override.input_line}', which is several options; "
            f"add -m to run each. Allowed: {listing}."
        )
    if override.is_add():
        raise ConfigError(
            f"{where}: got '{override.input_line}', but a group is chosen without '+': write "
            f"{str(override.input_line).lstrip('+')}. Allowed: {listing}."
        )
    value = override.value()
    if value not in options:
        hint = nearest(str(value), options)
        raise ConfigError(
            f"{where}: unknown option {shown(value)} of the group '{group}'. "
            f"Allowed: {listing}.{hint}"
        )


@dataclass(frozen=True)
class ValueCheck:
    """Hold value overrides against the configuration that the files and choices give.

    Attributes:
        values: That configuration, unresolved plain containers.
        origins: Where its keys came from.
        groups: Groups that the primary configuration takes.
    """

    values: Mapping[str, Any]
    origins: Origins
    groups: tuple[str, ...]

    def line(self, override: Override) -> str:
        """Check one override and return the line that Hydra is to apply.

        Args:
            override: For instance `task.horizon=3`, `+source.dynamics.mass=2` or `~name`.

        Raises:
            ConfigError: For a key that nothing takes, or a value of another kind than the file's.
        """
        path = tuple(override.get_key_element().lstrip("~+").split("."))
        if override.is_sweep_override():
            raise self._error(
                path,
                f"got '{override.input_line}', which is several values; "
                "write [1,2] for a list, or add -m to run each.",
            )
        parent, rest = self._descend(path)
        section = self._node(parent)
        if not rest:
            return self._existing(override, path)
        if not isinstance(section, Mapping):
            raise self._error(
                parent,
                f"got '{override.input_line}', but '{'.'.join(parent)}' is the value "
                f"{shown(section)} and has no '{rest[0]}'. Allowed: {'.'.join(parent)}=VALUE.",
            )
        return self._new(override, parent, rest)

    def _existing(self, override: Override, path: tuple[str, ...]) -> str:
        old = self._node(path)
        if override.is_delete():
            return str(override.input_line)
        if override.is_add():
            raise self._error(
                path,
                f"got '{override.input_line}', but the key exists with {shown(old)}. "
                f"Allowed: {str(override.input_line).lstrip('+')}.",
            )
        value = override.value()
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            return self._merged(override, path, value)
        if self._owner(path) is None:
            self._check_kind(path, old, value)
        return str(override.input_line)

    def _merged(self, override: Override, path: tuple[str, ...], value: Mapping[Any, Any]) -> str:
        """Check the keys of a dict that is merged into a section."""
        lines = [str(override.input_line)]
        for key, inner in value.items():
            name = (*path, str(key))
            if str(key).startswith("_"):
                continue
            if not self._exists(name):
                lines.append(self._new(override, path, (str(key),)))
            elif isinstance(inner, Mapping) and isinstance(self._node(name), Mapping):
                lines.append(self._merged(override, name, inner))
        # One key that has to be added makes the whole line an addition; known keys still merge.
        return lines[0] if all(line == lines[0] for line in lines) else f"++{lines[0]}"

    def _new(self, override: Override, parent: tuple[str, ...], rest: tuple[str, ...]) -> str:
        section: Mapping[str, Any] = self._node(parent)
        key, line = rest[0], str(override.input_line)
        known = [str(name) for name in section if not str(name).startswith("_")]
        owner = self._owner((*parent, key))
        if owner == parent:
            taken = self._parameters(parent)
            if key in taken and not override.is_delete():
                return "++" + line.lstrip("+")
            known = list(dict.fromkeys(known + taken))
        elif owner is not None and override.is_add():
            return line
        add = f" Write +{line} to add an entry." if owner not in (None, parent) else ""
        if not parent:
            known += [group for group in self.groups if group not in known]
        listing = ", ".join(known) or "none"
        hint = self._elsewhere(key) or nearest(key, known) or nearest(key, self._leaves())
        raise self._error(
            (*parent, key), f"unknown key '{key}' in '{line}'. Allowed: {listing}.{hint}{add}"
        )

    def _check_kind(self, path: tuple[str, ...], old: Any, new: Any) -> None:
        """Refuse another kind of value for a key that no signature describes."""
        is_text = isinstance(old, str) and not old.startswith(("${", "???"))
        interpolated = isinstance(new, str) and ("${" in new or new == "???")
        kinds = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}
        allowed = kinds.get(type(old))
        if allowed is None or interpolated or (isinstance(old, str) and not is_text):
            return
        if isinstance(new, dict) and "_target_" in new:
            return  # what is built is judged where it is built
        plain = str(new) if not isinstance(new, bool | int | float | list | dict | None) else new
        if isinstance(plain, float) and plain.is_integer() and type(old) is int:
            return
        if not isinstance(plain, allowed) or (isinstance(plain, bool) and type(old) is not bool):
            raise self._error(
                path, f"got {shown(plain)}, expected {type(old).__name__} (the file has {old!r})."
            )

    def _elsewhere(self, key: str) -> str:
        """Return a hint with the full key, where the same key exists in a section."""
        same = [leaf for leaf in self._leaves() if leaf.endswith(f".{key}")]
        return f" Did you mean '{same[0]}'?" if same else ""

    def _leaves(self) -> list[str]:
        found: list[str] = []
        todo: list[tuple[str, Any]] = [("", self.values)]
        while todo:
            prefix, node = todo.pop()
            for key, value in node.items():
                if str(key).startswith("_"):
                    continue
                name = f"{prefix}{key}"
                found.append(name)
                if isinstance(value, Mapping):
                    todo.append((f"{name}.", value))
        return sorted(found)

    def _descend(self, path: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Split a key into the part that exists and the rest."""
        for length in range(len(path), -1, -1):
            if self._exists(path[:length]):
                return path[:length], path[length:]
        return (), path

    def _exists(self, path: tuple[str, ...]) -> bool:
        node: Any = self.values
        for step in path:
            if isinstance(node, Mapping) and step in node:
                node = node[step]
            elif isinstance(node, list) and step.isdigit() and int(step) < len(node):
                node = node[int(step)]
            else:
                return False
        return True

    def _node(self, path: tuple[str, ...]) -> Any:
        node: Any = self.values
        for step in path:
            node = node[int(step)] if isinstance(node, list) else node[step]
        return node

    def _owner(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the nearest section above a key that has a `_target_`."""
        for length in range(len(path) - 1, -1, -1):
            node = self._node(path[:length]) if self._exists(path[:length]) else None
            if isinstance(node, Mapping) and TARGET in node:
                return path[:length]
        return None

    def _parameters(self, path: tuple[str, ...]) -> list[str]:
        try:
            return names(parameters(resolve(self._node(path)[TARGET])))
        except ConfigError as error:
            raise self.origins.error((*path, TARGET), str(error)) from error

    def _error(self, path: tuple[str, ...], text: str) -> ConfigError:
        file = self.origins.file(path)
        return ConfigError(f"command line ({file}): {'.'.join(path)}: {text}")


def _guess(word: str, catalog: Catalog) -> str:
    """Return a hint for a bare word that is, or nearly is, the name of an option."""
    pairs = {name: group for group in catalog.groups for name in catalog.options(group)}
    if word in pairs:
        return f" Did you mean '{pairs[word]}={word}'?"
    return nearest(word, [f"{group}={name}" for name, group in pairs.items()])


def _primary_file(primary: str, catalog: Catalog) -> str:
    option = catalog.primaries.get(primary)
    return display(option.path) if option else primary

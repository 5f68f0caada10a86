"""Compose a configuration with Hydra, and answer every failure in one line.

Composition happens twice: with the chosen options alone, to have something that value overrides
can be checked against, and then with everything. Only plain containers leave this module.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from hydra.errors import HydraException
from omegaconf import OmegaConf

from simreal.catalog import Catalog
from simreal.config import builder, overrides
from simreal.config.origins import Origins
from simreal.config.session import HydraSession
from simreal.errors import ConfigError, nearest
from simreal.paths import display

SEARCHPATH = "hydra.searchpath"

T = TypeVar("T")


@dataclass(frozen=True)
class Composed:
    """Hold one composed configuration.

    Attributes:
        primary: Name of the primary file, for instance `train`.
        values: Plain containers, resolved.
        choices: Chosen option of each group; None where an optional group has none.
        overrides: The command line that led here.
        origins: Where each key came from.
    """

    primary: str
    values: dict[str, Any]
    choices: dict[str, str | None]
    overrides: tuple[str, ...]
    origins: Origins

    def build(self, key: str, expected: type | None = None) -> Any:
        """Build the object at a dotted key.

        Args:
            key: For instance `task` or `source.sensing`.
            expected: Class that the object must be an instance of, if given.

        Raises:
            ConfigError: If the key is not there or holds something else, or as `builder.build`.
        """
        node: Any = self.values
        for step in key.split("."):
            if not isinstance(node, Mapping) or step not in node:
                known = list(node) if isinstance(node, Mapping) else []
                raise self.origins.error(
                    key.split("."),
                    f"'{self.primary}' needs the key '{key}', which no file sets. "
                    f"Allowed: {', '.join(map(str, known)) or 'none'}.{nearest(step, known)}",
                )
            node = node[step]
        built = builder.build(node, key, self.origins)
        if expected is not None and not isinstance(built, expected):
            raise self.origins.error(
                key.split("."),
                f"got {builder.shown(built)}, expected {expected.__name__}: a section with "
                f"'{builder.TARGET}'.",
            )
        return built

    def settings(self, function: Callable[..., T]) -> T:
        """Call a function (or a dataclass) with the root keys, checked against its signature.

        Groups that the function does not take are left out; any other unknown key is an error.

        Args:
            function: For instance a frozen dataclass with the settings of a verb.

        Raises:
            ConfigError: As `builder.build`.
        """
        mounted = {layer.package[0] for layer in self.origins.layers if layer.package}
        groups = frozenset(choice.split("@")[0].split("/")[0] for choice in self.choices)
        return builder.call(function, self.values, self.origins, groups | mounted)


def resolved_yaml(composed: Composed) -> str:
    """Return the resolved configuration as YAML, to be saved beside a run.

    Args:
        composed: What `compose` returned.
    """
    return OmegaConf.to_yaml(OmegaConf.create(composed.values))


def compose(primary: str, lines: Sequence[str] = (), catalog: Catalog | None = None) -> Composed:
    """Compose a primary configuration with overrides.

    Args:
        primary: Name of a top-level file, for instance `train`.
        lines: Overrides, for instance `["task=reach", "seed=3"]`.
        catalog: What can be chosen; by default what is installed.

    Raises:
        ConfigError: One line with the file, the key, what was seen, what is allowed and the
            nearest name.
    """
    catalog, paths, lines = _catalog_of(lines, catalog)
    if primary not in catalog.primaries:
        known = list(catalog.primaries)
        raise ConfigError(
            f"{display(catalog.folders[0].path)}: unknown configuration '{primary}'. "
            f"Allowed: {', '.join(known) or 'none'}.{nearest(primary, known)}"
        )
    parsed = overrides.parse(lines, primary, catalog)
    chosen = [item for item in parsed if overrides.is_choice(item, catalog)]
    settings = [item for item in parsed if not overrides.is_choice(item, catalog)]
    for item in chosen:
        overrides.check_choice(item, catalog)
    choice_lines = [str(item.input_line) for item in chosen]
    with HydraSession(primary, catalog) as session:
        choices, origins = session.origins(choice_lines)
        config = session.compose(choice_lines, origins)
        session.check_roots(origins)
        if settings:
            files = session.plain(config, origins, resolve=False)
            check = overrides.ValueCheck(files, origins, tuple(choices))
            checked = [check.line(item) for item in settings]
            origins = origins.override(checked)
            config = session.compose([*choice_lines, *checked], origins)
        values = session.plain(config, origins)
    return Composed(primary, values, choices, (*paths, *lines), origins)


def jobs(primary: str, arguments: Sequence[str], catalog: Catalog | None = None) -> list[Composed]:
    """Compose every job of a command line: one, or with `-m` the product of its sweeps.

    All of them are composed, and so checked, before the first can start.

    Args:
        primary: Name of a top-level file.
        arguments: Overrides, with `-m` or `--multirun` anywhere among them.
        catalog: What can be chosen; by default what is installed.

    Raises:
        ConfigError: As `compose`.
    """
    lines = [line for line in arguments if line not in overrides.SWEEP_FLAGS]
    if len(lines) == len(arguments):
        return [compose(primary, lines, catalog)]
    catalog, paths, lines = _catalog_of(lines, catalog)
    choices: list[list[str]] = []
    for item in overrides.parse(lines, primary, catalog):
        if not item.is_sweep_override():
            choices.append([str(item.input_line)])
            continue
        prefix = str(item.input_line).split("=", 1)[0]
        try:
            values = list(item.sweep_string_iterator())
        except HydraException as error:
            raise ConfigError(
                f"command line: {prefix}: got '{item.input_line}', allowed: a,b,c, range(0,5), "
                "choice(a,b)."
            ) from error
        choices.append([f"{prefix}={value}" for value in values])
    found = [compose(primary, job, catalog) for job in itertools.product(*choices)]
    return [replace(job, overrides=(*paths, *job.overrides)) for job in found]


def _catalog_of(
    lines: Sequence[str], catalog: Catalog | None
) -> tuple[Catalog, list[str], list[str]]:
    """Return the catalog with the folders that the command line adds; that; and the other lines.

    The folders are named from the root, so that a run is continued from anywhere.
    """
    added: list[Path] = []
    rest = []
    for line in lines:
        key, _, value = line.partition("=")
        if key != SEARCHPATH:
            rest.append(line)
            continue
        items = value.strip("[]").split(",")
        added += [_folder(item.strip(" '\"")) for item in items]
    catalog = catalog or Catalog.default()
    if not added:
        return catalog, [], rest
    places = ",".join(path.resolve().as_uri() for path in added)
    return catalog.extended(added), [f"{SEARCHPATH}=[{places}]"], rest


def _folder(item: str) -> Path:
    """Return the folder that an address or a path names."""
    address = item.removeprefix("file://")
    return Path(item if address == item else unquote(address))

"""Robots, tasks and options from other packages, without an edit to simreal.

A package declares an entry point in the group `simreal.plugins`. It names an object or a module
with up to two attributes:

* `conf_dir`: a folder with the same group folders as simreal's own (`robot/`, `task/`, ...), which
  is appended to the configuration search path;
* `targets`: the prefixes of dotted names that its YAML files may build, for instance
  `("my_robots.",)`.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from simreal.errors import ConfigError

GROUP = "simreal.plugins"


@dataclass(frozen=True)
class Plugin:
    """Describe what one installed package adds.

    Attributes:
        name: The entry point's name.
        conf_dir: Folder with configuration groups, or None.
        targets: Prefixes of `_target_` that may be built, each ending with a dot.
    """

    name: str
    conf_dir: Path | None = None
    targets: tuple[str, ...] = ()


@functools.cache
def load_plugins() -> tuple[Plugin, ...]:
    """Load every installed plugin once, in the order of their names.

    Returns:
        The plugins. A distribution that is found twice on the path counts once.

    Raises:
        ConfigError: If a plugin cannot be imported or declares something unusable; the message
            names the plugin.
    """
    found = {(point.name, point.value): point for point in entry_points(group=GROUP)}
    return tuple(_load(found[key]) for key in sorted(found))


def _load(point: EntryPoint) -> Plugin:
    try:
        declared = point.load()
    except Exception as error:
        raise ConfigError(
            f"plugin '{point.name}' ({point.value}) cannot be loaded: "
            f"{type(error).__name__}: {error}. Repair or uninstall the package that declares it."
        ) from error
    return Plugin(
        name=point.name,
        conf_dir=_conf_dir(point.name, getattr(declared, "conf_dir", None)),
        targets=_targets(point.name, getattr(declared, "targets", ())),
    )


def _conf_dir(name: str, value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | Path):
        raise ConfigError(f"plugin '{name}': conf_dir is {value!r}, expected a path.")
    path = Path(value).resolve()
    if not path.is_dir():
        raise ConfigError(
            f"plugin '{name}': conf_dir is {str(path)!r}, which is not a folder. "
            "Check that the package ships its YAML files."
        )
    return path


def _targets(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(
            f"plugin '{name}': targets is {value!r}, expected a tuple of prefixes such as "
            "('my_robots.',)."
        )
    prefixes = tuple(value)
    for prefix in prefixes:
        if not isinstance(prefix, str) or not prefix.strip("."):
            raise ConfigError(
                f"plugin '{name}': targets holds {prefix!r}, expected the name of a package."
            )
    return tuple(prefix.rstrip(".") + "." for prefix in prefixes)

"""What can be chosen: every configuration group, its options, and the line that describes each.

Kept free of Hydra and of YAML parsing, so that `simreal list` and `--help` are instant. The
folders are those of simreal, of its plugins, and any that a user adds.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from simreal.errors import ConfigError
from simreal.paths import conf_dir
from simreal.plugins import load_plugins


@dataclass(frozen=True)
class Option:
    """Describe one YAML file of a group.

    Attributes:
        group: Folder below the configuration folder, for instance `task`.
        name: File name without `.yaml`.
        path: The file.
        provider: Name of the plugin that brings it, or "" for simreal's own.
    """

    group: str
    name: str
    path: Path
    provider: str = ""

    @property
    def summary(self) -> str:
        """Return the first comment line of the file, without package directives."""
        for line in self.path.read_text(encoding="utf-8").splitlines():
            text = line.strip()
            if text and not text.startswith("#"):
                return ""
            comment = text.lstrip("#").strip()
            if comment and not comment.startswith("@package"):
                return comment
        return ""

    def defaults(self) -> dict[str, str]:
        """Return the groups of the file's defaults list, each with the option it asks for.

        Read by eye rather than by a YAML parser: entries are lines such as `- task: reach`,
        `- optional pair: null` or `- /domain@source: pybullet`.
        """
        found: dict[str, str] = {}
        inside = False
        for line in self.path.read_text(encoding="utf-8").splitlines():
            if re.match(r"\S", line) and not line.startswith(("#", "-")):
                inside = line.startswith("defaults:")
            entry = re.match(r"\s*-\s+(?:optional\s+|override\s+)*/?([\w/@.]+):\s*(\S+)", line)
            if inside and entry:
                found[entry.group(1)] = entry.group(2)
        return found


@dataclass(frozen=True)
class Folder:
    """Name one folder of the search path and who brings it."""

    path: Path
    provider: str = ""


class Catalog:
    """Find options in a list of folders; the first folder that has a name wins."""

    def __init__(self, folders: Iterable[Folder]) -> None:
        self.folders = tuple(folders)
        self._options: dict[str, dict[str, Option]] = {}
        for folder in self.folders:
            for option in _scan(folder):
                self._options.setdefault(option.group, {}).setdefault(option.name, option)

    @classmethod
    def default(cls) -> "Catalog":
        """Return the catalog of simreal and its plugins."""
        folders = [Folder(conf_dir())]
        folders += [Folder(p.conf_dir, p.name) for p in load_plugins() if p.conf_dir is not None]
        return cls(folders)

    def extended(self, paths: Iterable[Path]) -> "Catalog":
        """Return the catalog with further folders, searched last.

        Args:
            paths: Folders that the user adds.

        Raises:
            ConfigError: If one of them does not exist.
        """
        folders = list(self.folders)
        for path in paths:
            if not path.is_dir():
                raise ConfigError(
                    f"command line: hydra.searchpath: got '{path}', expected an existing folder "
                    "with configuration groups such as task/."
                )
            folders.append(Folder(path.resolve(), str(path)))
        return Catalog(folders)

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the names of all groups, sorted."""
        return tuple(sorted(group for group in self._options if group))

    @property
    def primaries(self) -> dict[str, Option]:
        """Return the top-level files, one per verb that takes a configuration."""
        return self._options.get("", {})

    def options(self, group: str) -> dict[str, Option]:
        """Return the options of one group by name; empty for an unknown group.

        Args:
            group: For instance `task`.
        """
        return dict(sorted(self._options.get(group, {}).items()))

    def file(self, config_path: str) -> Path | None:
        """Return the file of a path such as `task/reach`, or None.

        Args:
            config_path: Group and option, without `.yaml`.
        """
        group, _, name = config_path.rpartition("/")
        option = self._options.get(group, {}).get(name)
        return option.path if option else None


def _scan(folder: Folder) -> Iterator[Option]:
    for path in sorted(folder.path.rglob("*.yaml")):
        group = path.parent.relative_to(folder.path).as_posix()
        yield Option("" if group == "." else group, path.stem, path, folder.provider)

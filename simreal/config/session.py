"""Use Hydra's compose API on one search path, and translate whatever it raises.

The only module that hands anything to Hydra. It also keeps Hydra's defaults list, from which the
origin of every key is known.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from simreal.catalog import Catalog, Option
from simreal.config.origins import Layer, Origins
from simreal.errors import ConfigError, nearest
from simreal.paths import display

_FAILURES = (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError, OSError)


class HydraSession:
    """Compose one primary configuration; a context manager around Hydra's global state."""

    def __init__(self, primary: str, catalog: Catalog) -> None:
        self._primary = primary
        self._catalog = catalog
        folders = [str(folder.path).replace("'", "\\'") for folder in catalog.folders[1:]]
        paths = ",".join(f"'file://{folder}'" for folder in folders)
        self._searchpath = [f"hydra.searchpath=[{paths}]"]

    def __enter__(self) -> "HydraSession":
        """Initialize Hydra on the first folder of the catalog."""
        root = str(self._catalog.folders[0].path)
        self._hydra = hydra.initialize_config_dir(root, version_base="1.3")
        self._hydra.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give Hydra's global state back."""
        self._hydra.__exit__(kind, error, trace)

    def origins(self, choices: Sequence[str]) -> tuple[dict[str, str | None], Origins]:
        """Return the chosen option of each group, and the files in merge order.

        Args:
            choices: Overrides that choose options.

        Raises:
            ConfigError: For a defaults list that cannot be followed.
        """
        loader = GlobalHydra.instance().config_loader()
        try:
            found = loader.compute_defaults_list(
                self._primary, [*self._searchpath, *choices], RunMode.RUN
            )
        except _FAILURES as error:
            raise self._translate(error, choices) from error
        chosen = {
            key: value
            for key, value in sorted(found.overrides.known_choices.items())
            if not key.startswith("hydra/")
        }
        defaults = [d for d in found.defaults if not str(d.config_path).startswith("hydra/")]
        layers = [
            self._layer(str(d.config_path), str(d.package or ""))
            for d in defaults
            if d.config_path is not None
        ]
        return chosen, Origins(tuple(layer for layer in layers if layer is not None))

    def compose(self, lines: Sequence[str], origins: Origins) -> DictConfig:
        """Compose what the files and the overrides give.

        Args:
            lines: Overrides, already checked.
            origins: For messages.

        Raises:
            ConfigError: For a file that cannot be read or an override that Hydra refuses.
        """
        try:
            return hydra.compose(self._primary, [*self._searchpath, *lines])
        except _FAILURES as error:
            raise self._translate(error, lines, origins) from error

    def plain(self, config: DictConfig, origins: Origins, resolve: bool = True) -> dict[str, Any]:
        """Turn a composed configuration into plain containers.

        Args:
            config: What `compose` returned.
            origins: For messages.
            resolve: Whether to resolve interpolations and to refuse missing values.

        Raises:
            ConfigError: For a missing value or a bad interpolation.
        """
        try:
            content = OmegaConf.to_container(config, resolve=resolve, throw_on_missing=resolve)
        except MissingMandatoryValue as error:
            path = str(getattr(error, "full_key", "")).split(".")
            raise origins.error(
                path, f"got ???, which must be set: add {'.'.join(path)}=VALUE."
            ) from error
        except _FAILURES as error:
            raise self._translate(error, (), origins) from error
        items = content.items() if isinstance(content, dict) else ()
        return {str(key): value for key, value in items}

    def check_roots(self, origins: Origins) -> None:
        """Refuse root keys that only a recipe sets: a misspelled key must not be added silently.

        Args:
            origins: The files in merge order.

        Raises:
            ConfigError: For a root key that neither the primary file nor a group has.
        """
        mounted = {layer.package[0] for layer in origins.layers if layer.package}
        known = {str(k) for layer in origins.layers if layer.primary for k in layer.content}
        # An option may also fill its own group's key from the root, to choose another with it.
        allowed = sorted(known | mounted | {group.split("/")[0] for group in self._catalog.groups})
        for layer in origins.layers:
            if layer.package or layer.primary:
                continue
            for key in layer.content:
                if key not in allowed:
                    raise ConfigError(
                        f"{layer.file}: unknown key '{key}' for '{self._primary}'. "
                        f"Allowed: {', '.join(allowed)}.{nearest(str(key), allowed)}"
                    )

    def _layer(self, config_path: str, package: str) -> Layer | None:
        path = self._catalog.file(config_path)
        if path is None:
            return None
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        if not isinstance(content, Mapping):
            raise ConfigError(
                f"{display(path)}: got {type(content).__name__}, expected a mapping of keys."
            )
        kept = {str(key): value for key, value in content.items() if key != "defaults"}
        mount = tuple(step for step in package.split(".") if step and step != "_global_")
        return Layer(display(path), mount, kept, primary=config_path == self._primary)

    def _translate(
        self, error: Exception, lines: Sequence[str], origins: Origins | None = None
    ) -> ConfigError:
        """Turn what Hydra, OmegaConf or the YAML reader raised into one line."""
        if isinstance(error, YAMLError):
            return _yaml_error(error)
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        if isinstance(cause, OmegaConfBaseException) and origins is not None:
            path = str(getattr(cause, "full_key", None) or "").split(".")
            return origins.error([p for p in path if p], _first_line(cause))
        if isinstance(error, MissingConfigException):
            return self._missing(error, lines)
        text = str(error)
        unmatched = re.search(r"Could not (?:override|delete) '([^']+)'", text)
        if unmatched:
            return self._unmatched(unmatched.group(1), text, lines)
        unset = re.match(r"You must specify '([^']+)'", text)
        if unset:
            group = unset.group(1)
            options = ", ".join(self._catalog.options(group.split("@")[0])) or "none"
            return ConfigError(
                f"{self._file(text)}: {group}: got ???, which must be chosen. "
                f"Allowed: {options}. Add {group}=OPTION."
            )
        file = self._unreadable(lines) or self._file(text)
        return ConfigError(f"{file}: {_first_line(cause)}")

    def _missing(self, error: MissingConfigException, lines: Sequence[str]) -> ConfigError:
        group, _, option = str(error.missing_cfg_file).strip("/").rpartition("/")
        groups = self._catalog.groups
        file = self._mentioning(group, option, lines) or self._file(str(error))
        if group not in groups:
            return ConfigError(
                f"{file}: defaults: unknown group '{group}' in '{group}: {option}'. "
                f"Allowed: {', '.join(groups)}.{nearest(group, groups)}"
            )
        options = list(self._catalog.options(group))
        return ConfigError(
            f"{file}: defaults: {group}: unknown option '{option}'. "
            f"Allowed: {', '.join(options)}.{nearest(option, options)}"
        )

    def _unmatched(self, group: str, text: str, lines: Sequence[str]) -> ConfigError:
        """Explain a choice for a group that the primary configuration does not take."""
        kept = [line for line in lines if not re.match(rf"~?{re.escape(group)}(=|$)", line)]
        taken: list[str] = []
        file = self._file(text)
        if len(kept) < len(lines):
            taken = list(self.origins(kept)[0])
            file = f"command line ({file})"
        listing = f" Allowed: {', '.join(taken)}." if taken else ""
        close = next((f" Did you mean '{t}'?" for t in taken if t.startswith(f"{group}@")), "")
        known = taken or self._catalog.groups
        hint = close or nearest(group, known)
        return ConfigError(
            f"{file}: got the group '{group}', which '{self._primary}' does not take."
            f"{listing or ' Allowed: ' + ', '.join(known) + '.'}{hint}"
        )

    def _mentioning(self, group: str, option: str, lines: Sequence[str]) -> str:
        """Return the file whose defaults list asks for an option; chosen files come first."""
        entry = re.compile(rf"[\s/]{re.escape(group)}(@\S+)?\s*:\s*{re.escape(option)}\s*$", re.M)
        found = (
            option
            for option in self._files(lines)
            if entry.search(option.path.read_text(encoding="utf-8"))
        )
        first = next(found, None)
        return display(first.path) if first else ""

    def _unreadable(self, lines: Sequence[str]) -> str:
        """Return the first file that OmegaConf refuses to load; chosen files come first."""
        for option in self._files(lines):
            try:
                OmegaConf.load(option.path)
            except _FAILURES:
                return display(option.path)
        return ""

    def _files(self, lines: Sequence[str]) -> list[Option]:
        """Return every file of the catalog, those that are chosen and the primary one first."""
        chosen = {line.replace("=", "/", 1) for line in lines} | {f"/{self._primary}"}
        groups = ("", *self._catalog.groups)
        files = [o for group in groups for o in self._catalog.options(group).values()]
        return sorted(files, key=lambda option: f"{option.group}/{option.name}" not in chosen)

    def _file(self, text: str) -> str:
        """Return the file that a Hydra message names, or else the primary file."""
        named = re.search(r"In '?([\w/.-]+?)'?:|list in '([^']+)'", text)
        name = next((part for part in named.groups() if part), "") if named else ""
        path = self._catalog.file(name) or self._catalog.file(self._primary)
        return display(path) if path else self._primary


def _yaml_error(error: YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or _first_line(error)
    if mark is None:
        return ConfigError(f"configuration: {problem}.")
    return ConfigError(
        f"{display(Path(mark.name))}: line {mark.line + 1}: {problem}. Allowed: YAML 'key: value'."
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__

"""Where the shipped YAML files and policies lie, in a wheel and in a checkout alike.

A wheel carries `conf/` and `policies/` inside the package; a checkout (also an editable install)
keeps them at its top level. Everything else asks here and never looks at `__file__`.
"""

from pathlib import Path

from simreal.errors import ConfigError, nearest

_PACKAGE = Path(__file__).resolve().parent


def conf_dir() -> Path:
    """Return the folder of the shipped configuration groups.

    Raises:
        ConfigError: If the installation has lost it.
    """
    return _data_dir("conf")


def policies_dir() -> Path:
    """Return the folder of the shipped policy bundles.

    Raises:
        ConfigError: If the installation has lost it.
    """
    return _data_dir("policies")


def find_bundle(name: str) -> Path:
    """Return a folder by its path, or else a shipped policy by its name.

    Args:
        name: Path or name.

    Raises:
        ConfigError: There is neither.
    """
    path, shipped = Path(name), policies_dir() / name
    if path.exists():
        return path
    if not shipped.is_dir():
        known = sorted(folder.name for folder in policies_dir().iterdir() if folder.is_dir())
        raise ConfigError(
            f"policy: got '{name}', which is neither a bundle's path nor the name of a shipped "
            f"policy. Shipped: {', '.join(known)}.{nearest(name, known)}"
        )
    return shipped


def project_root() -> Path:
    """Return the folder that holds the package: the top of a checkout, or site-packages."""
    return _PACKAGE.parent


def display(path: Path) -> str:
    """Return a path as messages show it: `conf/...` for a shipped file, else in full.

    Args:
        path: A file or folder.
    """
    for root in (_PACKAGE, _PACKAGE.parent):
        conf = root / "conf"
        if path == conf or conf in path.parents:
            return path.relative_to(root).as_posix()
    return path.as_posix()


def _data_dir(name: str) -> Path:
    candidates = (_PACKAGE / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " or ".join(str(candidate) for candidate in candidates)
    raise ConfigError(f"no folder '{name}' at {looked}. Install simreal again.")

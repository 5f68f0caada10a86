"""`simreal export`: copy the bundle of a run, checked against its golden vectors.

With `format=c` and the like, the copy also holds the policy in forms that other programs run.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from simreal.apps.output import say
from simreal.apps.policies import find_policy
from simreal.config import compose
from simreal.deploy import Bundle, check_bundle, load_bundle
from simreal.deploy.bundle import CARD, MANIFEST
from simreal.deploy.derive import Format, write_derived
from simreal.errors import BundleError, ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Hold the settings of `simreal export`.

    Attributes:
        run: A run, a bundle, or the name of a shipped policy.
        output: Folder to create; `<name>.policy` if None.
        format: `bundle` for a copy; `onnx`, `c`, `leapp` or `all` for one with further forms.
    """

    run: str
    output: str | None = None
    format: str = "bundle"


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: Overrides.

    Returns:
        The exit code.
    """
    settings = compose("export", args).settings(ExportSettings)
    source = find_policy(settings.run, "", key="run")
    bundle = load_bundle(source)
    target = Path(settings.output or f"{bundle.manifest.name}.policy")
    if target.exists():
        raise ConfigError(f"output: got '{target}', which exists; choose another folder")
    if source.resolve() in target.resolve().parents:
        raise ConfigError(f"output: got '{target}', which is inside of '{source}'; choose another")
    formats = _formats(settings.format)
    lines = check_bundle(source)
    try:
        if formats:
            write_derived(target, bundle, formats)
            lines = check_bundle(target)
        else:
            _copy(source, target, bundle)
    except OSError as error:
        raise ConfigError(
            f"output: got '{target}', which cannot be written ({error.strerror}); choose another "
            "folder"
        ) from error
    for line in lines:
        say(line)
    say(f"bundle     {target}")
    return 0


def _formats(name: str) -> tuple[Format, ...]:
    known: dict[str, tuple[Format, ...]] = {
        "bundle": (),
        "onnx": ("onnx",),
        "c": ("c",),
        "leapp": ("leapp",),
        "all": ("onnx", "c", "leapp"),
    }
    if name not in known:
        raise ConfigError(
            f"format: got '{name}', allowed are {', '.join(known)}.{nearest(name, known)}"
        )
    return known[name]


def _copy(source: Path, target: Path, bundle: Bundle) -> None:
    """Copy the members alone, and the manifest last: a folder without it is no bundle."""
    target.mkdir(parents=True)
    for name in (*bundle.manifest.files, CARD, MANIFEST):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if load_bundle(target).sha256 != bundle.sha256:
        raise BundleError(f"'{source}' changed while it was copied; export it again")

"""`simreal export`: copy the bundle of a run, checked against its golden vectors."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from simreal.apps.output import say
from simreal.apps.policies import find_policy
from simreal.config import compose
from simreal.deploy import check_bundle, load_bundle
from simreal.deploy.bundle import CARD, MANIFEST
from simreal.errors import BundleError, ConfigError


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Hold the settings of `simreal export`.

    Attributes:
        run: A run, a bundle, or the name of a shipped policy.
        output: Folder to create; `<name>.policy` if None.
    """

    run: str
    output: str | None = None


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
    lines = check_bundle(source)
    target.mkdir(parents=True)
    # The members alone, and the manifest last: a folder without it is no bundle.
    for name in (*bundle.manifest.files, CARD, MANIFEST):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if load_bundle(target).sha256 != bundle.sha256:
        raise BundleError(f"'{source}' changed while it was copied; export it again")
    for line in lines:
        say(line)
    say(f"bundle     {target}")
    return 0

"""`simreal export`: copy the bundle of a run, checked against its golden vectors."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from simreal.apps.output import say
from simreal.apps.policies import find_policy
from simreal.config import compose
from simreal.deploy import check_bundle, load_bundle
from simreal.errors import ConfigError


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
    source = find_policy(settings.run, "")
    bundle = load_bundle(source)
    target = Path(settings.output or f"{bundle.manifest.name}.policy")
    if target.exists():
        raise ConfigError(f"output: got '{target}', which exists; choose another folder")
    shutil.copytree(source, target)
    for line in check_bundle(target):
        say(line)
    say(f"bundle     {target}")
    return 0

"""Begin a run, or find one again: what a killed run leaves is enough to continue it.

A run's folder holds `run.json` (the verb and its overrides, written first), `config.yaml`, the
logs, the checkpoints and, written last, `summary.json`: a run that has it is finished.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from simreal.apps.output import RUN_FILE, save_config, say
from simreal.config import Composed, compose
from simreal.errors import ConfigError

SUMMARY = "summary.json"


class Resumable(Protocol):
    """Describe settings that may name a run to continue."""

    @property
    def resume(self) -> str | None:
        """Return the folder of the run; None begins a new one."""
        ...


S = TypeVar("S", bound=Resumable)


def opened(
    verb: str, composed: Composed, kind: type[S], args: Sequence[str]
) -> tuple[Composed, S, Path | None] | None:
    """Return what a run is made of: its own configuration where it is continued.

    Args:
        verb: The verb.
        composed: Configuration of the command line.
        kind: Class of the verb's settings.
        args: The command line.

    Returns:
        Configuration, settings, and the folder of the run that is continued (None for a new one);
        None if that run is finished, which is said.

    Raises:
        ConfigError: There is no such run, it is of another verb, or there are other overrides.
    """
    settings = composed.settings(kind)
    if settings.resume is None:
        return composed, settings, None
    folder = Path(settings.resume)
    composed = continued(verb, folder, args)
    if is_finished(folder):
        say(f"finished   {folder} is a finished run; its policy is {folder / 'policy'}")
        return None
    return composed, composed.settings(kind), folder


def check_outputs(jobs: Sequence[Composed]) -> None:
    """Refuse a sweep whose jobs would write into one folder, before the first of them starts.

    Args:
        jobs: The jobs of a command line.

    Raises:
        ConfigError: Two jobs have the same output.
    """
    outputs = [job.values.get("output") for job in jobs if job.values.get("output")]
    for output in outputs:
        if outputs.count(output) > 1:
            raise ConfigError(
                f"output: got '{output}' for {outputs.count(output)} jobs; leave it out, and each "
                "job gets a folder of its own"
            )


def continued(verb: str, folder: Path, args: Sequence[str]) -> Composed:
    """Return the configuration that a run began with.

    Args:
        verb: Verb that continues it.
        folder: The run.
        args: The command line, on which nothing but `resume` may stand.

    Raises:
        ConfigError: There is no such run, it is of another verb, or there are other overrides.
    """
    extra = [a for a in args if not a.startswith("resume=")]
    if extra:
        raise ConfigError(
            f"resume: a run continues with its own settings, got also {', '.join(extra)}; "
            "leave them out"
        )
    path = folder / RUN_FILE
    if not path.is_file():
        raise ConfigError(f"resume: got '{folder}', which holds no run (no {RUN_FILE} in it)")
    try:
        content = json.loads(path.read_text())
        seen, overrides = str(content["verb"]), [str(line) for line in content["overrides"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"resume: {path} cannot be read ({error!r}); begin a new run") from error
    if seen != verb:
        raise ConfigError(
            f"resume: '{folder}' is a run of 'simreal {seen}'; continue it with simreal {seen} "
            f"resume={folder}"
        )
    composed = compose(verb, overrides)
    save_config(folder, composed)
    return composed


def is_finished(folder: Path) -> bool:
    """Return whether a run has written everything.

    Args:
        folder: The run.
    """
    return (folder / SUMMARY).is_file()

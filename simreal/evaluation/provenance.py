"""Where a result came from, so that it can be measured again.

A number without its command, commit and versions cannot be checked, and numbers drift: a policy
that is evaluated again after a simulator upgrade may score differently.
"""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from simreal.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Provenance:
    """Hold what is needed to repeat a measurement.

    Attributes:
        command: The command line, quoted for a shell.
        seeds: Training seeds that the result covers.
        time: When it was measured, ISO 8601 in UTC.
        hardware: Processor, number of cores, and an accelerator if one was used.
        commit: Revision of the code, marked when files were modified; None outside a checkout.
        versions: Version of the interpreter and of each package that was loaded.
    """

    command: str
    seeds: tuple[int, ...]
    time: str
    hardware: str
    commit: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return the fields in a form that JSON can hold."""
        return {
            "command": self.command,
            "seeds": list(self.seeds),
            "time": self.time,
            "hardware": self.hardware,
            "commit": self.commit,
            "versions": dict(self.versions),
        }

    @classmethod
    def from_dict(cls, fields: object) -> "Provenance":
        """Rebuild a provenance from what `to_dict` gave.

        Args:
            fields: The decoded JSON.

        Raises:
            EvaluationError: If a field is missing or of a wrong type.
        """
        if not isinstance(fields, dict):
            raise EvaluationError(f"provenance must be an object, got {type(fields).__name__}.")
        texts = {name: fields.get(name) for name in ("command", "time", "hardware")}
        for name, text in texts.items():
            if not isinstance(text, str):
                raise EvaluationError(f"provenance.{name} must be a text, got {text!r}.")
        seeds, versions, commit = fields.get("seeds"), fields.get("versions"), fields.get("commit")
        if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
            raise EvaluationError(f"provenance.seeds must be a list of integers, got {seeds!r}.")
        if not isinstance(versions, dict):
            raise EvaluationError(f"provenance.versions must be an object, got {versions!r}.")
        return cls(
            **{name: str(text) for name, text in texts.items()},
            seeds=tuple(seeds),
            commit=None if commit is None else str(commit),
            versions={str(name): str(version) for name, version in versions.items()},
        )


def collect_provenance(
    seeds: Sequence[int], command: Sequence[str] | None = None, accelerator: str | None = None
) -> Provenance:
    """Describe the running process.

    Args:
        seeds: Training seeds that the result covers.
        command: Words of the command line; those of this process if not given.
        accelerator: Name of the accelerator that was used, if any.

    Returns:
        The provenance, with the time of the call.
    """
    words = sys.argv if command is None else command
    return Provenance(
        command=shlex.join(words),
        seeds=tuple(int(seed) for seed in seeds),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        hardware=_hardware(accelerator),
        commit=git_commit(Path(__file__).resolve().parents[2]),
        versions=_loaded_versions(),
    )


def git_commit(root: Path) -> str | None:
    """Return the revision of a checkout.

    Args:
        root: The folder that must be the top of the checkout. An installed copy inside another
            project's repository must not report that project's revision.

    Returns:
        The commit, with " (modified)" after it if tracked files differ; None without a checkout, a
        first commit, or git.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "HEAD")
    if not top or not commit or Path(top).resolve() != root.resolve():
        return None
    modified = _git(root, "status", "--porcelain", "--untracked-files=no")
    return f"{commit} (modified)" if modified else commit


def _git(root: Path, *words: str) -> str | None:
    """Return what a git command prints, or None if it fails or git is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _hardware(accelerator: str | None) -> str:
    """Return one line about the machine."""
    parts = [f"{_processor()}, {os.cpu_count()} logical cores", f"{platform.system()}"]
    return ", ".join([*parts, accelerator] if accelerator else parts)


def _processor() -> str:
    """Return the processor's model name where the system tells it, else its architecture."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def _loaded_versions() -> dict[str, str]:
    """Return the versions of the packages that this process has loaded.

    What is loaded, rather than a fixed list, is what may have acted on the result; it also keeps
    this module free of the names of physics engines.
    """
    owners = metadata.packages_distributions()
    loaded = {name.partition(".")[0] for name in sys.modules}
    names = {owner for module in loaded for owner in owners.get(module, ())}
    versions = {name: metadata.version(name) for name in sorted(names, key=str.lower)}
    return {"python": platform.python_version(), **versions}

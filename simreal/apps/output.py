"""Where runs write, and what they tell a person while they run."""

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, TextColumn

from simreal.config import Composed, resolved_yaml
from simreal.errors import ConfigError, OutputError
from simreal.evaluation.atomic_file import write_atomic

_FILE_WIDTH = 120


def width_for(terminal: bool) -> int | None:
    """Return how wide output is: None for the terminal's own width, or that `COLUMNS` names.

    Rich takes 80 for files and pipes, in which tables of names and sentences break within words.

    Args:
        terminal: Whether a terminal shows it.
    """
    return None if terminal or "COLUMNS" in os.environ else _FILE_WIDTH


class _Console(Console):
    """Leave a closed pipe to the command line, which knows its exit code; Rich's own is 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


CONSOLE = _Console(highlight=False, soft_wrap=True, width=width_for(sys.stdout.isatty()))
RUN_FILE = "run.json"

_PLAIN_EVERY_S = 10.0
_BAR = 20


def run_folder(output: str | None, label: str, seed: int) -> Path:
    """Return the folder of a new run, and create it.

    Args:
        output: What the user asked for; `outputs/<label>/<date>_<time>_seed<k>` if None.
        label: Name of the pair or task.
        seed: Seed of the run.

    Raises:
        ConfigError: The folder exists and holds another run.
        OutputError: It cannot be made.
    """
    if output:
        folder = Path(output)
        # What a process that was killed while it began left half-written is no run.
        used = folder.is_dir() and any(p.suffix != ".part" for p in folder.iterdir())
        if used or (folder.exists() and not folder.is_dir()):
            hint = f", or continue that run with resume={folder}" if _resumable(folder) else ""
            raise ConfigError(
                f"output: got '{folder}', which exists and is not empty; choose another folder"
                f"{hint}"
            )
    else:
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        name, number = f"{stamp}_seed{seed}", 1
        folder = Path("outputs") / label / name
        while folder.exists():
            number += 1
            folder = folder.with_name(f"{name}_{number}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"output: got '{folder}', which cannot be made ({error.strerror}); choose another "
            "folder with output="
        ) from error
    return folder


def _resumable(folder: Path) -> bool:
    """Return whether a folder holds a run of a verb that can continue it."""
    try:
        verb = json.loads((folder / RUN_FILE).read_text()).get("verb")
    except (OSError, ValueError, AttributeError):
        return False
    return verb in ("train", "transfer")


def save_config(folder: Path, composed: Composed) -> None:
    """Write what a run began with: verb and overrides, to continue it, then all settings.

    Args:
        folder: The run.
        composed: Its configuration.
    """
    began = {"verb": composed.primary, "overrides": list(composed.overrides)}
    write_atomic(folder / RUN_FILE, (json.dumps(began, indent=1) + "\n").encode())
    write_atomic(folder / "config.yaml", resolved_yaml(composed).encode())


def say(text: str) -> None:
    """Print one line, in the middle of progress or not."""
    CONSOLE.print(text, markup=False)


def say_run(folder: Path) -> None:
    """Print where a run is, and the command that shows its curves.

    Args:
        folder: The run.
    """
    say(f"run        {folder}")
    say(f"tensorboard --logdir {shlex.quote(str(folder / 'tensorboard'))}")


@contextmanager
def continuable(verb: str, folder: Path) -> Iterator[None]:
    """Say how a run is continued, if the user interrupts what is within.

    Args:
        verb: Verb of the run.
        folder: The run.
    """
    try:
        yield
    except KeyboardInterrupt:
        place = shlex.quote(f"resume={folder}")
        print(f"continue with: simreal {verb} {place}", file=sys.stderr)
        raise


class ProgressLine:
    """Show one progress line in a terminal, or a plain line every ten seconds elsewhere."""

    def __init__(self, label: str) -> None:
        """Begin.

        Args:
            label: What runs.
        """
        self._label = label
        self._begun = self._last = time.monotonic()
        self._seen: tuple[int, int, dict[str, float]] | None = None
        self._bar: Progress | None = None
        if CONSOLE.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False), console=CONSOLE, transient=True
            )
        self._task = self._bar.add_task(label, total=None) if self._bar else None

    def __enter__(self) -> "ProgressLine":
        """Start the display."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the display, and say in one line how it ended."""
        if self._bar is not None:
            self._bar.stop()
        if self._seen is not None:
            done, total, facts = self._seen
            known = {k: v for k, v in facts.items() if k != "left_s"}
            spent = duration(time.monotonic() - self._begun)
            say(f"{progress_text(self._label, done, total, known)}  after {spent}")

    def update(self, done: int, total: int, facts: dict[str, float]) -> None:
        """Show where the run is; see `simreal.learning.callbacks.ProgressSink`."""
        self._seen = (done, total, facts)
        if self._bar is not None and self._task is not None:
            text = progress_text(self._label, done, total, facts, CONSOLE.width)
            self._bar.update(self._task, description=text)
            return
        now = time.monotonic()
        if now - self._last >= _PLAIN_EVERY_S:
            self._last = now
            say(progress_text(self._label, done, total, facts))
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """Print a line that stays; see `simreal.learning.callbacks.ProgressSink`."""
        say(f"{self._label}: {text}")


def progress_text(
    label: str, done: int, total: int, facts: dict[str, float], width: int | None = None
) -> str:
    """Return one line about a run: as much of label, bar and numbers as fits.

    Args:
        label: What runs.
        done: Steps so far.
        total: Steps of the run.
        facts: See `simreal.learning.callbacks.ProgressSink`.
        width: Columns of the terminal, and a bar is drawn; None for plain text of any length.
    """
    share = min(done / max(total, 1), 1.0)
    parts = [f"{100 * share:3.0f} %" if width else f"{done:,} of {total:,} steps"]
    if "reward" in facts:
        parts.append(f"reward {facts['reward']:.1f}")
    if "success" in facts:
        parts.append(f"success {100 * facts['success']:.0f} %")
    parts.append(f"{facts['steps_per_s']:,.0f} steps/s")
    if "left_s" in facts:
        parts.append(f"{duration(facts['left_s'])} left")
    text = "  ".join(parts)
    if width is None:
        return f"{label}: {text}"
    filled = round(share * _BAR)
    bar = "━" * filled + "╌" * (_BAR - filled)
    for line in (f"{label}  {bar} {text}", f"{bar} {text}", text):
        if len(line) < width:
            return line
    return text[: max(width - 1, 0)]


def duration(seconds: float) -> str:
    """Return a time as `m:ss` or `h:mm:ss`.

    Args:
        seconds: The time [s].
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

"""Where runs write, and what they tell a person while they run."""

import sys
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from simreal.config import Composed, resolved_yaml
from simreal.errors import ConfigError

CONSOLE = Console(highlight=False, soft_wrap=True)

_PLAIN_EVERY_S = 10.0


def run_folder(output: str | None, label: str, seed: int) -> Path:
    """Return the folder of a new run, and create it.

    Args:
        output: What the user asked for; `outputs/<label>/<date>_<time>_seed<k>` if None.
        label: Name of the pair or task.
        seed: Seed of the run.

    Raises:
        ConfigError: The folder exists and holds another run.
    """
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path(output) if output else Path("outputs") / label / f"{stamp}_seed{seed}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"output: got '{folder}', which exists and is not empty; choose another folder, "
            f"or continue that run with resume={folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_config(folder: Path, composed: Composed) -> None:
    """Write the resolved configuration and the overrides beside a run."""
    (folder / "config.yaml").write_text(resolved_yaml(composed))
    (folder / "overrides.txt").write_text("\n".join(composed.overrides) + "\n")


def saved_overrides(folder: Path) -> list[str]:
    """Return the overrides of a run, to continue it.

    Args:
        folder: The run.

    Raises:
        ConfigError: There is no run.
    """
    path = folder / "overrides.txt"
    if not path.is_file():
        raise ConfigError(f"resume: got '{folder}', which holds no run (no {path.name} in it)")
    return [line for line in path.read_text().splitlines() if line]


class ProgressLine:
    """Show one progress line in a terminal, or a plain line every ten seconds elsewhere."""

    def __init__(self, label: str) -> None:
        """Begin.

        Args:
            label: What runs.
        """
        self._label = label
        self._last = time.monotonic()
        self._bar: Progress | None = None
        if CONSOLE.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[facts]}"),
                TimeRemainingColumn(),
                console=CONSOLE,
                transient=True,
            )
        self._task = self._bar.add_task(label, total=1, facts="") if self._bar else None

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
        """Stop the display."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int, facts: dict[str, float]) -> None:
        """Show where the run is; see `simreal.learning.callbacks.ProgressSink`."""
        parts = [f"{done:,}/{total:,} steps"]
        if "reward" in facts:
            parts.append(f"reward {facts['reward']:.1f}")
        if "success" in facts:
            parts.append(f"success {100 * facts['success']:.0f} %")
        parts.append(f"{facts['steps_per_s']:,.0f} steps/s")
        text = "  ".join(parts)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=min(done, total), total=total, facts=text)
            return
        now = time.monotonic()
        if now - self._last >= _PLAIN_EVERY_S:
            self._last = now
            CONSOLE.print(f"{self._label}: {text}  {facts['left_s']:.0f} s left")
            sys.stdout.flush()


def say(text: str) -> None:
    """Print one line, in the middle of progress or not."""
    CONSOLE.print(text, markup=False)

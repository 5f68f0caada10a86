"""TensorBoard and CSV logs that survive a killed run.

A run that was killed has logged steps that its continuation takes again. TensorBoard is told to
drop them, and the CSV file is cut back, so that each step stands in a log once.
"""

import csv
from pathlib import Path

from stable_baselines3.common.logger import CSVOutputFormat, Logger, TensorBoardOutputFormat
from torch.utils.tensorboard import SummaryWriter

_STEP = "time/total_timesteps"


def open_logs(folder: Path, done: int | None) -> Logger:
    """Return the logger of a run.

    Args:
        folder: Where `progress.csv` and the event files go.
        done: Environment steps that a continued run has behind it; None for a new run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "progress.csv"
    lines = [] if done is None else _kept(table, done)
    return Logger(str(folder), [_Events(str(folder), done), _Table(str(table), lines)])


class _Events(TensorBoardOutputFormat):
    """Write event files; what an older one says about later steps is dropped by the viewer."""

    def __init__(self, folder: str, done: int | None) -> None:
        # Not the parent's constructor, which would open another writer.
        purge = None if done is None else done + 1
        self.writer = SummaryWriter(log_dir=folder, purge_step=purge)
        self._is_closed = False


class _Table(CSVOutputFormat):
    """Write a CSV file that begins with lines that are kept."""

    def __init__(self, path: str, lines: list[str]) -> None:
        super().__init__(path)
        if lines:
            self.keys = lines[0].split(",")
            self.file.writelines(f"{line}\n" for line in lines)
            self.file.flush()


def _kept(table: Path, done: int) -> list[str]:
    """Return header and whole rows of a CSV file up to some step; none if it is not usable."""
    if not table.is_file():
        return []
    lines = table.read_text(errors="replace").splitlines()
    header = lines[0].split(",") if lines else []
    if _STEP not in header:
        return []
    kept = [lines[0]]
    for line in lines[1:]:
        row = next(csv.reader([line]), [])
        if len(row) != len(header):
            break  # the process was killed while it wrote
        step = row[header.index(_STEP)]
        if step.isdigit() and int(step) <= done:
            kept.append(line)
    return kept

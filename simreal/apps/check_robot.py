"""`simreal check-robot`: compare how each engine loads a URDF or MJCF file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simreal.apps.output import CONSOLE
from simreal.engines.model_check import Entry, LoadedModel, compare, load_all
from simreal.errors import ConfigError


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: One file.

    Returns:
        0 where the engines load the same robot, 1 where they differ or one refuses the file, 2
        where none can read it.

    Raises:
        ConfigError: There is not exactly one argument, or no such file.
    """
    if len(args) != 1:
        raise ConfigError(
            f"check-robot: got {len(args)} arguments, expected one file: simreal check-robot FILE"
        )
    return report(load_all(Path(args[0])), CONSOLE)


def report(models: Sequence[LoadedModel], console: Console) -> int:
    """Print what the engines loaded and where they differ.

    Args:
        models: One per engine.
        console: Where to print.

    Returns:
        The exit code.
    """
    for model in models:
        if model.error:
            console.print(f"[bold red]{model.engine} refuses the file:[/] {escape(model.error)}")
        for note in model.notes:
            console.print(escape(note), style="yellow")
    loaded = [model for model in models if not model.error]
    if not loaded:
        return 2
    entries = compare(models)
    console.print(_table(loaded, entries))
    different = sum(entry.differs for entry in entries)
    if len(loaded) < len(models):
        return 1
    if different:
        console.print(f"{different} of {len(entries)} quantities differ", style="bold red")
        return 1
    console.print(f"all {len(entries)} quantities agree", style="green")
    return 0


def _table(models: Sequence[LoadedModel], entries: Sequence[Entry]) -> Table:
    table = Table()
    table.add_column("part", overflow="fold")
    table.add_column("quantity", no_wrap=True)
    for model in models:
        table.add_column(model.engine, justify="right", overflow="fold")
    table.add_column("", no_wrap=True)
    previous = ""
    for entry in entries:
        if previous and entry.part != previous:
            table.add_section()
        part, previous = ("" if entry.part == previous else entry.part), entry.part
        cells = [_shown(value) for value in entry.values]
        style = "bold red" if entry.differs else None
        mark = "differs" if entry.differs else ""  # a file has no colors
        row = (escape(part), escape(entry.quantity), *map(escape, cells), mark)
        table.add_row(*row, style=style)
    return table


def _shown(value: Any) -> str:
    if value is None:
        return "absent"
    if isinstance(value, tuple):
        return ", ".join(_shown(item) for item in value)
    if isinstance(value, float):
        return f"{value:+.0f}".replace("+", "") if math.isinf(value) else f"{value:.4g}"
    return str(value)

"""`simreal audit`: show that each dynamics parameter of a robot acts in an engine."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simreal.apps.output import CONSOLE
from simreal.config import compose
from simreal.core.robot import Robot
from simreal.engines.audit import ACTS, AuditRow, audit


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """Hold the settings of `simreal audit` that belong to no group.

    Attributes:
        engine: Engine name.
    """

    engine: str


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: Overrides, for instance `robot=double_pendulum engine=mujoco`.

    Returns:
        0 where every parameter acts, is refused or does not apply; 1 where one is at fault.
    """
    composed = compose("audit", args)
    settings = composed.settings(AuditSettings)
    return run_audit(composed.build("robot", Robot), settings.engine, CONSOLE)


def run_audit(robot: Robot, engine_name: str, console: Console) -> int:
    """Audit a robot on one engine and print one row per parameter.

    Args:
        robot: The robot.
        engine_name: Engine name.
        console: Where to print.

    Returns:
        The exit code.
    """
    rows = audit(robot, engine_name)
    console.print(audit_table(rows, f"{robot.name} on {engine_name}"))
    at_fault = [row.name for row in rows if not row.passed]
    acting = sum(row.verdict == ACTS for row in rows)
    refused = sum(row.verdict.startswith("refused") for row in rows)
    console.print(
        f"{acting} of {len(rows)} parameters act, {refused} are refused, "
        f"{len(rows) - acting - refused - len(at_fault)} do not apply, {len(at_fault)} are at fault"
        + (f": {', '.join(at_fault)}" if at_fault else "")
    )
    return 1 if at_fault else 0


# What a sentence and a number need, so that neither breaks in the middle.
_WIDTHS = {"verdict": 20, "nominal": 8, "changed": 8}


def audit_table(rows: Sequence[AuditRow], title: str) -> Table:
    """Lay the findings out as a table.

    Args:
        rows: The findings.
        title: Title of the table.
    """
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("parameter", "unit", "nominal", "changed", "effect", "motion", "verdict"):
        right = column in ("nominal", "changed", "effect", "motion")
        table.add_column(
            column,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=column == "parameter",
            min_width=_WIDTHS.get(column),
        )
    for row in rows:
        style = "green" if row.verdict == ACTS else "dim" if row.passed else "bold red"
        ran = bool(row.changed)
        table.add_row(
            row.name,
            escape(row.unit),
            _numbers(row.nominal),
            "\n".join(_numbers(value) for value in row.changed),
            f"{row.effect:.2g}" if ran else "",
            "\n".join(f"{motion:.4g}" for motion in row.motion),
            f"[{style}]{escape(row.verdict)}[/]" + (f"\n{row.direction}" if ran else ""),
        )
    return table


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)

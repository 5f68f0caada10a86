"""What the benchmark scripts share: arms that take turns, ratios round by round, one results file.

Arms are timed one after another within every round, so that a change of the machine's speed meets
all of them, and a ratio is taken within a round before its median is. Beside the time by the clock
stands the processor time of this process and of all its living descendants, which other programs
disturb less.

    python benchmarks/rounds.py    # print one line per headline figure from every results file
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simreal.evaluation.provenance import collect_provenance

RESULTS = Path(__file__).resolve().parent / "results"
MIN_ROUNDS = 7


@dataclass
class Arm:
    """Hold one thing that is measured.

    Attributes:
        name: What it is.
        run: Do one round's work and return how many units it was, for instance environment steps.
        note: What a reader must know to compare it, for instance its settings.
        close: Called once at the end.
        wall: Time by the clock per unit, one number per round [s].
        cpu: Processor time per unit, descendants included, one number per round [s].
        warmup_s: Time by the clock of the first call, which is not among the rounds.
    """

    name: str
    run: Callable[[], float]
    note: str = ""
    close: Callable[[], None] | None = None
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    warmup_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Compare two arms: the time of `top` divided by the time of `bottom`.

    Attributes:
        name: The headline.
        top: Name of an arm.
        bottom: Name of an arm.
        at_most: Goal, where smaller is better.
        at_least: Goal, where larger is better.
    """

    name: str
    top: str
    bottom: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def goal(self) -> str:
        """Return the goal in words, empty where there is none."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else ""


def arguments(description: str | None, rounds: int = MIN_ROUNDS) -> argparse.ArgumentParser:
    """Return a parser that knows `--rounds` and `--output`.

    Args:
        description: The script's docstring; its first paragraph is shown.
        rounds: Default number of rounds.
    """
    parser = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=at_least_seven, default=rounds, help="at least 7")
    parser.add_argument("--output", type=Path, default=None, help="where the JSON goes")
    return parser


def at_least_seven(text: str) -> int:
    """Return a number of rounds that a median can be taken of.

    Args:
        text: From the command line.

    Raises:
        ArgumentTypeError: It is below 7.
    """
    rounds = int(text)
    if rounds < MIN_ROUNDS:
        raise argparse.ArgumentTypeError(f"{rounds}; at least {MIN_ROUNDS} are needed for a median")
    return rounds


def take_turns(arms: Sequence[Arm], rounds: int) -> None:
    """Call every arm once to warm up, and then once per round, in turn.

    Args:
        arms: What is measured; their `wall`, `cpu` and `warmup_s` are filled.
        rounds: How often.
    """
    for arm in arms:
        start = time.perf_counter()
        arm.run()
        arm.warmup_s = time.perf_counter() - start
    for _ in range(rounds):
        for arm in arms:
            cpu, wall = processor_s(), time.perf_counter()
            units = arm.run()
            arm.wall.append((time.perf_counter() - wall) / units)
            arm.cpu.append((processor_s() - cpu) / units)


def close(arms: Sequence[Arm]) -> None:
    """Close every arm that holds something."""
    for arm in arms:
        if arm.close is not None:
            arm.close()


def processor_s() -> float:
    """Return the processor time of this process and of its living descendants [s].

    That of this process is exact; that of others comes from `/proc` in hundredths of a second, and
    is left out where there is no `/proc`.
    """
    spent = time.process_time()
    tick = os.sysconf("SC_CLK_TCK")
    parents: dict[int, tuple[int, float]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        parents[int(stat.parent.name)] = (int(words[1]), (int(words[11]) + int(words[12])) / tick)
    own = {os.getpid()}
    while found := {pid for pid, (parent, _) in parents.items() if parent in own} - own:
        own |= found
    return spent + sum(parents[pid][1] for pid in own - {os.getpid()} if pid in parents)


def summarize(
    arms: Sequence[Arm],
    ratios: Sequence[Ratio],
    *,
    unit: str,
    clock: str = "wall",
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return medians and worst rounds of every arm and ratio, and where they were measured.

    Args:
        arms: After `take_turns`.
        ratios: What is compared.
        unit: What one unit is; times are in us per unit.
        clock: `wall` or `cpu`: which time the figures and ratios are of.
        extra: Further entries, for instance the settings all arms share.
    """
    times = {arm.name: getattr(arm, clock) for arm in arms}
    return {
        "unit": f"us of {'processor' if clock == 'cpu' else 'wall'} time per {unit}",
        **(extra or {}),
        "arms": {arm.name: _arm_row(arm, clock) for arm in arms},
        "ratios": {ratio.name: _ratio_row(ratio, times) for ratio in ratios},
        "load_average": os.getloadavg(),
        "provenance": collect_provenance((0,), ["python", *sys.argv]).to_dict(),
    }


def _arm_row(arm: Arm, clock: str) -> dict[str, Any]:
    micro = {name: [1e6 * s for s in getattr(arm, name)] for name in ("wall", "cpu")}
    main = micro[clock]
    return {
        "median": _short(statistics.median(main)),
        "worst": _short(max(main)),
        "best": _short(min(main)),
        "warmup_s": _short(arm.warmup_s),
        "note": arm.note,
        "wall_rounds": [_short(v) for v in micro["wall"]],
        "cpu_rounds": [_short(v) for v in micro["cpu"]],
    }


def _ratio_row(ratio: Ratio, times: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    rounds = [a / b for a, b in zip(times[ratio.top], times[ratio.bottom], strict=True)]
    up = ratio.at_least is not None
    median = statistics.median(rounds)
    met = None
    if ratio.goal:
        met = median >= float(ratio.at_least or 0) if up else median <= float(ratio.at_most or 0)
    return {
        "top": ratio.top,
        "bottom": ratio.bottom,
        "median": _short(median),
        "worst": _short(min(rounds) if up else max(rounds)),
        "best": _short(max(rounds) if up else min(rounds)),
        "goal": ratio.goal,
        "met": met,
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def print_table(report: Mapping[str, Any]) -> None:
    """Print a report for people."""
    print(report["unit"])
    for name, row in report["arms"].items():
        print(f"  {name:48s} median {row['median']:10.4g}   worst {row['worst']:10.4g}")
    if report["ratios"]:
        print("ratio, round by round")
    for name, row in report["ratios"].items():
        print(f"  {_line(name, row)}")


def _line(name: str, row: Mapping[str, Any]) -> str:
    verdict = {None: "", True: "met", False: "missed"}[row["met"]]
    return (
        f"{name:60s} median {row['median']:7.3g}   worst {row['worst']:7.3g}   "
        f"{row['goal']:>8s} {verdict}"
    )


def write(report: Mapping[str, Any], name: str, output: Path | None = None) -> Path:
    """Write a report, and return where it is.

    Args:
        report: What `summarize` gave.
        name: Name of the results file, without folder and suffix.
        output: Another place for it.
    """
    path = output or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return path


def main() -> int:
    """Print the headline figures of all results files."""
    for path in sorted(RESULTS.glob("*.json")):
        ratios = json.loads(path.read_text(encoding="utf-8")).get("ratios", {})
        for name, row in ratios.items():
            print(f"{path.stem:20s} {_line(name, row)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

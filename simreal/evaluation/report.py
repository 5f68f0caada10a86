"""One self-contained page that says what was measured, how, and what may be concluded.

The page is what a result is passed on as, so it has to open offline in ten years: no script, no
font, image or video from elsewhere (a content security policy in the page enforces that), and the
command, commit and versions beside the numbers. Whatever was not measured is named as missing.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from simreal.errors import EvaluationError
from simreal.evaluation import figures, formatting
from simreal.evaluation.atomic_file import write_atomic
from simreal.evaluation.comparison import CurveComparison
from simreal.evaluation.matrix import MatrixCell, Score
from simreal.evaluation.provenance import Provenance
from simreal.evaluation.statistics import FloatArray
from simreal.evaluation.transfer_metrics import Curve
from simreal.evaluation.verdict import Verdict

MAX_BYTES = 5_000_000
_NUM_BINS = 28


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Hold the verdict at the top of the page.

    Attributes:
        verdict: What was decided.
        subject: What was compared, for instance "fine-tuning against training from scratch".
        score: Which score was compared; success differences are shown in percentage points.
    """

    verdict: Verdict
    subject: str
    score: Score = "success"


@dataclass(frozen=True, slots=True)
class Highlight:
    """Hold one number that the page shows large.

    Attributes:
        value: The number with its unit, formatted.
        label: What it is.
    """

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class TransferRow:
    """Hold one row of the transfer table.

    Attributes:
        name: What is evaluated, for instance "fine-tuned".
        cell: Its evaluation.
        target_steps: All steps that it took on the target, those for choosing checkpoints
            included; None if unknown.
        note: A remark on the row.
    """

    name: str
    cell: MatrixCell
    target_steps: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class RandomizedParameter:
    """Hold what was randomized, and what was really drawn.

    Attributes:
        name: Name of the dynamics parameter.
        unit: Its unit, or an empty text.
        distribution: What it was drawn from, as text.
        when: When it was drawn, for instance "reset".
        nominal: Value without randomization, if there is one.
        draws: Realized values of any shape, if they were logged.
    """

    name: str
    unit: str
    distribution: str
    when: str = ""
    nominal: float | None = None
    draws: npt.ArrayLike | None = None


@dataclass(frozen=True, slots=True)
class Video:
    """Hold a film to embed.

    Attributes:
        title: What it shows.
        path: An MP4 file.
        description: What happens in it, for those who cannot see it.
    """

    title: str
    path: Path
    description: str = ""


@dataclass(frozen=True, slots=True)
class ReportData:
    """Hold everything that the page can show; all but the title may be missing.

    Attributes:
        title: Headline.
        summary: What the experiment was, in a sentence or two.
        conclusion: The verdict line.
        highlights: Numbers shown large, at most about four.
        rows: The transfer table, from top to bottom.
        matrix: Cells of policies (rows) by domains (columns).
        success_curves: Success on the target against target steps, by method.
        return_curves: Return on the target against target steps, by method.
        threshold: Success rate that the time to threshold refers to.
        comparisons: Transfer metrics of each method against scratch, on success rates.
        randomization: What was randomized in the source.
        videos: Films; the first ones are embedded as long as the page stays small enough.
        provenance: Where the numbers come from.
        notes: Further remarks, for instance known limits.
    """

    title: str
    summary: str = ""
    conclusion: Conclusion | None = None
    highlights: Sequence[Highlight] = ()
    rows: Sequence[TransferRow] = ()
    matrix: Sequence[MatrixCell] = ()
    success_curves: Mapping[str, Curve] = field(default_factory=dict)
    return_curves: Mapping[str, Curve] = field(default_factory=dict)
    threshold: float | None = None
    comparisons: Sequence[CurveComparison] = ()
    randomization: Sequence[RandomizedParameter] = ()
    videos: Sequence[Video] = ()
    provenance: Provenance | None = None
    notes: Sequence[str] = ()


def render_report(data: ReportData, max_bytes: int = MAX_BYTES) -> str:
    """Return the page.

    Args:
        data: What to show.
        max_bytes: Largest size of the page; videos that do not fit are left out, by name.

    Returns:
        HTML.

    Raises:
        EvaluationError: If the page is too large even without videos.
    """
    environment = Environment(
        loader=PackageLoader("simreal.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "points", "number", "steps", "time"):
        environment.filters[name] = getattr(formatting, f"format_{name}")
    template = environment.get_template("report.html.jinja")
    content = {
        "data": data,
        "figures": _figures(data),
        "matrix": _matrix(data.matrix),
        "methods": _interval_methods(data),
        "parameters": [_parameter(parameter) for parameter in data.randomization],
    }
    size = len(template.render(content, videos=[]).encode())
    if size > max_bytes:
        raise EvaluationError(
            f"the report takes {size} bytes without videos, allowed are {max_bytes}. "
            "Pass fewer curves or fewer evaluations per curve."
        )
    # A little is kept back for the elements around the videos.
    videos = _videos(data.videos, max_bytes - size - 1000 * len(data.videos))
    return template.render(content, videos=videos)


def write_report(data: ReportData, path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Write the page, at once and never in halves.

    Args:
        data: What to show.
        path: The file to create or replace.
        max_bytes: Largest size of the page.

    Raises:
        EvaluationError: If the page is too large even without videos.
    """
    write_atomic(path, render_report(data, max_bytes).encode())


def _figures(data: ReportData) -> list[dict[str, object]]:
    """Return the figures of the page by section, as safe markup with captions."""
    names = [*data.success_curves, *data.return_curves, *(row.name for row in data.rows)]
    colors = figures.palette_for(list(dict.fromkeys(names)))
    made: list[dict[str, object]] = []

    def add(section: str, name: str, figure: Figure, caption: str) -> None:
        svg = figures.to_inline_svg(figure, name, caption)
        made.append({"section": section, "svg": Markup(svg), "caption": caption})

    row_colors = [colors[row.name] for row in data.rows]
    bars = [_success_bar(row) for row in data.rows]
    if any(bar is not None for bar in bars):
        shown = [(bar, color) for bar, color in zip(bars, row_colors, strict=True) if bar]
        figure = figures.transfer_chart(
            [bar for bar, _ in shown], "success rate", percent=True, colors=[c for _, c in shown]
        )
        add("table", "final-success", figure, "Success rate with interval; one dot per seed.")
    if data.rows:
        figure = figures.transfer_chart(
            [figures.Bar(r.name, r.cell.returns, r.cell.seed_returns) for r in data.rows],
            "return",
            colors=row_colors,
        )
        add("table", "final-return", figure, "Return, IQM with interval; one dot per seed.")
    if data.success_curves:
        figure = figures.learning_curves(
            data.success_curves,
            "success rate",
            percent=True,
            threshold=data.threshold,
            colors=colors,
        )
        add("curves", "success-curves", figure, "Success on the target against target steps.")
    if data.return_curves:
        figure = figures.learning_curves(data.return_curves, "return", colors=colors)
        add("curves", "return-curves", figure, "Return on the target against target steps.")
    return made


def _success_bar(row: TransferRow) -> figures.Bar | None:
    """Return the bar of a row, or None for a task without success."""
    if row.cell.success is None:
        return None
    return figures.Bar(row.name, row.cell.success, row.cell.seed_success_rates or ())


def _matrix(cells: Sequence[MatrixCell]) -> dict[str, object]:
    """Return the heat table: cells by name, each with a shade between 0 and 1."""
    policies = list(dict.fromkeys(cell.policy for cell in cells))
    domains = list(dict.fromkeys(cell.domain for cell in cells))
    returns = [cell.returns.estimate for cell in cells]
    low, high = (min(returns), max(returns)) if returns else (0.0, 0.0)

    def shade(cell: MatrixCell) -> float:
        if cell.success is not None:
            return cell.success.estimate
        return (cell.returns.estimate - low) / (high - low) if high > low else 0.5

    found = {(cell.policy, cell.domain): (cell, round(shade(cell), 3)) for cell in cells}
    draws = {domain: {c.random_numbers for c in cells if c.domain == domain} for domain in domains}
    unequal = [domain for domain, digests in draws.items() if len(digests) > 1]
    return {"policies": policies, "domains": domains, "cells": found, "unequal": unequal}


def _interval_methods(data: ReportData) -> list[str]:
    """Return every way in which an interval on the page was computed, once."""
    cells = [*(row.cell for row in data.rows), *data.matrix]
    over = "over all episodes, given these seeds"
    methods = [f"success: {cell.success.method} {over}" for cell in cells if cell.success]
    methods += [f"return: {cell.returns.method}" for cell in cells]
    if data.success_curves or data.return_curves:
        methods.append("curves: IQM over seeds, pointwise bootstrap over seeds")
    verdicts = [row.verdict for row in data.comparisons]
    verdicts += [data.conclusion.verdict] if data.conclusion else []
    methods += [f"difference: {found.method}" for found in verdicts if found.low is not None]
    return list(dict.fromkeys(methods))


def _parameter(parameter: RandomizedParameter) -> dict[str, object]:
    """Return a randomized parameter with the histogram of its draws."""
    draws = None if parameter.draws is None else np.ravel(np.asarray(parameter.draws, np.float64))
    return {"spec": parameter, "histogram": None if draws is None else _histogram(parameter, draws)}


def _histogram(parameter: RandomizedParameter, draws: FloatArray) -> dict[str, object] | None:
    """Return bars in percent of the drawing's width and height, or None without a finite draw."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return None
    nominal = parameter.nominal
    low, high = float(finite.min()), float(finite.max())
    # The nominal value belongs in the picture even if nothing was drawn there.
    left, right = (low, high) if nominal is None else (min(low, nominal), max(high, nominal))
    if right <= left:
        left, right = left - 0.5, right + 0.5
    counts, _ = np.histogram(finite, bins=_NUM_BINS, range=(left, right))
    width = 100 / _NUM_BINS
    # Ends are rounded to a hundredth of the range: a smallest draw of 8.6e-06 in [0, 1] reads 0.
    digits = 2 - int(np.floor(np.log10(right - left)))
    return {
        "bars": [
            (round(i * width, 2), round(width * 0.86, 2), round(100 * count / counts.max(), 1))
            for i, count in enumerate(counts)
            if count
        ],
        "nominal": None if nominal is None else round(100 * (nominal - left) / (right - left), 2),
        "left": round(left, digits),
        "right": round(right, digits),
        "low": round(low, digits),
        "high": round(high, digits),
        "count": len(finite),
    }


def _videos(videos: Sequence[Video], budget: int) -> list[dict[str, object]]:
    """Return each video as base64, or why it is not embedded.

    Args:
        videos: What to embed, most important first.
        budget: Characters that all of them together may take.
    """
    found: list[dict[str, object]] = []
    for video in videos:
        data, problem = _read_video(video.path, budget)
        budget -= len(data)
        found.append({"video": video, "base64": data, "problem": problem})
    return found


def _read_video(path: Path, budget: int) -> tuple[str, str]:
    """Return a file as base64 and no problem, or an empty text and the problem."""
    if not path.is_file():
        return "", f"{path} was not found."
    size = path.stat().st_size
    if 4 * (size + 2) // 3 > budget:
        return "", f"{path} ({size / 1e6:.1f} MB) would make this page too large; open it directly."
    content = path.read_bytes()
    if content[4:8] != b"ftyp":
        return "", f"{path} is not an MP4 file."
    return base64.b64encode(content).decode("ascii"), ""

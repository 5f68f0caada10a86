"""Figures for the report and the README: learning curves and final scores, with their uncertainty.

Figures are built as objects and never through `pyplot`, whose global state would leak styles into
a user's notebook and keep every figure alive. The few ink colors are constants, so that a page can
swap them for its own and a figure follows light and dark mode.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)
from matplotlib.typing import LineStyleType

from simreal.evaluation.formatting import format_number, format_percent, format_steps
from simreal.evaluation.statistics import Interval, iqm_band
from simreal.evaluation.transfer_metrics import Curve

INK = "#1d2530"
MUTED = "#5b6675"
GRID = "#dde2e8"
# Distinct in hue and in lightness, legible on white and on near-black, safe for color blindness.
PALETTE = ("#2f7ed8", "#e0782f", "#1f9e89", "#c4568f", "#8a7bd8", "#a08a2c")
_DASHES: tuple[LineStyleType, ...] = (
    "-",
    (0, (6, 2)),
    (0, (2, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (1, 1)),
    (0, (9, 3)),
)
# Budgets that differ by more than this share one axis only if it is logarithmic.
_LOG_RATIO = 5.0


@dataclass(frozen=True, slots=True)
class Bar:
    """Hold one bar of a chart.

    Attributes:
        name: Its label.
        interval: Its length and whiskers.
        points: One value per seed, drawn as dots.
        note: Short text under the label, for instance the target steps used.
    """

    name: str
    interval: Interval
    points: Sequence[float] = ()
    note: str = ""


def learning_curves(
    curves: Mapping[str, Curve],
    ylabel: str,
    *,
    percent: bool = False,
    threshold: float | None = None,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Draw scores on the target against target steps.

    Every seed is a thin line; the interquartile mean over seeds is a thick one inside its pointwise
    bootstrap band. The step axis is logarithmic (and linear around zero) when budgets differ so
    much that the shorter curve could not be seen.

    Args:
        curves: One learning curve per method, in the order of the legend.
        ylabel: What the score is.
        percent: Whether scores are shares, to be shown as percentages.
        threshold: Score to mark with a horizontal line.
        colors: Color of each method; from the palette if not given.

    Returns:
        The figure.
    """
    figure, axes = _canvas(5.8, 3.7)
    colors = dict(zip(curves, _cycle(len(curves)), strict=True)) if colors is None else colors
    for index, (name, curve) in enumerate(curves.items()):
        _draw_curve(axes, curve, colors[name], _DASHES[index % len(_DASHES)])
    if threshold is not None:
        axes.axhline(threshold, color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    _scale_steps(axes, list(curves.values()))
    axes.set_xlabel("target steps", color=MUTED)
    axes.set_ylabel(ylabel, color=MUTED, parse_math=False)
    if percent:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    _legend(figure, list(curves), [colors[name] for name in curves])
    return figure


def transfer_chart(
    bars: Sequence[Bar],
    xlabel: str,
    *,
    percent: bool = False,
    colors: Sequence[str] | None = None,
) -> Figure:
    """Draw final scores as horizontal bars with intervals and one dot per seed.

    Args:
        bars: From top to bottom.
        xlabel: What the score is.
        percent: Whether scores are shares, to be shown as percentages.
        colors: One color per bar; from the palette if not given.

    Returns:
        The figure.
    """
    figure, axes = _canvas(5.8, 0.8 + 0.48 * max(len(bars), 1))
    fmt = format_percent if percent else format_number
    rows = np.arange(len(bars))
    for row, bar, color in zip(rows, bars, colors or _cycle(len(bars)), strict=True):
        spread = bar.interval
        axes.barh(row, spread.estimate, height=0.54, color=color, linewidth=0)
        whiskers = np.array([[spread.estimate - spread.low], [spread.high - spread.estimate]])
        axes.errorbar(
            spread.estimate,
            row,
            xerr=whiskers,
            color=INK,
            capsize=3,
            linewidth=1.3,
            fmt="none",
            clip_on=False,
        )
        offsets = np.linspace(-0.17, 0.17, len(bar.points)) if len(bar.points) > 1 else [0.0]
        if bar.points:
            axes.plot(
                bar.points, row + np.asarray(offsets), "o", color=INK, markersize=2.4, clip_on=False
            )
        axes.text(
            1.03,
            float(row),
            fmt(spread.estimate),
            transform=axes.get_yaxis_transform(),
            va="center",
            color=INK,
        )
    axes.set_yticks(rows, [f"{bar.name}\n{bar.note}" if bar.note else bar.name for bar in bars])
    for label in axes.get_yticklabels():
        label.set(color=INK, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel(xlabel, color=MUTED, parse_math=False)
    if percent:
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    return figure


def prediction_chart(
    time_s: np.ndarray,
    measured: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    panels: Sequence[str],
    title: str,
) -> Figure:
    """Draw predictions of consecutive windows over what was measured, one panel per signal.

    Args:
        time_s: (W, S) [s].
        measured: (W, S, J).
        predicted: Name to predictions (W, S, J).
        panels: Name and unit of each signal (J).
        title: What is shown.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(7.2, 0.8 + 1.9 * len(panels)), layout="constrained")
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    colors = [MUTED, *_cycle(len(predicted))]
    for j, (axes, panel) in enumerate(zip(rows, panels, strict=True)):
        _quiet(axes)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        lines = [measured, *predicted.values()]
        for i, (line, color) in enumerate(zip(lines, colors, strict=True)):
            for window in range(len(time_s)):  # each begins anew, in what was measured
                axes.plot(
                    time_s[window],
                    line[window, :, j],
                    color=color,
                    linewidth=3.6 if i == 0 else 1.6,
                    alpha=0.45 if i == 0 else 1.0,
                    linestyle=_DASHES[i % len(_DASHES)],
                )
        span = np.ptp(measured[..., j]) or 1.0
        middle = 0.5 * (measured[..., j].max() + measured[..., j].min())
        axes.set_ylim(middle - span, middle + span)  # however far a prediction goes
        axes.set_ylabel(panel, color=MUTED, parse_math=False)
    rows[0].set_title(title, loc="left", fontsize=10, color=INK, parse_math=False)
    rows[-1].set_xlabel("time [s]", color=MUTED)
    _legend(figure, ["measured", *predicted], colors)
    return figure


def to_png(figure: Figure, dpi: int = 150) -> bytes:
    """Return a figure as a PNG on white.

    Args:
        figure: What to render.
        dpi: Resolution [dots per inch].

    Returns:
        The file's content.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def to_inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an SVG element that can stand inside a page next to others.

    Text stays text, in the page's own font; ink colors become the page's CSS variables `--ink`,
    `--muted` and `--line`; element ids get the figure's name, so that two figures do not share one.

    Args:
        figure: What to render.
        name: Unique on the page; letters, digits and hyphens.
        description: What the figure shows, for those who cannot see it.

    Returns:
        The element.
    """
    buffer = io.StringIO()
    # These two are read while drawing and are the only way to say it; both are put back at once.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # A style sheet inside one figure would hold for the whole page; its rules move to the element.
    text = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    # The size and family come as one property or as two, depending on the size.
    text = re.sub(r"\bfont: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", text)
    text = re.sub(r"\bfont-family: [^;\"]*", "font-family: inherit", text)
    for color, variable in ((INK, "--ink"), (MUTED, "--muted"), (GRID, "--line")):
        text = text.replace(color, f"var({variable})")
    box = re.search(r'viewBox="[^"]*"', text)
    head = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {box.group() if box else ""} '
        'stroke-linejoin="round" stroke-linecap="butt" '
        f'role="img" aria-labelledby="{name}-title"><title id="{name}-title">'
    )
    return head + escape(description) + "</title>" + text[text.index(">") + 1 :]


def palette_for(names: Sequence[str]) -> dict[str, str]:
    """Return one color per name, for figures that must agree on them."""
    return dict(zip(names, _cycle(len(names)), strict=True))


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of a size in inches, with quiet axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    _quiet(axes)
    return figure, axes


def _quiet(axes: Axes) -> None:
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(which="both", colors=MUTED, length=0, labelsize=9.5)


def _draw_curve(axes: Axes, curve: Curve, color: str, dashes: LineStyleType) -> None:
    """Draw one method: its seeds, its band and its interquartile mean."""
    for row in curve.scores:
        axes.plot(curve.steps, row, color=color, linewidth=0.7, alpha=0.4, zorder=2)
    if curve.num_seeds > 1:
        center, low, high = iqm_band(curve.scores)
        axes.fill_between(curve.steps, low, high, color=color, alpha=0.16, linewidth=0, zorder=2)
    else:
        center = curve.scores[0]
    marker = "o" if len(curve.steps) == 1 else ""
    axes.plot(
        curve.steps, center, color=color, linewidth=2.2, linestyle=dashes, marker=marker, zorder=3
    )


def _scale_steps(axes: Axes, curves: Sequence[Curve]) -> None:
    """Choose the scale and the ticks of the step axis."""
    budgets = [curve.budget for curve in curves if curve.budget > 0]
    if not budgets:
        return
    positive = [float(curve.steps[curve.steps > 0][0]) for curve in curves if curve.budget > 0]
    if max(budgets) <= _LOG_RATIO * min(budgets):
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlim(0, max(budgets))
    else:
        # From the first evaluation on, each decade gets the same width; before it is only step 0.
        threshold = 10 ** float(np.floor(np.log10(min(positive))))
        axes.set_xscale("symlog", linthresh=threshold, linscale=0.25)
        decades = threshold * 10.0 ** np.arange(np.ceil(np.log10(max(budgets) / threshold)) + 1)
        axes.xaxis.set_major_locator(FixedLocator([0.0, *decades[decades <= max(budgets)]]))
        axes.set_xlim(0, 1.05 * max(budgets))
    axes.xaxis.set_minor_locator(NullLocator())
    # Choosing a scale resets the formatter, so this comes last.
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_steps(value)))


def _legend(figure: Figure, names: Sequence[str], colors: Sequence[str]) -> None:
    """Put a legend above the axes.

    Labels are set afterwards: on creation, names that begin with an underscore would be dropped.
    """
    if not names:
        return
    handles = [
        Line2D([], [], color=color, linewidth=2.2, linestyle=_DASHES[i % len(_DASHES)])
        for i, color in enumerate(colors)
    ]
    placeholders = [str(i) for i in range(len(names))]
    legend = figure.legend(
        handles,
        placeholders,
        loc="outside upper left",
        ncols=min(len(names), 4),
        frameon=False,
        handlelength=2.4,
        fontsize=10,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        _plain(text, name)


def _plain(text: Text, content: str) -> None:
    """Show a name as it is; a dollar sign in it is not the start of a formula."""
    text.set(text=content, color=INK, parse_math=False)


def _cycle(count: int) -> list[str]:
    """Return colors, repeating the palette if needed."""
    return [PALETTE[i % len(PALETTE)] for i in range(count)]

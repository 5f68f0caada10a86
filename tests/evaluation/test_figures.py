import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from simreal.evaluation.figures import (
    GRID,
    INK,
    MUTED,
    PALETTE,
    Bar,
    learning_curves,
    palette_for,
    prediction_chart,
    to_inline_svg,
    to_png,
    transfer_chart,
)
from simreal.evaluation.statistics import Interval
from simreal.evaluation.transfer_metrics import Curve

# Read as a formula, it would not even parse.
HOSTILE = r"_$\frac$ </svg><script>alert(1)</script> & ü"


@pytest.fixture(autouse=True)
def _no_warnings() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def curves() -> dict[str, Curve]:
    rng = np.random.default_rng(0)
    return {
        "fine-tuned": Curve(np.linspace(0, 1e5, 6), rng.uniform(0.3, 0.9, (5, 6))),
        "scratch": Curve(np.linspace(0, 3e6, 8), rng.uniform(0.0, 0.9, (5, 8))),
    }


def bar(name: str = "a", estimate: float = 0.5, points: tuple[float, ...] = (0.4, 0.6)) -> Bar:
    return Bar(name, Interval(estimate, estimate - 0.1, estimate + 0.1, 0.95, "m"), points, "note")


def test_every_seed_is_a_line_and_every_method_has_a_band(curves: dict[str, Curve]) -> None:
    axes = learning_curves(curves, "success", percent=True, threshold=0.9).axes[0]

    assert len(axes.lines) == 2 * (5 + 1) + 1
    assert len(axes.collections) == 2
    assert axes.lines[5].get_linewidth() > 2 * axes.lines[0].get_linewidth()
    np.testing.assert_allclose(axes.lines[0].get_ydata(), curves["fine-tuned"].scores[0])


def test_steps_are_logarithmic_only_when_budgets_differ_much(curves: dict[str, Curve]) -> None:
    assert learning_curves(curves, "s").axes[0].get_xscale() == "symlog"
    assert learning_curves({"a": curves["scratch"]}, "s").axes[0].get_xscale() == "linear"


def test_step_ticks_read_as_steps(curves: dict[str, Curve]) -> None:
    figure = learning_curves(curves, "s")
    figure.draw_without_rendering()
    texts = [
        t.get_text().replace("\N{NARROW NO-BREAK SPACE}", "")
        for t in figure.axes[0].get_xticklabels()
    ]

    assert texts == ["0", "10k", "100k", "1M"]


def test_one_seed_has_no_band_and_one_evaluation_is_a_dot() -> None:
    curves = {"a": Curve([0, 10], [[0.1, 0.2]]), "zero-shot": Curve([0], [[0.3], [0.4]])}
    axes = learning_curves(curves, "s").axes[0]

    assert len(axes.collections) == 1
    assert axes.lines[-1].get_marker() == "o"


@pytest.mark.parametrize("curves", [{}, {"zero-shot": Curve([0], [[0.3]])}])
def test_figures_without_a_span_still_render(curves: dict[str, Curve]) -> None:
    assert to_png(learning_curves(curves, "s")).startswith(b"\x89PNG")


def test_a_chart_has_a_bar_a_whisker_and_dots_per_row() -> None:
    axes = transfer_chart([bar("a", 0.25), bar("b", 0.75, ())], "success", percent=True).axes[0]

    assert [patch.get_width() for patch in axes.patches] == [0.25, 0.75]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a\nnote", "b\nnote"]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [[0.4, 0.6]]
    assert axes.yaxis_inverted()


def test_an_empty_chart_renders() -> None:
    assert to_png(transfer_chart([], "success")).startswith(b"\x89PNG")


def test_png_is_reproducible(curves: dict[str, Curve]) -> None:
    assert to_png(learning_curves(curves, "s")) == to_png(learning_curves(curves, "s"))


def test_inline_svg_is_wellformed_and_refers_to_nothing_outside(curves: dict[str, Curve]) -> None:
    svg = to_inline_svg(learning_curves(curves, "success"), "one", "What it shows <&>")
    root = ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '))

    assert root.attrib["role"] == "img"
    assert root[0].text == "What it shows <&>"
    assert not re.search(r"(href|src)=\"(?!#)", svg)
    assert "<metadata" not in svg
    assert "<!DOCTYPE" not in svg
    ids = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    assert all(name.startswith("one-") for name in ids)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    assert used
    assert used <= ids


def test_inline_svg_takes_its_ink_from_the_page(curves: dict[str, Curve]) -> None:
    svg = to_inline_svg(learning_curves(curves, "success"), "one", "d")

    assert not [color for color in (INK, MUTED, GRID) if color in svg]
    assert "var(--ink)" in svg
    assert "font-family: inherit" in svg
    assert PALETTE[0] in svg
    assert "DejaVu" not in svg


@pytest.mark.parametrize("percent", [True, False])
def test_hostile_names_stay_text(percent: bool) -> None:
    curve = Curve([0, 1], [[0.1, 0.2], [0.3, 0.4]])
    figures = [
        learning_curves({HOSTILE: curve}, HOSTILE, percent=percent),
        transfer_chart([bar(HOSTILE)], HOSTILE, percent=percent),
    ]
    for figure in figures:
        svg = to_inline_svg(figure, "x", "d")
        assert "<script" not in svg
        # Once as a name, once as the label of the axis.
        assert svg.count(r"_$\frac$ &lt;/svg&gt;&lt;script&gt;alert(1)") >= 2
        assert to_png(figure).startswith(b"\x89PNG")


def test_more_methods_than_colors_repeat_the_palette() -> None:
    names = [str(i) for i in range(8)]

    assert palette_for(names)["6"] == PALETTE[0]
    assert to_png(transfer_chart([bar(name) for name in names], "s"))


def test_global_state_is_left_alone(curves: dict[str, Curve]) -> None:
    before = dict(mpl.rcParams)
    to_inline_svg(learning_curves(curves, "success"), "x", "d")

    assert dict(mpl.rcParams) == before


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys; from simreal.evaluation import figures as f; "
        "c = f.transfer_chart([], 'x'); f.to_inline_svg(c, 'x', 'd'); f.to_png(c); "
        "sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_description_is_escaped() -> None:
    assert "&lt;script&gt;" in to_inline_svg(transfer_chart([], "x"), "x", HOSTILE)


def test_predictions_begin_anew_in_every_window() -> None:
    time_s = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    measured = np.stack([np.sin(time_s), np.cos(time_s)], axis=2)
    figure = prediction_chart(
        time_s, measured, {"model": measured + 0.1}, ["a [rad]", HOSTILE], HOSTILE
    )
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert len(axes.get_lines()) == 2 * 3  # measured and predicted, three windows
    assert figure.axes[1].get_ylabel() == HOSTILE
    low, high = figure.axes[0].get_ylim()
    assert high - low == pytest.approx(2.0 * np.ptp(measured[..., 0]))
    assert to_png(figure).startswith(b"\x89PNG")

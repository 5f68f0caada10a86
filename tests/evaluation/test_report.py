import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from simreal.errors import EvaluationError
from simreal.evaluation.comparison import compare_curves
from simreal.evaluation.episodes import EpisodeRecord
from simreal.evaluation.matrix import MatrixCell, aggregate
from simreal.evaluation.provenance import Provenance
from simreal.evaluation.report import (
    Conclusion,
    Highlight,
    RandomizedParameter,
    ReportData,
    TransferRow,
    Video,
    render_report,
    write_report,
)
from simreal.evaluation.transfer_metrics import Curve
from simreal.evaluation.verdict import verdict

MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(range(256)) * 8
VOID = {"meta", "br", "img", "input", "link", "hr"}


class Outline(HTMLParser):
    """Check that tags nest, and collect ids, headings and what is fetched from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.stack.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in {"src", "href", "xlink:href", "poster", "data", "srcset", "action"}:
                self.sources.append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"unexpected </{tag}>"
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        text = " ".join("".join(self.text).split())
        return text.replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


def cell(
    policy: str, domain: str = "target", rate: float = 0.5, known: bool = True, first: int = 0
) -> MatrixCell:
    return aggregate(
        [
            EpisodeRecord(
                policy, domain, seed, i, first + i, 100 * rate + seed, 10,
                (i < round(10 * rate)) if known else None, "time limit",
            )
            for seed in range(5)
            for i in range(10)
        ]
    )  # fmt: skip


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(MP4)
    return path


@pytest.fixture
def data(video: Path) -> ReportData:
    rng = np.random.default_rng(0)
    curves = {
        "fine-tuned": Curve(np.linspace(0, 1e5, 6), rng.uniform(0.8, 0.95, (5, 6))),
        "scratch": Curve(np.linspace(0, 3e6, 8), np.tile(np.linspace(0, 0.7, 8), (5, 1))),
    }
    gain = verdict([0.9, 0.91, 0.93, 0.92, 0.9], [0.7, 0.72, 0.69, 0.7, 0.71], paired=True)
    return ReportData(
        title="Pendubot",
        summary="From here to there.",
        conclusion=Conclusion(gain, "fine-tuning against scratch"),
        highlights=[Highlight("24 x", "fewer steps")],
        rows=[
            TransferRow("source", cell("source", "source", 1.0), 0),
            TransferRow("zero-shot", cell("source", "target", 0.3), 0, "with friction"),
            TransferRow("fine-tuned", cell("fine-tuned", rate=0.9), 150_000),
        ],
        matrix=[cell("source", "source", 1.0), cell("source"), cell("fine-tuned", rate=0.9)],
        success_curves=curves,
        return_curves=curves,
        threshold=0.9,
        comparisons=[
            compare_curves("fine-tuned", curves["fine-tuned"], curves["scratch"], 0.8, paired=True)
        ],
        randomization=[
            RandomizedParameter(
                "mass", "kg", "Uniform(0.5, 1.5)", "reset", 1.0, rng.random((9, 3))
            ),
            RandomizedParameter("gravity", "m/s²", "Fixed(9.81)"),
        ],
        videos=[Video("Swing-up", video, "The arm swings up.")],
        provenance=Provenance(
            "simreal transfer pair=x", (0, 1), "2026-01-01", "2 cores", "abc123", {"numpy": "2.0"}
        ),
        notes=["Known limit."],
    )


def test_a_full_page_shows_every_part(data: ReportData) -> None:
    page = Outline(render_report(data))

    assert page.stack == []
    for expected in (
        "positive transfer",
        "fine-tuning against scratch: difference in success +20.8 pp",
        "24 x",
        "in target; with friction",
        "100 % [92.9 %, 100 %]",
        "150 k",
        "5 \N{MULTIPLICATION SIGN} 10",
        "not measured",
        "90.0 %",
        "scratch ≥ 3 M, 5 of 5 never",
        "Uniform(0.5, 1.5)",
        "not logged",
        "The arm swings up.",
        "simreal transfer pair=x",
        "abc123",
        "numpy 2.0",
        "Known limit.",
        "success: Wilson score over all episodes, given these seeds",
        "return: IQM, bootstrap over seeds",
        "difference: paired bootstrap-t",
    ):
        assert expected in page.words, expected


def test_a_page_needs_nothing_from_elsewhere(data: ReportData) -> None:
    text = render_report(data)
    page = Outline(text)

    assert all(source.startswith(("#", "data:video/mp4;base64,")) for source in page.sources)
    assert not re.search(r"url\((?!#)|@import|<script|<link|<iframe", text)
    assert "default-src 'none'" in text
    assert len(page.ids) == len(set(page.ids))


def test_a_page_with_a_title_alone_names_what_is_missing() -> None:
    page = Outline(render_report(ReportData("Nothing yet")))

    assert page.stack == []
    for what in ("No verdict", "No policy", "matrix was not", "No learning curve", "No video"):
        assert what in page.words
    assert "were not recorded" in page.words
    assert "Notes" not in page.words


def test_all_texts_are_escaped(data: ReportData, tmp_path: Path) -> None:
    bad = "</style></svg><script>alert(1)</script>\"'&$x"
    hostile = replace(
        data,
        title=bad,
        summary=bad,
        conclusion=replace(data.conclusion, subject=bad),
        highlights=[Highlight(bad, bad)],
        rows=[TransferRow(bad, cell(bad, bad), 0, bad)],
        matrix=[cell(bad, bad)],
        success_curves={bad: data.success_curves["scratch"]},
        return_curves={bad: data.success_curves["scratch"]},
        comparisons=[replace(data.comparisons[0], name=bad)],
        randomization=[RandomizedParameter(bad, bad, bad, bad, 1.0, [1.0, 2.0])],
        videos=[Video(bad, tmp_path / bad.replace("/", "_"), bad)],
        provenance=Provenance(bad, (), bad, bad, bad, {bad: bad}),
        notes=[bad],
    )
    text = render_report(hostile)

    assert "<script" not in text
    assert Outline(text).stack == []
    assert text.count("</style>") == 1


def test_figures_and_histograms_have_a_text_alternative(data: ReportData) -> None:
    text = render_report(data)
    images = re.findall(r"<svg[^>]*role=\"img\"[^>]*>", text)

    assert len(images) == len(re.findall(r"<svg", text)) == 5
    assert all("aria-label" in image for image in images)
    assert "Histogram of 27 draws of mass" in text
    assert '<html lang="en">' in text


def test_a_video_is_embedded_byte_for_byte(data: ReportData) -> None:
    found = re.search(r'src="data:video/mp4;base64,([^"]+)"', render_report(data))

    assert found
    assert base64.b64decode(found.group(1)) == MP4


def test_a_video_that_does_not_fit_is_left_out_by_name(data: ReportData, video: Path) -> None:
    bare = len(render_report(replace(data, videos=[])).encode())
    video.write_bytes(MP4 + bytes(400_000))
    small = video.with_name("small.mp4")
    small.write_bytes(MP4)
    both = replace(data, videos=[Video("Large", video), Video("Small", small)])
    text = render_report(both, max_bytes=bare + 100_000)

    assert "film.mp4 (0.4 MB) would make this page too large" in Outline(text).words
    assert text.count("<video") == 1
    assert len(text.encode()) <= bare + 100_000


@pytest.mark.parametrize("content", [None, b"", b"not a film at all"])
def test_a_video_that_cannot_be_shown_says_why(
    data: ReportData, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    page = Outline(render_report(replace(data, videos=[Video("Broken", path)])))
    reason = "was not found" if content is None else "is not an MP4 file"

    assert f"Not embedded: {path} {reason}" in page.words


def test_a_page_that_is_too_large_without_videos_is_refused(data: ReportData) -> None:
    with pytest.raises(EvaluationError, match="fewer curves"):
        render_report(data, max_bytes=10_000)


def test_a_task_without_success_shows_returns(data: ReportData) -> None:
    cells = [cell("a", known=False), cell("b", rate=0.9, known=False)]
    bare = ReportData("t", rows=[TransferRow(c.policy, c) for c in cells], matrix=cells)
    text = render_report(bare)

    assert 'style="--v: 0.0"' in text
    assert 'style="--v: 1.0"' in text
    assert "success-rate" not in text
    assert Outline(text).stack == []


def test_unequal_random_numbers_are_admitted(data: ReportData) -> None:
    equal = ReportData("t", matrix=[cell("a"), cell("b")])
    unequal = ReportData("t", matrix=[cell("a"), cell("b", first=900), cell("a", "other")])

    assert "All rows of a column were measured with the same" in Outline(render_report(equal)).words
    assert "Not every row of target was measured" in Outline(render_report(unequal)).words


def test_a_single_seed_has_a_verdict_without_interval(data: ReportData) -> None:
    single = Conclusion(verdict([0.9], [0.5], paired=True), "x", "return")
    page = Outline(render_report(replace(data, conclusion=single)))

    assert "x: difference in return +0.400" in page.words
    assert "1 seed; at least 5 seeds are needed" in page.words.replace(" ;", ";")


@pytest.mark.parametrize(
    ("draws", "count"),
    [
        ([5.0, 5.0], 2),
        (np.full((3, 2), 1e-9), 6),
        ([0.0, np.nan, 1.0], 2),
        ([np.nan], None),
        ([], None),
    ],
)
def test_histograms_of_odd_draws(draws: object, count: int | None) -> None:
    parameter = RandomizedParameter("mass", "kg", "d", draws=draws)
    text = render_report(ReportData("t", randomization=[parameter]))

    assert ("not logged" in text) == (count is None)
    if count is not None:
        assert f"Histogram of {count} draws" in text


def test_the_nominal_value_is_inside_the_histogram_even_if_never_drawn() -> None:
    parameter = RandomizedParameter("delay", "s", "d", nominal=0.0, draws=[1.0, 2.0])
    text = render_report(ReportData("t", randomization=[parameter]))

    assert '<line x1="0.0" x2="0.0"' in text


def test_the_page_is_reproducible_and_small(data: ReportData, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    write_report(data, path)

    assert path.read_text() == render_report(data)
    assert path.stat().st_size < 300_000

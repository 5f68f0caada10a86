import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simreal.errors import EvaluationError
from simreal.evaluation.episodes import EpisodeRecord, from_columns, to_columns
from simreal.evaluation.provenance import Provenance
from simreal.evaluation.result_file import read_result, without_nonfinite, write_result

RECORDS = (
    EpisodeRecord("a", "target", 0, 0, 7, 1.5, 10, True, "time limit"),
    EpisodeRecord("a", "target", 0, 1, 8, -2.0, 3, None, "terminated"),
)
PROVENANCE = Provenance("simreal evaluate", (0,), "2026-01-01", "2 cores", "abc", {"numpy": "2"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "result.json"
    write_result(path, RECORDS, PROVENANCE, [])
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_is_written_is_read(path: Path) -> None:
    assert read_result(path) == (RECORDS, PROVENANCE)


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_result(path, RECORDS, PROVENANCE, [{"low": math.nan, "high": (math.inf, 1.0)}])

    assert "NaN" not in path.read_text()
    assert json.loads(path.read_text())["cells"] == [{"low": None, "high": [None, 1.0]}]


def test_without_nonfinite_leaves_the_rest_alone() -> None:
    assert without_nonfinite({"a": [1, True, "NaN", None, 0.5]}) == {
        "a": [1, True, "NaN", None, 0.5]
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema="other"), "not an evaluation result"),
        (lambda c: c.update(schema_version=2), "schema version 2"),
        (lambda c: c.update(schema_version=None), "schema version None"),
        (lambda c: c.pop("episodes"), "columns"),
        (lambda c: c["episodes"].pop("seed"), "columns"),
        (lambda c: c["episodes"].update(extra=[1, 2]), "columns"),
        (lambda c: c["episodes"].update(seed=3), "episodes.seed must be a list"),
        (lambda c: c["episodes"].update(seed=[0, True]), r"episodes.seed\[1\] must be an integer"),
        (lambda c: c["episodes"].update(success=[1, None]), r"success\[0\] must be true"),
        (lambda c: c["episodes"].update(episode_return=["x", 1]), r"return\[0\] must be a number"),
        (lambda c: c["episodes"].update(length=[1]), "different lengths"),
        (lambda c: c.pop("provenance"), "provenance must be an object"),
        (lambda c: c["provenance"].update(seeds=["0"]), "provenance.seeds"),
        (lambda c: c["provenance"].update(command=None), "provenance.command"),
        (lambda c: c["provenance"].update(versions=[]), "provenance.versions"),
    ],
)
def test_an_edited_file_is_refused_and_named(
    path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(path, change)

    with pytest.raises(EvaluationError, match=message) as caught:
        read_result(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": NaN}', "[" * 100_000, "\udcff"])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(EvaluationError, match=r"r\.json"):
        read_result(path)


def test_a_number_that_is_not_json_is_refused(path: Path) -> None:
    path.write_text(path.read_text().replace("-2.0", "NaN"))

    with pytest.raises(EvaluationError, match="NaN is not JSON"):
        read_result(path)


def test_every_truncation_of_a_file_is_refused(path: Path) -> None:
    content = path.read_bytes().rstrip()
    for cut in range(0, len(content), 37):
        path.write_bytes(content[:cut])
        with pytest.raises(EvaluationError):
            read_result(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="Check the path"):
        read_result(tmp_path / "nothing.json")


def test_columns_have_one_entry_per_episode() -> None:
    columns = to_columns(RECORDS)

    assert columns["success"] == [True, None]
    assert from_columns(columns) == RECORDS

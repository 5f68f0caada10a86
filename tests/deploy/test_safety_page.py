"""The page on safety promises nothing that no test keeps."""

import re
from pathlib import Path

import pytest

from simreal.deploy import watchdog
from simreal.deploy.settings import ControlSettings
from simreal.deploy.states import State

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_row_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| fault |", "| # |"))]
    assert len(rows) >= 25 + 19
    assert [row for row in rows if "`tests/" not in row] == []


def test_all_nineteen_failures_are_there() -> None:
    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == [str(i) for i in range(1, 20)]


def test_every_state_and_no_certificate_is_mentioned() -> None:
    assert all(state.name in PAGE for state in State)
    assert "None of it is certified functional" in PAGE
    assert all(word in PAGE for word in ("skip", "stop", "late"))
    assert ControlSettings(period_s=0.01).frozen_periods + 1 == 6  # the bounds of the page
    assert watchdog._SILENT_S == 0.5

"""The README's table is what the results file says."""

import json
from pathlib import Path

import pytest

import transfer_table

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_shows_what_was_measured() -> None:
    content = json.loads((ROOT / "benchmarks/results/transfer_pendubot.json").read_text())
    shown = (ROOT / "README.md").read_text().partition("<!-- table:transfer_pendubot -->\n")[2]
    assert shown.partition("\n<!-- /table -->")[0] == transfer_table.markdown(content)


def test_a_table_is_put_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_table, "ROOT", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- table:x -->\n| old |\n| older |\n<!-- /table -->\nb\n")
    for name in ("x", "unknown"):
        transfer_table.write_readme(name, "| new |")
        assert readme.read_text() == "a\n<!-- table:x -->\n| new |\n<!-- /table -->\nb\n"

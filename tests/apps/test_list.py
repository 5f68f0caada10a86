"""`simreal list`: groups, options, policies."""

from pathlib import Path

import pytest

from simreal import cli
from simreal.apps import list_
from simreal.catalog import Catalog, Folder


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    for name, text in {
        "own/task/reach.yaml": "# Reach a point.\na: 1\n",
        "own/task/long_name.yaml": "a: 1\n",
        "plugin/task/lift.yaml": "# Lift a box.\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Catalog([Folder(tmp_path / "own"), Folder(tmp_path / "plugin", "boxes")])


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(list_, "policies_dir", lambda: tmp_path / "policies")
    bundle = tmp_path / "policies" / "reach-source"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text("{}")
    (tmp_path / "policies" / "not-a-bundle").mkdir()
    return bundle


def test_section_aligns_names_and_shows_the_provider(catalog: Catalog) -> None:
    assert list_.section("task", catalog).splitlines() == [
        "task",
        "  lift       Lift a box. [boxes]",
        "  long_name",
        "  reach      Reach a point.",
    ]


def test_policies_show_the_first_sentence_of_their_card(catalog: Catalog, policies: Path) -> None:
    (policies / "CARD.md").write_text("# reach\n\nReaches 98 % of the time.\n")
    lines = list_.section("policies", catalog).splitlines()
    assert lines == ["policies", "  reach-source  Reaches 98 % of the time."]


def test_policy_without_a_card_is_listed(catalog: Catalog, policies: Path) -> None:
    assert list_.section("policies", catalog).splitlines() == ["policies", "  reach-source"]


def test_empty_group_says_so(catalog: Catalog, tmp_path: Path) -> None:
    assert list_.section("robot", catalog).splitlines() == ["robot", "  (none)"]


def test_unknown_group_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "taks"]) == 2
    err = capsys.readouterr().err
    assert "unknown group 'taks'" in err
    assert "Did you mean 'task'?" in err


def test_named_groups_alone_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "task", "robot"]) == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if line[:1].strip()]
    assert titles == ["task", "robot"]


def test_every_shipped_option_describes_itself() -> None:
    catalog = Catalog.default()
    options = [o for group in catalog.groups for o in catalog.options(group).values()]
    assert not [str(option.path) for option in options if not option.summary]

"""Groups and options as they are found in folders."""

from pathlib import Path

import pytest

from simreal.catalog import Catalog, Folder, Option
from simreal.errors import ConfigError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    own, other = tmp_path / "own", tmp_path / "other"
    files = {
        own / "train.yaml": "# Train.\ndefaults:\n  - task: reach\n  - optional pair: null\n"
        "  - /domain@source: bullet\n  - override /x/y: z\n  - _self_\nseed: 1\nlist:\n  - a: b\n",
        own / "task/reach.yaml": "# @package _global_\n\n#   Reach a point.\na: 1\n",
        own / "algo/net/small.yaml": "a: 1\n# Too late.\n",
        other / "task/reach.yaml": "# Another one.\n",
        other / "task/lift.yaml": "# Lift a box.\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return own, other


def test_groups_are_folders_and_top_level_files_are_primaries(folders: tuple[Path, Path]) -> None:
    catalog = Catalog([Folder(folders[0])])
    assert catalog.groups == ("algo/net", "task")
    assert list(catalog.primaries) == ["train"]


def test_first_folder_wins(folders: tuple[Path, Path]) -> None:
    catalog = Catalog([Folder(folders[0]), Folder(folders[1], "other")])
    options = catalog.options("task")
    assert list(options) == ["lift", "reach"]
    assert (options["reach"].provider, options["lift"].provider) == ("", "other")
    assert catalog.file("task/lift") == folders[1] / "task/lift.yaml"
    assert catalog.file("task/none") is None


def test_summary_is_the_first_comment_line(folders: tuple[Path, Path]) -> None:
    catalog = Catalog([Folder(folders[0])])
    assert catalog.options("task")["reach"].summary == "Reach a point."
    assert catalog.options("algo/net")["small"].summary == ""


def test_defaults_are_read_from_the_defaults_list_alone(folders: tuple[Path, Path]) -> None:
    option = Option("", "train", folders[0] / "train.yaml")
    assert option.defaults() == {
        "task": "reach",
        "pair": "null",
        "domain@source": "bullet",
        "x/y": "z",
    }


def test_further_folder_is_searched_last(folders: tuple[Path, Path]) -> None:
    catalog = Catalog([Folder(folders[0])]).extended([folders[1]])
    assert catalog.options("task")["lift"].provider == str(folders[1])


def test_folder_that_does_not_exist_is_refused(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match=r"/nowhere.*expected an existing folder"):
        Catalog([Folder(folders[0])]).extended([Path("/nowhere")])

"""Shipped files, in a checkout and in a wheel."""

from pathlib import Path

import pytest

from simreal import paths
from simreal.errors import ConfigError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "simreal"
    folder.mkdir()
    monkeypatch.setattr(paths, "_PACKAGE", folder)
    return folder


def test_checkout_keeps_its_files_at_the_top(package: Path) -> None:
    (package.parent / "conf").mkdir()
    (package.parent / "policies").mkdir()
    assert paths.conf_dir() == package.parent / "conf"
    assert paths.policies_dir() == package.parent / "policies"


def test_wheel_keeps_its_files_in_the_package(package: Path) -> None:
    (package / "conf").mkdir()
    (package.parent / "conf").mkdir()
    assert paths.conf_dir() == package / "conf"


def test_lost_folder_names_where_it_was_looked_for(package: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder 'conf' at .*simreal/conf or .*Install"):
        paths.conf_dir()


def test_shipped_file_is_shown_from_conf_on(package: Path) -> None:
    (package.parent / "conf").mkdir()
    assert paths.display(package.parent / "conf/task/reach.yaml") == "conf/task/reach.yaml"
    assert paths.display(package / "conf/task/reach.yaml") == "conf/task/reach.yaml"
    assert paths.display(Path("/elsewhere/conf/a.yaml")) == "/elsewhere/conf/a.yaml"

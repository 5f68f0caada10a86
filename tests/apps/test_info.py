"""`simreal info`: what a bug report needs."""

import importlib.metadata
import platform
from pathlib import Path

import pytest

import simreal
from simreal import cli
from simreal.apps import info
from simreal.errors import DependencyError


def test_versions_are_those_installed() -> None:
    versions = info.report()["versions"]
    assert versions["simreal"] == simreal.__version__
    assert versions["python"] == platform.python_version()
    assert versions["numpy"] == importlib.metadata.version("numpy")


def test_missing_package_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "_DISTRIBUTIONS", ("no-such-distribution-at-all",))
    assert info.report()["versions"]["no-such-distribution-at-all"] == "not installed"


def test_import_paths_are_files_and_folders() -> None:
    paths = info.report()["import paths"]
    assert Path(paths["simreal"]) == Path(simreal.__file__)
    assert Path(paths["conf"]).is_dir()


def test_thread_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    rows = info.report()["threads and rendering"]
    assert (rows["OMP_NUM_THREADS"], rows["MKL_NUM_THREADS"]) == ("3", "not set")


def test_the_device_of_warp_is_shown_with_its_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = pytest.importorskip("simreal.engines.warp_setup")
    assert info.report()["hardware"]["warp"].endswith("graphs on")
    monkeypatch.setattr(setup, "_obstacle", lambda device: "memory pools are off")
    assert "graphs OFF: memory pools are off" in info.report()["hardware"]["warp"]


def test_a_missing_warp_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise DependencyError(name)

    monkeypatch.setattr(info, "engine_class", missing)
    assert info.report()["hardware"]["warp"] == "not installed"


def test_report_is_printed_by_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    for title in info.report():
        assert f"{title}\n" in out


def test_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "x=1"]) == 2
    assert "expected no arguments" in capsys.readouterr().err

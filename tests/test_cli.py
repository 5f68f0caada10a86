"""The command line: verbs, help, exit codes, and what each error looks like."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import simreal
from simreal import cli
from simreal.catalog import Catalog
from simreal.errors import BundleError, ConfigError, DependencyError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[str]], int]], None]:
    """Give the command line a verb `toy` that runs a function."""

    def add(function: Callable[[list[str]], int]) -> None:
        module = SimpleNamespace(main=function)
        monkeypatch.setitem(sys.modules, "toy_verb", module)  # type: ignore[arg-type]
        entry = cli.Verb("toy_verb", "Play.", ("toy a=1", "toy b=2", "toy -m"))
        monkeypatch.setitem(cli.VERBS, "toy", entry)

    return add


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "conf"
    for name, text in {
        "toy.yaml": "# A toy.\ndefaults:\n  - task: reach\n  - _self_\nseed: 1\n",
        "task/reach.yaml": "# Reach a point.\nhorizon: 3\n",
        "task/push.yaml": "# Push a box.\nhorizon: 4\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr("simreal.catalog.conf_dir", lambda: root)
    return root


def _run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'envs'}"}
    command = [sys.executable, "-m", "simreal", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_overview_names_every_verb(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    for name, verb in cli.VERBS.items():
        assert f"  {name} " in out
        assert verb.summary in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == simreal.__version__


def test_arguments_reach_the_verb_and_its_code_comes_back(verb: Callable[[Any], None]) -> None:
    seen: list[str] = []

    def main(args: list[str]) -> int:
        seen.extend(args)
        return 7

    verb(main)
    assert cli.main(["toy", "a=1", "-m"]) == 7
    assert seen == ["a=1", "-m"]


def test_unknown_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "'trian'" in err
    assert "Did you mean 'train'?" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("a\n  b"), 2), (BundleError("a b"), 1), (DependencyError("a b"), 1)],
)
def test_error_of_ours_is_one_line_and_its_exit_code(
    verb: Callable[[Any], None],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    def main(args: list[str]) -> int:
        raise error

    verb(main)
    assert cli.main(["toy"]) == code
    assert capsys.readouterr().err == "error: a b\n"


def test_interrupt_is_130(verb: Callable[[Any], None]) -> None:
    def main(args: list[str]) -> int:
        raise KeyboardInterrupt

    verb(main)
    assert cli.main(["toy"]) == 130


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "runs"), "'runs': Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "the output: No space left on device"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(
    verb: Callable[[Any], None], capsys: pytest.CaptureFixture[str], error: OSError, line: str
) -> None:
    def main(args: list[str]) -> int:
        raise error

    verb(main)
    assert cli.main(["toy"]) == 1
    err = capsys.readouterr().err
    assert err == f"error: {line}; choose another place to write to\n"


def test_mistake_of_ours_keeps_its_traceback(verb: Callable[[Any], None]) -> None:
    def main(args: list[str]) -> int:
        raise ZeroDivisionError("inner")

    verb(main)
    with pytest.raises(ZeroDivisionError, match="inner"):
        cli.main(["toy"])


def test_missing_optional_package_names_the_extra(
    verb: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def main(args: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'hydra'", name="hydra.core")

    verb(main)
    assert cli.main(["toy"]) == 1
    assert "pip install 'simreal[train]'" in capsys.readouterr().err


def test_missing_module_of_ours_keeps_its_traceback(verb: Callable[[Any], None]) -> None:
    def main(args: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'simreal.x'", name="simreal.x")

    verb(main)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["toy"])


def test_help_of_a_verb_lists_groups_options_and_three_examples(
    verb: Callable[[Any], None], conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(lambda args: 1 // 0)
    assert cli.main(["toy", "seed=1", "--help"]) == 0
    out = capsys.readouterr().out
    assert "task  push, reach*" in out
    for example in ("simreal toy a=1", "simreal toy b=2", "simreal toy -m"):
        assert example in out


@pytest.mark.parametrize("name", list(cli.VERBS))
def test_every_verb_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert capsys.readouterr().out.count("  simreal ") == 3


@pytest.mark.parametrize("name", list(cli.VERBS))
def test_every_verb_has_its_module(name: str) -> None:
    module = cli.VERBS[name].module
    assert (ROOT / Path(*module.split("."))).with_suffix(".py").is_file()


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--cfg"]])
def test_cfg_prints_the_configuration_instead_of_running(
    verb: Callable[[Any], None], conf: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    verb(lambda args: 1 // 0)
    assert cli.main(["toy", "task=push", *flags, "seed=5"]) == 0
    out = capsys.readouterr().out
    assert "seed: 5" in out
    assert "horizon: 4" in out


def test_help_is_quick_and_free_of_torch() -> None:
    start = time.perf_counter()
    found = _run("--help")
    elapsed_s = time.perf_counter() - start
    assert found.returncode == 0
    # Twice the promised second, since the machine that tests may be busy.
    assert elapsed_s < 2.0


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["list"]])
def test_help_and_list_import_no_heavy_package(arguments: list[str]) -> None:
    code = (
        "import sys; from simreal.cli import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'hydra', 'mujoco', 'pybullet', 'stable_baselines3'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'envs'}"}
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr


def test_examples_of_the_help_name_what_there_is() -> None:
    catalog = Catalog.default()
    for verb in cli.VERBS.values():
        for word in " ".join(verb.examples).split():
            group, equals, option = word.partition("=")
            if equals and group in catalog.groups:
                assert catalog.options(group).keys() >= set(option.split(",")), verb.examples


def test_a_verb_without_groups_lists_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "--help"]) == 0
    assert "groups and their options" not in capsys.readouterr().out


def test_module_runs_as_a_program() -> None:
    found = _run("lst")
    assert found.returncode == 2
    assert found.stderr.startswith("error: unknown verb 'lst'")
    assert "Traceback" not in found.stderr


def test_a_closed_output_is_none() -> None:
    command = f'"{sys.executable}" -m simreal list task >&-'
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'envs'}"}
    found = subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["check-robot", "robot.xml"]])
def test_closed_pipe_is_quiet(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "robot.xml").write_text("<mujoco><worldbody/></mujoco>")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'envs'}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "simreal", *arguments],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stream:
        assert stream.read() == b""
    assert process.wait(timeout=30) == 141

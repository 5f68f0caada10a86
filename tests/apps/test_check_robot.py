"""`simreal check-robot` shows differences in red, and its exit code says whether there are any."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from simreal.apps.check_robot import report
from simreal.cli import main
from simreal.engines.model_check import LoadedBody, LoadedModel

BODY = LoadedBody(joint="hinge", name="arm", mass=1.0, com=(0, 0, 0), moments=(1, 1, 1))
MODEL = LoadedModel(engine="pybullet", bodies=(BODY,))


def printed(*models: LoadedModel) -> tuple[int, str]:
    console = Console(
        file=io.StringIO(), width=150, force_terminal=True, color_system="standard", highlight=False
    )
    code = report(models, console)
    return code, console.file.getvalue()


def test_equal_models_exit_with_0() -> None:
    code, text = printed(MODEL, replace(MODEL, engine="mujoco"))
    assert code == 0
    assert "all 7 quantities agree" in text
    assert "\x1b[1;31m" not in text


def test_differences_are_red_and_exit_with_1() -> None:
    heavy = replace(MODEL, engine="mujoco", bodies=(replace(BODY, mass=2.0),))
    code, text = printed(MODEL, heavy)
    assert code == 1
    assert "2 of 7 quantities differ" in text
    red = [line for line in text.splitlines() if "\x1b[1;31m" in line and "mass [kg]" in line]
    assert len(red) == 2  # the total and the arm
    assert text.count("differs") == 2


def test_a_refusal_is_one_line_and_exits_with_1() -> None:
    code, text = printed(MODEL, LoadedModel(engine="mujoco", error="no [such] mesh"))
    assert code == 1
    assert "refuses the file" in text
    assert "no [such] mesh" in text


def test_two_refusals_exit_with_2() -> None:
    code, text = printed(
        LoadedModel(engine="pybullet", error="a"), LoadedModel(engine="mujoco", error="b")
    )
    assert code == 2
    assert text.count("refuses the file") == 2


def test_notes_are_shown() -> None:
    assert (
        "3 mesh shapes left out"
        in printed(MODEL, replace(MODEL, engine="mujoco", notes=("3 mesh shapes left out",)))[1]
    )


def test_the_verb_finds_hoppers_armature(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pybullet")
    pytest.importorskip("mujoco")
    gymnasium = pytest.importorskip("gymnasium")
    capfd.readouterr()  # what pybullet prints when this process imports it
    file = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "hopper.xml"
    assert main(["check-robot", str(file)]) == 1
    captured = capfd.readouterr()
    assert "armature" in captured.out
    assert "13 of 52 quantities differ" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize("args", [[], ["a", "b"], ["missing.urdf"]])
def test_wrong_arguments_are_one_line_and_exit_with_2(
    capfd: pytest.CaptureFixture[str], args: list[str]
) -> None:
    assert main(["check-robot", *args]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: check-robot: got")
    assert error.count("\n") == 1

"""`simreal audit` prints one row per parameter, and its exit code says whether all is well."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from simreal.apps import audit as app
from simreal.cli import main
from simreal.engines.audit import AuditRow


def run(monkeypatch: pytest.MonkeyPatch, *rows: AuditRow) -> tuple[int, str]:
    monkeypatch.setattr(app, "audit", lambda robot, engine: list(rows))
    console = Console(file=io.StringIO(), width=200)
    robot = type("R", (), {"name": "arm"})()
    code = app.run_audit(robot, "mujoco", console)
    return code, console.file.getvalue()


def row(name: str, verdict: str) -> AuditRow:
    return AuditRow(
        name=name,
        unit="kg",
        nominal=(1.0,),
        changed=((0.5,), (1.0,), (2.0,)),
        effect=0.25,
        motion=(3.0, 2.0, 1.0),
        direction="less motion (drive)",
        verdict=verdict,
    )


def test_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = run(monkeypatch, row("mass.a", "acts"), row("mass.b", "refused: [no] way"))
    assert code == 0
    assert "1 of 2 parameters act, 1 are refused, 0 do not apply, 0 are at fault" in text
    assert "refused: [no] way" in text
    assert "less motion (drive)" in text


def test_a_fault_is_named_and_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = run(monkeypatch, row("mass.a", "acts"), row("mass.b", "NO EFFECT"))
    assert code == 1
    assert "1 are at fault: mass.b" in text


def test_the_verb_audits_a_robot_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mujoco")
    assert main(["audit", "robot=simple_pendulum", "engine=mujoco"]) == 0
    text = capfd.readouterr().out
    assert "joint_friction.shoulder" in text
    assert "acts" in text


def test_a_piped_table_keeps_numbers_and_words_whole() -> None:
    pytest.importorskip("mujoco")
    words = [sys.executable, "-m", "simreal", "audit", "robot=simple_pendulum", "engine=mujoco"]
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=120)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["gravity", "m/s^2", "9.81", "4.905"] in [row[:4] for row in rows]
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 120
    assert any(row[-1:] == ["acts"] for row in rows)


def test_the_verb_audits_on_warp(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mujoco_warp")
    assert main(["audit", "robot=simple_pendulum", "engine=warp"]) == 0
    captured = capfd.readouterr()
    assert "0 are at fault" in captured.out
    assert captured.err == ""


def test_an_unknown_engine_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "robot=simple_pendulum", "engine=mujoko"]) == 2
    assert "Did you mean 'mujoco'" in capfd.readouterr().err

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simreal import cli
from simreal.config import compose
from simreal.core.params import catalogue
from simreal.domains import Domain
from simreal.identification import fit
from simreal_envs.robots import simple_pendulum
from tests.identification.samples import simulated_log

Refuse = Callable[..., str]
QUICK = ("fit.starts=1", "fit.samples=3", "num_targets=2", "fit.stride_s=0.4")
ROBOT = ("robot=simple_pendulum", "log=simple_pendulum", "target=mujoco_ideal")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return logs of a pendulum with friction and with or (the last two) without a delay."""
    pytest.importorskip("mujoco")
    folder, paths = tmp_path_factory.mktemp("logs"), []
    for seed in range(4):
        truth = {"joint_friction.shoulder": 0.15, "joint_damping.shoulder": 0.05}
        log = simulated_log(
            simple_pendulum(), truth, delay_ticks=4 * (seed < 2), torque=2.0, seed=seed
        )
        table = np.column_stack([log.time_s, log.joint_pos, log.command])
        paths.append(folder / f"run{seed}.csv")
        np.savetxt(
            paths[-1], table, delimiter=",", header="time,position,torque", comments="", fmt="%.9g"
        )
    return paths


def identify(folder: Path, logs: list[Path], *more: str) -> list[str]:
    files = (f"files={logs[0]}", f"held_out=[{logs[1]}]")
    return ["identify", *ROBOT, *files, *QUICK, f"output={folder}", *more]


def test_logs_become_a_target(
    tmp_path: Path, logs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x"
    assert cli.main(identify(folder, logs, "unknowns=friction", "name=measured")) == 0
    printed = capsys.readouterr().out
    for words in ("joint_friction.shoulder", "command_delay", "held out", "0.2 s"):
        assert words in printed
    content = json.loads((folder / "identification.json").read_text())
    values = {row["name"]: row["value"] for row in content["unknowns"]}
    assert values["joint_friction.shoulder"] == pytest.approx(0.15, rel=0.02)
    assert values["joint_damping.shoulder"] == pytest.approx(0.05, rel=0.02)
    assert values["command_delay"] == pytest.approx(0.008, rel=0.02)
    assert [error["held_out"] for error in content["errors"]] == [False, True]
    search = f"hydra.searchpath=[{(folder / 'conf').as_uri()}]"
    assert search in printed
    for name in ("measured", "measured_1", "measured_2"):
        domain = compose("evaluate", [search, "task=pendulum", f"target={name}"]).build(
            "target", Domain
        )
        assert domain.name == name
        assert domain.engine == "mujoco"
        fixed = domain.fixed(simple_pendulum())
        assert fixed["joint_friction.shoulder"] == pytest.approx(0.15, rel=0.1)
        assert fixed["armature.shoulder"] == 0.0  # what the belief fixed, and nobody identified
    assert (folder / "run.json").is_file()
    drawn = compose("evaluate", [search, "task=pendulum", "target=measured_drawn"]).build(
        "target", Domain
    )
    assert f"target=measured,{drawn.name} -m" in printed
    rules = drawn.randomization.resolve(catalogue(simple_pendulum()))
    assert rules["joint_friction.shoulder"].reach(np.zeros(1)) == pytest.approx(
        (0.15, 0.15), rel=0.1
    )
    assert len(drawn.randomization.joint.rules["command_delay"].values) == 3
    assert not (folder / "conf" / "target" / "measured_3.yaml").exists()


def test_without_samples_there_is_no_target_that_draws(tmp_path: Path, logs: list[Path]) -> None:
    folder = tmp_path / "x"
    assert cli.main(identify(folder, logs, "unknowns=friction", "fit.samples=0")) == 0
    assert [path.name for path in (folder / "conf" / "target").iterdir()] == ["identified.yaml"]


def test_what_ends_at_the_edge_is_said(
    tmp_path: Path, logs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(identify(tmp_path / "x", logs[2:], "unknowns=friction", "held_out=[]")) == 0
    assert "at the edge of what may be: command_delay;" in capsys.readouterr().out


def test_a_log_is_fitted_to_or_held_out(
    refuse: Refuse, tmp_path: Path, logs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(logs[0].parent)
    line = refuse(*identify(tmp_path / "x", logs, f"held_out=./{logs[0].name}"))
    assert "twice; a log is fitted to or held out" in line


def test_a_log_that_is_too_short_is_refused_before_the_fit(
    refuse: Refuse, tmp_path: Path, logs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tmp_path / "short.csv"
    short.write_text("".join(logs[1].read_text().splitlines(keepends=True)[:150]))
    monkeypatch.setattr(fit._Fit, "from_everywhere", lambda _: pytest.fail("fitted"))
    line = refuse(*identify(tmp_path / "x", logs, f"held_out={short}"))
    assert "short.csv: no stretch of 0.5 s without a gap" in line
    assert not (tmp_path / "x").exists()


def test_nothing_is_recommended_where_nothing_was_learned(
    tmp_path: Path, logs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.loadtxt(logs[0], delimiter=",", skiprows=1)
    rows[:, 1] = 0.3
    stuck = tmp_path / "stuck.csv"
    np.savetxt(stuck, rows, delimiter=",", header="time,position,torque", comments="")
    words = ("unknowns=friction", f"files={stuck}", "held_out=[]")
    assert cli.main(identify(tmp_path / "x", logs, *words)) == 0
    printed = capsys.readouterr().out
    assert "NOTHING LEARNED" in printed
    assert "next " not in printed


def test_an_output_that_cannot_be_continued_is_not_said_to_be(
    refuse: Refuse, tmp_path: Path, logs: list[Path]
) -> None:
    (tmp_path / "run.json").write_text('{"verb": "identify", "overrides": []}')
    line = refuse(*identify(tmp_path, logs))
    assert "choose another folder" in line
    assert "resume" not in line


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["files=null"], "files: got none; name at least one log"),
        (["files=nowhere.csv"], "nowhere.csv: cannot be read as a CSV file"),
        (["name=my target"], "letters, digits and underscores"),
        (["name=mujoco_real"], "which is a target already; choose another than mujoco_ideal"),
        (["log.joint_pos={shoulder: angle}"], "no column 'angle'"),
        (["fit.window_s=100"], "no stretch of 100 s without a gap"),
        (["fit.step=0.1"], "fit.step"),
        (["num_targets=-1"], "num_targets: got -1; at least 0"),
        (["held_out=[a.csv,a.csv]"], "held_out: got 'a.csv' twice"),
        (["fit.horizons_s=[0.2,0.5]"], "0.5 s is no multiple of 0.2 s"),
        (["fit.step_s=0.021"], "0.021 s is no multiple of 0.002 s"),
        (["fit.seed=-1"], "seed is -1"),
        (["fit.zero_spread=-1"], "zero_spread is -1.0; at least 0"),
    ],
)
def test_wrong_input_is_refused(
    refuse: Refuse, tmp_path: Path, logs: list[Path], more: list[str], words: str
) -> None:
    assert words in refuse(*identify(tmp_path / "x", logs, *more))

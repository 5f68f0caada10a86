import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from simreal import cli

Refuse = Callable[..., str]


def evaluate(folder: Path, *more: str) -> list[str]:
    task = ("task=pendulum", "source=mujoco_ideal", "num_episodes=2")
    return ["evaluate", *task, *more, f"output={folder}"]


def test_policies_by_domains(
    tmp_path: Path, trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x"
    assert cli.main(evaluate(folder, f"policy=[{trained_run},zero,random]")) == 0
    printed = capsys.readouterr().out
    assert "mujoco_ideal: success" in printed
    assert "mujoco_real: success" in printed
    content = json.loads((folder / "evaluation.json").read_text())
    # Three policies, two domains, two episodes; a label for each policy.
    assert len(content["episodes"]["policy"]) == 12
    assert set(content["episodes"]["policy"]) == {"run", "zero", "random"}
    assert "<html" in (folder / "report.html").read_text().lower()
    assert (folder / "run.json").is_file()


def test_one_domain_is_measured_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = evaluate(tmp_path / "x", "policy=zero", "target=mujoco_ideal")
    assert cli.main(command) == 0
    assert capsys.readouterr().out.count("mujoco_ideal: success") == 1


def test_two_domains_with_one_name_are_refused(refuse: Refuse, tmp_path: Path) -> None:
    more = ("policy=zero", "target=mujoco_ideal", "target.actuation.command_delay=0.01")
    assert "two domains are named 'mujoco_ideal'" in refuse(*evaluate(tmp_path / "x", *more))


def test_a_sweep_over_targets_is_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = "target=mujoco_ideal,mujoco_real,pybullet_real"
    folder = tmp_path / "x"
    assert cli.main(evaluate(folder, "policy=zero", targets, "-m")) == 0
    content = json.loads((folder / "evaluation.json").read_text())
    measured = ["mujoco_ideal", "mujoco_real", "pybullet_real"]
    assert list(dict.fromkeys(content["episodes"]["domain"])) == measured
    printed = capsys.readouterr().out
    assert [printed.count(name) for name in measured] == [1, 1, 1]
    for i, name in enumerate(measured):
        assert f"target={name}" in (folder / f"job_{i + 1}" / "run.json").read_text()


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        (["seed=0,1", "-m"], "seed: got several values; a sweep of evaluate goes over source="),
        (["policy=zero,random", "-m"], "policy=[a,b] measures several"),
        (["target=mujoco_ideal,nowhere", "-m"], "nowhere"),
        (["target=mujoco_ideal,mujoco_real"], "-m"),
    ],
)
def test_a_sweep_over_something_else_is_refused(
    refuse: Refuse, tmp_path: Path, sweep: list[str], words: str
) -> None:
    line = refuse(*evaluate(tmp_path / "x", "policy=zero", *sweep))
    assert words in line
    assert not (tmp_path / "x").exists()


def test_the_same_policy_twice_is_refused(
    refuse: Refuse, tmp_path: Path, trained_run: Path
) -> None:
    line = refuse(*evaluate(tmp_path / "x", f"policy=[{trained_run},{trained_run}]"))
    assert "twice; name each policy once" in line


def test_two_policies_of_one_name_are_told_apart(
    tmp_path: Path, trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another run in a folder of the same name, elsewhere.
    shutil.copytree(trained_run / "policy", tmp_path / "run" / "policy")
    monkeypatch.chdir(tmp_path)
    assert cli.main(evaluate(tmp_path / "x", f"policy=[{trained_run},run]")) == 0
    content = json.loads((tmp_path / "x" / "evaluation.json").read_text())
    assert set(content["episodes"]["policy"]) == {"run", str(tmp_path / "run")}


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("policy=nobody", "got 'nobody', which is neither"),
        ("num_episodes=0", "0 test episodes were asked for"),
    ],
)
def test_wrong_settings_are_refused(
    refuse: Refuse, tmp_path: Path, override: str, part: str
) -> None:
    assert part in refuse(*evaluate(tmp_path / "x", "policy=zero", override))
    assert not (tmp_path / "x").exists()


def test_a_policy_of_another_task_is_refused(
    refuse: Refuse, tmp_path: Path, trained_run: Path
) -> None:
    line = refuse("evaluate", "task=pendubot", f"policy={trained_run}", f"output={tmp_path / 'x'}")
    assert "was trained for task 'pendulum'" in line


def test_an_existing_output_is_refused(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "choose another folder" in refuse(*evaluate(tmp_path, "policy=zero"))

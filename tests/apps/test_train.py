import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from simreal import cli
from simreal.apps import train as apps_train
from simreal.deploy import check_bundle, load_bundle

Refuse = Callable[..., str]
Words = dict[str, tuple[str, ...]]


def copy_of(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "copy"))


def test_a_run_leaves_everything_behind(trained_run: Path) -> None:
    assert {p.name for p in trained_run.iterdir()} == {
        "run.json",
        "config.yaml",
        "tensorboard",
        "checkpoints",
        "policy",
        "summary.json",
    }
    summary = json.loads((trained_run / "summary.json").read_text())
    assert (summary["task"], summary["domain"], summary["seed"]) == ("pendulum", "mujoco_ideal", 0)
    assert (summary["num_steps"], summary["eval_steps"]) == (192, 1000)
    assert "num_worlds: 4" in (trained_run / "config.yaml").read_text()
    assert list((trained_run / "tensorboard").glob("events.*"))
    assert "golden replay" in check_bundle(trained_run / "policy")[-1]
    manifest = load_bundle(trained_run / "policy").manifest
    assert manifest.provenance.evaluation[0].episodes == 2
    assert manifest.provenance.env_steps == 192


def test_one_seed_gives_the_same_bundle_and_messages_name_it(
    tmp_path: Path, trained_run: Path, capsys: pytest.CaptureFixture[str], words: Words
) -> None:
    folder = tmp_path / "run"
    assert cli.main(["train", *words["train"], f"output={folder}"]) == 0
    printed = capsys.readouterr().out
    assert f"run        {folder}" in printed
    assert f"tensorboard --logdir {folder / 'tensorboard'}" in printed
    assert f"policy     {folder / 'policy'}" in printed
    assert "success 0.0 % [" in printed
    assert "192 of 192 steps" in printed
    for name in ("weights.safetensors", "training.safetensors", "golden.safetensors"):
        first, second = (f / "policy" / name for f in (trained_run, folder))
        assert first.read_bytes() == second.read_bytes(), name


def test_a_run_that_is_good_enough_early_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Words
) -> None:
    plan = ("plan.eval_every=64", "plan.stop_success=0.0", "plan.stop_patience=2")
    assert cli.main(["train", *words["train"], *plan, f"output={tmp_path / 'run'}"]) == 0
    printed = capsys.readouterr().out
    assert "stopped    as told: 2 evaluations in a row with a success rate of at least 0" in printed
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["num_steps"] == 128


def test_a_finished_run_is_left_alone(
    trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def content() -> dict[Path, bytes]:
        kept = (p for p in trained_run.rglob("*") if p.is_file())
        return {p: p.read_bytes() for p in kept if p.name != "config.yaml"}

    before = content()
    assert cli.main(["train", f"resume={trained_run}"]) == 0
    assert "is a finished run" in capsys.readouterr().out
    assert content() == before


def test_a_run_that_ended_before_its_bundle_was_written(tmp_path: Path, trained_run: Path) -> None:
    folder = copy_of(trained_run, tmp_path)
    weights = folder / "policy" / "training.safetensors"
    before, marker = weights.read_bytes(), (folder / "summary.json").read_bytes()
    (folder / "summary.json").unlink()
    assert cli.main(["train", f"resume={folder}"]) == 0
    assert weights.read_bytes() == before
    assert (folder / "summary.json").read_bytes() == marker


def test_randomization_reaches_the_source(tmp_path: Path, words: Words) -> None:
    folder = tmp_path / "run"
    command = ["train", *words["train"], "randomization=uniform", f"output={folder}"]
    assert cli.main(command) == 0
    latency = load_bundle(folder / "policy").manifest.timing.trained_latency
    assert latency.command_s[1] > latency.command_s[0]


def test_an_existing_output_is_refused(refuse: Refuse, trained_run: Path, words: Words) -> None:
    line = refuse("train", *words["train"], f"output={trained_run}")
    assert "exists and is not empty" in line
    assert f"resume={trained_run}" in line


def test_a_file_as_output_is_refused(refuse: Refuse, tmp_path: Path, words: Words) -> None:
    (tmp_path / "file").write_text("")
    assert "choose another folder" in refuse(
        "train", *words["train"], f"output={tmp_path / 'file'}"
    )


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("plan.num_steps=0", "num_steps is 0"),
        ("plan.keep=beste", "'best' or 'last'"),
        ("num_test_episodes=0", "0 test episodes were asked for"),
        ("algo.batch_size=100", "must divide"),
        ("robot=double_pendulum", "is written for robot"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    refuse: Refuse, tmp_path: Path, words: Words, override: str, part: str
) -> None:
    folder = tmp_path / "run"
    assert part in refuse("train", *words["train"], override, f"output={folder}")
    assert not folder.exists()


def test_resuming_nothing_is_refused(refuse: Refuse, tmp_path: Path) -> None:
    assert "holds no run" in refuse("train", f"resume={tmp_path}")
    (tmp_path / "run.json").write_text('{"verb": "train"')
    assert "cannot be read" in refuse("train", f"resume={tmp_path}")


def test_a_run_continues_with_its_own_settings(refuse: Refuse, trained_run: Path) -> None:
    line = refuse("train", f"resume={trained_run}", "seed=3")
    assert "got also seed=3; leave them out" in line


def test_a_run_of_another_verb_is_refused(refuse: Refuse, trained_run: Path) -> None:
    line = refuse("transfer", f"resume={trained_run}")
    assert f"simreal train resume={trained_run}" in line


def test_a_checkpoint_of_other_settings_is_refused(
    refuse: Refuse, tmp_path: Path, trained_run: Path
) -> None:
    folder = copy_of(trained_run, tmp_path)
    (folder / "summary.json").unlink()
    run = json.loads((folder / "run.json").read_text())
    run["overrides"].append("task.torque_nm=1.3")
    (folder / "run.json").write_text(json.dumps(run))
    line = refuse("train", f"resume={folder}", code=1)
    assert "task.torque_nm was 1.2, now 1.3" in line


def test_jobs_of_a_sweep_do_not_share_a_folder(
    refuse: Refuse, tmp_path: Path, words: Words
) -> None:
    line = refuse("train", *words["train"], f"output={tmp_path / 'run'}", "seed=0,1", "-m")
    assert "for 2 jobs" in line
    assert not (tmp_path / "run").exists()


def test_a_sweep_trains_each_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Words
) -> None:
    done: list[int] = []
    monkeypatch.setattr(apps_train, "_run", lambda job, args, *_: done.append(job.values["seed"]))
    assert cli.main(["train", *words["train"], "seed=0,1,5", "-m"]) == 0
    assert done == [0, 1, 5]

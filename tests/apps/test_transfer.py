import json
from collections.abc import Callable
from pathlib import Path

import pytest

from simreal import cli
from simreal.apps.transfer import negative_transfer
from simreal.config import compose
from simreal.deploy import load_bundle
from simreal.evaluation.episodes import EpisodeRecord

Refuse = Callable[..., str]
Words = dict[str, tuple[str, ...]]


def transfer(folder: Path, source: Path, words: Words, method: str, *more: str) -> list[str]:
    command = ["transfer", *words["transfer"], f"transfer={method}", *more]
    if method in ("fine_tune", "frozen_extractor"):
        command += [*words["tuning"], *small(method)]
    return [*command, f"policy={source}", f"output={folder}"]


def small(method: str) -> list[str]:
    """Return what keeps a method small, whichever settings of the algorithm its file replaces."""
    replaced = compose("transfer", [f"transfer={method}"]).values["transfer"]["overrides"]
    sizes = {"num_worlds": 4, "num_steps": 16, "batch_size": 32, "num_epochs": 1}
    return [f"transfer.overrides.{k}={v}" for k, v in sizes.items() if k in replaced]


@pytest.mark.parametrize("method", ["zero_shot", "fine_tune", "frozen_extractor"])
def test_methods_give_a_policy_and_count_their_steps(
    tmp_path: Path,
    trained_run: Path,
    capsys: pytest.CaptureFixture[str],
    words: Words,
    method: str,
) -> None:
    folder = tmp_path / method
    assert cli.main(transfer(folder, trained_run, words, method)) == 0
    printed = capsys.readouterr().out
    summary = json.loads((folder / "summary.json").read_text())
    steps = (0, 0) if method == "zero_shot" else (128, 1000)
    assert (summary["train_steps"], summary["eval_steps"]) == steps
    assert f"steps      {steps[0]:,} for training and {steps[1]:,} for choosing" in printed
    assert f"policy     {folder / 'policy'}" in printed
    assert "before     success" in printed
    if method == "frozen_extractor":
        assert "frozen: actor.extractor, actor.head, actor.std, critic.extractor" in printed
        assert "frozen: actor.extractor, critic.extractor\n" in printed
    bundle = load_bundle(folder / "policy")
    assert bundle.manifest.provenance.parent == load_bundle(trained_run / "policy").sha256
    assert bundle.manifest.provenance.source_domain == "mujoco_real"


def test_scratch_needs_no_policy(tmp_path: Path, words: Words) -> None:
    plan = ("transfer.plan.num_steps=64", "transfer.plan.eval_episodes=1")
    command = [
        "transfer",
        *words["transfer"],
        "transfer=scratch",
        *plan,
        f"output={tmp_path / 'x'}",
    ]
    assert cli.main(command) == 0
    assert load_bundle(tmp_path / "x" / "policy").manifest.provenance.parent is None


def test_a_finished_transfer_is_left_alone(
    tmp_path: Path, trained_run: Path, capsys: pytest.CaptureFixture[str], words: Words
) -> None:
    folder = tmp_path / "x"
    assert cli.main(transfer(folder, trained_run, words, "zero_shot")) == 0
    assert cli.main(["transfer", f"resume={folder}"]) == 0
    assert "is a finished run" in capsys.readouterr().out


def test_an_unknown_policy_is_refused(refuse: Refuse, tmp_path: Path, words: Words) -> None:
    line = refuse(*transfer(tmp_path / "x", tmp_path / "nothing", words, "fine_tune"))
    assert "neither a bundle, a run with one, nor a shipped policy" in line
    assert not (tmp_path / "x").exists()


def test_a_policy_of_another_task_is_refused(
    refuse: Refuse, tmp_path: Path, trained_run: Path, words: Words
) -> None:
    command = transfer(tmp_path / "x", trained_run, words, "fine_tune")
    line = refuse(*["task=pendubot" if w == "task=pendulum" else w for w in command])
    assert "was trained for task 'pendulum'" in line
    assert "choose task=pendulum" in line


def test_a_policy_of_another_network_is_refused(
    refuse: Refuse, tmp_path: Path, trained_run: Path, words: Words
) -> None:
    command = transfer(tmp_path / "x", trained_run, words, "fine_tune", "algo.head=[9]")
    assert "in the source policy and" in refuse(*command)


@pytest.mark.parametrize(
    ("override", "part"),
    [("algo.activation=relu", "set algo.activation=tanh"), ("algo.gamma=2", "gamma is 2.0")],
)
def test_what_shapes_cannot_tell_is_checked_too(
    refuse: Refuse, tmp_path: Path, trained_run: Path, words: Words, override: str, part: str
) -> None:
    assert part in refuse(*transfer(tmp_path / "x", trained_run, words, "zero_shot", override))


def test_a_policy_of_another_algorithm_is_refused(
    refuse: Refuse, tmp_path: Path, trained_run: Path
) -> None:
    line = refuse(
        "transfer", "task=pendulum", "algo=sac", f"policy={trained_run}", f"output={tmp_path / 'x'}"
    )
    assert "trained with algo=ppo, and algo is sac" in line


def test_a_randomized_target_is_refused(
    refuse: Refuse, tmp_path: Path, trained_run: Path, words: Words
) -> None:
    command = transfer(tmp_path / "x", trained_run, words, "zero_shot", "randomization=uniform")
    assert "simreal train randomization=uniform" in refuse(*command)


def test_a_warm_up_without_an_end_is_refused(
    refuse: Refuse, tmp_path: Path, trained_run: Path, words: Words
) -> None:
    command = transfer(tmp_path / "x", trained_run, words, "fine_tune")
    late = ["transfer.warm_up_steps=128" if "warm_up" in word else word for word in command]
    assert "warm_up_steps is 128" in refuse(*late)


def episodes(outcomes: str) -> list[EpisodeRecord]:
    """Return one episode per letter: s(uccess), f(ailure), or n(either, as the task has none)."""
    success = {"s": True, "f": False, "n": None}
    return [
        EpisodeRecord("p", "d", 0, i, i, 1.0, 10, success[letter], "time limit")
        for i, letter in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("sssssssss", "fffffssss", "5 of 9 test episodes succeeded before and fail now, 0 the"),
        ("sssssssss", "ffffsssss", ""),  # 1 of 16 by chance
        ("sssssssssf", "fffffffffs", "9 of 10 test episodes succeeded before and fail now, 1 the"),
        ("sssssssfff", "fffffffsss", ""),  # 7 against 3
        ("ffffffffff", "ssssssssss", ""),
        ("nnnnnnnnnn", "nnnnnnnnnn", ""),
    ],
)
def test_a_policy_that_lost_is_told(before: str, after: str, said: str) -> None:
    line = negative_transfer(episodes(before), episodes(after))
    assert line.startswith("NEGATIVE") == bool(said)
    assert said in line

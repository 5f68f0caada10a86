"""The file of a key, found in hand-made layers."""

import pytest

from simreal.config.origins import Layer, Origins

ORIGINS = Origins(
    (
        Layer("task.yaml", ("task",), {"horizon": 1, "goal": [1, {"x": 2}]}),
        Layer("domain.yaml", ("source", "inner"), {"mass": 1}),
        Layer("train.yaml", (), {"seed": 1}, primary=True),
        Layer("pair.yaml", (), {"task": {"horizon": 2}}),
    )
)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("task.horizon", "pair.yaml"),
        ("task.goal", "task.yaml"),
        ("task.goal.1.x", "task.yaml"),
        ("task.goal.7", "task.yaml"),
        ("source.inner.mass", "domain.yaml"),
        ("source", "domain.yaml"),
        ("source.other", "domain.yaml"),
        ("seed", "train.yaml"),
        ("unheard.of", "train.yaml"),
    ],
)
def test_last_file_with_the_key_is_named(path: str, file: str) -> None:
    assert ORIGINS.file(path.split(".")) == file


def test_without_layers_there_is_no_file() -> None:
    assert Origins().file(("a",)) == ""
    assert str(Origins().error(("a",), "got 1.")) == "configuration: a: got 1."


def test_overridden_key_is_of_the_command_line_and_of_its_file() -> None:
    overridden = ORIGINS.override(["++task.goal=[1]", "seed=2"])
    assert overridden.where(("task", "goal", "0")) == "command line (task.yaml)"
    assert overridden.where(("task",)) == "command line (pair.yaml)"
    assert overridden.where(("task", "horizon")) == "pair.yaml"
    assert overridden.where(("seed",)) == "command line (train.yaml)"


def test_error_holds_file_key_and_text() -> None:
    assert str(ORIGINS.error(("seed",), "got 'x'.")) == "train.yaml: seed: got 'x'."

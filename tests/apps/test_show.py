"""`simreal show`: the resolved YAML, and errors of what is asked for."""

import pytest
from omegaconf import OmegaConf

from simreal import cli
from simreal.config import compose


def test_output_is_the_resolved_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "train", "seed=3"]) == 0
    out = capsys.readouterr().out
    assert OmegaConf.to_container(OmegaConf.create(out)) == compose("train", ["seed=3"]).values


def test_first_line_names_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["show", "train"])
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("# train, composed from conf/")
    assert "conf/train.yaml" in first


def test_a_configuration_has_the_name_of_its_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "robot-sim"]) == 0
    assert capsys.readouterr().out.startswith("# robot_sim, composed from")


def test_recipe_alone_is_shown_as_a_transfer(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "seed=4"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# transfer, composed from ")
    assert "\nseed: 4\n" in out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "Allowed: "),
        (["trian"], "Did you mean 'train'?"),
        (["train", "seeed=1"], "Did you mean 'seed'?"),
    ],
)
def test_wrong_request_costs_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    assert cli.main(["show", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert part in err

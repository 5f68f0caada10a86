"""The controller's verb refuses in one line what it cannot do; see also `test_robot_sim`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from simreal import cli
from simreal.apps.control import _check_limit, parse_options
from simreal.apps.result import give
from simreal.errors import ConfigError

Refuse = Callable[..., str]


def test_settings_are_read_by_their_type() -> None:
    options = parse_options(
        ["policy=p", "port=5", "duration=2.5", "priority=null", "watchdog=false", "limit=0.1"]
    )
    assert (options.policy, options.port, options.duration) == ("p", 5, 2.5)
    assert (options.priority, options.watchdog, options.limit) == (None, False, 0.1)
    assert parse_options(["policy=p", "priority=20"]).priority == 20


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "policy is missing; add policy=PATH"),
        (("pendubot",), "got 'pendubot'; key=value is needed"),
        (("polict=a",), "unknown setting of 'control' 'polict'. Did you mean 'policy'?"),
        (("policy=a", "port=x"), "port: got 'x'; a whole number is needed"),
        (("policy=a", "port=null"), "port: got 'null'; a whole number is needed"),
        (("policy=a", "watchdog=maybe"), "watchdog: got 'maybe'; true or false is needed"),
        (("policy=a", "duration=x"), "duration: got 'x'; a number is needed"),
        (("policy=a", "duration=0"), "duration: got 0.0"),
        (("policy=a", "duration=nan"), "duration: got nan"),
        (("policy=a", "limit=1.5"), "limit: got 1.5; more than 0 and at most 1 s is needed"),
        (("policy=a", "patience=0"), "patience: got 0; at least 1 late cycle is needed"),
        (("policy=a", "priority=100"), "priority: got 100; 1 to 99, or null, is needed"),
        (("policy=a", "tolerance=inf"), "tolerance: got inf; a share of more than 0 is needed"),
        (("policy=a", "output=/dev/null/a"), "no file can be made in '/dev/null'"),
        (("policy=a", "output=/"), "output: got '/', which is no plain file; choose another"),
        (("policy=a", "output=/dev/null"), "output: got '/dev/null', which is no plain file"),
        (("policy=pendubot-pybulet",), "Shipped: acrobot-pybullet, pendubot-pybullet,"),
        (("policy=pendubot-pybulet",), "Did you mean 'pendubot-pybullet'?"),
        (("policy=pendubot-pybullet", "transport=smoke"), "unknown transport 'smoke'"),
        (("policy=pendubot-pybullet", "runtime=abacus"), "unknown runtime 'abacus'"),
    ],
)
def test_wrong_settings_are_refused(refuse: Refuse, words: tuple[str, ...], part: str) -> None:
    assert part in refuse("control", *words)


def test_a_silence_that_every_pause_exceeds_is_refused() -> None:
    _check_limit(None, 0.002)
    _check_limit(0.003, 0.002)
    with pytest.raises(ConfigError, match=r"limit: got 0\.0026; more than 0\.00267 s is needed"):
        _check_limit(0.0026, 0.002)


def test_a_result_that_cannot_be_written_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    give("{}", str(tmp_path / "new" / "report.json"))
    assert (tmp_path / "new" / "report.json").read_text() == "{}\n"
    with pytest.raises(ConfigError, match=r"which cannot be written .* the result was printed"):
        give('{"fault": null}', "/proc/report.json")
    assert capsys.readouterr().out.splitlines() == ["{}", '{"fault": null}']


def test_help_lists_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["control", "--help"]) == 0
    assert "duration=" in capsys.readouterr().out

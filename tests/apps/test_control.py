"""The controller's verb refuses in one line what it cannot do; see also `test_robot_sim`."""

from collections.abc import Callable

import pytest

from simreal import cli
from simreal.apps.control import parse_options

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
        (("policy=pendubot-pybullet", "transport=smoke"), "unknown transport 'smoke'"),
        (("policy=pendubot-pybullet", "runtime=abacus"), "unknown runtime 'abacus'"),
    ],
)
def test_wrong_settings_are_refused(refuse: Refuse, words: tuple[str, ...], part: str) -> None:
    assert part in refuse("control", *words)


def test_help_lists_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["control", "--help"]) == 0
    assert "duration=" in capsys.readouterr().out

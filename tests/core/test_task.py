import numpy as np
import pytest

from simreal.errors import ConfigError
from tests.domains.toy import Reach


@pytest.mark.parametrize(
    ("period", "tick", "ticks"), [(0.01, 0.002, 5), (0.02, 0.02, 1), (0.03, 0.001, 30)]
)
def test_the_control_period_is_a_number_of_ticks(period: float, tick: float, ticks: int) -> None:
    task = Reach()
    task.control_period_s, task.tick_s = period, tick
    assert task.ticks == ticks


@pytest.mark.parametrize(("period", "tick"), [(0.01, 0.003), (0.001, 0.01)])
def test_a_period_that_is_not_is_refused(period: float, tick: float) -> None:
    task = Reach()
    task.control_period_s, task.tick_s = period, tick
    with pytest.raises(ConfigError, match="not a whole multiple of the tick"):
        _ = task.ticks


def test_training_may_cut_episodes() -> None:
    task = Reach()
    assert task.episode_steps() == task.episode_steps(training=True) == 10
    task.train_episode_s = 0.04
    assert (task.episode_steps(), task.episode_steps(training=True)) == (10, 4)


def test_a_task_never_ends_early_unless_it_says_so() -> None:
    assert Reach().terminated(np, None) is None  # type: ignore[arg-type]

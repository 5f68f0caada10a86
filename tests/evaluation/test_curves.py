import numpy as np
import pytest

from simreal.errors import EvaluationError
from simreal.evaluation.curves import target_curve


def test_ends_are_test_episodes_and_the_middle_is_what_the_run_measured() -> None:
    curve = target_curve(
        [0.1, 0.3],
        [[(100.0, 0.5), (200.0, 0.6)], [(100.0, 0.4), (200.0, 0.7)]],
        [(300.0, 0.9), (300.0, 0.8)],
    )
    assert curve.steps.tolist() == [0.0, 100.0, 200.0, 300.0]
    assert curve.scores.tolist() == [[0.1, 0.5, 0.6, 0.9], [0.3, 0.4, 0.7, 0.8]]


def test_a_seed_that_stopped_early_cuts_the_others_and_the_longest_budget_counts() -> None:
    curve = target_curve(
        [0.0, 0.0], [[(10.0, 0.2)], [(10.0, 0.4), (20.0, 0.5)]], [(15.0, 1.0), (30.0, 0.5)]
    )
    assert curve.steps.tolist() == [0.0, 10.0, 30.0]
    assert curve.scores.tolist() == [[0.0, 0.2, 1.0], [0.0, 0.4, 0.5]]


def test_an_evaluation_at_the_very_end_gives_way_to_the_test_episodes() -> None:
    curve = target_curve([0.0], [[(50.0, 0.7)]], [(50.0, 0.9)])
    assert curve.steps.tolist() == [0.0, 50.0]
    assert curve.scores.tolist() == [[0.0, 0.9]]


def test_an_unmeasured_start_is_left_out_rather_than_made_up() -> None:
    curve = target_curve([None, 0.5], [[(5.0, 0.2)], [(5.0, 0.3)]], [(9.0, 0.4), (9.0, 0.6)])
    assert curve.steps.tolist() == [5.0, 9.0]
    assert np.allclose(curve.scores, [[0.2, 0.4], [0.3, 0.6]])


@pytest.mark.parametrize(("initial", "inner"), [([], []), ([0.0], [[], []])])
def test_lists_of_different_lengths_are_refused(
    initial: list[float | None], inner: list[list[tuple[float, float]]]
) -> None:
    with pytest.raises(EvaluationError, match="one of each per seed"):
        target_curve(initial, inner, [(1.0, 0.5)])

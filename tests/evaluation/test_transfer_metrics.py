from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.errors import EvaluationError
from simreal.evaluation.transfer_metrics import (
    Curve,
    area_under_curve,
    asymptote,
    common_budget,
    final_scores,
    initial_scores,
    jumpstart,
    normalized_score,
    regret,
    time_to_threshold,
    transfer_ratio,
    zero_shot_gap,
)


@pytest.fixture
def transfer() -> Curve:
    # Two seeds, five evaluations, 400 target steps.
    return Curve([0, 100, 200, 300, 400], [[0.4, 0.6, 0.8, 1.0, 1.0], [0.2, 0.6, 0.6, 0.8, 0.9]])


@pytest.fixture
def scratch() -> Curve:
    # A finer grid and twice the budget.
    return Curve([0, 200, 400, 600, 800], [[0.0, 0.2, 0.4, 0.8, 1.0], [0.0, 0.0, 0.2, 0.4, 0.6]])


def test_curve_refuses_steps_that_do_not_increase() -> None:
    with pytest.raises(EvaluationError, match="increasing"):
        Curve([0, 10, 10], [[0.0, 0.1, 0.2]])


@pytest.mark.parametrize(
    ("steps", "scores"),
    [
        ([0, 1], [0.0, 1.0]),
        ([0, 1], [[0.0, 1.0, 2.0]]),
        ([[0, 1]], [[0.0, 1.0]]),
        ([], [[]]),
        ([-1, 1], [[0.0, 1.0]]),
        ([0, 1], [[0.0, float("nan")]]),
        ([0, 1], np.zeros((0, 2))),
    ],
)
def test_curve_refuses_what_is_not_a_learning_curve(steps: Any, scores: Any) -> None:
    with pytest.raises(EvaluationError):
        Curve(steps, scores)


def test_curve_cannot_be_changed_through_the_callers_array() -> None:
    scores = np.array([[0.0, 1.0]])
    curve = Curve([0, 1], scores)
    scores[0, 0] = 9.0

    assert curve.scores[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        curve.scores[0, 0] = 1.0


def test_until_interpolates_at_the_budget(scratch: Curve) -> None:
    cut = scratch.until(500)

    np.testing.assert_allclose(cut.steps, [0, 200, 400, 500])
    np.testing.assert_allclose(cut.scores[:, -1], [0.6, 0.3])


def test_until_refuses_to_extrapolate(scratch: Curve) -> None:
    with pytest.raises(EvaluationError, match="Extrapolation"):
        scratch.until(801)


def test_jumpstart_is_the_difference_of_the_first_evaluations(
    transfer: Curve, scratch: Curve
) -> None:
    assert jumpstart(transfer, scratch, k=1) == pytest.approx(0.3)
    # k = 2: (0.5 + 0.4) / 2 - (0.1 + 0.0) / 2
    assert jumpstart(transfer, scratch, k=2) == pytest.approx(0.4)
    np.testing.assert_allclose(initial_scores(transfer, 2), [0.5, 0.4])


@pytest.mark.parametrize("k", [0, 6])
def test_jumpstart_refuses_a_window_that_does_not_fit(
    transfer: Curve, scratch: Curve, k: int
) -> None:
    with pytest.raises(EvaluationError, match="Allowed: 1 to 5"):
        jumpstart(transfer, scratch, k)


def test_asymptote_is_the_iqm_of_the_last_tenth() -> None:
    scores = np.zeros((4, 20))
    scores[:, -2:] = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 100.0]]

    # Eight values, two dropped on each side: 2, 3, 4, 5.
    assert asymptote(Curve(np.arange(20), scores)) == pytest.approx(3.5)
    np.testing.assert_allclose(final_scores(Curve(np.arange(20), scores))[:2], [0.5, 2.5])


def test_asymptote_of_a_short_curve_is_its_last_evaluation(transfer: Curve) -> None:
    assert asymptote(transfer) == pytest.approx(0.95)


def test_asymptote_refuses_a_fraction_outside_zero_and_one(transfer: Curve) -> None:
    with pytest.raises(EvaluationError, match="fraction"):
        asymptote(transfer, 0.0)


def test_time_to_threshold_reports_the_first_step_of_each_seed(transfer: Curve) -> None:
    reached = time_to_threshold(transfer, 0.8)

    assert reached.steps == (200.0, 300.0)
    assert reached.censored == (False, False)
    assert reached.restricted_mean == 250.0
    assert reached.num_censored == 0


def test_time_to_threshold_censors_at_the_budget(scratch: Curve) -> None:
    reached = time_to_threshold(scratch, 0.8)

    assert reached.steps == (600.0, 800.0)
    assert reached.censored == (False, True)
    assert reached.restricted_mean == 700.0
    assert reached.num_censored == 1
    assert reached.budget == 800.0


def test_time_to_threshold_at_the_last_evaluation_is_not_censored(scratch: Curve) -> None:
    assert time_to_threshold(scratch, 1.0).censored == (False, True)


def test_moving_average_ignores_a_lucky_evaluation_and_reports_its_newest_step() -> None:
    curve = Curve([0, 10, 20, 30, 40], [[0.0, 1.0, 0.0, 1.0, 1.0]])

    assert time_to_threshold(curve, 1.0, window=1).steps == (10.0,)
    assert time_to_threshold(curve, 1.0, window=2).steps == (40.0,)
    assert time_to_threshold(curve, 0.5, window=2).steps == (10.0,)


def test_moving_average_of_equal_scores_reaches_them_despite_rounding() -> None:
    curve = Curve([0, 1, 2], [[0.1, 0.1, 0.1]])

    assert time_to_threshold(curve, 0.1, window=3).num_censored == 0


@pytest.mark.parametrize(("threshold", "window"), [(0.5, 0), (0.5, 6), (float("nan"), 1)])
def test_time_to_threshold_refuses_what_cannot_be_reached(
    transfer: Curve, threshold: float, window: int
) -> None:
    with pytest.raises(EvaluationError):
        time_to_threshold(transfer, threshold, window)


def test_area_is_the_mean_score_over_the_steps(scratch: Curve) -> None:
    # Seed 0: trapezoids 20, 60, 120, 180 over 800 steps.
    np.testing.assert_allclose(area_under_curve(scratch), [380 / 800, 180 / 800])
    np.testing.assert_allclose(area_under_curve(scratch, budget=400), [80 / 400, 20 / 400])


def test_area_of_a_single_evaluation_is_refused() -> None:
    with pytest.raises(EvaluationError, match="two evaluations"):
        area_under_curve(Curve([0], [[1.0]]))


@given(st.floats(-5, 5), st.integers(2, 30))
def test_area_of_a_constant_curve_is_the_constant(level: float, num: int) -> None:
    curve = Curve(np.arange(num) ** 2, np.full((3, num), level))

    np.testing.assert_allclose(area_under_curve(curve), level, atol=1e-9)


def test_transfer_ratio_compares_both_over_the_same_budget(transfer: Curve, scratch: Curve) -> None:
    # Transfer over 400 steps: (310 + 255) / 2 / 400; scratch over 400: (80 + 20) / 2 / 400.
    assert common_budget(transfer, scratch) == 400.0
    assert transfer_ratio(transfer, scratch, 0.0, 1.0) == pytest.approx((282.5 - 50) / 50)


def test_transfer_ratio_does_not_depend_on_the_unit_of_the_return(
    transfer: Curve, scratch: Curve
) -> None:
    scaled = [Curve(c.steps, 1000 * c.scores - 300) for c in (transfer, scratch)]

    assert transfer_ratio(*scaled, low=-300.0, high=700.0) == pytest.approx(
        transfer_ratio(transfer, scratch, 0.0, 1.0)
    )


def test_transfer_ratio_is_undefined_when_scratch_learns_nothing(transfer: Curve) -> None:
    flat = Curve(transfer.steps, np.zeros((2, 5)))

    assert transfer_ratio(transfer, flat, 0.0, 1.0) is None


def test_transfer_ratio_refuses_an_empty_range(transfer: Curve, scratch: Curve) -> None:
    with pytest.raises(EvaluationError, match="low < high"):
        transfer_ratio(transfer, scratch, 1.0, 1.0)


def test_zero_shot_gap_is_the_share_lost() -> None:
    assert zero_shot_gap(200.0, 50.0) == pytest.approx(0.75)
    # A loss stays positive for negative returns, such as costs.
    assert zero_shot_gap(-100.0, -150.0) == pytest.approx(0.5)
    assert zero_shot_gap(0.0, -1.0) is None


def test_regret_is_zero_for_as_good_and_one_for_as_bad_as_random() -> None:
    assert regret(90.0, 90.0, 10.0) == 0.0
    assert regret(90.0, 10.0, 10.0) == 1.0
    assert regret(90.0, 50.0, 10.0) == pytest.approx(0.5)
    assert regret(10.0, 50.0, 10.0) is None


def test_normalized_score_maps_random_to_zero_and_expert_to_one_hundred() -> None:
    np.testing.assert_allclose(normalized_score([-26.3, 3234.3], -26.3, 3234.3), [0.0, 100.0])
    with pytest.raises(EvaluationError, match="empty"):
        normalized_score(1.0, 2.0, 2.0)

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simreal.errors import EvaluationError
from simreal.evaluation.statistics import (
    FloatArray,
    iqm,
    iqm_band,
    iqm_last_axis,
    paired_bootstrap_t,
    stratified_bootstrap,
    welch_interval,
    wilson_interval,
)
from simreal.evaluation.verdict import verdict


def mean_last_axis(values: FloatArray) -> FloatArray:
    return values.mean(axis=-1)


@pytest.mark.parametrize(
    ("successes", "trials", "confidence"),
    [(0, 1, 0.95), (1, 1, 0.95), (0, 200, 0.95), (200, 200, 0.95), (7, 10, 0.9), (190, 200, 0.99)],
)
def test_wilson_interval_equals_scipy(successes: int, trials: int, confidence: float) -> None:
    ours = wilson_interval(successes, trials, confidence)
    theirs = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")

    assert ours.estimate == successes / trials
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_interval_of_all_successes_is_known_by_hand() -> None:
    # With p = 1 the formula reduces to low = n / (n + z^2).
    interval = wilson_interval(200, 200)

    assert interval.low == pytest.approx(200 / (200 + 1.959964**2), abs=1e-6)
    assert interval.high == 1.0
    assert interval.method == "Wilson score"


@given(trials=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_interval_holds_the_rate_and_stays_inside_zero_and_one(
    trials: int, share: float
) -> None:
    successes = round(share * trials)
    interval = wilson_interval(successes, trials)

    assert 0.0 <= interval.low <= successes / trials <= interval.high <= 1.0
    assert interval.width > 0


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(EvaluationError, match="episode"):
        wilson_interval(successes, trials)


def test_iqm_of_eight_values_drops_two_on_each_side() -> None:
    assert iqm([100.0, 1.0, 3.0, 2.0, 4.0, 5.0, 6.0, -100.0]) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_iqm_of_five_seeds_is_the_mean_of_the_middle_three() -> None:
    assert iqm([0.0, 10.0, 20.0, 60.0, 1000.0]) == pytest.approx(30.0)


def test_iqm_of_three_values_is_their_mean() -> None:
    assert iqm([0.0, 0.0, 9.0]) == pytest.approx(3.0)


def test_iqm_last_axis_reduces_each_row() -> None:
    rows = np.array([[0.0, 10.0, 20.0, 60.0, 1000.0], [1.0, 1.0, 1.0, 1.0, 1.0]])

    np.testing.assert_allclose(iqm_last_axis(rows), [30.0, 1.0])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_iqm_lies_between_the_extremes_and_ignores_order(values: Any) -> None:
    result = iqm(values)

    assert min(values) - 1e-6 <= result <= max(values) + 1e-6
    assert result == pytest.approx(iqm(values[::-1]), abs=1e-6)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_iqm_refuses_nothing_and_values_that_are_not_finite(values: Any) -> None:
    with pytest.raises(EvaluationError):
        iqm(values)


def test_stratified_bootstrap_of_constant_strata_has_no_width() -> None:
    # Redrawing within a stratum cannot mix strata: each resample pools three 0s and three 10s.
    interval = stratified_bootstrap(np.array([[0.0] * 3, [10.0] * 3]), mean_last_axis, reps=200)

    assert (interval.low, interval.estimate, interval.high) == (5.0, 5.0, 5.0)


def test_bootstrap_of_one_pooled_stratum_would_mix_them() -> None:
    interval = stratified_bootstrap([0.0] * 3 + [10.0] * 3, mean_last_axis, reps=500)

    assert interval.low < 3.0
    assert interval.high > 7.0


def test_stratified_bootstrap_equals_scipy_for_one_stratum() -> None:
    values = np.random.default_rng(3).normal(size=30)
    ours = stratified_bootstrap(values, mean_last_axis, reps=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval

    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_stratified_bootstrap_accepts_strata_of_different_sizes() -> None:
    interval = stratified_bootstrap([[1.0, 2.0], [3.0, 4.0, 5.0]], mean_last_axis, reps=300)

    assert interval.estimate == pytest.approx(3.0)
    assert 2.0 <= interval.low <= 3.0 <= interval.high <= 4.0


def test_stratified_bootstrap_is_reproduced_by_its_seed_whatever_the_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).normal(size=(3, 5))
    first = stratified_bootstrap(values, seed=7)

    assert stratified_bootstrap(values, seed=7) == first
    assert stratified_bootstrap(values, seed=8) != first
    monkeypatch.setattr("simreal.evaluation.statistics._CHUNK_SIZE", 15 * 999)
    chunked = stratified_bootstrap(values, seed=7)
    assert chunked.low == pytest.approx(first.low, abs=0.05)


@pytest.mark.parametrize("values", [[], [[]], [[1.0], []], [[1.0, float("nan")]]])
def test_stratified_bootstrap_refuses_empty_or_broken_strata(values: Any) -> None:
    with pytest.raises(EvaluationError):
        stratified_bootstrap(values)


def test_iqm_band_equals_the_bootstrap_at_each_step() -> None:
    scores = np.random.default_rng(1).normal(size=(6, 3)) + np.array([0.0, 10.0, 20.0])
    center, low, high = iqm_band(scores, reps=20_000)
    alone = stratified_bootstrap(scores[:, 1], reps=20_000, seed=5)

    np.testing.assert_allclose(center, [iqm(column) for column in scores.T])
    assert (low[1], high[1]) == pytest.approx((alone.low, alone.high), abs=0.05)
    assert np.all((low < center) & (center < high))


def test_iqm_band_redraws_the_same_seeds_at_every_step() -> None:
    # Curves that differ by a constant have a band of constant width.
    offsets = np.array([[0.0], [1.0], [2.0], [4.0], [8.0]])
    _, low, high = iqm_band(offsets + np.arange(4.0))

    np.testing.assert_allclose(high - low, (high - low)[0])


def test_iqm_band_of_one_seed_has_no_width() -> None:
    center, low, high = iqm_band(np.array([[1.0, 2.0]]))

    np.testing.assert_array_equal([center, low, high], [[1.0, 2.0]] * 3)


def test_paired_bootstrap_t_is_deterministic_and_moves_with_the_data() -> None:
    differences = np.array([0.02, 0.11, 0.05, 0.08, 0.01])
    interval = paired_bootstrap_t(differences, seed=1)
    moved = paired_bootstrap_t(differences + 10.0, seed=1)

    assert interval == paired_bootstrap_t(differences, seed=1)
    assert interval.method == "paired bootstrap-t"
    assert interval.low < interval.estimate < interval.high
    assert moved.low == pytest.approx(interval.low + 10.0, abs=1e-9)
    assert moved.high == pytest.approx(interval.high + 10.0, abs=1e-9)


def test_paired_bootstrap_t_flips_its_sides_with_the_sign() -> None:
    differences = np.array([0.0, 0.1, 0.15, 0.9, 0.2])  # skewed to the right
    interval, mirrored = paired_bootstrap_t(differences), paired_bootstrap_t(-differences)

    assert mirrored.low == pytest.approx(-interval.high, abs=1e-9)
    assert mirrored.high == pytest.approx(-interval.low, abs=1e-9)
    # A long right tail of the data makes the mean uncertain upwards.
    assert interval.high - interval.estimate > interval.estimate - interval.low


def test_paired_bootstrap_t_of_equal_differences_is_their_value() -> None:
    interval = paired_bootstrap_t([0.3] * 5)

    assert (interval.low, interval.high) == (interval.estimate, interval.estimate)
    assert interval.estimate == pytest.approx(0.3)
    assert interval.method == "all differences equal"


def test_paired_bootstrap_t_of_tied_differences_is_students_interval() -> None:
    tied = [0.0, 0.0, 0.0, 0.0, 0.01]
    interval = paired_bootstrap_t(tied)
    theirs = stats.ttest_1samp(tied, 0.0).confidence_interval(0.95)

    assert interval.method == "paired Student t"
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_welch_interval_equals_scipy() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(1.0, 0.2, 5), rng.normal(0.5, 2.0, 8)
    ours = welch_interval(a, b, 0.9)
    theirs = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)

    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.estimate == pytest.approx(a.mean() - b.mean())


def test_welch_interval_without_spread_is_the_difference() -> None:
    interval = welch_interval([1.0, 1.0], [0.25, 0.25, 0.25])

    assert (interval.low, interval.high) == (0.75, 0.75)


def test_welch_interval_keeps_a_width_when_only_one_side_has_no_spread() -> None:
    assert welch_interval([1.0, 1.0, 1.0], [0.0, 0.5, 1.0]).width > 0.5


@pytest.mark.parametrize(
    "call", [lambda: paired_bootstrap_t([1.0]), lambda: welch_interval([1], [1, 2])]
)
def test_intervals_over_seeds_refuse_a_single_seed(call: Callable[[], object]) -> None:
    with pytest.raises(EvaluationError, match="at least 2 seeds"):
        call()


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_must_be_a_share(confidence: float) -> None:
    with pytest.raises(EvaluationError, match=r"0\.95"):
        wilson_interval(1, 2, confidence)


def test_too_few_resamples_are_refused() -> None:
    with pytest.raises(EvaluationError, match="10000"):
        paired_bootstrap_t([1.0, 2.0, 4.0], reps=10)


def test_five_seeds_raise_few_false_alarms_where_a_percentile_bootstrap_raises_many() -> None:
    rng = np.random.default_rng(2024)
    paired = unpaired = percentile = 0
    num_experiments = 500
    for _ in range(num_experiments):
        transfer, scratch = rng.normal(size=(2, 5))
        paired += verdict(transfer, scratch, paired=True).label != "undetermined"
        unpaired += verdict(transfer, scratch, paired=False).label != "undetermined"
        naive = stratified_bootstrap(transfer - scratch, mean_last_axis, reps=1000)
        percentile += not naive.low <= 0.0 <= naive.high

    assert paired / num_experiments <= 0.07
    assert unpaired / num_experiments <= 0.07
    assert percentile / num_experiments >= 0.10


def test_bootstrap_t_covers_the_mean_of_ten_skewed_differences_better_than_the_percentiles() -> (
    None
):
    rng = np.random.default_rng(11)
    studentized = percentile = 0
    num_experiments = 300
    for _ in range(num_experiments):
        sample = rng.exponential(size=10)
        inner = paired_bootstrap_t(sample, reps=1000)
        outer = stratified_bootstrap(sample, mean_last_axis, reps=1000)
        studentized += inner.low <= 1.0 <= inner.high
        percentile += outer.low <= 1.0 <= outer.high

    assert studentized / num_experiments >= 0.92
    assert percentile < studentized

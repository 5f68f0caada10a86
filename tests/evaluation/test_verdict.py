from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.errors import EvaluationError
from simreal.evaluation.verdict import verdict

SCRATCH = np.array([0.50, 0.52, 0.48, 0.51, 0.49])


@pytest.mark.parametrize("paired", [True, False])
def test_a_clear_gain_is_positive_and_a_clear_loss_negative(paired: bool) -> None:
    noise = np.array([0.01, -0.01, 0.02, 0.0, -0.015])
    gain = verdict(SCRATCH + 0.3 + noise, SCRATCH, paired=paired)
    loss = verdict(SCRATCH - 0.3 + noise, SCRATCH, paired=paired)

    assert gain.label == "positive transfer"
    assert gain.difference == pytest.approx(0.301)
    assert gain.low > 0
    assert gain.num_seeds == 5
    assert loss.label == "negative transfer"
    assert loss.high < 0


def test_practically_equal_scores_are_no_transfer() -> None:
    noise = np.array([0.01, -0.01, 0.005, -0.004, 0.0])
    result = verdict(SCRATCH + noise, SCRATCH, paired=True, margin=0.05)

    assert result.label == "no transfer"
    assert -0.05 <= result.low <= 0 <= result.high <= 0.05


def test_the_same_scores_are_undetermined_for_a_margin_inside_the_interval() -> None:
    noise = np.array([0.01, -0.01, 0.005, -0.004, 0.0])
    result = verdict(SCRATCH + noise, SCRATCH, paired=True, margin=0.001)

    assert result.label == "undetermined"
    assert "loss and a gain" in result.reason


def test_noisy_scores_are_undetermined_rather_than_equal() -> None:
    result = verdict([0.1, 0.9, 0.4, 0.8, 0.3], [0.5, 0.5, 0.5, 0.5, 0.5], paired=True)

    assert result.label == "undetermined"


def test_four_seeds_are_undetermined_however_large_the_difference() -> None:
    result = verdict([1.0, 0.99, 0.98, 1.0], [0.0, 0.01, 0.0, 0.0], paired=True)

    assert result.label == "undetermined"
    assert "at least 5" in result.reason
    assert result.low > 0.9


def test_one_seed_has_a_difference_and_no_interval() -> None:
    result = verdict([0.9], [0.2], paired=True)

    assert (result.label, result.low, result.high) == ("undetermined", None, None)
    assert result.difference == pytest.approx(0.7)


def test_a_gain_below_the_smallest_effect_is_not_called_a_gain() -> None:
    noise = np.array([0.001, -0.001, 0.002, 0.0, -0.001])
    scores = SCRATCH + 0.02 + noise

    assert verdict(scores, SCRATCH, paired=True).label == "positive transfer"
    assert verdict(scores, SCRATCH, paired=True, min_effect=0.05).label == "no transfer"


def test_pairing_removes_what_both_sides_share() -> None:
    hardness = np.array([0.0, 0.2, 0.4, 0.6, 0.8])  # seed by seed
    gain = hardness + np.array([0.05, 0.06, 0.055, 0.045, 0.05])

    assert verdict(gain, hardness, paired=True).label == "positive transfer"
    assert verdict(gain, hardness, paired=False).label == "undetermined"


def test_perfect_scores_on_both_sides_are_no_transfer() -> None:
    result = verdict([1.0] * 5, [1.0] * 5, paired=True)

    assert (result.label, result.low, result.high) == ("no transfer", 0.0, 0.0)


@pytest.mark.parametrize("paired", [True, False])
def test_rounding_of_means_is_not_a_difference(paired: bool) -> None:
    result = verdict([0.1 + 0.2] * 5, [0.3] * 5, paired=paired)

    assert result.difference != 0.0
    assert result.label == "no transfer"


@given(
    st.lists(st.floats(0, 1), min_size=5, max_size=8),
    st.lists(st.floats(0, 1), min_size=5, max_size=8),
)
def test_swapping_the_sides_swaps_the_label(a: list[float], b: list[float]) -> None:
    swap = {"positive transfer": "negative transfer", "negative transfer": "positive transfer"}
    forward, backward = verdict(a, b, paired=False), verdict(b, a, paired=False)

    assert backward.label == swap.get(forward.label, forward.label)
    assert forward.low <= forward.difference <= forward.high


def test_unequal_numbers_of_seeds_cannot_be_paired() -> None:
    with pytest.raises(EvaluationError, match="paired=False"):
        verdict([1.0] * 5, [1.0] * 6, paired=True)


@pytest.mark.parametrize("scores", [[], [[1.0, 2.0]], [1.0, float("nan")]])
def test_scores_must_be_one_finite_number_per_seed(scores: Any) -> None:
    with pytest.raises(EvaluationError, match="per seed"):
        verdict(scores, [1.0, 2.0], paired=False)


@pytest.mark.parametrize("sizes", [{"min_effect": -0.1}, {"margin": -0.1}])
def test_negative_sizes_are_refused(sizes: dict[str, float]) -> None:
    with pytest.raises(EvaluationError, match="negative"):
        verdict(SCRATCH, SCRATCH, paired=True, **sizes)

import numpy as np
import pytest

from simreal.errors import EvaluationError
from simreal.evaluation.comparison import compare_curves
from simreal.evaluation.transfer_metrics import Curve

STEPS = np.arange(0, 500, 100)
RISING = np.array([0.0, 0.1, 0.2, 0.5, 0.9])
SCRATCH = Curve(STEPS * 10, np.tile(RISING, (5, 1)))


def test_every_number_of_a_comparison() -> None:
    early = Curve(STEPS, np.tile([0.5, 0.9, 1.0, 1.0, 1.0], (5, 1)))
    found = compare_curves("fine-tuned", early, SCRATCH, 0.9, paired=True)

    assert found.name == "fine-tuned"
    assert found.jumpstart == pytest.approx(0.5)
    assert found.time_to_threshold.restricted_mean == 100.0
    assert found.scratch_time_to_threshold.restricted_mean == 4000.0
    assert found.speedup == pytest.approx(40.0)
    assert (found.asymptote, found.scratch_asymptote) == pytest.approx((1.0, 0.9))
    # Over 400 steps: (0.7 + 0.95 + 1 + 1) / 4 = 0.9125; scratch rises from 0 to 0.04 there: 0.02.
    assert found.transfer_ratio == pytest.approx((0.9125 - 0.02) / 0.02)
    assert found.verdict.label == "positive transfer"
    assert found.verdict.difference == pytest.approx(0.1)


def test_no_speedup_without_reaching_the_threshold_or_when_it_holds_from_the_start() -> None:
    never = Curve(STEPS, np.tile([0.5] * 5, (5, 1)))
    always = Curve(STEPS, np.ones((5, 5)))

    assert compare_curves("m", never, SCRATCH, 0.9, paired=True).speedup is None
    assert compare_curves("m", always, SCRATCH, 0.9, paired=True).speedup is None
    assert (
        compare_curves("m", never, SCRATCH, 0.9, paired=True).verdict.label == "negative transfer"
    )


def test_a_single_evaluation_has_no_area() -> None:
    zero_shot = Curve([0], np.full((5, 1), 0.4))
    found = compare_curves("zero-shot", zero_shot, SCRATCH, 0.9, paired=True)

    assert found.transfer_ratio is None
    assert found.time_to_threshold.num_censored == 5


def test_sizes_and_windows_are_passed_on() -> None:
    better = Curve(STEPS, np.tile(RISING + 0.02, (5, 1)))
    found = compare_curves("m", better, SCRATCH, 0.5, paired=True, k=2, window=2, min_effect=0.05)

    assert found.verdict.label == "no transfer"
    assert found.jumpstart == pytest.approx(0.02)
    assert found.time_to_threshold.steps == (400.0,) * 5


def test_a_pairing_of_unequal_seeds_is_refused() -> None:
    with pytest.raises(EvaluationError, match="paired=False"):
        compare_curves("m", Curve(STEPS, np.ones((3, 5))), SCRATCH, 0.9, paired=True)

"""The one sentence at the end of a transfer experiment, and the rule that it is decided by.

The rule is written down because it is what a claim rests on. A difference counts as positive or
negative only if its confidence interval says so. The absence of a difference is a claim as well,
and needs evidence of its own: the interval has to lie within a margin that is too small to matter.
Everything else is 'undetermined', which asks for more seeds and is not a failure of the method.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from simreal.errors import EvaluationError
from simreal.evaluation.statistics import Interval, paired_bootstrap_t, welch_interval

Label = Literal["negative transfer", "no transfer", "positive transfer", "undetermined"]

MIN_SEEDS = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold whether transfer helped, and by how much.

    Attributes:
        label: The conclusion.
        difference: Mean score with transfer minus mean score without.
        low: Lower end of the interval of the difference; None with a single seed.
        high: Upper end; None with a single seed.
        confidence: Nominal coverage of the interval.
        num_seeds: Seeds per side; the smaller number if they differ.
        method: How the interval was computed.
        reason: Why this label, in words.
    """

    label: Label
    difference: float
    low: float | None
    high: float | None
    confidence: float
    num_seeds: int
    method: str
    reason: str


def verdict(
    transfer_scores: npt.ArrayLike,
    scratch_scores: npt.ArrayLike,
    paired: bool,
    min_effect: float = 0.0,
    margin: float = 0.05,
    confidence: float = 0.95,
    seed: int = 0,
) -> Verdict:
    """Decide whether transfer helped, from one score per training seed on each side.

    With the interval `[low, high]` of the mean difference, checked in this order:

    1. fewer than five seeds on a side: undetermined;
    2. `low > min_effect`: positive transfer; `high < -min_effect`: negative transfer;
    3. `-margin <= low` and `high <= margin`: no transfer (the two are practically equal);
    4. else undetermined: the interval still holds a relevant gain, a relevant loss, or both.

    Because a two-sided interval is compared with the margin, 'no transfer' is wrong in at most
    half of `1 - confidence` of the cases in which the true difference exceeds the margin.

    Args:
        transfer_scores: `(n,)` final scores with transfer, higher is better.
        scratch_scores: `(m,)` final scores without.
        paired: Whether entry i of both belongs to the same seed and the same evaluation episodes.
            Then n must equal m and the bootstrap-t interval of the differences is used; otherwise
            Welch's interval.
        min_effect: Smallest difference worth calling a gain or a loss, in the unit of the scores.
        margin: Largest difference that counts as none, in the unit of the scores. The default is
            five percentage points of a success rate; give one for returns.
        confidence: Nominal coverage of the interval.
        seed: Seed of the bootstrap.

    Returns:
        The verdict, with the numbers that it rests on.

    Raises:
        EvaluationError: If scores are missing, not finite, or cannot be paired.
    """
    if min_effect < 0 or margin < 0:
        raise EvaluationError(
            f"min_effect={min_effect:g} and margin={margin:g} must not be negative. "
            "Give them as sizes, in the unit of the scores."
        )
    transfer, scratch = _scores(transfer_scores), _scores(scratch_scores)
    if paired and len(transfer) != len(scratch):
        raise EvaluationError(
            f"{len(transfer)} and {len(scratch)} scores cannot be paired. "
            "Evaluate both for the same seeds, or compare with paired=False."
        )
    num_seeds = min(len(transfer), len(scratch))
    difference = float(transfer.mean() - scratch.mean())
    if num_seeds < 2:
        reason = f"at least {MIN_SEEDS} seeds are needed"
        return Verdict(
            "undetermined", difference, None, None, confidence, num_seeds, "none", reason
        )
    if paired:
        interval = paired_bootstrap_t(transfer - scratch, confidence=confidence, seed=seed)
    else:
        interval = welch_interval(transfer, scratch, confidence)
    # Scores that differ only by the rounding of their means must not count as a difference.
    rounding = 1e-12 * float(np.abs(np.concatenate([transfer, scratch])).max())
    label, reason = _decide(interval, num_seeds, min_effect, margin, rounding)
    return Verdict(
        label,
        difference,
        interval.low,
        interval.high,
        confidence,
        num_seeds,
        interval.method,
        reason,
    )


def _decide(
    interval: Interval, num_seeds: int, min_effect: float, margin: float, rounding: float
) -> tuple[Label, str]:
    """Return the label of an interval and the reason for it."""
    if num_seeds < MIN_SEEDS:
        return "undetermined", f"at least {MIN_SEEDS} seeds are needed"
    if interval.low > min_effect + rounding:
        return "positive transfer", f"the whole interval lies above {min_effect:g}"
    if interval.high < -min_effect - rounding:
        return "negative transfer", f"the whole interval lies below {0.0 - min_effect:g}"
    margin += rounding
    if -margin <= interval.low and interval.high <= margin:
        return "no transfer", f"the whole interval lies within ±{margin:g}"
    held = [
        name
        for name, holds in (("loss", interval.low < -margin), ("gain", interval.high > margin))
        if holds
    ]
    return "undetermined", f"the interval still holds a relevant {' and a '.join(held)}; add seeds"


def _scores(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return one finite score per seed."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.all(np.isfinite(scores)):
        raise EvaluationError(
            f"a verdict needs one finite score per seed, got shape {scores.shape}: {scores}. "
            "Average the episodes of each seed first."
        )
    return scores

"""Everything that one pair of learning curves says about transfer, computed with one set of rules.

The command line, the report and the benchmarks all take their numbers from here, so that a table
cannot mix a jumpstart over three evaluations with one over ten.
"""

from dataclasses import dataclass

from simreal.evaluation.transfer_metrics import (
    Curve,
    TimeToThreshold,
    asymptote,
    final_scores,
    jumpstart,
    time_to_threshold,
    transfer_ratio,
)
from simreal.evaluation.verdict import Verdict, verdict


@dataclass(frozen=True, slots=True)
class CurveComparison:
    """Hold the transfer metrics of one method against training from scratch.

    Attributes:
        name: The method.
        jumpstart: Advantage over the first evaluations.
        time_to_threshold: Target steps that the method took.
        scratch_time_to_threshold: Target steps that scratch took.
        asymptote: Final score of the method.
        scratch_asymptote: Final score of scratch.
        transfer_ratio: Relative gain in area under the curve at equal budget; None if scratch
            learned nothing in it, or if the curve is a single evaluation.
        verdict: Whether the final scores differ.
    """

    name: str
    jumpstart: float
    time_to_threshold: TimeToThreshold
    scratch_time_to_threshold: TimeToThreshold
    asymptote: float
    scratch_asymptote: float
    transfer_ratio: float | None
    verdict: Verdict

    @property
    def speedup(self) -> float | None:
        """Return how many times fewer target steps the method took to the threshold.

        None when a seed of the method never got there, or when it was there at step 0. When seeds
        of scratch never got there, their budget counts, and the value is a lower bound.
        """
        steps = self.time_to_threshold
        if steps.num_censored or steps.restricted_mean == 0:
            return None
        return self.scratch_time_to_threshold.restricted_mean / steps.restricted_mean


def compare_curves(
    name: str,
    transfer: Curve,
    scratch: Curve,
    threshold: float,
    *,
    paired: bool,
    k: int = 1,
    window: int = 1,
    low: float = 0.0,
    high: float = 1.0,
    min_effect: float = 0.0,
    margin: float = 0.05,
) -> CurveComparison:
    """Compute the transfer metrics of one method against training from scratch.

    Args:
        name: The method.
        transfer: Its curve on the target.
        scratch: The curve of training on the target from the start.
        threshold: Score whose first crossing is timed.
        paired: Whether row i of both curves belongs to the same seed.
        k: Evaluations that the jumpstart averages over.
        window: Evaluations that the moving average of the time to threshold covers.
        low: Score that counts as 0 in the transfer ratio.
        high: Score that counts as 1 in the transfer ratio.
        min_effect: Smallest difference worth calling a gain or a loss.
        margin: Largest difference that counts as none.

    Returns:
        The metrics.

    Raises:
        EvaluationError: If the curves cannot be compared.
    """
    single = min(len(transfer.steps), len(scratch.steps)) < 2
    return CurveComparison(
        name=name,
        jumpstart=jumpstart(transfer, scratch, k),
        time_to_threshold=time_to_threshold(transfer, threshold, window),
        scratch_time_to_threshold=time_to_threshold(scratch, threshold, window),
        asymptote=asymptote(transfer),
        scratch_asymptote=asymptote(scratch),
        transfer_ratio=None if single else transfer_ratio(transfer, scratch, low, high),
        verdict=verdict(final_scores(transfer), final_scores(scratch), paired, min_effect, margin),
    )

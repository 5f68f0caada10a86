"""What transfer bought: numbers that compare learning curves on the target with and without it.

A single final score hides the two things that transfer is for, a better start and fewer target
steps, and hides its one risk, a worse end. This module defines each number once, with the same
target budget for both sides and per training seed, so that an interval over seeds can be put on it.

Definitions follow Taylor and Stone (2009), "Transfer Learning for Reinforcement Learning Domains".
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simreal.errors import EvaluationError
from simreal.evaluation.statistics import FloatArray, iqm


@dataclass(frozen=True, eq=False)
class Curve:
    """Hold a score on the target against target steps, for several training seeds.

    The first evaluation belongs at step 0: it is what zero-shot transfer gives.

    Attributes:
        steps: `(T,)` environment steps taken on the target, strictly increasing.
        scores: `(S, T)` success rate or return of each seed at each of these steps.
    """

    steps: FloatArray
    scores: FloatArray

    def __post_init__(self) -> None:
        """Copy both arrays as read-only float64 and check them.

        Raises:
            EvaluationError: If shapes disagree, steps do not increase, or a value is not finite.
        """
        for name in ("steps", "scores"):
            array = np.array(getattr(self, name), dtype=np.float64)
            if not np.all(np.isfinite(array)):
                raise EvaluationError(
                    f"curve {name} hold a value that is not finite. "
                    "Cut the curve, or evaluate the missing checkpoint."
                )
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.steps.ndim != 1 or self.scores.shape != (self.num_seeds, len(self.steps)):
            raise EvaluationError(
                f"a curve needs steps (T,) and scores (S, T), got {self.steps.shape} and "
                f"{self.scores.shape}. Stack one row of scores per seed."
            )
        if self.scores.size == 0:
            raise EvaluationError("a curve needs at least one seed and one evaluation, got none.")
        if self.steps[0] < 0 or np.any(np.diff(self.steps) <= 0):
            raise EvaluationError(
                f"curve steps must be non-negative and strictly increasing, got {self.steps}."
            )

    @property
    def num_seeds(self) -> int:
        """Return the number of training seeds S."""
        return len(self.scores) if self.scores.ndim == 2 else -1

    @property
    def budget(self) -> float:
        """Return the last step [environment steps]."""
        return float(self.steps[-1])

    def until(self, budget: float) -> "Curve":
        """Return the curve cut at a budget, with the score there interpolated.

        Args:
            budget: Target steps, between the first and the last step of the curve.

        Returns:
            A curve that ends exactly at the budget.

        Raises:
            EvaluationError: If the curve does not reach that far.
        """
        if not self.steps[0] <= budget <= self.budget:
            raise EvaluationError(
                f"budget {budget:g} lies outside the curve, which covers {self.steps[0]:g} to "
                f"{self.budget:g} steps. Extrapolation is not a measurement: lower the budget."
            )
        kept = self.steps < budget
        last = [np.interp(budget, self.steps, row) for row in self.scores]
        steps = np.append(self.steps[kept], budget)
        return Curve(steps, np.column_stack([self.scores[:, kept], last]))


@dataclass(frozen=True, slots=True)
class TimeToThreshold:
    """Hold how many target steps each seed took to reach a score.

    Attributes:
        steps: One entry per seed; a seed that never got there holds the budget.
        censored: One entry per seed: True where it never got there.
        threshold: The score to reach.
        budget: Target steps after which the search ended.
    """

    steps: tuple[float, ...]
    censored: tuple[bool, ...]
    threshold: float
    budget: float

    @property
    def restricted_mean(self) -> float:
        """Return the mean of the steps, where a censored seed counts with the budget."""
        return float(np.mean(self.steps))

    @property
    def num_censored(self) -> int:
        """Return how many seeds never reached the threshold."""
        return sum(self.censored)


def initial_scores(curve: Curve, k: int = 1) -> FloatArray:
    """Return each seed's mean score over the first evaluations.

    Args:
        curve: The learning curve.
        k: Number of evaluations, between 1 and T.

    Returns:
        `(S,)` scores.

    Raises:
        EvaluationError: If the curve has fewer evaluations.
    """
    if not 1 <= k <= len(curve.steps):
        raise EvaluationError(
            f"cannot average the first {k} evaluations of a curve of {len(curve.steps)}. "
            f"Allowed: 1 to {len(curve.steps)}."
        )
    return np.asarray(curve.scores[:, :k].mean(axis=1), dtype=np.float64)


def final_scores(curve: Curve, fraction: float = 0.1) -> FloatArray:
    """Return each seed's interquartile mean over the last part of its evaluations.

    Args:
        curve: The learning curve.
        fraction: Share of the evaluations; at least one evaluation is taken.

    Returns:
        `(S,)` scores.

    Raises:
        EvaluationError: If the fraction is not in (0, 1].
    """
    return np.array([iqm(row) for row in _tail(curve, fraction)])


def jumpstart(transfer: Curve, scratch: Curve, k: int = 1) -> float:
    """Return the advantage at the start: mean of the first evaluations, transfer minus scratch.

    Args:
        transfer: Curve with transfer.
        scratch: Curve without.
        k: Number of evaluations to average on each side.

    Returns:
        The difference, in the unit of the scores.
    """
    return float(initial_scores(transfer, k).mean() - initial_scores(scratch, k).mean())


def asymptote(curve: Curve, fraction: float = 0.1) -> float:
    """Return the final performance: the interquartile mean of the last evaluations of all seeds.

    Args:
        curve: The learning curve.
        fraction: Share of the evaluations that counts as the end.

    Returns:
        The score.

    Raises:
        EvaluationError: If the fraction is not in (0, 1].
    """
    return iqm(_tail(curve, fraction))


def time_to_threshold(curve: Curve, threshold: float, window: int = 1) -> TimeToThreshold:
    """Return when each seed's moving average first reaches a score.

    The average is over the last `window` evaluations and exists only once there are that many; the
    step reported is that of the newest evaluation in it, which can only overstate the cost.

    Args:
        curve: The learning curve.
        threshold: The score to reach, in the unit of the scores.
        window: Number of evaluations to average, between 1 and T.

    Returns:
        Steps per seed, censored at the end of the curve.

    Raises:
        EvaluationError: If the window does not fit, or the threshold is not finite.
    """
    if not 1 <= window <= len(curve.steps):
        raise EvaluationError(
            f"a moving average over {window} evaluations does not fit a curve of "
            f"{len(curve.steps)}. Allowed: 1 to {len(curve.steps)}."
        )
    if not np.isfinite(threshold):
        raise EvaluationError(f"threshold {threshold} is not finite. Give a score to reach.")
    views = np.lib.stride_tricks.sliding_window_view(curve.scores, window, axis=1)
    # Averages of equal scores may fall short of them by rounding; that must not censor a seed.
    slack = 1e-12 * max(1.0, abs(threshold))
    reached = views.mean(axis=-1) >= threshold - slack  # (S, T - window + 1)
    censored = ~reached.any(axis=1)
    first = np.where(censored, -1, reached.argmax(axis=1) + window - 1)
    steps = np.where(censored, curve.budget, curve.steps[first])
    return TimeToThreshold(
        tuple(float(s) for s in steps),
        tuple(bool(c) for c in censored),
        float(threshold),
        curve.budget,
    )


def area_under_curve(curve: Curve, budget: float | None = None) -> FloatArray:
    """Return each seed's score averaged over the target steps (trapezoidal rule).

    Dividing by the span keeps the unit of the scores, so that it reads as the mean performance
    while learning.

    Args:
        curve: The learning curve, of at least two evaluations.
        budget: Where to stop [target steps]; the end of the curve if not given.

    Returns:
        `(S,)` mean scores.

    Raises:
        EvaluationError: If the curve spans no steps, or ends before the budget.
    """
    cut = curve if budget is None else curve.until(budget)
    span = cut.budget - float(cut.steps[0])
    if span <= 0:
        raise EvaluationError(
            f"the curve has only the step {cut.budget:g}; an area needs two evaluations. "
            "Evaluate more often, or raise the budget."
        )
    return np.asarray(np.trapezoid(cut.scores, cut.steps, axis=1) / span, dtype=np.float64)


def common_budget(transfer: Curve, scratch: Curve) -> float:
    """Return the largest number of target steps that both curves cover."""
    return min(transfer.budget, scratch.budget)


def transfer_ratio(transfer: Curve, scratch: Curve, low: float, high: float) -> float | None:
    """Return the relative gain in area under the curve, at equal target budget.

    Scores are normalized to `(score - low) / (high - low)` first; a ratio of raw returns would
    depend on where their zero happens to lie.

    Args:
        transfer: Curve with transfer.
        scratch: Curve without.
        low: Score that counts as 0, for instance that of random actions.
        high: Score that counts as 1, for instance that of an expert.

    Returns:
        `(A - B) / B` of the mean areas, or None where the area of scratch is not above zero, so
        that no ratio is defined.

    Raises:
        EvaluationError: If the range is empty.
    """
    if not high > low:
        raise EvaluationError(
            f"a score range needs low < high, got low={low:g} and high={high:g}. "
            "Use 0 and 1 for success rates."
        )
    budget = common_budget(transfer, scratch)
    with_transfer = (float(area_under_curve(transfer, budget).mean()) - low) / (high - low)
    without = (float(area_under_curve(scratch, budget).mean()) - low) / (high - low)
    return (with_transfer - without) / without if without > 0 else None


def zero_shot_gap(source_score: float, target_score: float) -> float | None:
    """Return which share of the source performance is lost on the target without adaptation.

    Args:
        source_score: Score of the policy where it was trained.
        target_score: Score of the same policy on the target.

    Returns:
        `(source - target) / |source|`, positive for a loss; None if the source score is zero.
    """
    if source_score == 0:
        return None
    return (source_score - target_score) / abs(source_score)


def regret(target_score: float, transferred_score: float, random_score: float) -> float | None:
    """Return how far a transferred policy stays behind one trained on the target.

    Args:
        target_score: Score on the target of a policy trained there.
        transferred_score: Score on the target of the transferred policy.
        random_score: Score on the target of random actions.

    Returns:
        0 for as good as trained there, 1 for as bad as random; None unless training on the target
        beats random actions.
    """
    reach = target_score - random_score
    return (target_score - transferred_score) / reach if reach > 0 else None


def normalized_score(score: npt.ArrayLike, random_score: float, expert_score: float) -> FloatArray:
    """Return scores on the scale where random actions give 0 and an expert gives 100.

    Args:
        score: Scores of any shape.
        random_score: Score of random actions.
        expert_score: Score of an expert; must differ from `random_score`.

    Returns:
        Normalized scores of the same shape.

    Raises:
        EvaluationError: If both reference scores are equal.
    """
    if expert_score == random_score:
        raise EvaluationError(
            f"random and expert score are both {expert_score:g}; the scale between them is empty. "
            "Measure both references."
        )
    scores = np.asarray(score, dtype=np.float64)
    return 100.0 * (scores - random_score) / (expert_score - random_score)


def _tail(curve: Curve, fraction: float) -> FloatArray:
    """Return `(S, n)`, the scores of the last share of the evaluations, at least one."""
    if not 0 < fraction <= 1:
        raise EvaluationError(
            f"fraction {fraction} of a curve is not in (0, 1]. Use 0.1 for its last tenth."
        )
    # A tenth of 20 evaluations is 2, not the 3 that rounding up 2.0000000000000004 would give.
    num = max(1, int(np.ceil(round(fraction * len(curve.steps), 9))))
    return curve.scores[:, -num:]

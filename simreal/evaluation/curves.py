"""Learning curves on the target, put together from what a run measured.

A run's own evaluations are few and of few episodes, since each costs target steps. The two ends of
a curve are therefore test episodes: those of the policy before its first step on the target, which
cost nothing because nothing is chosen by them, and those of the policy that was kept.
"""

from collections.abc import Sequence

import numpy as np

from simreal.errors import EvaluationError
from simreal.evaluation.transfer_metrics import Curve

Point = tuple[float, float]
"""Target steps so far, those of evaluations included, and the score there."""


def target_curve(
    initial: Sequence[float | None],
    inner: Sequence[Sequence[Point]],
    final: Sequence[Point],
) -> Curve:
    """Return the score on the target against all target steps, one row per seed.

    Seeds that were evaluated more often are cut to what all of them have.

    Args:
        initial: Test score of each seed before the first step (S,); None where it was not
            measured, and then the curve begins at the first evaluation of all seeds.
        inner: Evaluations of each seed on the way (S, any number), in order.
        final: Total steps and test score of each seed's kept policy (S,).

    Raises:
        EvaluationError: The lists are of different lengths, or there are no seeds.
    """
    if not len(initial) == len(inner) == len(final) or not final:
        raise EvaluationError(
            f"a curve needs as many initial as inner and final scores, got {len(initial)}, "
            f"{len(inner)} and {len(final)}. Give one of each per seed."
        )
    end = max(steps for steps, _ in final)
    shared = min(len(points) for points in inner)
    steps = [s for s, _ in inner[0][:shared] if 0 < s < end]
    scores = np.array([[score for _, score in points[: len(steps)]] for points in inner])
    scores = scores.reshape(len(inner), len(steps))
    last = np.array([[score] for _, score in final])
    if all(score is not None for score in initial):
        first = np.array([[float(score or 0.0)] for score in initial])
        return Curve(np.array([0.0, *steps, end]), np.hstack([first, scores, last]))
    return Curve(np.array([*steps, end]), np.hstack([scores, last]))

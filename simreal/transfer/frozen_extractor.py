"""Frozen feature extractor: keep the source's features, learn a new head on the target.

The features, statistics of the normalizer included, stay what the source domain taught; few
parameters are left to learn, so little target data is needed, and the features cannot be destroyed.
The critic is warmed up before the actor moves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from simreal.learning.trainer import TrainingPlan
from simreal.transfer.base import TransferMethod, TransferProblem, TransferResult, train_on_target
from simreal.transfer.fine_tune import two_phases, with_overrides
from simreal.transfer.warm_start import warm_start


@dataclass(frozen=True)
class FrozenExtractor(TransferMethod):
    """Train the heads of the source policy on the target, its extractors frozen.

    Attributes:
        plan: Length and watching; its phases are set by the method.
        warm_up_steps: Environment steps in which only the critic learns.
        action_std: Standard deviation of the actions to begin with; the source's if None.
        new_head: Whether the actor's head begins at random instead of with the source's.
        overrides: Settings of the algorithm that differ from the source's.
        learning_rates: Part or pattern to a learning rate of its own.
    """

    plan: TrainingPlan
    warm_up_steps: int = 16_384
    action_std: float | None = None
    new_head: bool = True
    overrides: Mapping[str, float] = field(default_factory=dict)
    learning_rates: Mapping[str, float] = field(default_factory=dict)

    name = "frozen_extractor"

    def run(self, problem: TransferProblem) -> TransferResult:
        """Freeze the extractors, warm up the critic, then train the heads.

        Args:
            problem: What to transfer.
        """
        frozen = ("*.extractor", "*.normalizer")
        phases = two_phases(self.warm_up_steps, self.plan.num_steps, frozen, self.learning_rates)
        return train_on_target(
            self,
            problem,
            with_overrides(problem.settings, self.overrides),
            replace(self.plan, phases=phases),
            warm_start(
                problem.source(self.name),
                without=("actor.head",) if self.new_head else (),
                action_std=self.action_std,
            ),
        )

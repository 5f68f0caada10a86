"""Scratch: train on the target alone. What transfer is measured against."""

from dataclasses import dataclass

from simreal.learning.trainer import TrainingPlan
from simreal.transfer.base import TransferMethod, TransferProblem, TransferResult, train_on_target


@dataclass(frozen=True)
class Scratch(TransferMethod):
    """Train a new policy on the target.

    Attributes:
        plan: Length and watching.
    """

    plan: TrainingPlan

    name = "scratch"
    needs_source = False

    def run(self, problem: TransferProblem) -> TransferResult:
        """Train from random parameters.

        Args:
            problem: What to transfer; its source policy is not used.
        """
        return train_on_target(self, problem, problem.settings, self.plan)

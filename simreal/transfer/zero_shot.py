"""Zero-shot: the source policy as it is. The baseline that every other method has to beat."""

from dataclasses import dataclass

from simreal.transfer.base import TransferMethod, TransferProblem, TransferResult


@dataclass(frozen=True)
class ZeroShot(TransferMethod):
    """Take the source policy without a single step on the target."""

    name = "zero_shot"
    needs_target_data = False

    def run(self, problem: TransferProblem) -> TransferResult:
        """Return the source policy.

        Args:
            problem: What to transfer.
        """
        state = problem.source(self.name)
        return TransferResult(
            method=self.name,
            state=state,
            initial=state,
            curve=(),
            train_steps=0,
            eval_steps=0,
            kept_at=0,
            settings=problem.settings,
        )

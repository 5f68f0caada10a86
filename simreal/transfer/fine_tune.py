"""Fine-tuning: go on training the source policy on the target, critic first.

The value function of the source is wrong on the target, and a policy that follows it forgets what
it could do before the values recover. So the actor is held until the critic has been fitted to the
target (the warm-up that mjlab ships in PR #1174), the action noise begins small, and each part may
have a learning rate of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from simreal.errors import ConfigError, nearest
from simreal.learning.algorithms import AlgorithmSettings
from simreal.learning.trainer import Phase, TrainingPlan
from simreal.transfer.base import TransferMethod, TransferProblem, TransferResult, train_on_target
from simreal.transfer.warm_start import warm_start


@dataclass(frozen=True)
class FineTune(TransferMethod):
    """Train all parts of the source policy on the target.

    Attributes:
        plan: Length and watching; its phases are set by the method.
        warm_up_steps: Environment steps in which only the critic learns.
        action_std: Standard deviation of the actions to begin with; the source's if None.
        new_critic: Whether the critic begins anew instead of with the source's.
        overrides: Settings of the algorithm that differ from the source's, for instance a smaller
            `learning_rate`.
        learning_rates: Part or pattern to a learning rate of its own.
        frozen_statistics: Whether the normalizer's statistics stay those of the source.
    """

    plan: TrainingPlan
    warm_up_steps: int = 16_384
    action_std: float | None = 0.1
    new_critic: bool = False
    overrides: Mapping[str, float] = field(default_factory=dict)
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    frozen_statistics: bool = True

    name = "fine_tune"

    def run(self, problem: TransferProblem) -> TransferResult:
        """Warm up the critic, then train everything.

        Args:
            problem: What to transfer.
        """
        frozen = ("*.normalizer",) if self.frozen_statistics else ()
        phases = two_phases(self.warm_up_steps, self.plan.num_steps, frozen, self.learning_rates)
        return train_on_target(
            self,
            problem,
            with_overrides(problem.settings, self.overrides),
            replace(self.plan, phases=phases),
            warm_start(
                problem.source(self.name),
                without=("critic.extractor", "critic.head") if self.new_critic else (),
                action_std=self.action_std,
            ),
        )


def two_phases(
    warm_up: int, total: int, frozen: tuple[str, ...], rates: Mapping[str, float]
) -> tuple[Phase, ...]:
    """Return a phase in which only the critic learns, and one for the rest.

    Args:
        warm_up: Steps of the first phase; 0 leaves it out.
        total: Steps of both.
        frozen: Parts that learn in neither.
        rates: Learning rates per part.

    Raises:
        ConfigError: The warm-up takes the whole training.
    """
    if not 0 <= warm_up < total:
        raise ConfigError(
            f"warm_up_steps is {warm_up}; 0 to less than plan.num_steps = {total} are needed"
        )
    rest = Phase(until=total, frozen=frozen, learning_rates=rates)
    if warm_up == 0:
        return (rest,)
    return (Phase(until=warm_up, frozen=("actor.*", *frozen), learning_rates=rates), rest)


def with_overrides(
    settings: AlgorithmSettings, overrides: Mapping[str, float]
) -> AlgorithmSettings:
    """Return settings with some numbers replaced.

    Args:
        settings: The algorithm.
        overrides: Name to number; whole numbers stay whole.

    Raises:
        ConfigError: The algorithm has no such number, or a whole number is needed.
    """
    present = {f.name: getattr(settings, f.name) for f in fields(settings)}
    # A setting that may also be absent (`final_learning_rate`) is a number, too.
    known = {k: v for k, v in present.items() if v is None or type(v) in (int, float)}
    changed: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in known:
            raise ConfigError(
                f"overrides: {type(settings).__name__} has no number '{name}'; allowed: "
                f"{', '.join(sorted(known))}.{nearest(name, known)}"
            )
        whole = isinstance(known[name], int)
        if whole and value != int(value):
            raise ConfigError(f"overrides: {name} is {value}; a whole number is needed")
        changed[name] = int(value) if whole else value
    return replace(settings, **changed)

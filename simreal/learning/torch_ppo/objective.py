"""PPO's objective over the minibatches of one epoch, and what is logged of it."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from simreal.learning.processes import Processes

STATISTICS = ("policy_loss", "value_loss", "entropy_loss", "clip_fraction", "approx_kl", "loss")


@dataclass(frozen=True, slots=True)
class Objective:
    """Hold the constants of the objective (Schulman et al. 2017, arXiv 1707.06347).

    Attributes:
        clip_range: Clipping of the probability ratio.
        clip_range_vf: Clipping of the value's change; none if None.
        ent_coef: Weight of the entropy bonus.
        vf_coef: Weight of the value loss.
        normalize: Whether advantages are normalized within a minibatch.
    """

    clip_range: float
    clip_range_vf: float | None
    ent_coef: float
    vf_coef: float
    normalize: bool


class Table:
    """Hold M minibatches of B transitions of one epoch, one minibatch a row.

    What concerns all minibatches alike is computed here at once; a learner only computes what
    depends on its present parameters, and writes it into the row of its minibatch.

    Attributes:
        order: Index of each transition in the flattened rollout (M, B).
        advantages: Normalized within their row (M, B).
        returns: (M, B).
        old_log_probs: (M, B).
        old_values: (M, B).
        log_ratios: Written by the learner: log probability minus the old one (M, B).
        errors: Written by the learner: predicted (and perhaps clipped) value minus return (M, B).
        entropies: Written by the learner: mean entropy (M,).
    """

    def __init__(
        self,
        columns: torch.Tensor,
        order: torch.Tensor,
        objective: Objective,
        processes: Processes,
    ) -> None:
        """Gather the columns and normalize the advantages.

        Args:
            columns: Advantages, returns, log probabilities and values (4, T * N).
            order: See `order`.
            objective: The constants.
            processes: Who trains; a minibatch is made of a row of each of them.
        """
        rows, width = order.shape
        self.order, self.objective, self._processes = order, objective, processes
        gathered = columns.index_select(1, order.reshape(-1)).view(4, rows, width)
        advantages, self.returns, self.old_log_probs, self.old_values = gathered.unbind(0)
        if objective.normalize and width * processes.size > 1:
            advantages = self._normalized(advantages)
        self.advantages = advantages
        self.log_ratios, self.errors = (
            torch.empty_like(self.returns),
            torch.empty_like(self.returns),
        )
        self.entropies = columns.new_empty(rows)

    def _normalized(self, advantages: torch.Tensor) -> torch.Tensor:
        processes = self._processes
        if processes.size == 1:
            std, mean = torch.std_mean(advantages, dim=1, keepdim=True)
            return (advantages - mean) / (std + 1e-8)
        mean, var = processes.moments(advantages, 1)
        number = advantages.shape[1] * processes.size
        std = torch.sqrt(var * (number / (number - 1)))
        return (advantages - mean) / (std + 1e-8)

    def clear(self, row: int) -> None:
        """Give the rows from one on, which no learner wrote, a value that is a number."""
        for tensor in (self.log_ratios, self.errors, self.entropies):
            tensor[row:] = 0.0

    def kl(self, row: int) -> torch.Tensor:
        """Return the approximate KL divergence of a minibatch over all processes ()."""
        log_ratio = self.log_ratios[row]
        divergence = (torch.expm1(log_ratio) - log_ratio).mean()
        self._processes.average(divergence)
        return divergence

    def statistics(self) -> torch.Tensor:
        """Return what `STATISTICS` names, per minibatch, averaged over the processes (M, 6).

        The KL divergence is Schulman's estimate of low variance (joschu.net/blog/kl-approx.html).
        """
        objective, limit = self.objective, self.objective.clip_range
        ratio = torch.exp(self.log_ratios)
        clipped = torch.clamp(ratio, 1.0 - limit, 1.0 + limit)
        policy_loss = -torch.minimum(self.advantages * ratio, self.advantages * clipped).mean(1)
        value_loss = self.errors.square().mean(1)
        clip_fraction = ((ratio - 1.0).abs() > limit).float().mean(1)
        approx_kl = (ratio - 1.0 - self.log_ratios).mean(1)
        loss = policy_loss + objective.vf_coef * value_loss - objective.ent_coef * self.entropies
        rows = (policy_loss, value_loss, -self.entropies, clip_fraction, approx_kl, loss)
        table = torch.stack(rows, dim=1)
        self._processes.average(table)
        return table


def gaussian_entropy(log_std_sum: Any, dim: int) -> Any:
    """Return the entropy of a diagonal Gaussian.

    Args:
        log_std_sum: Sum of the logarithms of the standard deviations.
        dim: Number of dimensions.
    """
    return log_std_sum + 0.5 * dim * (1.0 + math.log(2.0 * math.pi))


def log_normalizer(dim: int) -> float:
    """Return the constant of a diagonal Gaussian's log density.

    Args:
        dim: Number of dimensions.
    """
    return 0.5 * dim * math.log(2.0 * math.pi)

"""How a policy is run in a rollout and differentiated in an update: by its own code and autograd.

`ModuleLearner` works with every policy of Stable-Baselines3. `simreal.learning.torch_ppo.dense` has
the one for plain networks, by hand and several times faster.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from gymnasium import spaces
from torch.distributions import Distribution

from simreal.domains import tensor_graphs
from simreal.domains.tensor_graphs import Pieces
from simreal.learning.tensor_env import Observation
from simreal.learning.torch_ppo.flat_adam import OptimizerStep
from simreal.learning.torch_ppo.objective import Table
from simreal.learning.torch_ppo.rollouts import TensorRollouts, mapped


class Learner(ABC):
    """Run and differentiate one policy.

    Attributes:
        policy: The policy.
        rollouts: Where rollouts are kept.
        memory: What a policy with memory has in mind between two rollouts; None without memory.
        capturable: Whether all it does is the same operations on the same tensors every time, so
            that a CUDA graph of them can be replayed.
        pieces: What runs the parts of a rollout, as graphs where that can be.
    """

    capturable = False

    def __init__(self, policy: Any, rollouts: TensorRollouts) -> None:
        """Refer to both.

        Args:
            policy: A policy of Stable-Baselines3.
            rollouts: Where rollouts are kept.
        """
        self.policy, self.rollouts = policy, rollouts
        self.memory: torch.Tensor | None = None
        self.pieces = new_pieces(rollouts.device, capturable=self.capturable, of="the rollout")

    def recall(self, memory: torch.Tensor | None) -> None:
        """Go on with what a policy with memory had in mind after the last rollout.

        Args:
            memory: What stood in the attribute `memory` then.
        """
        self.memory = memory

    @abstractmethod
    def begin_rollout(self) -> None:
        """Prepare for a rollout with the present parameters."""

    @abstractmethod
    def act(self, step: int) -> torch.Tensor:
        """Sample actions for the observation of a step, keep them, and return them.

        Args:
            step: Number of the step in the rollout.

        Returns:
            Shaped as the environment takes them (N, ...), before clipping.
        """

    @abstractmethod
    def finish_rollout(self) -> None:
        """Fill in log probabilities, values and next values; one batched pass of the critic."""

    @abstractmethod
    def begin_update(self) -> None:
        """Prepare for an update on the rollout."""

    @abstractmethod
    def load(self, table: Table) -> None:
        """Gather what the minibatches of a table need."""

    @abstractmethod
    def backward(self, row: int) -> None:
        """Set the gradients of a minibatch, and write its row of the table.

        Args:
            row: Number of the minibatch in the table.
        """

    def permutation(self) -> torch.Tensor:
        """Return a random order of the transitions (T * N,)."""
        return torch.randperm(self.rollouts.size, device=self.rollouts.device)


def new_pieces(device: torch.device, *, capturable: bool, of: str) -> Pieces:
    """Return what runs parts of a rollout or an update, as graphs where that can be.

    Args:
        device: Where the tensors are.
        capturable: Whether the parts are the same operations on the same tensors every time.
        of: What they are parts of, for messages.
    """
    remedy = "this is a fault of the kit: please report it"
    return Pieces(device, graphs=capturable, of=of, remedy=remedy)


class ModuleLearner(Learner):
    """Run a policy by its own `forward`, `evaluate_actions` and `predict_values`."""

    def __init__(self, policy: Any, rollouts: TensorRollouts, optimizer: OptimizerStep) -> None:
        """Refer to policy, rollouts and optimizer.

        Args:
            policy: A policy of Stable-Baselines3.
            rollouts: Where rollouts are kept.
            optimizer: Whose gradients are set.
        """
        super().__init__(policy, rollouts)
        self._optimizer = optimizer
        self._discrete = isinstance(rollouts.action_space, spaces.Discrete)

    def begin_rollout(self) -> None:
        """Nothing is prepared."""

    @torch.no_grad()
    def act(self, step: int) -> torch.Tensor:
        """Sample with the policy's `forward`."""
        buffer = self.rollouts
        actions, values, log_probs = self.policy(buffer.observation(step))
        buffer.actions[step].copy_(actions.reshape(buffer.n_envs, -1))
        buffer.values[step].copy_(values.reshape(-1))
        buffer.log_probs[step].copy_(log_probs)
        taken: torch.Tensor = actions
        return taken

    @torch.no_grad()
    def finish_rollout(self) -> None:
        """Evaluate the critic after the last step, and before each reset by a time limit."""
        buffer = self.rollouts
        fill_next_values(buffer, lambda obs: self.policy.predict_values(obs).reshape(-1))

    def begin_update(self) -> None:
        """Flatten time and worlds."""
        buffer = self.rollouts
        self._observations = mapped(buffer.observations, lambda value: value.flatten(0, 1))
        self._actions = buffer.actions.flatten(0, 1)

    def load(self, table: Table) -> None:
        """Keep the order; observations are gathered per minibatch, since they may be large."""
        self._table = table

    def backward(self, row: int) -> None:
        """Differentiate by autograd."""
        table, index = self._table, self._table.order[row]
        obs = mapped(self._observations, lambda value: value[index])
        actions = self._actions[index]
        if self._discrete:
            actions = actions.long().flatten()
        values, log_probs, entropy = self.policy.evaluate_actions(obs, actions)
        loss = surrogate(table, row, values.flatten(), log_probs, entropy)
        self._optimizer.zero()
        loss.backward()


def surrogate(
    table: Table,
    row: int,
    values: torch.Tensor,
    log_probs: torch.Tensor,
    entropy: torch.Tensor | None,
) -> torch.Tensor:
    """Return PPO's loss of a minibatch and write its row of the table.

    Args:
        table: The table.
        row: Number of the minibatch.
        values: Of the present parameters (B,).
        log_probs: Of the present parameters (B,).
        entropy: (B,), or None where it has no closed form.
    """
    objective, advantages = table.objective, table.advantages[row]
    log_ratio = log_probs - table.old_log_probs[row]
    ratio = torch.exp(log_ratio)
    limit = objective.clip_range
    clipped = torch.clamp(ratio, 1.0 - limit, 1.0 + limit)
    policy_loss = -torch.min(advantages * ratio, advantages * clipped).mean()
    if objective.clip_range_vf is not None:
        old = table.old_values[row]
        change = objective.clip_range_vf
        values = old + torch.clamp(values - old, -change, change)
    error = values - table.returns[row]
    mean_entropy = (-log_probs if entropy is None else entropy).mean()
    table.log_ratios[row].copy_(log_ratio.detach())
    table.errors[row].copy_(error.detach())
    table.entropies[row].copy_(mean_entropy.detach())
    value_loss = error.square().mean()
    return policy_loss - objective.ent_coef * mean_entropy + objective.vf_coef * value_loss


def fill_next_values(buffer: TensorRollouts, critic: Any) -> None:
    """Set the values after each step, with one pass of the critic.

    Where an episode goes on that is the value of the next observation, which is known. Where it
    ended it is the value of the observation before the reset. On the CPU only those of time limits
    are evaluated; on a GPU, whose shapes must not depend on data, all of them.

    Args:
        buffer: The rollout, with `values` filled in.
        critic: From observations (K, ...) to values (K,).
    """
    final = mapped(buffer.final_observations, lambda value: value.flatten(0, 1))
    last = buffer.last_observation
    following = buffer.next_values
    following[:-1].copy_(buffer.values[1:])
    if not tensor_graphs.can_capture(buffer.device):
        limited = buffer.done * (1.0 - buffer.terminated)
        rows = limited.flatten().nonzero().flatten()
        picked = mapped(final, lambda value: value[rows])
        values = critic(joined(last, picked))
        following[-1].copy_(values[: buffer.n_envs])
        following.view(-1)[rows] = values[buffer.n_envs :]
        return
    values = critic(joined(last, final))
    following[-1].copy_(values[: buffer.n_envs])
    before_reset = values[buffer.n_envs :].view_as(following)
    torch.where(buffer.done > 0, before_reset, following, out=following)


def joined(first: Observation, second: Observation) -> Observation:
    """Return two batches of observations as one.

    Args:
        first: (K, ...).
        second: (L, ...).
    """
    if isinstance(first, dict) and isinstance(second, dict):
        return {name: torch.cat((value, second[name])) for name, value in first.items()}
    return torch.cat((first, second))  # type: ignore[arg-type]


@contextmanager
def without_validation() -> Iterator[None]:
    """Leave out PyTorch's checks of distribution arguments, each of which waits for a GPU."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)

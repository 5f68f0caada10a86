"""Policies with memory in rollouts and updates.

A rollout of T steps of N worlds is cut into chunks of L steps. A minibatch is a number of whole
chunks, each of which begins with the state that the memory had there in the rollout; where an
episode starts within a chunk the state is set to zero, as it was in the rollout. All chunks have
one length, so nothing is padded.
"""

from typing import Any

import torch

from simreal.errors import ConfigError
from simreal.learning.actor_critic import Memory, SimPolicy
from simreal.learning.torch_ppo.flat_adam import OptimizerStep
from simreal.learning.torch_ppo.learner import Learner, surrogate
from simreal.learning.torch_ppo.objective import Table, gaussian_entropy, log_normalizer
from simreal.learning.torch_ppo.rollouts import TensorRollouts


class SequenceLearner(Learner):
    """Run and differentiate a policy with memory.

    Attributes:
        memory: State of actor and critic before the next observation (4, N, hidden): output and
            cell of the actor's memory, output and cell of the critic's.
    """

    def __init__(
        self,
        policy: SimPolicy,
        rollouts: TensorRollouts,
        optimizer: OptimizerStep,
        length: int,
        batch: int,
    ) -> None:
        """Check the sizes and allocate.

        Args:
            policy: A policy with memory.
            rollouts: Where rollouts are kept.
            optimizer: Whose gradients are set.
            length: Steps of a chunk, L.
            batch: Transitions of a minibatch.

        Raises:
            ConfigError: Chunks do not fill the rollout, or a minibatch.
        """
        super().__init__(policy, rollouts)
        if rollouts.buffer_size % length or batch % length:
            raise ConfigError(
                f"sequence_length is {length}; it must divide the rollout's "
                f"{rollouts.buffer_size} steps and the minibatch's {batch} transitions"
            )
        self._optimizer, self._length, self._width = optimizer, length, batch // length
        self._actor: Memory = policy.pi_features_extractor  # type: ignore[assignment]
        self._critic: Memory = policy.vf_features_extractor  # type: ignore[assignment]
        self._chunks = rollouts.buffer_size // length
        hidden = self._actor.lstm.hidden_size
        new = rollouts.rewards.new_zeros
        self._mind = new(4, rollouts.n_envs, hidden)
        self.memory = self._mind
        # States before each chunk, chunk by chunk and world by world.
        self._states = new(4, self._chunks, rollouts.n_envs, hidden)

    def recall(self, memory: torch.Tensor | None) -> None:
        """Go on with a state (4, N, hidden), or from zero."""
        if memory is None:
            self._mind.zero_()
        else:
            self._mind.copy_(memory)

    def begin_rollout(self) -> None:
        """Draw the noise of the whole rollout."""
        buffer = self.rollouts
        self._noise = torch.randn_like(buffer.actions)
        self._std = self.policy.log_std.detach().exp()
        self._present = self._mind[0], self._mind[1]

    @torch.no_grad()
    def act(self, step: int) -> torch.Tensor:
        """Advance the actor's memory and sample around the mean."""
        buffer, obs = self.rollouts, self.rollouts.observation(step)
        goes_on = 1.0 - buffer.episode_starts[step].unsqueeze(1)
        if step % self._length == 0:
            for kept, part in zip(self._states, self._present, strict=False):
                kept[step // self._length].copy_(part)
        before = self._present[0] * goes_on, self._present[1] * goes_on
        self._present = self._actor.step(self._actor.normalized(obs), before)  # type: ignore[arg-type]
        mean = self.policy.mean_action(self._present[0])
        torch.addcmul(mean, self._std, self._noise[step], out=buffer.actions[step])
        return buffer.actions[step]

    @torch.no_grad()
    def finish_rollout(self) -> None:
        """Run the critic's memory over the rollout, and once beyond each step."""
        buffer, critic, memory = self.rollouts, self._critic, self._mind
        total = self.policy.log_std.sum() + log_normalizer(self._std.numel())
        buffer.log_probs.copy_(-0.5 * self._noise.square().sum(-1) - total)
        seen: Any = buffer.all_observations
        before = memory[2], memory[3]
        states = critic.sequence(critic.normalized(seen), before, buffer.episode_starts)
        values = self.policy.value(states.outputs.flatten(0, 1)).view(-1, buffer.n_envs)
        buffer.values.copy_(values[:-1])
        # Beyond each step: the state after it meets the observation before any reset.
        final: Any = buffer.final_observations
        after = tuple(part[:-1].flatten(0, 1) for part in states)
        output, _ = critic.step(critic.normalized(final.flatten(0, 1)), after)  # type: ignore[arg-type]
        beyond = self.policy.value(output).view_as(buffer.values)
        torch.where(buffer.done > 0, beyond, values[1:], out=buffer.next_values)
        for index, part in enumerate(states):
            kept = self._states[2 + index]
            kept[0].copy_(memory[2 + index])
            kept[1:].copy_(part[self._length - 1 : -2 : self._length])
            memory[2 + index].copy_(part[-2])
            memory[index].copy_(self._present[index])

    def permutation(self) -> torch.Tensor:
        """Return a random order of whole chunks, as the steps of all chunks of a minibatch.

        Within a minibatch the order is time first: first steps of its chunks, then second steps.
        """
        buffer, width = self.rollouts, self._width
        chunks = torch.randperm(self._chunks * buffer.n_envs, device=buffer.device)
        first = chunks // buffer.n_envs * self._length * buffer.n_envs + chunks % buffer.n_envs
        later = torch.arange(self._length, device=buffer.device) * buffer.n_envs
        return torch.cat([(part + later[:, None]).flatten() for part in first.split(width)])

    @torch.no_grad()
    def begin_update(self) -> None:
        """Normalize the observations of the rollout once."""
        buffer = self.rollouts
        obs: Any = buffer.observations
        self._inputs = [m.normalized(obs.flatten(0, 1)) for m in (self._actor, self._critic)]
        self._flat_actions = buffer.actions.flatten(0, 1)
        self._flat_starts = buffer.episode_starts[:-1].flatten()
        self._flat_states = self._states.flatten(1, 2)

    def load(self, table: Table) -> None:
        """Keep the table; minibatches are gathered one by one."""
        self._table = table

    def backward(self, row: int) -> None:
        """Differentiate through the sequences by autograd."""
        table, policy, buffer = self._table, self.policy, self.rollouts
        index = table.order[row].view(self._length, -1)
        chunk = index[0] // buffer.n_envs // self._length * buffer.n_envs + index[0] % buffer.n_envs
        states, starts = self._flat_states[:, chunk], self._flat_starts[index]
        actor, critic = (
            memory.sequence(inputs[index], (states[2 * i], states[2 * i + 1]), starts).outputs
            for i, (memory, inputs) in enumerate(
                zip((self._actor, self._critic), self._inputs, strict=True)
            )
        )
        mean = policy.mean_action(actor.flatten(0, 1))
        values = policy.value(critic.flatten(0, 1))
        log_std = policy.log_std
        z = (self._flat_actions[index.flatten()] - mean) * torch.exp(-log_std)
        dim = log_std.numel()
        log_probs = -0.5 * z.square().sum(-1) - log_std.sum() - log_normalizer(dim)
        entropy = gaussian_entropy(log_std.sum(), dim)
        loss = surrogate(table, row, values, log_probs, entropy)
        self._optimizer.zero()
        loss.backward()

"""Plain networks by hand: forward and backward passes of linear layers and a diagonal Gaussian.

For a small network almost all time of an update goes into the machinery around its few matrix
products: modules, autograd's graph, distribution objects, allocations. Here every operation writes
into a buffer of its own, gradients go straight into the optimizer's flat tensor, and what concerns
all minibatches alike (normalized observations, advantages) is computed for all of them at once. The
mathematics is that of Stable-Baselines3; the tests compare the two.

All operations run on fixed buffers and none depends on a value on the host, so that the same code
can be captured as a CUDA graph.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import nn

from simreal.domains import tensor_graphs
from simreal.learning.normalizer import RunningNorm
from simreal.learning.policy import FeatureExtractor
from simreal.learning.torch_ppo.chains import DenseNet, Link, chain_of, evaluate
from simreal.learning.torch_ppo.learner import Learner
from simreal.learning.torch_ppo.objective import Table, gaussian_entropy, log_normalizer
from simreal.learning.torch_ppo.rollouts import TensorRollouts, mapped

# Steps of a rollout that get a CUDA graph of their own; later ones run operation by operation.
MAX_STEP_GRAPHS = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """How a network reads an observation.

    Attributes:
        normalizer: Its normalizer, or None.
        columns: How many entries it reads; all if None.
    """

    normalizer: RunningNorm | None = None
    columns: int | None = None

    def __call__(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the input of the first layer (N, columns)."""
        obs = obs.float() if self.columns is None else obs[..., : self.columns].float()
        return obs if self.normalizer is None else self.normalizer.forward(obs)


@dataclass(frozen=True, slots=True)
class DensePolicy:
    """A Gaussian policy that is nothing but linear layers.

    Attributes:
        actor: From normalized observation to mean action.
        critic: From normalized observation to value.
        read_actor: From observation to the actor's input.
        read_critic: From observation to the critic's input.
        log_std: Logarithm of the standard deviation (A,).
    """

    actor: list[Link]
    critic: list[Link]
    read_actor: "Reading"
    read_critic: "Reading"
    log_std: nn.Parameter


_OWN_CODE = (
    "forward",
    "evaluate_actions",
    "extract_features",
    "predict_values",
    "_get_action_dist_from_latent",
)


def dense_policy(policy: Any) -> DensePolicy | None:
    """Return what a policy is made of, or None if only its own code can run it.

    Args:
        policy: A policy of Stable-Baselines3.
    """
    box = policy.observation_space
    if not isinstance(policy, ActorCriticPolicy) or not isinstance(box, spaces.Box):
        return None
    if any(getattr(type(policy), n) is not getattr(ActorCriticPolicy, n) for n in _OWN_CODE):
        return None
    gaussian = type(policy.action_dist) is DiagGaussianDistribution
    if len(box.shape) != 1 or not gaussian or type(policy.mlp_extractor) is not MlpExtractor:
        return None
    if any(m._forward_hooks or m._forward_pre_hooks for m in policy.modules()):
        return None
    actor = _inputs(policy.pi_features_extractor)
    critic = _inputs(policy.vf_features_extractor)
    shared = policy.share_features_extractor and bool(list(policy.features_extractor.parameters()))
    if actor is None or critic is None or shared:
        return None
    nets = policy.mlp_extractor
    actor_links = chain_of([*actor[1], nets.policy_net, policy.action_net])
    critic_links = chain_of([*critic[1], nets.value_net, policy.value_net])
    if actor_links is None or critic_links is None:
        return None
    return DensePolicy(actor_links, critic_links, actor[0], critic[0], policy.log_std)


def _inputs(extractor: nn.Module) -> tuple[Reading, list[nn.Module]] | None:
    if type(extractor) is FlattenExtractor:
        return Reading(), []
    if type(extractor) is not FeatureExtractor:
        return None
    normalizer, columns = extractor.normalizer, extractor.columns
    if type(normalizer) is nn.Identity:
        return Reading(None, columns), [extractor.layers]
    if type(normalizer) is not RunningNorm:
        return None
    return Reading(normalizer, columns), [extractor.layers]


class DenseLearner(Learner):
    """Run and differentiate a `DensePolicy`."""

    capturable = True

    def __init__(self, policy: Any, parts: DensePolicy, rollouts: TensorRollouts) -> None:
        """Allocate the buffers of a rollout; those of minibatches follow when they are needed.

        Args:
            policy: The policy.
            parts: What it is made of; parameters that train have their gradients set.
            rollouts: Where rollouts are kept.
        """
        super().__init__(policy, rollouts)
        self._parts = parts
        self._net = DenseNet(parts.actor, rollouts.n_envs)
        self._log_std = parts.log_std.detach()
        self._std = torch.empty_like(self._log_std)
        self._noise = torch.empty_like(rollouts.actions)
        self._noise_rows, self._action_rows = self._noise.unbind(0), rollouts.actions.unbind(0)
        self._batches: dict[int, _Minibatch] = {}
        self._batch: _Minibatch | None = None
        self._steps: list[Any] = []
        self._packed: torch.Tensor | None = None

    def begin_rollout(self) -> None:
        """Draw the noise of the whole rollout."""
        torch.exp(self._log_std, out=self._std)
        self._noise.normal_()

    @torch.no_grad()
    def act(self, step: int) -> torch.Tensor:
        """Sample around the actor's mean."""
        if step < MAX_STEP_GRAPHS:
            self.pieces.run(f"act {step}", lambda: self._sample(step))
        else:
            self._sample(step)
        return self._action_rows[step]

    def _sample(self, step: int) -> None:
        obs: Any = self.rollouts.observation(step)
        mean = self._net.forward(self._parts.read_actor(obs))
        torch.addcmul(mean, self._std, self._noise_rows[step], out=self._action_rows[step])

    @torch.no_grad()
    def finish_rollout(self) -> None:
        """Evaluate log probabilities and the critic, each for the whole rollout at once."""
        self.pieces.run("values", self._evaluate)

    def _evaluate(self) -> None:
        buffer, parts = self.rollouts, self._parts
        constant = self._log_std.sum() + log_normalizer(self._log_std.numel())
        torch.sum(self._noise.square(), dim=-1, out=buffer.log_probs)
        buffer.log_probs.mul_(-0.5).sub_(constant)
        seen: Any = mapped(buffer.all_observations, lambda value: value.flatten(0, 1))
        final: Any = mapped(buffer.final_observations, lambda value: value.flatten(0, 1))
        on_cpu = not tensor_graphs.can_capture(buffer.device)
        if on_cpu:  # only what is needed; a GPU takes all, so that shapes are fixed
            limited = (buffer.done * (1.0 - buffer.terminated)).flatten().nonzero().flatten()
            final = final[limited]
        obs = parts.read_critic(torch.cat((seen, final)))
        values = evaluate(parts.critic, obs).view(-1)
        along, beyond = values.split((seen.shape[0], final.shape[0]))
        along = along.view(buffer.buffer_size + 1, buffer.n_envs)
        buffer.values.copy_(along[:-1])
        buffer.next_values.copy_(along[1:])
        if on_cpu:
            buffer.next_values.view(-1)[limited] = beyond
        else:
            ended = buffer.done > 0
            torch.where(ended, beyond.view_as(ended), along[1:], out=buffer.next_values)

    @torch.no_grad()
    def begin_update(self) -> None:
        """Normalize the observations of the rollout once, and pack what minibatches read."""
        buffer, parts = self.rollouts, self._parts
        obs: Any = mapped(buffer.observations, lambda value: value.flatten(0, 1))
        inputs = [parts.read_actor(obs)]
        if parts.read_actor != parts.read_critic:
            inputs.append(parts.read_critic(obs))
        parts_of = (*inputs, buffer.actions.flatten(0, 1))
        if self._packed is None:
            self._packed = torch.cat(parts_of, dim=1)
        else:  # the same memory every time, to which a captured update refers
            torch.cat(parts_of, dim=1, out=self._packed)
        dims = [x.shape[1] for x in inputs]
        self._dims = (dims[0], dims[1] if len(dims) > 1 else 0, buffer.actions.shape[-1])

    @torch.no_grad()
    def load(self, table: Table) -> None:
        """Gather all minibatches of a table at once."""
        width = table.order.shape[1]
        if width not in self._batches:
            self._batches[width] = _Minibatch(self._parts, width)
        self._batch = self._batches[width]
        self._batch.begin(table.objective)
        packed: Any = self._packed
        gathered = packed.index_select(0, table.order.reshape(-1))
        actor, critic, actions = gathered.split(self._dims, dim=1)
        columns = [actor.split(width), (critic if self._dims[1] else actor).split(width)]
        columns += [actions.split(width)]
        # In the objective's gradient a minibatch has -A / B; an advantage's sign says on which side
        # the ratio is clipped.
        weights = table.advantages / -width
        signs = torch.sign(table.advantages)
        limit = table.objective.clip_range
        lower = math.inf if limit >= 1.0 else -math.log1p(-limit)
        bounds = torch.where(signs > 0, math.log1p(limit), lower)
        given = (table.old_log_probs, weights, signs, bounds, table.returns, table.old_values)
        written = (table.log_ratios, table.errors, table.entropies)
        columns += [x.unbind(0) for x in (*given, *written)]
        self._steps = list(zip(*columns, strict=True))

    @torch.no_grad()
    def backward(self, row: int) -> None:
        """Differentiate by hand."""
        if self._batch is not None:
            self._batch.gradients(*self._steps[row])


class _Minibatch:
    """Buffers and mathematics of one minibatch of fixed size."""

    def __init__(self, parts: DensePolicy, rows: int) -> None:
        self.actor, self.critic = DenseNet(parts.actor, rows), DenseNet(parts.critic, rows)
        self._log_std = parts.log_std.detach()
        trains = parts.log_std.requires_grad
        self._log_std_grad = parts.log_std.grad if trains else None
        self._dim = self._log_std.numel()
        new = self._log_std.new_empty
        self._inv_std, self._sum = new(self._dim), new(())
        self._z, self._zz = new(rows, self._dim), new(rows, self._dim)
        self._weight, self._signed = new(rows), new(rows)
        self._open = torch.empty(rows, dtype=torch.bool, device=self._log_std.device)
        self._value_grad = self.critic.grad.view(-1)
        self._rows = rows

    def begin(self, objective: Any) -> None:
        self._ent_coef, self._change = objective.ent_coef, objective.clip_range_vf
        self._value_weight = 2.0 * objective.vf_coef / self._rows

    def gradients(
        self,
        actor_obs: torch.Tensor,
        critic_obs: torch.Tensor,
        actions: torch.Tensor,
        old_log_prob: torch.Tensor,
        weight: torch.Tensor,
        sign: torch.Tensor,
        bound: torch.Tensor,
        returns: torch.Tensor,
        old_values: torch.Tensor,
        log_ratio: torch.Tensor,
        error: torch.Tensor,
        entropy: torch.Tensor,
    ) -> None:
        """Set all gradients, and write log ratios (B,), errors (B,) and entropy ()."""
        z, zz, inv_std, total = self._z, self._zz, self._inv_std, self._sum
        torch.neg(self._log_std, out=inv_std).exp_()
        torch.sum(self._log_std, 0, out=total)
        entropy.copy_(gaussian_entropy(total, self._dim))
        # log p = -z^2 / 2 - sum(log std) - constant
        torch.sub(actions, self.actor.forward(actor_obs), out=z).mul_(inv_std)
        torch.mul(z, z, out=zz)
        torch.sum(zz, 1, out=log_ratio)
        log_ratio.mul_(-0.5).sub_(total).sub_(log_normalizer(self._dim)).sub_(old_log_prob)
        if self.actor.trains or self._log_std_grad is not None:
            self._actor_backward(actor_obs, weight, sign, bound, log_ratio)
        torch.sub(self.critic.forward(critic_obs).view(-1), returns, out=error)
        self._critic_backward(critic_obs, returns, old_values, error)

    def _actor_backward(
        self,
        obs: torch.Tensor,
        weight: torch.Tensor,
        sign: torch.Tensor,
        bound: torch.Tensor,
        log_ratio: torch.Tensor,
    ) -> None:
        # The gradient by log p is weight * ratio where the ratio is not clipped away, else 0.
        slope, z, zz = self._weight, self._z, self._zz
        torch.mul(log_ratio, sign, out=self._signed)
        torch.le(self._signed, bound, out=self._open)
        torch.exp(log_ratio, out=slope).mul_(weight).mul_(self._open)
        if self._log_std_grad is not None:
            torch.mv(zz.sub_(1.0).t(), slope, out=self._log_std_grad)
            self._log_std_grad.sub_(self._ent_coef)
        if self.actor.trains:
            torch.mul(z, slope.unsqueeze(1), out=self.actor.grad).mul_(self._inv_std)
            self.actor.backward(obs)

    def _critic_backward(
        self,
        obs: torch.Tensor,
        returns: torch.Tensor,
        old_values: torch.Tensor,
        error: torch.Tensor,
    ) -> None:
        grad = self._value_grad
        if self._change is None:
            torch.mul(error, self._value_weight, out=grad)
        else:  # the value moves at most so far from the old one; beyond, the gradient ends
            moved = error + returns - old_values
            torch.add(torch.clamp(moved, -self._change, self._change), old_values, out=error)
            error.sub_(returns)
            torch.mul(error, self._value_weight, out=grad)
            grad.mul_(moved.abs_() <= self._change)
        if self.critic.trains:
            self.critic.backward(obs)

"""One rollout as tensors on the device, and its advantages."""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim, get_obs_shape

from simreal.learning.tensor_env import Observation, TensorStep, as_tensor, observation_dtype


class TensorRollouts:
    """Hold T steps of N worlds, time first.

    Stands where Stable-Baselines3 has its `RolloutBuffer`, with the same names and tensors instead
    of arrays.

    Attributes:
        actions: As sampled, before clipping (T, N, A) float32.
        rewards: (T, N).
        terminated: 1 where the task ended an episode (T, N) float32.
        done: 1 where an episode ended at all (T, N) float32.
        episode_starts: 1 where the observation is the first of an episode (T + 1, N) float32.
        log_probs: Of the actions (T, N).
        values: Of the observations (T, N).
        next_values: Of the observations after each step, before any reset (T, N).
        advantages: (T, N).
        returns: `advantages + values` (T, N).
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "cpu",
        gae_lambda: float = 1.0,
        gamma: float = 0.99,
        n_envs: int = 1,
    ) -> None:
        """Allocate.

        Args:
            buffer_size: T.
            observation_space: Of one world; a box or a dictionary of boxes.
            action_space: Of one world.
            device: Where the tensors are.
            gae_lambda: Lambda of generalized advantage estimation.
            gamma: Discount factor.
            n_envs: N.
        """
        self.buffer_size, self.n_envs = buffer_size, n_envs
        self.gamma, self.gae_lambda = gamma, gae_lambda
        self.observation_space, self.action_space = observation_space, action_space
        self.device = torch.device(device)
        self.pos, self.full = 0, False
        self.all_observations = self._observations(buffer_size + 1)
        self.final_observations = self._observations(buffer_size)
        steps = (buffer_size, n_envs)
        self.actions = self._zeros(*steps, get_action_dim(action_space))
        self.rewards, self.terminated, self.done = (self._zeros(*steps) for _ in range(3))
        self.log_probs, self.values, self.next_values = (self._zeros(*steps) for _ in range(3))
        self.advantages, self.returns = (self._zeros(*steps) for _ in range(2))
        self.episode_starts = self._zeros(buffer_size + 1, n_envs)
        self._keep = self._zeros(*steps)
        self._rows = _rows(self.all_observations), _rows(self.final_observations)
        self._columns = [
            tensor.unbind(0) for tensor in (self.rewards, self.terminated, self.done)
        ] + [self.episode_starts.unbind(0)]
        self._recursion = self.advantages.unbind(0), self._keep.unbind(0)

    def _zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def _observations(self, rows: int) -> Observation:
        space = self.observation_space
        if isinstance(space, spaces.Dict):
            return {
                name: self._zeros(rows, self.n_envs, *_shape(inner), dtype=observation_dtype(inner))
                for name, inner in space.spaces.items()
            }
        return self._zeros(rows, self.n_envs, *_shape(space), dtype=observation_dtype(space))

    @property
    def observations(self) -> Observation:
        """Return the observations that were acted on (T, N, ...)."""
        return mapped(self.all_observations, lambda value: value[:-1])

    @property
    def last_observation(self) -> Observation:
        """Return the observation after the last step (N, ...)."""
        return self._rows[0][-1]

    @property
    def size(self) -> int:
        """Return the number of transitions, T * N."""
        return self.buffer_size * self.n_envs

    def reset(self) -> None:
        """Forget the rollout; its tensors stay what they are until they are overwritten."""
        self.pos, self.full = 0, False

    def begin(self, obs: Any, episode_starts: Any) -> None:
        """Set the observation that the first action is taken on.

        Args:
            obs: (N, ...).
            episode_starts: Whether it is the first of an episode (N,).
        """
        copy_observation(self._rows[0][0], obs)
        self._columns[3][0].copy_(as_tensor(episode_starts, self.device))

    def observation(self, step: int) -> Observation:
        """Return the observation of a step, or after the last one (N, ...)."""
        return self._rows[0][step]

    def add(self, step: TensorStep) -> None:
        """Keep what a step gave.

        Args:
            step: The step.
        """
        now = self.pos
        rewards, terminated, done, starts = self._columns
        copy_observation(self._rows[0][now + 1], step.obs)
        copy_observation(self._rows[1][now], step.final_obs)
        rewards[now].copy_(step.reward)
        terminated[now].copy_(step.terminated)
        torch.logical_or(step.terminated, step.truncated, out=done[now])
        starts[now + 1].copy_(done[now])
        self.pos = now + 1
        self.full = self.pos == self.buffer_size

    def estimate(self) -> None:
        """Compute advantages and returns from rewards, values and next values.

        A time limit is bootstrapped with the value of the observation before the reset; a
        termination is not. Source: Schulman et al. 2016, arXiv 1506.02438; Pardo et al. 2018, arXiv
        1712.00378.
        """
        adv, gamma = self.advantages, self.gamma
        torch.addcmul(self.next_values, self.next_values, self.terminated, value=-1.0, out=adv)
        torch.add(self.rewards, adv, alpha=gamma, out=adv)
        adv.sub_(self.values)
        torch.sub(1.0, self.done, out=self._keep).mul_(gamma * self.gae_lambda)
        rows, keep = self._recursion
        for step in range(self.buffer_size - 2, -1, -1):
            rows[step].addcmul_(keep[step], rows[step + 1])
        torch.add(adv, self.values, out=self.returns)


def mapped(obs: Observation, function: Any) -> Observation:
    """Return an observation with a function applied to its tensor or tensors.

    Args:
        obs: The observation.
        function: From tensor to tensor.
    """
    if isinstance(obs, dict):
        return {name: function(value) for name, value in obs.items()}
    result: torch.Tensor = function(obs)
    return result


def copy_observation(target: Observation, source: Any) -> None:
    """Copy an observation into a tensor of its own.

    Args:
        target: Where to.
        source: Arrays or tensors.
    """
    if isinstance(target, dict):
        for name, value in target.items():
            value.copy_(as_tensor(source[name], value.device))
    else:
        target.copy_(as_tensor(source, target.device))


def _rows(obs: Observation) -> list[Observation]:
    if isinstance(obs, dict):
        number = next(iter(obs.values())).shape[0]
        return [{name: value[i] for name, value in obs.items()} for i in range(number)]
    return list(obs.unbind(0))


def _shape(space: spaces.Space) -> tuple[int, ...]:
    shape = get_obs_shape(space)
    return tuple(shape) if isinstance(shape, tuple) else ()

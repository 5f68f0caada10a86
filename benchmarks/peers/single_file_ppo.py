"""PPO as one plain file, in the manner of CleanRL: a network, a loop, nothing abstract.

Written for comparison. The mathematics is Stable-Baselines3's PPO, but for the end of an episode:
a time limit is treated as a termination, as such files do.
"""

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from torch.distributions import Normal


class Agent(nn.Module):
    """Hold an actor and a critic of two times 64 units."""

    def __init__(self, obs_dim: int, action_dim: int) -> None:
        """Begin orthogonal, as is usual for PPO.

        Args:
            obs_dim: Width of an observation.
            action_dim: Width of an action.
        """
        super().__init__()
        self.critic = nn.Sequential(*_hidden(obs_dim), _layer(64, 1, 1.0))
        self.actor = nn.Sequential(*_hidden(obs_dim), _layer(64, action_dim, 0.01))
        self.log_std = nn.Parameter(torch.zeros(action_dim))

    def distribution(self, obs: torch.Tensor) -> Normal:
        """Return the actions' distribution for observations (B, obs_dim)."""
        return Normal(self.actor(obs), self.log_std.exp())

    def predict(self, obs: np.ndarray, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        """Return mean actions (B, action_dim), as Stable-Baselines3's evaluation asks for them."""
        with torch.no_grad():
            return self.actor(torch.as_tensor(obs)).clamp(-1.0, 1.0).numpy(), None


class SingleFilePPO:
    """Train an `Agent`.

    Attributes:
        agent: The networks.
        num_timesteps: Environment steps so far.
    """

    def __init__(self, env: VecEnv, seed: int, settings: dict[str, Any]) -> None:
        """Allocate.

        Args:
            env: The environments.
            seed: Seed of everything.
            settings: By the names of Stable-Baselines3's PPO.
        """
        torch.manual_seed(seed)
        np.random.seed(seed)
        self.env, self.settings, self.num_timesteps = env, settings, 0
        obs_dim, action_dim = env.observation_space.shape[0], env.action_space.shape[0]
        self.agent = Agent(obs_dim, action_dim)
        rate = settings["learning_rate"]
        self.optimizer = torch.optim.Adam(self.agent.parameters(), lr=rate, eps=1e-5)
        steps = settings["n_steps"], env.num_envs
        self.obs, self.actions = torch.zeros(*steps, obs_dim), torch.zeros(*steps, action_dim)
        self.log_probs, self.rewards, self.dones, self.values = (
            torch.zeros(steps) for _ in range(4)
        )

    def learn(self, num_steps: int) -> None:
        """Take rollouts of a number of environment steps, each with its update.

        Args:
            num_steps: Environment steps.
        """
        obs = torch.as_tensor(self.env.reset())
        done = torch.zeros(self.env.num_envs)
        for _ in range(num_steps // self.rewards.numel()):
            obs, done = self._rollout(obs, done)
            self._update(self._advantages(obs, done))

    def _rollout(self, obs: torch.Tensor, done: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for step in range(self.settings["n_steps"]):
            self.obs[step], self.dones[step] = obs, done
            with torch.no_grad():
                drawn = self.agent.distribution(obs)
                action = drawn.sample()
                self.values[step] = self.agent.critic(obs).flatten()
            self.actions[step] = action
            self.log_probs[step] = drawn.log_prob(action).sum(1)
            seen, reward, ended, _ = self.env.step(action.clamp(-1.0, 1.0).numpy())
            self.rewards[step] = torch.as_tensor(reward)
            obs, done = torch.as_tensor(seen), torch.as_tensor(ended).float()
            self.num_timesteps += self.env.num_envs
        return obs, done

    @torch.no_grad()
    def _advantages(self, obs: torch.Tensor, done: torch.Tensor) -> torch.Tensor:
        gamma, decay = self.settings["gamma"], self.settings["gae_lambda"]
        advantages, last = torch.zeros_like(self.rewards), torch.zeros(self.env.num_envs)
        value = self.agent.critic(obs).flatten()
        for step in reversed(range(self.settings["n_steps"])):
            goes_on = 1.0 - done
            delta = self.rewards[step] + gamma * value * goes_on - self.values[step]
            last = delta + gamma * decay * goes_on * last
            advantages[step] = last
            value, done = self.values[step], self.dones[step]
        return advantages

    def _update(self, advantages: torch.Tensor) -> None:
        returns = (advantages + self.values).flatten()
        obs, actions = self.obs.flatten(0, 1), self.actions.flatten(0, 1)
        log_probs, advantages = self.log_probs.flatten(), advantages.flatten()
        order = np.arange(len(returns))
        for _ in range(self.settings["n_epochs"]):
            np.random.shuffle(order)
            for begin in range(0, len(order), self.settings["batch_size"]):
                rows = order[begin : begin + self.settings["batch_size"]]
                drawn = self.agent.distribution(obs[rows])
                ratio = (drawn.log_prob(actions[rows]).sum(1) - log_probs[rows]).exp()
                part = advantages[rows]
                part = (part - part.mean()) / (part.std() + 1e-8)
                clipped = ratio.clamp(0.8, 1.2)
                loss = -torch.min(part * ratio, part * clipped).mean()
                error = self.agent.critic(obs[rows]).flatten() - returns[rows]
                loss = loss + 0.5 * error.square().mean()
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.agent.parameters(), 0.5)
                self.optimizer.step()


def _layer(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _hidden(obs_dim: int) -> list[nn.Module]:
    wide = 2.0**0.5
    return [_layer(obs_dim, 64, wide), nn.Tanh(), _layer(64, 64, wide), nn.Tanh()]

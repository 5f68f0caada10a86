"""One rollout for two trainers: Stable-Baselines3's PPO and `TorchPPO`, with equal minibatches."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv


class Recorded(VecEnv):
    """Give observations, rewards and ends from a tape, whatever the actions are."""

    def __init__(
        self,
        worlds: int,
        *,
        obs_dim: int = 5,
        action: gymnasium.Space | None = None,
        observation: gymnasium.Space | None = None,
        seed: int = 0,
        ends: float = 0.1,
    ) -> None:
        obs_space = observation or gymnasium.spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
        action_space = action or gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.render_mode = None
        super().__init__(worlds, obs_space, action_space)
        self.rng, self.ends = np.random.default_rng(seed), ends
        self.taken: list[np.ndarray] = []

    def _obs(self, rows: int) -> Any:
        space = self.observation_space
        if isinstance(space, gymnasium.spaces.Dict):
            return {
                k: self.rng.normal(size=(rows, *v.shape)).astype(np.float32)
                for k, v in space.spaces.items()
            }
        if np.issubdtype(space.dtype, np.integer):
            return self.rng.integers(0, 255, size=(rows, *space.shape), dtype=np.uint8)
        return self.rng.normal(size=(rows, *space.shape)).astype(np.float32)

    def reset(self) -> Any:
        return self._obs(self.num_envs)

    def step_async(self, actions: np.ndarray) -> None:
        self.taken.append(np.array(actions))

    def step_wait(self) -> Any:
        n = self.num_envs
        obs, rewards = self._obs(n), self.rng.normal(size=n).astype(np.float32)
        dones = self.rng.random(n) < self.ends
        limited = self.rng.random(n) < 0.5
        infos: list[dict[str, Any]] = [{} for _ in range(n)]
        for world in np.flatnonzero(dones):
            last = self._obs(1)
            last = {k: v[0] for k, v in last.items()} if isinstance(last, dict) else last[0]
            infos[world] = {
                "terminal_observation": last,
                "TimeLimit.truncated": bool(limited[world]),
                "episode": {"r": float(world), "l": 3, "t": 0.0},
            }
        return obs, rewards, dones, infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        return [None for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]


@pytest.fixture(scope="session")
def recorded() -> type[Recorded]:
    """Return the environment with a tape."""
    return Recorded


def give_rollout(ours: Any, theirs: PPO) -> None:
    """Copy a rollout of ours into SB3's buffer, for which worlds come first when it is shuffled."""
    mine, yours = ours.rollout_buffer, theirs.rollout_buffer
    yours.reset()
    for name in ("actions", "rewards", "values", "log_probs", "advantages", "returns"):
        target = getattr(yours, name)
        target[...] = getattr(mine, name).numpy().reshape(target.shape)
    seen = mine.observations
    if isinstance(seen, dict):
        for name, value in seen.items():
            yours.observations[name][...] = value.numpy()
    else:
        yours.observations[...] = seen.numpy()
    yours.pos, yours.full = mine.buffer_size, True


def share_order(ours: Any, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Let both draw the same minibatches; SB3 counts worlds first, TorchPPO steps first."""
    steps, worlds = ours.n_steps, ours.n_envs
    mine, yours = (np.random.default_rng(seed) for _ in range(2))

    def theirs(size: int) -> np.ndarray:
        return yours.permutation(size)

    def own(self: Any) -> torch.Tensor:
        world, step = np.divmod(mine.permutation(steps * worlds), steps)
        return torch.from_numpy(step * worlds + world)

    monkeypatch.setattr(np.random, "permutation", theirs)
    from simreal.learning.torch_ppo import learner

    monkeypatch.setattr(learner.Learner, "permutation", own)


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, PPO]]:
    """Return a function that makes both trainers with equal parameters."""
    from simreal.learning.torch_ppo import TorchPPO

    def make(env: VecEnv, policy: str = "MlpPolicy", **settings: Any) -> tuple[Any, PPO]:
        settings = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "seed": 0} | settings
        ours = TorchPPO(policy, env, device="cpu", **settings)
        theirs = PPO(policy, env, device="cpu", **settings)
        theirs.policy.load_state_dict(ours.policy.state_dict())
        for model in (ours, theirs):
            model.set_logger(Logger(None, []))
        share_order(ours, monkeypatch, seed=7)
        ours.start = ours._setup_learn(10**6)[1]
        return ours, theirs

    return make


@pytest.fixture(scope="session")
def update_both() -> Callable[..., None]:
    """Return a function that collects with ours and updates both."""

    def update(ours: Any, theirs: PPO) -> None:
        ours.collect_rollouts(ours.env, ours.start, ours.rollout_buffer, ours.n_steps)
        give_rollout(ours, theirs)
        ours.train()
        theirs.train()

    return update


@pytest.fixture(scope="session")
def largest_difference() -> Callable[[Any, Any], float]:
    """Return a function from two models to the largest difference of their parameters."""

    def difference(first: Any, second: Any) -> float:
        other = second.policy.state_dict()
        return max(
            float((value - other[name]).abs().max())
            for name, value in first.policy.state_dict().items()
        )

    return difference

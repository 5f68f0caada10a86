"""The Stable-Baselines3 face of `SimVecEnv`, so that any of its algorithms runs on any domain.

It lives here and not beside `SimVecEnv` because that class must not import torch. The same class
serves a runtime whose arrays are tensors of a GPU.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch

from simreal.domains.episodes import EpisodeInfo
from simreal.domains.vec_env import SimVecEnv, StepResult
from simreal.learning.tensor_env import TensorEnv, TensorStep, as_tensor

_DRAINED = 4096  # so that they do not pile up where nobody reads them


class SB3VecEnv(TensorEnv):
    """Wrap a `SimVecEnv`, or a runtime with the same fields as tensors on its `device`.

    `infos` are empty but for worlds whose episode ended, which get `terminal_observation`,
    `TimeLimit.truncated`, and, unless the episode was a partial one, `episode`. `is_success` is
    there where episodes are long enough to tell: those of a training may be cut before.

    Attributes:
        sim: The wrapped runtime.
        device: Where its data are.
        num_privileged: How many entries at the end of an observation no robot measures.
        finished: Summaries of the episodes that ended in the last step.
        drained: Summaries of the last episodes that only `drain` tells of; a reader takes them out.
    """

    def __init__(self, sim: SimVecEnv, *, privileged: bool = False) -> None:
        """Wrap.

        Args:
            sim: The runtime.
            privileged: Whether the true joint positions and velocities and the drawn dynamics
                parameters stand behind the observation, for a critic (`SimPolicy`).
        """
        self.sim = sim
        self.device = torch.device(getattr(sim, "device", "cpu"))
        self.finished: list[EpisodeInfo] = []
        self.drained: deque[EpisodeInfo] = deque(maxlen=_DRAINED)
        self._ended: list[EpisodeInfo] = []
        self._actions = np.zeros((sim.num_worlds, sim.action_map.dim))
        limit_s = sim.book.limit * sim.task.control_period_s
        self._tells_success = limit_s >= sim.task.success_window_s[1] - 1e-9
        self.render_mode = "rgb_array"
        self._privileged = privileged
        self.num_privileged = _beyond(sim).shape[1] if privileged else 0
        dim = sim.observation.dim + self.num_privileged
        observation = gymnasium.spaces.Box(-np.inf, np.inf, (dim,), np.float32)
        action = gymnasium.spaces.Box(-1.0, 1.0, (sim.action_map.dim,), np.float32)
        super().__init__(sim.num_worlds, observation, action)

    def reset(self) -> np.ndarray:  # type: ignore[override]
        """Begin a new episode in every world and return the observation (N, dim)."""
        seed = next((s for s in self._seeds if s is not None), None)
        self.forget_seed()
        self._reset_options()
        return self.observed(_array(self.sim.reset(seed))).copy()

    def observed(self, obs: Any) -> np.ndarray:
        """Return observations of the runtime with what is privileged behind them, if it is asked.

        Args:
            obs: Of the present state (N, k).
        """
        return np.concatenate((obs, _beyond(self.sim)), axis=1) if self._privileged else obs

    def _advance(self, actions: Any) -> StepResult:
        """Advance one control step."""
        if not self._privileged:
            return self.sim.step(actions)
        # The true state before a reset has to be read before there is one.
        result = self.sim.step(actions, autoreset=False)
        final = obs = self.observed(result.final_obs)
        if result.episodes:
            obs = self.observed(self.sim.restart(result.terminated | result.truncated))
        return result._replace(obs=obs, final_obs=final)

    def reset_tensor(self) -> torch.Tensor:
        """Begin a new episode in every world and return the observation (N, dim)."""
        return as_tensor(self.reset(), self.device)

    def step_tensor(self, actions: torch.Tensor) -> TensorStep:
        """Advance one control step; on the CPU all tensors are views of the runtime's arrays."""
        wanted: Any = actions.numpy() if self.device.type == "cpu" else actions
        result = self._advance(wanted)
        self.finished = result.episodes
        self._ended += result.episodes
        device = self.device
        return TensorStep(
            obs=as_tensor(result.obs, device),
            reward=as_tensor(result.reward, device),
            terminated=as_tensor(result.terminated, device),
            truncated=as_tensor(result.truncated, device),
            final_obs=as_tensor(result.final_obs, device),
            infos=Infos(self, result),
        )

    def drain(self) -> list[dict[str, Any]]:
        """Return the infos of the episodes that ended since the last call."""
        ended, self._ended = self._ended, []
        return [self._summary(episode) for episode in ended]

    def forget_seed(self) -> None:
        """Drop the seed that waits for the first reset, for worlds that go on from a checkpoint."""
        self._reset_seeds()

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next step (N, dim)."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Advance one control step; returns obs, rewards, dones and infos as SB3 wants them."""
        result = self._advance(self._actions)
        self.finished = result.episodes
        dones = _array(result.terminated) | _array(result.truncated)
        # Copies, because the runtime writes its views anew two steps later.
        obs, reward = _array(result.obs).copy(), _array(result.reward).astype(np.float32)
        return obs, reward, dones, self.infos(result)

    def infos(self, result: StepResult) -> list[dict[str, Any]]:
        """Return the infos of a step, one dictionary per world.

        New dictionaries each time: wrappers write into them, and callbacks may keep them.

        Args:
            result: What the runtime gave.
        """
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for episode in result.episodes:
            world = episode.world
            infos[world] = {
                "terminal_observation": _array(result.final_obs[world]).copy(),
                "TimeLimit.truncated": bool(result.truncated[world]),
                **self._summary(episode),
            }
        return infos

    def _summary(self, episode: EpisodeInfo) -> dict[str, Any]:
        info: dict[str, Any] = {"reason": episode.reason}
        if not episode.partial:
            info["episode"] = {"r": episode.return_, "l": episode.length, "t": 0.0}
            if self._tells_success:
                info["is_success"] = episode.success
        return info

    def close(self) -> None:
        """Release the worlds."""
        self.sim.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return a picture of the first world, and None for the others."""
        return [self.sim.render(0), *[None] * (self.num_envs - 1)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of this wrapper or of the runtime, once per index."""
        owner = self if attr_name in ("render_mode",) else self.sim
        value = getattr(owner, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the runtime, which all worlds share."""
        setattr(self.sim, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of the runtime once and return its result for every index."""
        value = getattr(self.sim, method_name)(*args, **kwargs)
        return [value for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for every index: single worlds have no wrappers."""
        return [False for _ in self._get_indices(indices)]


class Infos(Sequence[dict[str, Any]]):
    """Be the infos of a step, which are made when somebody looks."""

    def __init__(self, env: SB3VecEnv, result: StepResult) -> None:
        """Refer to the step.

        Args:
            env: The environment.
            result: What its runtime gave.
        """
        self._env, self._result = env, result
        self._made: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return self._env.num_envs

    def __getitem__(self, index: Any) -> Any:
        if self._made is None:
            self._made = self._env.infos(self._result)
        return self._made[index]


def _beyond(sim: SimVecEnv) -> np.ndarray:
    """Return what only a simulator knows (N, k) float32."""
    drawn = [sim.params[name].reshape(sim.num_worlds, -1) for name in sorted(sim.params)]
    parts = (sim.truth.joint_pos, sim.truth.joint_vel, *drawn)
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _array(value: Any) -> np.ndarray:
    return value.cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)

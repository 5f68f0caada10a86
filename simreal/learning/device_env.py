"""The Stable-Baselines3 face of `TensorVecEnv`: training on a device without a look at the host.

`TorchPPO` steps the tensor face, and asks for finished episodes once per rollout. The numpy face is
there for whatever else takes a `VecEnv`, and copies every step.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch

from simreal.domains.tensor_env import DeviceStep, TensorVecEnv
from simreal.domains.vec_env import SimVecEnv
from simreal.learning.callbacks import EPISODE_WINDOW
from simreal.learning.tensor_env import TensorStep
from simreal.learning.vec_env import SB3VecEnv


class DeviceVecEnv(SB3VecEnv):
    """Wrap a `TensorVecEnv`.

    Attributes:
        worlds: The wrapped runtime.
        device: Where its tensors are.
    """

    def __init__(self, worlds: TensorVecEnv) -> None:
        """Wrap.

        Args:
            worlds: The runtime.
        """
        self.worlds = worlds
        super().__init__(cast(SimVecEnv, worlds))

    def reset_tensor(self) -> torch.Tensor:
        """Begin a new episode in every world and return the observation (N, dim)."""
        seed = next((s for s in self._seeds if s is not None), None)
        self.forget_seed()
        self._reset_options()
        return self.worlds.reset(seed)

    def step_tensor(self, actions: torch.Tensor) -> TensorStep:
        """Advance one control step, without waiting for the device."""
        result = self.worlds.step(actions)
        return TensorStep(*result, infos=DeviceInfos(result))

    def drain(self) -> list[dict[str, Any]]:
        """Return the infos of the last episodes since the last call; waits for the device.

        As many as a record of `EpisodeLog` covers: all would cost more time than an update.

        Raises:
            EngineError: An action was not a number, or there was no room for all contacts or
                constraints.
        """
        episodes = self.worlds.drain(EPISODE_WINDOW)
        self.drained.extend(episodes)
        return [self._summary(episode) for episode in episodes]

    def observed(self, obs: Any) -> np.ndarray:
        """Return observations of the runtime as SB3 wants them.

        Args:
            obs: Tensor or array (N, dim).
        """
        return obs.cpu().numpy() if isinstance(obs, torch.Tensor) else obs

    def step_wait(self) -> Any:
        """Advance one control step; returns obs, rewards, dones and infos as SB3 wants them."""
        actions = torch.as_tensor(np.asarray(self._actions, dtype=np.float32))
        result = self.worlds.step(actions.to(self.device))
        self.finished = self.worlds.drain()
        infos = list(DeviceInfos(result))
        for episode in self.finished:
            infos[episode.world].update(self._summary(episode))
        dones = (result.terminated | result.truncated).cpu().numpy()
        return result.obs.cpu().numpy().copy(), result.reward.cpu().numpy().copy(), dones, infos


class DeviceInfos(Sequence[dict[str, Any]]):
    """Be the infos of a step, which are fetched from the device when somebody looks."""

    def __init__(self, result: DeviceStep) -> None:
        """Refer to the step.

        Args:
            result: What the runtime gave.
        """
        self._result = result
        self._made: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self._result.reward)

    def __getitem__(self, index: Any) -> Any:
        if self._made is None:
            self._made = self._fetch()
        return self._made[index]

    def _fetch(self) -> list[dict[str, Any]]:
        result = self._result
        infos: list[dict[str, Any]] = [{} for _ in range(len(self))]
        done = (result.terminated | result.truncated).cpu().numpy()
        if done.any():
            truncated, final = result.truncated.cpu().numpy(), result.final_obs.cpu().numpy()
            for world in np.flatnonzero(done).tolist():
                infos[world]["terminal_observation"] = final[world].copy()
                infos[world]["TimeLimit.truncated"] = bool(truncated[world])
        return infos

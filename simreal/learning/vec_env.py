"""The Stable-Baselines3 face of `SimVecEnv`, so that any of its algorithms runs on any domain.

It lives here and not beside `SimVecEnv` because that class must not import torch.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from simreal.domains.episodes import EpisodeInfo
from simreal.domains.vec_env import SimVecEnv


class SB3VecEnv(VecEnv):
    """Wrap a `SimVecEnv`.

    `infos` are empty but for worlds whose episode ended, which get `terminal_observation`,
    `TimeLimit.truncated`, and, unless the episode was a partial one, `episode`. `is_success` is
    there where episodes are long enough to tell: those of a training may be cut before.

    Attributes:
        sim: The wrapped runtime.
        finished: Summaries of the episodes that ended in the last step.
    """

    def __init__(self, sim: SimVecEnv) -> None:
        """Wrap.

        Args:
            sim: The runtime.
        """
        self.sim = sim
        self.finished: list[EpisodeInfo] = []
        self._actions = np.zeros((sim.num_worlds, sim.action_map.dim))
        limit_s = sim.book.limit * sim.task.control_period_s
        self._tells_success = limit_s >= sim.task.success_window_s[1] - 1e-9
        self.render_mode = "rgb_array"
        observation = gymnasium.spaces.Box(-np.inf, np.inf, (sim.observation.dim,), np.float32)
        action = gymnasium.spaces.Box(-1.0, 1.0, (sim.action_map.dim,), np.float32)
        super().__init__(sim.num_worlds, observation, action)

    def reset(self) -> np.ndarray:  # type: ignore[override]
        """Begin a new episode in every world and return the observation (N, dim)."""
        seed = next((s for s in self._seeds if s is not None), None)
        self.forget_seed()
        self._reset_options()
        return self.sim.reset(seed).copy()

    def forget_seed(self) -> None:
        """Drop the seed that waits for the first reset, for worlds that go on from a checkpoint."""
        self._reset_seeds()

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next step (N, dim)."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Advance one control step; returns obs, rewards, dones and infos as SB3 wants them."""
        result = self.sim.step(self._actions)
        self.finished = result.episodes
        dones = result.terminated | result.truncated
        # New dictionaries each step: wrappers write into them, and callbacks may keep them.
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for episode in result.episodes:
            infos[episode.world] = self._info(episode, result.final_obs, result.truncated)
        # Copies, because the runtime writes its views anew two steps later.
        return result.obs.copy(), result.reward.astype(np.float32), dones, infos

    def _info(
        self, episode: EpisodeInfo, final_obs: np.ndarray, truncated: np.ndarray
    ) -> dict[str, Any]:
        info: dict[str, Any] = {
            "terminal_observation": final_obs[episode.world].copy(),
            "TimeLimit.truncated": bool(truncated[episode.world]),
            "reason": episode.reason,
        }
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

"""A batch of one as a plain `gymnasium.Env`, for tools that want one environment at a time."""

from typing import Any

import gymnasium
import numpy as np

from simreal.core.observation import LAST_ACTION
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains.domain import Domain
from simreal.domains.episodes import EpisodeInfo
from simreal.domains.vec_env import SimVecEnv
from simreal.errors import unknown_name

_METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 100}


class SimEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """Run one world of a task in a domain behind Gymnasium's interface.

    Observation: (dim,) float32, bounded where the terms bound it. Action: (dim,) float32 in
    [-1, 1]. `info` of the last step of an episode holds `is_success`, `episode_return`, `reason`
    and the sum of each reward term as `reward_terms`.
    """

    metadata: dict[str, Any] = _METADATA

    def __init__(
        self,
        robot: Robot,
        task: Task,
        domain: Domain,
        *,
        seed: int | None = None,
        training: bool = False,
        render_mode: str | None = None,
    ) -> None:
        """Build the world.

        Args:
            robot: The robot.
            task: The task.
            domain: Where it lives.
            seed: Seed until `reset(seed=...)` gives another; drawn by the system if None.
            training: Whether some episodes begin at random states, and all are cut as in training.
            render_mode: None or `rgb_array`.

        Raises:
            UnknownNameError: There is no such render mode.
        """
        if render_mode not in (None, "rgb_array"):
            raise unknown_name("render mode", str(render_mode), ("rgb_array",))
        self.render_mode = render_mode
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self.vec = SimVecEnv(robot, task, domain, 1, seed=seed, training=training, stagger=False)
        # Instances differ in their control period, hence a dictionary of their own.
        self.metadata = {**_METADATA, "render_fps": round(1.0 / task.control_period_s)}
        low, high = self.vec.observation.bounds({LAST_ACTION: (-1.0, 1.0)})
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.vec.action_map.dim,), np.float32)
        self._shape = (1, self.vec.action_map.dim)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Starts the sequence of episodes of this seed.
            options: Unused.

        Returns:
            Observation (dim,) and an empty info.
        """
        super().reset(seed=seed)
        return self.vec.reset(seed)[0].copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance one control step.

        Args:
            action: (dim,), clipped to [-1, 1].
        """
        result = self.vec.step(np.asarray(action).reshape(self._shape), autoreset=False)
        return (
            result.final_obs[0].copy(),
            result.reward.item(),
            result.terminated.item(),
            result.truncated.item(),
            _info(result.episodes[0]) if result.episodes else {},
        )

    def render(self) -> Any:
        """Return a picture of the world (H, W, 3), uint8, or None without a render mode."""
        return self.vec.render() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Release the world."""
        self.vec.close()


def _info(episode: EpisodeInfo) -> dict[str, Any]:
    return {
        "is_success": episode.success,
        "episode_return": episode.return_,
        "reason": episode.reason,
        "reward_terms": dict(episode.terms),
    }

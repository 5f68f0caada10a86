"""A batch of one as a plain `gymnasium.Env`, for tools that want one environment at a time."""

from typing import Any

import gymnasium
import numpy as np

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains.domain import Domain
from simreal.domains.vec_env import SimVecEnv


class SimEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """Run one world of a task in a domain behind Gymnasium's interface.

    Observation: (dim,) float32, unbounded. Action: (dim,) float32 in [-1, 1]. `info` of the last step of an
    episode holds `is_success`, `episode_return`, `reason` and the sum of each reward term.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 100}

    def __init__(
        self,
        robot: Robot,
        task: Task,
        domain: Domain,
        *,
        seed: int = 0,
        training: bool = False,
        render_mode: str | None = None,
    ) -> None:
        """Build the world.

        Args:
            robot: The robot.
            task: The task.
            domain: Where it lives.
            seed: Seed until `reset(seed=...)` gives another.
            training: Whether some episodes begin at random states.
            render_mode: None or `rgb_array`.
        """
        self.render_mode = render_mode
        self.vec = SimVecEnv(
            robot, task, domain, 1, seed=seed, training=training, stagger=False
        )
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": round(1.0 / task.control_period_s),
        }
        dim = self.vec.observation.dim
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.vec.action_map.dim,), np.float32)

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
        result = self.vec.step(action[None, :], autoreset=False)
        info: dict[str, Any] = {}
        if result.episodes:
            episode = result.episodes[0]
            info = {
                "is_success": episode.success,
                "episode_return": episode.return_,
                "reason": episode.reason,
                "reward_terms": dict(episode.terms),
            }
        return (
            result.final_obs[0].copy(),
            float(result.reward[0]),
            bool(result.terminated[0]),
            bool(result.truncated[0]),
            info,
        )

    def render(self) -> Any:
        """Return a picture of the world (H, W, 3), uint8, or None without a render mode."""
        return self.vec.render() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Release the world."""
        self.vec.close()

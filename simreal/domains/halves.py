"""A batch in two halves, so that the policy works on one while workers step the other.

Each half is a `SimVecEnv` with worker processes of its own. Worlds are numbered through, so they
meet the same random numbers as in one batch. It pays where there is a processor for every process;
where there is not, one batch is faster, since there this process steps a share of the worlds.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains.domain import Domain
from simreal.domains.vec_env import SimVecEnv, StepResult
from simreal.engines.process_workers import ProcessWorkers
from simreal.engines.workers import Workers
from simreal.errors import ConfigError

Act = Callable[[slice, np.ndarray], np.ndarray]
"""From the rows of a half and its observation (M, dim) to its actions (M, A)."""


class HalvesVecEnv:
    """Run N worlds in two halves that take turns.

    Attributes:
        halves: The two environments.
        rows: Which of the N worlds each has.
    """

    def __init__(
        self,
        robot: Robot,
        task: Task,
        domain: Domain,
        num_worlds: int,
        *,
        workers: int | Workers = 1,
        **settings: Any,
    ) -> None:
        """Build both halves; call `reset` before anything else.

        Args:
            robot: The robot.
            task: The task.
            domain: Where it lives.
            num_worlds: N, at least 2.
            workers: Processes that run the physics, of each half. With one, a half steps in this
                process and nothing overlaps.
            settings: Further arguments of `SimVecEnv`.

        Raises:
            ConfigError: There are fewer than two worlds.
        """
        if num_worlds < 2:
            raise ConfigError(f"num_worlds is {num_worlds}; two halves need at least 2")
        if isinstance(workers, int) and workers > 1:
            # This process works for the policy while they step.
            workers = ProcessWorkers(count=workers, joins=False)
        middle = num_worlds // 2
        self.num_worlds = num_worlds
        self.rows = (slice(0, middle), slice(middle, num_worlds))
        made: list[SimVecEnv] = []
        try:
            for rows in self.rows:
                size, first = rows.stop - rows.start, rows.start
                more = {**settings, "workers": workers, "first_world": first}
                made.append(SimVecEnv(robot, task, domain, size, **more))
        except BaseException:
            for env in made:
                env.close()
            raise
        self.halves = (made[0], made[1])
        self._obs: list[np.ndarray] = []

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begin a new episode in every world.

        Args:
            seed: New seed; None to go on.

        Returns:
            Observation (N, dim) float32.
        """
        self._obs = [env.reset(seed) for env in self.halves]
        return np.concatenate(self._obs)

    def alternate(self, act: Act, num_steps: int) -> Iterator[tuple[slice, StepResult]]:
        """Step every world a number of times, half after half.

        Both halves are under way most of the time: while one is waited for, or its result is used,
        the other one steps.

        Args:
            act: The policy.
            num_steps: Control steps of every world.

        Yields:
            The rows of a half, and its result; episodes are numbered as in the whole batch.
        """
        try:
            for rows, env, obs in zip(self.rows, self.halves, self._obs, strict=True):
                env.send(act(rows, obs))
            for step in range(num_steps):
                for index, (rows, env) in enumerate(zip(self.rows, self.halves, strict=True)):
                    result = env.receive()
                    self._obs[index] = result.obs
                    yield rows, _numbered(result, rows.start)
                    if step + 1 < num_steps:
                        env.send(act(rows, result.obs))
        finally:
            for index, env in enumerate(self.halves):
                if env.under_way:  # whoever iterates stopped early
                    self._obs[index] = env.receive().obs

    def close(self) -> None:
        """Release both halves. Safe to call twice."""
        for env in self.halves:
            env.close()


def _numbered(result: StepResult, first: int) -> StepResult:
    episodes = [replace(episode, world=first + episode.world) for episode in result.episodes]
    return result._replace(episodes=episodes)

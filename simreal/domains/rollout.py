"""Run a policy for whole episodes: the one loop of evaluation and of the choice of checkpoints.

Episodes are counted per world and not in the order they end, since the short ones end first.
"""

from collections.abc import Callable

import numpy as np

from simreal.domains.episodes import EpisodeInfo
from simreal.domains.vec_env import SimVecEnv
from simreal.errors import ConfigError

Act = Callable[[np.ndarray], np.ndarray]
"""From observations (N, dim) float32 to actions (N, A).

A policy with memory is an object with a method `begin(mask)`, which is told in which worlds an
episode begins (N,), bool.
"""


def run_episodes(env: SimVecEnv, act: Act, num_episodes: int, seed: int) -> list[EpisodeInfo]:
    """Run a number of whole episodes.

    Every policy that is run with the same environment and seed meets the same random numbers.
    Episodes are counted per world, so that worlds whose episodes are short are not counted more
    often.

    Args:
        env: Worlds whose episodes begin at their beginning (not staggered).
        act: The policy.
        num_episodes: Episodes to run, a multiple of the number of worlds.
        seed: Seed of the worlds.

    Returns:
        One summary per episode, ordered by world and episode.

    Raises:
        ConfigError: The episodes cannot be spread evenly over the worlds, or begin in the middle.
    """
    if env.staggered:
        raise ConfigError(
            "the environment's first episodes begin at random steps; build it with stagger=False"
        )
    if num_episodes < 1 or num_episodes % env.num_worlds:
        raise ConfigError(
            f"num_episodes is {num_episodes}; "
            f"a positive multiple of the {env.num_worlds} worlds is needed"
        )
    each = num_episodes // env.num_worlds
    obs = env.reset(seed)
    begin = getattr(act, "begin", None)
    starts = np.ones(env.num_worlds, dtype=bool)
    finished: list[EpisodeInfo] = []
    while len(finished) < num_episodes:
        if begin is not None:
            begin(starts)
        result = env.step(act(obs))
        obs, starts = result.obs, result.terminated | result.truncated
        finished += [e for e in result.episodes if e.episode < each]
    return sorted(finished, key=lambda e: (e.world, e.episode))


def num_steps(episodes: list[EpisodeInfo]) -> int:
    """Return the environment steps that episodes took."""
    return sum(episode.length for episode in episodes)


def success_rate(episodes: list[EpisodeInfo]) -> float:
    """Return the share of successful episodes."""
    return sum(episode.success for episode in episodes) / len(episodes)


def mean_return(episodes: list[EpisodeInfo]) -> float:
    """Return the mean return."""
    return float(np.mean([episode.return_ for episode in episodes]))

"""Run a policy in a domain and give tidy records, with random numbers that every policy shares."""

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains import Domain, SimVecEnv
from simreal.domains.rollout import Act, run_episodes
from simreal.errors import ConfigError
from simreal.evaluation.episodes import EpisodeRecord

TEST_SEED = 2_000_003
"""Seed of test episodes: neither training nor the choice of a checkpoint ever sees them."""

_MAX_WORLDS = 100


def check_episodes(num_episodes: int) -> None:
    """Check a number of test episodes, before an hour of training and not after it.

    Args:
        num_episodes: What was asked for.

    Raises:
        ConfigError: It is below 1.
    """
    if num_episodes < 1:
        raise ConfigError(f"{num_episodes} test episodes were asked for; at least 1 is needed")


def measure(
    act: Act,
    robot: Robot,
    task: Task,
    domain: Domain,
    *,
    policy: str,
    seed: int,
    num_episodes: int,
    test_seed: int = TEST_SEED,
) -> list[EpisodeRecord]:
    """Run test episodes of one policy in one domain.

    Args:
        act: The policy.
        robot: The robot.
        task: The task.
        domain: Where to run.
        policy: Name of the policy in the table.
        seed: Training seed of the policy.
        num_episodes: Episodes to run.
        test_seed: Seed of the episodes; the same for policies that are compared.

    Returns:
        One record per episode.

    Raises:
        ConfigError: No episode was asked for.
    """
    check_episodes(num_episodes)
    worlds = next(n for n in range(min(_MAX_WORLDS, num_episodes), 0, -1) if num_episodes % n == 0)
    env = SimVecEnv(robot, task, domain, worlds)
    try:
        episodes = run_episodes(env, act, num_episodes, test_seed)
    finally:
        env.close()
    return [
        EpisodeRecord(
            policy=policy,
            domain=domain.name,
            seed=seed,
            episode=index,
            episode_seed=test_seed,
            episode_return=episode.return_,
            length=episode.length,
            success=episode.success,
            end_reason=episode.reason,
        )
        for index, episode in enumerate(episodes)
    ]

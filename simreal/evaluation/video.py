"""Film a policy without a display.

The episode runs in whatever engine the domain names; the pictures come from PyBullet's software
renderer, posed with the recorded joint positions, because it needs neither a display nor OpenGL.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains import Domain, SimVecEnv
from simreal.domains.rollout import Act
from simreal.engines import EngineSpec, make_engine


@dataclass(frozen=True, slots=True)
class Recording:
    """Hold one recorded episode.

    Attributes:
        joint_pos: (T, J) [rad or m].
        commands: Actions (T, A).
        success: Whether it succeeded.
        return_: Sum of rewards.
    """

    joint_pos: np.ndarray
    commands: np.ndarray
    success: bool
    return_: float


def record_episode(act: Act, robot: Robot, task: Task, domain: Domain, seed: int = 0) -> Recording:
    """Run one episode and keep the joint positions.

    Args:
        act: The policy.
        robot: The robot.
        task: The task.
        domain: Where to run.
        seed: Seed of the episode.
    """
    env = SimVecEnv(robot, task, domain, 1)
    try:
        obs = env.reset(seed)
        positions, actions = [env.truth.joint_pos[0].copy()], []
        while True:
            action = act(obs)
            result = env.step(action, autoreset=False)
            obs = result.final_obs
            positions.append(env.truth.joint_pos[0].copy())
            actions.append(np.array(action[0]))
            if result.episodes:
                break
    finally:
        env.close()
    episode = result.episodes[0]
    return Recording(np.stack(positions), np.stack(actions), episode.success, episode.return_)


def write_video(
    path: Path,
    robot: Robot,
    recording: Recording,
    period_s: float,
    *,
    fps: int = 25,
    width: int = 480,
    height: int = 352,
) -> Path:
    """Write a recorded episode as an mp4 in real time.

    Args:
        path: File to write.
        robot: The robot.
        recording: The episode.
        period_s: Time between recorded positions [s].
        fps: Pictures per second.
        width: Width [px]; a multiple of 16.
        height: Height [px]; a multiple of 16.

    Returns:
        `path`.
    """
    still = {f"armature.{joint.name}": 0.0 for joint in robot.movable}
    spec = EngineSpec(robot=robot, num_worlds=1, tick_s=0.002, ticks=1, fixed=still)
    engine = make_engine("pybullet", spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    stride = max(1, round(1.0 / (fps * period_s)))
    one, rest = np.ones(1, dtype=bool), np.zeros((1, robot.num_joints))
    try:
        writer: Any = imageio.get_writer(
            str(path), format="FFMPEG", fps=fps, macro_block_size=8, quality=6
        )
        with writer:
            for position in recording.joint_pos[::stride]:
                engine.reset(one, position[None, :], rest)
                writer.append_data(engine.render(0, width, height))
    finally:
        engine.close()
    return path

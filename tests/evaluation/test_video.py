from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.evaluation.video import Recording, record_episode, write_video

Build = Callable[..., Any]


@pytest.mark.parametrize("engine", ["mujoco", "pybullet"])
def test_an_episode_is_recorded_from_its_start(
    toy_robot: Any, toy_task: Any, toy_domain: Build, engine: str
) -> None:
    def act(obs: np.ndarray) -> np.ndarray:
        return np.full((1, 1), 0.5)

    first = record_episode(act, toy_robot, toy_task, toy_domain(engine), seed=3)
    assert first.joint_pos.shape == (21, 1)  # the initial state and one per control step
    assert abs(first.joint_pos[0, 0]) <= 0.02
    assert first.joint_pos[-1, 0] > first.joint_pos[0, 0]
    np.testing.assert_array_equal(first.commands, np.full((20, 1), 0.5))
    assert first.success is False
    again = record_episode(act, toy_robot, toy_task, toy_domain(engine), seed=3)
    np.testing.assert_array_equal(first.joint_pos, again.joint_pos)


def test_the_video_shows_the_recorded_positions(
    toy_robot: Any, tmp_path: Path, read_video: Build
) -> None:
    # Hanging, then level, for two seconds each at 25 pictures per second.
    angles = np.repeat([0.0, np.pi / 2], 5)[:, None]
    recording = Recording(angles, np.zeros((9, 1)), success=True, return_=1.0)
    path = write_video(tmp_path / "sub" / "x.mp4", toy_robot, recording, 0.04, width=64, height=48)
    frames = read_video(path, 64, 48).astype(float)
    assert len(frames) == 10
    still, change = np.abs(frames[3] - frames[1]).mean(), np.abs(frames[8] - frames[1]).mean()
    assert change > 5 * still + 0.5


def test_a_fast_recording_is_thinned_to_real_time(
    toy_robot: Any, tmp_path: Path, read_video: Build
) -> None:
    recording = Recording(np.zeros((21, 1)), np.zeros((20, 1)), success=False, return_=0.0)
    path = write_video(tmp_path / "x.mp4", toy_robot, recording, 0.01, width=64, height=48)
    assert len(read_video(path, 64, 48)) == 6  # every fourth of 21

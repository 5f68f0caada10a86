"""A policy that reads more than joints is exported with every signal that a robot must supply."""

from pathlib import Path

import numpy as np
import torch

from simreal.core.action import ActionMap
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.deploy import NumpyPolicy, load, replay
from simreal.deploy.c_policy import CPolicy
from simreal.deploy.onnx_policy import OnnxPolicy
from simreal.domains.vec_env import signal_names
from simreal.learning.artifact import Trained, save_policy
from simreal_envs.domains import domain
from simreal_envs.robots import hopper
from simreal_envs.tasks.bullet_locomotion import HopperBullet


def test_a_hopper_runs_in_every_runtime(tmp_path: Path) -> None:
    robot, task = hopper(), HopperBullet()
    dim = ObservationPipeline(task.observation(robot), signal_names(robot, task)).dim
    count = ActionMap(task.action(robot), robot).dim
    draw = np.random.default_rng(0).standard_normal
    state = {
        "mlp_extractor.policy_net.0.weight": 0.1 * draw((16, dim)),
        "mlp_extractor.policy_net.0.bias": 0.1 * draw(16),
        "action_net.weight": 0.1 * draw((count, 16)),
        "action_net.bias": 0.1 * draw(count),
    }
    trained = Trained(
        name="hopper",
        robot=robot,
        task=task,
        domain=domain("pybullet_published"),
        state={name: torch.tensor(value, dtype=torch.float32) for name, value in state.items()},
        activation="tanh",
        algo="ppo",
        seed=0,
        env_steps=0,
    )
    bundle = load(save_policy(tmp_path / "hopper.policy", trained))
    assert [signal.name for signal in bundle.manifest.signals] == [
        "joint_pos",
        "joint_vel",
        *task.signals(robot),
    ]
    for make in (NumpyPolicy, CPolicy, OnnxPolicy):
        assert max(replay(bundle, make(bundle)).values()) < 1e-5

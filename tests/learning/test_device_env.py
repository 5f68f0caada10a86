"""Worlds on a device behind SB3's interface, and a `TorchPPO` that learns on them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from simreal.domains import Domain
from simreal.learning.algorithms import TorchPPOSettings
from simreal_envs.robots.double_pendulum import double_pendulum
from simreal_envs.tasks.double_pendulum import Pendubot

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco_warp")
from simreal.domains.tensor_env import TensorVecEnv  # noqa: E402
from simreal.learning.device_env import DeviceVecEnv  # noqa: E402


class Short(Pendubot):
    """Episodes of six control steps."""

    train_episode_s = 0.06


@pytest.fixture
def env() -> Iterator[DeviceVecEnv]:
    domain = Domain(name="device", engine="warp", options={"device": "cpu"})
    worlds = TensorVecEnv(double_pendulum(), Short(), domain, 4, training=True, stagger=False)
    made = DeviceVecEnv(worlds)
    yield made
    made.close()


def test_both_faces_show_the_same_episode(env: DeviceVecEnv) -> None:
    env.seed(3)
    wanted = env.reset()
    env.seed(3)
    np.testing.assert_array_equal(env.reset_tensor().numpy(), wanted)
    action = np.full((4, 1), 0.5, dtype=np.float32)
    tensors = [env.step_tensor(torch.from_numpy(action)) for _ in range(6)]
    last: Any = tensors[-1]
    assert last.truncated.all()
    assert [info["TimeLimit.truncated"] for info in last.infos] == [True] * 4
    ended = last.infos[2]["terminal_observation"]
    np.testing.assert_array_equal(ended, last.final_obs[2].numpy())
    assert [info["episode"]["l"] for info in env.drain()] == [6] * 4
    env.seed(3)
    env.reset()
    for _ in range(6):
        obs, reward, dones, infos = env.step(action)
    np.testing.assert_array_equal(obs, last.obs.numpy())
    np.testing.assert_array_equal(reward, last.reward.numpy())
    assert dones.all()
    np.testing.assert_array_equal(infos[2]["terminal_observation"], ended)
    assert infos[0]["episode"]["l"] == 6
    assert env.drain() == []


def test_infos_of_a_step_in_which_nothing_ends_are_empty(env: DeviceVecEnv) -> None:
    env.reset_tensor()
    step = env.step_tensor(torch.zeros(4, 1))
    assert list(step.infos) == [{}] * 4


def test_torch_ppo_learns_on_it(env: DeviceVecEnv) -> None:
    settings = TorchPPOSettings(
        num_worlds=4, num_steps=8, batch_size=16, num_epochs=2, extractor=(8,), head=(8,)
    )
    model = settings.build(env, 0)
    before = [p.clone() for p in model.policy.parameters()]
    model.learn(64)
    pairs = zip(model.policy.parameters(), before, strict=True)
    changes = [float((one - other).detach().abs().max()) for one, other in pairs]
    assert max(changes) > 1e-4
    assert model.num_timesteps == 64
    assert len(model.ep_info_buffer or ()) == 8  # 16 steps of 4 worlds, 6 an episode

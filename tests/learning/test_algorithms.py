from collections.abc import Callable
from typing import Any

import pytest
import torch
from stable_baselines3 import PPO

from simreal.domains import SimVecEnv
from simreal.errors import ConfigError
from simreal.learning.algorithms import (
    PPOSettings,
    SACSettings,
    TorchPPOSettings,
    single_thread,
)
from simreal.learning.policy import normalizers
from simreal.learning.torch_ppo import TorchPPO
from simreal.learning.vec_env import SB3VecEnv


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"num_worlds": 0}, "num_worlds is 0"),
        ({"gamma": 1.5}, "gamma is 1.5"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"final_learning_rate": -1.0}, "final_learning_rate is -1.0"),
        ({"activation": "relo"}, "Did you mean 'relu'"),
        ({"extractor": (8, 0)}, "widths > 0"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_epochs": 0}, "num_epochs 0"),
        ({"batch_size": 100}, "must divide num_worlds .* = 8192"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"sde_sample_freq": 4}, "sde_sample_freq is 4; -1, or at least 1 with use_sde"),
        ({"use_sde": True, "sde_sample_freq": 0}, "sde_sample_freq is 0"),
    ],
)
def test_ppo_settings_are_checked(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        PPOSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"buffer_size": 0}, "buffer_size is 0"),
        ({"gradient_steps": 0}, "gradient_steps is 0"),
        ({"learning_starts": -1}, "learning_starts is -1"),
        ({"tau": 0.0}, "tau is 0.0"),
        ({"ent_coef_init": 0.0}, "ent_coef_init 0.0"),
    ],
)
def test_sac_settings_are_checked(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        SACSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"memory": -1}, "memory is -1"),
        ({"memory": 8}, "set extractor="),
        ({"memory": 8, "extractor": (), "sequence_length": 24}, "it must divide num_steps = 128"),
    ],
)
def test_torch_ppo_settings_are_checked(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        TorchPPOSettings(**settings)


def test_names_are_those_in_bundles() -> None:
    assert (PPOSettings().name, SACSettings().name) == ("ppo", "sac")
    assert TorchPPOSettings().name == "ppo"  # its policies are those of PPO


def test_the_learning_rate_falls_linearly_or_stays() -> None:
    falling = PPOSettings(learning_rate=1e-3, final_learning_rate=1e-4).schedule
    assert [falling(r) for r in (1.0, 0.5, 0.0)] == pytest.approx([1e-3, 5.5e-4, 1e-4])
    assert PPOSettings(learning_rate=1e-3).schedule(0.0) == 1e-3


def test_settings_reach_the_algorithm(
    toy_robot: Any, toy_task: Any, toy_domain: Callable[..., Any], toy_algo: Callable[..., Any]
) -> None:
    env = SB3VecEnv(SimVecEnv(toy_robot, toy_task, toy_domain(), 4))
    try:
        ppo = toy_algo("ppo", gamma=0.9, log_std_init=-1.5, target_kl=0.02).build(env, 0)
        fast = toy_algo("torch_ppo", gamma=0.9, log_std_init=-1.5, target_kl=0.02).build(env, 0)
        sac = toy_algo("sac", tau=0.02, ent_coef_init=0.25).build(env, 0)
    finally:
        env.close()
    for model in (ppo, fast):
        assert (model.gamma, model.target_kl, model.n_steps) == (0.9, 0.02, 16)
        assert model.batch_size == 32
        assert model.policy.log_std.item() == -1.5
    assert (type(ppo), type(fast)) == (PPO, TorchPPO)
    assert (sac.tau, sac.learning_starts) == (0.02, 40)
    assert torch.exp(sac.log_ent_coef).item() == pytest.approx(0.25)


@pytest.mark.parametrize("algo", ["ppo", "torch_ppo", "sac"])
def test_a_task_can_forbid_the_normalizer(
    toy_robot: Any,
    toy_task: Any,
    toy_domain: Callable[..., Any],
    toy_algo: Callable[..., Any],
    algo: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = SB3VecEnv(SimVecEnv(toy_robot, toy_task, toy_domain(), 4))
    try:
        assert normalizers(toy_algo(algo).build(env, 0).policy)
        assert not normalizers(toy_algo(algo, normalize=False).build(env, 0).policy)
        monkeypatch.setattr(toy_task, "normalize", False)
        assert not normalizers(toy_algo(algo).build(env, 0).policy)
    finally:
        env.close()


@pytest.mark.parametrize("algo", ["ppo", "torch_ppo"])
def test_the_published_settings_reach_the_algorithm(
    toy_robot: Any,
    toy_task: Any,
    toy_domain: Callable[..., Any],
    toy_algo: Callable[..., Any],
    algo: str,
) -> None:
    settings = {"use_sde": True, "sde_sample_freq": 4, "ortho_init": False, "log_std_init": -2.0}
    settings |= {"clip_range": 0.4, "final_clip_range": 0.0, "normalize_reward": True}
    env = SB3VecEnv(SimVecEnv(toy_robot, toy_task, toy_domain(), 4))
    try:
        model = toy_algo(algo, gamma=0.9, **settings).build(env, 0)
        model.learn(128)
    finally:
        env.close()
    assert (model.use_sde, model.sde_sample_freq, model.policy.ortho_init) == (True, 4, False)
    # One deviation per feature of the last layer, not one per action alone.
    assert model.policy.log_std.shape == (8, 1)
    assert [model.clip_range(left) for left in (1.0, 0.5, 0.0)] == pytest.approx([0.4, 0.2, 0.0])
    reward = model.get_vec_normalize_env()
    assert reward is not None
    assert (reward.norm_obs, reward.norm_reward, reward.gamma) == (False, True, 0.9)
    assert reward.ret_rms.count > 128


def test_one_seed_gives_one_network(
    toy_robot: Any, toy_task: Any, toy_domain: Callable[..., Any], toy_algo: Callable[..., Any]
) -> None:
    env = SB3VecEnv(SimVecEnv(toy_robot, toy_task, toy_domain(), 4))
    try:
        first, second, other = (toy_algo().build(env, seed).policy for seed in (1, 1, 2))
    finally:
        env.close()
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    weight = "features_extractor.layers.0.weight"
    assert not torch.equal(first.state_dict()[weight], other.state_dict()[weight])


def test_single_thread() -> None:
    single_thread()
    assert torch.get_num_threads() == 1

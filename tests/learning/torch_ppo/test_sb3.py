"""What works with Stable-Baselines3's PPO works with `TorchPPO`."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from simreal.errors import ConfigError
from simreal.learning.tensor_env import HostArray
from simreal.learning.torch_ppo import TorchPPO
from simreal.learning.torch_ppo.learner import ModuleLearner

SMALL: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 2, "device": "cpu", "seed": 0}


class Gate(gymnasium.Env):
    """Reward the action that equals the first observation; ten steps, or an end on the way."""

    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self._obs(), {}

    def _obs(self) -> np.ndarray:
        self.seen = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return self.seen

    def step(self, action: np.ndarray) -> Any:
        assert self.action_space.contains(np.asarray(action, dtype=np.float32))
        reward = -abs(float(action[0]) - float(self.seen[0]))
        self.count += 1
        return self._obs(), reward, self.count == 7 and self.seen[1] > 0, self.count == 10, {}


def gates(worlds: int = 4) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(Gate()) for _ in range(worlds)])


class Features(BaseFeaturesExtractor):
    def __init__(self, observation_space: Any) -> None:
        super().__init__(observation_space, 4)
        self.layer = torch.nn.Linear(observation_space.shape[0], 4)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.layer(obs))


# --------------------------------------------------------------- the mathematics


@pytest.mark.parametrize(
    ("policy", "spaces_", "settings"),
    [
        ("MlpPolicy", {"action": spaces.Discrete(3)}, {}),
        ("MlpPolicy", {"action": spaces.MultiDiscrete([2, 3])}, {}),
        ("MlpPolicy", {"action": spaces.MultiBinary(2)}, {}),
        ("MlpPolicy", {}, {"use_sde": True, "sde_sample_freq": 4}),
        (
            "MlpPolicy",
            {},
            {"use_sde": True, "policy_kwargs": {"squash_output": True}, "ent_coef": 0.01},
        ),
        ("MlpPolicy", {}, {"policy_kwargs": {"features_extractor_class": Features}}),
        (
            "MultiInputPolicy",
            {
                "observation": spaces.Dict(
                    {"a": spaces.Box(-1, 1, (2,)), "b": spaces.Box(-1, 1, (3,))}
                )
            },
            {},
        ),
        (
            "CnnPolicy",
            {"observation": spaces.Box(0, 255, (3, 36, 36), np.uint8)},
            {"policy_kwargs": {"net_arch": [8]}},
        ),
    ],
)
def test_any_policy_of_sb3_learns_the_same(
    recorded: Any,
    twins: Callable[..., Any],
    update_both: Callable[..., None],
    largest_difference: Callable[..., float],
    policy: str,
    spaces_: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    ours, theirs = twins(recorded(4, **spaces_), policy, **settings)
    begin = ours.policy.parameters_to_vector()
    for _ in range(2):
        update_both(ours, theirs)
    assert type(ours._learner) is ModuleLearner
    assert largest_difference(ours, theirs) < 1e-5
    assert np.abs(ours.policy.parameters_to_vector() - begin).max() > 1e-4


@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.SiLU])
@pytest.mark.parametrize("target_kl", [1e-3, 5e-3])
def test_the_early_stop_is_that_of_sb3(
    recorded: Any,
    twins: Callable[..., Any],
    update_both: Callable[..., None],
    largest_difference: Callable[..., float],
    activation: type,
    target_kl: float,
) -> None:
    settings = {"target_kl": target_kl, "learning_rate": 3e-3, "n_epochs": 4}
    kwargs = {"activation_fn": activation}
    ours, theirs = twins(recorded(8), policy_kwargs=kwargs, **settings)
    for _ in range(3):
        update_both(ours, theirs)
        assert largest_difference(ours, theirs) < 1e-5
        assert ours._n_updates == theirs._n_updates
        for tag in ("approx_kl", "policy_gradient_loss", "loss", "value_loss"):
            mine, yours = (m.logger.name_to_value[f"train/{tag}"] for m in (ours, theirs))
            assert mine == pytest.approx(yours, rel=1e-3, abs=1e-6)
    assert ours._n_updates < 12


@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.SiLU])  # by hand, by its own code
def test_advantages_and_returns_are_those_of_sb3(recorded: Any, activation: Any) -> None:
    # The tape does not listen to actions, so both see the same rollout.
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 64, "seed": 0, "device": "cpu"}
    settings["policy_kwargs"] = {"activation_fn": activation}
    ours, theirs = (cls("MlpPolicy", recorded(6, ends=0.3), **settings) for cls in (TorchPPO, PPO))
    theirs.policy.load_state_dict(ours.policy.state_dict())
    for model in (ours, theirs):
        _, callback = model._setup_learn(10**6)
        model.collect_rollouts(model.env, callback, model.rollout_buffer, 32)
    mine, yours = ours.rollout_buffer, theirs.rollout_buffer
    assert mine.done.sum() > 20
    np.testing.assert_array_equal(mine.observations.numpy(), yours.observations)
    for name in ("values", "advantages", "returns"):
        np.testing.assert_allclose(getattr(mine, name).numpy(), getattr(yours, name), atol=2e-6)
    np.testing.assert_array_equal(mine.episode_starts[:-1].numpy(), yours.episode_starts)


def test_a_time_limit_is_bootstrapped_and_a_termination_is_not(recorded: Any) -> None:
    model = TorchPPO("MlpPolicy", recorded(1), n_steps=2, batch_size=2, device="cpu", gamma=0.5)
    buffer = model.rollout_buffer
    buffer.rewards.fill_(1.0)
    buffer.values[:, 0] = torch.tensor([2.0, 3.0])
    buffer.next_values[:, 0] = torch.tensor([8.0, 4.0])
    buffer.gae_lambda = 0.5
    for done, terminated, expected in (
        # delta = (1 + 4 - 2, 1 + 2 - 3) = (3, 0)
        (0.0, 0.0, [3.0, 0.0]),
        (1.0, 0.0, [3.0, 0.0]),
        (1.0, 1.0, [-1.0, 0.0]),
    ):
        buffer.done[:, 0] = torch.tensor([done, 0.0])
        buffer.terminated[:, 0] = torch.tensor([terminated, 0.0])
        buffer.estimate()
        assert buffer.advantages[:, 0].tolist() == expected
    buffer.next_values[1] = 8.0  # the second delta is 2, and reaches the first by 0.25
    buffer.done.zero_()
    buffer.terminated.zero_()
    buffer.estimate()
    assert buffer.advantages[:, 0].tolist() == [3.5, 2.0]
    assert buffer.returns[:, 0].tolist() == [5.5, 5.0]


# ------------------------------------------------------------------------- files


@pytest.mark.parametrize("sde", [False, True])
def test_a_file_opens_in_stock_sb3_and_goes_on(tmp_path: Path, sde: bool) -> None:
    ours = TorchPPO("MlpPolicy", gates(), use_sde=sde, **SMALL).learn(128)
    ours.save(tmp_path / "ours")
    with zipfile.ZipFile(tmp_path / "ours.zip") as file:
        assert b"simreal" not in file.read("data")
    theirs = PPO.load(tmp_path / "ours", env=gates(), device="cpu")
    obs = np.array([[0.1, -0.2, 0.3]], dtype=np.float32)
    np.testing.assert_array_equal(*(m.predict(obs, deterministic=True)[0] for m in (ours, theirs)))
    first = theirs.policy.optimizer.state_dict()["state"]
    assert {float(entry["step"]) for entry in first.values()} == {16.0}
    theirs.learn(64, reset_num_timesteps=False)
    steps = {float(e["step"]) for e in theirs.policy.optimizer.state_dict()["state"].values()}
    assert steps == {24.0}
    assert theirs.num_timesteps == 192


def test_a_file_of_stock_sb3_opens_and_goes_on(tmp_path: Path) -> None:
    theirs = PPO("MlpPolicy", gates(), **SMALL).learn(128)
    theirs.save(tmp_path / "theirs")
    ours = TorchPPO.load(tmp_path / "theirs", env=gates(), device="cpu")
    obs = np.array([[0.1, -0.2, 0.3]], dtype=np.float32)
    np.testing.assert_array_equal(*(m.predict(obs, deterministic=True)[0] for m in (ours, theirs)))
    ours.learn(64, reset_num_timesteps=False)
    steps = {float(e["step"]) for e in ours.policy.optimizer.state_dict()["state"].values()}
    assert steps == {24.0}


def test_saving_and_going_on_equals_going_on(tmp_path: Path, recorded: Any) -> None:
    whole = TorchPPO("MlpPolicy", recorded(4), **SMALL).learn(64)
    whole.save(tmp_path / "half")
    again = TorchPPO.load(tmp_path / "half", env=recorded(4, seed=1), device="cpu")
    whole.set_env(recorded(4, seed=1))
    for model in (whole, again):
        torch.manual_seed(5)
        model.learn(64, reset_num_timesteps=False)
    np.testing.assert_array_equal(
        whole.policy.parameters_to_vector(), again.policy.parameters_to_vector()
    )


def test_parameters_can_be_set_between_updates(recorded: Any) -> None:
    model, other = (TorchPPO("MlpPolicy", recorded(4), **SMALL | {"seed": s}) for s in (0, 1))
    model.learn(64)
    other.learn(64)
    model.set_parameters(other.get_parameters())
    np.testing.assert_array_equal(
        model.policy.parameters_to_vector(), other.policy.parameters_to_vector()
    )
    before = model.policy.parameters_to_vector()
    model.learn(64, reset_num_timesteps=False)
    assert np.abs(model.policy.parameters_to_vector() - before).max() > 0
    assert float(next(iter(model.policy.optimizer.state.values()))["step"]) == 16.0


def test_another_optimizer_may_be_put_in_place(recorded: Any) -> None:
    model = TorchPPO("MlpPolicy", recorded(4), **SMALL).learn(64)
    model.policy.optimizer = torch.optim.SGD(model.policy.parameters(), lr=0.1)
    before = model.policy.parameters_to_vector()
    model.learn(64, reset_num_timesteps=False)
    assert type(model._learner) is ModuleLearner
    assert np.abs(model.policy.parameters_to_vector() - before).max() > 0


# --------------------------------------------------------------------- callbacks


class Watch(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.ends = 0

    def _on_step(self) -> bool:
        self.names |= set(self.locals)
        self.ends += int(np.sum(self.locals["dones"]))
        for world in np.flatnonzero(self.locals["dones"]):
            assert "terminal_observation" in self.locals["infos"][world]
        assert self.locals["rewards"].shape == (4,)
        return True


def test_callbacks_see_the_names_of_sb3() -> None:
    watch = Watch()
    model = TorchPPO("MlpPolicy", gates(), **SMALL).learn(256, callback=watch)
    wanted = {"actions", "clipped_actions", "new_obs", "rewards", "dones", "infos", "env"}
    assert wanted | {"rollout_buffer", "n_steps"} <= watch.names
    assert watch.ends >= 20
    assert len(model.ep_info_buffer) == watch.ends


def test_sb3s_callbacks_work(tmp_path: Path) -> None:
    evaluate = EvalCallback(
        gates(1), eval_freq=16, n_eval_episodes=2, log_path=str(tmp_path), verbose=0
    )
    keep = CheckpointCallback(32, str(tmp_path), verbose=0)
    model = TorchPPO("MlpPolicy", gates(), **SMALL).learn(192, callback=[evaluate, keep])
    assert model.num_timesteps == 192
    assert len(np.load(tmp_path / "evaluations.npz")["timesteps"]) == 3
    assert (tmp_path / "rl_model_128_steps.zip").exists()


def test_a_callback_ends_the_training_within_a_rollout() -> None:
    stop = StopTrainingOnMaxEpisodes(1)
    model = TorchPPO("MlpPolicy", gates(), **SMALL).learn(10_000, callback=stop)
    assert model.num_timesteps < 16 * 4


@pytest.mark.parametrize("wrapper", [VecNormalize, VecMonitor])
def test_sb3s_wrappers_work(wrapper: Any) -> None:
    model = TorchPPO("MlpPolicy", wrapper(gates()), **SMALL).learn(256)
    assert model.num_timesteps == 256
    assert model.ep_info_buffer


def test_it_learns() -> None:
    settings = SMALL | {"n_steps": 64, "batch_size": 64, "n_epochs": 8, "learning_rate": 5e-3}
    model = TorchPPO("MlpPolicy", gates(8), gamma=0.5, **settings).learn(12_000)
    returns = [episode["r"] / episode["l"] for episode in model.ep_info_buffer]
    assert np.mean(returns) > -0.25  # a random policy gets about -1


def test_a_buffer_of_arrays_is_refused() -> None:
    from stable_baselines3.common.buffers import RolloutBuffer

    with pytest.raises(ConfigError, match="rollout_buffer_class is RolloutBuffer"):
        TorchPPO("MlpPolicy", gates(), rollout_buffer_class=RolloutBuffer, **SMALL)


def test_what_a_callback_sees_of_a_tensor_on_another_device() -> None:
    seen: Any = HostArray(torch.tensor([True, False, True]))
    assert np.sum(seen) == 2
    assert len(seen) == 3
    assert bool(seen[1]) is False
    assert np.asarray(seen, dtype=float).tolist() == [1.0, 0.0, 1.0]

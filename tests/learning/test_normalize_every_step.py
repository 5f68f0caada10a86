"""Normalizers that move at every step: the policy learns as with SB3's `VecNormalize`."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.vec_env import VecNormalize

from simreal.domains import SimVecEnv
from simreal.errors import ConfigError
from simreal.learning.freezing import freeze, unfreeze
from simreal.learning.policy import normalizers
from simreal.learning.trainer import Phase, train
from simreal.learning.vec_env import SB3VecEnv

Build = Callable[..., Any]
STEPS = 192  # three rollouts
PUBLISHED = {"use_sde": True, "sde_sample_freq": 4, "normalize_reward": True}


@pytest.fixture
def env(toy_robot: Any, toy_task: Any, toy_domain: Build) -> Iterator[Build]:
    made: list[SB3VecEnv] = []

    def make() -> SB3VecEnv:
        made.append(SB3VecEnv(SimVecEnv(toy_robot, toy_task, toy_domain(), 4, training=True)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_it_learns_as_with_vec_normalize(env: Build, toy_algo: Build) -> None:
    settings = toy_algo("ppo", normalize_every_step=True, **PUBLISHED)
    ours = settings.build(env(), 5)
    ours.learn(STEPS, callback=settings.normalizer_callback)

    plain = toy_algo("ppo", normalize=False, **PUBLISHED)
    wrapped = VecNormalize(env(), gamma=plain.gamma)
    theirs = PPO("MlpPolicy", wrapped, seed=5, **plain.arguments(wrapped.unwrapped.sim.task))
    begin = {name: value.clone() for name, value in theirs.policy.named_parameters()}
    theirs.learn(STEPS)

    for normalizer in normalizers(ours.policy):
        np.testing.assert_allclose(normalizer.mean, wrapped.obs_rms.mean, atol=1e-6)
        np.testing.assert_allclose(normalizer.var, wrapped.obs_rms.var, rtol=1e-5)
        assert normalizer.count == pytest.approx(wrapped.obs_rms.count)
    moved = 0.0
    own = dict(ours.policy.named_parameters())
    for name, value in theirs.policy.named_parameters():
        torch.testing.assert_close(own[name], value, rtol=0.0, atol=1e-5)
        moved = max(moved, float((value - begin[name]).detach().abs().max()))
    assert moved > 1e-3  # a hundred times what they may differ by

    raw = np.linspace(-1.0, 1.0, env().observation_space.shape[0], dtype=np.float32)
    action, _ = ours.predict(raw, deterministic=True)
    expected, _ = theirs.predict(wrapped.normalize_obs(raw), deterministic=True)
    np.testing.assert_allclose(action, expected, atol=1e-4)


def test_statistics_begin_with_the_first_observation(env: Build, toy_algo: Build) -> None:
    settings = toy_algo("ppo", normalize_every_step=True)
    model = settings.build(env(), 0)
    model.learn(64, callback=settings.normalizer_callback)
    # What was reset, and what came of each of 16 steps, in four worlds.
    assert [n.count.item() for n in normalizers(model.policy)] == pytest.approx([4 * 17 + 1e-4] * 2)


def test_frozen_statistics_leave_rollouts_as_they_are(env: Build, toy_algo: Build) -> None:
    settings = toy_algo("ppo", normalize_every_step=True)
    model = settings.build(env(), 0)
    for normalizer in normalizers(model.policy):
        normalizer.update(torch.ones(5, normalizer.mean.shape[0]))
    freeze(model.policy, "*.normalizer")
    before = [n.count.item() for n in normalizers(model.policy)]
    model.learn(64, callback=settings.normalizer_callback)
    assert [n.count.item() for n in normalizers(model.policy)] == before


@pytest.mark.parametrize("different", ["frozen", "filled"])
def test_normalizers_that_differ_are_refused(env: Build, toy_algo: Build, different: str) -> None:
    settings = toy_algo("ppo", normalize_every_step=True)
    model = settings.build(env(), 0)
    actors, critics = normalizers(model.policy)
    for normalizer in (actors, critics):
        normalizer.update(torch.ones(5, normalizer.mean.shape[0]))
    if different == "frozen":
        freeze(model.policy, "actor.normalizer")
    else:
        critics.update(torch.zeros(5, critics.mean.shape[0]))
    with pytest.raises(ConfigError, match=r"algo\.normalize_every_step=false"):
        model.learn(64, callback=settings.normalizer_callback)


def test_a_frozen_normalizer_begins_when_it_moves(env: Build, toy_algo: Build) -> None:
    settings = toy_algo("ppo", normalize_every_step=True)
    model = settings.build(env(), 0)
    freeze(model.policy, "*.normalizer")
    model.learn(64, callback=settings.normalizer_callback)
    assert [n.count.item() for n in normalizers(model.policy)] == [0, 0]
    unfreeze(model.policy, "*")
    model.learn(64, callback=settings.normalizer_callback, reset_num_timesteps=False)
    assert [n.count.item() for n in normalizers(model.policy)] == pytest.approx([4 * 17 + 1e-4] * 2)


def test_outliers_of_a_rollout_are_what_the_policy_saw(env: Build, toy_algo: Build) -> None:
    """A first observation far off is clipped by statistics that have seen nothing else."""
    settings = toy_algo("ppo", normalize_every_step=True)
    model = settings.build(env(), 0)
    callback = settings.normalizer_callback
    seen = []

    class Watch(BaseCallback):
        """Look at a rollout with one outlier before and after it is rewritten."""

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            rollout = self.model.rollout_buffer.observations
            rollout[1, 0] = 1e6
            callback.on_rollout_end()
            now = normalizers(self.model.policy)[0]
            seen.append(((rollout[1, 0] - now.mean.numpy()) / now.scale.numpy(), now.limit))
            callback._moving = []

    model.learn(64, callback=CallbackList([Watch(), callback]))
    np.testing.assert_allclose(*seen[0], rtol=1e-3)


def test_there_must_be_something_to_move(toy_algo: Build) -> None:
    with pytest.raises(ConfigError, match="normalize_every_step is true and normalize false"):
        toy_algo("ppo", normalize_every_step=True, normalize=False)


def test_a_phase_that_could_not_be_kept_is_refused_before_the_first_step(
    toy_job: Any, toy_algo: Build
) -> None:
    phases = (Phase(until=128), Phase(until=192, frozen=("actor.*",)))
    settings = toy_algo("ppo", normalize_every_step=True)
    job = toy_job(settings=settings, plan={"phases": phases})
    with pytest.raises(ConfigError, match=r"algo\.normalize_every_step=false"):
        train(job)
    assert not list(job.folder.rglob("*"))


def test_ppo_on_tensors_refuses_it(toy_algo: Build) -> None:
    with pytest.raises(ConfigError, match="normalize_every_step is true"):
        toy_algo("torch_ppo", normalize_every_step=True)

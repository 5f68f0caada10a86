from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecMonitor

from simreal.domains import SimVecEnv, StepResult
from simreal.learning.vec_env import SB3VecEnv

Build = Callable[..., Any]
ZERO = np.zeros((3, 1), dtype=np.float32)


@pytest.fixture
def build(toy_robot: Any, toy_task: Any, toy_domain: Build) -> Iterator[Build]:
    made = []

    def make(num_worlds: int = 3, **settings: Any) -> SB3VecEnv:
        sim = SimVecEnv(toy_robot, toy_task, toy_domain(), num_worlds, **settings)
        made.append(SB3VecEnv(sim))
        return made[-1]

    yield make
    for env in made:
        env.close()


def test_spaces_and_types(build: Build) -> None:
    env = build()
    obs = env.reset()
    assert obs.shape == (3, 12)
    assert obs.dtype == np.float32
    assert env.action_space.contains(np.array([-1.0], dtype=np.float32))
    obs, rewards, dones, infos = env.step(ZERO)
    assert (obs.shape, rewards.shape, dones.shape, len(infos)) == ((3, 12), (3,), (3,), 3)
    assert (obs.dtype, rewards.dtype, dones.dtype) == (np.float32, np.float32, bool)


def test_the_time_limit_truncates_and_keeps_the_last_observation(build: Build) -> None:
    env = build()
    env.reset()
    for step in range(1, 21):
        obs, _, dones, infos = env.step(ZERO)
        assert dones.all() == (step == 20)
    for world, info in enumerate(infos):
        assert info["TimeLimit.truncated"] is True
        assert info["reason"] == "time limit"
        assert info["episode"]["l"] == 20
        # The terminal observation is not the one of the new episode, whose actions are zero ...
        assert not np.array_equal(info["terminal_observation"], obs[world])
        # ... and shows one more step than the observation before it.
        assert info["terminal_observation"].shape == (12,)


def test_terminal_observation_is_what_an_unbroken_episode_sees(
    build: Build, toy_robot: Any, toy_task: Any, toy_domain: Build
) -> None:
    env = build()
    env.reset()
    for _ in range(20):
        *_, infos = env.step(0.5 * np.ones_like(ZERO))
    sim = SimVecEnv(toy_robot, toy_task, toy_domain(), 3)
    try:
        sim.reset()
        for _ in range(20):
            result = sim.step(0.5 * np.ones_like(ZERO), autoreset=False)
        for world, info in enumerate(infos):
            np.testing.assert_array_equal(info["terminal_observation"], result.final_obs[world])
    finally:
        sim.close()


def test_nothing_that_is_handed_out_changes_later(build: Build) -> None:
    env = build()
    kept = [env.reset()]
    copies = [kept[0].copy()]
    last: list[dict[str, Any]] = []
    for _ in range(25):
        obs, rewards, _, infos = env.step(np.random.default_rng(0).uniform(-1, 1, (3, 1)))
        kept += [obs, rewards]
        copies += [obs.copy(), rewards.copy()]
        assert not any(a is b for a in last for b in infos)
        last = infos
        infos[0]["mine"] = 1.0
    for value, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(value, copy)


def test_success_is_told_where_the_episode_is_long_enough(build: Build) -> None:
    for training, told in ((False, True), (True, False)):
        env = build(training=training, stagger=False)
        env.reset()
        for _ in range(20):
            *_, dones, infos = env.step(ZERO)
            if dones.any():
                break
        assert ("is_success" in infos[0]) is told


def test_staggered_first_episodes_are_not_counted(build: Build) -> None:
    env = build(32, training=True)
    env.reset()
    starts, counted = env.sim.book.start.copy(), {}
    for _ in range(env.sim.book.limit):
        *_, dones, infos = env.step(np.zeros((32, 1)))
        for world in np.flatnonzero(dones).tolist():
            counted.setdefault(world, "episode" in infos[world])
    assert counted == {world: start == 0 for world, start in enumerate(starts.tolist())}
    assert set(counted.values()) == {False, True}


def test_the_seed_is_used_once(build: Build) -> None:
    env = build()
    env.seed(5)
    first = env.reset()
    second = env.reset()
    assert not np.array_equal(first, second)
    env.seed(5)
    np.testing.assert_array_equal(env.reset(), first)
    env.seed(5)
    env.forget_seed()
    assert not np.array_equal(env.reset(), first)


def test_sb3_wrappers_work_on_it(build: Build) -> None:
    env = VecMonitor(build())
    env.reset()
    for _ in range(20):
        *_, infos = env.step(ZERO)
    assert infos[0]["episode"]["l"] == 20


def test_attributes_and_methods_reach_the_runtime(build: Build) -> None:
    env = build()
    assert env.get_attr("num_worlds") == [3, 3, 3]
    assert env.get_attr("render_mode", 0) == ["rgb_array"]
    env.set_attr("training", True)
    assert env.sim.training is True
    assert env.env_method("get_state", indices=[0])[0]["seed"][0] == 0
    assert env.env_is_wrapped(VecMonitor) == [False, False, False]


# --------------------------------------------------------------- the tensor face


def test_both_faces_give_the_same(build: Build) -> None:
    arrays, tensors = build(seed=5), build(seed=5)
    obs, seen = arrays.reset(), tensors.reset_tensor()
    rng = np.random.default_rng(0)
    for _ in range(45):
        np.testing.assert_array_equal(obs, seen.numpy())
        action = rng.uniform(-1, 1, (3, 1)).astype(np.float32)
        obs, rewards, dones, infos = arrays.step(action)
        step = tensors.step_tensor(torch.from_numpy(action))
        seen = step.obs
        np.testing.assert_array_equal(rewards, step.reward.float().numpy())
        np.testing.assert_array_equal(dones, (step.terminated | step.truncated).numpy())
        assert len(step.infos) == 3
        for world, (info, again) in enumerate(zip(infos, step.infos, strict=True)):
            assert info.keys() == again.keys()
            if info:
                np.testing.assert_array_equal(
                    info["terminal_observation"], step.final_obs[world].numpy()
                )
                assert info["TimeLimit.truncated"] == bool(step.truncated[world])
                assert info["episode"] == again["episode"]
    assert [e["episode"]["l"] for e in tensors.drain()] == [20] * 6
    assert tensors.drain() == []


def test_tensors_of_the_cpu_share_the_arrays_of_the_runtime(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = build()
    env.reset()
    results: list[StepResult] = []
    actions: list[Any] = []
    step = env.sim.step

    def spy(action: np.ndarray) -> StepResult:
        actions.append(action)
        results.append(step(action))
        return results[-1]

    monkeypatch.setattr(env.sim, "step", spy)
    action = torch.zeros(3, 1)
    seen = env.step_tensor(action)
    assert np.shares_memory(actions[0], action.numpy())
    for name in ("obs", "reward", "final_obs"):
        assert np.shares_memory(getattr(seen, name).numpy(), getattr(results[0], name))


def test_a_runtime_of_tensors_has_the_numpy_face_too(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, other = build(seed=5), build(seed=5)
    step, reset = other.sim.step, other.sim.reset

    def tensor_step(action: Any) -> Any:
        result = step(np.asarray(action))
        return result._replace(
            **{
                name: torch.from_numpy(value.copy())
                for name, value in result._asdict().items()
                if isinstance(value, np.ndarray)
            }
        )

    monkeypatch.setattr(other.sim, "step", tensor_step)
    monkeypatch.setattr(other.sim, "reset", lambda seed: torch.from_numpy(reset(seed).copy()))
    np.testing.assert_array_equal(env.reset(), other.reset())
    for _ in range(20):
        first, second = env.step(ZERO), other.step(ZERO)
        for mine, yours in zip(first[:3], second[:3], strict=True):
            np.testing.assert_array_equal(mine, yours)
    assert first[3][0]["TimeLimit.truncated"] is second[3][0]["TimeLimit.truncated"] is True
    assert isinstance(second[3][0]["terminal_observation"], np.ndarray)

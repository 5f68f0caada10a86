"""The tensor runtime steps a domain like the numpy runtime, without ever asking the host."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from simreal.core.distributions import Uniform
from simreal.domains import (
    Actuation,
    Domain,
    JointSamples,
    Randomization,
    Randomized,
    Sensing,
    SimVecEnv,
)
from simreal.errors import CheckpointError, ConfigError, EngineError
from simreal_envs.robots.double_pendulum import double_pendulum
from simreal_envs.tasks.double_pendulum import Pendubot

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco_warp")
from simreal.domains.tensor_env import TensorVecEnv  # noqa: E402

Make = Callable[..., Any]
CPU = {"device": "cpu"}
RANDOM = Randomization(
    {
        "mass": {"*": Randomized(distribution=Uniform(0.8, 1.2), mode="scale")},
        "joint_friction": {"*": Randomized(distribution=Uniform(0.0, 0.1))},
        "gravity": Randomized(distribution=Uniform(9.0, 10.0), when="startup"),
        "motor_strength": {
            "*": Randomized(distribution=Uniform(0.9, 1.0), when="interval", interval_s=0.05)
        },
        "command_delay": Randomized(distribution=Uniform(0.0, 0.015)),
    }
)
NOISE = Sensing(joint_pos_noise=0.01, joint_vel_noise=0.1, dropout=0.1, measurement_delay=0.007)


class Short(Pendubot):
    """Episodes of eight control steps."""

    train_episode_s = 0.08


@pytest.fixture
def make() -> Iterator[Make]:
    made = []

    def build(num_worlds: int, task: Any = None, **settings: Any) -> TensorVecEnv:
        runtime = {
            k: settings.pop(k)
            for k in ("seed", "training", "stagger", "log_capacity", "compiler")
            if k in settings
        }
        domain = Domain(name="device", engine="warp", options=CPU, **settings)
        task = task or Pendubot()
        env = TensorVecEnv(double_pendulum(), task, domain, num_worlds, **runtime)
        made.append(env)
        return env

    yield build
    for env in made:
        env.close()


def actions(step: int, num_worlds: int, amplitude: float = 0.1) -> np.ndarray:
    return amplitude * np.sin(0.05 * step + np.arange(num_worlds))[:, None]


def tensor(values: np.ndarray) -> Any:
    return torch.tensor(values, dtype=torch.float32)


def test_an_episode_equals_that_of_the_numpy_runtime(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = np.linspace(-0.02, 0.02, 8).reshape(4, 2)

    def initial(self: Pendubot, xp: Any, draws: Any, explore: float) -> Any:
        rows = xp.asarray(start, dtype=draws.dtype)[: len(draws)]
        return rows, 0.0 * rows

    monkeypatch.setattr(Pendubot, "initial", initial)
    parts = {
        "actuation": Actuation(command_delay=0.011),
        "sensing": Sensing(measurement_delay=0.014),
    }
    wanted = SimVecEnv(
        double_pendulum(),
        Pendubot(),
        Domain(name="cpu", engine="mujoco", **parts),
        4,
        training=True,
        stagger=False,
    )
    found = make(4, training=True, stagger=False, **parts)
    np.testing.assert_allclose(found.reset().numpy(), wanted.reset(), atol=1e-6)
    moved = 0.0
    for step in range(503):
        here = found.step(tensor(actions(step, 4)))
        there = wanted.step(actions(step, 4))
        for name in ("obs", "reward", "final_obs"):
            pair = getattr(here, name).numpy(), getattr(there, name)
            np.testing.assert_allclose(*pair, atol=1e-4, err_msg=f"{name} at step {step}")
        for name in ("terminated", "truncated"):
            np.testing.assert_array_equal(getattr(here, name).numpy(), getattr(there, name))
        moved = max(moved, float(np.abs(there.obs).max()))
        if there.episodes:
            assert step == 499
            summaries = there.episodes
    assert moved > 0.5
    mine = sorted(found.drain(), key=lambda e: e.world)
    for one, other in zip(mine, summaries, strict=True):
        assert (one.world, one.episode, one.length) == (other.world, 0, 500)
        assert (one.success, one.reason, one.partial) == (False, "time limit", False)
        assert one.return_ == pytest.approx(other.return_, abs=1e-2)
        assert one.terms == pytest.approx(dict(other.terms), abs=1e-2)
    wanted.close()


EVERYTHING = Randomization(
    {
        **RANDOM.params,
        "com": {"*": Randomized(distribution=Uniform(-0.01, 0.01), mode="add")},
        "inertia": {"*": Randomized(distribution=Uniform(0.9, 1.1), mode="scale")},
        "armature": {"*": Randomized(distribution=Uniform(0.0, 0.01))},
        "joint_damping": {"*": Randomized(distribution=Uniform(0.0, 0.02))},
        "torque_limit": {"*": Randomized(distribution=Uniform(0.8, 1.0), mode="scale")},
        "link_length": {"*": Randomized(distribution=Uniform(0.9, 1.1), mode="scale")},
    }
)


def test_a_compiler_sees_the_whole_step(make: Make) -> None:
    # With no backend but PyTorch's own operations; what it cannot follow is an error.
    compiled: list[str] = []

    def compiler(body: Callable[[], Any]) -> Callable[[], Any]:
        compiled.append(getattr(body, "__qualname__", "a piece"))
        return torch.compile(body, backend="eager", fullgraph=True)

    settings = {"training": True, "randomization": EVERYTHING, "sensing": NOISE}
    found, wanted = (make(8, Short(), compiler=c, **settings) for c in (compiler, None))
    np.testing.assert_array_equal(found.reset().numpy(), wanted.reset().numpy())
    for step in range(20):
        here, there = (env.step(tensor(actions(step, 8))) for env in (found, wanted))
        for one, other in zip(here, there, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=f"step {step}")
    assert compiled
    assert [e.return_ for e in found.drain()] == [e.return_ for e in wanted.drain()]


def test_a_world_does_not_depend_on_the_others(make: Make) -> None:
    few, many = (
        make(n, Short(), randomization=RANDOM, sensing=NOISE, training=True, seed=3) for n in (2, 5)
    )
    np.testing.assert_array_equal(few.reset().numpy(), many.reset().numpy()[:2])
    for step in range(20):
        one, other = (env.step(tensor(actions(step, env.num_worlds))) for env in (few, many))
        # Torch's vector instructions round the last bit of a sine otherwise than its scalar ones.
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a.float(), b[:2].float(), atol=1e-6)
    for name, values in few.params.items():
        np.testing.assert_array_equal(values, many.params[name][:2])
    episodes = [e for e in many.drain() if e.world < 2]
    assert [(e.world, e.params) for e in episodes] == [(e.world, e.params) for e in few.drain()]
    assert len(episodes) >= 4


def test_obs_is_of_the_new_episode_and_final_obs_of_the_old_one(make: Make) -> None:
    env = make(3, Short(), training=True, stagger=True, seed=1)
    env.reset()
    ended = np.zeros(3, dtype=int)
    for step in range(9):
        result = env.step(tensor(actions(step, 3, 1.0)))
        done = (result.terminated | result.truncated).numpy()
        same = (result.obs == result.final_obs).all(dim=1).numpy()
        np.testing.assert_array_equal(same, ~done)
        ended += done
    assert ended.min() >= 1
    episodes = env.drain()
    assert [e.partial for e in episodes if e.episode == 0].count(True) >= 1
    assert all(e.length <= 8 for e in episodes)
    assert env.drain() == []


def test_a_drain_may_ask_for_the_last_episodes_alone(make: Make) -> None:
    env = make(3, Short())
    env.reset()
    env.engine._saved["qvel"][0] = float("nan")
    for step in range(env.book.limit):
        env.step(tensor(actions(step, 3)))
    assert [(e.world, e.reason) for e in env.drain(most=1)] == [(2, "time limit")]
    assert env.book.num_diverged == 1  # of all, told of or not
    assert env.drain() == []


def test_results_stay_valid_until_the_step_after_the_next(make: Make) -> None:
    env = make(2)
    env.reset()
    first = env.step(tensor(actions(1, 2, 1.0)))
    kept = first.final_obs.clone()
    env.step(tensor(actions(9, 2, 1.0)))
    assert torch.equal(first.final_obs, kept)


def test_drawn_parameters_are_those_the_worlds_have(make: Make) -> None:
    env = make(4, Short(), randomization=RANDOM, training=True, stagger=False)
    env.reset()
    seen = {name: set() for name in env.params}
    gravity = env.params["gravity"].clone()
    for step in range(10):
        env.step(tensor(actions(step, 4)))
        for name, values in env.params.items():
            seen[name].add(round(float(values[1, 0]), 6))
            if name != "command_delay":
                np.testing.assert_allclose(
                    env.engine.realized(name), values[:, 0].numpy(), rtol=1e-5
                )
    assert torch.equal(env.params["gravity"], gravity)
    assert len(seen["mass.upper_link"]) == 2  # of two episodes
    assert len(seen["motor_strength.shoulder"]) == 3  # at steps 0, 5 and 0 of the next episode
    masses = env.params["mass.upper_link"][:, 0].numpy() / 0.523460
    assert 0.8 <= masses.min() < masses.max() <= 1.2
    episode = env.drain()[0]
    assert set(episode.params) == set(env.params)
    assert 0.8 * 0.523460 <= episode.params["mass.upper_link"] <= 1.2 * 0.523460


def test_a_state_continues_bit_for_bit(make: Make) -> None:
    first, second = (
        make(3, Short(), randomization=RANDOM, sensing=NOISE, training=True, seed=s) for s in (4, 9)
    )
    first.reset()
    second.reset()
    for step in range(5):
        first.step(tensor(actions(step, 3)))
    state = first.get_state()
    np.testing.assert_array_equal(second.set_state(state), first._results[first._flip].obs)
    for step in range(12):
        one, other = (env.step(tensor(actions(step, 3))) for env in (first, second))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    with pytest.raises(CheckpointError, match="other worlds"):
        make(2).set_state(state)


def test_a_world_that_diverges_begins_anew_and_says_so(make: Make) -> None:
    env = make(2)
    env.reset()
    env.engine._saved["qvel"][1] = float("nan")
    result = env.step(tensor(actions(0, 2)))
    assert result.terminated.tolist() == [False, True]
    assert result.truncated.tolist() == [False, False]
    assert result.reward[1].item() == 0.0
    assert torch.isfinite(result.final_obs).all()
    assert torch.isfinite(result.obs).all()
    (episode,) = env.drain()
    assert (episode.world, episode.reason) == (1, "diverged")
    assert not env.step(tensor(actions(1, 2))).terminated.any()


def test_joint_samples_are_drawn_as_whole_sets(make: Make) -> None:
    rows = {
        "mass.upper_link": [0.5, 0.6, 0.7],
        "com.upper_link": [[0.0, 0.0, -0.1], [0.0, 0.0, -0.2], [0.0, 0.0, -0.3]],
        "command_delay": [0.001, 0.002, 0.003],
    }
    env = make(60, Short(), randomization=Randomization(joint=JointSamples(rows)), training=True)
    env.reset()
    before = env.params["mass.upper_link"].clone()
    for step in range(9):
        env.step(tensor(actions(step, 60)))
    taken = torch.bucketize(env.params["mass.upper_link"][:, 0], torch.tensor([0.55, 0.65]))
    assert sorted(set(taken.tolist())) == [0, 1, 2]
    for name, values in rows.items():
        table = torch.tensor(values).reshape(3, -1)
        torch.testing.assert_close(env.params[name], table[taken])
    assert not torch.equal(before, env.params["mass.upper_link"])


def test_an_action_that_is_no_number_is_reported(make: Make) -> None:
    env = make(2)
    env.reset()
    env.step(torch.tensor([[0.0], [float("nan")]]))
    with pytest.raises(EngineError, match="the policy has diverged"):
        env.drain()


def test_a_full_log_keeps_the_last_episodes_of_every_world_and_counts_the_others(
    make: Make,
) -> None:
    env = make(3, Short(), training=True, stagger=False, log_capacity=2)
    env.reset()
    for step in range(24):
        env.step(tensor(actions(step, 3)))
    kept = [(e.world, e.episode) for e in env.drain()]
    assert kept == [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]
    assert env.book.num_lost == 3
    assert env.drain() == []


def test_episodes_are_drained_in_the_order_they_ended(make: Make) -> None:
    env = make(3, Short(), training=True, stagger=False)
    env.reset()
    env.book.step.copy_(torch.tensor([0, 5, 3]))
    for step in range(12):
        env.step(tensor(actions(step, 3)))
    expected = [(1, 0), (2, 0), (0, 0), (1, 1)]
    assert [(e.world, e.episode) for e in env.drain(most=4)] == expected
    for step in range(8):
        env.step(tensor(actions(step, 3)))
    assert [(e.world, e.episode) for e in env.drain(most=2)] == [(0, 1), (1, 2)]


def test_no_world_waits_for_a_sum_over_all(make: Make) -> None:
    """On a GPU that is the work of one block."""
    env = make(40, sensing=NOISE, randomization=RANDOM)
    env.reset()
    seen = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            largest = max((a.numel() for a in args if isinstance(a, torch.Tensor)), default=0)
            if isinstance(result, torch.Tensor) and result._base is None:
                shrunk = result.numel() < env.num_worlds <= largest
                if shrunk or "cumsum" in str(func):
                    seen.append(str(func))
            return result

    with Watch():
        env.step(tensor(actions(0, 40)))
    assert seen == []


def test_the_same_seed_begins_the_same_again(make: Make) -> None:
    env = make(2, sensing=NOISE)
    first = env.reset(7).clone()
    other = env.reset().clone()
    assert not torch.equal(first, other)
    assert torch.equal(env.reset(7), first)


def test_wrong_uses_are_refused(make: Make) -> None:
    env = make(2)
    with pytest.raises(EngineError, match="reset"):
        env.step(torch.zeros(2, 1))
    env.reset()
    with pytest.raises(EngineError, match=r"\(2, 3\); \(2, 1\) is needed"):
        env.step(torch.zeros(2, 3))
    mujoco = Domain(name="cpu", engine="mujoco")
    with pytest.raises(ConfigError, match="use warp, or SimVecEnv"):
        TensorVecEnv(double_pendulum(), Pendubot(), mujoco, 2)

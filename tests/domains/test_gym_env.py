import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from simreal.domains.gym_env import SimEnv
from simreal.errors import EngineError, UnknownNameError
from tests.domains.toy import FakeEngine, Reach
from tests.engines.sample_robots import cart


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimEnv]:
    from simreal.domains import Domain

    monkeypatch.setattr(
        "simreal.domains.vec_env.make_engine", lambda name, spec, workers: FakeEngine(spec)
    )
    made = SimEnv(cart(), Reach(), Domain(name="d", engine="fake"), render_mode="rgb_array")
    yield made
    made.close()


def test_gymnasiums_check_passes_but_for_the_unbounded_positions(env: SimEnv) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
    unbounded = [w for w in caught if "infinity. This is probably too" in str(w.message)]
    assert len(unbounded) == 2
    others = {str(w.message) for w in caught} - {str(w.message) for w in unbounded}
    assert not [text for text in others if "spec" not in text]


def test_an_episode_ends_once_with_its_summary(env: SimEnv) -> None:
    env.reset(seed=0)
    for step in range(1, 11):
        obs, reward, terminated, truncated, info = env.step(np.array([0.5], np.float32))
        assert (terminated, truncated) == (False, step == 10)
        assert bool(info) == (step == 10)
        assert isinstance(reward, float)
        assert obs.shape == env.observation_space.shape
    assert info["reason"] == "time limit"
    assert info["reward_terms"]["effort"] == pytest.approx(-2.5)
    assert info["episode_return"] == pytest.approx(sum(info["reward_terms"].values()))
    assert isinstance(info["is_success"], bool)


def test_observations_are_the_callers_own(env: SimEnv) -> None:
    first, _ = env.reset(seed=0)
    second = env.step(np.ones(1))[0]
    kept = [first.copy(), second.copy()]
    for _ in range(5):
        env.step(np.ones(1))
    np.testing.assert_array_equal([first, second], kept)


def test_a_seed_repeats_and_none_goes_on(env: SimEnv) -> None:
    first, second = env.reset(seed=3)[0], env.reset()[0]
    assert (first[0] != second[0]).all()
    np.testing.assert_array_equal(env.reset(seed=3)[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)


def test_two_environments_without_a_seed_differ(env: SimEnv) -> None:
    from simreal.domains import Domain

    other = SimEnv(cart(), Reach(), Domain(name="d", engine="fake"))
    assert env.reset()[0][0] != other.reset()[0][0]


def test_bounds_come_from_the_terms(env: SimEnv) -> None:
    assert env.observation_space.low[-2:].tolist() == [-1.0, -1.0]
    assert np.isinf(env.observation_space.high[:3]).all()
    assert env.metadata["render_fps"] == 100


def test_wrong_calls_are_refused(env: SimEnv) -> None:
    with pytest.raises(EngineError, match="call reset"):
        env.step(np.zeros(1))
    with pytest.raises(UnknownNameError, match="render mode 'human'"):
        SimEnv(cart(), Reach(), env.vec.domain, render_mode="human")


def test_rendering_needs_a_mode(env: SimEnv) -> None:
    env.reset(seed=0)
    assert env.render().shape == (240, 320, 3)
    env.render_mode = None
    assert env.render() is None

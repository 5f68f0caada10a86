import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from simreal.domains import SimVecEnv
from simreal.errors import ConfigError
from simreal.learning.policy import part_of
from simreal.learning.vec_env import SB3VecEnv
from simreal.transfer.warm_start import warm_start

Build = Callable[..., Any]


@pytest.fixture
def build(toy_robot: Any, toy_task: Any, toy_domain: Build, toy_algo: Build) -> Iterator[Build]:
    envs = []

    def make(algo: str = "ppo", seed: int = 0, **network: Any) -> Any:
        envs.append(SB3VecEnv(SimVecEnv(toy_robot, toy_task, toy_domain(), 4)))
        return toy_algo(algo, **network).build(envs[-1], seed)

    yield make
    for env in envs:
        env.close()


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_all_parameters_are_taken(build: Build, algo: str) -> None:
    state = build(algo, seed=1).policy.state_dict()
    model = build(algo, seed=2)
    warm_start(state)(model)
    assert all(torch.equal(value, state[k]) for k, value in model.policy.state_dict().items())


@pytest.mark.parametrize("algo", ["ppo", "sac"])
@pytest.mark.parametrize("part", ["actor.extractor", "actor.head", "critic.head"])
def test_parts_may_stay_fresh(build: Build, algo: str, part: str) -> None:
    state, model = build(algo, seed=1).policy.state_dict(), build(algo, seed=2)
    fresh = copy.deepcopy(model.policy.state_dict())
    warm_start(state, without=(part,))(model)
    for name, value in model.policy.state_dict().items():
        expected = fresh if part_of(name) == part else state
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_actions_begin_with_the_spread_that_was_asked_for(build: Build, algo: str) -> None:
    model = build(algo)
    warm_start(build(algo, seed=1).policy.state_dict(), action_std=0.1)(model)
    obs = torch.randn(3, 12)
    if algo == "ppo":
        spread = model.policy.get_distribution(obs).distribution.stddev
    else:
        spread = model.actor.get_action_dist_params(obs)[1].exp()
    assert torch.allclose(spread, torch.full((3, 1), 0.1))


def test_the_source_is_not_touched(build: Build) -> None:
    state = build(seed=1).policy.state_dict()
    before = copy.deepcopy(state)
    model = build(seed=2)
    warm_start(state, action_std=0.5)(model)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before[k], v) for k, v in state.items())
    assert state["log_std"].item() != math.log(0.5)


def test_another_width_is_named(build: Build) -> None:
    state = build(head=(16,)).policy.state_dict()
    with pytest.raises(ConfigError, match=r"are \(16, 8\) in the source policy and \(8, 8\) here"):
        warm_start(state)(build())


def test_another_depth_is_named(build: Build) -> None:
    with pytest.raises(ConfigError, match=r"no parameters .*algo\.extractor, algo\.head"):
        warm_start(build().policy.state_dict())(build(extractor=(8, 8)))


def test_another_algorithm_is_named(build: Build) -> None:
    with pytest.raises(ConfigError, match="no parameters 'actor"):
        warm_start(build("ppo").policy.state_dict())(build("sac"))


@pytest.mark.parametrize("action_std", [0.0, -0.1])
def test_a_spread_is_positive(action_std: float) -> None:
    with pytest.raises(ConfigError, match=f"action_std is {action_std}"):
        warm_start({}, action_std=action_std)


def test_a_critic_that_sees_less_than_its_source_begins_with_the_actors_eyes(build: Build) -> None:
    state = dict(build(seed=1).policy.state_dict())
    critic = "vf_features_extractor."
    for name in [n for n in state if n.startswith(critic)]:
        if state[name].dim() and "bias" not in name and "count" not in name:
            state[name] = torch.nn.functional.pad(state[name], (0, 3))  # three more entries
    model = build(seed=2)
    fresh = copy.deepcopy(model.policy.state_dict())
    warm_start(state)(model)
    for name, value in model.policy.state_dict().items():
        if name.startswith(critic):
            expected = state[name.replace(critic, "pi_features_extractor.", 1)]
        else:
            expected = fresh[name] if part_of(name) == "critic.head" else state[name]
        assert torch.equal(value, expected), name

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from simreal.domains import SimVecEnv
from simreal.errors import ConfigError, UnknownNameError
from simreal.learning.freezing import freeze, set_learning_rates, trainable, unfreeze
from simreal.learning.policy import part_of
from simreal.learning.vec_env import SB3VecEnv

Build = Callable[..., Any]


@pytest.fixture
def build(
    toy_robot: Any, toy_task: Any, toy_domain: Build, toy_algo: Build
) -> Iterator[Callable[[str], Any]]:
    envs = []

    def make(name: str) -> Any:
        env = SB3VecEnv(SimVecEnv(toy_robot, toy_task, toy_domain(), 4, training=True))
        envs.append(env)
        return toy_algo(name).build(env, 0)

    yield make
    for env in envs:
        env.close()


def learn(model: Any, steps: int = 64) -> dict[str, torch.Tensor]:
    """Train, and return by how much each part moved at most; targets follow up to rounding."""
    before = copy.deepcopy(model.policy.state_dict())
    model.learn(steps, reset_num_timesteps=False)
    moved: dict[str, torch.Tensor] = {}
    for name, value in model.policy.state_dict().items():
        if name.startswith("critic_target."):
            continue
        change = (value.double() - before[name].double()).abs().max()
        part = str(part_of(name))
        moved[part] = torch.maximum(moved.get(part, torch.zeros(())), change)
    return moved


def test_the_number_of_trainable_parameters_is_reported(build: Callable[[str], Any]) -> None:
    policy = build("ppo").policy
    # 12 observations: actor 12*8+8, 8*8+8, 8+1, std 1; critic the same without std.
    extractor, head = 12 * 8 + 8, 8 * 8 + 8 + 8 + 1
    total = 2 * (extractor + head) + 1
    assert str(trainable(policy)) == f"{total} of {total} parameters train; frozen: nothing"
    report = freeze(policy, "*.extractor")
    assert report.num_trainable == total - 2 * extractor
    assert report.frozen_parts == ("actor.extractor", "critic.extractor")
    assert unfreeze(policy, "actor.*").num_trainable == total - extractor
    assert unfreeze(policy, "*").frozen_parts == ()


def test_target_networks_are_not_counted(build: Callable[[str], Any]) -> None:
    policy = build("sac").policy
    own = sum(p.numel() for p in [*policy.actor.parameters(), *policy.critic.parameters()])
    assert trainable(policy).num_total == own


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_frozen_parts_stay_bit_for_bit_while_the_others_learn(
    build: Callable[[str], Any], algo: str
) -> None:
    model = build(algo)
    freeze(model.policy, "*.extractor", "actor.head")
    set_learning_rates(model, 1e-2, {})
    moved = learn(model)
    for part in ("actor.extractor", "critic.extractor", "actor.head"):
        assert moved[part] == 0, part
    assert moved["critic.head"] > 0
    assert moved["actor.std"] > 0


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_a_frozen_extractor_freezes_its_statistics(build: Callable[[str], Any], algo: str) -> None:
    policy = build(algo).policy
    sides = {
        name.split("features_extractor")[0]: module
        for name, module in policy.named_modules()
        if name.endswith(".normalizer")
    }
    freeze(policy, "critic.extractor")
    frozen = {side for side, module in sides.items() if module.frozen}
    assert frozen == ({"vf_"} if algo == "ppo" else {"critic.", "critic_target."})
    unfreeze(policy, "critic.extractor")
    freeze(policy, "actor.normalizer")
    assert [s for s, m in sides.items() if m.frozen] == ["" if algo == "ppo" else "actor."]


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_learning_rates_per_part_really_differ(build: Callable[[str], Any], algo: str) -> None:
    model = build(algo)
    base = model.lr_schedule(1.0)
    set_learning_rates(model, base, {"critic.extractor": base / 100, "actor.*": 0.0})
    moved = learn(model)
    assert moved["actor.extractor"] == moved["actor.head"] == moved["actor.std"] == 0
    # Adam moves each parameter by about its rate per step, so the ratio shows in what moved.
    assert 0 < moved["critic.extractor"] < 0.1 * moved["critic.head"]


def test_a_schedule_moves_all_rates_by_their_factors(build: Callable[[str], Any]) -> None:
    model = build("ppo")
    set_learning_rates(model, 1e-3, {"actor.head": 1e-4})
    seen: list[list[float]] = []
    adam = torch.optim.Adam.step

    def spy(self: Any, closure: Any = None) -> Any:
        seen.append([group["lr"] for group in self.param_groups])
        return adam(self, closure)

    torch.optim.Adam.step = spy  # type: ignore[method-assign, assignment]
    try:
        model.lr_schedule = lambda remaining: 5e-4
        model.learn(64)
    finally:
        torch.optim.Adam.step = adam  # type: ignore[method-assign]
    assert {round(rate, 9) for rates in seen for rate in rates} == {5e-4, 5e-5}
    assert {group["lr"] for group in model.policy.optimizer.param_groups} == {5e-4}


def test_the_optimizer_begins_anew(build: Callable[[str], Any]) -> None:
    model = build("ppo")
    model.learn(64)
    assert model.policy.optimizer.state_dict()["state"]
    set_learning_rates(model, 1e-3, {})
    assert not model.policy.optimizer.state_dict()["state"]


def test_the_entropy_coefficient_is_held_with_the_actor(build: Callable[[str], Any]) -> None:
    model = build("sac")
    freeze(model.policy, "actor.*")
    set_learning_rates(model, 1e-2, {})
    moved = learn(model)
    assert model.log_ent_coef.item() == 0.0
    assert moved["actor.head"] == moved["actor.std"] == 0
    unfreeze(model.policy, "*")
    set_learning_rates(model, 1e-2, {})
    learn(model)
    assert model.log_ent_coef.item() != 0.0


def test_unknown_parts_are_named(build: Callable[[str], Any]) -> None:
    model = build("ppo")
    with pytest.raises(
        UnknownNameError, match=r"actor\.extracter.*Did you mean 'actor\.extractor'"
    ):
        freeze(model.policy, "actor.extracter")
    with pytest.raises(UnknownNameError, match="encoder"):
        set_learning_rates(model, 1e-3, {"encoder": 1e-3})


@pytest.mark.parametrize(("algo", "pattern"), [("ppo", "*"), ("sac", "critic.*")])
def test_what_cannot_learn_is_refused(build: Callable[[str], Any], algo: str, pattern: str) -> None:
    model = build(algo)
    freeze(model.policy, pattern)
    with pytest.raises(ConfigError, match="must learn"):
        set_learning_rates(model, 1e-3, {})

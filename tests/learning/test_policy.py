from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from simreal.domains import SimVecEnv
from simreal.errors import UnknownNameError
from simreal.learning.normalizer import RunningNorm
from simreal.learning.policy import PARTS, linear_schedule, mlp, normalizers, part_of, policy_kwargs
from simreal.learning.vec_env import SB3VecEnv


@pytest.fixture(params=["ppo", "sac"])
def model(
    request: pytest.FixtureRequest,
    toy_robot: Any,
    toy_task: Any,
    toy_domain: Callable[..., Any],
    toy_algo: Callable[..., Any],
) -> Iterator[Any]:
    env = SB3VecEnv(SimVecEnv(toy_robot, toy_task, toy_domain(), 4))
    yield toy_algo(request.param).build(env, 0)
    env.close()


def test_every_parameter_and_buffer_belongs_to_a_part(model: Any) -> None:
    names = [*dict(model.policy.named_parameters()), *model.policy.state_dict()]
    assert [name for name in names if part_of(name) is None] == []
    assert {part_of(name) for name in names} == set(PARTS)


def test_actor_and_critic_share_nothing(model: Any) -> None:
    owners: dict[int, set[str]] = {}
    for name, value in model.policy.state_dict().items():
        side = str(part_of(name)).partition(".")[0]
        owners.setdefault(value.data_ptr(), set()).add(side)
    assert all(len(sides) == 1 for sides in owners.values())


def test_one_normalizer_for_each_network(model: Any) -> None:
    found = normalizers(model.policy)
    targets = hasattr(model, "critic_target")
    assert len(found) == (3 if targets else 2)
    assert len({id(n) for n in found}) == len(found)
    assert all(isinstance(n, RunningNorm) for n in found)


def test_the_policy_sees_normalized_observations(model: Any) -> None:
    obs = torch.randn(5, model.observation_space.shape[0])
    before, _ = model.policy.predict(obs.numpy(), deterministic=True)
    shift = torch.linspace(-1, 1, obs.shape[1])
    for normalizer in normalizers(model.policy):
        # Statistics with this mean and variance 4, as if many observations had been seen.
        normalizer.load_state_dict(
            {"mean": shift.double(), "var": torch.full_like(shift, 4.0).double(), "count": 9.0}
            | {"count": torch.tensor(9.0, dtype=torch.float64)}
        )
    after, _ = model.policy.predict((2.0 * obs + shift).numpy(), deterministic=True)
    assert before == pytest.approx(after, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("features_extractor.layers.0.weight", "actor.extractor"),
        ("pi_features_extractor.layers.0.weight", "actor.extractor"),
        ("vf_features_extractor.normalizer.mean", "critic.normalizer"),
        ("log_std", "actor.std"),
        ("actor.log_std.weight", "actor.std"),
        ("actor.mu.bias", "actor.head"),
        ("critic_target.qf1.0.weight", "critic.head"),
        ("elsewhere.weight", None),
    ],
)
def test_part_of_a_name(name: str, part: str | None) -> None:
    assert part_of(name) == part


def test_mlp_puts_the_activation_behind_each_layer() -> None:
    layers = mlp(3, (5, 2), "relu")
    assert [type(layer).__name__ for layer in layers] == ["Linear", "ReLU", "Linear", "ReLU"]
    assert layers[2].weight.shape == (2, 5)
    assert len(mlp(3, (), "relu")) == 0


def test_unknown_activation_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"'tahn'.*Did you mean 'tanh'"):
        policy_kwargs(extractor=(8,), head=(8,), activation="tahn", normalize=True)
    with pytest.raises(UnknownNameError, match="'tahn'"):
        mlp(3, (4,), "tahn")


def test_linear_schedule_goes_from_first_to_last() -> None:
    schedule = linear_schedule(0.3, 0.1)
    assert [schedule(r) for r in (1.0, 0.5, 0.0)] == pytest.approx([0.3, 0.2, 0.1])

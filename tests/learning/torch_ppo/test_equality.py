from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from simreal.learning.policy import policy_kwargs
from simreal.learning.torch_ppo.dense import DenseLearner
from simreal.learning.torch_ppo.learner import ModuleLearner

KIT = policy_kwargs(extractor=(16,), head=(8, 8), activation="elu", normalize=True)
TAGS = ("policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction", "loss")
TAGS += ("explained_variance", "std", "n_updates", "clip_range", "learning_rate")


@pytest.mark.parametrize(
    ("settings", "learner"),
    [
        ({}, DenseLearner),
        ({"n_epochs": 10, "learning_rate": 1e-3, "batch_size": 64}, DenseLearner),
        ({"ent_coef": 0.01, "vf_coef": 0.7, "max_grad_norm": 0.1}, DenseLearner),
        ({"clip_range_vf": 0.05, "clip_range": 0.01, "n_epochs": 6}, DenseLearner),
        ({"normalize_advantage": False}, DenseLearner),
        ({"policy_kwargs": {"activation_fn": nn.ReLU, "net_arch": [32]}}, DenseLearner),
        ({"policy_kwargs": KIT}, DenseLearner),
        ({"policy_kwargs": {"net_arch": {"pi": [], "vf": [8]}}}, DenseLearner),
        ({"policy_kwargs": {"optimizer_kwargs": {"weight_decay": 0.1}}}, DenseLearner),
        ({"policy_kwargs": {"activation_fn": nn.SiLU}}, ModuleLearner),
        ({"policy_kwargs": {"optimizer_kwargs": {"amsgrad": True}}}, ModuleLearner),
    ],
)
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_parameters_after_ten_updates_equal_those_of_sb3(
    recorded: Any,
    twins: Callable[..., Any],
    update_both: Callable[..., None],
    largest_difference: Callable[..., float],
    settings: dict[str, Any],
    learner: type,
) -> None:
    ours, theirs = twins(recorded(8), **settings)
    begin = ours.policy.parameters_to_vector()
    for _ in range(10):
        update_both(ours, theirs)
    assert type(ours._learner) is learner
    assert largest_difference(ours, theirs) < 1e-5
    assert np.abs(ours.policy.parameters_to_vector() - begin).max() > 1e-3
    for tag in TAGS:
        mine, yours = (m.logger.name_to_value[f"train/{tag}"] for m in (ours, theirs))
        assert mine == pytest.approx(yours, rel=2e-3, abs=2e-5), tag

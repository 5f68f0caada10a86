"""Begin with the parameters of another policy, part by part."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from simreal.errors import ConfigError
from simreal.learning.policy import part_of


def warm_start(
    state: Mapping[str, torch.Tensor],
    *,
    without: tuple[str, ...] = (),
    action_std: float | None = None,
) -> Callable[[Any], None]:
    """Return a function that loads parameters into a fresh model.

    Args:
        state: Parameters by SB3's names.
        without: Parts that keep their fresh parameters.
        action_std: Standard deviation of the actions to begin with; as in `state` if None.

    Returns:
        A function of a Stable-Baselines3 model.

    Raises:
        ConfigError: `action_std` is not positive, or, when the function is called, the parameters
            do not fit the model.
    """
    if action_std is not None and not action_std > 0:
        raise ConfigError(f"action_std is {action_std}; a number > 0 or null is needed")

    def load(model: Any) -> None:
        fresh = model.policy.state_dict()
        for name, value in fresh.items():
            if part_of(name) in without:
                continue
            if name not in state:
                raise ConfigError(
                    f"the source policy has no parameters '{name}'; use the extractor and head "
                    "widths that it was trained with (algo.extractor, algo.head)"
                )
            if state[name].shape != value.shape:
                raise ConfigError(
                    f"parameters '{name}' are {tuple(state[name].shape)} in the source policy and "
                    f"{tuple(value.shape)} here; observation, extractor and head must be the same"
                )
            fresh[name] = state[name].clone()
        if action_std is not None:
            for name, value in fresh.items():
                if part_of(name) == "actor.std":
                    # SAC computes the logarithm with a layer; it begins as a constant.
                    spread = 0.0 if name.endswith(".weight") else math.log(action_std)
                    fresh[name] = torch.full_like(value, spread)
        model.policy.load_state_dict(fresh)

    return load

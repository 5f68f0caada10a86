"""Begin with the parameters of another policy, part by part."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from simreal.errors import ConfigError
from simreal.learning.policy import part_of

_ACTOR, _CRITIC = "pi_features_extractor.", "vf_features_extractor."


def warm_start(
    state: Mapping[str, torch.Tensor],
    *,
    without: tuple[str, ...] = (),
    action_std: float | None = None,
) -> Callable[[Any], None]:
    """Return a function that loads parameters into a fresh model.

    A source whose critic saw more than observations (`algo.privileged`) cannot give it to a critic
    that does not: that one begins with the actor's normalizer and extractor, and a fresh head.

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
        source, kept = state, without
        if _sees_less(fresh, state):
            source, kept = _with_the_actors_eyes(state), (*without, "critic.head")
        for name, value in fresh.items():
            if part_of(name) in kept:
                continue
            if name not in source:
                raise ConfigError(
                    f"the source policy has no parameters '{name}'; use the extractor and head "
                    "widths that it was trained with (algo.extractor, algo.head)"
                )
            if source[name].shape != value.shape:
                raise ConfigError(
                    f"parameters '{name}' are {tuple(source[name].shape)} in the source policy and "
                    f"{tuple(value.shape)} here; observation, extractor and head must be the same"
                )
            fresh[name] = source[name].clone()
        if action_std is not None:
            _spread(fresh, action_std)
        model.policy.load_state_dict(fresh)

    return load


def _spread(parameters: dict[str, torch.Tensor], action_std: float) -> None:
    """Let actions begin with a standard deviation."""
    for name, value in parameters.items():
        if part_of(name) == "actor.std":
            # SAC computes the logarithm with a layer; it begins as a constant.
            log_std = 0.0 if name.endswith(".weight") else math.log(action_std)
            parameters[name] = torch.full_like(value, log_std)


def _sees_less(fresh: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> bool:
    """Return whether a critic gets fewer entries than its source's did, and the actor as many."""
    for name, value in fresh.items():
        actor = name.replace(_CRITIC, _ACTOR, 1)
        if name.startswith(_CRITIC) and name in state and actor in state:
            narrower = state[name].shape[-1:] > value.shape[-1:]
            if narrower and state[actor].shape == value.shape:
                return True
    return False


def _with_the_actors_eyes(state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Return parameters whose critic has the actor's normalizer and extractor."""
    actor = {k: v for k, v in state.items() if k.startswith(_ACTOR)}
    return {**state, **{k.replace(_ACTOR, _CRITIC, 1): v for k, v in actor.items()}}

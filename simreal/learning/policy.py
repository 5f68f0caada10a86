"""The actor-critic network: normalizer, feature extractor and head, each addressable by name.

Actor and critic have networks of their own, so that a critic can be trained anew beside a frozen
actor. The parts are named for people, and the names are what `freeze`, `unfreeze` and learning
rates per part take:

- `actor.normalizer`, `actor.extractor`, `actor.head`, `actor.std`
- `critic.normalizer`, `critic.extractor`, `critic.head`
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from simreal.errors import unknown_name
from simreal.learning.normalizer import RunningNorm

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
}

# Part name to prefixes of the names that Stable-Baselines3 gives to parameters and buffers. An
# on-policy policy has its actor's extractor twice, as `features_extractor` and as
# `pi_features_extractor`: PyTorch lists shared parameters under the first name alone, and a state
# dictionary has both.
PARTS: dict[str, tuple[str, ...]] = {
    "actor.normalizer": (
        "features_extractor.normalizer.",
        "pi_features_extractor.normalizer.",
        "actor.features_extractor.normalizer.",
    ),
    "actor.extractor": (
        "features_extractor.layers.",
        "features_extractor.lstm.",
        "pi_features_extractor.layers.",
        "pi_features_extractor.lstm.",
        "actor.features_extractor.layers.",
    ),
    "actor.head": ("mlp_extractor.policy_net.", "action_net.", "actor.latent_pi.", "actor.mu."),
    "actor.std": ("log_std", "actor.log_std"),
    "critic.normalizer": (
        "vf_features_extractor.normalizer.",
        "critic.features_extractor.normalizer.",
        "critic_target.features_extractor.normalizer.",
    ),
    "critic.extractor": (
        "vf_features_extractor.layers.",
        "vf_features_extractor.lstm.",
        "critic.features_extractor.layers.",
        "critic_target.features_extractor.layers.",
    ),
    "critic.head": (
        "mlp_extractor.value_net.",
        "value_net.",
        "critic.qf",
        "critic_target.qf",
    ),
}


class FeatureExtractor(BaseFeaturesExtractor):
    """Normalize an observation and pass it through the extractor's layers.

    Attributes:
        normalizer: The running normalizer, or an identity.
        layers: The layers.
        columns: How many entries of the observation are read.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        *,
        widths: Sequence[int] = (64,),
        activation: str = "tanh",
        normalize: bool = True,
        columns: int | None = None,
    ) -> None:
        """Build the layers.

        Args:
            observation_space: Box (dim,).
            widths: Width of each layer; none gives the normalized observation itself.
            activation: `tanh`, `relu` or `elu`.
            normalize: Whether to normalize.
            columns: How many entries of the observation are read; all if None.

        Raises:
            UnknownNameError: The activation is unknown.
        """
        dim = int(observation_space.shape[0]) if columns is None else columns
        super().__init__(observation_space, features_dim=widths[-1] if widths else dim)
        self.columns = dim
        self.normalizer: nn.Module = RunningNorm(dim) if normalize else nn.Identity()
        self.layers = mlp(dim, widths, activation)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the features (N, features_dim)."""
        read = observations[..., : self.columns]
        return cast(torch.Tensor, self.layers(self.normalizer(read)))


def mlp(inputs: int, widths: Sequence[int], activation: str) -> nn.Sequential:
    """Return linear layers, each followed by the activation.

    Args:
        inputs: Width of the input.
        widths: Width of each layer.
        activation: `tanh`, `relu` or `elu`.

    Raises:
        UnknownNameError: The activation is unknown.
    """
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers)


def policy_kwargs(
    *,
    extractor: Sequence[int],
    head: Sequence[int],
    activation: str,
    normalize: bool,
    optimizer_eps: float = 1e-5,
) -> dict[str, Any]:
    """Return Stable-Baselines3's `policy_kwargs` for the kit's network.

    Args:
        extractor: Widths of the feature extractor's layers.
        head: Widths of the head's hidden layers.
        activation: `tanh`, `relu` or `elu`.
        normalize: Whether observations are normalized.
        optimizer_eps: Epsilon of Adam.
    """
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    return {
        "features_extractor_class": FeatureExtractor,
        "features_extractor_kwargs": {
            "widths": tuple(extractor),
            "activation": activation,
            "normalize": normalize,
        },
        "share_features_extractor": False,
        "net_arch": {"pi": list(head), "vf": list(head)},
        "activation_fn": ACTIVATIONS[activation],
        "optimizer_kwargs": {"eps": optimizer_eps, "fused": True},
    }


def normalizers(policy: nn.Module) -> list[RunningNorm]:
    """Return every running normalizer of a policy once, those of target networks included."""
    return [m for m in policy.modules() if isinstance(m, RunningNorm)]


def part_of(parameter: str) -> str | None:
    """Return the part that a parameter or buffer name belongs to, or None."""
    for part, prefixes in PARTS.items():
        if parameter.startswith(prefixes):
            return part
    return None


Schedule = Callable[[float], float]


def linear_schedule(first: float, last: float) -> Schedule:
    """Return a schedule from `first` to `last` over the run, as Stable-Baselines3 takes it.

    Args:
        first: Value at the beginning.
        last: Value at the end.
    """

    def value(remaining: float) -> float:
        return last + (first - last) * remaining

    return value

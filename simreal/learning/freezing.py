"""Freeze and unfreeze parts of a network by name, and train parts at rates of their own.

Freezing an extractor freezes its normalizer's statistics with it: features whose inputs drift are
not frozen. Whenever the set of trainable parameters changes the optimizer begins anew, since
moments of another problem would move the new one.
"""

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import nn

from simreal.errors import ConfigError, unknown_name
from simreal.learning.normalizer import RunningNorm
from simreal.learning.policy import PARTS, part_of

_FOLLOWERS = ("critic_target.",)


@dataclass(frozen=True, slots=True)
class Trainable:
    """Count what a policy trains.

    Attributes:
        num_trainable: Parameters with a gradient.
        num_total: All parameters.
        frozen_parts: Parts without any gradient.
    """

    num_trainable: int
    num_total: int
    frozen_parts: tuple[str, ...]

    def __str__(self) -> str:
        """Return one line for people."""
        frozen = ", ".join(self.frozen_parts) if self.frozen_parts else "nothing"
        return f"{self.num_trainable} of {self.num_total} parameters train; frozen: {frozen}"


def freeze(policy: nn.Module, *patterns: str) -> Trainable:
    """Stop parts from learning.

    Args:
        policy: A policy with the kit's parts.
        patterns: Part names or patterns (`actor.extractor`, `*.extractor`, `critic.*`).

    Raises:
        UnknownNameError: A pattern matches no part.
    """
    return _switch(policy, patterns, trains=False)


def unfreeze(policy: nn.Module, *patterns: str) -> Trainable:
    """Let parts learn again.

    Args:
        policy: A policy with the kit's parts.
        patterns: Part names or patterns.

    Raises:
        UnknownNameError: A pattern matches no part.
    """
    return _switch(policy, patterns, trains=True)


def trainable(policy: nn.Module) -> Trainable:
    """Count the parameters that train.

    Target networks are left out: they follow their critic and have no gradient of their own.

    Args:
        policy: A policy with the kit's parts.
    """
    parameters = {
        name: p for name, p in policy.named_parameters() if not name.startswith(_FOLLOWERS)
    }
    alive = {part_of(name) for name, p in parameters.items() if p.requires_grad}
    present = {part_of(name) for name in parameters}
    return Trainable(
        num_trainable=sum(p.numel() for p in parameters.values() if p.requires_grad),
        num_total=sum(p.numel() for p in parameters.values()),
        frozen_parts=tuple(part for part in PARTS if part in present and part not in alive),
    )


def set_learning_rates(model: Any, base: float, rates: Mapping[str, float]) -> None:
    """Give a model new optimizers, with one parameter group per part.

    The model's learning-rate schedule then moves all groups, each by its factor. While an
    off-policy actor is frozen its entropy coefficient is held, too: it would only run away from an
    actor that cannot answer.

    Args:
        model: A Stable-Baselines3 model with the kit's policy.
        base: Learning rate of parts that are not named.
        rates: Part name or pattern to learning rate.

    Raises:
        UnknownNameError: A pattern matches no part.
        ConfigError: Nothing is left to train.
    """
    factors = dict.fromkeys(PARTS, 1.0)
    for pattern, rate in rates.items():
        for part in _match((pattern,)):
            factors[part] = rate / base
    policy, off_policy = model.policy, isinstance(model, OffPolicyAlgorithm)
    alive = {part_of(n) for n, p in policy.named_parameters() if p.requires_grad}
    learns = {(part or "").partition(".")[0] for part in alive}
    if not learns or (off_policy and "critic" not in learns):
        raise ConfigError(
            f"frozen: {trainable(policy)}; "
            f"{'an off-policy critic must learn' if off_policy else 'something must learn'}"
        )
    if not off_policy:
        policy.optimizer = _optimizer(policy, "", base, factors, policy.optimizer_kwargs)
        return
    for name, network in (("actor.", policy.actor), ("critic.", policy.critic)):
        network.optimizer = _optimizer(network, name, base, factors, policy.optimizer_kwargs)
    if model.ent_coef_optimizer is not None:
        group = {"params": [model.log_ent_coef], "factor": float("actor" in learns)}
        model.ent_coef_optimizer = ScaledAdam([group], lr=base)


class ScaledAdam(torch.optim.Adam):
    """Adam whose parameter groups multiply a common learning rate by a factor of their own.

    Stable-Baselines3 writes the scheduled rate into every group; the factor is applied around the
    step.
    """

    def step(self, closure: Any = None) -> Any:
        """Take one step with each group's own rate."""
        common = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = group["lr"] * group.get("factor", 1.0)
        try:
            return super().step(closure)
        finally:
            for group, rate in zip(self.param_groups, common, strict=True):
                group["lr"] = rate


def _optimizer(
    network: nn.Module,
    prefix: str,
    base: float,
    factors: Mapping[str, float],
    options: Mapping[str, Any],
) -> ScaledAdam:
    # Frozen parameters are in it, too, so that parameters keep their numbers; without a gradient
    # Adam passes over them.
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault(part_of(prefix + name) or "", []).append(parameter)
    return ScaledAdam(
        [{"params": group, "factor": factors.get(part, 1.0)} for part, group in groups.items()],
        lr=base,
        **options,
    )


def _switch(policy: nn.Module, patterns: Iterable[str], *, trains: bool) -> Trainable:
    parts = _match(tuple(patterns))
    for name, parameter in policy.named_parameters():
        if part_of(name) in parts:
            parameter.requires_grad_(trains)
            parameter.grad = None  # a gradient of before must not move what is frozen now
    for name, module in policy.named_modules():
        if isinstance(module, RunningNorm):
            normalizer = part_of(f"{name}.")
            extractor = (normalizer or "").replace("normalizer", "extractor")
            if normalizer in parts or extractor in parts:
                module.frozen = not trains
    return trainable(policy)


def _match(patterns: tuple[str, ...]) -> set[str]:
    parts: set[str] = set()
    for pattern in patterns:
        found = fnmatch.filter(PARTS, pattern)
        if not found:
            raise unknown_name("part of the policy", pattern, PARTS)
        parts.update(found)
    return parts

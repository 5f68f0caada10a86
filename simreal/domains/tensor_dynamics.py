"""Randomized parameters of N worlds as tensors: the rules of `Sampler`, drawn on the device.

The rules, their names and the check of their bounds are `Sampler`'s own. The draws are quantiles of
counter-based uniform numbers, each keyed by its parameter's name, so that a parameter does not
depend on which others are randomized.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from simreal.core.params import ParamSpec
from simreal.core.seeding import Stream
from simreal.domains.randomization import TOGETHER, SampledRows, Sampler
from simreal.domains.tensor_random import CounterRandom, Quantile, numbered, quantile
from simreal.domains.wiring import wired_names


class TensorDynamics:
    """Draw the randomized parameters of N worlds.

    Attributes:
        values: Randomized parameter to (N, k), float32.
        wired: Every parameter of sensors and command line, randomized or not, to (N,), float32.
    """

    def __init__(
        self,
        sampler: Sampler,
        fixed: Mapping[str, float | tuple[float, ...]],
        specs: Mapping[str, ParamSpec],
        num_worlds: int,
        random: CounterRandom,
        device: torch.device,
    ) -> None:
        """Prepare the quantiles of every rule.

        Args:
            sampler: The rules, resolved and checked.
            fixed: Values of the domain that replace the nominal ones.
            specs: The robot's catalogue.
            num_worlds: N.
            random: Source of all randomness.
            device: Where the worlds are.

        Raises:
            ParameterError: A distribution cannot be drawn on a device.
        """
        self._sampler, self._specs, self._random = sampler, specs, random
        self._base: dict[str, Tensor] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._quantiles: dict[str, Quantile] = {}
        self.values: dict[str, Tensor] = {}
        for name, rule in sampler.rules.items():
            base = torch.tensor(sampler.base[name], dtype=torch.float32, device=device)
            self._base[name] = base
            if isinstance(rule, SampledRows):
                self._labels[name] = (TOGETHER,)
                self._quantiles[name] = _row_of(rule, device)
            else:
                count = 1 if rule.mode == "scale" else base.numel()
                self._labels[name] = numbered(name, count)
                self._quantiles[name] = quantile(rule.distribution, device)
            self.values[name] = base.repeat(num_worlds, 1)
        names = wired_names(specs)
        wired = {name: _number(fixed.get(name, specs[name].nominal)) for name in names}
        self.wired = {
            name: torch.full((num_worlds,), value, device=device) for name, value in wired.items()
        }
        self.active = frozenset(n for n, v in wired.items() if n in sampler.rules or v != 0)
        """Parameters of sensors and command line that any world may have different from 0."""

    def draw(
        self, names: Sequence[str], mask: Tensor, stream: Stream, at: tuple[Tensor, Tensor]
    ) -> None:
        """Draw some parameters anew in some worlds.

        Args:
            names: Parameters to draw.
            mask: Worlds (N,), bool.
            stream: Purpose of the random numbers.
            at: Episode and step number of each world (N,).
        """
        if not names:
            return
        labels = [label for name in names for label in self._labels[name]]
        uniform = self._random.uniform(stream, *at, labels)
        at_column = 0
        for name in names:
            count = len(self._labels[name])
            drawn = self._quantiles[name](uniform[:, at_column : at_column + count])
            at_column += count
            mode, base = self._sampler.rules[name].mode, self._base[name]
            value = base * drawn if mode == "scale" else base + drawn if mode == "add" else drawn
            self.values[name].copy_(torch.where(mask[:, None], value, self.values[name]))
            if name in self.wired:
                self.wired[name].copy_(self.values[name][:, 0])

    def of_engine(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return those of some parameters that the engine applies, name to (N,) or (N, k)."""
        owned = [name for name in names if self._specs[name].owner == "engine"]
        return {
            n: self.values[n][:, 0] if self._specs[n].size == 1 else self.values[n] for n in owned
        }

    def columns(self) -> tuple[list[str], list[Tensor]]:
        """Return every randomized number with its name, for the summary of an episode."""
        names, columns = [], []
        for name, value in self.values.items():
            width = value.shape[1]
            names += [name] if width == 1 else list(numbered(name, width))
            columns += list(value.unbind(dim=1))
        return names, columns


def _row_of(rule: SampledRows, device: torch.device) -> Quantile:
    """Return what takes uniform numbers (N, 1) to rows (N, k)."""
    rows = torch.tensor(rule.values, dtype=torch.float32, device=device)
    return lambda u: rows[(u[:, 0] * len(rows)).long()]


def _number(value: float | tuple[float, ...]) -> float:
    return float(np.reshape(value, -1)[0])

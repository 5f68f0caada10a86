"""Random numbers on a device: a function of seed, purpose, world, episode and step, and no state.

Each number is the output of a 64-bit mixing function at a counter, as in SplitMix64 (G. L. Steele,
D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014; the finalizer is
variant 13 of D. Stafford). It is written in integer operations of torch, which wrap around alike on
every device, so the same world meets the same numbers whatever else is in the batch, and a
checkpoint has nothing to save. The numbers are others than those of `simreal.core.seeding`, from
the same distributions.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from simreal.core.distributions import (
    Beta,
    Categorical,
    Distribution,
    Fixed,
    LogUniform,
    Normal,
    TruncatedNormal,
    Uniform,
)
from simreal.core.seeding import Stream, check_seed
from simreal.errors import ParameterError

Quantile = Callable[[Tensor], Tensor]
"""From uniform numbers in (0, 1) to numbers of a distribution, of the same shape."""

_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = (1 << 64) - 1
_BITS = 23  # a half more than a whole number of so many bits is exact in float32
_EPISODE_SHIFT = 32
_NODES = 4096


class CounterRandom:
    """Draw uniform and normal numbers for N worlds, by name of what is drawn."""

    def __init__(
        self, seed: int, num_worlds: int, device: torch.device, first_world: int = 0
    ) -> None:
        """Take a seed.

        Args:
            seed: Seed of the run.
            num_worlds: N.
            device: Where the numbers are needed.
            first_world: Number of the first world, where these are some of more.
        """
        self._device, self._num_worlds, self._first = device, num_worlds, first_world
        self._keys: dict[Stream, Tensor] = {}
        self._columns: dict[tuple[str, ...], Tensor] = {}
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Go on with the numbers of another seed, in the same memory."""
        self.seed = check_seed(seed)
        for stream in Stream:
            key = _mixed_number(_mixed_number(seed + _GAMMA) ^ (int(stream) * _GAMMA & _WORD))
            worlds = self._first + torch.arange(self._num_worlds, dtype=torch.int64)
            values = _mixed(worlds * _signed(_GAMMA) + _signed(key)).to(self._device)
            if stream in self._keys:
                self._keys[stream].copy_(values)
            else:
                self._keys[stream] = values

    def uniform(
        self, stream: Stream, episode: Tensor, step: Tensor, labels: Sequence[str]
    ) -> Tensor:
        """Draw one number per world and label.

        Args:
            stream: Purpose.
            episode: Episode number of each world (N,), int64.
            step: Step in the episode (N,), int64.
            labels: Names of what is drawn (D); a number does not depend on which others there are.

        Returns:
            (N, D) float32, strictly between 0 and 1.
        """
        counter = (episode << _EPISODE_SHIFT) + step
        rows = _mixed(self._keys[stream] + counter * _signed(_GAMMA))
        words = _mixed(rows[:, None] + self._names(labels))
        whole = (words >> (64 - _BITS)) & ((1 << _BITS) - 1)
        return (whole.to(torch.float32) + 0.5) * 2.0**-_BITS

    def normal(
        self, stream: Stream, episode: Tensor, step: Tensor, labels: Sequence[str]
    ) -> Tensor:
        """Draw one standard normal number per world and label; see `uniform`."""
        quantiles: Tensor = torch.special.ndtri(self.uniform(stream, episode, step, labels))
        return quantiles

    def _names(self, labels: Sequence[str]) -> Tensor:
        names = tuple(labels)
        if names not in self._columns:
            words = [_signed(_mixed_number(zlib.crc32(n.encode()) * _GAMMA & _WORD)) for n in names]
            self._columns[names] = torch.tensor(words, dtype=torch.int64, device=self._device)
        return self._columns[names]


def numbered(label: str, count: int) -> tuple[str, ...]:
    """Return labels for several numbers of one thing.

    Args:
        label: What is drawn.
        count: How many numbers.
    """
    return tuple(f"{label}[{i}]" for i in range(count))


def quantile(distribution: Distribution, device: torch.device) -> Quantile:
    """Return the inverse of a distribution function, for tensors.

    Without a closed form it is a table of 4097 points, closer together toward both ends, between
    which it is linear.

    Args:
        distribution: What is drawn.
        device: Where its table is kept.

    Raises:
        ParameterError: It is of a kind that no quantiles are known for.
    """
    match distribution:
        case Fixed(value=value):
            return lambda u: torch.full_like(u, value)
        case Uniform(low=low, high=high):
            return lambda u: low + (high - low) * u
        case LogUniform(low=low, high=high):
            start, ratio = float(np.log(low)), float(np.log(high / low))
            return lambda u: torch.clamp(torch.exp(start + ratio * u), low, high)
        case Normal(loc=loc, scale=scale):
            return lambda u: loc + scale * torch.special.ndtri(u)
        case Categorical():
            return _choice(distribution, device)
        case TruncatedNormal() | Beta():
            return _tabulated(distribution, device)
    raise ParameterError(
        f"{distribution!r} cannot be drawn on a device; known there are Fixed, Uniform, "
        "LogUniform, Normal, TruncatedNormal, Beta and Categorical"
    )


def _choice(distribution: Categorical, device: torch.device) -> Quantile:
    probs = np.asarray(distribution.probs, dtype=np.float64)
    edges = torch.tensor(np.cumsum(probs)[:-1], dtype=torch.float32, device=device)
    values = torch.tensor(tuple(distribution.values), dtype=torch.float32, device=device)
    return lambda u: values[torch.bucketize(u, edges, right=True)]


def _tabulated(distribution: TruncatedNormal | Beta, device: torch.device) -> Quantile:
    nodes = 0.5 - 0.5 * np.cos(np.pi * np.arange(_NODES + 1) / _NODES)
    table = torch.tensor(distribution.quantile(nodes), dtype=torch.float32, device=device)
    places = torch.tensor(nodes, dtype=torch.float32, device=device)

    def interpolate(u: Tensor) -> Tensor:
        right = torch.clamp(torch.bucketize(u, places, right=True), 1, _NODES)
        left = right - 1
        share = (u - places[left]) / (places[right] - places[left])
        return torch.lerp(table[left], table[right], share)

    return interpolate


def _mixed(word: Tensor) -> Tensor:
    """Mix 64-bit words; a right shift of torch keeps the sign, so its upper bits are masked."""
    word = (word ^ _shifted(word, 30)) * _signed(_FIRST)
    word = (word ^ _shifted(word, 27)) * _signed(_SECOND)
    return word ^ _shifted(word, 31)


def _shifted(word: Tensor, bits: int) -> Tensor:
    return (word >> bits) & ((1 << (64 - bits)) - 1)


def _mixed_number(word: int) -> int:
    word &= _WORD
    word = (word ^ (word >> 30)) * _FIRST & _WORD
    word = (word ^ (word >> 27)) * _SECOND & _WORD
    return word ^ (word >> 31)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word

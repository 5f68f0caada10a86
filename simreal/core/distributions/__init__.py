"""Distributions that dynamics parameters are drawn from, in numpy alone and always in float64.

Domain randomization needs more than draws: adaptive methods weigh, compare and widen
distributions, and a result is only reproducible if its distribution can be written down. So each
one here is a frozen value with a density, an entropy, moments, a support, and a form that survives
JSON. float64 is not a matter of taste: the divergence between two steps of an adaptive method can
be 1e-9, and float32 turns it negative.
"""

from simreal.core.distributions.base import Distribution
from simreal.core.distributions.continuous import (
    Beta,
    LogUniform,
    Normal,
    TruncatedNormal,
    Uniform,
)
from simreal.core.distributions.discrete import Categorical, Fixed
from simreal.core.distributions.joint import Joint, kl_divergence

__all__ = [
    "Beta",
    "Categorical",
    "Distribution",
    "Fixed",
    "Joint",
    "LogUniform",
    "Normal",
    "TruncatedNormal",
    "Uniform",
    "kl_divergence",
]

"""Where a task lives: engine, dynamics, sensing, actuation, randomization, and their runtime."""

from simreal.domains.domain import Actuation, Domain, Sensing
from simreal.domains.randomization import JointSamples, Randomization, Randomized
from simreal.domains.vec_env import SimVecEnv, StepResult

__all__ = [
    "Actuation",
    "Domain",
    "JointSamples",
    "Randomization",
    "Randomized",
    "Sensing",
    "SimVecEnv",
    "StepResult",
]

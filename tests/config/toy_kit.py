"""A small kit of classes that the configuration tests build; none of it is about robots."""

import os  # noqa: F401  (a foreign module inside an allowed one, which must stay out of reach)
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from simreal.config import Composed, jobs
from simreal.errors import BundleError, ParameterError


@dataclass(frozen=True)
class Noise:
    std: float = 0.0

    def __post_init__(self) -> None:
        if self.std < 0:
            raise ParameterError(f"std must be at least 0, got {self.std}.")


@dataclass(frozen=True, kw_only=True)
class Reach:
    horizon: int
    reward: Literal["dense", "sparse"] = "dense"
    gain: float = 1.0
    frozen: bool = False
    goal: tuple[float, float] = (0.0, 0.0)
    noise: Noise | None = None

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError("horizon must be at least 1")


@dataclass(frozen=True, kw_only=True)
class World:
    engine: Literal["pybullet", "mujoco"]
    dynamics: Mapping[str, float] = field(default_factory=dict)
    layers: Sequence[int] = ()
    noises: tuple[Noise, ...] = ()
    pose: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, value in self.dynamics.items():
            if name not in ("mass", "friction"):
                raise ParameterError(f"unknown parameter '{name}'. Known: friction, mass.")
            if value <= 0:
                raise ParameterError(f"{name} must be positive, got {value}.")


class Learner:
    def __init__(self, env: Any, rate: float = 1e-3, **options: int) -> None:
        self.env, self.rate, self.options = env, rate, options


class Broken:
    def __init__(self, path: str) -> None:
        raise BundleError(f"{path} is damaged.")


@dataclass(frozen=True, kw_only=True)
class Settings:
    task: Reach
    source: World
    algo: Callable[..., Learner]
    seed: int
    steps: int
    name: str
    verbose: bool
    factor: float
    resume: str | None = None


def main(args: list[str]) -> int:
    for composed in jobs("train", args):
        settings = composed.settings(Settings)
        print(f"built {settings.task} seed={settings.seed}")
    return 0


def build_all(composed: Composed) -> Settings:
    return composed.settings(Settings)


NOT_CALLABLE = 3

"""Engines by name, imported only when one is asked for."""

import importlib
from typing import TYPE_CHECKING, cast

from simreal.core.robot import Robot
from simreal.engines.base import Engine, EngineSpec
from simreal.errors import ConfigError, DependencyError, unknown_name

if TYPE_CHECKING:
    from simreal.engines.workers import Workers

# Name: module, class, packages it needs, and the command that installs them.
_ENGINES: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "pybullet": (
        "simreal.engines.pybullet",
        "PyBulletEngine",
        ("pybullet",),
        'pip install "simreal[train]" (pybullet has no wheel after CPython 3.11)',
    ),
    "mujoco": (
        "simreal.engines.mujoco",
        "MuJoCoEngine",
        ("mujoco",),
        'pip install "simreal[train]"',
    ),
    "warp": (
        "simreal.engines.warp",
        "WarpEngine",
        ("mujoco_warp", "warp", "mujoco", "torch"),
        'pip install "simreal[warp]"',
    ),
}
# Engines for robots whose model the engine loads by itself: module and class.
_NATIVE = {"pybullet": ("simreal.engines.pybullet_native", "NativePyBulletEngine")}


def engine_names() -> tuple[str, ...]:
    """Return the names of all engines."""
    return tuple(_ENGINES)


def engine_class(name: str, robot: Robot | None = None) -> type[Engine]:
    """Import and return an engine class.

    Args:
        name: Engine name.
        robot: The robot it will simulate, which may come with a model of this engine's own; the
            class that builds from the table if None.

    Raises:
        UnknownNameError: There is no such engine.
        DependencyError: Its simulator is not installed.
    """
    if name not in _ENGINES:
        raise unknown_name("engine", name, _ENGINES)
    module, cls, packages, install = _ENGINES[name]
    if robot is not None and robot.native_for(name) is not None:
        module, cls = _NATIVE[name]
    try:
        return cast(type[Engine], getattr(importlib.import_module(module), cls))
    except ModuleNotFoundError as error:
        if error.name not in packages:
            raise
        raise DependencyError(
            f"engine '{name}' needs the package '{error.name}', which is not installed; "
            f"run: {install}"
        ) from error


def make_engine(name: str, spec: EngineSpec, workers: "int | Workers" = 1) -> Engine:
    """Build an engine by name.

    Args:
        name: Engine name.
        spec: What to build.
        workers: Processes the worlds are spread over, of which this one may be the first (see
            `ProcessWorkers`); 1 runs them in this one. Or where workers live, which may be other
            machines.
    """
    if workers == 1:
        return engine_class(name, spec.robot)(spec)
    from simreal.engines.process_workers import ProcessWorkers
    from simreal.engines.workers import WorkerEngine

    if isinstance(workers, int):
        if workers < 1:
            raise ConfigError(f"workers is {workers}; at least 1 is needed")
        workers = ProcessWorkers(count=workers)
    return WorkerEngine(name, spec, workers.count, make_crew=workers.make_crew)

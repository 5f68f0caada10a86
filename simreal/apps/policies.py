"""Find a policy by path or by name, and the shipped ones."""

from pathlib import Path

import numpy as np

from simreal.core.observation_pipeline import ObservationPipeline
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import Bundle, load_bundle
from simreal.domains.rollout import Act
from simreal.domains.vec_env import signal_names
from simreal.errors import ConfigError, nearest
from simreal.learning.algorithms import AlgorithmSettings
from simreal.learning.artifact import act_of
from simreal.paths import policies_dir


def find_policy(name: str | None, task: str, key: str = "policy") -> Path:
    """Return the folder of a bundle.

    Args:
        name: Path of a bundle or of a run, or name of a shipped policy; the shipped policy of the
            task if None.
        task: Name of the task.
        key: Setting that asked for it, for the message.

    Raises:
        ConfigError: There is no such policy.
    """
    shipped = {path.name: path for path in sorted(policies_dir().glob("*")) if path.is_dir()}
    if name is None:
        name = f"{task}-pybullet"
    path = Path(name)
    for candidate in (path, path / "policy", shipped.get(name)):
        if candidate is not None and (candidate / "manifest.json").is_file():
            return candidate
    raise ConfigError(
        f"{key}: got '{name}', which is neither a bundle, a run with one, nor a shipped policy. "
        f"Shipped: {', '.join(shipped) or 'none'}.{nearest(name, shipped)}"
    )


def load_for(path: Path, robot: Robot, task: Task) -> tuple[Bundle, Act]:
    """Load a bundle for a task.

    Args:
        path: The bundle.
        robot: The robot.
        task: The task.

    Raises:
        ConfigError: The bundle is of another task.
    """
    bundle = load_bundle(path)
    _check_task(bundle, robot, task)
    return bundle, act_of(bundle)


def check_fits(bundle: Bundle, robot: Robot, task: Task, algo: AlgorithmSettings) -> None:
    """Check that a transfer may begin with a bundle.

    Parameters alone do not tell: two tasks can have the same shapes, and an activation has none.

    Args:
        bundle: The source policy.
        robot: The robot.
        task: The task.
        algo: The algorithm that goes on with it.

    Raises:
        ConfigError: The bundle is of another task, algorithm or network.
    """
    _check_task(bundle, robot, task)
    hidden = {layer.activation for layer in bundle.layers[:-1]}
    for key, seen, wanted in (
        ("algo", bundle.manifest.provenance.algo, algo.name),
        ("algo.activation", ", ".join(sorted(hidden)) or algo.activation, algo.activation),
    ):
        if seen != wanted:
            raise ConfigError(
                f"policy: '{bundle.path}' was trained with {key}={seen}, and {key} is {wanted}; "
                f"set {key}={seen} or choose another policy"
            )


def _check_task(bundle: Bundle, robot: Robot, task: Task) -> None:
    seen, width = bundle.manifest.provenance.task, bundle.manifest.observation.dim
    dim = ObservationPipeline(task.observation(robot), signal_names(robot, task)).dim
    if seen != task.name or width != dim:
        raise ConfigError(
            f"policy: '{bundle.path}' was trained for task '{seen}' with {width} observation "
            f"entries, and the task is '{task.name}' with {dim}; choose task={seen} or another "
            "policy"
        )


def baseline(name: str, num_actions: int) -> Act | None:
    """Return a policy that needs no bundle: `zero` or `random`; None for any other name.

    Args:
        name: What was asked for.
        num_actions: Entries of an action.
    """
    if name == "zero":
        return lambda obs: np.zeros((obs.shape[0], num_actions))
    if name == "random":
        rng = np.random.default_rng(0)
        return lambda obs: rng.uniform(-1.0, 1.0, (obs.shape[0], num_actions))
    return None

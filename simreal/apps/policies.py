"""Find a policy by path or by name, and the shipped ones."""

from pathlib import Path

import numpy as np

from simreal.deploy import Bundle, load_bundle
from simreal.domains.rollout import Act
from simreal.errors import ConfigError, nearest
from simreal.learning.artifact import act_of
from simreal.paths import policies_dir


def find_policy(name: str | None, task: str) -> Path:
    """Return the folder of a bundle.

    Args:
        name: Path of a bundle or of a run, or name of a shipped policy; the shipped policy of the
            task if None.
        task: Name of the task.

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
        f"policy: got '{name}', which is neither a bundle, a run with one, nor a shipped policy. "
        f"Shipped: {', '.join(shipped) or 'none'}.{nearest(name, shipped)}"
    )


def load_for(path: Path, task: str, dim: int) -> tuple[Bundle, Act]:
    """Load a bundle for a task.

    Args:
        path: The bundle.
        task: Name of the task.
        dim: Width of the task's observation.

    Raises:
        ConfigError: The bundle is of another task.
    """
    bundle = load_bundle(path)
    seen = bundle.manifest.provenance.task
    if seen != task or bundle.manifest.observation.dim != dim:
        raise ConfigError(
            f"policy: '{path}' was trained for task '{seen}' with {bundle.manifest.observation.dim} "
            f"observation entries, and the task is '{task}' with {dim}; choose task={seen} or another "
            "policy"
        )
    return bundle, act_of(bundle)


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

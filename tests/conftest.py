"""A problem that trains in a fraction of a second, shared by the tests of all upper layers.

Heavy packages are imported when a fixture is used, so that light tests stay light.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def toy_robot() -> Any:
    """Return the pendulum of one link."""
    from simreal_envs.robots import simple_pendulum

    return simple_pendulum()


@pytest.fixture(scope="session")
def toy_task() -> Any:
    """Return a swing-up of 20 control steps, 10 in training; upright from step 10 on is success."""
    from simreal_envs.tasks.pendulum import PendulumSwingUp

    class Toy(PendulumSwingUp):
        name = "toy"
        episode_s = 0.2
        train_episode_s = 0.1
        success_window_s = (0.1, 0.2)

    return Toy()


@pytest.fixture(scope="session")
def toy_domain() -> Callable[..., Any]:
    """Return a function from an engine's name to a plain domain, or one with everything on."""
    from simreal.core.distributions import Uniform
    from simreal.domains import Actuation, Domain, Randomization, Sensing
    from simreal.domains.randomization import Randomized

    def make(engine: str = "mujoco", *, busy: bool = False, **changes: Any) -> Any:
        settings: dict[str, Any] = {"name": engine, "dynamics": {"armature": {"*": 0.0}}}
        if busy:
            settings |= {
                "sensing": Sensing(
                    joint_pos_noise=1e-3, joint_vel_noise=0.1, measurement_delay=4e-3, dropout=0.1
                ),
                "actuation": Actuation(command_delay=0.011, torque_noise=0.01),
                "randomization": Randomization(
                    {
                        "mass": {"*": Randomized(distribution=Uniform(0.9, 1.1), mode="scale")},
                        "command_delay": Randomized(distribution=Uniform(0.0, 0.016)),
                        "joint_damping": {
                            "*": Randomized(
                                distribution=Uniform(0.0, 0.01), when="interval", interval_s=0.05
                            )
                        },
                    }
                ),
            }
        return Domain(engine=engine, **(settings | changes))

    return make


@pytest.fixture(scope="session")
def toy_algo() -> Callable[..., Any]:
    """Return a function from `ppo`, `torch_ppo` or `sac` to tiny settings."""
    from simreal.learning.algorithms import PPOSettings, SACSettings, TorchPPOSettings

    shared: dict[str, Any] = {"num_worlds": 4, "extractor": (8,), "head": (8,)}

    def make(name: str = "ppo", **changes: Any) -> Any:
        if name == "sac":
            settings = {"buffer_size": 200, "learning_starts": 40, "batch_size": 16}
            return SACSettings(**(shared | settings | {"gradient_steps": 1} | changes))
        settings = {"num_steps": 16, "batch_size": 32, "num_epochs": 2}
        kind = TorchPPOSettings if name == "torch_ppo" else PPOSettings
        return kind(**(shared | settings | changes))

    return make


@pytest.fixture
def toy_job(
    toy_robot: Any,
    toy_task: Any,
    toy_domain: Callable[..., Any],
    toy_algo: Callable[..., Any],
    tmp_path: Path,
) -> Callable[..., Any]:
    """Return a function that describes a training of three rollouts."""
    from simreal.learning.trainer import TrainingJob, TrainingPlan

    def make(**changes: Any) -> Any:
        plan = {
            "num_steps": 192,
            "eval_every": 64,
            "eval_episodes": 2,
            "checkpoint_every": 64,
        } | changes.pop("plan", {})
        settings = {
            "robot": toy_robot,
            "task": toy_task,
            "domain": toy_domain(),
            "settings": toy_algo(),
            "plan": TrainingPlan(**plan),
            "seed": 3,
            "folder": tmp_path / "run",
        }
        return TrainingJob(**(settings | changes))

    return make


@pytest.fixture(scope="session")
def read_video() -> Callable[..., Any]:
    """Return a function that decodes an mp4 file of a known size into pictures (T, H, W, 3)."""
    import imageio_ffmpeg
    import numpy as np

    def read(path: Path, width: int, height: int) -> Any:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        raw = subprocess.run(command, check=True, capture_output=True).stdout
        return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)

    return read

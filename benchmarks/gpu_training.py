"""The training arms of `gpu.py`: `TorchPPO` on the device, rsl_rl on it, worlds on the CPU.

Every mass is randomized by 20 %, once per world. All have the same networks, rollouts, epochs,
minibatches and coefficients. rsl_rl gets its best flags: no log folder, no check for NaN. What
stays different: it clips the gradients of actor and critic apart, and bootstraps a time limit with
the value of the state before it.
"""

import contextlib
import importlib.util
import io
import os
import time
from typing import Any

import torch

from gpu_checks import MASSES
from gpu_physics import ROBOTS, build, masses
from rounds import Arm, Ratio
from simreal.domains import Domain, SimVecEnv
from simreal.domains.tensor_env import TensorVecEnv
from simreal.learning.algorithms import TorchPPOSettings
from simreal.learning.callbacks import NormalizerUpdate
from simreal.learning.device_env import DeviceVecEnv
from simreal.learning.vec_env import SB3VecEnv

OURS, THEIRS, THEIRS_COMPILED, CORES = (
    "TorchPPO on the device",
    "rsl_rl on the device",
    "rsl_rl on the device, networks compiled",
    "TorchPPO, MuJoCo on all cores",
)
_GOALS = {"ant": 1.0, "hopper": 1.5}
_DRAWN = masses("startup")  # per world, as Isaac Lab draws masses by default
_ROLLOUT, _MINIBATCHES, _EPOCHS, _WIDTHS = 24, 4, 5, (128, 128)


def settings(worlds: int) -> TorchPPOSettings:
    """Return the hyperparameters that all arms share.

    Args:
        worlds: N.
    """
    return TorchPPOSettings(
        num_worlds=worlds,
        num_steps=_ROLLOUT,
        batch_size=worlds * _ROLLOUT // _MINIBATCHES,
        num_epochs=_EPOCHS,
        learning_rate=1e-3,
        gamma=0.99,
        gae_lambda=0.95,
        clip_range=0.2,
        ent_coef=0.0,
        vf_coef=1.0,
        max_grad_norm=1.0,
        log_std_init=-0.7,
        extractor=_WIDTHS,
        head=(),
        activation="elu",
        normalize=True,
    )


def waits_for_nothing(robot: str, device: str, worlds: int) -> tuple[bool | None, str]:
    """Check that rollouts and updates run without waiting for the device, and as graphs.

    Args:
        robot: One of `ROBOTS`.
        device: As Warp names it.
        worlds: N.
    """
    env = DeviceVecEnv(build(robot, worlds, device, randomization=MASSES))
    model: Any = settings(worlds).build(env, 0)
    model.learn(2 * worlds * _ROLLOUT, callback=NormalizerUpdate())
    callback = model._setup_learn(10**9, NormalizerUpdate(), reset_num_timesteps=False)[1]

    def iterate(times: int) -> None:
        for _ in range(times):
            model.collect_rollouts(env, callback, model.rollout_buffer, _ROLLOUT)
            model.train()

    iterate(3)
    if device == "cpu":
        env.close()
        return None, "5 iterations ran; a processor has nothing to wait for"
    torch.cuda.set_sync_debug_mode("error")
    try:
        iterate(3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        env.close()
    warm = model._learner.pieces.warm and model._update.pieces.warm and env.worlds.pieces.warm
    return warm, "3 iterations of TorchPPO under torch.cuda.set_sync_debug_mode('error')"


def training_arms(
    robot: str, worlds: int, device: str, iterations: int, *, compiled: bool = False
) -> tuple[list[Arm], dict[str, Any]]:
    """Build the arms of one robot.

    Args:
        robot: One of `ROBOTS`.
        worlds: N.
        device: As Warp names it.
        iterations: PPO iterations of one round.
        compiled: Whether the operations around the physics are fused by `torch.compile`, in the
            worlds of both `TorchPPO` and rsl_rl.
    """
    ours = _ours(robot, worlds, device, iterations, compiled)
    arms = [ours, _cores(robot, worlds, max(1, iterations // 3))]  # it is the slow one
    left_out = {}
    if importlib.util.find_spec("rsl_rl") is None:
        left_out[THEIRS] = "the package rsl-rl-lib is not installed"
    else:
        modes = {THEIRS: None, THEIRS_COMPILED: "default"} if compiled else {THEIRS: None}
        arms[1:1] = [
            _theirs(
                name,
                build(robot, worlds, device, randomization=_DRAWN, compiled=compiled),
                device,
                iterations,
                mode,
            )
            for name, mode in modes.items()
        ]
    extra = {"left_out": left_out, "hyperparameters": vars_of(settings(worlds))}
    return arms, extra


def vars_of(chosen: TorchPPOSettings) -> dict[str, Any]:
    """Return settings as a dictionary for a results file."""
    return {name: getattr(chosen, name) for name in chosen.__dataclass_fields__}


def training_ratios(robot: str, arms: list[Arm]) -> list[Ratio]:
    """Return what the arms are held against."""
    names = {arm.name for arm in arms}
    goal = _GOALS.get(robot)
    pairs = [
        Ratio(name="rsl_rl / TorchPPO: speed-up", top=THEIRS, bottom=OURS, at_least=goal),
        Ratio(
            name="rsl_rl compiled / TorchPPO: speed-up",
            top=THEIRS_COMPILED,
            bottom=OURS,
            at_least=goal,
        ),
        Ratio(name="worlds on all cores / on the device: speed-up", top=CORES, bottom=OURS),
    ]
    return [ratio for ratio in pairs if ratio.top in names]


def _ours(robot: str, worlds: int, device: str, iterations: int, compiled: bool) -> Arm:
    env = DeviceVecEnv(build(robot, worlds, device, randomization=_DRAWN, compiled=compiled))
    return _torch_ppo(OURS, env, worlds, device, iterations)


def _cores(robot: str, worlds: int, iterations: int) -> Arm:
    made, task = ROBOTS[robot]
    domain = Domain(name="cores", engine="mujoco", randomization=_DRAWN, options={"threads": 0})
    env = SB3VecEnv(SimVecEnv(made(), task(), domain, worlds, training=True))
    note = f"{os.cpu_count()} threads; policy and update on the CPU"
    return _torch_ppo(CORES, env, worlds, "cpu", iterations, note=note)


def _torch_ppo(
    name: str, env: SB3VecEnv, worlds: int, device: str, iterations: int, note: str = ""
) -> Arm:
    model = settings(worlds).build(env, 0)
    rollout = worlds * _ROLLOUT

    def run() -> float:
        model.learn(iterations * rollout, reset_num_timesteps=False, callback=NormalizerUpdate())
        _wait(device)
        return iterations * rollout

    return Arm(name, run, note=note, close=env.close)


def _theirs(name: str, env: TensorVecEnv, device: str, iterations: int, mode: str | None) -> Arm:
    from rsl_rl.runners import OnPolicyRunner

    config = _rsl_config() | {"torch_compile_mode": mode}
    with contextlib.redirect_stdout(io.StringIO()):
        runner = OnPolicyRunner(_RslWorlds(env), config, log_dir=None, device=device)

    def run() -> float:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a table per iteration
            runner.learn(iterations)
        _wait(device)
        return iterations * env.num_worlds * _ROLLOUT

    note = f"log_dir=None, check_for_nan=False, torch_compile_mode={mode}"
    return Arm(name, run, note=note, close=env.close)


def _rsl_config() -> dict[str, Any]:
    network = {
        "class_name": "rsl_rl.models.MLPModel",
        "hidden_dims": list(_WIDTHS),
        "activation": "elu",
        "obs_normalization": True,
    }
    gaussian = {
        "class_name": "rsl_rl.modules.GaussianDistribution",
        "init_std": 0.5,
        "std_type": "log",
    }
    return {
        "num_steps_per_env": _ROLLOUT,
        "save_interval": 10**9,
        "check_for_nan": False,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": {**network, "distribution_cfg": gaussian},
        "critic": network,
        "algorithm": {
            "class_name": "rsl_rl.algorithms.PPO",
            "num_learning_epochs": _EPOCHS,
            "num_mini_batches": _MINIBATCHES,
            "clip_param": 0.2,
            "gamma": 0.99,
            "lam": 0.95,
            "value_loss_coef": 1.0,
            "entropy_coef": 0.0,
            "learning_rate": 1e-3,
            "max_grad_norm": 1.0,
            "use_clipped_value_loss": False,
            "schedule": "fixed",
            "desired_kl": None,
            "normalize_advantage_per_mini_batch": True,
        },
    }


class _RslWorlds:
    """Show our worlds as rsl_rl wants them; it asks for nothing else of its base class."""

    def __init__(self, env: TensorVecEnv) -> None:
        from tensordict import TensorDict

        self._env, self._dict = env, TensorDict
        self.num_envs, self.num_actions = env.num_worlds, env.action_map.dim
        self.device, self.cfg = env.device, {}
        self.max_episode_length = env.book.limit
        self.episode_length_buf = env.book.step
        self._obs = env.reset()

    def get_observations(self) -> Any:
        """Return the present observations."""
        return self._dict({"policy": self._obs}, batch_size=[self.num_envs], device=self.device)

    def step(self, actions: torch.Tensor) -> tuple[Any, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Advance one control step."""
        result = self._env.step(actions)
        self._obs = result.obs
        done = (result.terminated | result.truncated).long()
        return self.get_observations(), result.reward, done, {"time_outs": result.truncated}


def learn(
    robot: str, worlds: int, device: str, num_steps: int, *, compiled: bool = False
) -> dict[str, Any]:
    """Train on a device and return how return and success went.

    Args:
        robot: One of `ROBOTS`.
        worlds: N.
        device: As Warp names it.
        num_steps: Environment steps.
        compiled: Whether the operations around the physics are fused by `torch.compile`.
    """
    env = DeviceVecEnv(build(robot, worlds, device, compiled=compiled))
    model = settings(worlds).build(env, 0)
    rollout, curve = worlds * _ROLLOUT, []
    part = rollout * max(1, num_steps // (10 * rollout))
    start = time.perf_counter()
    while model.num_timesteps < num_steps:
        model.learn(part, reset_num_timesteps=False, callback=NormalizerUpdate())
        _wait(device)
        infos = list(model.ep_info_buffer or ())
        mean = sum(info["r"] for info in infos) / len(infos) if infos else None
        seconds = round(time.perf_counter() - start, 1)
        curve.append({"steps": model.num_timesteps, "seconds": seconds, "mean_return": mean})
        print(f"  {robot}: {curve[-1]}")
    env.close()
    return {"worlds": worlds, "curve": curve}


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)

"""Measure the update of PPO: TorchPPO against Stable-Baselines3, on one rollout, with one thread.

Every arm updates a network of two times 64 units on the same rollout of noise, with the same
settings; the mathematics is the same (the tests compare parameters to 1e-5). SB3 runs as it is
installed, and with the flag that it has for speed (`fused` Adam). One unit is one gradient step.

    OMP_NUM_THREADS=1 python benchmarks/ppo_update.py
"""

import sys
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from rounds import Arm, Ratio, arguments, print_table, summarize, take_turns, write
from simreal.learning.torch_ppo import TorchPPO

OBS_DIM, ACTION_DIM, EPOCHS = 15, 3, 3
# (worlds, steps, minibatch, goal against stock, goal against fused)
CASES = ((8, 128, 64, 1.5, 1.2), (64, 32, 512, 1.4, 1.2))
FUSED: dict[str, Any] = {"policy_kwargs": {"optimizer_kwargs": {"eps": 1e-5, "fused": True}}}


def main() -> int:
    """Run the script."""
    parser = arguments(__doc__, rounds=15)
    parser.add_argument("--updates", type=int, default=3, help="updates per arm and round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    arms: list[Arm] = []
    ratios: list[Ratio] = []
    for worlds, steps, batch, stock, fused in CASES:
        arms += build_arms(worlds, steps, batch, options.updates)
        name = f"minibatch {batch}"
        for other, goal in (("SB3", stock), ("SB3 fused", fused)):
            ratios.append(
                Ratio(
                    name=f"{other} / TorchPPO, {name}",
                    top=f"{other}, {name}",
                    bottom=f"TorchPPO, {name}",
                    at_least=goal,
                )
            )
    take_turns(arms, options.rounds)
    extra = {"network": "64, 64, tanh", "epochs": EPOCHS, "threads": torch.get_num_threads()}
    report = summarize(arms, ratios, unit="gradient step", clock="cpu", extra=extra)
    print_table(report)
    write(report, "ppo_update", options.output)
    return 0


def build_arms(worlds: int, steps: int, batch: int, updates: int) -> list[Arm]:
    """Build the arms of one size, all with the same rollout.

    Args:
        worlds: Worlds of the rollout.
        steps: Steps of each.
        batch: Transitions of a minibatch.
        updates: Updates per round.
    """
    settings: dict[str, Any] = {"n_steps": steps, "batch_size": batch, "n_epochs": EPOCHS}
    settings |= {"seed": 0, "device": "cpu"}
    ours = TorchPPO("MlpPolicy", Noise(worlds), **settings)
    stock = PPO("MlpPolicy", Noise(worlds), **settings)
    fused = PPO("MlpPolicy", Noise(worlds), **settings, **FUSED)
    for model in (ours, stock, fused):
        model.set_logger(Logger(None, []))
    _, callback = ours._setup_learn(worlds * steps)
    ours.collect_rollouts(ours.env, callback, ours.rollout_buffer, steps)
    for model in (stock, fused):
        copy_rollout(ours, model)
    number = updates * EPOCHS * worlds * steps // batch

    def arm(name: str, model: PPO) -> Arm:
        def run() -> float:
            for _ in range(updates):
                model.train()
            return number

        return Arm(f"{name}, minibatch {batch}", run)

    return [arm("TorchPPO", ours), arm("SB3", stock), arm("SB3 fused", fused)]


def copy_rollout(source: TorchPPO, target: PPO) -> None:
    """Give SB3's trainer the rollout and the parameters of ours."""
    target.policy.load_state_dict(source.policy.state_dict())
    buffer: Any = source.rollout_buffer
    target.rollout_buffer.reset()
    names = ("observations", "actions", "rewards", "values", "log_probs", "advantages", "returns")
    for name in names:
        array = getattr(target.rollout_buffer, name)
        array[...] = getattr(buffer, name).numpy().reshape(array.shape)
    target.rollout_buffer.pos, target.rollout_buffer.full = buffer.buffer_size, True


class Noise(VecEnv):
    """Give noise: an environment that costs nothing."""

    def __init__(self, worlds: int) -> None:
        self.render_mode = None
        self._rng = np.random.default_rng(0)
        super().__init__(
            worlds,
            gymnasium.spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32),
            gymnasium.spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32),
        )

    def _obs(self) -> np.ndarray:
        return self._rng.normal(size=(self.num_envs, OBS_DIM)).astype(np.float32)

    def reset(self) -> np.ndarray:  # type: ignore[override]
        """Return noise."""
        return self._obs()

    def step_async(self, actions: np.ndarray) -> None:
        """Take no notice."""

    def step_wait(self) -> Any:
        """Return noise; an episode ends in every hundredth step."""
        done = self._rng.random(self.num_envs) < 0.01
        reward = self._rng.normal(size=self.num_envs).astype(np.float32)
        return self._obs(), reward, done, [{} for _ in range(self.num_envs)]

    def close(self) -> None:
        """Hold nothing."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Call a method."""
        return [getattr(self, method_name)(*args, **kwargs) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False."""
        return [False for _ in self._get_indices(indices)]


if __name__ == "__main__":
    sys.exit(main())

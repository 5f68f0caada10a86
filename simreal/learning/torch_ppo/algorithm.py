"""`TorchPPO`: Stable-Baselines3's PPO with everything between two logs on the device.

A subclass that replaces the rollout and the update and leaves the rest: policies, schedules,
callbacks, logger tags, files. A zip written by it opens in SB3's `PPO.load`, and the other way
round.
"""

import math
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from simreal.errors import ConfigError
from simreal.learning.actor_critic import SimPolicy
from simreal.learning.processes import processes
from simreal.learning.tensor_env import TensorEnv, TensorStep, host, tensor_env
from simreal.learning.torch_ppo.dense import DenseLearner, dense_policy
from simreal.learning.torch_ppo.flat_adam import OptimizerStep, optimizer_step, portable_state
from simreal.learning.torch_ppo.learner import Learner, ModuleLearner, without_validation
from simreal.learning.torch_ppo.objective import Objective
from simreal.learning.torch_ppo.rollouts import TensorRollouts
from simreal.learning.torch_ppo.sequences import SequenceLearner
from simreal.learning.torch_ppo.update import Update, UpdateLog


class TorchPPO(PPO):
    """Train with PPO (Schulman et al. 2017, arXiv 1707.06347) on tensors.

    The same mathematics as SB3's PPO. What differs:

    - Advantages at a time limit are bootstrapped with the value of the last observation, for all
      worlds in one pass of the critic after the rollout. Values and log probabilities are therefore
      not among the `locals` of callbacks during a rollout; they are in `rollout_buffer` at its end.
    - A policy that is nothing but linear layers and a Gaussian is run and differentiated by hand,
      see `simreal.learning.torch_ppo.dense`; any other by its own code.
    - Adam runs on one flat tensor, see `simreal.learning.torch_ppo.flat_adam`.
    - On a GPU statistics of an update are logged with the next `dump_logs`, or at the end of
      `learn`, because reading them earlier would wait for the device.
    - Where torch's default process group exists, all its processes train one policy: steps are
      counted, episodes logged and gradients averaged over them, see `simreal.learning.processes`.

    Attributes:
        rollout_buffer: The last rollout, as tensors.
        sequence_length: Steps of the sequences on which a policy with memory learns.
        memory: What a policy with memory had in mind after the last rollout, else None.
    """

    _transient: ClassVar[tuple[str, ...]] = (
        "_last_obs",
        "_last_episode_starts",
        "_last_original_obs",
        "_tensors",
        "_learner",
        "_stepper",
        "_update",
        "_bounds",
        "_unread",
        "memory",
        "rollout_buffer_class",
    )

    def __init__(self, *args: Any, sequence_length: int | None = None, **kwargs: Any) -> None:
        """Take what SB3's PPO takes.

        Args:
            args: See `stable_baselines3.PPO`.
            sequence_length: Steps of the sequences on which a policy with memory learns; by default
                16, or the largest divisor of 16 that also divides `n_steps` and `batch_size`.
            kwargs: See `stable_baselines3.PPO`.

        Raises:
            ConfigError: A rollout buffer is asked for that does not hold tensors.
        """
        self._tensors: TensorEnv | None = None
        self._learner: Learner | None = None
        self._stepper: OptimizerStep | None = None
        self._update: Update | None = None
        self._bounds: tuple[torch.Tensor, torch.Tensor] | None = None
        self._unread: UpdateLog | None = None
        self.sequence_length = sequence_length
        self.memory: torch.Tensor | None = None
        wanted = kwargs.setdefault("rollout_buffer_class", TensorRollouts) or TensorRollouts
        if not issubclass(wanted, TensorRollouts):
            raise ConfigError(
                f"rollout_buffer_class is {wanted.__name__}; TorchPPO keeps rollouts as tensors: "
                "leave it out, or derive from TensorRollouts"
            )
        super().__init__(*args, **kwargs)

    def _setup_model(self) -> None:
        chosen: Any = self.rollout_buffer_class
        if chosen is None or not issubclass(chosen, TensorRollouts):
            # A file of SB3's PPO names a buffer of arrays, or none.
            self.rollout_buffer_class = TensorRollouts  # type: ignore[assignment]
        super()._setup_model()
        self._learner = self._stepper = self._update = None
        self._bounds = self._unread = None

    def _maybe_recommend_cpu(self, mlp_class_name: str = "ActorCriticPolicy") -> None:
        """Stay silent: a GPU is no mistake here."""

    # ------------------------------------------------------------------ rollout

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: Any,
        n_rollout_steps: int,
    ) -> bool:
        """Collect one rollout.

        Args:
            env: The environment.
            callback: Called at every step, with SB3's names in its `locals`.
            rollout_buffer: Where the rollout is kept.
            n_rollout_steps: Steps of each world.

        Returns:
            False if the callback ended the rollout.
        """
        buffer: TensorRollouts = rollout_buffer
        self.policy.set_training_mode(False)
        buffer.reset()
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        tensors, learner = self._tensor_face(env), self._ready()
        buffer.begin(self._last_obs, self._last_episode_starts)
        with without_validation():
            learner.recall(self.memory)
            learner.begin_rollout()
            for step in range(n_rollout_steps):
                if self.use_sde and self.sde_sample_freq > 0 and step % self.sde_sample_freq == 0:
                    self.policy.reset_noise(env.num_envs)
                actions = learner.act(step)
                if not self._step(tensors, callback, buffer, actions):
                    return False
            learner.finish_rollout()
        self.memory = learner.memory
        learner.pieces.run("advantages", buffer.estimate)
        self._remember(tensors, buffer)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _step(
        self,
        env: TensorEnv,
        callback: BaseCallback,
        rollout_buffer: TensorRollouts,
        actions: torch.Tensor,
    ) -> bool:
        """Take one step of the rollout; returns False if the callback ends it."""
        clipped_actions = self._within_bounds(actions)
        step: TensorStep = env.step_tensor(clipped_actions)
        rollout_buffer.add(step)
        self.num_timesteps += env.num_envs * processes().size
        done = rollout_buffer.done[rollout_buffer.pos - 1]
        new_obs, rewards = host(step.obs), host(step.reward)
        dones, infos = host(done.bool()), step.infos
        n_steps = rollout_buffer.pos - 1
        callback.update_locals(locals())
        return callback.on_step()

    def _within_bounds(self, actions: torch.Tensor) -> torch.Tensor:
        """Return actions as the environment takes them."""
        if not isinstance(self.action_space, spaces.Box):
            return actions
        if self._bounds is None:
            low, high = self.action_space.low, self.action_space.high
            self._bounds = (
                torch.as_tensor(low, dtype=torch.float32, device=self.device),
                torch.as_tensor(high, dtype=torch.float32, device=self.device),
            )
        least, most = self._bounds
        actions = actions.view(-1, *self.action_space.shape)
        if self.policy.squash_output:
            return least + (0.5 * (actions + 1.0)) * (most - least)
        return torch.clamp(actions, least, most)

    def _remember(self, env: TensorEnv, buffer: TensorRollouts) -> None:
        """Keep what the next rollout begins with, and count finished episodes."""
        last: Any = buffer.last_observation
        self._last_obs = last
        starts: Any = buffer.episode_starts[-1].bool()
        self._last_episode_starts = starts
        if self.device.type == "cpu":
            self._count_episodes(env)

    def _count_episodes(self, env: TensorEnv) -> None:
        infos = processes().joined(env.drain())
        self._update_info_buffer(infos, np.ones(len(infos), dtype=bool))

    def _tensor_face(self, env: VecEnv) -> TensorEnv:
        known = self._tensors
        if known is None or (known is not env and getattr(known, "venv", None) is not env):
            known = tensor_env(env)
            if known.device.type != self.device.type:
                raise ConfigError(
                    f"the environment is on {known.device}, the policy on {self.device}; give "
                    "both the same device"
                )
            self._tensors = known
        return known

    def _ready(self) -> Learner:
        """Return the learner, made anew where somebody replaced parameters or optimizer."""
        stepper, learner = self._stepper, self._learner
        optimizer = self.policy.optimizer
        current = stepper is not None and stepper.optimizer is optimizer and stepper.intact
        if stepper is None or learner is None or not current:
            stepper = optimizer_step(optimizer)
            learner = self._make_learner(stepper)
            self._stepper, self._learner = stepper, learner
        return learner

    def _make_learner(self, stepper: OptimizerStep) -> Learner:
        buffer: Any = self.rollout_buffer
        policy: Any = self.policy
        if isinstance(policy, SimPolicy) and policy.remembers:
            length = self.sequence_length or math.gcd(16, self.n_steps, self.batch_size)
            return SequenceLearner(policy, buffer, stepper, length, self.batch_size)
        parts = dense_policy(policy) if stepper.flat else None
        if parts is not None:
            return DenseLearner(policy, parts, buffer)
        return ModuleLearner(policy, buffer, stepper)

    # ------------------------------------------------------------------- update

    def train(self) -> None:
        """Update the policy on the last rollout."""
        self.policy.set_training_mode(True)
        optimizer = self.policy.optimizer
        self._update_learning_rate(optimizer)
        learner = self._ready()
        remaining = self._current_progress_remaining
        clip_range_vf: Any = self.clip_range_vf
        if clip_range_vf is not None:
            clip_range_vf = clip_range_vf(remaining)
            self.logger.record("train/clip_range_vf", clip_range_vf)
        objective = Objective(
            clip_range=self.clip_range(remaining),  # type: ignore[operator]
            clip_range_vf=clip_range_vf,
            ent_coef=self.ent_coef,
            vf_coef=self.vf_coef,
            normalize=self.normalize_advantage,
        )
        self.logger.record("train/clip_range", objective.clip_range)
        with without_validation():
            self._unread = self._update_of(learner, objective).run()
        if self.device.type == "cpu":
            self._read_log()

    def _update_of(self, learner: Learner, objective: Objective) -> Update:
        """Return the last update if it would be the same again, so that its graphs stay."""
        known, given = self._update, (self, learner, self._stepper, objective)
        if known is None or not known.suits(*given):
            known = self._update = Update(*given)
        return known

    def _read_log(self) -> None:
        """Log the last update; the one place where its numbers come to the host."""
        if self._unread is None:
            return
        numbers, self._unread = self._unread.read(), None
        self._n_updates += int(numbers.pop("epochs"))
        for name, value in numbers.items():
            self.logger.record(f"train/{name}", value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the log.

        Args:
            iteration: Number of the rollout.
        """
        self._bring_home()
        super().dump_logs(iteration)

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """Train as SB3's PPO does.

        Args:
            args: See `stable_baselines3.PPO.learn`.
            kwargs: See `stable_baselines3.PPO.learn`.
        """
        model = super().learn(*args, **kwargs)
        self._bring_home()
        return model

    def _bring_home(self) -> None:
        """Read what still waits on a GPU."""
        self._read_log()
        if self._tensors is not None:
            self._count_episodes(self._tensors)

    # -------------------------------------------------------------------- files

    def get_parameters(self) -> dict[str, dict[str, Any]]:
        """Return parameters and optimizer state, as SB3's PPO on a CPU can load them."""
        policy = self.policy.state_dict()
        return {
            "policy": {name: value.detach().clone() for name, value in policy.items()},
            "policy.optimizer": portable_state(self.policy.optimizer),
        }

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), *self._transient]

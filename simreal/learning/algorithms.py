"""Stable-Baselines3's algorithms, described by typed settings with the kit's policy inside.

A setting builds SB3's `PPO` or `SAC` itself, or `TorchPPO`, which is SB3's `PPO` on tensors.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains import Domain, SimVecEnv
from simreal.domains.tensor_env import ENGINES, TensorVecEnv
from simreal.domains.tensor_graphs import AUTO
from simreal.engines.workers import Workers
from simreal.errors import ConfigError, unknown_name
from simreal.learning.actor_critic import Memory, SimPolicy
from simreal.learning.callbacks import NormalizerEveryStep, NormalizerUpdate, moving_together
from simreal.learning.device_env import DeviceVecEnv
from simreal.learning.policy import ACTIVATIONS, linear_schedule, policy_kwargs
from simreal.learning.torch_ppo import TorchPPO
from simreal.learning.vec_env import SB3VecEnv


@dataclass(frozen=True, kw_only=True)
class AlgorithmSettings(ABC):
    """Hold what all algorithms share.

    Attributes:
        num_worlds: Worlds stepped together.
        extractor: Widths of the feature extractor's layers.
        head: Widths of the head's hidden layers.
        activation: `tanh`, `relu` or `elu`.
        normalize: Whether the policy normalizes observations, where the task allows it.
        learning_rate: Learning rate at the beginning.
        final_learning_rate: Learning rate at the end; as at the beginning if None.
        gamma: Discount factor.
    """

    num_worlds: int = 64
    extractor: tuple[int, ...] = (64,)
    head: tuple[int, ...] = (64,)
    activation: str = "tanh"
    normalize: bool = True
    learning_rate: float = 3e-4
    final_learning_rate: float | None = None
    gamma: float = 0.99

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of its range.
        """
        if self.num_worlds < 1:
            raise ConfigError(f"num_worlds is {self.num_worlds}; at least 1 is needed")
        if not 0.0 < self.gamma <= 1.0:
            raise ConfigError(f"gamma is {self.gamma}; a number in (0, 1] is needed")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; a number > 0 is needed")
        if self.final_learning_rate is not None and self.final_learning_rate < 0:
            raise ConfigError(
                f"final_learning_rate is {self.final_learning_rate}; a number >= 0 or null is "
                "needed"
            )
        if self.activation not in ACTIVATIONS:
            raise unknown_name("activation", self.activation, ACTIVATIONS)
        if not all(width > 0 for width in (*self.extractor, *self.head)):
            raise ConfigError(
                f"extractor is {self.extractor}, head {self.head}; widths > 0 are needed"
            )

    @property
    def name(self) -> str:
        """Return the name of the algorithm, as bundles have it."""
        return type(self).__name__.removesuffix("Settings").lower()

    @property
    def schedule(self) -> Any:
        """Return the learning-rate schedule as SB3 takes it."""
        last = self.learning_rate if self.final_learning_rate is None else self.final_learning_rate
        return linear_schedule(self.learning_rate, last)

    def network(self, task: Task) -> dict[str, Any]:
        """Return SB3's `policy_kwargs`.

        Args:
            task: What is learned.
        """
        return policy_kwargs(
            extractor=self.extractor,
            head=self.head,
            activation=self.activation,
            normalize=self.normalize and task.normalize,
        )

    def worlds(
        self,
        robot: Robot,
        task: Task,
        domain: Domain,
        num_worlds: int,
        *,
        seed: int,
        training: bool,
        workers: int | Workers,
        first_world: int = 0,
    ) -> SimVecEnv | TensorVecEnv:
        """Return the worlds to learn in: tensors, where algorithm and domain both have them.

        Args:
            robot: The robot.
            task: The task.
            domain: Source or target.
            num_worlds: How many.
            seed: Seed of all that is random in them.
            training: Whether episodes are those of a training.
            workers: Processes that run the physics, or where workers live.
            first_world: Number of the first world, where these are some of more.
        """
        what: Any = (robot, task, domain, num_worlds)
        more: Any = {"seed": seed, "training": training, "first_world": first_world}
        if self.tensors and domain.engine in ENGINES and workers == 1:
            return TensorVecEnv(*what, **more, compiler=self.compiler)
        return SimVecEnv(*what, **more, workers=workers)

    @property
    def tensors(self) -> bool:
        """Return whether the algorithm learns from tensors of worlds on a device."""
        return False

    @property
    def compiler(self) -> str | None:
        """Return what fuses the operations around the physics of such worlds, as they take it."""
        return None

    def face(self, sim: Any) -> SB3VecEnv:
        """Return the environment to learn in.

        Args:
            sim: What `worlds` gave.
        """
        return SB3VecEnv(sim)

    @property
    def normalizer_callback(self) -> BaseCallback:
        """Return a new callback that moves the statistics of the policy's normalizers."""
        return NormalizerUpdate()

    def check(self, policy: torch.nn.Module) -> None:
        """Refuse a policy, with what is frozen in it, that the algorithm cannot train.

        Args:
            policy: A policy with the kit's parts.

        Raises:
            ConfigError: It cannot.
        """
        return

    @abstractmethod
    def build(self, env: SB3VecEnv, seed: int) -> BaseAlgorithm:
        """Return a new model on an environment."""


@dataclass(frozen=True, kw_only=True)
class PPOSettings(AlgorithmSettings):
    """Hold the settings of SB3's PPO (Schulman et al. 2017, arXiv 1707.06347).

    Attributes:
        num_steps: Control steps of each world in one rollout.
        batch_size: Samples of one gradient step.
        num_epochs: Passes over a rollout.
        gae_lambda: Lambda of generalized advantage estimation.
        clip_range: Clipping of the probability ratio.
        ent_coef: Weight of the entropy bonus.
        vf_coef: Weight of the value loss.
        max_grad_norm: Largest norm of a gradient.
        log_std_init: Logarithm of the initial action standard deviation.
        target_kl: Largest mean KL divergence of one update; no limit if None.
        final_clip_range: Clipping at the end; as at the beginning if None.
        use_sde: Whether exploration is a function of the state (Raffin et al. 2022, "Smooth
            exploration for robotic reinforcement learning") in place of white noise.
        sde_sample_freq: Control steps after which that function is drawn anew; once per rollout
            if -1.
        ortho_init: Whether layers begin orthogonal, else as PyTorch draws them.
        normalize_reward: Whether the trainer divides rewards by the running deviation of the
            discounted return. It is kept in checkpoints; no evaluation and no bundle knows of it.
        normalize_every_step: Whether the policy's normalizers move at every step, as SB3's
            `VecNormalize` does, and not only between rollouts. Published results were made so.
    """

    num_steps: int = 128
    batch_size: int = 512
    num_epochs: int = 8
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    log_std_init: float = -0.7
    target_kl: float | None = None
    final_clip_range: float | None = None
    use_sde: bool = False
    sde_sample_freq: int = -1
    ortho_init: bool = True
    normalize_reward: bool = False
    normalize_every_step: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of its range.
        """
        super().__post_init__()
        if self.num_steps < 1 or self.num_epochs < 1:
            raise ConfigError(
                f"num_steps is {self.num_steps}, num_epochs {self.num_epochs}; at least 1 each is "
                "needed"
            )
        if self.sde_sample_freq != -1 and (self.sde_sample_freq < 1 or not self.use_sde):
            raise ConfigError(
                f"sde_sample_freq is {self.sde_sample_freq}; -1, or at least 1 with use_sde"
            )
        if self.normalize_every_step and not self.normalize:
            raise ConfigError(
                "normalize_every_step is true and normalize false; there is nothing to move: set "
                "algo.normalize=true or algo.normalize_every_step=false"
            )
        rollout = self.num_worlds * self.num_steps
        if not 1 < self.batch_size <= rollout or rollout % self.batch_size:
            raise ConfigError(
                f"batch_size is {self.batch_size}; it must divide num_worlds * num_steps = "
                f"{rollout}"
            )

    def build(self, env: SB3VecEnv, seed: int) -> PPO:
        """Return a new PPO.

        Args:
            env: The source or target worlds.
            seed: Seed of network and minibatches.
        """
        return PPO(
            "MlpPolicy",
            self.wrapped(env),
            seed=seed,
            device="cpu",
            **self.arguments(env.sim.task),
        )

    @property
    def normalizer_callback(self) -> BaseCallback:
        """Return a new callback that moves the statistics of the policy's normalizers."""
        return NormalizerEveryStep() if self.normalize_every_step else NormalizerUpdate()

    def check(self, policy: torch.nn.Module) -> None:
        """Refuse a policy whose normalizers cannot move together, where they move at every step.

        Args:
            policy: A policy with the kit's parts.

        Raises:
            ConfigError: They cannot.
        """
        if self.normalize_every_step:
            moving_together(policy)

    def wrapped(self, env: SB3VecEnv) -> VecEnv:
        """Return the environment, with rewards normalized where that is wanted."""
        if not self.normalize_reward:
            return env
        return VecNormalize(env, norm_obs=False, norm_reward=True, gamma=self.gamma)

    def arguments(self, task: Task) -> dict[str, Any]:
        """Return what SB3's PPO takes.

        Args:
            task: What is learned.
        """
        return {
            "learning_rate": self.schedule,
            "n_steps": self.num_steps,
            "batch_size": self.batch_size,
            "n_epochs": self.num_epochs,
            "gamma": self.gamma,
            "gae_lambda": self.gae_lambda,
            "clip_range": linear_schedule(
                self.clip_range,
                self.clip_range if self.final_clip_range is None else self.final_clip_range,
            ),
            "use_sde": self.use_sde,
            "sde_sample_freq": self.sde_sample_freq,
            "ent_coef": self.ent_coef,
            "vf_coef": self.vf_coef,
            "max_grad_norm": self.max_grad_norm,
            "target_kl": self.target_kl,
            "policy_kwargs": self.network(task)
            | {"log_std_init": self.log_std_init, "ortho_init": self.ortho_init},
        }


@dataclass(frozen=True, kw_only=True)
class TorchPPOSettings(PPOSettings):
    """Hold the settings of `TorchPPO`: those of PPO, of which it is the faster form, and two more.

    Policies go from one to the other, so in bundles its name is `ppo`, too.

    Attributes:
        memory: Width of an LSTM layer in place of the extractor's layers; none if 0.
        sequence_length: Steps of the sequences on which a policy with memory learns.
        privileged: Whether the critic also sees the true state and the drawn dynamics parameters.
        fuse: Whether what surrounds the physics of worlds on a CUDA device is fused into few
            kernels by `torch.compile`, where Triton is installed; up to a minute at the start.
    """

    memory: int = 0
    sequence_length: int = 16
    privileged: bool = False
    fuse: bool = True

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of its range.
        """
        super().__post_init__()
        if self.normalize_every_step:
            raise ConfigError(
                "normalize_every_step is true; TorchPPO values a rollout when it is over, with one "
                "set of statistics: set algo.normalize_every_step=false, or take algo=ppo"
            )
        if self.memory < 0 or self.sequence_length < 1:
            raise ConfigError(
                f"memory is {self.memory}, sequence_length {self.sequence_length}; memory >= 0 and "
                "sequence_length >= 1 are needed"
            )
        if self.memory and self.extractor:
            raise ConfigError(
                f"memory is {self.memory} and extractor {list(self.extractor)}; a policy with "
                "memory has no layers before it, set extractor=[]"
            )
        length = self.sequence_length
        if self.memory and (self.num_steps % length or self.batch_size % length):
            raise ConfigError(
                f"sequence_length is {length}; it must divide num_steps = {self.num_steps} and "
                f"batch_size = {self.batch_size}"
            )

    @property
    def name(self) -> str:
        """Return the name of the algorithm, as bundles have it."""
        return "ppo"

    @property
    def tensors(self) -> bool:
        """Return whether it learns from tensors.

        A critic that sees more, and rewards that SB3's wrapper normalizes, need the numpy runtime.
        """
        return not (self.privileged or self.normalize_reward)

    @property
    def compiler(self) -> str | None:
        """Return what fuses the operations around the physics."""
        return AUTO if self.fuse else None

    def face(self, sim: Any) -> SB3VecEnv:
        """Return the environment to learn in, with what only the critic sees if it is asked for.

        Args:
            sim: What `worlds` gave.
        """
        if isinstance(sim, TensorVecEnv):
            return DeviceVecEnv(sim)
        return SB3VecEnv(sim, privileged=self.privileged)

    def build(self, env: SB3VecEnv, seed: int) -> PPO:
        """Return a new `TorchPPO`, on the device of its environment.

        Args:
            env: The source or target worlds.
            seed: Seed of network and minibatches.
        """
        arguments: dict[str, Any] = self.arguments(env.sim.task)
        policy: Any = "MlpPolicy"
        if self.memory or self.privileged:
            policy = SimPolicy
            arguments["policy_kwargs"] |= {"privileged": env.num_privileged}
        if self.memory:
            arguments["policy_kwargs"] |= {
                "features_extractor_class": Memory,
                "features_extractor_kwargs": {
                    "hidden": self.memory,
                    "normalize": self.normalize and env.sim.task.normalize,
                },
            }
        return TorchPPO(
            policy,
            self.wrapped(env),
            seed=seed,
            device=env.device,
            sequence_length=self.sequence_length,
            **arguments,
        )


@dataclass(frozen=True, kw_only=True)
class SACSettings(AlgorithmSettings):
    """Hold the settings of SB3's SAC (Haarnoja et al. 2018, arXiv 1801.01290).

    Attributes:
        buffer_size: Transitions kept.
        learning_starts: Steps of random actions at the beginning.
        batch_size: Samples of one gradient step.
        tau: Share of the target network's move per update.
        train_freq: Control steps of each world between updates.
        gradient_steps: Gradient steps of one update.
        ent_coef_init: Weight of the entropy at the beginning; it is then adapted. A policy that is
            fine-tuned forgets less with a small one.
    """

    num_worlds: int = 16
    extractor: tuple[int, ...] = (256,)
    head: tuple[int, ...] = (256,)
    activation: str = "relu"
    buffer_size: int = 300_000
    learning_starts: int = 5_000
    batch_size: int = 256
    tau: float = 0.005
    train_freq: int = 1
    gradient_steps: int = 8
    ent_coef_init: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A setting is out of its range.
        """
        super().__post_init__()
        whole = ("buffer_size", "batch_size", "train_freq", "gradient_steps")
        for name in whole:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        if self.learning_starts < 0:
            raise ConfigError(f"learning_starts is {self.learning_starts}; at least 0 is needed")
        if not 0.0 < self.tau <= 1.0 or not self.ent_coef_init > 0:
            raise ConfigError(
                f"tau is {self.tau}, ent_coef_init {self.ent_coef_init}; tau in (0, 1] and "
                "ent_coef_init > 0 are needed"
            )

    def build(self, env: SB3VecEnv, seed: int) -> SAC:
        """Return a new SAC.

        Args:
            env: The source or target worlds.
            seed: Seed of network, replay and exploration.
        """
        kwargs = self.network(env.sim.task)
        kwargs["net_arch"] = {"pi": list(self.head), "qf": list(self.head)}
        return SAC(
            "MlpPolicy",
            env,
            learning_rate=self.schedule,
            buffer_size=self.buffer_size,
            learning_starts=self.learning_starts,
            batch_size=self.batch_size,
            tau=self.tau,
            gamma=self.gamma,
            train_freq=(self.train_freq, "step"),
            gradient_steps=self.gradient_steps,
            ent_coef=f"auto_{self.ent_coef_init}",
            policy_kwargs=kwargs,
            seed=seed,
            device="cpu",
        )


def single_thread() -> None:
    """Use one torch thread and skip torch's argument validation.

    Small networks run slower on several threads, and one thread is what makes a run repeat bit for
    bit on another machine with another number of cores.
    """
    torch.set_num_threads(1)
    torch.distributions.Distribution.set_default_validate_args(False)

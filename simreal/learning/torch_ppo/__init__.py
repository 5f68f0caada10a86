"""PPO whose rollouts, advantages, normalization and minibatches stay on the device."""

from simreal.learning.torch_ppo.algorithm import TorchPPO

__all__ = ["TorchPPO"]

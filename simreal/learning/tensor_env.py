"""Environments whose data are tensors, and how any Stable-Baselines3 environment becomes one.

One object has two faces. The tensor face is what `TorchPPO` steps: fixed shapes, and on a GPU no
synchronization with the host. The numpy face is SB3's `VecEnv`, so that SB3's own algorithms and
callbacks run on the same object.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from simreal.errors import ConfigError

Observation = torch.Tensor | dict[str, torch.Tensor]


class TensorStep(NamedTuple):
    """Hold what one control step gave.

    Attributes:
        obs: Observation, of the new episode where one ended (N, ...).
        reward: (N,), floating point.
        terminated: Ended by the task (N,), bool.
        truncated: Ended by the time limit alone (N,), bool.
        final_obs: Observation before any reset (N, ...); equals `obs` where nothing ended.
        infos: Per world, for SB3's callbacks; made when somebody looks.
    """

    obs: Observation
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    final_obs: Observation
    infos: Sequence[dict[str, Any]]


class TensorEnv(VecEnv):
    """Be a `VecEnv` that can also be stepped with tensors.

    Attributes:
        device: Where all tensors are.
    """

    device: torch.device

    @abstractmethod
    def reset_tensor(self) -> Observation:
        """Begin a new episode in every world and return the observation (N, ...)."""

    @abstractmethod
    def step_tensor(self, actions: torch.Tensor) -> TensorStep:
        """Advance every world by one control step.

        Args:
            actions: (N, A), within the action space.

        Returns:
            Tensors that may be overwritten two steps later.
        """

    @abstractmethod
    def drain(self) -> list[dict[str, Any]]:
        """Return the infos of the episodes that ended since the last call.

        Each has `episode` with return `r`, length `l` and time `t`, and perhaps `is_success`. This
        is the one place that may wait for a GPU; it is called once per rollout.
        """


class VecEnvTensors(TensorEnv):
    """Give any other `VecEnv` the tensor face, without copies; on the CPU.

    Attributes:
        venv: The environment.
    """

    def __init__(self, venv: VecEnv) -> None:
        """Wrap.

        Args:
            venv: The environment; wrappers such as `VecNormalize` and `VecMonitor` included.

        Raises:
            ConfigError: It wraps an environment on another device: the wrapper would bring every
                step to the host.
        """
        inner = venv
        while isinstance(inner, VecEnvWrapper):
            inner = inner.venv
        if isinstance(inner, TensorEnv) and inner.device.type != "cpu":
            raise ConfigError(
                f"{type(venv).__name__} wraps an environment on {inner.device} and knows only "
                "numpy: every step would wait for the host; train on the environment itself, the "
                "kit's policies normalize inside"
            )
        self.venv = venv
        self.device = torch.device("cpu")
        self._infos: list[dict[str, Any]] = []
        self._rows = torch.arange(venv.num_envs)
        super().__init__(venv.num_envs, venv.observation_space, venv.action_space)

    def reset_tensor(self) -> Observation:
        """Begin a new episode in every world and return the observation (N, ...)."""
        return _tensors(self.venv.reset())

    def step_tensor(self, actions: torch.Tensor) -> TensorStep:
        """Advance every world by one step."""
        new_obs, rewards, dones, infos = self.venv.step(actions.numpy())
        obs = _tensors(new_obs)
        done = torch.from_numpy(np.asarray(dones, dtype=bool))
        truncated, final = torch.zeros_like(done), obs
        if dones.any():
            final = _copied(obs)
            for world in np.flatnonzero(dones).tolist():
                self._close(infos[world], world, truncated, final)
        reward = torch.from_numpy(np.asarray(rewards, dtype=np.float32))
        return TensorStep(obs, reward, done & ~truncated, truncated, final, infos)

    def _close(
        self, info: dict[str, Any], world: int, truncated: torch.Tensor, final: Observation
    ) -> None:
        self._infos.append(info)
        last = info.get("terminal_observation")
        if last is None:
            return
        truncated[world] = bool(info.get("TimeLimit.truncated", False))
        if isinstance(final, dict):
            for name, value in final.items():
                value[world] = torch.as_tensor(last[name])
        else:
            final[world] = torch.as_tensor(last)

    def drain(self) -> list[dict[str, Any]]:
        """Return the infos of the episodes that ended since the last call."""
        infos, self._infos = self._infos, []
        return infos

    def reset(self) -> Any:
        """Begin a new episode in every world."""
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next step."""
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        """Advance one step."""
        return self.venv.step_wait()

    def close(self) -> None:
        """Close the environment."""
        self.venv.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of every world."""
        return self.venv.get_attr(attr_name, indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute in every world."""
        self.venv.set_attr(attr_name, value, indices)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of every world."""
        return self.venv.env_method(method_name, *args, indices=indices, **kwargs)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return whether each world is wrapped."""
        return self.venv.env_is_wrapped(wrapper_class, indices)


def tensor_env(venv: VecEnv) -> TensorEnv:
    """Return the tensor face of an environment.

    Args:
        venv: Any Stable-Baselines3 environment.

    Raises:
        ConfigError: A wrapper that knows only numpy stands before an environment on a GPU.
    """
    return venv if isinstance(venv, TensorEnv) else VecEnvTensors(venv)


def as_tensor(value: Any, device: torch.device) -> torch.Tensor:
    """Return an array as a tensor: shared on the CPU if it may be written, else copied.

    Args:
        value: An array or tensor.
        device: Where it shall be.
    """
    if isinstance(value, torch.Tensor):
        tensor = value
    else:
        array = np.asarray(value)
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor if tensor.device == device else tensor.to(device, non_blocking=True)


class HostArray:
    """Show a tensor of a GPU to callbacks as an array, copied only if somebody looks."""

    def __init__(self, tensor: torch.Tensor) -> None:
        """Refer to a tensor.

        Args:
            tensor: Any tensor.
        """
        self._tensor = tensor

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._tensor.detach().cpu().numpy().astype(dtype or None, copy=False)

    def __len__(self) -> int:
        return int(self._tensor.shape[0])

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self)[index]


def host(value: Observation) -> Any:
    """Return what a callback sees of a tensor: a numpy view on the CPU, else a `HostArray`.

    Args:
        value: A tensor, or a dictionary of them.
    """
    if isinstance(value, dict):
        return {name: host(inner) for name, inner in value.items()}
    return value.detach().numpy() if value.device.type == "cpu" else HostArray(value)


def _tensors(obs: Any) -> Observation:
    if isinstance(obs, dict):
        return {name: torch.from_numpy(np.asarray(value)) for name, value in obs.items()}
    return torch.from_numpy(np.asarray(obs))


def _copied(obs: Observation) -> Observation:
    if isinstance(obs, dict):
        return {name: value.clone() for name, value in obs.items()}
    return obs.clone()


def observation_dtype(space: gymnasium.Space) -> torch.dtype:
    """Return how observations of a space are kept: floating point as float32, others as they are.

    Args:
        space: Of one observation.
    """
    kind = np.dtype(space.dtype) if space.dtype is not None else np.dtype(np.float32)
    if kind.kind == "f":
        return torch.float32
    return torch.from_numpy(np.zeros(1, dtype=kind)).dtype

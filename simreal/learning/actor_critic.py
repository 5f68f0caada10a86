"""Policies with memory, and policies whose critic sees more than their actor.

`SimPolicy` is Stable-Baselines3's actor-critic policy with two options of the kit's network:

- The actor, and the critic for itself, have one LSTM layer between normalizer and head. Its state
  is zero at the start of every episode.
- The critic reads observation entries that no robot measures (true state, drawn dynamics
  parameters). They stand behind those that both read; a policy is run without them.
"""

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from simreal.errors import ConfigError
from simreal.learning.normalizer import RunningNorm
from simreal.learning.policy import FeatureExtractor

State = tuple[torch.Tensor, torch.Tensor]
"""Output and cell of an LSTM layer, each (N, hidden)."""


class Memory(BaseFeaturesExtractor):
    """Normalize an observation and pass it through one LSTM layer.

    Attributes:
        normalizer: The running normalizer, or an identity.
        lstm: The layer, as `torch.nn.LSTM` defines it.
        columns: How many entries of the observation are read.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        *,
        hidden: int,
        normalize: bool = True,
        columns: int | None = None,
    ) -> None:
        """Build the layer.

        Args:
            observation_space: Box (dim,).
            hidden: Width of the state.
            normalize: Whether to normalize.
            columns: How many entries of the observation are read; all if None.
        """
        super().__init__(observation_space, features_dim=hidden)
        self.columns = int(observation_space.shape[0]) if columns is None else columns
        self.normalizer: nn.Module = RunningNorm(self.columns) if normalize else nn.Identity()
        self.lstm = nn.LSTM(self.columns, hidden)

    def normalized(self, observations: torch.Tensor) -> torch.Tensor:
        """Return what the layer reads of observations (..., dim)."""
        return cast(torch.Tensor, self.normalizer(observations[..., : self.columns].float()))

    def zeros(self, rows: int) -> State:
        """Return the state at the start of an episode."""
        weight: torch.Tensor = self.lstm.bias_hh_l0  # type: ignore[assignment]
        zero = torch.zeros(rows, self.lstm.hidden_size, dtype=weight.dtype, device=weight.device)
        return zero, zero

    def step(self, inputs: torch.Tensor, state: State) -> State:
        """Advance by one step.

        Args:
            inputs: Normalized (N, columns).
            state: Before.

        Returns:
            The state after; its first part is the output.
        """
        lstm: Any = self.lstm
        weights = (lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
        return torch.lstm_cell(inputs, state, *weights)

    def sequence(self, inputs: torch.Tensor, state: State, starts: torch.Tensor) -> "Unrolled":
        """Advance by several steps, from zero wherever an episode starts.

        Args:
            inputs: Normalized, time first (L, N, columns).
            state: Before the first step.
            starts: 1 where an observation is the first of an episode (L, N).

        Returns:
            Outputs and cells after every step.
        """
        outputs, cells = [], []
        mask = (1.0 - starts).unsqueeze(-1)
        for now, goes_on in zip(inputs.unbind(0), mask.unbind(0), strict=True):
            state = self.step(now, (state[0] * goes_on, state[1] * goes_on))
            outputs.append(state[0])
            cells.append(state[1])
        return Unrolled(torch.stack(outputs), torch.stack(cells))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the features of first observations of episodes (N, hidden)."""
        return self.step(self.normalized(observations), self.zeros(observations.shape[0]))[0]


class Unrolled(NamedTuple):
    """Hold what a sequence gave.

    Attributes:
        outputs: (L, N, hidden).
        cells: (L, N, hidden).
    """

    outputs: torch.Tensor
    cells: torch.Tensor


class SimPolicy(ActorCriticPolicy):
    """Be an actor-critic policy with memory, with a privileged critic, or with both.

    Attributes:
        privileged: How many entries at the end of the observation only the critic reads.
    """

    def __init__(self, *args: Any, privileged: int = 0, **kwargs: Any) -> None:
        """Build the networks.

        Args:
            args: See `ActorCriticPolicy`.
            privileged: How many entries at the end of the observation only the critic reads.
            kwargs: See `ActorCriticPolicy`; `features_extractor_class` is `Memory` or the kit's
                `FeatureExtractor`, not shared.

        Raises:
            ConfigError: Actor and critic would share an extractor, or another extractor is asked
                for.
        """
        self.privileged = privileged
        self._made = 0
        if kwargs.get("features_extractor_class") not in (Memory, FeatureExtractor):
            raise ConfigError(
                f"features_extractor_class is {kwargs.get('features_extractor_class')}; a "
                "SimPolicy has Memory or FeatureExtractor"
            )
        if kwargs.get("share_features_extractor", True) or kwargs.get("use_sde"):
            raise ConfigError(
                "a SimPolicy has an extractor each for actor and critic, and no gSDE; set "
                "share_features_extractor=False and use_sde=False"
            )
        super().__init__(*args, **kwargs)

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """Return the actor's extractor, and at the second call the critic's."""
        own: dict[str, Any] = {}
        if self._made == 0:
            own["columns"] = int(self.observation_space.shape[0]) - self.privileged  # type: ignore[index]
        self._made += 1
        settings = self.features_extractor_kwargs | own
        return self.features_extractor_class(self.observation_space, **settings)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"privileged": self.privileged}

    @property
    def remembers(self) -> bool:
        """Return whether the policy has memory."""
        return isinstance(self.pi_features_extractor, Memory)

    def mean_action(self, features: torch.Tensor) -> torch.Tensor:
        """Return the mean of the actions for features of the actor (N, A)."""
        return cast(torch.Tensor, self.action_net(self.mlp_extractor.forward_actor(features)))

    def value(self, features: torch.Tensor) -> torch.Tensor:
        """Return the values for features of the critic (N,)."""
        return cast(torch.Tensor, self.value_net(self.mlp_extractor.forward_critic(features))[:, 0])

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Return actions, see `BasePolicy.predict`; privileged entries may be left out.

        Args:
            observation: Of one world (dim,) or of several (N, dim).
            state: Output and cell of the actor's memory, each (N, hidden); zero if None.
            episode_start: Where the state is to be set to zero (N,).
            deterministic: Whether the mean is returned.

        Returns:
            Actions within the action space, and the state after.
        """
        self.set_training_mode(False)
        obs = np.asarray(observation, dtype=np.float32)
        rows = torch.as_tensor(obs.reshape(-1, obs.shape[-1]), device=self.device)
        extractor = self.pi_features_extractor
        with torch.no_grad():
            if isinstance(extractor, Memory):
                before = self._state(extractor, state, episode_start, rows.shape[0])
                after = extractor.step(extractor.normalized(rows), before)
                features, state = after[0], tuple(part.cpu().numpy() for part in after)
            else:
                features = extractor(rows)
            actions = self.mean_action(features)
            if not deterministic:
                actions = actions + self.log_std.exp() * torch.randn_like(actions)  # type: ignore[operator]
        space = cast(spaces.Box, self.action_space)
        clipped = np.clip(actions.cpu().numpy(), space.low, space.high)
        return (clipped if obs.ndim > 1 else clipped[0]), state

    def _state(self, memory: Memory, state: Any, starts: Any, rows: int) -> State:
        if state is None:
            return memory.zeros(rows)
        output, cell = (torch.as_tensor(part, device=self.device) for part in state)
        if starts is not None:
            goes_on = 1.0 - torch.as_tensor(
                np.asarray(starts, dtype=np.float32), device=self.device
            ).reshape(-1, 1)
            output, cell = output * goes_on, cell * goes_on
        return output, cell


class Acting:
    """Run a policy's mean on observations of several worlds, with its memory.

    What `simreal.domains.rollout.run_episodes` takes.
    """

    def __init__(self, policy: Any) -> None:
        """Refer to a policy.

        Args:
            policy: Any policy of Stable-Baselines3.
        """
        self._policy = policy
        self._state: Any = None
        self._starts: np.ndarray | None = None

    def begin(self, mask: np.ndarray) -> None:
        """Forget what was seen in the worlds whose episode begins (N,), bool."""
        self._starts = np.array(mask)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return actions (N, A) for observations (N, dim)."""
        actions, self._state = self._policy.predict(
            obs, state=self._state, episode_start=self._starts, deterministic=True
        )
        return np.asarray(actions)

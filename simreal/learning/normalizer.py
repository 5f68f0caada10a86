"""Observation normalization as a module of the policy.

The statistics are saved with every checkpoint and bundle, because nothing can run without them, and
they are frozen together with the feature extractor they belong to. They move only between a rollout
and the next one, so that the probabilities of a rollout are those its update sees, unless that is
seen to otherwise (`simreal.learning.callbacks.NormalizerEveryStep`).
"""

import torch
from torch import nn

from simreal.learning.processes import processes

EPSILON = 1e-8
LIMIT = 10.0


class RunningNorm(nn.Module):
    """Subtract a running mean and divide by a running standard deviation.

    `y = clip((x - mean) / sqrt(var + epsilon), -limit, limit)`

    Attributes:
        mean: (dim,).
        var: (dim,).
        count: Number of observations seen.
        frozen: Whether `update` leaves the statistics alone.
    """

    mean: torch.Tensor
    var: torch.Tensor
    count: torch.Tensor
    _shift: torch.Tensor
    _scale: torch.Tensor

    def __init__(self, dim: int, *, epsilon: float = EPSILON, limit: float = LIMIT) -> None:
        """Start at mean 0 and variance 1.

        Args:
            dim: Width of an observation.
            epsilon: Added to the variance.
            limit: Largest magnitude of the result.
        """
        super().__init__()
        self.epsilon, self.limit = epsilon, limit
        self.frozen = False
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("var", torch.ones(dim, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        # What `forward` needs, in the policy's precision; derived, so not part of the state.
        self.register_buffer("_shift", torch.zeros(dim), persistent=False)
        self.register_buffer("_scale", torch.ones(dim), persistent=False)
        self._refresh()

    @property
    def scale(self) -> torch.Tensor:
        """Return what `forward` divides by (dim,)."""
        return torch.sqrt(self.var + self.epsilon)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize (N, dim)."""
        return torch.clamp((x - self._shift) / self._scale, -self.limit, self.limit)

    @torch.no_grad()
    def update(self, batch: torch.Tensor) -> None:
        """Merge a batch (N, dim or more) into the statistics, unless they are frozen.

        Entries beyond `dim` are those that only the critic reads.

        With several processes the batch is those of all of them, each of the same size.

        Source: Chan, Golub and LeVeque 1979, parallel mean and variance.
        """
        if self.frozen or batch.shape[0] == 0:
            return
        batch = batch[:, : self.mean.shape[0]].to(torch.float64)
        everybody = processes()
        number = float(batch.shape[0] * everybody.size)
        mean, var = (part.squeeze(0) for part in everybody.moments(batch, 0))
        total = self.count + number
        delta = mean - self.mean
        squares = self.var * self.count + var * number + delta**2 * (self.count * number / total)
        self.mean += delta * (number / total)
        self.var.copy_(squares / total)
        self.count.copy_(total)
        self._refresh()

    def _refresh(self) -> None:
        self._shift.copy_(self.mean)
        self._scale.copy_(self.scale)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[arg-type]
        self._refresh()

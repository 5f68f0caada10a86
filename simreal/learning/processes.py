"""Several processes that train one policy: data-parallel training.

Each process has worlds and minibatches of its own. What an update computes from a minibatch is
averaged over the processes, so that K processes equal one with K times the worlds and minibatches K
times as large. `torchrun` starts the processes; without it everything here does nothing.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

# Distance of the seeds of the processes' generators; world indices, not seeds, split the worlds.
SEED_STEP = 7_919


@dataclass(frozen=True, slots=True)
class Processes:
    """Average over all processes of a training; with one process every call is free.

    Attributes:
        rank: Number of this process.
        size: Number of all.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Return whether this process writes what is written once: logs, checkpoints, bundle."""
        return self.rank == 0

    def average(self, *tensors: torch.Tensor) -> None:
        """Replace tensors by their mean over the processes, in one exchange per type.

        Args:
            tensors: Of the same shapes in every process, on one device.
        """
        if self.size == 1:
            return
        for kind in {tensor.dtype: None for tensor in tensors}:
            members = [tensor for tensor in tensors if tensor.dtype == kind]
            if len(members) == 1 and members[0].is_contiguous():
                distributed.all_reduce(members[0])
                members[0].div_(self.size)
                continue
            flat = torch.cat([tensor.reshape(-1) for tensor in members])
            distributed.all_reduce(flat)
            flat.div_(self.size)
            parts = flat.split([tensor.numel() for tensor in members])
            for tensor, part in zip(members, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def moments(self, batch: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and variance (divided by the number) along a dimension, over all processes.

        Args:
            batch: Of the same shape in every process.
            dim: The dimension; it is kept with length 1.
        """
        var, mean = torch.var_mean(batch, dim=dim, correction=0, keepdim=True)
        if self.size > 1:
            own = mean.clone()
            self.average(mean)
            var += (own - mean).square()
            self.average(var)
        return mean, var

    def tell(self, value: Any) -> Any:
        """Return what the first process has; the others' value is ignored.

        Args:
            value: Anything that can be pickled.
        """
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, in the order of their numbers.

        Args:
            value: Anything that can be pickled.
        """
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def joined(self, values: Iterable[Any]) -> list[Any]:
        """Return the values of all processes as one list.

        Args:
            values: Those of this process.
        """
        found: Sequence[list[Any]] = self.gather(list(values))
        return [value for part in found for value in part]


def processes() -> Processes:
    """Return the processes that train together: those of torch's default group, if there is one."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Processes()
    return Processes(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def started_by_torchrun() -> Iterator[Processes]:
    """Join the processes that `torchrun` started, and leave them at the end.

    Gradients on a processor travel over gloo, those on a GPU over NCCL; each process takes the GPU
    of its number on its machine.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or distributed.is_initialized():
        yield processes()
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend)
    try:
        yield processes()
    finally:
        distributed.destroy_process_group()

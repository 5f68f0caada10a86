"""The torch namespace that tasks are run with: torch itself, with constants that stay on a device.

A task writes `xp.asarray([...])` in the middle of a step. Made anew every time, such a constant
would travel from the host, for which a GPU has to wait and which no graph can capture; so it is
made once and kept.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor


class TorchNamespace:
    """Give torch's functions by name; new tensors are on one device, constants are kept."""

    def __init__(self, device: torch.device) -> None:
        """Choose the device.

        Args:
            device: Where new tensors are.
        """
        self._device = device
        self._constants: dict[tuple[Any, ...], Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        """Return torch's own attribute, and keep it so that the next access is a plain lookup."""
        value = getattr(torch, name)
        setattr(self, name, value)
        return value

    def asarray(self, values: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        """Return values as a tensor, the same one for the same numbers; do not write into it.

        Args:
            values: A tensor, which is returned in the type asked for, or numbers.
            dtype: Type; float32 for numbers if None.
            device: Ignored: there is one.
        """
        if isinstance(values, Tensor):
            return values.to(dtype or values.dtype)
        kind = dtype or torch.float32
        # Arrays alone are told apart by numpy, through which torch.compile could not look.
        key = _digest(values) if isinstance(values, np.ndarray) else _frozen(values), str(kind)
        if key not in self._constants:
            self._constants[key] = torch.tensor(np.asarray(values)).to(self._device, kind)
        return self._constants[key]

    def zeros(self, shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        """Return zeros on the device, float32 by default."""
        return torch.zeros(shape, dtype=dtype or torch.float32, device=self._device)

    def ones(self, shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        """Return ones on the device, float32 by default."""
        return torch.ones(shape, dtype=dtype or torch.float32, device=self._device)

    def full(self, shape: Any, value: float, *, dtype: Any = None, device: Any = None) -> Tensor:
        """Return one number everywhere, on the device, float32 by default."""
        size = (shape,) if isinstance(shape, int) else shape
        return torch.full(size, value, dtype=dtype or torch.float32, device=self._device)

    @staticmethod
    def astype(values: Tensor, dtype: Any) -> Tensor:
        """Return a tensor in another type."""
        return values.to(dtype)


def _frozen(values: Any) -> Any:
    return tuple(_frozen(v) for v in values) if isinstance(values, list | tuple) else values


def _digest(values: np.ndarray) -> tuple[Any, ...]:
    return values.tobytes(), values.shape, values.dtype.str

"""The numpy namespace that tasks are run with: numpy itself, with two functions that cost less.

`numpy.clip` and `numpy.sum` are Python functions around ufuncs, and at the batch sizes of a CPU
engine those wrappers take several times as long as the arithmetic. The numbers are the same, bit
for bit.
"""

from typing import Any

import numpy as np

_ADD_UP: Any = np.add.reduce


class NumpyNamespace:
    """Give numpy's functions by name, `clip` and `sum` without their wrappers."""

    def __getattr__(self, name: str) -> Any:
        """Return numpy's own attribute, and keep it so that the next access is a plain lookup."""
        value = getattr(np, name)
        setattr(self, name, value)
        return value

    @staticmethod
    def clip(x: Any, min: Any = None, max: Any = None) -> Any:
        """Return x limited to [min, max]; None leaves an end open.

        Args:
            x: Any shape.
            min: Lower bound.
            max: Upper bound.
        """
        if min is not None:
            x = np.maximum(x, min)
        return x if max is None else np.minimum(x, max)

    @staticmethod
    def sum(x: Any, *, axis: int | None = None, keepdims: bool = False) -> Any:
        """Return the sum over one axis, or over all of them.

        Args:
            x: Any shape.
            axis: Axis to sum over; all if None.
            keepdims: Whether the axis stays, with length 1.
        """
        return _ADD_UP(x, axis=axis, keepdims=keepdims)


NUMPY = NumpyNamespace()

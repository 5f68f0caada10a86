"""Pieces of a control step as CUDA graphs, so that a hundred small kernels are one launch.

A piece is a function that reads and writes tensors which are never replaced. On a CUDA device it
runs as it is for the first steps, is then captured and from there on replayed; elsewhere it always
runs as it is. What it computes is the same.
"""

from collections.abc import Callable
from typing import Any

import torch

from simreal.errors import EngineError

Compiler = Callable[[Callable[[], None]], Callable[[], None]]
"""From a function to one that computes the same."""

WARM_UP_STEPS = 3
"""How often a piece runs as it is before it is captured."""


class Pieces:
    """Run named pieces, as graphs where there can be some.

    Attributes:
        graphs: Whether pieces are captured.
    """

    def __init__(
        self, device: torch.device, *, graphs: bool, compiler: Compiler | None = None
    ) -> None:
        """Choose the device.

        Args:
            device: Where the tensors are.
            graphs: Whether pieces are to be captured, on a CUDA device.
            compiler: What fuses the operations of a piece into fewer kernels, for instance
                `torch.compile`; they run one by one if None.
        """
        self.graphs = graphs and device.type == "cuda"
        self._compiler = compiler
        self._compiled: dict[str, Callable[[], None]] = {}
        self._runs: dict[str, int] = {}
        self._captured: dict[str, Any] = {}

    @property
    def warm(self) -> bool:
        """Return whether every piece that has run so far is captured, or none is to be."""
        return not self.graphs or (bool(self._runs) and self._runs.keys() == self._captured.keys())

    def run(self, name: str, body: Callable[[], None]) -> None:
        """Run a piece.

        Args:
            name: Name; the same name must always mean the same function.
            body: The function.

        Raises:
            EngineError: It cannot be captured, for instance because a task's function waits for
                the device.
        """
        if name in self._captured:
            self._captured[name].replay()
            return
        if self._compiler is not None:
            if name not in self._compiled:
                self._compiled[name] = self._compiler(body)
            body = self._compiled[name]
        if not self.graphs:
            body()
            return
        self._runs[name] = self._runs.get(name, 0) + 1
        if self._runs[name] <= WARM_UP_STEPS:
            body()
            return
        self._captured[name] = self._capture(name, body)
        self._captured[name].replay()

    def _capture(self, name: str, body: Callable[[], None]) -> Any:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                body()
        except RuntimeError as error:
            line = " ".join(str(error).split())
            raise EngineError(
                f"piece '{name}' of the control step cannot be captured as a graph: {line}; a "
                "task's functions must not wait for the device (no .item(), no if on values, no "
                "boolean index). Mend that, or set graphs=False"
            ) from error
        return graph

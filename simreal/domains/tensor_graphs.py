"""Pieces of a control step or an update as CUDA graphs: a hundred small kernels, one launch.

A piece is a function that reads and writes tensors which are never replaced. On a CUDA device it
runs as it is for the first steps, is then captured and from there on replayed; elsewhere it always
runs as it is. What it computes is the same.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch

from simreal.errors import EngineError

Compiler = Callable[[Callable[[], Any]], Callable[[], Any]]
"""From a function to one that computes the same."""

WARM_UP_STEPS = 3
"""How often a piece runs as it is before it is captured."""

AUTO = "auto"
"""Compile where `torch.compile` has what it needs: a CUDA device and Triton."""

_UNFUSED = "write it with operations of `xp` alone, or set algo.fuse=false (compiler=None)"
_REMEDY = (
    "a task's functions must not wait for the device (no .item(), no if on values, no boolean "
    "index). Mend that, or set graphs=False"
)


def can_capture(device: torch.device) -> bool:
    """Return whether a device has graphs.

    Args:
        device: Where the tensors are.
    """
    return device.type == "cuda"


def compiler_for(device: torch.device) -> Compiler | None:
    """Return `torch.compile` where it fuses operations into Triton kernels, else None.

    Args:
        device: Where the tensors are.
    """
    if not can_capture(device) or importlib.util.find_spec("triton") is None:
        return None
    return torch.compile


class Pieces:
    """Run named pieces, as graphs where there can be some.

    Attributes:
        graphs: Whether pieces are captured.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        graphs: bool,
        compiler: Compiler | None = None,
        of: str = "the control step",
        remedy: str = _REMEDY,
    ) -> None:
        """Choose the device.

        Args:
            device: Where the tensors are.
            graphs: Whether pieces are to be captured, on a CUDA device.
            compiler: What fuses the operations of a piece into fewer kernels, for instance
                `torch.compile`; they run one by one if None.
            of: What the pieces are parts of, for messages.
            remedy: What to do where one cannot be captured.
        """
        self.graphs = graphs and can_capture(device)
        self._of, self._remedy = of, remedy
        self._compiler = compiler
        self._compiled: dict[str, Callable[[], Any]] = {}
        self._runs: dict[str, int] = {}
        self._captured: dict[str, Any] = {}

    @property
    def warm(self) -> bool:
        """Return whether every piece that has run so far is captured, or none is to be."""
        return not self.graphs or (bool(self._runs) and self._runs.keys() == self._captured.keys())

    def run(self, name: str, body: Callable[[], Any], *, fuse: bool = True) -> None:
        """Run a piece.

        Args:
            name: Name; the same name must always mean the same function.
            body: The function.
            fuse: Whether the compiler may have it; not worth its time for a few copies.

        Raises:
            EngineError: It cannot be fused, or cannot be captured, for instance because a task's
                function waits for the device.
        """
        if name in self._captured:
            self._captured[name].replay()
            return
        run = self._runs[name] = self._runs.get(name, 0) + 1
        # The first run is as it is: it makes the constants that a compiler is to find.
        if self._compiler is not None and fuse and run > 1:
            body = self._fused(name, body, self._compiler)
        if not self.graphs or run <= WARM_UP_STEPS:
            body()
            return
        self._captured[name] = self._capture(name, body)
        self._captured[name].replay()

    def _fused(self, name: str, body: Callable[[], Any], compiler: Compiler) -> Callable[[], Any]:
        if name not in self._compiled:
            self._compiled[name] = compiler(body)
        compiled = self._compiled[name]

        def run() -> None:
            try:
                compiled()
            except torch._dynamo.exc.TorchDynamoException as error:
                line = " ".join(str(error).split("\n\n", 1)[0].split())
                raise EngineError(
                    f"piece '{name}' of {self._of} cannot be fused by torch.compile: {line}; "
                    f"{_UNFUSED}"
                ) from error

        return run

    def _capture(self, name: str, body: Callable[[], Any]) -> Any:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                body()
        except RuntimeError as error:
            line = " ".join(str(error).split())
            raise EngineError(
                f"piece '{name}' of {self._of} cannot be captured as a graph: {line}; "
                f"{self._remedy}"
            ) from error
        return graph

"""Pieces of a step: compiled once by name, captured where there are graphs, errors that help."""

from collections.abc import Callable
from typing import Any

import pytest

from simreal.errors import EngineError

torch = pytest.importorskip("torch")
from simreal.domains.tensor_graphs import WARM_UP_STEPS, Pieces  # noqa: E402

CPU = torch.device("cpu")


def test_a_piece_runs_every_time_and_is_compiled_once_by_name() -> None:
    calls: list[str] = []

    def compiler(body: Callable[[], None]) -> Callable[[], None]:
        calls.append("compiled")

        def run() -> None:
            calls.append("ran")
            body()

        return run

    count = torch.zeros(())
    pieces = Pieces(CPU, graphs=True, compiler=compiler)
    for _ in range(5):
        pieces.run("add", lambda: count.add_(1))
    assert count.item() == 5
    assert calls == ["compiled", *["ran"] * 4]  # the first run is as it is
    assert not pieces.graphs  # there are none on a processor
    assert pieces.warm


class FakeGraph:
    """Record a piece, as a CUDA graph would, and replay it."""

    def __init__(self) -> None:
        self.body: Any = None

    def replay(self) -> None:
        self.body()


def on_fake_cuda(monkeypatch: pytest.MonkeyPatch, *, broken: bool = False) -> Pieces:
    pieces = Pieces(torch.device("cuda"), graphs=True)

    def capture(name: str, body: Callable[[], None]) -> FakeGraph:
        graph = FakeGraph()
        graph.body = body
        return graph

    if not broken:
        monkeypatch.setattr(pieces, "_capture", capture)
    return pieces


def test_a_piece_is_captured_after_its_warm_up_and_then_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pieces, count = on_fake_cuda(monkeypatch), torch.zeros(())
    for step in range(WARM_UP_STEPS + 3):
        pieces.run("add", lambda: count.add_(1))
        assert count.item() == step + 1
        assert pieces.warm == (step >= WARM_UP_STEPS)


def test_what_cannot_be_captured_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __init__(self, graph: object) -> None:
            pass

        def __enter__(self) -> None:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", Refusing)
    pieces = on_fake_cuda(monkeypatch, broken=True)
    for _ in range(WARM_UP_STEPS):
        pieces.run("judge0", lambda: None)
    with pytest.raises(EngineError, match=r"judge0'.*stream is capturing.*graphs=False"):
        pieces.run("judge0", lambda: None)


def test_what_cannot_be_fused_is_named_with_the_remedy() -> None:
    def compiler(body: Callable[[], None]) -> Callable[[], None]:
        return torch.compile(body, backend="eager", fullgraph=True)

    values = torch.zeros(3)

    def branching() -> None:
        if values.sum() > 0:
            values.add_(1)

    pieces = Pieces(CPU, graphs=False, compiler=compiler)
    pieces.run("judge0", branching)
    with pytest.raises(EngineError, match=r"piece 'judge0'.*cannot be fused.*algo.fuse=false"):
        pieces.run("judge0", branching)
    with pytest.raises(EngineError, match="judge0"):
        pieces.run("judge0", branching)


def test_an_error_of_the_piece_itself_is_not_blamed_on_the_compiler() -> None:
    pieces = Pieces(CPU, graphs=False, compiler=lambda body: body)

    def broken() -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            pieces.run("judge0", broken)

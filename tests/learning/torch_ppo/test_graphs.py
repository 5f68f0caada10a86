"""Captured rollouts and updates compute what single operations do.

A CUDA graph refers to memory, not to variables: a replay runs the recorded operations on the
tensors that stood there. `Recording` does that with PyTorch's dispatcher on the CPU, so that what
is allocated anew, or looked at, between two replays is found without a GPU.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from simreal.domains import tensor_graphs
from simreal.errors import EngineError
from simreal.learning.policy import policy_kwargs
from simreal.learning.torch_ppo.learner import new_pieces
from simreal.learning.torch_ppo.update import Update

KIT = policy_kwargs(extractor=(16,), head=(8, 8), activation="elu", normalize=True)


class Recording(TorchDispatchMode):
    """Record operations with their tensors, and run them again on the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any, Any]] = []
        self.replays = -1  # recording has run them once, which a capture does not

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        self.steps.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        self.replays += 1
        if not self.replays:
            return
        for func, args, kwargs, result in self.steps:
            if "empty" in func.name():
                continue
            again = tree_flatten(func(*args, **kwargs))[0]
            for old, new in zip(tree_flatten(result)[0], again, strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recording]:
    """Let every device have graphs; returns them by the names of their pieces."""
    graphs: dict[str, Recording] = {}

    def capture(self: Any, name: str, body: Callable[[], None]) -> Recording:
        graph = Recording()
        with graph:
            body()
        graphs[name] = graph
        return graph

    monkeypatch.setattr(tensor_graphs, "can_capture", lambda device: True)
    monkeypatch.setattr(tensor_graphs.Pieces, "_capture", capture)
    return graphs


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 48},  # the last minibatch is smaller
        {"clip_range_vf": 0.05, "clip_range": 0.01, "ent_coef": 0.01},
        {"policy_kwargs": KIT},
        # One epoch, since SB3 draws no further orders once it has stopped.
        {"target_kl": 0.004, "learning_rate": 1e-2, "n_epochs": 1, "batch_size": 16},
    ],
)
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_replayed_updates_equal_those_of_sb3(
    recorded: Any,
    twins: Callable[..., Any],
    update_both: Callable[..., None],
    largest_difference: Callable[..., float],
    captured: dict[str, Recording],
    settings: dict[str, Any],
) -> None:
    ours, theirs = twins(recorded(8), **settings)
    for _ in range(10):
        update_both(ours, theirs)
    assert largest_difference(ours, theirs) < 1e-5
    steps = {f"act {step}" for step in range(16)}
    assert captured.keys() == steps | {"values", "advantages", "epoch"}
    if ours.target_kl is not None:
        assert ours._update._stopped.item() == 1.0
    assert all(graph.replays >= 5 for graph in captured.values())


def test_a_new_rate_reaches_replays_and_a_new_objective_makes_a_new_update(
    recorded: Any,
    twins: Callable[..., Any],
    update_both: Callable[..., None],
    largest_difference: Callable[..., float],
    captured: dict[str, Recording],
) -> None:
    ours, theirs = twins(recorded(8), learning_rate=lambda left: 1e-3 * left)
    used: list[Update] = []
    for left in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
        for model in (ours, theirs):
            model._current_progress_remaining = left
            if left == 0.6:
                model.clip_range = lambda left: 0.1
        update_both(ours, theirs)
        used.append(ours._update)
        assert largest_difference(ours, theirs) < 1e-5
    assert [one is used[0] for one in used] == [True] * 4 + [False] * 2
    assert used[4] is used[5]


def test_an_update_that_looks_at_a_value_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Graph(Recording):
        def __init__(self, graph: object) -> None:
            super().__init__()

    monkeypatch.setattr(tensor_graphs, "can_capture", lambda device: True)
    monkeypatch.setattr(torch.cuda, "graph", Graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    pieces = new_pieces(torch.device("cpu"), capturable=True, of="the update")
    value = torch.ones(())
    for _ in range(tensor_graphs.WARM_UP_STEPS):
        pieces.run("look", lambda: value.add_(float(value)))
    with pytest.raises(EngineError, match=r"piece 'look' of the update cannot be captured.*report"):
        pieces.run("look", lambda: value.add_(float(value)))

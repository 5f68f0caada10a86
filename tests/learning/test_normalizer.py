import copy

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from simreal.learning.normalizer import EPSILON, LIMIT, RunningNorm

_NUMBERS = st.floats(-1e3, 1e3, width=32)
_BATCHES = st.lists(
    st.integers(0, 7).flatmap(lambda n: npst.arrays(np.float32, (n, 3), elements=_NUMBERS)),
    min_size=1,
    max_size=6,
)


def test_a_new_normalizer_changes_nothing_within_its_limit() -> None:
    norm = RunningNorm(2)
    seen = norm(torch.tensor([[0.5, -3.0], [11.0, -99.0]]))
    assert torch.allclose(seen, torch.tensor([[0.5, -3.0], [10.0, -10.0]]))


def test_hand_computed_statistics() -> None:
    norm = RunningNorm(1)
    norm.update(torch.tensor([[1.0], [3.0]]))  # mean 2, variance 1
    norm.update(torch.tensor([[5.0], [7.0]]))  # all four: mean 4, variance 5
    assert (norm.mean.item(), norm.var.item(), norm.count.item()) == (4.0, 5.0, 4.0)
    assert norm(torch.tensor([[9.0]])).item() == np.float32(5 / np.sqrt(5 + EPSILON))


@settings(deadline=None, max_examples=50)
@given(_BATCHES)
def test_batches_merge_to_the_statistics_of_all_data(batches: list[np.ndarray]) -> None:
    norm = RunningNorm(3)
    for batch in batches:
        norm.update(torch.from_numpy(batch))
    data = np.concatenate(batches).astype(np.float64)
    assert norm.count.item() == len(data)
    if len(data):
        np.testing.assert_allclose(norm.mean.numpy(), data.mean(axis=0), atol=1e-9, rtol=1e-12)
        np.testing.assert_allclose(norm.var.numpy(), data.var(axis=0), atol=1e-7, rtol=1e-9)


@settings(deadline=None, max_examples=25)
@given(_BATCHES)
def test_the_result_is_that_of_numpy(batches: list[np.ndarray]) -> None:
    norm = RunningNorm(3)
    for batch in batches:
        norm.update(torch.from_numpy(batch))
    x = np.array([[1.0, -2.0, 3.0]], dtype=np.float32)
    mean, scale = norm.mean.numpy(), np.sqrt(norm.var.numpy() + EPSILON)
    expected = np.clip((x - mean.astype(np.float32)) / scale.astype(np.float32), -LIMIT, LIMIT)
    np.testing.assert_allclose(norm(torch.from_numpy(x)).numpy(), expected, rtol=1e-6)


def test_frozen_statistics_stay() -> None:
    norm = RunningNorm(2)
    norm.update(torch.ones(4, 2))
    before = copy.deepcopy(norm.state_dict())
    norm.frozen = True
    norm.update(torch.full((9, 2), 7.0))
    assert all(torch.equal(before[k], v) for k, v in norm.state_dict().items())


def test_statistics_are_double_and_results_single_precision() -> None:
    norm = RunningNorm(2)
    norm.update(torch.ones(4, 2))
    assert set(norm.state_dict()) == {"mean", "var", "count"}
    assert {v.dtype for v in norm.state_dict().values()} == {torch.float64}
    assert norm(torch.ones(1, 2)).dtype == torch.float32


def test_loading_brings_the_results_along() -> None:
    first, second = RunningNorm(2), RunningNorm(2)
    first.update(torch.tensor([[0.0, 4.0], [2.0, 8.0]]))
    second.load_state_dict(first.state_dict())
    x = torch.tensor([[3.0, 1.0]])
    assert torch.equal(first(x), second(x))
    assert torch.equal(copy.deepcopy(first)(x), first(x))

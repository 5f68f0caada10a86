import numpy as np
import pytest

from simreal.core.arrays import NUMPY


def test_everything_else_is_numpys_own() -> None:
    assert NUMPY.cos is np.cos
    assert NUMPY.where is np.where
    with pytest.raises(AttributeError, match="no_such_function"):
        _ = NUMPY.no_such_function


@pytest.mark.parametrize("ends", [(-0.5, 0.5), (None, 0.5), (-0.5, None), (None, None)])
def test_clip_equals_numpys_and_keeps_nan(ends: tuple[float | None, float | None]) -> None:
    x = np.array([-2.0, -0.5, 0.1, 3.0, np.inf, np.nan])
    expected = x if ends == (None, None) else np.clip(x, *ends)
    np.testing.assert_array_equal(NUMPY.clip(x, *ends), expected)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sum_equals_numpys_bit_for_bit(axis: int | None, keepdims: bool) -> None:
    x = np.random.default_rng(0).normal(size=(7, 5))
    np.testing.assert_array_equal(
        NUMPY.sum(x, axis=axis, keepdims=keepdims), np.sum(x, axis=axis, keepdims=keepdims)
    )

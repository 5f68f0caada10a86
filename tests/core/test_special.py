"""Special functions against reference values computed with 120 digits, and against scipy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.core import special

POSITIVE = st.floats(1e-3, 1e6)


@pytest.mark.parametrize(
    ("x", "first", "second"),
    [
        (1e-3, -1000.57557193181028, 1000001.64253319583),
        (0.5, -1.96351002602142348, 4.93480220054467931),
        (1.0, -0.577215664901532861, 1.64493406684822644),
        (2.5, 0.703156640645243187, 0.490357756100234865),
        (9.75, 2.22510953504457601, 0.108003243336631855),
        (10.0, 2.25175258906672111, 0.105166335681685746),
        (1e5, 11.5129204649618951, 0.0000100000500001666667),
    ],
)
def test_derivatives_of_log_gamma(x: float, first: float, second: float) -> None:
    assert special.digamma(x) == pytest.approx(first, rel=1e-14, abs=1e-14)
    assert special.trigamma(x) == pytest.approx(second, rel=1e-14, abs=0.0)


@given(x=POSITIVE)
@settings(deadline=None)
def test_digamma_is_accurate_to_twelve_digits_everywhere(x: float) -> None:
    assert special.digamma(x) == pytest.approx(scipy.special.digamma(x), rel=1e-14, abs=1e-12)


@given(x=st.floats(1e-2, 1e3))
def test_digamma_obeys_its_recurrence(x: float) -> None:
    assert special.digamma(x + 1.0) == pytest.approx(special.digamma(x) + 1.0 / x, abs=1e-12)


@given(x=POSITIVE)
def test_stirling_remainder_restores_log_gamma(x: float) -> None:
    stirling = (x - 0.5) * math.log(x) - x + 0.5 * math.log(2.0 * math.pi)
    restored = stirling + special.stirling_remainder(x)
    assert restored == pytest.approx(math.lgamma(x), rel=1e-13, abs=1e-12)


@pytest.mark.parametrize("remainder", [special.stirling_remainder, special.digamma_remainder])
def test_series_and_recurrence_meet(remainder: Callable[[float], float]) -> None:
    below, above = remainder(10.0 - 1e-9), remainder(10.0)
    assert below == pytest.approx(above, abs=1e-11)


@pytest.mark.parametrize(
    ("a", "b", "log_beta", "entropy"),
    [
        (0.5, 0.5, math.log(math.pi), -0.241564475270490445),
        (2, 3, math.log(1 / 12), -0.23490664978800031),
        (1, 1, 0.0, 0.0),
        (100, 100, -139.665259086706639, -1.92587985130544465),
        (1e6, 2e6, -1909548.29096853296, -6.79016181072196406),
        (1e-2, 1e5, 4.48435067289240026, -106.458717340210685),
    ],
)
def test_beta_function_and_entropy(a: float, b: float, log_beta: float, entropy: float) -> None:
    assert special.log_beta(a, b) == pytest.approx(log_beta, rel=1e-14, abs=1e-14)
    assert special.beta_entropy(a, b) == pytest.approx(entropy, rel=1e-14, abs=1e-14)


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ((100, 100), (99.994, 99.994), 9.0453615913353377e-10),
        ((3, 7), (3 + 2**-30, 7), 1.2566672143952259e-19),
        ((2, 3), (2.5, 2.5), 0.12621856038589301),
        ((1, 1), (5, 0.5), 3.2926048056539294),
        ((100, 100), (1, 1), 1.9258798513054446),
        ((1, 1), (100, 100), 58.334740913293361),
    ],
)
def test_beta_divergence(p: tuple[float, float], q: tuple[float, float], expected: float) -> None:
    assert special.beta_divergence(*p, *q) == pytest.approx(expected, rel=1e-12, abs=0.0)


@given(a=st.floats(0.5, 200), b=st.floats(0.5, 200), ratio=st.floats(1.9, 2.1))
def test_the_two_forms_of_the_beta_divergence_agree(a: float, b: float, ratio: float) -> None:
    # Either side of the ratio 2 another form is used; here the textbook form is accurate enough.
    c, d = a * ratio, b
    textbook = (
        scipy.special.betaln(c, d)
        - scipy.special.betaln(a, b)
        + (a - c) * scipy.special.digamma(a)
        + (c - a) * scipy.special.digamma(a + b)
    )
    assert special.beta_divergence(a, b, c, d) == pytest.approx(textbook, rel=1e-9, abs=1e-11)


@given(a=st.floats(0.1, 1e4), b=st.floats(0.1, 1e4), c=st.floats(0.1, 1e4), d=st.floats(0.1, 1e4))
def test_beta_divergence_is_never_negative(a: float, b: float, c: float, d: float) -> None:
    assert special.beta_divergence(a, b, c, d) >= 0.0
    assert special.beta_divergence(a, b, a, b) == 0.0


def test_log1p_minus_keeps_its_digits_near_zero() -> None:
    assert special.log1p_minus(1e-9) == pytest.approx(-5e-19 + 1e-27 / 3, rel=1e-14, abs=0.0)
    assert special.log1p_minus(0.05) == pytest.approx(math.log1p(0.05) - 0.05, rel=1e-12)
    assert special.log1p_minus(1.0) == math.log(2.0) - 1.0


@pytest.mark.parametrize(
    ("tilt", "low", "high"),
    [
        (0.0, -9.0, 9.0),
        (0.0, -1.0, 2.0),
        (0.0, -0.1, 30.0),
        (3.0, 0.0, 50.0),
        (-3.0, -50.0, 0.0),
        (40.0, 0.0, 1.0),
        (0.0, -1e-120, 1e-120),
        (1e150, 0.0, 1e150),
    ],
)
def test_inverse_undoes_the_distribution_function(tilt: float, low: float, high: float) -> None:
    table = special.truncated_table(tilt, low, high)
    quantile = np.linspace(0.0, 1.0, 1001)
    points = special.truncated_inverse(table, quantile)
    assert np.all(np.diff(points) > 0.0)
    assert points[0] == pytest.approx(table.low)
    assert points[-1] <= table.low + table.width
    # Mass up to a point, by the integration of a table that ends there (mode still at 0).
    for at in (100, 500, 900):
        if points[at] > 0.0:
            part = special.truncated_table(tilt, low, float(points[at])).log_mass - table.log_mass
            assert math.exp(part) == pytest.approx(quantile[at], rel=1e-12)
        elif points[at] < 0.0:
            part = special.truncated_table(tilt, float(points[at]), high).log_mass - table.log_mass
            assert math.exp(part) == pytest.approx(1.0 - quantile[at], rel=1e-12)


def test_inverse_keeps_its_digits_near_zero_probability() -> None:
    table = special.truncated_table(2.0, 0.0, 1.0)
    # Near the mode the density is 1 / mass, so the point is quantile * mass.
    point = special.truncated_inverse(table, np.array([1e-12]))[0]
    assert point == pytest.approx(1e-12 * math.exp(table.log_mass), rel=1e-10, abs=0.0)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (2.0, 5.0), (0.3, 0.7), (300.0, 200.0)])
def test_the_beta_distribution_function_and_its_inverse_are_scipys(a: float, b: float) -> None:
    reference = pytest.importorskip("scipy.special")
    x, q = np.linspace(0.0, 1.0, 101), np.linspace(0.0, 1.0, 101)
    np.testing.assert_allclose(special.beta_cdf(a, b, x), reference.betainc(a, b, x), atol=1e-12)
    found = special.beta_inverse(a, b, q)
    np.testing.assert_allclose(found, reference.betaincinv(a, b, q), atol=1e-12)

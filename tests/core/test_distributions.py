"""Densities, entropies, moments and draws against scipy.stats, and the form of a distribution."""

import copy
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.core import distributions
from simreal.core.distributions import (
    Beta,
    Categorical,
    Distribution,
    Fixed,
    LogUniform,
    Normal,
    TruncatedNormal,
    Uniform,
)
from simreal.errors import ConfigError, UnknownNameError

EXAMPLES: list[Distribution] = [
    Fixed(3),
    Uniform(-1, 2),
    LogUniform(0.01, 10),
    Normal(1, 2),
    TruncatedNormal(0, 1, 0.5, 4),
    Beta(2, 5, low=-1, high=3),
    Categorical([3, 1, 2], [0.5, 0.25, 0.25]),
]
CENTER = st.floats(-50, 50)
WIDTH = st.floats(1e-3, 100)
few = settings(deadline=None, max_examples=50)


def agree(ours: Distribution, theirs: Any, *, rel: float = 1e-9) -> None:
    """Compare everything that scipy's frozen distribution also knows."""
    low, high = ours.support
    spread = ours.std
    assert ours.mean == pytest.approx(theirs.mean(), rel=rel, abs=rel * spread)
    assert ours.std == pytest.approx(theirs.std(), rel=rel)
    assert ours.entropy() == pytest.approx(float(theirs.entropy()), rel=rel, abs=rel)
    inside = np.clip(ours.mean + spread * np.linspace(-1.5, 1.5, 7), low, high)
    inside = inside[(inside > low) & (inside < high)]
    np.testing.assert_allclose(ours.log_prob(inside), theirs.logpdf(inside), rtol=rel, atol=rel)


@given(low=CENTER, width=WIDTH)
@few
def test_uniform_agrees_with_scipy(low: float, width: float) -> None:
    ours = Uniform(low, low + width)
    agree(ours, scipy.stats.uniform(low, ours.high - low))


@given(low=st.floats(1e-3, 1e3), ratio=st.floats(1.1, 1e4))
@few
def test_log_uniform_agrees_with_scipy(low: float, ratio: float) -> None:
    agree(LogUniform(low, low * ratio), scipy.stats.loguniform(low, low * ratio))


@given(mean=CENTER, std=WIDTH)
@few
def test_normal_agrees_with_scipy(mean: float, std: float) -> None:
    agree(Normal(mean, std), scipy.stats.norm(mean, std))


@given(mean=CENTER, std=WIDTH, start=st.floats(-5, 4), width=st.floats(0.2, 9))
@few
def test_truncated_normal_agrees_with_scipy(
    mean: float, std: float, start: float, width: float
) -> None:
    ours = TruncatedNormal(mean, std, mean + std * start, mean + std * (start + width))
    agree(ours, scipy.stats.truncnorm(start, start + width, mean, std), rel=1e-7)


@given(a=st.floats(0.1, 1e3), b=st.floats(0.1, 1e3), low=CENTER, width=WIDTH)
@few
def test_beta_agrees_with_scipy(a: float, b: float, low: float, width: float) -> None:
    ours = Beta(a, b, low, low + width)
    agree(ours, scipy.stats.beta(a, b, low, ours.high - low), rel=1e-7)


def test_values_by_hand() -> None:
    assert Uniform(2, 6).entropy() == math.log(4.0)
    assert Uniform(2, 6).log_prob(3.0) == -math.log(4.0)
    assert Uniform(2, 6).mean == 4.0
    assert Uniform(2, 6).std == pytest.approx(4.0 / math.sqrt(12.0))
    assert LogUniform(1, math.e).mean == pytest.approx(math.e - 1.0)
    assert LogUniform(1, math.e).log_prob(2.0) == pytest.approx(-math.log(2.0))
    assert Normal(0, 1).log_prob(0.0) == pytest.approx(-0.9189385332046727)
    assert Beta(2, 2).log_prob(0.5) == pytest.approx(math.log(1.5))
    assert Beta(1, 1, low=0, high=2).entropy() == pytest.approx(math.log(2.0))
    assert Beta(2, 3, low=10, high=20).mean == pytest.approx(14.0)
    assert Beta(2, 3).std == pytest.approx(0.2)


def test_fixed_is_a_certain_outcome() -> None:
    fixed = Fixed(2)
    assert fixed.entropy() == 0.0
    assert (fixed.mean, fixed.std, fixed.support) == (2.0, 0.0, (2.0, 2.0))
    np.testing.assert_array_equal(fixed.log_prob([2.0, 2.0 + 1e-12]), [0.0, -np.inf])
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(fixed.sample(rng, 3), [2.0, 2.0, 2.0])
    assert rng.random() == np.random.default_rng(0).random()  # nothing was drawn


def test_categorical_by_hand() -> None:
    choice = Categorical([4, 1, 7], [0.5, 0.5, 0.0])
    assert choice.mean == 2.5
    assert choice.std == 1.5
    assert choice.entropy() == pytest.approx(math.log(2.0))
    assert choice.support == (1.0, 4.0)
    np.testing.assert_allclose(
        choice.log_prob([1, 4, 7, 2, 0, 9]), [math.log(0.5)] * 2 + [-np.inf] * 4
    )
    assert Categorical((1, 2, 4, 8)).entropy() == pytest.approx(math.log(4.0))
    assert Categorical([1, 2]) == Categorical((1.0, 2.0), (0.5, 0.5))


def test_categorical_draws_with_its_probabilities() -> None:
    drawn = Categorical([5, -1, 2], [0.2, 0.7, 0.1]).sample(np.random.default_rng(1), 20_000)
    counts = [int((drawn == value).sum()) for value in (5, -1, 2)]
    assert sum(counts) == 20_000
    assert scipy.stats.chisquare(counts, [4000, 14_000, 2000]).pvalue > 1e-3


# mean, std, entropy and log density at the middle, from closed forms with 120 digits.
@pytest.mark.parametrize(
    ("parameters", "mean", "std", "entropy", "middle"),
    [
        (
            (0, 1, 40, 41),
            40.024968847207264,
            0.024953323998846051,
            -2.6901265364038411,
            -16.435496519450885,
        ),
        (
            (0, 2, -200, -100),
            -100.03996806381128,
            0.039952130696817638,
            -2.219674628014288,
            -1559.2807245743447,
        ),
        (
            (3, 0.5, 2, 5),
            3.0275563515206908,
            0.47061541695192663,
            0.64722248061412756,
            -0.7027460342501923,
        ),
        (
            (0, 1, 5, 5 + 2**-20),
            5.0000004768367792,
            2.7530206164802972e-7,
            -13.862943611199854,
            13.862943611197997,
        ),
        (
            (1, 100, -1, 2),
            0.50003749887499799,
            0.86601241295803455,
            1.098612287168174,
            -1.0985747901680775,
        ),
        ((0, 1, -30, 50), 0.0, 1.0, 1.4189385332046727, -50.918938533204673),
    ],
)
def test_truncated_normal_far_narrow_and_wide(
    parameters: tuple[float, float, float, float],
    mean: float,
    std: float,
    entropy: float,
    middle: float,
) -> None:
    ours = TruncatedNormal(*parameters)
    assert ours.mean == pytest.approx(mean, rel=1e-14, abs=1e-14)
    assert ours.std == pytest.approx(std, rel=1e-12, abs=0.0)
    assert ours.entropy() == pytest.approx(entropy, rel=1e-13)
    assert ours.log_prob(0.5 * (ours.low + ours.high)) == pytest.approx(middle, rel=1e-13)


def test_truncated_normal_a_million_standard_deviations_away_is_exponential() -> None:
    ours = TruncatedNormal(-1e6, 1, 0, 1)
    assert ours.mean == pytest.approx(1e-6, rel=1e-10, abs=0.0)
    assert ours.std == pytest.approx(1e-6, rel=1e-10, abs=0.0)
    assert ours.entropy() == pytest.approx(1.0 - math.log(1e6), rel=1e-10)
    drawn = ours.sample(np.random.default_rng(0), 5000)
    assert scipy.stats.kstest(drawn, scipy.stats.expon(scale=1e-6).cdf).pvalue > 1e-3


def test_truncated_normal_is_symmetric() -> None:
    left, right = TruncatedNormal(0, 1, -9, -6), TruncatedNormal(0, 1, 6, 9)
    assert left.mean == pytest.approx(-right.mean, rel=1e-14)
    assert left.entropy() == pytest.approx(right.entropy(), rel=1e-14)


def test_log_uniform_keeps_its_digits_in_a_narrow_interval() -> None:
    narrow = LogUniform(1.0, 1.0 + 2.0**-20)  # nearly uniform
    assert narrow.std == pytest.approx(2.0**-20 / math.sqrt(12.0), rel=1e-6)
    assert narrow.entropy() == pytest.approx(math.log(2.0**-20), rel=1e-7)
    below, above = LogUniform(1, math.exp(1.999999)), LogUniform(1, math.exp(2.000001))
    assert below.std == pytest.approx(above.std, rel=1e-5)  # the two formulas meet


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Uniform(-1, 3), scipy.stats.uniform(-1, 4)),
        (LogUniform(0.01, 100), scipy.stats.loguniform(0.01, 100)),
        (Normal(5, 0.1), scipy.stats.norm(5, 0.1)),
        (TruncatedNormal(0, 1, -1, 2), scipy.stats.truncnorm(-1, 2)),
        (TruncatedNormal(2, 3, -100, 100), scipy.stats.truncnorm(-34, 98 / 3, 2, 3)),
        (TruncatedNormal(0, 1, 6, 7), scipy.stats.truncnorm(6, 7)),
        (TruncatedNormal(0, 1, -8, -6), scipy.stats.truncnorm(-8, -6)),
        (TruncatedNormal(0, 1, 2, 2.001), scipy.stats.truncnorm(2, 2.001)),
        (Beta(0.5, 0.5), scipy.stats.beta(0.5, 0.5)),
        (Beta(100, 100, 0.5, 1.5), scipy.stats.beta(100, 100, 0.5, 1)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Distribution) else "",
)
def test_draws_have_the_declared_distribution(ours: Distribution, theirs: Any) -> None:
    drawn = ours.sample(np.random.default_rng(20), 5000)
    assert scipy.stats.kstest(drawn, theirs.cdf).pvalue > 1e-3
    assert drawn.mean() == pytest.approx(ours.mean, abs=5.0 * ours.std / math.sqrt(5000))


@pytest.mark.parametrize("ours", EXAMPLES, ids=repr)
def test_draws_are_float64_inside_the_support_and_repeatable(ours: Distribution) -> None:
    drawn = ours.sample(np.random.default_rng(3), 500)
    assert drawn.shape == (500,)
    assert drawn.dtype == np.float64
    low, high = ours.support
    assert drawn.min() >= low
    assert drawn.max() <= high
    assert np.all(np.isfinite(ours.log_prob(drawn)))
    np.testing.assert_array_equal(drawn, ours.sample(np.random.default_rng(3), 500))
    assert ours.sample(np.random.default_rng(3), 0).shape == (0,)


class Extreme(np.random.Generator):
    """Draw the greatest value that a generator can draw."""

    def random(self, n: int) -> np.ndarray:
        return np.full(n, 1.0 - 2.0**-53)

    def beta(self, a: float, b: float, n: int) -> np.ndarray:
        return np.ones(n)


def test_rounding_never_leaves_the_support() -> None:
    rng, extreme = np.random.default_rng(0), Extreme(np.random.PCG64(0))
    num_rounded_up = 0
    for low, high in np.stack([rng.uniform(-1e6, 0, 300), rng.random(300)], axis=1).tolist():
        num_rounded_up += low + (high - low) > high
        for ours in (
            Uniform(low, high),
            Beta(1, 1, low, high),
            TruncatedNormal(low - 1, 1e12, low, high),
            LogUniform(high, high - low),
        ):
            assert ours.support[0] < ours.sample(extreme, 1)[0] <= ours.support[1]
    assert num_rounded_up > 50  # without care, these would have left it


@pytest.mark.parametrize("ours", EXAMPLES, ids=repr)
def test_log_prob_keeps_the_shape_and_knows_the_support(ours: Distribution) -> None:
    assert ours.log_prob(1.0).shape == ()
    assert ours.log_prob(np.ones((2, 3))).shape == (2, 3)
    assert ours.log_prob(np.ones(2, dtype=np.float32)).dtype == np.float64
    low, high = ours.support
    outside = [x for x in (low - 0.1, high + 0.1) if math.isfinite(x)]
    assert np.all(ours.log_prob(outside) == -np.inf)
    assert np.isnan(ours.log_prob(np.nan))


@pytest.mark.parametrize("ours", EXAMPLES[1:6], ids=repr)
def test_density_integrates_to_one(ours: Distribution) -> None:
    low, high = max(ours.support[0], -40.0), min(ours.support[1], 40.0)
    at = np.linspace(low, high, 200_001)
    assert scipy.integrate.trapezoid(np.exp(ours.log_prob(at)), at) == pytest.approx(1.0, abs=1e-5)


def test_beta_density_at_its_ends() -> None:
    np.testing.assert_array_equal(Beta(0.5, 2).log_prob([0.0, 1.0]), [np.inf, -np.inf])
    np.testing.assert_allclose(Beta(1, 1).log_prob([0.0, 1.0]), [0.0, 0.0], atol=1e-15)


@pytest.mark.parametrize("ours", EXAMPLES, ids=repr)
def test_round_trips(ours: Distribution) -> None:
    assert eval(repr(ours), vars(distributions)) == ours
    assert Distribution.from_dict(json.loads(json.dumps(ours.to_dict()))) == ours
    assert type(ours).from_dict(ours.to_dict()) == ours
    assert pickle.loads(pickle.dumps(ours)) == ours
    assert hash(copy.deepcopy(ours)) == hash(ours)
    assert len({*EXAMPLES, ours}) == len(EXAMPLES)  # different ones are unequal


def test_short_forms() -> None:
    assert repr(Uniform(1, 2)) == "Uniform(low=1.0, high=2.0)"
    assert repr(Normal(0, 1)) == "Normal(mean=0.0, std=1.0)"
    assert Beta(1, 2).to_dict() == {"kind": "Beta", "a": 1.0, "b": 2.0, "low": 0.0, "high": 1.0}
    assert TruncatedNormal(mean=0, std=1, low=-1, high=1).to_dict() == {
        "kind": "TruncatedNormal", "mean": 0.0, "std": 1.0, "low": -1.0, "high": 1.0,
    }  # fmt: skip


def test_a_distribution_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Uniform(0, 1).low = 2.0
    with pytest.raises(AttributeError):
        Normal(0, 1).loc = 2.0


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Fixed(math.nan), "value is nan"),
        (lambda: Fixed(10**400), "must be finite"),
        (lambda: Fixed(True), "must be a number"),
        (lambda: Uniform("1e-3", 1), "of type str"),
        (lambda: Uniform(1, 1), "use Fixed"),
        (lambda: Uniform(2, 1), "low is 2.0 and high is 1.0"),
        (lambda: Uniform(0, math.inf), "high is inf"),
        (lambda: Uniform(-1e308, 1e308), "difference finite"),
        (lambda: LogUniform(0, 1), "low is 0.0; it must be greater than 0"),
        (lambda: LogUniform(2, 1), "low must be less than high"),
        (lambda: Normal(0, 0), "std is 0.0"),
        (lambda: Normal(None, 1), "mean is None"),
        (lambda: TruncatedNormal(0, -1, 0, 1), "std is -1.0"),
        (lambda: TruncatedNormal(0, 1, 1, 0), "low must be less than high"),
        (lambda: TruncatedNormal(0, 1e200, 0, 1), "Use Uniform"),
        (lambda: TruncatedNormal(0, 1e-300, 1e10, 2e10), "finite distance"),
        (lambda: Beta(0, 1), "a is 0.0"),
        (lambda: Beta(1, -1), "b is -1.0"),
        (lambda: Beta(1, 1, low=1, high=0), "low must be less than high"),
        (lambda: Categorical([]), "at least one"),
        (lambda: Categorical([1, 1.0]), "none twice"),
        (lambda: Categorical("12"), "list of numbers"),
        (lambda: Categorical([1, "x"]), "values[1] is 'x'"),
        (lambda: Categorical([1, 2], [1.0]), "one for each value"),
        (lambda: Categorical([1, 2], [0.5, 0.6]), "sum 1.1"),
        (lambda: Categorical([1, 2], [-0.5, 1.5]), "none negative"),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused_with_a_reason(build: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build()
    assert says in str(caught.value)


def test_numpy_scalars_are_numbers() -> None:
    assert Uniform(np.int64(0), np.float32(1.5)) == Uniform(0.0, 1.5)
    assert Categorical(np.array([1.0, 2.0])).values == (1.0, 2.0)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"low": 0}, "the key 'kind'"),
        ([1], "the key 'kind'"),
        ({"kind": "Unifrom", "low": 0, "high": 1}, "Did you mean 'Uniform'?"),
        ({"kind": "Uniform", "low": 0, "hihg": 1}, "Did you mean 'high'?"),
        ({"kind": "Uniform", "low": 0}, "Add high"),
        ({"kind": "Uniform", "low": 1, "high": 0}, "low must be less than high"),
    ],
)
def test_bad_dictionaries_are_refused_with_a_reason(data: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Distribution.from_dict(data)
    assert says in str(caught.value)


def test_from_dict_of_a_kind_takes_only_that_kind() -> None:
    with pytest.raises(UnknownNameError, match="Known: Uniform"):
        Uniform.from_dict(Fixed(1).to_dict())

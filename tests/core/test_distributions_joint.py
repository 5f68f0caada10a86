"""Products of distributions, and divergences, by hand and against averages over draws."""

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
import scipy.stats

from simreal.core import distributions
from simreal.core.distributions import (
    Beta,
    Categorical,
    Distribution,
    Fixed,
    Joint,
    LogUniform,
    Normal,
    TruncatedNormal,
    Uniform,
    kl_divergence,
)
from simreal.errors import ConfigError


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"mass": 1.0}, "part 'mass' is 1.0"),
        ({1: Fixed(1)}, "a string as its name"),
        ({"both": Joint({})}, "distribution of one number"),
        ([Fixed(1)], "must map names"),
    ],
)
def test_bad_parts_are_refused_with_a_reason(parts: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Joint(parts)
    assert says in str(caught.value)


def test_joint_is_a_product() -> None:
    joint = Joint({"mass": Uniform(0, 2), "friction": Normal(1, 1), "delay": Fixed(0.02)})
    drawn = joint.sample(np.random.default_rng(0), 4)
    assert list(drawn) == ["delay", "friction", "mass"]
    assert {name: values.shape for name, values in drawn.items()} == dict.fromkeys(drawn, (4,))
    by_hand = -math.log(2.0) + scipy.stats.norm(1, 1).logpdf(drawn["friction"])
    np.testing.assert_allclose(joint.log_prob(drawn), by_hand)
    assert joint.log_prob({**drawn, "delay": np.full(4, 0.03)}).tolist() == [-np.inf] * 4
    assert joint.entropy() == pytest.approx(math.log(2.0) + Normal(1, 1).entropy())
    assert joint.mean == {"delay": 0.02, "friction": 1.0, "mass": 1.0}
    assert joint.std["friction"] == 1.0
    assert joint.support["mass"] == (0.0, 2.0)


def test_joint_does_not_depend_on_how_it_was_written_down() -> None:
    one = Joint({"a": Uniform(0, 1), "b": Uniform(0, 1)})
    two = Joint({"b": Uniform(0, 1), "a": Uniform(0, 1)})
    assert one == two
    assert hash(one) == hash(two)
    first, second = (joint.sample(np.random.default_rng(5), 3) for joint in (one, two))
    np.testing.assert_array_equal(first["a"], second["a"])
    assert not np.array_equal(first["a"], first["b"])


def test_joint_round_trips() -> None:
    joint = Joint(
        {
            "choice": Categorical([1, 2, 4]),
            "damping": LogUniform(0.1, 10),
            "friction": TruncatedNormal(1, 0.2, 0.5, 1.5),
            "gain": Beta(2, 2),
            "mass": Uniform(1, 2),
        }
    )
    assert Joint.from_dict(json.loads(json.dumps(joint.to_dict()))) == joint
    assert eval(repr(joint), vars(distributions)) == joint
    assert pickle.loads(pickle.dumps(joint)) == joint
    assert Joint({}).entropy() == 0.0


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "Uniform", "low": 0, "high": 1},
        {"kind": "Joint"},
        {"kind": "Joint", "parts": [1]},
        {"kind": "Joint", "parts": {"x": {"kind": "Joint", "parts": {}}}},
    ],
)
def test_joint_refuses_other_dictionaries(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Joint.from_dict(data)


def test_joint_wants_a_value_for_every_part() -> None:
    joint = Joint({"a": Uniform(0, 1), "b": Uniform(0, 1)})
    with pytest.raises(ConfigError, match="got values for a; the parts are a, b"):
        joint.log_prob({"a": np.zeros(1)})
    with pytest.raises(ConfigError, match="Pass one array for each part"):
        joint.log_prob({name: np.zeros(1) for name in "abc"})


def test_kl_by_hand() -> None:
    assert kl_divergence(Uniform(1, 2), Uniform(0, 4)) == pytest.approx(math.log(4.0))
    assert kl_divergence(Uniform(0, 4), Uniform(1, 2)) == math.inf
    assert kl_divergence(Normal(0, 1), Normal(1, 1)) == pytest.approx(0.5)
    expected = math.log(2.0) + (1.0 + 9.0) / 8.0 - 0.5
    assert kl_divergence(Normal(3, 1), Normal(0, 2)) == pytest.approx(expected)
    # Second order: a relative step d of the standard deviation costs d^2.
    assert kl_divergence(Normal(0, 1), Normal(0, 1 + 1e-8)) == pytest.approx(
        1e-16, rel=1e-7, abs=0.0
    )


def test_kl_of_a_beta_step_is_positive_and_free_of_the_unit() -> None:
    step = kl_divergence(Beta(100, 100), Beta(99.994, 99.994))
    assert step == pytest.approx(9.0453615913353377e-10, rel=1e-12, abs=0.0)
    scaled = kl_divergence(Beta(100, 100, 2, 7), Beta(99.994, 99.994, 2, 7))
    assert scaled == step


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (Beta(2, 3), Beta(3, 1.5)),
        (Normal(0, 1), Normal(0.5, 2)),
        (Uniform(0.2, 0.5), Uniform(0, 1)),
    ],
)
def test_kl_is_the_mean_log_ratio(p: Distribution, q: Distribution) -> None:
    drawn = p.sample(np.random.default_rng(0), 100_000)
    ratio = p.log_prob(drawn) - q.log_prob(drawn)
    assert kl_divergence(p, q) == pytest.approx(ratio.mean(), abs=5e-3 + 4 * ratio.std() / 316)


def test_kl_of_a_joint_is_the_sum() -> None:
    p = Joint({"a": Beta(2, 2), "b": Normal(0, 1)})
    q = Joint({"a": Beta(3, 2), "b": Normal(1, 1)})
    assert kl_divergence(p, q) == pytest.approx(kl_divergence(Beta(2, 2), Beta(3, 2)) + 0.5)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (Beta(1, 1), Uniform(0, 1)),
        (Beta(1, 1), Beta(1, 1, 0, 2)),
        (Fixed(0), Fixed(0)),
        (Joint({"a": Normal(0, 1)}), Joint({"b": Normal(0, 1)})),
    ],
)
def test_kl_of_an_unknown_pair_is_refused(p: Any, q: Any) -> None:
    with pytest.raises(ConfigError, match="no closed form"):
        kl_divergence(p, q)

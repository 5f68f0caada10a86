"""Counter-based random numbers on a device: keyed, independent, of the right distributions."""

import numpy as np
import pytest
from scipy import stats

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
from simreal.core.seeding import Stream
from simreal.errors import ConfigError, ParameterError

torch = pytest.importorskip("torch")
from simreal.domains import tensor_random  # noqa: E402

CPU = torch.device("cpu")


def drawn(
    seed: int = 0, worlds: int = 3, episode: int = 0, step: int = 0, **other: object
) -> object:
    random = tensor_random.CounterRandom(seed, worlds, CPU)
    at = (torch.full((worlds,), number, dtype=torch.int64) for number in (episode, step))
    stream = other.get("stream", Stream.SENSING)
    return random.uniform(stream, *at, other.get("labels", ("a", "b"))).numpy()


def test_the_same_key_gives_the_same_number_in_any_batch() -> None:
    np.testing.assert_array_equal(drawn(worlds=3), drawn(worlds=7)[:3])


def test_a_number_does_not_depend_on_what_else_is_drawn() -> None:
    both, alone = drawn(labels=("a", "b")), drawn(labels=("b",))
    np.testing.assert_array_equal(both[:, 1:], alone)


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"episode": 1}, {"step": 1}, {"stream": Stream.DROPOUT}, {"labels": ("c", "d")}],
)
def test_every_part_of_the_key_matters(other: dict[str, object]) -> None:
    assert np.abs(drawn() - drawn(**other)).min() > 1e-4


def test_reseeding_is_a_new_seed() -> None:
    random = tensor_random.CounterRandom(3, 4, CPU)
    zero = torch.zeros(4, dtype=torch.int64)
    random.reseed(5)
    found = random.uniform(Stream.INITIAL, zero, zero, ("x",))
    fresh = tensor_random.CounterRandom(5, 4, CPU).uniform(Stream.INITIAL, zero, zero, ("x",))
    assert torch.equal(found, fresh)
    with pytest.raises(ConfigError):
        random.reseed(-1)


def table() -> np.ndarray:
    """Return uniform numbers of 400 worlds, 100 steps and 3 labels."""
    random = tensor_random.CounterRandom(11, 400, CPU)
    episode = torch.zeros(400, dtype=torch.int64)
    steps = [
        random.uniform(Stream.SENSING, episode, episode + step, ("x", "y", "z")).numpy()
        for step in range(100)
    ]
    return np.array(steps, dtype=np.float64)


def test_numbers_are_uniform_and_their_neighbours_are_independent() -> None:
    numbers = table()
    assert numbers.min() > 0.0
    assert numbers.max() < 1.0
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    for one, other in (
        (numbers[:-1], numbers[1:]),
        (numbers[:, :-1], numbers[:, 1:]),
        (numbers[..., :-1], numbers[..., 1:]),
    ):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)
        pairs = np.histogram2d(one.ravel(), other.ravel(), bins=16)[0]
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-3


def test_normal_numbers_are_normal() -> None:
    random = tensor_random.CounterRandom(2, 20000, CPU)
    zero = torch.zeros(20000, dtype=torch.int64)
    numbers = random.normal(Stream.SENSING, zero, zero, ("x", "y")).numpy().astype(np.float64)
    assert stats.kstest(numbers.ravel(), "norm").pvalue > 1e-3
    assert np.isfinite(numbers).all()


@pytest.mark.parametrize(
    "distribution",
    [
        Uniform(-2.0, 3.0),
        LogUniform(0.1, 20.0),
        Normal(1.0, 0.3),
        TruncatedNormal(0.0, 1.0, -0.5, 2.0),
        TruncatedNormal(0.0, 1.0, 3.0, 8.0),
        Beta(2.0, 5.0, 0.5, 1.5),
        Beta(0.6, 0.8),
        Beta(300.0, 200.0),
    ],
    ids=repr,
)
def test_quantiles_are_those_of_the_distribution(distribution: Distribution) -> None:
    uniform = (torch.arange(40000, dtype=torch.float32) + 0.5) / 40000
    numbers = tensor_random.quantile(distribution, CPU)(uniform).numpy().astype(np.float64)
    scale = distribution.std
    assert numbers.mean() == pytest.approx(distribution.mean, abs=2e-3 * scale)
    assert numbers.std() == pytest.approx(distribution.std, rel=3e-3)
    low, high = distribution.support
    assert numbers.min() >= low
    assert numbers.max() <= high * (1 + 1e-6)
    own = distribution.sample(np.random.default_rng(7), 20000)
    assert stats.ks_2samp(numbers, own).pvalue > 1e-3


def test_discrete_distributions_keep_their_shares() -> None:
    uniform = (torch.arange(1000, dtype=torch.float32) + 0.5) / 1000
    assert set(tensor_random.quantile(Fixed(2.5), CPU)(uniform).tolist()) == {2.5}
    choice = Categorical([3.0, 1.0, 2.0], [0.2, 0.5, 0.3])
    found = tensor_random.quantile(choice, CPU)(uniform).numpy()
    assert {v: int((found == v).sum()) for v in (3.0, 1.0, 2.0)} == {3.0: 200, 1.0: 500, 2.0: 300}


def test_a_distribution_without_quantiles_is_refused() -> None:
    class Odd(Uniform):
        pass

    assert tensor_random.quantile(Odd(0.0, 1.0), CPU)(torch.tensor([0.5])).item() == 0.5

    class Strange(Distribution):
        __slots__ = ()
        mean = std = 0.0
        support = (0.0, 1.0)

        def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
            return np.zeros(n)

        def _log_density(self, x: np.ndarray) -> np.ndarray:
            return x

        def entropy(self) -> float:
            return 0.0

        def __repr__(self) -> str:
            return "Strange()"

    with pytest.raises(ParameterError, match=r"Strange\(\) cannot be drawn on a device"):
        tensor_random.quantile(Strange(), CPU)


def test_some_worlds_of_more_meet_the_numbers_they_have_among_all() -> None:
    at = torch.zeros(5, dtype=torch.int64)
    device = torch.device("cpu")
    whole = tensor_random.CounterRandom(3, 5, device).uniform(Stream.INITIAL, at, at, ("a",))
    part = tensor_random.CounterRandom(3, 2, device, 3).uniform(
        Stream.INITIAL, at[:2], at[:2], ("a",)
    )
    assert torch.equal(part, whole[3:])

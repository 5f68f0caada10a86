import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.core.seeding import NoiseBlocks, Starts, Stream, check_seed, generator
from simreal.errors import ConfigError

ARGUMENTS = {"seed": 3, "world": 2, "episode": 5, "stream": Stream.SENSING, "block": 1}


def test_equal_arguments_give_equal_numbers() -> None:
    first, second = (generator(**ARGUMENTS, label="mass").random(8) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"world": 3},
        {"episode": 6},
        {"stream": Stream.ACTUATION},
        {"block": 2},
        {"label": "mass"},
        {"seed": 2, "world": 3},
        {"block": 5, "episode": 1},
    ],
)
def test_any_other_argument_gives_other_numbers(change: dict) -> None:
    first, second = generator(**ARGUMENTS).random(8), generator(**{**ARGUMENTS, **change}).random(8)
    assert not np.isin(first, second).any()


def test_two_blocks_of_one_stream_do_not_overlap() -> None:
    long = generator(1, 0, 0, Stream.SENSING, 0).random(100_000)
    assert not np.isin(generator(1, 0, 0, Stream.SENSING, 1).random(100), long).any()


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, "7", None])
def test_a_seed_that_cannot_be_used_is_refused(seed: object) -> None:
    with pytest.raises(ConfigError, match="whole number from 0 to 2"):
        check_seed(seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [0, 2**64 - 1, np.int64(5)])
def test_a_seed_that_can_be_used_is_returned(seed: int) -> None:
    assert check_seed(seed) == seed
    generator(check_seed(seed), 0, 0, Stream.INITIAL)


@given(
    order=st.permutations(range(6)),
    worlds=st.integers(1, 4),
    block=st.integers(1, 5),
)
def test_noise_of_a_step_does_not_depend_on_what_was_asked_before(
    order: list[int], worlds: int, block: int
) -> None:
    def numbers(steps: list[int]) -> dict[int, np.ndarray]:
        noise = NoiseBlocks(9, worlds, 2, Stream.SENSING, uniform=False, block=block)
        episode = np.arange(worlds)
        return {s: noise.at(episode, np.full(worlds, s)).copy() for s in steps}

    forward, shuffled = numbers(list(range(6))), numbers(list(order))
    for step in range(6):
        np.testing.assert_array_equal(forward[step], shuffled[step])


def test_noise_of_a_world_does_not_depend_on_the_others() -> None:
    step = np.array([3, 200, 127])
    three = NoiseBlocks(1, 3, 4, Stream.ACTUATION, uniform=False).at(np.array([0, 1, 2]), step)
    alone = NoiseBlocks(1, 1, 4, Stream.ACTUATION, uniform=False).at(np.array([0]), step[:1])
    np.testing.assert_array_equal(three[:1], alone)


@pytest.mark.parametrize(("uniform", "mean", "std"), [(True, 0.5, 12**-0.5), (False, 0.0, 1.0)])
def test_noise_has_the_distribution_it_says(uniform: bool, mean: float, std: float) -> None:
    noise = NoiseBlocks(0, 8, 16, Stream.SENSING, uniform=uniform)
    at = [noise.at(np.zeros(8, int), np.full(8, step)) for step in range(100)]
    numbers = np.array(at)  # 12800 numbers: the mean is within 4 std / sqrt(12800)
    assert numbers.mean() == pytest.approx(mean, abs=4 * std / 113)
    assert numbers.std() == pytest.approx(std, rel=0.04)


def test_reseeding_gives_the_numbers_of_the_other_seed() -> None:
    noise = NoiseBlocks(0, 2, 1, Stream.SENSING, uniform=True)
    zero = np.zeros(2, dtype=int)
    noise.at(zero, zero)
    noise.reseed(5)
    fresh = NoiseBlocks(5, 2, 1, Stream.SENSING, uniform=True)
    np.testing.assert_array_equal(noise.at(zero, zero), fresh.at(zero, zero))


def test_starts_are_those_of_their_world_and_episode_in_any_order() -> None:
    starts = Starts(3, 2, first_world=4, block=3)
    for seed, world, episode in ((7, 0, 0), (7, 2, 5), (7, 0, 2), (8, 0, 2), (7, 0, 3), (7, 2, 4)):
        found = starts.at(seed, np.array([world, 1]), np.array([episode, 9]))
        for row, at in zip(found, ((4 + world, episode), (5, 9)), strict=True):
            wanted = generator(seed, *at, Stream.INITIAL).random(2)
            np.testing.assert_array_equal(row, wanted)

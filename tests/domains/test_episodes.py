import numpy as np
import pytest

from simreal.domains.episodes import EpisodeBook
from tests.domains.toy import Reach

BOTH = np.ones(2, dtype=bool)


def begin(start: tuple[int, int] = (0, 0), *, training: bool = False) -> EpisodeBook:
    book = EpisodeBook(Reach(), 2, training=training)
    book.begin(BOTH, np.array(start))
    return book


def run(book: EpisodeBook, successes: list[tuple[bool, bool]]) -> None:
    for success in successes:
        book.advance()
        book.terms += 0.5
        if book.judging:
            book.judge(np.array(success))


def outcome(book: EpisodeBook, world: int = 0) -> bool:
    return book.summary(world, "time limit", {}).success


@pytest.mark.parametrize(
    ("failed_step", "expected"),
    [(None, True), (1, True), (4, True), (5, False), (7, False), (10, False)],
)
def test_success_must_hold_from_the_first_to_the_last_step_of_the_window(
    failed_step: int | None, expected: bool
) -> None:
    # 50 to 100 ms of 10 ms steps: steps 5 to 10, both included.
    book = begin()
    run(book, [(step != failed_step, True) for step in range(1, 11)])
    assert outcome(book) is expected
    assert outcome(book, world=1)


@pytest.mark.parametrize(("num_steps", "expected"), [(9, False), (10, True)])
def test_an_episode_that_ended_before_the_window_did_is_no_success(
    num_steps: int, expected: bool
) -> None:
    book = begin()
    run(book, [(True, True)] * num_steps)
    assert outcome(book) is expected


def test_a_summary_counts_what_happened_since_the_episode_began() -> None:
    book = begin((0, 4))
    run(book, [(True, True)] * 3)
    params = {"gravity": np.array([[9.0], [9.5]]), "com.cart": np.array([[1.0, 2.0], [3.0, 4.0]])}
    info = book.summary(1, "diverged", params)
    assert (info.world, info.episode, info.length, info.reason) == (1, 0, 3, "diverged")
    assert info.terms == {"place": 1.5, "effort": 1.5}
    assert info.return_ == 3.0
    assert info.partial
    assert not book.summary(0, "terminated", params).partial
    assert info.params == {"gravity": 9.5, "com.cart[0]": 3.0, "com.cart[1]": 4.0}
    assert book.num_diverged == 1


def test_the_limit_is_due_when_the_furthest_world_reaches_it() -> None:
    book = begin((0, 6))
    due = []
    for _ in range(4):
        book.advance()
        due.append(book.due)
    assert due == [False, False, False, True]
    book.begin(np.array([False, True]), np.zeros(2, dtype=int))
    assert not book.due
    assert book.episode.tolist() == [0, 1]
    assert book.step.tolist() == [4, 0]


def test_beginning_again_forgets_sums_and_failures_of_that_world_alone() -> None:
    book = begin()
    run(book, [(False, False)] * 6)
    book.begin(np.array([True, False]), np.zeros(2, dtype=int))
    assert book.ok.tolist() == [True, False]
    assert book.terms[:, 0].tolist() == [0.0, 0.0]
    assert book.terms[:, 1].tolist() == [3.0, 3.0]


def test_a_restored_book_goes_on_as_the_saved_one() -> None:
    book = begin((0, 3))
    run(book, [(True, False)] * 6)
    saved = {name: np.array(value) for name, value in book.arrays().items()}
    run(book, [(True, True)] * 1)
    other = begin()
    other.restore(saved)
    run(other, [(True, True)] * 1)
    assert (other.due, other.judging) == (book.due, book.judging) == (True, True)
    for world in (0, 1):
        summary = [b.summary(world, "time limit", {}) for b in (book, other)]
        assert summary[0] == summary[1]

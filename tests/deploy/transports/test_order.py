"""Each frame is used once and in order, and a clock is compared but not obeyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.deploy.transports.frames import Drop
from simreal.deploy.transports.order import ClockSync, SequenceWindow


def test_what_is_not_newer_is_dropped_by_reason() -> None:
    window = SequenceWindow()
    judged = [window.judge(1, seq) for seq in (5, 6, 6, 9, 8, 8, 5, 10)]
    assert judged == [
        None,
        None,
        Drop.REPLAYED,
        None,
        Drop.REORDERED,
        Drop.REPLAYED,
        Drop.REPLAYED,
        None,
    ]


def test_what_is_too_old_to_be_remembered_counts_as_replayed() -> None:
    window = SequenceWindow()
    window.judge(0, 100)
    assert window.judge(0, 100 - 64) is Drop.REPLAYED
    assert window.judge(0, 100 - 63) is Drop.REORDERED


def test_a_higher_epoch_counts_anew_and_ends_the_lower_one() -> None:
    window = SequenceWindow()
    assert [window.judge(1, 500), window.judge(2, 0), window.judge(2, 0)] == [
        None,
        None,
        Drop.REPLAYED,
    ]
    assert window.judge(1, 501) is Drop.REPLAYED


@given(st.lists(st.integers(0, 200), max_size=80))
def test_a_number_is_accepted_exactly_if_it_is_the_highest_so_far(seqs: list[int]) -> None:
    window, seen = SequenceWindow(), set[int]()
    for seq in seqs:
        accepted = window.judge(0, seq) is None
        assert accepted == (not seen or seq > max(seen))
        seen.add(seq)


def test_the_quickest_exchange_gives_the_offset() -> None:
    sync = ClockSync()
    sync.add(10.0, 115.0, 10.2)  # offset 104.9 if both ways took 0.1 s
    assert (sync.offset_s, sync.uncertainty_s) == (pytest.approx(104.9), pytest.approx(0.1))
    sync.add(11.0, 116.001, 11.002)
    assert (sync.offset_s, sync.uncertainty_s) == (pytest.approx(105.0), pytest.approx(0.001))
    sync.add(12.0, 117.03, 12.06)
    assert sync.offset_s == pytest.approx(105.0)


def test_a_clock_that_drifts_is_followed() -> None:
    sync = ClockSync()
    for i in range(100):
        now = 0.25 * i
        sync.add(now, 1.0001 * now + 7.0, now)
    assert sync.offset_s == pytest.approx(7.0 + 1e-4 * 24.75, abs=3e-4)
    assert sync.refused == 0


@pytest.mark.parametrize("step_s", [-5.0, -0.05, 0.05, 5.0])
def test_a_clock_that_is_stepped_is_not_followed(step_s: float) -> None:
    sync = ClockSync()
    sync.add(1.0, 1.0005, 1.001)
    sync.add(2.0, 2.0005 + step_s, 2.001)
    assert sync.offset_s == pytest.approx(0.0)
    assert sync.refused == 1


def test_an_answer_before_its_question_is_ignored() -> None:
    sync = ClockSync()
    sync.add(5.0, 0.0, 4.0)
    assert (sync.offset_s, sync.uncertainty_s) == (0.0, 0.0)

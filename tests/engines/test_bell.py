"""Orders and answers pass between two ends, whether they spin or sleep."""

import multiprocessing
import select
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest

from simreal.engines import bell
from simreal.engines.bell import (
    CALL,
    DONE,
    STEP,
    Ear,
    ParentBell,
    Spin,
    WorkerBell,
    num_words,
    own_words,
)
from simreal.engines.doorbell import Listener, make_doorbells


def silent(num_workers: int) -> memoryview:
    return memoryview(np.zeros(num_words(num_workers), dtype=np.int64))


class Ends:
    """Hold both ends over one pipe; the worker's answers with what it was asked."""

    def __init__(self, rings: bool = True, yields: bool = False) -> None:
        self.words = silent(1)
        here, self.there = multiprocessing.Pipe()
        doorbells = make_doorbells() if rings else None
        self.parent = ParentBell(own_words(self.words, 0), here, doorbells)
        self.ear = Ear(self.words)
        self.ear.add(self.parent)
        self.worker = WorkerBell(self.words, 0, self.there, Spin(0.0, 20e-6, yields), doorbells)
        self.orders: list[tuple[int, bytes]] = []
        self.step_s = 0.0
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self) -> None:
        try:
            while True:
                kind, message = self.worker.next_order()
                self.orders.append((kind, message))
                time.sleep(0.05 if message == b"slow" else self.step_s)  # longer than anybody spins
                self.worker.answer(DONE if kind == STEP else b"r" + message)
        except (EOFError, ConnectionError):  # the other end closed, with bytes unread or without
            self.there.close()

    def heard(self) -> list[ParentBell]:
        return self.ear.wait([self.parent], 5.0)

    def close(self) -> None:
        self.parent.pipe.close()
        self.thread.join(5.0)
        self.parent.close()
        assert not self.thread.is_alive()


class Pair:
    """Hold both ends of two workers, whose parent says that it sleeps."""

    def __init__(self) -> None:
        self.words = silent(2)
        self.ear = Ear(self.words)
        self.pipes = [multiprocessing.Pipe() for _ in range(2)]
        self.parents, self.workers = [], []
        for i, (here, there) in enumerate(self.pipes):
            doorbells = make_doorbells()
            self.parents.append(ParentBell(own_words(self.words, i), here, doorbells))
            self.ear.add(self.parents[i])
            self.workers.append(WorkerBell(self.words, i, there, Spin(0.0, 0.0, False), doorbells))

    def order(self) -> None:
        for parent, worker in zip(self.parents, self.workers, strict=True):
            parent.order(STEP)
            worker.next_order()
        self.fall_asleep()

    def fall_asleep(self) -> None:
        self.words[bell._PARENT_ASLEEP] = 1

    def wait(self, patience_s: float = 5.0) -> list[ParentBell]:
        return self.ear.wait(self.parents, patience_s)

    def rung(self) -> list[bool]:
        places = []
        for parent in self.parents:
            own = parent.pipe.fileno() if parent.doorbell is None else parent.doorbell.number
            places.append(own)
        poller = select.poll()
        for place in places:
            poller.register(place, select.POLLIN)
        audible = {place for place, _ in poller.poll(0)}
        return [place in audible for place in places]

    def close(self) -> None:
        for parent in self.parents:
            parent.close()
        for end in (end for ends in self.pipes for end in ends):
            end.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def test_a_call_whose_message_is_read_at_once_is_not_slept_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nobody looks again by himself here, so who reads a message too early sleeps for good.
    monkeypatch.setattr(bell, "_LOOK_AGAIN_S", 10.0)
    ends, was_read = Ends(), threading.Event()
    read, send = ends.worker._read, ends.parent.pipe.send_bytes

    def read_and_say_so(message: bytes) -> bytes:
        found = read(message)
        was_read.set()
        return found

    def send_and_let_it_be_read(message: bytes) -> None:
        was_read.clear()
        send(message)
        assert was_read.wait(5.0)

    monkeypatch.setattr(ends.worker, "_read", read_and_say_so)
    monkeypatch.setattr(ends.parent.pipe, "send_bytes", send_and_let_it_be_read)
    for i in range(20):
        ends.parent.order(CALL, b"%d" % i)
        assert ends.heard() == []
        assert ends.parent.finish() == b"r%d" % i
    monkeypatch.undo()
    ends.close()


@pytest.mark.parametrize("rings", [True, False])
@pytest.mark.parametrize(("spins", "yields"), [(True, False), (True, True), (False, False)])
def test_orders_arrive_once_and_in_order(
    spins: bool, yields: bool, rings: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "_SPINS", spins and bell._SPINS)
    ends = Ends(rings, yields)
    expected = []
    for i in range(200):
        if i % 3:
            ends.parent.order(STEP)
            expected.append((STEP, b""))
        else:
            message = b"slow" if i % 60 == 0 else f"call {i}".encode()
            ends.parent.order(CALL, message)
            expected.append((CALL, message))
        assert ends.heard() == []
        assert ends.parent.done
        assert ends.parent.finish() == (b"r" + expected[-1][1] if i % 3 == 0 else b"")
    assert ends.orders == expected
    ends.close()


@pytest.mark.parametrize("rings", [True, False])
@pytest.mark.parametrize("worker_s", [0.0, 0.05])
@pytest.mark.parametrize("parent_s", [0.0, 0.05])
def test_who_fell_asleep_is_rung(
    parent_s: float, worker_s: float, rings: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody looks again by himself here, so who is not rung sleeps for good.
    monkeypatch.setattr(bell, "_LOOK_AGAIN_S", 10.0)
    ends = Ends(rings)
    ends.step_s = worker_s
    start = time.perf_counter()
    for _ in range(3):
        time.sleep(parent_s)  # longer than the worker spins
        ends.parent.order(STEP)
        assert ends.heard() == []
    assert time.perf_counter() - start < 5.0
    monkeypatch.undo()
    ends.close()


def test_the_words_of_the_parent_are_those_of_no_worker() -> None:
    words = silent(3)
    for worker in range(3):
        own = own_words(words, worker)
        own[:] = memoryview(np.full(len(own), 7, dtype=np.int64))
    assert words[bell._PARENT_ASLEEP] == 0
    assert words.tolist().count(7) == 3 * bell.WORDS


class Noted(list[int]):
    """Remember in what order words are written."""

    def __init__(self) -> None:
        super().__init__([0] * num_words(1))
        self.order: list[int] = []

    def __getitem__(self, place: Any) -> Any:
        return self if isinstance(place, slice) else super().__getitem__(place)  # as a view

    def __setitem__(self, place: Any, value: Any) -> None:
        self.order.append(place)
        super().__setitem__(place, value)


def test_what_a_counter_announces_is_written_before_it() -> None:
    here, there = multiprocessing.Pipe()
    words: Any = Noted()
    parent = ParentBell(words, here)
    worker = WorkerBell(words, 0, there, Spin(0.0, 0.0, yields=False))
    words.order.clear()
    parent.order(CALL, b"x")
    assert words.order == [bell._KIND, bell._ORDER]
    worker.next_order()
    words.order.clear()
    worker.answer(b"rx")
    assert words.order == [bell._SPOKE, bell._ANSWER]
    here.close()
    there.close()


def test_an_answer_of_the_worker_before_is_none_of_the_new_one() -> None:
    here, there = multiprocessing.Pipe()
    words = silent(1)
    words[bell._ANSWER] = 1  # the one before ended after its first order
    parent = ParentBell(own_words(words, 0), here)
    parent.order(STEP)
    assert not parent.done
    here.close()
    there.close()


def test_who_may_see_a_counter_too_early_hears_before_he_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bell, "_SPINS", False)
    words = silent(1)
    here, there = multiprocessing.Pipe()
    parent = ParentBell(own_words(words, 0), here)
    worker = WorkerBell(words, 0, there, Spin(0.0, 0.0, yields=False))
    rung: list[str] = []

    class Late:
        """Let what was sent arrive when it is waited for, long after the counter moved."""

        def __init__(self, name: str, sender: Connection, receiver: Connection) -> None:
            self.name, self.sender, self.receiver = name, sender, receiver

        def __call__(self) -> list[tuple[int, int]]:
            rung.append(self.name)
            self.sender.send_bytes(bell.WAKE)
            return [(self.receiver.fileno(), select.POLLIN)]

    monkeypatch.setattr(bell, "_ring", lambda *_: None)
    ear = Ear(words)
    ear.add(parent)
    worker._listener.heard = Late("worker", here, there)
    ear._listener.heard = Late("parent", there, here)
    for _ in range(2):
        parent.order(STEP)
        assert worker.next_order() == (STEP, b"")
        worker.answer(DONE)
        assert not parent.done
        assert ear.wait([parent], 5.0) == []
        assert parent.done
    assert rung == ["worker", "parent"] * 2
    here.close()
    there.close()


def test_who_takes_too_long_is_named(pair: Pair) -> None:
    quick, slow = pair.parents
    pair.order()
    pair.workers[0].answer(DONE)
    assert pair.wait(0.05) == [slow]
    assert quick.done


def test_who_answers_while_this_process_was_stopped_is_not_named(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.order()
    heard, clock = pair.ear._listener.heard, [0.0]
    monkeypatch.setattr(bell.time, "perf_counter", lambda: clock[0])

    def stopped() -> list[tuple[int, int]]:
        found = heard()
        if not clock[0]:
            clock[0] = 100.0
        else:
            for worker in pair.workers:
                worker.answer(DONE)
        return found

    monkeypatch.setattr(pair.ear._listener, "heard", stopped)
    assert pair.wait(5.0) == []


def test_what_a_worker_that_is_gone_said_is_not_waited_for(pair: Pair) -> None:
    pair.parents[0].order(CALL, b"x")
    pair.workers[0].next_order()
    pair.words[bell._SPOKE] = 1
    pair.parents[0].give_up()
    with pytest.raises(OSError, match="gone"):
        pair.parents[0].finish()


def test_who_is_gone_is_named_at_once(pair: Pair) -> None:
    pair.order()
    pair.workers[1].answer(DONE)
    pair.pipes[0][1].close()
    start = time.monotonic()
    assert pair.wait(60.0) == [pair.parents[0]]
    assert time.monotonic() - start < 5.0


@pytest.mark.skipif(not bell._SPINS, reason="stores may overtake each other here, so all ring")
@pytest.mark.parametrize("first", [0, 1])
def test_only_the_last_one_rings(pair: Pair, first: int) -> None:
    pair.order()
    pair.workers[first].answer(DONE)
    assert pair.rung() == [False, False]
    pair.workers[1 - first].answer(DONE)
    assert pair.rung() == [first == 1, first == 0]
    assert pair.wait() == []


def test_all_ring_where_a_counter_may_be_seen_too_early(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "_SPINS", False)
    for parent in pair.parents:
        parent.order(STEP)
    for worker in pair.workers:
        worker.next_order()
        worker.answer(DONE)
    assert pair.rung() == [True, True]
    assert pair.wait() == []


def test_nobody_leaves_the_ringing_to_a_worker_that_is_gone(pair: Pair) -> None:
    pair.order()
    gone, other = pair.parents
    pair.pipes[0][1].close()
    pair.ear._listen()
    pair.workers[1].answer(DONE)
    assert pair.rung()[1]
    assert pair.wait() == [gone]
    assert other.done


def test_what_is_asked_of_a_worker_that_is_gone_is_never_done(pair: Pair) -> None:
    pair.order()
    for worker in pair.workers:
        worker.answer(DONE)
    assert pair.wait() == []
    gone, other = pair.parents
    pair.pipes[0][1].close()
    pair.ear._listen()
    with pytest.raises(OSError, match="gone"):
        gone.order(STEP)
    assert not gone.done
    other.order(STEP)
    pair.workers[1].next_order()
    pair.fall_asleep()
    pair.workers[1].answer(DONE)
    assert pair.rung()[1]
    assert pair.wait() == [gone]


def test_both_spin_where_every_process_has_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell.os, "sched_getaffinity", lambda pid: {0, 1})
    assert bell.spin_for(1) == Spin(1e-3, 1e-3, yields=False)
    assert bell.spin_for(2) == Spin(0.0, 1e-3, yields=True)


def test_a_doorbell_is_heard_once_for_all_that_it_rang() -> None:
    made = make_doorbells()
    if made is None:
        pytest.skip("no doorbells on this system")
    one, other = made
    listener = Listener(0.0)
    listener.add_doorbell(one)
    assert listener.heard() == []
    for _ in range(2):
        one.ring()
        one.ring()
        assert listener.heard() == [(one.number, select.POLLIN)]
        assert listener.heard() == []
    listener.remove(one.number)
    one.ring()
    assert listener.heard() == []
    one.close()
    other.close()

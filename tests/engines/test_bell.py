"""Orders and answers pass between two ends, whether they spin or sleep."""

import multiprocessing
import threading
import time

import numpy as np
import pytest

from simreal.engines import bell
from simreal.engines.bell import CALL, DONE, STEP, WORDS, ParentBell, WorkerBell, wait


class Ends:
    """Hold both ends over one pipe; the worker's answers with what it was asked."""

    def __init__(self) -> None:
        words = memoryview(np.zeros(WORDS, dtype=np.int64))
        here, self.there = multiprocessing.Pipe()
        self.parent, self.worker = ParentBell(words, here), WorkerBell(words, self.there)
        self.orders: list[tuple[int, bytes]] = []
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self) -> None:
        try:
            while True:
                kind, message = self.worker.next_order()
                self.orders.append((kind, message))
                if message == b"slow":
                    time.sleep(0.05)  # longer than anybody spins
                self.worker.answer(DONE if kind == STEP else b"r" + message)
        except EOFError:
            self.there.close()

    def close(self) -> None:
        self.parent.pipe.close()
        self.thread.join(5.0)
        assert not self.thread.is_alive()


@pytest.mark.parametrize("spins", [True, False])
def test_orders_arrive_once_and_in_order(spins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "_SPINS", spins and bell._SPINS)
    ends = Ends()
    expected = []
    for i in range(200):
        if i % 3:
            ends.parent.order(STEP)
            expected.append((STEP, b""))
        else:
            message = b"slow" if i % 60 == 0 else f"call {i}".encode()
            ends.parent.order(CALL, message)
            expected.append((CALL, message))
        assert wait([ends.parent], 5.0) == []
        assert ends.parent.done
        assert ends.parent.finish() == (b"r" + expected[-1][1] if i % 3 == 0 else b"")
    assert ends.orders == expected
    ends.close()


def test_who_takes_too_long_is_named() -> None:
    here, there = multiprocessing.Pipe()
    ends, idle = Ends(), ParentBell(memoryview(np.zeros(WORDS, dtype=np.int64)), here)
    ends.parent.order(STEP)
    idle._count = 1  # asked, but nobody is there
    assert wait([ends.parent, idle], 0.05) == [idle]
    assert ends.parent.done
    here.close()
    there.close()
    ends.close()


def test_who_is_gone_is_named_at_once() -> None:
    here, there = multiprocessing.Pipe()
    alone = ParentBell(memoryview(np.zeros(WORDS, dtype=np.int64)), here)
    there.close()
    alone._count = 1
    start = time.monotonic()
    assert wait([alone], 60.0) == [alone]
    assert time.monotonic() - start < 5.0
    here.close()

"""How a worker process and its parent wait for one another: a short spin, then a blocking read.

Orders and answers are counted in shared memory, and whoever waits looks at the counter for some
microseconds. If nothing comes, it says that it sleeps and blocks, and the other one then rings.
Between telling and looking both take a lock of their own, which no store overtakes, so that they
cannot miss each other. On processors where stores may overtake each other, a counter that moved
does not say that what was written before it is there: nobody spins, every order and every answer
rings, and nobody looks at a counter before it was heard.

To be woken costs some hundred microseconds. Where every process has a processor, both spin for
about as long as a policy takes to answer. Where there are fewer, the parent sleeps at once, and a
worker yields its processor in every turn of its spin, so that whoever has work to do gets it. A
parent that is woken before everybody is done takes a processor from who still works, so only the
last one rings.
"""

import os
import platform
import select
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

from simreal.engines.doorbell import Doorbell, Doorbells

STEP, SAMPLED_STEP, HELD_STEP, RESET, CALL = 1, 2, 3, 4, 5
WAKE, DONE, FAILED = b"w", b"d", b"f"
WORDS = 8  # per worker, a cache line of its own
_ORDER, _KIND, _ANSWER, _SPOKE, _ASLEEP, _PARENT_ASLEEP = range(6)
_LOOK_AGAIN_MS = 100
_SPIN_S = 1e-3
_FENCE = threading.Lock()
_SPINS = platform.machine() in ("x86_64", "AMD64")


class Spin(NamedTuple):
    """Say how long is spun before sleep.

    Attributes:
        parent_s: By the parent [s].
        worker_s: By a worker [s].
        yields: Whether a worker offers its processor to others meanwhile.
    """

    parent_s: float
    worker_s: float
    yields: bool


def spin_for(num_workers: int) -> Spin:
    """Return how to spin on this machine.

    Args:
        num_workers: Worker processes beside the parent.
    """
    spare = len(os.sched_getaffinity(0)) > num_workers
    return Spin(_SPIN_S if spare else 0.0, _SPIN_S, not spare)


class WorkerBell:
    """Be the worker's end."""

    def __init__(
        self,
        everybodys: memoryview,
        worker: int,
        pipe: Connection,
        spin: Spin,
        doorbells: Doorbells | None = None,
    ) -> None:
        """Begin before the first order.

        Args:
            everybodys: The words of all workers.
            worker: Index of this one.
            pipe: Its pipe.
            spin: How to spin.
            doorbells: What both ends ring; the pipe if None.
        """
        words = everybodys[worker * WORDS : (worker + 1) * WORDS]
        self._words, self._pipe, self._spin_as = words, pipe, spin
        self._orders, self._answers = everybodys[_ORDER::WORDS], everybodys[_ANSWER::WORDS]
        self._own: Doorbell | None = None
        self._parents: Doorbell | None = None
        if doorbells is not None:
            self._own, self._parents = doorbells
        self._seen = words[_ORDER]
        self._poller = select.poll()
        self._poller.register(pipe.fileno(), select.POLLIN)
        if self._own is not None:
            self._poller.register(self._own.number, select.POLLIN)

    def next_order(self) -> tuple[int, bytes]:
        """Wait for an order and return its kind and, for a call, what to call.

        Raises:
            EOFError: The parent is gone.
        """
        words, message, heard = self._words, b"", _SPINS
        if not self._spin():
            words[_ASLEEP] = 1
            _fence()
            while not heard or words[_ORDER] == self._seen:
                for number, _ in self._poller.poll(_LOOK_AGAIN_MS):
                    heard = True
                    if self._own is not None and number == self._own.number:
                        self._own.hush()
                    else:
                        message = self._read(message)
            words[_ASLEEP] = 0
        self._seen = words[_ORDER]
        kind = words[_KIND]
        while kind == CALL and not message:
            message = self._read(message)
        return kind, message

    def answer(self, answer: bytes) -> None:
        """Say that the order is done; anything but `DONE` travels through the pipe."""
        words, speaks = self._words, answer != DONE
        words[_SPOKE] = int(speaks)
        words[_ANSWER] = self._seen
        _fence()
        # After the counter, because whoever is woken by it looks there.
        if speaks:
            self._pipe.send_bytes(answer)
        elif not _SPINS or (words[_PARENT_ASLEEP] and self._orders == self._answers):
            _ring(self._parents, self._pipe)

    def _spin(self) -> bool:
        if not _SPINS:
            return False
        end = time.perf_counter() + self._spin_as.worker_s
        while self._words[_ORDER] == self._seen:
            if time.perf_counter() > end:
                return False
            if self._spin_as.yields:
                os.sched_yield()
        return True

    def _read(self, message: bytes) -> bytes:
        found = self._pipe.recv_bytes()
        return message if found == WAKE else found


class ParentBell:
    """Be the parent's end of one worker.

    Attributes:
        pipe: The pipe.
        doorbell: What the worker rings, or None if it sends a byte through the pipe.
        message: What the worker said beside being done, empty if nothing.
        gone: Whether the worker is known to be gone.
    """

    def __init__(
        self, words: memoryview, pipe: Connection, doorbells: Doorbells | None = None
    ) -> None:
        """Begin before the first order.

        Args:
            words: The worker's words, which are set to 0.
            pipe: Its pipe.
            doorbells: What both ends ring; the pipe if None.
        """
        for i in range(len(words)):
            words[i] = 0
        self._words, self.pipe, self.message = words, pipe, b""
        self.gone = False
        self._workers: Doorbell | None = None
        self.doorbell: Doorbell | None = None
        if doorbells is not None:
            self._workers, self.doorbell = doorbells
        self._count, self._heard = 0, False

    def order(self, kind: int, message: bytes = b"") -> None:
        """Give an order.

        Args:
            kind: `STEP`, `SAMPLED_STEP`, `HELD_STEP`, `RESET` or `CALL`.
            message: What to call.

        Raises:
            OSError: The worker is gone.
        """
        words = self._words
        self._count += 1
        self.message, self._heard = b"", False
        if self.gone:
            raise OSError("the worker is gone")
        words[_KIND] = kind
        words[_ORDER] = self._count
        _fence()
        # After the counter, because whoever is woken by it looks there.
        if message:
            self.pipe.send_bytes(message)
        elif words[_ASLEEP] or not _SPINS:
            _ring(self._workers, self.pipe)

    @property
    def done(self) -> bool:
        """Return whether the last order is done."""
        return bool(self._words[_ANSWER] == self._count) and (self._heard or _SPINS)

    def sleeps(self, asleep: bool) -> None:
        """Tell the worker whether it has to ring, if it is the last one."""
        self._words[_PARENT_ASLEEP] = int(asleep)

    def give_up(self) -> None:
        """Take note that the worker is gone, so that no other one leaves the ringing to it."""
        self.gone = True
        self._words[_ORDER] = self._words[_ANSWER]

    @property
    def numbers(self) -> list[int]:
        """Return the file descriptors at which the worker can be heard."""
        own = [] if self.doorbell is None else [self.doorbell.number]
        return [self.pipe.fileno(), *own]

    def read(self, number: int = -1) -> None:
        """Read one message, or take note that the worker rang.

        Args:
            number: Which of `numbers` is readable; the pipe if none of them.

        Raises:
            EOFError: The worker is gone.
            OSError: The worker is gone.
        """
        self._heard = True
        if self.doorbell is not None and number == self.doorbell.number:
            self.doorbell.hush()
            return
        found = self.pipe.recv_bytes()
        if found != WAKE:
            self.message = found

    def close(self) -> None:
        """Give the doorbells back; the pipe belongs to whoever made it."""
        for doorbell in (self._workers, self.doorbell):
            if doorbell is not None:
                doorbell.close()
        self._workers = self.doorbell = None

    def finish(self) -> bytes:
        """Return what the worker said, empty if it only did what was asked.

        Raises:
            EOFError: The worker is gone.
            OSError: The worker is gone.
        """
        while self._words[_SPOKE] and not self.message:
            self.read()
        return self.message


class Ear:
    """Hear workers, all those of a crew."""

    def __init__(self) -> None:
        """Begin with none."""
        self._poller = select.poll()
        self._owners: dict[int, ParentBell] = {}

    def add(self, bell: ParentBell) -> None:
        """Begin to hear a worker."""
        for number in bell.numbers:
            self._owners[number] = bell
            self._poller.register(number, select.POLLIN)

    def remove(self, bell: ParentBell) -> None:
        """Hear a worker no more, whose pipe and doorbell are still open. Safe to call twice."""
        for number in bell.numbers:
            if self._owners.pop(number, None) is not None:
                self._poller.unregister(number)

    def wait(
        self, bells: Sequence[ParentBell], patience_s: float, spin_s: float = 0.0
    ) -> list[ParentBell]:
        """Wait until workers are done, and return those that are gone or took too long.

        Args:
            bells: The workers' bells.
            patience_s: Longest wait [s].
            spin_s: How long to spin [s].
        """
        left = [bell for bell in bells if not bell.done]
        if left and _SPINS and spin_s:
            end = time.perf_counter() + spin_s
            while left and time.perf_counter() < end:
                left = [bell for bell in left if not bell.done]
        if not left:
            return []
        asked = left
        for bell in asked:
            bell.sleeps(True)
        lost = self._sleep(left, patience_s)
        for bell in asked:
            bell.sleeps(False)
        return lost

    def _sleep(self, left: list[ParentBell], patience_s: float) -> list[ParentBell]:
        end = time.perf_counter() + patience_s
        lost: list[ParentBell] = []
        while True:
            _fence()
            left = [bell for bell in left if not bell.done]
            if left:  # seldom, once somebody has rung
                lost += [bell for bell in left if bell.gone]
                left = [bell for bell in left if not bell.gone]
            if not left:
                return lost
            if time.perf_counter() > end:
                return lost + left
            self._listen()

    def _listen(self) -> None:
        """Read what there is to hear, once there is something or some time has passed."""
        for number, _ in self._poller.poll(_LOOK_AGAIN_MS):
            bell = self._owners.get(number)
            if bell is None:
                continue  # removed after another of its numbers
            try:
                bell.read(number)
            except (EOFError, OSError):
                bell.give_up()
                self.remove(bell)


def _ring(doorbell: Doorbell | None, pipe: Connection) -> None:
    if doorbell is None:
        pipe.send_bytes(WAKE)
    else:
        doorbell.ring()


def _fence() -> None:
    """Let no later load overtake an earlier store: a lock is taken with a full barrier."""
    with _FENCE:
        pass

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
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

from simreal.engines.doorbell import Doorbell, Doorbells, Listener

STEP, SAMPLED_STEP, HELD_STEP, RESET, CALL = 1, 2, 3, 4, 5
WAKE, DONE, FAILED = b"w", b"d", b"f"
WORDS = 8  # per worker, a cache line of its own, and as many for the parent at the end
_ORDER, _KIND, _ANSWER, _SPOKE, _ASLEEP = range(5)
_PARENT_ASLEEP = _ASLEEP - WORDS
_LOOK_AGAIN_S = 0.1
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


def num_words(num_workers: int) -> int:
    """Return how many words a crew has.

    Args:
        num_workers: Workers.
    """
    return WORDS * (num_workers + 1)


def own_words(words: memoryview, worker: int) -> memoryview:
    """Return the words of one worker.

    Args:
        words: Those of the crew.
        worker: Index.
    """
    return words[worker * WORDS : (worker + 1) * WORDS]


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
            everybodys: The words of the crew.
            worker: Index of this one.
            pipe: Its pipe.
            spin: How to spin.
            doorbells: What both ends ring; the pipe if None.
        """
        words = own_words(everybodys, worker)
        self._words, self._pipe, self._spin_as = words, pipe, spin
        self._everybodys = everybodys
        self._orders, self._answers = everybodys[_ORDER::WORDS], everybodys[_ANSWER::WORDS]
        self._own: Doorbell | None = None
        self._parents: Doorbell | None = None
        if doorbells is not None:
            self._own, self._parents = doorbells
        self._seen = words[_ORDER]
        self._listener = Listener(_LOOK_AGAIN_S)
        self._listener.add_pipe(pipe.fileno())
        if self._own is not None:
            self._listener.add_doorbell(self._own)

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
                for number, _ in self._listener.heard():
                    heard = True
                    if self._own is None or number != self._own.number:
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
        elif not _SPINS or (self._everybodys[_PARENT_ASLEEP] and self._orders == self._answers):
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

    @property
    def spoke(self) -> bool:
        """Return whether the worker, which is done, said something beside that."""
        return bool(self._words[_SPOKE])

    def give_up(self) -> None:
        """Take note that the worker is gone, so that no other one leaves the ringing to it."""
        self.gone = True
        self._words[_ORDER] = self._words[_ANSWER]
        _fence()

    def hear(self) -> None:
        """Take note that the worker rang."""
        self._heard = True

    def read(self) -> None:
        """Read one message.

        Raises:
            EOFError: The worker is gone.
            OSError: The worker is gone.
        """
        self._heard = True
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
            if self.gone:  # who was stopped in the middle of an answer may have gone on since
                raise OSError("the worker is gone")
            self.read()
        return self.message


class Ear:
    """Hear workers, all those of a crew."""

    def __init__(self, words: memoryview) -> None:
        """Begin with none.

        Args:
            words: Those of the crew.
        """
        self._words = words
        self._orders, self._answers = words[_ORDER::WORDS], words[_ANSWER::WORDS]
        self._spoke = words[_SPOKE::WORDS]
        self._listener = Listener(_LOOK_AGAIN_S)
        self._pipes: dict[int, ParentBell] = {}
        self._doorbells: dict[int, ParentBell] = {}
        self._gone: set[ParentBell] = set()

    def add(self, bell: ParentBell) -> None:
        """Begin to hear a worker."""
        self._pipes[bell.pipe.fileno()] = bell
        self._listener.add_pipe(bell.pipe.fileno())
        if bell.doorbell is not None:
            self._doorbells[bell.doorbell.number] = bell
            self._listener.add_doorbell(bell.doorbell)

    def remove(self, bell: ParentBell) -> None:
        """Hear a worker no more, whose pipe and doorbell are still open. Safe to call twice."""
        self._gone.discard(bell)
        if self._pipes.pop(bell.pipe.fileno(), None) is not None:
            self._listener.remove(bell.pipe.fileno())
            if bell.doorbell is not None:
                del self._doorbells[bell.doorbell.number]
                self._listener.remove(bell.doorbell.number)

    def close(self) -> None:
        """Hear nobody more. Safe to call twice."""
        self._listener.close()

    @property
    def somebody_spoke(self) -> bool:
        """Return whether the last answer of a worker was more than that it is done."""
        return any(self._spoke)

    def wait(
        self, bells: Sequence[ParentBell], patience_s: float, spin_s: float = 0.0
    ) -> list[ParentBell]:
        """Wait until workers are done, and return those that are gone or took too long.

        Args:
            bells: The bells of those that were asked; all others are done with what they were.
            patience_s: Longest wait [s].
            spin_s: How long to spin [s].
        """
        if self._spin(bells, spin_s) or self._sleep(bells, patience_s):
            return [bell for bell in bells if not bell.done] if self._gone else []
        return [bell for bell in bells if not bell.done]

    def _spin(self, bells: Sequence[ParentBell], spin_s: float) -> bool:
        if not spin_s or not _SPINS:
            return False
        end = time.perf_counter() + spin_s
        while not self._all_done(bells):
            if time.perf_counter() > end:
                return False
        return True

    def _sleep(self, bells: Sequence[ParentBell], patience_s: float) -> bool:
        end, late = time.perf_counter() + patience_s, False
        self._words[_PARENT_ASLEEP] = 1
        _fence()
        while not (done := self._all_done(bells)) and not late:
            # Once more after the end, because this process may have been stopped, too.
            late = time.perf_counter() > end
            self._listen()
        self._words[_PARENT_ASLEEP] = 0
        return done

    def _all_done(self, bells: Sequence[ParentBell]) -> bool:
        if _SPINS:
            return self._orders == self._answers
        return all(bell.done or bell.gone for bell in bells)

    def _listen(self) -> None:
        """Read what there is to hear, once there is something or some time has passed."""
        for number, _ in self._listener.heard():
            if number in self._doorbells:
                self._doorbells[number].hear()
            elif number in self._pipes:  # and not removed after its doorbell
                self._read(self._pipes[number])

    def _read(self, bell: ParentBell) -> None:
        try:
            bell.read()
        except (EOFError, OSError):
            bell.give_up()
            self.remove(bell)
            self._gone.add(bell)


def _ring(doorbell: Doorbell | None, pipe: Connection) -> None:
    if doorbell is None:
        pipe.send_bytes(WAKE)
    else:
        doorbell.ring()


def _fence() -> None:
    """Let no later load overtake an earlier store: a lock is taken with a full barrier."""
    with _FENCE:
        pass

"""Tell what is new from what was seen before, and one clock from another.

Networks double, reorder and hold back what they carry, and whoever listens may send it again later.
A frame is used once, in order, or not at all.
"""

from collections import deque

from simreal.deploy.transports.frames import Drop

_WINDOW = 64
_SAMPLES = 8
_MAX_STEP_S = 2e-3


class SequenceWindow:
    """Judge epoch and sequence number of the frames of one kind and one sender."""

    def __init__(self) -> None:
        self._epoch = self._newest = -1
        self._seen = 0  # bit i: newest - i was seen

    def judge(self, epoch: int, seq: int) -> Drop | None:
        """Return why a frame is not newer than all before it; None if it is, and it is kept.

        Args:
            epoch: Its epoch; a higher one begins to count anew.
            seq: Its sequence number.
        """
        if epoch < self._epoch:
            return Drop.REPLAYED
        if epoch > self._epoch:
            self._epoch, self._newest, self._seen = epoch, seq, 1
            return None
        behind = self._newest - seq
        if behind < 0:
            self._seen = (self._seen << min(-behind, _WINDOW) | 1) & (2**_WINDOW - 1)
            self._newest = seq
            return None
        if behind >= _WINDOW or self._seen >> behind & 1:
            return Drop.REPLAYED
        self._seen |= 1 << behind
        return Drop.REORDERED


class ClockSync:
    """Estimate how far the clock of the other side is ahead, from questions and answers.

    The answer to a question carries the other side's time; it was read somewhere between question
    and answer, so the quickest of the last exchanges bounds the offset best (the clock filter of
    NTP, RFC 5905, section 10).

    Attributes:
        offset_s: The other clock minus this one [s].
        uncertainty_s: Half of the quickest round trip [s].
        refused: Exchanges that contradicted the estimate by more than a clock can drift.
    """

    def __init__(self) -> None:
        self.offset_s = self.uncertainty_s = 0.0
        self.refused = 0
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)

    def add(self, asked_s: float, answered_s: float, now_s: float) -> None:
        """Take one exchange.

        A clock that is stepped is not followed: what it stamps is then stale or from the future,
        which is what the controller has to see.

        Args:
            asked_s: When the question left, on this clock [s].
            answered_s: Time in the answer, on the other clock [s].
            now_s: When the answer arrived, on this clock [s].
        """
        trip = now_s - asked_s
        offset = answered_s - 0.5 * (asked_s + now_s)
        if trip < 0.0:
            return
        limit = 0.5 * trip + self.uncertainty_s + _MAX_STEP_S
        if self._samples and abs(offset - self.offset_s) > limit:
            self.refused += 1
            return
        self._samples.append((trip, offset))
        trip, self.offset_s = min(self._samples)
        self.uncertainty_s = 0.5 * trip

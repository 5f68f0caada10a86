"""Being told to stop: Ctrl-C and `SIGTERM` as a flag, so that joints are damped before the end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stopping:
    """Know whether somebody said to stop.

    A plain attribute and not a `threading.Event`, whose lock a second signal would wait for inside
    the handler of the first.
    """

    def __init__(self) -> None:
        """Begin without a word."""
        self.told = False

    def is_set(self) -> bool:
        """Return whether somebody did."""
        return self.told


@contextmanager
def until_interrupted() -> Iterator[Stopping]:
    """Turn `SIGINT` and `SIGTERM` into a flag that is set, as long as the context lasts."""
    stopping = Stopping()

    def tell(*_: object) -> None:
        stopping.told = True

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

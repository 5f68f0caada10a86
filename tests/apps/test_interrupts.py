"""Signals are a flag as long as the context lasts, also when one comes while another is handled."""

import os
import signal

import pytest

from simreal.apps.interrupts import until_interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_flag_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with until_interrupted() as stopping:
        assert not stopping.is_set()
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert stopping.is_set()
    assert signal.getsignal(number) is before


def test_no_handler_takes_a_lock() -> None:
    """A handler that waits for a lock is stuck where a second signal meets it inside."""
    with until_interrupted():
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler)
        assert handler.__code__.co_names == ("told",)  # type: ignore[attr-defined]

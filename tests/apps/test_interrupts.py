"""Signals are a flag as long as the context lasts, also when one comes while another is handled."""

import os
import signal
import subprocess
import sys

import pytest

from simreal.apps.interrupts import until_interrupted

# Sends a second signal at every call that the handler of the first one makes.
_REENTERED = """
import os, signal, sys
from simreal.apps.interrupts import until_interrupted

left = 50

def again(frame, event, arg):
    global left
    if event in ("call", "c_call") and left:
        left -= 1
        os.kill(os.getpid(), signal.SIGTERM)

with until_interrupted() as stopping:
    sys.setprofile(again)
    os.kill(os.getpid(), signal.SIGINT)
    sys.setprofile(None)
    print(left < 50 and stopping.is_set())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_flag_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with until_interrupted() as stopping:
        assert not stopping.is_set()
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert stopping.is_set()
    assert signal.getsignal(number) is before


def test_a_signal_inside_the_handler_of_another_does_not_hang() -> None:
    command = [sys.executable, "-c", _REENTERED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30.0)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr

"""What the system grants is given back, and what it refuses is told in words."""

import gc
import os
import threading

import pytest

from simreal.deploy.realtime import RealTime, is_real_time, quiet_memory
from simreal.errors import ArmError


def test_nothing_asked_is_nothing_refused() -> None:
    with RealTime().granted() as refused:
        assert refused == []


def test_a_processor_is_given_back() -> None:
    before = os.sched_getaffinity(threading.get_native_id())
    one = (min(before),)
    with RealTime(cpus=one).granted():
        assert os.sched_getaffinity(threading.get_native_id()) == set(one)
    assert os.sched_getaffinity(threading.get_native_id()) == before


def test_a_refusal_says_what_to_do() -> None:
    wrong = RealTime(cpus=(9999,))
    with pytest.raises(ArmError, match=r"processors \[9999\]: refused by the system .*run as root"):
        wrong.granted().__enter__()
    with RealTime(cpus=(9999,), required=False).granted() as refused:
        assert len(refused) == 1


@pytest.mark.parametrize("name", ["sched_setscheduler"])
def test_without_rights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(ArmError, match="SCHED_FIFO priority 5: refused by the system"):
        RealTime(priority=5).granted().__enter__()
    assert not is_real_time()


def test_with_rights() -> None:
    asked = RealTime(priority=5, lock_memory=True, required=False)
    with asked.granted() as refused:
        assert is_real_time() is not any("SCHED_FIFO" in line for line in refused)
    assert not is_real_time()


def test_the_collector_is_quiet_and_wakes_up_again() -> None:
    assert gc.isenabled()
    with quiet_memory():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    gc.disable()
    with quiet_memory():
        pass
    assert not gc.isenabled()
    gc.enable()

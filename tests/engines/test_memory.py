"""Closed worlds leave no memory behind, however often they are built."""

import subprocess
import sys

import pytest

from simreal.engines import memory

pytest.importorskip("pybullet")

BUILD_AND_CLOSE = """
from pathlib import Path
from simreal.engines import EngineSpec, engine_class
from simreal_envs.robots import simple_pendulum


def held() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def build(robot, worlds):
    spec = EngineSpec(robot=robot, num_worlds=worlds, tick_s=0.002, ticks=1)
    engine = engine_class("pybullet")(spec)
    most = held()
    engine.close()
    return most


build(simple_pendulum(), 1)
before = held()
most = [build(simple_pendulum(), 16), build(simple_pendulum(), 8)]
print(min(most) - before, held() - before)
"""


@pytest.mark.skipif(memory._TRIM is None, reason="the C library has no malloc_trim")
def test_closed_worlds_give_their_memory_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILD_AND_CLOSE], capture_output=True, text=True, check=True
    )
    most, left = map(float, done.stdout.split()[-2:])
    assert most > 50.0
    assert left < 0.2 * most

"""A checkpoint is worth what another process makes of it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simreal.engines import Engine, EngineSpec, engine_class
from simreal.errors import SimrealError
from tests.engines import sample_robots as robots

ROOT = Path(__file__).resolve().parents[2]
CONTINUE = """
import sys
import numpy as np
from tests.engines import test_new_process as here
engine = here.make(sys.argv[1])
engine.set_state(dict(np.load(sys.argv[2])))
np.save(sys.argv[3], here.drive(engine))
"""


def make(name: str) -> Engine:
    robot = robots.pendulums(damping=0.01, friction=0.05)
    spec = EngineSpec(robot=robot, num_worlds=3, tick_s=0.002, ticks=5, bodies=("arm1",))
    engine = engine_class(name)(spec)
    pos = np.array([[1.0, 0.5], [2.0, -0.3], [3.0, 0.1]])
    engine.reset(np.ones(3, dtype=bool), pos, np.zeros((3, 2)))
    return engine


def drive(engine: Engine) -> np.ndarray:
    state, found = engine.new_state(), []
    for step in range(40):
        engine.step(np.full((5, 3, 2), np.sin(0.3 * step)), np.array([1, 3, 5]))
        engine.read(state)
        found.append(state.buffer.copy())
        engine.sample(state)
        found.append(state.buffer.copy())
    engine.close()
    return np.array(found)


def test_a_state_continues_bit_for_bit_in_a_new_process(engine_name: str, tmp_path: Path) -> None:
    engine = make(engine_name)
    for _ in range(17):
        engine.step(np.full((5, 3, 2), 0.7), np.array([5, 2, 1]))
    np.savez(tmp_path / "state.npz", **engine.get_state())
    wanted = drive(engine)
    arguments = [engine_name, str(tmp_path / "state.npz"), str(tmp_path / "found.npy")]
    command = [sys.executable, "-c", CONTINUE, *arguments]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'envs'}", "PATH": "", "OMP_NUM_THREADS": "1"}
    if "WARP_CACHE_PATH" in os.environ:  # where compiled kernels are
        environment["WARP_CACHE_PATH"] = os.environ["WARP_CACHE_PATH"]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), wanted)


def test_a_state_of_other_worlds_is_refused(engine_name: str) -> None:
    engine = make(engine_name)
    state = {name: array[:1] if array.ndim else array for name, array in engine.get_state().items()}
    with pytest.raises(SimrealError):
        engine.set_state(state)
    engine.close()

"""Build engines for tests, and close them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from simreal.core.robot import Robot
from simreal.engines import Engine, EngineSpec, engine_class, engine_names
from simreal.errors import DependencyError
from tests.engines.annotations import Build, Run


@pytest.fixture(params=engine_names())
def engine_name(request: pytest.FixtureRequest) -> str:
    """Name every engine in turn; those that are not installed are skipped."""
    try:
        engine_class(request.param)
    except DependencyError as error:
        pytest.skip(str(error))
    return request.param


@pytest.fixture
def build() -> Iterator[Build]:
    """Build engines by name, with short defaults, and close them in the end."""
    made: list[Engine] = []

    def make(name: str, robot: Robot, num_worlds: int = 1, **settings: Any) -> Engine:
        settings = {"tick_s": 0.002, "ticks": 5, **settings}
        engine = engine_class(name)(EngineSpec(robot=robot, num_worlds=num_worlds, **settings))
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def run() -> Run:
    """Step an engine under a constant command and record (T, N, J) positions and velocities."""

    def steps(engine: Engine, command: Any, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
        state = engine.new_state()
        shape = (engine.spec.ticks, engine.num_worlds, engine.robot.num_actuators)
        commands = np.ascontiguousarray(np.broadcast_to(np.asarray(command, dtype=float), shape))
        pos, vel = [], []
        for _ in range(num_steps):
            engine.step(commands)
            engine.read(state)
            pos.append(state.joint_pos.copy())
            vel.append(state.joint_vel.copy())
        return np.array(pos), np.array(vel)

    return steps

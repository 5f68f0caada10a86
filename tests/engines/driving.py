"""Put, change and read the worlds of an engine in one line each."""

import numpy as np

from simreal.core.params import DynamicsParams
from simreal.core.state import State
from simreal.engines import Engine, engine_class

WEIGHTLESS = {"gravity": 0.0}


def put(engine: Engine, pos: object, vel: object = 0.0, mask: np.ndarray | None = None) -> None:
    """Reset worlds to joint positions and velocities that broadcast to (N, J)."""
    shape = (engine.num_worlds, engine.robot.num_joints)
    everywhere = np.ones(engine.num_worlds, dtype=bool)
    engine.reset(
        everywhere if mask is None else mask,
        np.array(np.broadcast_to(np.asarray(pos, dtype=float), shape)),
        np.array(np.broadcast_to(np.asarray(vel, dtype=float), shape)),
    )


def params(engine: Engine, **values: object) -> DynamicsParams:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return DynamicsParams(engine.specs, named, engine.num_worlds)


def read(engine: Engine) -> State:
    state = engine.new_state()
    engine.read(state)
    return state


def slack(engine_name: str, double: float, single: float = 1e-6) -> float:
    """Return a tolerance by the precision in which an engine holds its worlds."""
    return single if engine_class(engine_name).dtype is np.float32 else double


def held(engine: Engine, values: object) -> np.ndarray:
    """Return numbers as an engine can hold them, in float64."""
    return np.asarray(values, dtype=engine.dtype).astype(np.float64)

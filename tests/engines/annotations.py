"""Types of the fixtures that the engine tests share."""

from collections.abc import Callable
from typing import Any

import numpy as np

from simreal.engines import Engine

# Engine name, robot, number of worlds, fields of EngineSpec.
Build = Callable[..., Engine]
# Engine, command per tick, world and actuator, number of control steps; gives positions and
# velocities.
Run = Callable[[Engine, Any, int], tuple[np.ndarray, np.ndarray]]

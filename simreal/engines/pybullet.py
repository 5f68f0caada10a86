"""The PyBullet engine: one physics client per world, many worlds in one process.

Bullet holds Python's lock while it steps, so threads gain nothing and several robots in one client are
slower than several clients. What remains is to call it as little as possible: per world and control
step, one motor call and one step per tick, and one batched read. More processes are
`simreal.engines.workers`' business.

Integration is semi-implicit Euler at the tick; joint damping is explicit, dry friction implicit.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from simreal.core.kinematics import reach
from simreal.core.params import DynamicsParams, ParamSpec, link_lengths
from simreal.core.robot import Robot
from simreal.core.rotations import matrix_from_rpy
from simreal.core.state import State
from simreal.engines.base import Capability, Engine, EngineSpec
from simreal.engines.pybullet_params import ParamTable, capability
from simreal.engines.pybullet_world import World, p
from simreal.errors import EngineError, ParameterError, RobotError, unknown_name

_OPTIONS = {"solver_iterations": 50}
_ARRAY_FROM = 4  # from this many motors on, one array call is faster than one call each

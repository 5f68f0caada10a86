"""Physics engines behind one contract. The only package that imports a simulator.

Engines are named, and imported when one is asked for: `make_engine("pybullet", spec)`.
"""

from simreal.engines.base import Capability, Engine, EngineSpec, Health
from simreal.engines.registry import engine_class, engine_names, make_engine

__all__ = [
    "Capability",
    "Engine",
    "EngineSpec",
    "Health",
    "engine_class",
    "engine_names",
    "make_engine",
]

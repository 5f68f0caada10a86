"""Transfer reinforcement learning policies between simulators, and to the robot.

The package root stays empty of work, so that `import simreal` is quick on a robot that has numpy
alone: public names are looked up on first use, and only then is their module imported.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that defines it.
_LAZY: dict[str, str] = {
    "SimrealError": "simreal.errors",
}

__all__ = ["SimrealError", "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use.

    Args:
        name: The attribute that was asked for.

    Raises:
        AttributeError: If `simreal` has no such public name.
    """
    if name not in _LAZY:
        raise AttributeError(f"module 'simreal' has no attribute '{name}'")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_LAZY})

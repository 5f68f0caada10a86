"""Robots and tasks that come with simreal, in a package of their own.

simreal never imports this package: its YAML files name what is here, and the `simreal.plugins`
entry point declares it, exactly as a package of yours would. Importing it registers the
environments with Gymnasium, where that is installed; nothing heavy is imported before one is made.
"""

import importlib.util

if importlib.util.find_spec("gymnasium") is not None:
    from simreal_envs.registration import register_all

    register_all()

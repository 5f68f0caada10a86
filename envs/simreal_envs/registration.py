"""The ids under which Gymnasium knows the environments of this package.

Strings alone: what they name is imported by `gymnasium.make`, so that registering costs nothing.
"""

import gymnasium

_TASKS = {"Pendulum": "pendulum", "Pendubot": "pendubot", "Acrobot": "acrobot"}
_DOMAINS = {"": "pybullet_ideal", "Real": "mujoco_real"}

IDS = {
    f"simreal/{title}{suffix}-v0": {"task": task, "domain": domain}
    for title, task in _TASKS.items()
    for suffix, domain in _DOMAINS.items()
}
"""Id to the arguments of `simreal_envs.environments.make_env`."""


def register_all() -> None:
    """Register every id that is not registered yet."""
    for name, arguments in IDS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name, entry_point="simreal_envs.environments:make_env", kwargs=dict(arguments)
            )

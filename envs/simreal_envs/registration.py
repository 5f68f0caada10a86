"""The ids under which Gymnasium knows the environments of this package.

Strings alone: what they name is imported by `gymnasium.make`, so that registering costs nothing.
"""

import gymnasium

_TASKS = {"Pendulum": "pendulum", "Pendubot": "pendubot", "Acrobot": "acrobot"}
_DOMAINS = {"": "pybullet_ideal", "Real": "mujoco_real"}
_LOCOMOTION = {
    "Hopper": "hopper",
    "Walker2D": "walker2d",
    "HalfCheetah": "half_cheetah",
    "Ant": "ant",
}
_PUBLISHED = {"Bullet": "pybullet_published", "MuJoCo": "mujoco_published"}

IDS = {
    f"simreal/{title}{suffix}-v0": {"task": task, "domain": domain}
    for tasks, domains in ((_TASKS, _DOMAINS), (_LOCOMOTION, _PUBLISHED))
    for title, task in tasks.items()
    for suffix, domain in domains.items()
}
"""Id to the arguments of `simreal_envs.environments.make_env`."""


def register_all() -> None:
    """Register every id that is not registered yet."""
    for name, arguments in IDS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name, entry_point="simreal_envs.environments:make_env", kwargs=dict(arguments)
            )

"""The domains of the registered environments, as `conf/` has them.

Composing a configuration takes a second and needs Hydra, which whoever calls `gymnasium.make` need
not have; a test holds these and the YAML files together.
"""

from simreal.domains import Actuation, Domain, Sensing
from simreal.errors import unknown_name

DOMAINS = ("pybullet_ideal", "mujoco_real", "pybullet_published", "mujoco_published")
_GRAVITY = {"gravity": 9.8}


def domain(name: str) -> Domain:
    """Return a domain by the name of its file in `conf/source` or `conf/target`.

    Args:
        name: `pybullet_ideal`, without friction, rotor inertia, delay or noise; or `mujoco_real`,
            the published friction and rotor inertia, 11 ms command delay, and sensor noise;
            `pybullet_published` or `mujoco_published`, with the gravity of the published locomotion
            environments.

    Raises:
        UnknownNameError: There is no such domain.
    """
    if name == "pybullet_ideal":
        nothing = {kind: {"*": 0.0} for kind in ("joint_friction", "joint_damping", "armature")}
        return Domain(name=name, engine="pybullet", dynamics=nothing)
    if name == "mujoco_real":
        return Domain(
            name=name,
            engine="mujoco",
            sensing=Sensing(joint_pos_noise=0.0002, joint_vel_noise=0.1),
            actuation=Actuation(command_delay=0.011),
        )
    if name in ("pybullet_published", "mujoco_published"):
        return Domain(name=name, engine=name.split("_")[0], dynamics=dict(_GRAVITY))
    raise unknown_name("domain", name, DOMAINS)

"""The two domains of the registered environments, as `conf/` has them.

Composing a configuration takes a second and needs Hydra, which whoever calls `gymnasium.make` need
not have; a test holds these and the YAML files together.
"""

from simreal.domains import Actuation, Domain, Sensing
from simreal.errors import unknown_name

DOMAINS = ("pybullet_ideal", "mujoco_real")


def domain(name: str) -> Domain:
    """Return a domain by the name of its file in `conf/source` or `conf/target`.

    Args:
        name: `pybullet_ideal`, without friction, rotor inertia, delay or noise; or `mujoco_real`,
            the published friction and rotor inertia, 11 ms command delay, and sensor noise.

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
    raise unknown_name("domain", name, DOMAINS)

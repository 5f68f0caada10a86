"""The half cheetah of the Bullet locomotion family: a trunk, a hind leg and a fore leg, in a plane.

Bullet puts the center of mass of every link into its joint, whatever its capsule's center, and
computes the inertia there; the springs of the file do not reach it.
"""

from math import pi

from simreal.core.robot import Joint, Robot, Vec3
from simreal_envs.robots.bullet_family import body, capsule, motors, native, planar_root, single

HEIGHT_M = 0.7  # of the trunk at reset
# At action 1: the family's power of each joint times this robot's 0.9 [Nm].
TORQUE_NM = {
    "bthigh": 108.0,
    "bshin": 81.0,
    "bfoot": 54.0,
    "fthigh": 126.0,
    "fshin": 54.0,
    "ffoot": 27.0,
}
_RADIUS = 0.046
# Link: mass [kg], moments [kg m^2], length, center and turn of its capsule [m, rad].
_LIMBS: dict[str, tuple[float, Vec3, float, tuple[float, float], float]] = {
    "bthigh": (
        2.3355269537212036,
        (0.026652967211981606, 0.043289211762144474, 0.019930894585686074),
        0.29,
        (0.1, -0.13),
        -3.8,
    ),
    "bshin": (
        2.4020031892472424,
        (0.014834623910841841, 0.043925331488187634, 0.032479133422815595),
        0.3,
        (-0.14, -0.07),
        -2.03,
    ),
    "bfoot": (
        10.0,
        (0.07927708076065788, 0.09446023602144789, 0.029289821982292942),
        0.188,
        (0.03, -0.097),
        -0.27,
    ),
    "fthigh": (
        2.1759843846871485,
        (0.024566760558901394, 0.035076196006900914, 0.013579024098597145),
        0.266,
        (-0.07, -0.12),
        0.52,
    ),
    "fshin": (
        1.8170134062463057,
        (0.015169275220180781, 0.023169122181025216, 0.010563047215886386),
        0.212,
        (0.065, -0.09),
        -0.6,
    ),
    "ffoot": (
        10.0,
        (0.05643309656387259, 0.08506240486834088, 0.04273597502597122),
        0.14,
        (0.045, -0.07),
        -0.6,
    ),
}
# Joint, named like its link: parent, place in it (x, z) [m], limits [rad].
_HINGES = {
    "bthigh": ("torso", (-0.5, 0.0), (-0.52, 1.05)),
    "bshin": ("bthigh", (0.16, -0.25), (-0.785, 0.785)),
    "bfoot": ("bshin", (-0.28, -0.14), (-0.4, 0.785)),
    "fthigh": ("torso", (0.5, 0.0), (-1.5, 0.8)),
    "fshin": ("fthigh", (-0.14, -0.24), (-1.2, 1.1)),
    "ffoot": ("fshin", (0.13, -0.18), (-3.1, -0.3)),
}


def half_cheetah() -> Robot:
    """Return the half cheetah as Bullet imports `half_cheetah.xml`.

    Canonical order: rootx, rootz, rooty, bthigh, bshin, bfoot, fthigh, fshin, ffoot.
    """
    torso = body(
        "torso",
        9.45733335583469,
        (0.11850954790425451, 1.5646349198758465, 1.4927563304017173),
        capsule(_RADIUS, 1.0, (0.0, 0.0, 0.0), pi / 2),
        capsule(_RADIUS, 0.3, (0.6, 0.0, 0.1), 0.87),
    )
    links, joints = planar_root(torso, HEIGHT_M)
    limbs = tuple(
        body(name, mass, moments, capsule(_RADIUS, length, (x, 0.0, z), turn))
        for name, (mass, moments, length, (x, z), turn) in _LIMBS.items()
    )
    hinges = tuple(
        Joint(
            name=name,
            kind="revolute",
            parent=parent,
            child=name,
            xyz=(single(x), 0.0, single(z)),
            axis=(0.0, 1.0, 0.0),
            lower=single(low),
            upper=single(high),
        )
        for name, (parent, (x, z), (low, high)) in _HINGES.items()
    )
    return Robot(
        name="half_cheetah",
        links=(*links, *limbs),
        joints=(*joints, *hinges),
        actuators=motors(TORQUE_NM),
        source="pybullet_data 3.2.7, mjcf/half_cheetah.xml, as Bullet imports it",
        native=native(
            "half_cheetah.xml", {"rootx": "ignorex", "rootz": "ignorez", "rooty": "ignorey"}
        ),
    )

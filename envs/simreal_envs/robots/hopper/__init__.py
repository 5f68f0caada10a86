"""The hopper of the Bullet locomotion family: a torso on one leg, in a plane."""

from math import pi

from simreal.core.robot import Joint, Robot
from simreal_envs.robots.bullet_family import body, capsule, motors, native, planar_root, single

TORQUE_NM = 75.0  # at action 1: the family's 100 Nm times this robot's 0.75
# Heights of the joints over the ground at the default pose [m]; the torso turns about the ground.
_TOP, _HIP, _KNEE, _ANKLE = (single(z) for z in (1.45, 1.05, 0.6, 0.1))
_HEEL, _TOE = single(-0.13), single(0.26)
_LEG = (-2.6179940700531006, 0.0)  # [rad]
_FOOT = (-0.7853981852531433, 0.7853981852531433)


def hopper() -> Robot:
    """Return the hopper as Bullet imports `hopper.xml`.

    Canonical order: rootx, rootz, rooty, thigh_joint, leg_joint, foot_joint. The hinge `rooty` lies
    on the ground below the robot, so that `rootz` is 0 where it stands.
    """
    middle = (_TOP + _HIP) / 2, (_HIP + _KNEE) / 2 - _HIP, (_KNEE + _ANKLE) / 2 - _KNEE
    torso = body(
        "torso",
        3.665192295235619,
        (0.11264361102090639, 0.11264361102090639, 0.019792038721966075),
        capsule(0.05, _TOP - _HIP, (0.0, 0.0, middle[0])),
        com=(0.0, 0.0, middle[0]),
    )
    thigh = body(
        "thigh",
        4.057890077863049,
        (0.14517098787635424, 0.14517098787635424, 0.021912606783264114),
        capsule(0.05, _HIP - _KNEE, (0.0, 0.0, middle[1])),
        com=(0.0, 0.0, middle[1]),
    )
    leg = body(
        "leg",
        2.781356678001823,
        (0.10689681448332983, 0.10689681448332983, 0.011867121560890273),
        capsule(0.04, _KNEE - _ANKLE, (0.0, 0.0, middle[2])),
        com=(0.0, 0.0, middle[2]),
    )
    foot = body(
        "foot",
        5.3155743502388155,
        (0.03543716138442669, 0.17191452442281518, 0.17191452442281518),
        capsule(0.06, _TOE - _HEEL, ((_HEEL + _TOE) / 2, 0.0, 0.0), pi / 2),
        com=((_HEEL + _TOE) / 2, 0.0, 0.0),
    )
    links, joints = planar_root(torso, 0.0)

    def hinge(name: str, parent: str, child: str, up: float, limits: tuple[float, float]) -> Joint:
        return Joint(
            name=name,
            kind="revolute",
            parent=parent,
            child=child,
            xyz=(0.0, 0.0, up),
            axis=(0.0, -1.0, 0.0),
            lower=limits[0],
            upper=limits[1],
        )

    return Robot(
        name="hopper",
        links=(*links, thigh, leg, foot),
        joints=(
            *joints,
            hinge("thigh_joint", "torso", "thigh", _HIP, _LEG),
            hinge("leg_joint", "thigh", "leg", _KNEE - _HIP, _LEG),
            hinge("foot_joint", "leg", "foot", _ANKLE - _KNEE, _FOOT),
        ),
        actuators=motors(dict.fromkeys(("thigh_joint", "leg_joint", "foot_joint"), TORQUE_NM)),
        source="pybullet_data 3.2.7, mjcf/hopper.xml, as Bullet imports it",
        native=native("hopper.xml", {"rootx": "ignore1", "rootz": "ignore2", "rooty": "ignore3"}),
    )

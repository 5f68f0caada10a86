"""The walker of the Bullet locomotion family: a torso on two legs, in a plane."""

from math import pi

from simreal.core.robot import Joint, Link, Robot
from simreal_envs.robots.bullet_family import body, capsule, motors, native, planar_root, single

TORQUE_NM, FOOT_TORQUE_NM = 40.0, 12.0  # at action 1: 100 and 30 Nm times this robot's 0.4
# Heights of the joints over the ground at the default pose [m]; the torso turns about the ground.
_TOP, _HIP, _KNEE, _ANKLE = (single(z) for z in (1.45, 1.05, 0.6, 0.1))
_TOE = single(0.2)
_LEG = (-2.6179940700531006, 0.0)  # [rad]
_FOOT = (-0.7853981852531433, 0.7853981852531433)


def walker2d() -> Robot:
    """Return the walker as Bullet imports `walker2d.xml`.

    Canonical order: rootx, rootz, rooty, then thigh, leg and foot of the right and of the left leg.
    The hinge `rooty` lies on the ground below the robot, so that `rootz` is 0 where it stands.
    """
    middle = (_TOP + _HIP) / 2
    torso = body(
        "torso",
        3.665192295235619,
        (0.11264361102090639, 0.11264361102090639, 0.019792038721966075),
        capsule(0.05, _TOP - _HIP, (0.0, 0.0, middle)),
        com=(0.0, 0.0, middle),
    )
    links, joints = planar_root(torso, 0.0)
    limbs = [_limb(side) for side in ("", "_left")]
    torques = {
        joint.name: FOOT_TORQUE_NM if joint.name.startswith("foot") else TORQUE_NM
        for _, hinges in limbs
        for joint in hinges
    }
    return Robot(
        name="walker2d",
        links=(*links, *(link for own, _ in limbs for link in own)),
        joints=(*joints, *(joint for _, own in limbs for joint in own)),
        actuators=motors(torques),
        source="pybullet_data 3.2.7, mjcf/walker2d.xml, as Bullet imports it",
        native=native("walker2d.xml", {"rootx": "ignorex", "rootz": "ignorez", "rooty": "ignorey"}),
    )


def _limb(side: str) -> tuple[tuple[Link, ...], tuple[Joint, ...]]:
    thigh_z, leg_z = (_HIP + _KNEE) / 2 - _HIP, (_KNEE + _ANKLE) / 2 - _KNEE
    thigh = body(
        f"thigh{side}",
        4.057890077863049,
        (0.14517098787635424, 0.14517098787635424, 0.021912606783264114),
        capsule(0.05, _HIP - _KNEE, (0.0, 0.0, thigh_z)),
        com=(0.0, 0.0, thigh_z),
    )
    leg = body(
        f"leg{side}",
        2.781356678001823,
        (0.10689681448332983, 0.10689681448332983, 0.011867121560890273),
        capsule(0.04, _KNEE - _ANKLE, (0.0, 0.0, leg_z)),
        com=(0.0, 0.0, leg_z),
    )
    foot = body(
        f"foot{side}",
        3.1667252667371084,
        (0.02111150121199279, 0.052778754225408356, 0.052778754225408356),
        capsule(0.06, _TOE, (_TOE / 2, 0.0, 0.0), pi / 2),
        com=(_TOE / 2, 0.0, 0.0),
    )

    def hinge(name: str, parent: str, child: str, up: float, limits: tuple[float, float]) -> Joint:
        return Joint(
            name=f"{name}{side}_joint",
            kind="revolute",
            parent=parent,
            child=child,
            xyz=(0.0, 0.0, up),
            axis=(0.0, -1.0, 0.0),
            lower=limits[0],
            upper=limits[1],
        )

    return (thigh, leg, foot), (
        hinge("thigh", "torso", thigh.name, _HIP, _LEG),
        hinge("leg", thigh.name, leg.name, _KNEE - _HIP, _LEG),
        hinge("foot", leg.name, foot.name, _ANKLE - _KNEE, _FOOT),
    )

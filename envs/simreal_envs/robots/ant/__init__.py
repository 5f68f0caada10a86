"""The ant of the Bullet locomotion family: a heavy ball on four legs, free to go anywhere.

The file's axes of the knees have a length of the square root of 2, and Bullet takes them as they
are: it turns the shin by the joint's angle, but counts velocity, torque and inertia along the long
axis. A table cannot say that; its axes have length 1. PyBullet, which loads the file, behaves as
published; on other engines knees answer a torque about as a joint of half the inertia.
"""

from math import atan2, pi, sqrt

from simreal.core.robot import Joint, Link, Robot
from simreal_envs.robots.bullet_family import ball, body, capsule, motors, native, single

TORQUE_NM = 250.0  # at action 1: the family's 100 Nm times this robot's 2.5
HEIGHT_M = 0.75  # of the torso at reset
_FRICTION = 1.5
_SEGMENT, _SHIN = single(0.2), single(0.4)
_HIP = (-0.6981317400932312, 0.6981317400932312)  # [rad]
_NEAR, _FAR = 0.5235987901687622, 1.7453292608261108
_AXIS = 1.0 / sqrt(2.0)
# Leg: name of its foot, direction, axis and limits of its knee.
_LEGS = (
    ("front_left", "front_left_foot", (1, 1), (-1, 1), (_NEAR, _FAR)),
    ("front_right", "front_right_foot", (-1, 1), (1, 1), (-_FAR, -_NEAR)),
    ("left_back", "left_back_foot", (-1, -1), (-1, 1), (-_FAR, -_NEAR)),
    ("right_back", "right_back_foot", (1, -1), (1, 1), (_NEAR, _FAR)),
)


def ant() -> Robot:
    """Return the ant as Bullet imports `ant.xml`.

    Canonical order: hip_1, ankle_1, ..., hip_4, ankle_4, for front left, front right, left back and
    right back. What the file calls an ankle is the knee.
    """
    torso = body(
        "torso", 65.44984694978736, (1.636246173744684,) * 3, ball(0.25), friction=_FRICTION
    )
    legs = [_leg(number, *leg) for number, leg in enumerate(_LEGS, start=1)]
    names = [f"{what}_{number}" for number in range(1, 5) for what in ("hip", "ankle")]
    return Robot(
        name="ant",
        links=(torso, *(link for links, _ in legs for link in links)),
        joints=tuple(joint for _, joints in legs for joint in joints),
        actuators=motors(dict.fromkeys(names, TORQUE_NM)),
        fixed_base=False,
        base_height=HEIGHT_M,
        source="pybullet_data 3.2.7, mjcf/ant.xml, as Bullet imports it",
        native=native("ant.xml", {}),
    )


def _leg(
    number: int,
    name: str,
    foot: str,
    way: tuple[int, int],
    axis: tuple[int, int],
    limits: tuple[float, float],
) -> tuple[tuple[Link, ...], tuple[Joint, ...]]:
    x, y = way
    yaw = atan2(y, x)

    def segment(called: str) -> Link:
        return body(
            called,
            7.83155043240011,
            (0.16394045425561246, 0.16394045425561246, 0.2526980266008083),
            capsule(0.08, sqrt(2.0) * _SEGMENT, _along(way, _SEGMENT / 2), pi / 2, yaw),
            com=_along(way, _SEGMENT / 2),
            friction=_FRICTION,
        )

    shin = body(
        foot,
        13.518440423760284,
        (0.5263179486691557, 0.5263179486691557, 0.9228588731378696),
        capsule(0.08, sqrt(2.0) * _SHIN, _along(way, _SHIN / 2), pi / 2, yaw),
        com=_along(way, _SHIN / 2),
        friction=_FRICTION,
    )
    hip_link, thigh = segment(f"{name}_leg"), segment(f"aux_{number}")
    joints = (
        Joint(name=f"{name}_mount", kind="fixed", parent="torso", child=hip_link.name),
        Joint(
            name=f"hip_{number}",
            kind="revolute",
            parent=hip_link.name,
            child=thigh.name,
            xyz=_along(way, _SEGMENT),
            lower=_HIP[0],
            upper=_HIP[1],
        ),
        Joint(
            name=f"ankle_{number}",
            kind="revolute",
            parent=thigh.name,
            child=foot,
            xyz=_along(way, _SEGMENT),
            axis=(axis[0] * _AXIS, axis[1] * _AXIS, 0.0),
            lower=limits[0],
            upper=limits[1],
        ),
    )
    return (hip_link, thigh, shin), joints


def _along(way: tuple[int, int], size: float) -> tuple[float, float, float]:
    return (way[0] * size, way[1] * size, 0.0)

"""What the robots of the Bullet locomotion family share: ground, root and single precision.

Their tables are what Bullet 3.2.7 imports from the files of `pybullet_data`, since the published
returns rest on that: masses and inertias computed from shapes (of a density of 1000 kg/m^3,
whatever the file says), joints without damping, springs or rotor inertia. PyBullet loads the files
themselves and refuses to start where they differ from the table; every other engine builds from the
table.

Contact friction is Bullet's product of the link's coefficient and the ground's 0.8.
"""

import struct

from simreal.core.native import NativeModel
from simreal.core.robot import Actuator, Joint, Link, Shape, Vec3

GROUND_FRICTION = 0.8
ROOT_JOINTS = ("rootx", "rootz", "rooty")
"""The planar robots stand on two slides and a hinge: forward, up, and pitch about +y."""


def single(value: float) -> float:
    """Return a number as Bullet's importer, which reads in single precision, has it."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def native(model: str, joints: dict[str, str]) -> tuple[NativeModel, ...]:
    """Return how PyBullet loads a robot of this family.

    Args:
        model: File name in `pybullet_data/mjcf`.
        joints: The table's joint name to the file's, where they differ.
    """
    return (
        NativeModel(
            engine="pybullet",
            package="pybullet_data",
            model=f"mjcf/{model}",
            ground="plane_stadium.sdf",
            ground_friction=GROUND_FRICTION,
            ground_restitution=0.5,
            iterations=5,
            contact_erp=0.9,
            joints=joints,
        ),
    )


def planar_root(torso: Link, height: float) -> tuple[tuple[Link, ...], tuple[Joint, ...]]:
    """Return the links and joints from the world to the torso of a robot that moves in a plane.

    Args:
        torso: The torso.
        height: Height of the hinge above the ground while the slides are at 0 [m].
    """
    massless = (Link(name=name, mass=0.0) for name in ("base", "carrier_x", "carrier_z"))
    links = (*massless, torso)
    x, z, y = ROOT_JOINTS
    joints = (
        Joint(
            name=x,
            kind="prismatic",
            parent="base",
            child="carrier_x",
            xyz=(0.0, 0.0, single(height)),
            axis=(1.0, 0.0, 0.0),
        ),
        Joint(name=z, kind="prismatic", parent="carrier_x", child="carrier_z"),
        Joint(name=y, kind="continuous", parent="carrier_z", child="torso", axis=(0.0, 1.0, 0.0)),
    )
    return links, joints


def body(
    name: str,
    mass: float,
    inertia: Vec3,
    *shapes: Shape,
    com: Vec3 = (0.0, 0.0, 0.0),
    friction: float = 0.8,
) -> Link:
    """Return a link of the family.

    Args:
        name: Name in the file.
        mass: As imported [kg].
        inertia: Principal moments as imported (3) [kg m^2]; Bullet has their axes along the link's.
        shapes: What touches.
        com: Center of mass in the link frame (3) [m].
        friction: The link's own coefficient.
    """
    return Link(
        name=name,
        mass=mass,
        com=com,
        inertia=(*inertia, 0.0, 0.0, 0.0),
        shapes=shapes,
        contact_friction=friction * GROUND_FRICTION,
    )


def capsule(
    radius: float, length: float, center: Vec3, pitch: float = 0.0, yaw: float = 0.0
) -> Shape:
    """Return a capsule that touches the ground.

    Args:
        radius: Radius [m].
        length: Length of the cylindrical part [m].
        center: Its center in the link frame (3) [m].
        pitch: Turn about +y of its axis, which is z at 0 [rad].
        yaw: Turn about +z after it [rad].
    """
    return Shape(
        kind="capsule",
        size=(radius, length),
        xyz=center,
        rpy=(0.0, pitch, yaw),
        rgba=(0.8, 0.6, 0.4, 1.0),
        collides=True,
    )


def ball(radius: float) -> Shape:
    """Return a ball around the link's frame that touches the ground.

    Args:
        radius: Radius [m].
    """
    return Shape(kind="sphere", size=(radius,), rgba=(0.8, 0.6, 0.4, 1.0), collides=True)


def motors(torques: dict[str, float]) -> tuple[Actuator, ...]:
    """Return torque motors, joint name to the torque at action 1 [Nm]."""
    return tuple(Actuator(joint=joint, torque_limit=limit) for joint, limit in torques.items())

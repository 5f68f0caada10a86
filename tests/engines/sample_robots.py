"""Small robots with hand-computable dynamics, shared by the engine tests."""

import math

from simreal.core.robot import Actuator, Joint, Link, Robot, Shape

GRAVITY = 9.81
ARM_MASS, ARM_COM, ARM_INERTIA, ARM_LENGTH = (0.5, 0.6), (0.2, 0.25), (0.01, 0.012), 0.2
CART_MASS = 2.0
FOOT_MASS, CARRIAGE_MASS = 3.0, 1.0
_BALL = (0.01, 0.01, 0.01, 0.0, 0.0, 0.0)


def cart(
    *, friction: float = 0.0, damping: float = 0.0, upper: float = 1e9, **motor: float
) -> Robot:
    """Return a mass of 2 kg on a rail along x: `m a = F`. Position control if it has gains."""
    kind = "position" if "kp" in motor else "torque"
    return Robot(
        name="cart",
        links=(Link(name="base", mass=0.0), Link(name="cart", mass=CART_MASS, inertia=_BALL)),
        joints=(
            Joint(
                name="rail",
                kind="prismatic",
                parent="base",
                child="cart",
                axis=(1.0, 0.0, 0.0),
                friction=friction,
                damping=damping,
                lower=-1e9,
                upper=upper,
            ),
        ),
        actuators=(Actuator(joint="rail", torque_limit=1000.0, kind=kind, **motor),),
    )


def gantry() -> Robot:
    """Return three rails, nested, along x, y and z; the second is passive, the motors' order is
    reversed.

    Masses 1, 2, 4 kg: a force on zeta moves 7 kg, one on mid moves 4 kg, and neither moves another
    joint.
    """
    names, axes = ("zeta", "alpha", "mid"), ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0))
    links = [Link(name="base", mass=0.0)]
    joints = []
    for i, (name, axis) in enumerate(zip(names, axes, strict=True)):
        links.append(Link(name=f"body_{name}", mass=float(2**i), inertia=_BALL))
        joints.append(
            Joint(
                name=name,
                kind="prismatic",
                parent=links[i].name,
                child=links[i + 1].name,
                axis=axis,
            )
        )
    motors = (Actuator(joint="mid", torque_limit=50.0), Actuator(joint="zeta", torque_limit=50.0))
    return Robot(name="gantry", links=tuple(links), joints=tuple(joints), actuators=motors)


def pendulums(*, damping: float = 0.0, friction: float = 0.0, count: int = 2) -> Robot:
    """Return a planar pendulum of one or two arms; angles are 0 hanging, positive towards +x."""
    links = [Link(name="base", mass=0.0)]
    joints = []
    for i, name in enumerate(("shoulder", "elbow")[:count]):
        inertia = (ARM_INERTIA[i], ARM_INERTIA[i], ARM_INERTIA[i] / 10, 0.0, 0.0, 0.0)
        com = (0.0, 0.0, -ARM_COM[i])
        links.append(Link(name=f"arm{i}", mass=ARM_MASS[i], com=com, inertia=inertia))
        joints.append(
            Joint(
                name=name,
                kind="continuous",
                parent=links[i].name,
                child=links[i + 1].name,
                xyz=(0.0, 0.0, -ARM_LENGTH * i),
                axis=(0.0, -1.0, 0.0),
                damping=damping,
                friction=friction,
            )
        )
    motors = tuple(Actuator(joint=j.name, torque_limit=6.0) for j in joints)
    return Robot(
        name=f"pendulum{count}", links=tuple(links), joints=tuple(joints), actuators=motors
    )


def flywheel() -> Robot:
    """Return a floating body (3 kg, 0.2 kg m^2) that turns a wheel (1 kg, 0.1 kg m^2) about z."""
    return Robot(
        name="flywheel",
        links=(
            Link(name="body", mass=3.0, inertia=(0.2, 0.2, 0.2, 0.0, 0.0, 0.0)),
            Link(name="wheel", mass=1.0, inertia=(0.1, 0.1, 0.1, 0.0, 0.0, 0.0)),
        ),
        joints=(Joint(name="spin", kind="continuous", parent="body", child="wheel"),),
        actuators=(Actuator(joint="spin", torque_limit=5.0),),
        fixed_base=False,
        base_height=10.0,
    )


def crate(*, friction: float = 0.5, height: float = 0.2) -> Robot:
    """Return a floating box of 2 kg and 0.2 m with a small wheel that is out of the way."""
    box = Shape(kind="box", size=(0.1, 0.1, 0.1), collides=True)
    return Robot(
        name="crate",
        links=(
            Link(
                name="box",
                mass=2.0,
                inertia=(0.0133, 0.0133, 0.0133, 0.0, 0.0, 0.0),
                shapes=(box,),
                contact_friction=friction,
            ),
            Link(name="wheel", mass=0.1, inertia=(1e-4, 1e-4, 1e-4, 0.0, 0.0, 0.0)),
        ),
        joints=(Joint(name="spin", kind="continuous", parent="box", child="wheel"),),
        actuators=(Actuator(joint="spin", torque_limit=1.0),),
        fixed_base=False,
        base_height=height,
    )


def skater(*, friction: float = 0.5) -> Robot:
    """Return a foot of 3 kg that is free along x (with a carriage of 1 kg) and z, resting on the
    ground.

    Sliding decelerates it by `mu * 3 g / 4`.
    """
    sole = Shape(kind="box", size=(0.1, 0.1, 0.05), collides=True)
    return Robot(
        name="skater",
        links=(
            Link(name="base", mass=0.0),
            Link(name="carriage", mass=CARRIAGE_MASS, inertia=_BALL),
            Link(
                name="foot",
                mass=FOOT_MASS,
                inertia=_BALL,
                shapes=(sole,),
                contact_friction=friction,
            ),
        ),
        joints=(
            Joint(
                name="x", kind="prismatic", parent="base", child="carriage", axis=(1.0, 0.0, 0.0)
            ),
            Joint(
                name="z", kind="prismatic", parent="carriage", child="foot", xyz=(0.0, 0.0, 0.05)
            ),
        ),
        actuators=(
            Actuator(joint="x", torque_limit=100.0),
            Actuator(joint="z", torque_limit=100.0),
        ),
    )


def roller() -> Robot:
    """Return a ball of 2 kg, 0.1 m that slides, is lifted, turns about z and rolls about y."""
    names = ("slide", "lift", "turn", "roll")
    kinds = ("prismatic", "prismatic", "continuous", "continuous")
    axes = ((1.0, 0, 0), (0, 0, 1.0), (0, 0, 1.0), (0, 1.0, 0))
    links = [Link(name="base", mass=0.0)]
    joints = []
    for i, name in enumerate(names):
        links.append(Link(name=f"{name}_link", mass=0.2, inertia=(0.002,) * 3 + (0.0,) * 3))
        joints.append(
            Joint(
                name=name,
                kind=kinds[i],
                parent=links[i].name,
                child=links[i + 1].name,
                xyz=(0.0, 0.0, 0.1 if name == "lift" else 0.0),
                axis=axes[i],
            )
        )
    ball = Shape(kind="sphere", size=(0.1,), collides=True)
    links[-1] = Link(
        name="ball",
        mass=2.0,
        inertia=(0.008,) * 3 + (0.0,) * 3,
        shapes=(ball,),
        contact_friction=0.5,
    )
    joints[-1] = Joint(
        name="roll", kind="continuous", parent="turn_link", child="ball", axis=(0.0, 1.0, 0.0)
    )
    motors = tuple(Actuator(joint=name, torque_limit=5.0) for name in names)
    return Robot(name="roller", links=tuple(links), joints=tuple(joints), actuators=motors)


def pendulum_energy(robot: Robot, q: list[float], dq: list[float]) -> float:
    """Return kinetic plus potential energy of the two-arm pendulum at one instant [J]."""
    angle, rate, energy = 0.0, 0.0, 0.0
    x, z, vx, vz = 0.0, 0.0, 0.0, 0.0
    for i in range(robot.num_joints):
        angle, rate = angle + q[i], rate + dq[i]
        sin, cos = math.sin(angle), math.cos(angle)
        cx, cz = vx + ARM_COM[i] * rate * cos, vz + ARM_COM[i] * rate * sin
        energy += 0.5 * ARM_MASS[i] * (cx**2 + cz**2) + 0.5 * ARM_INERTIA[i] * rate**2
        energy += ARM_MASS[i] * GRAVITY * (z - ARM_COM[i] * cos)
        x, z = x + ARM_LENGTH * sin, z - ARM_LENGTH * cos
        vx, vz = vx + ARM_LENGTH * rate * cos, vz + ARM_LENGTH * rate * sin
    return energy


def tumbler() -> Robot:
    """Return a floating body whose off-center, tilted wheel makes it tumble."""
    return Robot(
        name="tumbler",
        links=(
            Link(
                name="body",
                mass=2.0,
                com=(0.05, -0.03, 0.02),
                inertia=(0.02, 0.03, 0.04, 0.0, 0.0, 0.0),
            ),
            Link(name="wheel", mass=1.0, inertia=(0.02, 0.02, 0.03, 0.0, 0.0, 0.0)),
        ),
        joints=(
            Joint(
                name="spin",
                kind="continuous",
                parent="body",
                child="wheel",
                xyz=(0.2, 0.1, 0.0),
                axis=(0.6, 0.0, 0.8),
            ),
        ),
        actuators=(Actuator(joint="spin", torque_limit=5.0),),
        fixed_base=False,
        base_height=1.0,
    )

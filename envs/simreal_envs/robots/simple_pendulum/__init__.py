"""The DFKI torque-limited simple pendulum, from its published parameters.

One motor, a rod and a weight at its end: an open-hardware robot for the first swing-up. The authors
publish a point mass of 0.573 to 0.6755 kg at 0.4 to 0.5 m and viscous damping of 0.1 to 0.35 Nm
s/rad, varying by controller; the record takes 0.6755 kg at 0.5 m and 0.1 Nm s/rad.

- A point mass has no inertia about itself, and a rigid body must have some: the weight is a ball of
  `RADIUS`, `2/5 m R^2` = 1.1e-4 kg m^2, 0.06 % of `m l^2`.
- Their files also carry a Coulomb friction of 1.3 Nm, which cannot be meant at the shaft: it
  exceeds the torque with which their own controllers swing up (0.7 Nm). The energy balance of their
  recorded swing-ups gives 0.1 to 0.2 Nm beside a viscous part far below 0.1; 0.05 Nm beside 0.1 Nm
  s/rad dissipates as much at swing-up speeds.
- No rotor inertia is published for this robot; armature is 0.
"""

from simreal.core.robot import Actuator, Joint, Link, Robot, Shape

GRAVITY = 9.81
LENGTH = 0.5  # shaft to weight [m]
MASS = 0.6755  # [kg]
RADIUS = 0.02  # of the ball that stands for the point mass [m]
DAMPING = 0.1  # [Nm s/rad]
FRICTION = 0.05  # [Nm]
TORQUE_LIMIT = 2.5  # [Nm]; holding the rod level needs 3.3 Nm
_ACROSS = (1.5707963267948966, 0.0, 0.0)  # turns a cylinder's axis from z to y


def simple_pendulum() -> Robot:
    """Return the DFKI simple pendulum.

    It moves in the x-z plane; the joint is 0 when it hangs, and a positive angle moves the weight
    to +x first: `x = l sin(q)`, `z = -l cos(q)`. A task that wants less torque scales its actions.
    """
    ball = 0.4 * MASS * RADIUS**2
    dark, steel, orange = (0.16, 0.17, 0.2, 1.0), (0.72, 0.74, 0.78, 1.0), (0.93, 0.45, 0.13, 1.0)
    stand = (
        Shape(kind="cylinder", size=(0.049, 0.045), xyz=(0.0, 0.06, 0.0), rpy=_ACROSS, rgba=dark),
        Shape(
            kind="box",
            size=(0.02, 0.02, 0.275),
            xyz=(0.0, 0.1, -0.275),
            rgba=(0.45, 0.47, 0.5, 1.0),
        ),
        Shape(
            kind="box", size=(0.12, 0.1, 0.01), xyz=(0.0, 0.1, -0.55), rgba=(0.3, 0.31, 0.34, 1.0)
        ),
    )
    rod = (
        Shape(kind="cylinder", size=(0.006, LENGTH), xyz=(0.0, 0.0, -LENGTH / 2), rgba=steel),
        Shape(kind="cylinder", size=(0.024, 0.02), rpy=_ACROSS, rgba=dark),
        Shape(
            kind="cylinder", size=(0.05, 0.03), xyz=(0.0, 0.0, -LENGTH), rpy=_ACROSS, rgba=orange
        ),
    )
    return Robot(
        name="simple_pendulum",
        links=(
            Link(name="base", mass=0.0, shapes=stand),
            Link(
                name="rod",
                mass=MASS,
                com=(0.0, 0.0, -LENGTH),
                inertia=(ball, ball, ball, 0.0, 0.0, 0.0),
                shapes=rod,
            ),
        ),
        joints=(
            Joint(
                name="shoulder",
                kind="continuous",
                parent="base",
                child="rod",
                axis=(0.0, -1.0, 0.0),
                max_velocity=40.0,
                damping=DAMPING,
                friction=FRICTION,
            ),
        ),
        actuators=(Actuator(joint="shoulder", torque_limit=TORQUE_LIMIT),),
        source="DFKI RIC Underactuated Lab, torque_limited_simple_pendulum",
    )

"""The table of the slider: one prismatic joint, one linear motor."""

from simreal.core.robot import Actuator, Joint, Link, Robot, Shape


def slider(mass: float = 1.0) -> Robot:
    """Return a slider on a rail.

    Args:
        mass: Mass of the slider [kg].
    """
    size = 0.05
    moment = mass * (2 * size) ** 2 / 6.0  # a cube
    return Robot(
        name="slider",
        links=(
            Link(name="rail", mass=0.0, shapes=(Shape(kind="box", size=(1.0, 0.02, 0.02)),)),
            Link(
                name="block",
                mass=mass,
                inertia=(moment, moment, moment, 0.0, 0.0, 0.0),
                shapes=(Shape(kind="box", size=(size, size, size), rgba=(0.9, 0.4, 0.1, 1.0)),),
            ),
        ),
        joints=(
            Joint(
                name="slide",
                kind="prismatic",
                parent="rail",
                child="block",
                axis=(1.0, 0.0, 0.0),
                damping=0.5,
            ),
        ),
        actuators=(Actuator(joint="slide", torque_limit=5.0),),
        source="an example, not a real robot",
    )

"""The DFKI double pendulum, design C.1, from its published parameters.

An open-hardware robot with two quasi-direct-drive motors, the field's benchmark for underactuated
swing-up (pendubot: shoulder driven; acrobot: elbow driven). What the published model states and a
rigid body engine needs differ in three points, which are resolved here and nowhere else:

- The published inertias are about the joints. A body needs them about its center of mass:
  `I_com = I - m r^2`, 0.010949 and 0.009972 kg m^2. Only the moment about the joint axis acts in
  the plane; the other two are those of a slender rod.
- Rotor inertia enters the published mass matrix as `gr^2 Ir` on both joints, `+Ir` on the shoulder
  and `-gr Ir` between them. The record holds the first as armature, 0.0022634 kg m^2. The others
  are left out: `Ir` = 6.3e-5 kg m^2 is 0.04 to 0.14 % of the shoulder's entry, and `gr Ir` = 3.8e-4
  kg m^2 is 0.5 % of the coupling when stretched and 2 % when folded.
- The published Coulomb friction is smoothed, `cf (2/pi) atan(100 v)`. The record holds `cf`, and
  engines use their native dry friction.
"""

from typing import Literal

from simreal.core.robot import Actuator, Joint, Link, Robot, Shape
from simreal.errors import unknown_name

GRAVITY = 9.81
LENGTHS = (0.2, 0.3)  # shoulder to elbow, elbow to tip [m]
TORQUE_LIMIT = 6.0  # [Nm]
GEAR_RATIO = 6.0
_MASS = (0.523460, 0.625568)  # [kg]
_COM = (0.2, 0.255693)  # joint to center of mass [m]
_INERTIA = (0.0318872, 0.0508698)  # about the joint [kg m^2]
_SLENDER = 0.05  # moment about the rod's own axis, as a share of the one across it
# model: rotor inertia before the gear [kg m^2], viscous [Nm s/rad], Coulomb friction [Nm]
_MODELS = {
    "1.0": (6.2872e-5, (0.001, 0.001), (0.16, 0.12)),
    "1.1": (0.0, (0.0, 0.0), (0.0, 0.0)),
}
_STEEL, _DARK, _ORANGE = (0.72, 0.74, 0.78, 1.0), (0.16, 0.17, 0.2, 1.0), (0.93, 0.45, 0.13, 1.0)
_ACROSS = (1.5707963267948966, 0.0, 0.0)  # turns a cylinder's axis from z to y


def double_pendulum(model: Literal["1.0", "1.1"] = "1.0") -> Robot:
    """Return the DFKI double pendulum.

    It moves in the x-z plane; both joints are 0 when it hangs, and a positive angle moves the tip
    to +x first: `x = l1 sin(q1) + l2 sin(q1 + q2)`, `z = -l1 cos(q1) - l2 cos(q1 + q2)`.

    Args:
        model: Published parameter set: 1.0 with friction and rotor inertia, 1.1 without.

    Raises:
        UnknownNameError: There is no such model.
    """
    if model not in _MODELS:
        raise unknown_name("double pendulum model", model, _MODELS)
    rotor, damping, friction = _MODELS[model]
    joints = []
    for i, (name, parent, child) in enumerate(
        (("shoulder", "base", "upper_link"), ("elbow", "upper_link", "lower_link"))
    ):
        joints.append(
            Joint(
                name=name,
                kind="continuous",
                parent=parent,
                child=child,
                xyz=(0.0, 0.0, -LENGTHS[0] * i),
                axis=(0.0, -1.0, 0.0),
                max_velocity=30.0,
                damping=damping[i],
                friction=friction[i],
                armature=GEAR_RATIO**2 * rotor,
            )
        )
    return Robot(
        name="double_pendulum",
        links=(Link(name="base", mass=0.0, shapes=_stand()), _link(0), _link(1)),
        joints=tuple(joints),
        actuators=tuple(Actuator(joint=j.name, torque_limit=TORQUE_LIMIT) for j in joints),
        source=f"DFKI RIC Underactuated Lab, double_pendulum, design C.1, model {model}",
    )


def _link(index: int) -> Link:
    across = _INERTIA[index] - _MASS[index] * _COM[index] ** 2
    return Link(
        name=("upper_link", "lower_link")[index],
        mass=_MASS[index],
        com=(0.0, 0.0, -_COM[index]),
        inertia=(across, across, _SLENDER * across, 0.0, 0.0, 0.0),
        shapes=_arm(LENGTHS[index], 0.0 if index == 0 else -0.03, last=index == 1),
    )


def _arm(length: float, offset: float, *, last: bool) -> tuple[Shape, ...]:
    """Return a slim bar with its motor disc; the last one also has a tip."""
    bar = Shape(
        kind="box",
        size=(0.011, 0.006, length / 2),
        xyz=(0.0, offset, -length / 2),
        rgba=_STEEL if not last else _ORANGE,
    )
    hub = Shape(
        kind="cylinder",
        size=(0.028 if not last else 0.024, 0.02),
        xyz=(0.0, offset, 0.0),
        rpy=_ACROSS,
        rgba=_DARK,
    )
    tip = Shape(kind="sphere", size=(0.02,), xyz=(0.0, offset, -length), rgba=_DARK)
    return (bar, hub, tip) if last else (bar, hub)


def _stand() -> tuple[Shape, ...]:
    """Return the motor at the shoulder and a post behind the plane of motion."""
    return (
        Shape(kind="cylinder", size=(0.049, 0.045), xyz=(0.0, 0.06, 0.0), rpy=_ACROSS, rgba=_DARK),
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

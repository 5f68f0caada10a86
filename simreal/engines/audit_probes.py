"""How to excite a robot so that one dynamics parameter must show, and in which direction.

Every kind of parameter has a probe whose outcome follows from mechanics over a short time:

* drive: from rest, weightless, without dry friction, under constant torque `tau`. The acceleration
  along the torque is `tau' M^-1 tau`, which falls when any mass, inertia or armature grows and
  rises with strength, torque limit and gain.
* coast: weightless, motors off, one joint moving. Damping, dry friction (or a velocity gain)
  shorten its way.
* fall: motors off, tilted by 0.3 rad. The way grows with gravity; center of mass and length change
  it.
* touch: on the ground, motors off or holding, one joint moving. On a fixed base, friction shortens
  its way and restitution lengthens it.
* slide, throw, roll: where a slide can lift the robot, it lands on one link and no other. Only the
  ground pushes the center of mass then: friction shortens its way along the ground, restitution
  throws it higher. What resists rolling and spinning changes some motion.

Joints whose default is near a limit begin in the middle of their range, where they can move.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from simreal.core.params import ParamSpec, catalogue
from simreal.core.robot import Joint, Robot
from simreal.engines.audit_poses import (
    Grounding,
    can_be_lifted,
    felt_inertia,
    free_pose,
    grounding,
    turns_upright,
)
from simreal.engines.base import CONTACT_KINDS, Engine

TICK_S = 0.002
_TILT = 0.3  # [rad]
_SPEED = 1.0  # [rad/s or m/s]
# A bounce below 0.2 m/s is none to Bullet; a skid must outlast what friction takes off it.
_FALL, _SKID = 3.0, 8.0  # [m/s]
MOST_TICKS = 50
_COAST_TICKS, _TOUCH_TICKS, _LANDING_TICKS, _FEWEST_TICKS = 50, 150, 25, 5
_TRAVEL = 0.2  # how far a driven joint may go before the pose matters [rad or m]
# Factors on a nominal value that is not zero, by kind.
_FACTORS = {"link_length": (0.8, 1.0, 1.25)}
_CONTACT_FROM_ZERO = {
    "contact_friction": (0.1, 0.4, 0.8),
    "spinning_friction": (0.0, 0.005, 0.02),
    "rolling_friction": (0.0, 0.005, 0.02),
    "restitution": (0.0, 0.4, 0.8),
}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Describe one short experiment.

    Attributes:
        name: The experiment, with the joint that moves or the link that lands.
        fixed: Parameters held in every world, so that nothing else interferes.
        ground: Whether the robot stands on the ground.
        pos: Initial joint positions (J) [rad or m].
        vel: Initial joint velocities (J) [rad/s or m/s].
        command: What the actuators get throughout (A) [Nm, or rad for position actuators].
        weights: How much each joint's motion counts (J).
        center: Whether the center of mass counts in place of the joints: from start to end, along
            the way that the weights move it at the start.
        signed: Whether motion counts with its sign, or as the way gone.
        num_ticks: Length; None lets the response decide.
        sign: +1 where the motion grows with the parameter, -1 where it shrinks, 0 where neither
            must hold.
    """

    name: str
    pos: np.ndarray
    vel: np.ndarray
    command: np.ndarray
    weights: np.ndarray
    center: bool = False
    fixed: Mapping[str, float] = field(default_factory=dict)
    ground: bool = False
    signed: bool = False
    num_ticks: int | None = None
    travel: float = _TRAVEL
    sign: int = 0

    @property
    def direction(self) -> str:
        """Return the expectation in words."""
        return {1: "more motion", -1: "less motion", 0: "any change"}[self.sign] + f" ({self.name})"


def not_applicable(robot: Robot, param: ParamSpec) -> str:
    """Return why a parameter cannot matter to a robot in any engine, or an empty string.

    Args:
        robot: The robot.
        param: One of its engine parameters.
    """
    if param.kind in CONTACT_KINDS:
        if not any(shape.collides for shape in robot.link(param.target).shapes):
            return "the link has no colliding shape"
        if param.kind == "spinning_friction" and not turns_upright(robot):
            return "no link can turn about the vertical"
        if can_be_lifted(robot) and grounding(robot, param.target) is None:
            return "in every pose tried another link reaches the ground before this one"
    elif param.kind in ("com", "inertia", "link_length") and not _can_rotate(robot, param.target):
        return "the link cannot rotate"
    return ""


def values(robot: Robot, param: ParamSpec) -> np.ndarray:
    """Choose three rising values of a parameter within its bounds (3, k).

    Args:
        robot: The robot; a value that is nominally zero is scaled to its inertia.
        param: The parameter.
    """
    nominal = np.array(param.nominal)
    if param.kind == "com":
        chosen = nominal + 0.02 * np.array([[-1.0], [0.0], [1.0]])
    elif param.kind == "gravity" or np.any(nominal > 0):
        chosen = nominal * np.array(_FACTORS.get(param.kind, (0.5, 1.0, 2.0)))[:, None]
    else:
        chosen = np.outer(_from_zero(robot, param), np.ones(param.size))
    return np.clip(chosen, param.low, param.high)


def probes(robot: Robot, param: ParamSpec, engine: type[Engine]) -> list[Probe]:
    """List the experiments in which a parameter may show, the telling ones first.

    Args:
        robot: The robot.
        param: The parameter.
        engine: Its capabilities decide what can be held fixed.
    """
    bench = _Bench(robot, param, engine)
    if param.kind in CONTACT_KINDS:
        if can_be_lifted(robot):
            place = grounding(robot, param.target)
            return [] if place is None else bench.put_down(place)
        return [bench.touch(index) for index in range(robot.num_joints)]
    if param.kind in ("joint_damping", "joint_friction"):
        return [bench.coast(robot.joint_index(param.target))]
    if param.kind == "kd":
        return [bench.coast(robot.joint_index(param.target), motors=True)]
    if param.kind in ("motor_strength", "torque_limit", "kp"):
        return [bench.drive_one(param)]
    if param.kind == "gravity":
        return [bench.fall(sign=1)]
    if param.kind in ("com", "link_length"):
        return [bench.fall(), bench.drive(sign=0)]
    return [bench.drive(sign=-1), bench.fall()] if robot.actuators else [bench.fall()]


def reflected_inertia(robot: Robot, joint: Joint) -> float:
    """Estimate the inertia that a joint moves, from above [kg m^2 or kg].

    Args:
        robot: The robot.
        joint: One of its movable joints.
    """
    reach = {joint.child: 0.0}
    total = joint.armature
    for below in robot.joints:  # parents come before children
        if below.parent in reach:
            reach[below.child] = reach[below.parent] + float(np.linalg.norm(below.xyz))
    for name, offset in reach.items():
        link = robot.link(name)
        arm = offset + float(np.linalg.norm(link.com))
        rotation = link.mass * arm**2 + max(link.inertia[:3])
        total += link.mass if joint.kind == "prismatic" else rotation
    return total


class _Bench:
    """Build the probes of one parameter."""

    def __init__(self, robot: Robot, param: ParamSpec, engine: type[Engine]) -> None:
        self._robot, self._param, self._engine = robot, param, engine
        self._specs = catalogue(robot)
        self._none = np.zeros(robot.num_joints)
        self._rest = free_pose(robot)

    def drive(self, sign: int) -> Probe:
        """Push with every actuator at once; count the motion along the torques."""
        robot = self._robot
        weights, command = self._none.copy(), np.zeros(robot.num_actuators)
        travel = _TRAVEL
        for i, (actuator, joint) in enumerate(
            zip(robot.actuators, robot.actuated_indices, strict=True)
        ):
            torque = 0.3 * min(actuator.torque_limit, 1e3)
            if actuator.kind == "torque":
                command[i] = torque / max(actuator.strength, 1e-6)
            else:
                gain = max(actuator.strength * actuator.kp, 1e-9)
                offset = min(0.1, torque / gain)
                command[i] = self._rest[joint] + offset
                torque, travel = gain * offset, min(travel, 0.3 * offset)
            weights[joint] = torque
        return Probe(
            name="drive",
            fixed=self._hold("gravity", "joint_friction"),
            pos=self._rest,
            vel=self._none,
            command=command,
            weights=weights / max(weights.max(), 1e-9),
            signed=True,
            travel=travel,
            sign=sign,
        )

    def drive_one(self, param: ParamSpec) -> Probe:
        """Push with one actuator; count the motion of its joint."""
        robot = self._robot
        number = [a.joint for a in robot.actuators].index(param.target)
        actuator, joint = robot.actuators[number], robot.joint_index(param.target)
        highest = values(robot, param)[-1, 0]
        law = {
            "strength": actuator.strength,
            "limit": min(actuator.torque_limit, 1e3),
            "kp": actuator.kp,
        }
        name = {"motor_strength": "strength", "torque_limit": "limit", "kp": "kp"}[param.kind]
        law[name] = highest
        # A limit shows only beyond it, everything else only below.
        torque = law["limit"] * (2.0 if param.kind == "torque_limit" else 0.5)
        gain = law["strength"] * (law["kp"] if actuator.kind == "position" else 1.0)
        offset = torque / max(gain, 1e-9)
        travel = _TRAVEL
        if actuator.kind == "position":
            offset = offset if param.kind == "torque_limit" else min(0.1, offset)
            travel = min(travel, 0.3 * offset)
        command = self._idle()
        command[number] += offset
        return Probe(
            name=f"drive {param.target}",
            fixed=self._hold("gravity", "joint_friction"),
            pos=self._rest,
            vel=self._none,
            command=command,
            weights=self._one(joint),
            signed=True,
            travel=travel,
            sign=1,
        )

    def coast(self, joint: int, *, motors: bool = False) -> Probe:
        """Let one joint move without gravity."""
        off = ("kp",) if motors else ("motor_strength",)
        return Probe(
            name=f"coast {self._robot.joint_names[joint]}",
            fixed=self._hold("gravity", "joint_friction", *off),
            pos=self._rest,
            vel=_SPEED * self._one(joint),
            command=self._idle(),
            weights=self._one(joint),
            num_ticks=_COAST_TICKS,
            sign=-1,
        )

    def fall(self, sign: int = 0) -> Probe:
        """Let go of the tilted robot."""
        tilt = [0.0 if j.kind == "prismatic" else _TILT for j in self._robot.movable]
        lower = [max(j.lower, -1e9) for j in self._robot.movable]
        upper = [min(j.upper, 1e9) for j in self._robot.movable]
        return Probe(
            name="fall",
            fixed=self._hold("joint_friction", "motor_strength"),
            pos=np.clip(self._rest + tilt, lower, upper),
            vel=self._none,
            command=self._idle(),
            weights=np.ones(self._robot.num_joints),
            num_ticks=_COAST_TICKS,
            sign=sign,
        )

    def touch(self, joint: int) -> Probe:
        """Move one joint while the robot is on the ground."""
        sign = 1 if self._param.kind == "restitution" else -1
        return Probe(
            name=f"touch {self._robot.joint_names[joint]}",
            ground=True,
            pos=self._robot.default_pose,
            vel=_SPEED * self._one(joint),
            command=self._idle(),
            weights=self._one(joint),
            num_ticks=_TOUCH_TICKS,
            sign=sign if self._robot.fixed_base else 0,
        )

    def put_down(self, place: Grounding) -> list[Probe]:
        """Move the robot while one of its links is on the ground.

        Args:
            place: Where the link is on the ground.
        """
        kind, count = self._param.kind, self._robot.num_joints
        fall = -_FALL * place.upward
        if kind == "restitution":
            return [self._landing(place, "throw", fall, place.upward, 1)]
        if kind == "contact_friction" and place.level:
            one = self._one(place.level[0])
            return [self._landing(place, "slide", _SKID * one + fall, one, -1)]
        moved = [self._one(joint) for joint in range(count) if not place.upward[joint]]
        return [self._landing(place, "roll", _SPEED * one + fall, one, 0) for one in moved]

    def _landing(
        self, place: Grounding, name: str, vel: np.ndarray, weights: np.ndarray, sign: int
    ) -> Probe:
        return Probe(
            name=f"{name} {self._param.target}",
            ground=True,
            pos=place.pos,
            vel=vel,
            command=self._idle(),
            weights=weights,
            center=sign != 0,
            signed=True,
            num_ticks=_LANDING_TICKS,
            sign=sign,
        )

    def _hold(self, *kinds: str) -> dict[str, float]:
        """Hold some kinds at zero, but for the audited parameter and what is refused."""
        return {
            name: 0.0
            for name, spec in self._specs.items()
            if spec.kind in kinds
            and name != self._param.name
            and self._engine.capability(self._robot, spec).supported
        }

    def _idle(self) -> np.ndarray:
        robot = self._robot
        pairs = zip(robot.actuators, robot.actuated_indices, strict=True)
        return np.array([self._rest[j] if a.kind == "position" else 0.0 for a, j in pairs])

    def _one(self, joint: int) -> np.ndarray:
        return np.eye(self._robot.num_joints)[joint]


def _from_zero(robot: Robot, param: ParamSpec) -> tuple[float, float, float]:
    if param.kind in _CONTACT_FROM_ZERO:
        return _CONTACT_FROM_ZERO[param.kind]
    if param.kind in ("motor_strength", "torque_limit"):
        return (0.0, 0.5, 1.0)
    inertia = reflected_inertia(robot, robot.joint(param.target))
    if param.kind == "armature":
        return (0.0, 0.1 * inertia, 0.3 * inertia)
    if param.kind == "kp":
        return (25.0 * inertia, 50.0 * inertia, 100.0 * inertia)
    if robot.fixed_base:
        index = robot.joint_index(param.target)
        inertia = felt_inertia(robot, index, free_pose(robot))
    # Enough to take a good part of the speed during a coast, not enough to stop it.
    whole = inertia * _SPEED / (_COAST_TICKS * TICK_S)
    return (0.0, 0.1 * whole, 0.4 * whole)


def _can_rotate(robot: Robot, link: str) -> bool:
    if not robot.fixed_base:
        return True
    above = {joint.child: joint for joint in robot.joints}
    while link in above:
        if above[link].kind in ("revolute", "continuous"):
            return True
        link = above[link].parent
    return False


def response_ticks(probe: Probe, first_tick_speed: float) -> int:
    """Return how many ticks a driven probe lasts, so that it stays near its start.

    Args:
        probe: The probe.
        first_tick_speed: Largest joint speed after one tick [rad/s or m/s].
    """
    if probe.num_ticks is not None:
        return probe.num_ticks
    acceleration = max(first_tick_speed / TICK_S, 1e-9)
    return int(
        np.clip(np.sqrt(2 * probe.travel / acceleration) / TICK_S, _FEWEST_TICKS, MOST_TICKS)
    )

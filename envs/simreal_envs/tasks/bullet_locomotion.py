"""The Bullet locomotion family: run along +x, with the published observation, reward and end.

Observations, rewards and terminations are those of `pybullet_envs_gymnasium` 0.6.0, step by step,
with what that package computes by habit:

- link poses are one physics tick old (see `simreal_envs.tasks.gait`);
- contact flags in the observation are those of the control step before, and so are the ones by
  which the half cheetah is judged;
- the ground counts as a part of the robot in the mean position that progress is measured by (that
  package leaves it out until its first reset is over, so the very first reward after building an
  environment differs; from the second episode on there is no difference);
- the feet-collision cost is 0: it is switched off there.

The one thing that differs: the electricity cost takes the action as clipped to [-1, 1], where that
package takes it as given; Stable-Baselines3 clips before either sees it. The time feature, off
unless asked for, adds an entry and an end.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from simreal.core.action import ActionTerm
from simreal.core.observation import Op, Term
from simreal.core.robot import Robot
from simreal.core.task import Array, SignalSpec, StateView, Task
from simreal_envs.robots import ant, half_cheetah, hopper, walker2d
from simreal_envs.tasks.free_gait import FreeGait
from simreal_envs.tasks.gait import Gait, PlanarGait, Stance

SIN_1 = 0.8414709848078965
"""Sine of the pitch of 1 rad, from which the planar robots count as fallen."""
_LIMIT = Op("clip", (-5.0, 5.0))
_LAST = Op("lag", (1,))
_STEP_S, _TICKS = 0.0165, 4


class BulletLocomotion(Task):
    """Walk toward a target a kilometer away.

    The reward of a control step is the sum of

    - `alive`: +1 while the robot is up, else -1,
    - `progress`: distance gained toward the target, divided by the control period [m/s],
    - `electricity`: -2 times the mean of |action times 0.1 joint velocity|, minus 0.1 times the
      mean squared action,
    - `joint_limits`: -0.1 for every joint beyond 99 % of its range,
    - `feet_collision`: 0, as published.

    An episode of 1000 steps ends early when the robot falls. Joints begin within 0.1 rad of 0, the
    rest at its default. Success: up to the end, and at every step of the last second.

    Attributes:
        feet: Links whose contact with the ground is observed.
        gait: Kinematics.
        time_feature: Whether the policy sees the share of the episode that is left, and the time
            limit is an end.
    """

    control_period_s = _STEP_S
    tick_s = _STEP_S / _TICKS
    episode_s = 1000 * _STEP_S
    reward_names = ("alive", "progress", "electricity", "joint_limits", "feet_collision")
    success_window_s = (1000 * _STEP_S - 1.0, 1000 * _STEP_S)
    ground = True
    feet: tuple[str, ...] = ()
    gait: Gait

    def __init__(self, robot: Robot, *, time_feature: bool = False) -> None:
        """Take what the task needs of the robot's table.

        Args:
            robot: The record.
            time_feature: Whether the policy sees the share of the episode that is left, from 1 to
                0, and the time limit is an end like any other, which nothing is bootstrapped
                across (Pardo et al. 2018). The results published in 2020 were made that way.
        """
        self.time_feature = time_feature
        self.robot_names = (robot.name,)
        self.contacts = self.feet
        self.num_draws = robot.num_actuators
        self._first, self._joints = robot.actuated_indices[0], robot.num_joints
        driven = [robot.joint(actuator.joint) for actuator in robot.actuators]
        self._scale = [2.0 / (joint.upper - joint.lower) for joint in driven]
        self._shift = [
            -(joint.upper + joint.lower) / (joint.upper - joint.lower) for joint in driven
        ]

    @abstractmethod
    def alive(self, xp: Any, stance: Stance, contact: Mapping[str, Array]) -> Array:
        """Return whether each robot is up (N,), bool.

        Args:
            xp: Array namespace.
            stance: Where the torso is.
            contact: Contact flags of the control step before.
        """

    def observation(self, robot: Robot) -> tuple[Term, ...]:
        """Return height, heading, velocity and tilt of the torso, joints, and foot contacts."""
        height = (Op("offset", (-self.gait.rest_height,)), _LIMIT)
        terms = [
            Term(name="height", source="base_height", elements=("torso",), ops=height),
            Term(name="bearing_sin", source="bearing", elements=("target",), ops=(Op("sin"),)),
            Term(name="bearing_cos", source="bearing", elements=("target",), ops=(Op("cos"),)),
            Term(
                name="velocity",
                source="base_velocity",
                elements=("forward", "left", "up"),
                ops=(Op("scale", (0.3,)), _LIMIT),
            ),
            Term(name="tilt", source="tilt", elements=("roll", "pitch"), ops=(_LIMIT,)),
        ]
        for actuator, scale, shift in zip(robot.actuators, self._scale, self._shift, strict=True):
            joint = (actuator.joint,)
            place = (Op("scale", (scale,)), Op("offset", (shift,)), _LIMIT)
            speed = (Op("scale", (0.1,)), _LIMIT)
            terms += [
                Term(name=f"pos_{joint[0]}", source="joint_pos", elements=joint, ops=place),
                Term(name=f"vel_{joint[0]}", source="joint_vel", elements=joint, ops=speed),
            ]
        contact = Term(
            name="contact",
            source="foot_contact",
            elements=self.feet,
            ops=(Op("clip", (0.0, 1.0)), _LAST),
            fill="zero",
        )
        time_left = Term(name="time_left", source="time_left", elements=("episode",))
        return (*terms, contact, *((time_left,) if self.time_feature else ()))

    def action(self, robot: Robot) -> tuple[ActionTerm, ...]:
        """Return the torque of every motor, in the order of the joints."""
        return tuple(ActionTerm(joint=a.joint, scale=a.torque_limit) for a in robot.actuators)

    def signals(self, robot: Robot) -> Mapping[str, SignalSpec]:
        """Return the signals of the torso and the feet, which a robot would have to estimate."""
        left = SignalSpec(elements=("episode",), units=("1",))
        return {
            "base_height": SignalSpec(elements=("torso",), units=("m",)),
            "bearing": SignalSpec(elements=("target",), units=("rad",)),
            "base_velocity": SignalSpec(
                elements=("forward", "left", "up"), units=("m/s", "m/s", "m/s")
            ),
            "tilt": SignalSpec(elements=("roll", "pitch"), units=("rad", "rad")),
            "foot_contact": SignalSpec(elements=self.feet, units=("1",) * len(self.feet)),
            **({"time_left": left} if self.time_feature else {}),
        }

    def derive(self, xp: Any, measured: StateView) -> Mapping[str, Array]:
        """Return the signals of the torso and the feet."""
        signals = self.gait.signals(xp, measured)
        flags = [measured.contact[foot] for foot in self.feet]
        signals["foot_contact"] = flags[0][:, None] if len(flags) == 1 else xp.stack(flags, axis=1)
        if self.time_feature:
            signals["time_left"] = (1.0 - measured.time / self.episode_s)[:, None]
        return signals

    def reward(
        self,
        xp: Any,
        previous: StateView,
        current: StateView,
        action: Array,
        previous_action: Array,
    ) -> tuple[Array, ...]:
        """Return the five terms of the class description."""
        stance = self.gait.stance(xp, current)
        gained = self.gait.to_go(xp, previous) - stance.to_go
        up = self.alive(xp, stance, previous.contact)
        place = current.joint_pos[:, self._first :] * self._row(xp, current, self._scale)
        place = place + self._row(xp, current, self._shift)
        power = xp.abs(action * current.joint_vel[:, self._first :])
        count = 1.0 / self.num_draws
        effort = xp.sum(power, axis=1) * (-0.2 * count)
        effort = effort - xp.sum(action * action, axis=1) * (0.1 * count)
        at_limit = xp.sum(xp.where(xp.abs(place) > 0.99, -0.1, 0.0 * place), axis=1)
        nothing = 0.0 * effort
        return (
            xp.where(up, 1.0, nothing - 1.0),
            gained / self.control_period_s,
            effort,
            at_limit,
            nothing,
        )

    def terminated(self, xp: Any, state: StateView) -> Array | None:
        """Return which robots have fallen, or whose time is over if that is an end (N,)."""
        fallen = ~self.alive(xp, self.gait.stance(xp, state), state.contact)
        return fallen | self._time_is_over(state) if self.time_feature else fallen

    def success(self, xp: Any, state: StateView) -> Array:
        """Return whether the robot is up (N,), bool."""
        return self.alive(xp, self.gait.stance(xp, state), state.contact)

    def initial(self, xp: Any, draws: Array, explore: float) -> tuple[Array, Array]:
        """Return driven joints within 0.1 rad of 0, at rest; the root stands at its default."""
        root = xp.zeros_like(draws[:, :1])
        spread = 0.2 * draws - 0.1
        position = xp.concat([root] * self._first + [spread], axis=1)
        return position, 0.0 * position

    def _time_is_over(self, state: StateView) -> Any:
        return state.time > self.episode_s - 0.5 * self.tick_s

    @staticmethod
    def _row(xp: Any, state: StateView, values: list[float]) -> Array:
        pos = state.joint_pos
        return xp.asarray([values], dtype=pos.dtype, device=pos.device)


class _Upright(BulletLocomotion):
    """Be up while the torso is above 0.8 m and pitched by less than 1 rad."""

    def alive(self, xp: Any, stance: Stance, contact: Mapping[str, Array]) -> Array:
        """Return whether each robot is up (N,), bool."""
        return (stance.height > 0.8) & (xp.abs(stance.sin_pitch) < SIN_1)


class HopperBullet(_Upright):
    """Hop on one leg."""

    name = "hopper"
    feet = ("foot",)

    def __init__(self, *, time_feature: bool = False) -> None:
        """Take the robot's table."""
        robot = hopper()
        super().__init__(robot, time_feature=time_feature)
        self.gait = PlanarGait(robot, self.tick_s)


class Walker2DBullet(_Upright):
    """Walk on two legs."""

    name = "walker2d"
    feet = ("foot", "foot_left")

    def __init__(self, *, time_feature: bool = False) -> None:
        """Take the robot's table."""
        robot = walker2d()
        super().__init__(robot, time_feature=time_feature)
        self.gait = PlanarGait(robot, self.tick_s)


class HalfCheetahBullet(BulletLocomotion):
    """Run on the feet alone; falling costs, and ends nothing."""

    name = "half_cheetah"
    feet = ("ffoot", "fshin", "fthigh", "bfoot", "bshin", "bthigh")
    _limbs = ("fshin", "fthigh", "bshin", "bthigh")

    def __init__(self, *, time_feature: bool = False) -> None:
        """Take the robot's table."""
        robot = half_cheetah()
        super().__init__(robot, time_feature=time_feature)
        self.gait = PlanarGait(robot, self.tick_s)

    def alive(self, xp: Any, stance: Stance, contact: Mapping[str, Array]) -> Array:
        """Return whether pitch is within 1 rad and no shin or thigh touched the ground (N,)."""
        touched = sum(contact[limb] for limb in self._limbs)
        return (xp.abs(stance.sin_pitch) < SIN_1) & (touched == 0.0)

    def terminated(self, xp: Any, state: StateView) -> Array | None:
        """Return None, as it never ends early; with the time feature, whose time is over (N,)."""
        return self._time_is_over(state) if self.time_feature else None


class AntBullet(BulletLocomotion):
    """Walk on four legs."""

    name = "ant"
    feet = ("front_left_foot", "front_right_foot", "left_back_foot", "right_back_foot")

    def __init__(self, *, time_feature: bool = False) -> None:
        """Take the robot's table."""
        robot = ant()
        super().__init__(robot, time_feature=time_feature)
        self.gait = FreeGait(robot, self.tick_s)

    def alive(self, xp: Any, stance: Stance, contact: Mapping[str, Array]) -> Array:
        """Return whether the torso, a ball of 0.25 m, is above 0.26 m (N,), bool."""
        return stance.height > 0.26

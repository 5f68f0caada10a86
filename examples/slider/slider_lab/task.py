"""Move the slider to the middle of the rail and stop there."""

from typing import Any

from simreal.core.action import ActionTerm
from simreal.core.observation import Op, Term
from simreal.core.robot import Robot
from simreal.core.task import Array, StateView, Task


class SlideToMark(Task):
    """Start up to 0.5 m away, be within 0.05 m of the mark during the last second."""

    name = "slide_to_mark"
    control_period_s = 0.02
    tick_s = 0.004
    episode_s = 4.0
    reward_names = ("distance", "speed")
    success_window_s = (3.0, 4.0)
    num_draws = 1
    robot_names = ("slider",)

    def observation(self, robot: Robot) -> tuple[Term, ...]:
        """Return position and velocity, two frames of each."""
        names = robot.joint_names
        return (
            Term(name="position", source="joint_pos", elements=names, history=2),
            Term(name="speed", source="joint_vel", elements=names, ops=(Op("scale", (0.5,)),)),
        )

    def action(self, robot: Robot) -> tuple[ActionTerm, ...]:
        """Return a force of up to 5 N."""
        return (ActionTerm(joint="slide", scale=5.0),)

    def reward(
        self,
        xp: Any,
        previous: StateView,
        current: StateView,
        action: Array,
        previous_action: Array,
    ) -> tuple[Array, ...]:
        """Return minus the distance to the mark [m], and a penalty of speed."""
        position, speed = current.joint_pos[:, 0], current.joint_vel[:, 0]
        return -xp.abs(position), -0.02 * speed * speed

    def success(self, xp: Any, state: StateView) -> Array:
        """Return whether the slider is within 0.05 m of the mark."""
        return xp.abs(state.joint_pos[:, 0]) < 0.05

    def initial(self, xp: Any, draws: Array, explore: float) -> tuple[Array, Array]:
        """Return rest, up to 0.5 m away."""
        position = draws - 0.5
        return position, xp.zeros_like(position)

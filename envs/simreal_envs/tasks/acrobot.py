"""Swing-up and balance of the double pendulum with the motor at the elbow alone.

Harder than the pendubot: near upright the torque acts on the shoulder only through the elbow's
reaction, so a policy has to weigh four numbers against each other whose sum is small while each of
them is large. What that asks for:

- An observation whose entries keep their proportion. Sine and speed of each joint are scaled so
  that a unit of each calls for 8 to 10 Nm near upright, and they are not clipped within what the
  joints do: of a clipped term and one that is not, no sum says anything. A learned normalizer
  would undo the scale, which is why the task has none (`normalize`).
- A reward that knows which of the states near upright a motor at the elbow can still save: the
  least cost of bringing it upright, from the theory of linear control.
- Training starts along whole swing-ups, from their end to their beginning.

Success is the same as the pendubot's: the tip above 0.45 m of 0.5 m from second 8 to second 10.
"""

import functools
import math
from typing import Any

import numpy as np

from simreal.core.observation import LAST_ACTION, Op, Term
from simreal.core.robot import Robot
from simreal.core.task import Array, StateView
from simreal_envs.robots import double_pendulum
from simreal_envs.tasks.acrobot_model import AcrobotModel, cost_to_go, reachable_states
from simreal_envs.tasks.double_pendulum import DoublePendulumSwingUp

_PI = 3.141592653589793
_STATE_COST = (1.0, 1.0, 0.1, 0.1)  # shoulder, elbow [1/rad^2], their velocities [s^2/rad^2]
_TORQUE_COST = 1.0  # [1/(Nm)^2]
_NEAR, _FAR = 0.1, 1e4  # cost-to-go well inside what 6 Nm saves, and of hanging [s]
_NUM_STARTS = 8192


@functools.cache
def _computed(torque_nm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix of the cost-to-go (4, 4) and training starts (8192, 4)."""
    model = AcrobotModel.of(double_pendulum())
    matrix = cost_to_go(model, _STATE_COST, _TORQUE_COST)
    return matrix, reachable_states(model, matrix, torque_nm, 3.0, _NUM_STARTS)


class Acrobot(DoublePendulumSwingUp):
    """Drive the elbow, leave the shoulder passive.

    Observation, three frames of each: `8 sin q1`, `4 sin q2`, `cos q1`, `cos q2`, `2 dq1` and `dq2`
    with dq in rad/s, both clipped at 60, and the last three actions.

    With `V = x' S x` the cost-to-go of the state x, angles within half a turn of upright, and `h`
    the height of the tip over the pivot divided by its largest value, the reward of a control step
    is the sum of

    - `cost_to_go`: `0.1 (1 - log(1 + V / 0.1) / log(1 + 1e4 / 0.1))`, at least 0: 0.1 upright, 0
      hanging, and about 0.02 more for each time that V is ten times smaller. S solves the
      linear-quadratic problem with weights 1, 1, 0.1, 0.1 of x and 1 of the torque in Nm, for the
      robot's record without friction and rotor inertia.
    - `height`: `0.02 (1 + h) / 2`, a slope toward the top where the linear theory says little.

    In training a share `explore` of the episodes begins at a state from which upright can be
    reached within 3 s (`reachable_states`), the others hanging, and all are cut after 1.5 s, which
    is bootstrapped across.
    """

    name = "acrobot"
    driven = "elbow"
    normalize = False
    train_episode_s = 1.5
    reward_names = ("cost_to_go", "height")

    def __init__(
        self,
        *,
        torque_nm: float = 6.0,
        explore: float = 0.7,
        sin_scale: tuple[float, ...] = (8.0, 4.0),
        speed_scale: tuple[float, ...] = (0.5, 1.0),
    ) -> None:
        """Set the torque limit of 6 Nm of the published benchmark.

        Args:
            torque_nm: Torque at action 1 [Nm].
            explore: Share of the training episodes that begin at a state along a swing-up.
            sin_scale: What the sine of each joint's angle is multiplied with (J).
            speed_scale: Velocity of each joint that reads as 1 (J) [rad/s].
        """
        super().__init__(torque_nm=torque_nm, explore=explore, speed_scale=speed_scale)
        self.sin_scale = sin_scale
        self._matrix, self._starts = _computed(torque_nm)

    def observation(self, robot: Robot) -> tuple[Term, ...]:
        """Return the terms that the class describes."""
        joints, frames = robot.joint_names, self.history
        limit = Op("clip", (-60.0, 60.0))

        def term(name: str, source: str, elements: tuple[str, ...], *ops: Op) -> Term:
            return Term(name=name, source=source, elements=elements, ops=ops, history=frames)

        return (
            *(
                term(f"sin_{joint}", "joint_pos", (joint,), Op("sin"), Op("scale", (scale,)))
                for joint, scale in zip(joints, self.sin_scale, strict=True)
            ),
            term("cos", "joint_pos", joints, Op("cos")),
            *(
                term(f"speed_{joint}", "joint_vel", (joint,), Op("scale", (1 / unit,)), limit)
                for joint, unit in zip(joints, self.speed_scale, strict=True)
            ),
            Term(
                name="last_action",
                source=LAST_ACTION,
                elements=(self.driven,),
                history=frames,
                fill="zero",
            ),
        )

    def reward(
        self,
        xp: Any,
        previous: StateView,
        current: StateView,
        action: Array,
        previous_action: Array,
    ) -> tuple[Array, ...]:
        """Return the two terms of the class description."""
        missing = xp.log1p(self._cost_to_go(xp, current) / _NEAR) / math.log1p(_FAR / _NEAR)
        return (
            0.1 * xp.clip(1.0 - missing, 0.0, None),
            0.01 * (1.0 + self.height(xp, current)),
        )

    def _cost_to_go(self, xp: Any, state: StateView) -> Array:
        """Return x' S x (N,)."""
        pos, vel = state.joint_pos, state.joint_vel
        x = [pos[:, 0] - _PI, pos[:, 1], vel[:, 0], vel[:, 1]]
        for angle in range(2):  # within half a turn of upright
            x[angle] = x[angle] - 2.0 * _PI * xp.floor(x[angle] / (2.0 * _PI) + 0.5)
        total = 0.0
        for i, row in enumerate(self._matrix.tolist()):
            inner = row[i] * x[i]
            for j in range(i + 1, 4):
                inner = inner + 2.0 * row[j] * x[j]
            total = total + x[i] * inner
        return total

    def initial(self, xp: Any, draws: Array, explore: float) -> tuple[Array, Array]:
        """Return hanging states, a share `explore` of them replaced by states along swing-ups."""
        position, velocity = super().initial(xp, draws, 0.0)
        if explore == 0.0:
            return position, velocity
        row = xp.asarray(xp.floor(draws[:, 1] * len(self._starts)), dtype=xp.int64)
        columns = [
            xp.asarray(column, dtype=draws.dtype, device=draws.device)[row]
            for column in self._starts.T
        ]
        explores = draws[:, :1] < explore
        # Where episodes explore, the hanging start is spread wider as well.
        wider = 0.1 / self.start_spread
        return (
            xp.where(explores, xp.stack(columns[:2], axis=1), wider * position),
            xp.where(explores, xp.stack(columns[2:], axis=1), wider * velocity),
        )

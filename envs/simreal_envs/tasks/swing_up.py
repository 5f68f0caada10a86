"""What the swing-up tasks share: observation of shaft angles, shaped reward, initial states.

Observation, per control step, of every joint: `sin q`, `cos q` and `dq / speed_scale` clipped to
+-3. Three frames are stacked, and the last three actions, because a command delay cannot be told
from the present state alone. Shaft angles are unwrapped, and only their sine and cosine are seen,
so no entry jumps at half a turn.
"""

from abc import abstractmethod
from typing import Any

from simreal.core.action import ActionTerm
from simreal.core.observation import LAST_ACTION, Op, Term
from simreal.core.robot import Robot
from simreal.core.task import Array, StateView, Task
from simreal.errors import ConfigError

_PI = 3.141592653589793


class SwingUp(Task):
    """Swing a pendulum chain from hanging to upright and keep it there.

    With `h` the height of the tip over the pivot divided by its largest value, and `w2` the sum of
    squared joint velocities [rad^2/s^2], the reward of a control step is the sum of

    - `height`: `0.05 (1 + h) / 2`, a slope toward the top,
    - `upright`: `0.15 exp(-sqrt(2 (1 - h) + w2 / 100) / 0.5)`, narrow, for rest at the top,
    - `speed`: `-5e-5 min(w2, 400)`, against spinning,
    - `effort`: `-0.001 a^2`, with the action a in [-1, 1],
    - `smoothness`: `-0.002 (a - a_previous)^2`, against chatter.

    Episodes last 10 s and never end early; in training they are cut after 5 s, which is
    bootstrapped across.
    """

    control_period_s = 0.01
    tick_s = 0.002
    episode_s = 10.0
    train_episode_s = 5.0
    reward_names: tuple[str, ...] = ("height", "upright", "speed", "effort", "smoothness")
    success_window_s = (8.0, 10.0)
    history = 3

    def __init__(
        self,
        *,
        torque_nm: float,
        explore: float,
        speed_scale: tuple[float, ...],
        start_spread: float = 0.02,
    ) -> None:
        """Set what the variants differ in.

        Args:
            torque_nm: Torque at action 1 [Nm].
            explore: Share of the training episodes that begin at a random state.
            speed_scale: Velocity of each joint that reads as 1 (J) [rad/s].
            start_spread: Half width of the uniform spread of angles [rad] and velocities [rad/s] at
                the start of an evaluation.

        Raises:
            ConfigError: A number is out of its range.
        """
        if not torque_nm > 0:
            raise ConfigError(f"torque_nm is {torque_nm}; a torque > 0 Nm is needed")
        if not 0.0 <= explore <= 1.0:
            raise ConfigError(f"explore is {explore}; a share from 0 to 1 is needed")
        if len(speed_scale) != self.num_joints or not all(v > 0 for v in speed_scale):
            raise ConfigError(
                f"speed_scale is {speed_scale}; {self.num_joints} speeds > 0 rad/s are needed"
            )
        if not 0.0 <= start_spread <= 0.5:
            raise ConfigError(f"start_spread is {start_spread}; 0 to 0.5 rad is allowed")
        self.torque_nm = torque_nm
        self.explore = explore
        self.speed_scale = speed_scale
        self.start_spread = start_spread
        self.num_draws = 2 + 2 * self.num_joints

    num_joints: int
    driven: str

    @abstractmethod
    def height(self, xp: Any, state: StateView) -> Array:
        """Return the height of the tip over the pivot as a share of the largest (N,), -1 to 1."""

    def observation(self, robot: Robot) -> tuple[Term, ...]:
        """Return the terms that the module describes."""
        joints, frames = robot.joint_names, self.history

        def term(name: str, source: str, elements: tuple[str, ...], *ops: Op) -> Term:
            return Term(name=name, source=source, elements=elements, ops=ops, history=frames)

        limit = Op("clip", (-3.0, 3.0))
        speeds = (
            term(f"speed_{joint}", "joint_vel", (joint,), Op("scale", (1 / unit,)), limit)
            for joint, unit in zip(joints, self.speed_scale, strict=True)
        )
        return (
            term("sin", "joint_pos", joints, Op("sin")),
            term("cos", "joint_pos", joints, Op("cos")),
            *speeds,
            Term(
                name="last_action",
                source=LAST_ACTION,
                elements=(self.driven,),
                history=frames,
                fill="zero",
            ),
        )

    def action(self, robot: Robot) -> tuple[ActionTerm, ...]:
        """Return the torque of the one driven joint."""
        return (ActionTerm(joint=self.driven, scale=self.torque_nm),)

    def reward(
        self,
        xp: Any,
        previous: StateView,
        current: StateView,
        action: Array,
        previous_action: Array,
    ) -> tuple[Array, ...]:
        """Return the five terms of the class description."""
        height = self.height(xp, current)
        speed2 = self._speed2(current)
        distance = xp.sqrt(xp.clip(2.0 * (1.0 - height), 0.0, None) + speed2 / 100.0)
        torque = action[:, 0]
        change = torque - previous_action[:, 0]
        return (
            0.025 * (1.0 + height),
            0.15 * xp.exp(-2.0 * distance),
            -5e-5 * xp.clip(speed2, None, 400.0),
            -0.001 * torque * torque,
            -0.002 * change * change,
        )

    def _speed2(self, state: StateView) -> Array:
        """Return the sum of squared joint velocities (N,) [rad^2/s^2]."""
        speed = state.joint_vel
        total = speed[:, 0] * speed[:, 0]
        for joint in range(1, self.num_joints):  # column by column: they are few and rows many
            total = total + speed[:, joint] * speed[:, joint]
        return total

    def initial(self, xp: Any, draws: Array, explore: float) -> tuple[Array, Array]:
        """Return hanging states, a share `explore` of them replaced.

        Half of the replaced ones are anywhere within half a turn and +-5 rad/s, half are within
        0.45 rad and 1.75 rad/s of the upright rest.
        """
        joints = self.num_joints
        angle = 2.0 * draws[:, 2 : 2 + joints] - 1.0
        speed = 2.0 * draws[:, 2 + joints :] - 1.0
        explores = draws[:, :1] < explore
        near_top = draws[:, 1:2] < 0.5
        # Where episodes explore, the hanging start is spread a little wider as well.
        spread = self.start_spread if explore == 0.0 else 0.1
        top = xp.asarray([[_PI] + [0.0] * (joints - 1)], dtype=draws.dtype)
        position = xp.where(near_top, top + 0.45 * angle, _PI * angle)
        velocity = xp.where(near_top, 1.75 * speed, 5.0 * speed)
        position = xp.where(explores, position, spread * angle)
        velocity = xp.where(explores, velocity, spread * speed)
        return position, velocity

"""A cart, a task and an engine that can be computed by hand, shared by the domain tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from simreal.core.action import ActionTerm
from simreal.core.observation import LAST_ACTION, Term
from simreal.core.params import DynamicsParams, ParamSpec
from simreal.core.robot import Robot
from simreal.core.state import State
from simreal.core.task import Array, StateView, Task
from simreal.engines.base import Capability, Engine, EngineSpec
from tests.engines.sample_robots import CART_MASS

TICK, TICKS = 0.002, 5
PERIOD = TICK * TICKS


class Reach(Task):
    """Push a cart beyond 0.5 m: ten steps of 10 ms, success from the fifth to the tenth."""

    name = "reach"
    control_period_s, tick_s = PERIOD, TICK
    episode_s = 0.1
    reward_names = ("place", "effort")
    success_window_s = (0.05, 0.1)
    num_draws = 1
    explore = 0.5
    history = 2
    limit: float | None = None

    def observation(self, robot: Robot) -> tuple[Term, ...]:
        joints = robot.joint_names
        return (
            Term(name="pos", source="joint_pos", elements=joints, history=self.history),
            Term(name="vel", source="joint_vel", elements=joints),
            Term(name="act", source=LAST_ACTION, elements=joints, history=2, fill="zero"),
        )

    def action(self, robot: Robot) -> tuple[ActionTerm, ...]:
        return (ActionTerm(joint=robot.joint_names[0], scale=4.0),)

    def reward(
        self, xp: Any, previous: StateView, current: StateView, action: Array, last: Array
    ) -> tuple[Array, ...]:
        return (current.joint_pos[:, 0] - previous.joint_pos[:, 0], -action[:, 0] * action[:, 0])

    def success(self, xp: Any, state: StateView) -> Array:
        return state.joint_pos[:, 0] > 0.5

    def initial(self, xp: Any, draws: Array, explore: float) -> tuple[Array, Array]:
        return draws, xp.zeros_like(draws)

    def terminated(self, xp: Any, state: StateView) -> Array | None:
        return None if self.limit is None else state.joint_pos[:, 0] > self.limit


class FakeEngine(Engine):
    """Move a cart of `CART_MASS` by semi-implicit Euler, and keep what it was asked.

    Attributes:
        schedules: Commands of every control step (K, N, A).
        applied: Parameter to its present values.
        break_next: Worlds whose state the next step turns into NaN.
    """

    name = "fake"

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        self.schedules: list[np.ndarray] = []
        self.applied: dict[str, np.ndarray] = {}
        self.break_next: list[int] = []
        self.closed = False
        self._now, self._sampled = self.new_state(), self.new_state()

    @classmethod
    def capability(cls, robot: Robot, param: ParamSpec) -> Capability:
        return Capability(True, "by hand")

    def reset(self, mask: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray) -> None:
        self._now.joint_pos[mask] = joint_pos[mask]
        self._now.joint_vel[mask] = joint_vel[mask]
        self._now.time[mask] = 0.0
        self._sampled.copy_from(self._now, mask)

    def step(self, commands: np.ndarray, sample_tick: np.ndarray | None = None) -> None:
        self.schedules.append(np.array(commands))
        now, tick_s = self._now, self.spec.tick_s
        for tick, command in enumerate(commands, start=1):
            now.joint_vel[...] += command / CART_MASS * tick_s
            now.joint_pos[...] += now.joint_vel * tick_s
            now.time[...] += tick_s
            if sample_tick is not None:
                self._sampled.copy_from(now, sample_tick == tick)
        if sample_tick is None:
            self._sampled.copy_from(now)
        now.buffer[self.break_next] = np.nan
        self._sampled.buffer[self.break_next] = np.nan
        self.break_next = []

    def read(self, state: State) -> None:
        state.copy_from(self._now)

    def sample(self, state: State) -> None:
        state.copy_from(self._sampled)

    def apply(self, params: DynamicsParams, mask: np.ndarray) -> None:
        for name, values in params.items():
            self.applied.setdefault(name, np.array(values))[mask] = values[mask]

    def get_state(self) -> dict[str, np.ndarray]:
        return {"now": self._now.buffer.copy(), "sampled": self._sampled.buffer.copy()}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._now.buffer[...] = state["now"]
        self._sampled.buffer[...] = state["sampled"]

    def render(self, world: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 3), world, dtype=np.uint8)

    def close(self) -> None:
        self.closed = True

"""Logs of simulated robots whose parameters are known."""

from typing import Any

import numpy as np

from simreal.core.params import catalogue
from simreal.core.robot import Robot
from simreal.engines import EngineSpec, make_engine
from simreal.identification import RobotLog

TICK_S = 0.002


def chirp(num_rows: int, num_actuators: int, torque: float, seed: int = 0) -> np.ndarray:
    """Return commands (T, A) whose frequency rises from 0.3 to 3 Hz, each actuator apart."""
    time_s = np.arange(num_rows) * TICK_S
    phase = 2.0 * np.pi * (0.3 * time_s + 0.5 * 2.7 / time_s[-1] * time_s**2)
    shift = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, num_actuators)
    return torque * np.sin(phase[:, None] + shift)


def simulated_log(
    robot: Robot,
    truth: dict[str, Any],
    *,
    seconds: float = 4.0,
    torque: float = 1.0,
    delay_ticks: int = 0,
    noise: float = 0.0,
    seed: int = 0,
    engine: str = "mujoco",
) -> RobotLog:
    """Simulate a robot under a chirp and return what an encoder would have seen."""
    num_rows = round(seconds / TICK_S)
    specs = catalogue(robot)
    made = make_engine(
        engine,
        EngineSpec(
            robot=robot,
            num_worlds=1,
            tick_s=TICK_S,
            ticks=1,
            fixed={name: value for name, value in truth.items() if specs[name].owner == "engine"},
        ),
    )
    commands = chirp(num_rows, len(robot.actuators), torque, seed)
    state, seen = made.new_state(), np.empty((num_rows, robot.num_joints))
    late = np.concatenate([np.repeat(commands[:1], delay_ticks, axis=0), commands])
    for i in range(num_rows):
        made.read(state)
        seen[i] = state.joint_pos[0]
        made.step(late[i][None, None])
    made.close()
    seen += noise * np.random.default_rng(seed + 1).standard_normal(seen.shape)
    return RobotLog(f"run{seed}", np.arange(num_rows) * TICK_S, seen, commands)

"""A robot that is advanced tick by tick moves as its domain does, and damps itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import Mode
from simreal.domains import Actuation, Domain
from simreal.domains.ticked_robot import TickedRobot
from simreal.domains.vec_env import SimVecEnv
from simreal.errors import ConfigError


@pytest.fixture
def ticked(
    toy_robot: Robot, toy_task: Task, toy_domain: Callable[..., Domain]
) -> Iterator[Callable[..., TickedRobot]]:
    made: list[TickedRobot] = []

    def make(engine: str = "mujoco", **changes: Any) -> TickedRobot:
        domain = toy_domain(engine, **{k: v for k, v in changes.items() if k != "damping"})
        damping = changes.get("damping", 0.1)
        made.append(TickedRobot(toy_robot, toy_task, domain, seed=4, damping=damping))
        return made[-1]

    yield make
    for robot in made:
        robot.close()


@pytest.mark.parametrize("engine", ["mujoco", "pybullet"])
@pytest.mark.parametrize("delay_s", [0.0, 0.011])
def test_it_moves_as_the_domain_does(
    engine: str,
    delay_s: float,
    ticked: Callable[..., TickedRobot],
    toy_robot: Robot,
    toy_task: Task,
    toy_domain: Callable[..., Domain],
) -> None:
    actuation = Actuation(command_delay=delay_s)
    robot = ticked(engine, actuation=actuation)
    env = SimVecEnv(toy_robot, toy_task, toy_domain(engine, actuation=actuation), 1, seed=4)
    env.reset(4)
    joint = robot.actuators[0]
    np.testing.assert_array_equal(robot.measure()["joint_pos"], env.truth.joint_pos[0])
    for step in range(19):
        action = np.sin(0.7 * step)
        env.step(np.array([[action]]))
        for _ in range(toy_task.ticks):
            robot.obey(Mode.RUN, {joint: float(action * env.action_map.scale[0])})
            robot.tick()
        np.testing.assert_allclose(
            robot.measure()["joint_pos"], env.truth.joint_pos[0], rtol=0, atol=1e-9
        )
    assert abs(robot.measure()["joint_vel"][0]) > 0.01
    env.close()


def test_it_names_its_signals_and_actuators(
    ticked: Callable[..., TickedRobot], toy_robot: Robot
) -> None:
    robot = ticked()
    assert robot.interface == toy_robot.interface
    assert robot.signals["joint_pos"] == robot.signals["joint_vel"] == toy_robot.joint_names
    assert robot.signals.keys() == robot.measure().keys()
    assert robot.actuators == tuple(a.joint for a in toy_robot.actuators)
    assert robot.tick_s == 0.002


@pytest.mark.parametrize("mode", [Mode.DAMP, Mode.HOLD])
def test_it_brakes_its_joints_unless_it_runs(
    mode: Mode, ticked: Callable[..., TickedRobot]
) -> None:
    braked, loose = ticked(damping=0.6), ticked(damping=0.0)
    for robot in (braked, loose):
        for _ in range(100):
            robot.obey(Mode.RUN, {robot.actuators[0]: 1.0})
            robot.tick()
        for _ in range(500):
            robot.obey(mode, {robot.actuators[0]: 1.0})
            robot.tick()
    speeds = [abs(robot.measure()["joint_vel"][0]) for robot in (braked, loose)]
    swings = [abs(robot.measure()["joint_pos"][0]) for robot in (braked, loose)]
    assert speeds[0] + swings[0] < 0.3 * (speeds[1] + swings[1])


def test_a_position_driven_joint_holds_and_is_let_go_where_it_is(
    toy_robot: Robot, toy_task: Task, toy_domain: Callable[..., Domain]
) -> None:
    motor = replace(toy_robot.actuators[0], kind="position", kp=20.0, kd=1.0)
    driven = replace(toy_robot, actuators=(motor,))
    with TickedRobot(driven, toy_task, toy_domain(), seed=4) as robot:
        for _ in range(1000):
            robot.obey(Mode.HOLD, {motor.joint: 0.8})
            robot.tick()
        held = robot.measure()["joint_pos"][0]
        for _ in range(100):
            robot.release()
            robot.tick()
        sunk = robot.measure()["joint_pos"][0]
    # Gravity, about 2 Nm sin(q), pulls it a little off the target; let go, it sinks and is braked.
    assert 0.6 < held < 0.8
    assert 0.0 < sunk < held - 0.05


def test_a_negative_damping_is_refused(
    toy_robot: Robot, toy_task: Task, toy_domain: Callable[..., Domain]
) -> None:
    with pytest.raises(ConfigError, match="damping: got -1"):
        TickedRobot(toy_robot, toy_task, toy_domain(), damping=-1)

"""The motors of Bullet worlds: what is called at every physics tick, and nothing else.

Torque commands of a whole control step are scaled and clipped in one numpy expression before the
first tick. Position commands need the joint state at each tick. Positional arguments and a single
motor's own call are measurably cheaper in PyBullet's C layer, which is why they are written that
way.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from simreal.core.robot import Robot
from simreal.engines.pybullet_params import ParamTable
from simreal.engines.pybullet_world import World, p

_motor, _motors, _states = p.setJointMotorControl2, p.setJointMotorControlArray, p.getJointStates
_tick, _TORQUE = p.stepSimulation, p.TORQUE_CONTROL
# client, body, joints, driven joints, motors of a position law
Hot = tuple[int, int, tuple[int, ...], Any, list[tuple[int, float, float, float, float]]]


class Drive:
    """Turn commands into motor calls.

    Attributes:
        hot: Per world what the tick loop needs.
        push: Advance one world by as many ticks as there are commands.
    """

    def __init__(self, robot: Robot) -> None:
        """Choose the calls that fit the robot's actuators.

        Args:
            robot: The record.
        """
        self._robot = robot
        self._law = any(a.kind == "position" for a in robot.actuators)
        self._single = robot.num_actuators == 1 and not self._law
        self.hot: list[Hot] = []
        self.push: Callable[[Hot, list[Any]], None] = _push_array
        if self._law:
            self.push = _push_law
        elif self._single:
            self.push = _push_single
        elif robot.num_actuators == 0:
            self.push = _push_nothing

    def refresh(self, worlds: list[World], table: ParamTable) -> None:
        """Take over present gains and body numbers.

        Args:
            worlds: The Bullet worlds (N).
            table: The parameters they hold.
        """
        motors = self._robot.actuators
        shape = (len(worlds), len(motors))
        gains = {
            kind: np.array([table.column(kind, a.joint) for a in motors]).T.reshape(shape)
            for kind in ("motor_strength", "torque_limit")
        }
        self._strength, self._limit = gains["motor_strength"], gains["torque_limit"]
        self.hot = [self._bind(world, i, table) for i, world in enumerate(worlds)]

    def rebind(self, worlds: list[World], index: int, table: ParamTable) -> None:
        """Take over the body number of one world that was loaded anew."""
        if self.hot:
            self.hot[index] = self._bind(worlds[index], index, table)

    def schedule(self, commands: np.ndarray) -> list[list[Any]]:
        """Return what each world is pushed with.

        Args:
            commands: (K, N, A).

        Returns:
            N lists of K entries: torques where nothing depends on the state, else the commands.
        """
        if not self._law:
            commands = np.minimum(np.maximum(commands * self._strength, -self._limit), self._limit)
        rows = commands.transpose(1, 0, 2)
        return list((rows[:, :, 0] if self._single else rows).tolist())

    def _bind(self, world: World, index: int, table: ParamTable) -> Hot:
        joints = tuple(world.joints)
        return (world.client, world.body, joints, self._driven(world), self._gains(index, table))

    def _driven(self, world: World) -> Any:
        driven = [world.joints[i] for i in self._robot.actuated_indices]
        return driven[0] if self._single else driven

    def _gains(self, world: int, table: ParamTable) -> list[tuple[int, float, float, float, float]]:
        """Return joint slot, proportional, velocity and plain gain and limit of every motor."""
        if not self._law:
            return []
        motors = []
        for i, actuator in zip(self._robot.actuated_indices, self._robot.actuators, strict=True):
            strength, limit = (
                float(table.column(kind, actuator.joint)[world])
                for kind in ("motor_strength", "torque_limit")
            )
            kp = kd = 0.0
            if actuator.kind == "position":
                kp, kd = (float(table.column(k, actuator.joint)[world]) for k in ("kp", "kd"))
            plain = strength if actuator.kind == "torque" else strength * kp
            motors.append((i, plain, strength * kp, strength * kd, limit))
        return motors


def _push_single(hot: Hot, row: list[float]) -> None:
    client, body, _, joint, _ = hot
    for torque in row:
        _motor(body, joint, _TORQUE, 0, 0, torque, 0, 0, 0, client)
        _tick(client)


def _push_array(hot: Hot, row: list[list[float]]) -> None:
    client, body, _, driven, _ = hot
    for torques in row:
        _motors(body, driven, _TORQUE, forces=torques, physicsClientId=client)
        _tick(client)


def _push_law(hot: Hot, row: list[list[float]]) -> None:
    client, body, joints, driven, gains = hot
    for commands in row:
        now = _states(body, joints, client)
        torques = []
        for command, (slot, plain, kp, kd, limit) in zip(commands, gains, strict=True):
            torque = plain * command - kp * now[slot][0] - kd * now[slot][1]
            torques.append(min(max(torque, -limit), limit))
        _motors(body, driven, _TORQUE, forces=torques, physicsClientId=client)
        _tick(client)


def _push_nothing(hot: Hot, row: list[Any]) -> None:
    for _ in row:
        _tick(hot[0])

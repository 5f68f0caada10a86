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
Hot = tuple[int, int, tuple[int, ...], list[int], list[tuple[int, float, float, float, float]]]
_FEW = 3  # up to so many motors, a call for each is cheaper than one for all


class Drive:
    """Turn commands into motor calls.

    Where a command stands for a whole control step, Bullet is called once and divides the step into
    ticks itself, which gives the same numbers, bit for bit, for two thirds of the time. It applies
    joint damping once per call, so worlds with damping are called tick by tick.

    Attributes:
        hot: Per world what the tick loop needs.
        push: Advance one world by as many ticks as there are entries in its row.
    """

    def __init__(self, robot: Robot, tick_s: float, ticks: int) -> None:
        """Choose the calls that fit the robot's actuators.

        Args:
            robot: The record.
            tick_s: Physics time step [s].
            ticks: Ticks of one control step, K.
        """
        self._robot, self._ticks = robot, ticks
        self._law = any(a.kind == "position" for a in robot.actuators)
        self.hot: list[Hot] = []
        self.push: Callable[[Hot, list[Any]], None] = _push_array
        if self._law:
            self.push = _push_law
        elif robot.num_actuators <= _FEW:
            self.push = _push_few
        # Bullet divides by rounding down, and carries what is left over to the next call.
        period = ticks * tick_s
        self._divides = period / ticks == tick_s and period / tick_s == ticks and not self._law
        self._merges = self._merged = False

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
        self._strength, self._high = gains["motor_strength"], gains["torque_limit"]
        self._low = -self._high
        driven = [[world.joints[i] for i in self._robot.actuated_indices] for world in worlds]
        self._motors = [
            list(zip(*columns, strict=True))
            for columns in zip(driven, self._strength.tolist(), self._high.tolist(), strict=True)
        ]
        joints = self._robot.joint_names
        damped = any(table.column("joint_damping", joint).any() for joint in joints)
        self._merges = self._divides and not damped
        self.hot = [self._bind(world, i, table) for i, world in enumerate(worlds)]

    def rebind(self, worlds: list[World], index: int, table: ParamTable) -> None:
        """Take over the body number of one world that was loaded anew."""
        if self.hot:
            self.hot[index] = self._bind(worlds[index], index, table)

    def merge(self, worlds: list[World], commands: np.ndarray) -> bool:
        """Return whether the coming control step is one call, and tell Bullet.

        Args:
            worlds: The Bullet worlds (N).
            commands: (K, N, A).
        """
        merged = self._merges and _constant(commands)
        self._divide(worlds, merged)
        return merged

    def once(self, commands: np.ndarray) -> list[float]:
        """Advance all worlds by one control step, in one call each.

        Args:
            commands: (N, A).

        Returns:
            Position and velocity of every joint of every world.
        """
        found: list[float] = []
        put = found.append
        for hot, motors, row in zip(self.hot, self._motors, commands.tolist(), strict=True):
            client, body, joints, _, _ = hot
            for (joint, strength, high), command in zip(motors, row, strict=True):
                torque = command * strength
                if torque > high:
                    torque = high
                elif torque < -high:
                    torque = -high
                if torque:  # a torque lasts for one call; none is none
                    _motor(body, joint, _TORQUE, 0, 0, torque, 0, 0, 0, client)
            _tick(client)
            if joints:
                for pos, vel, _, _ in _states(body, joints, client):
                    put(pos)
                    put(vel)
        return found

    def rows(self, worlds: list[World], commands: np.ndarray) -> list[list[Any]]:
        """Return with what each world is pushed when it is called tick by tick.

        Args:
            worlds: The Bullet worlds (N).
            commands: (K, N, A).

        Returns:
            N lists with an entry per tick.
        """
        self._divide(worlds, False)
        if not self._law:
            commands = self._torques(commands)
        return list(commands.transpose(1, 0, 2).tolist())

    def _divide(self, worlds: list[World], merged: bool) -> None:
        if merged != self._merged:
            for world in worlds:
                world.set_ticks(self._ticks if merged else 1)
            self._merged = merged

    def _torques(self, commands: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(commands * self._strength, self._low), self._high)

    def _bind(self, world: World, index: int, table: ParamTable) -> Hot:
        joints = tuple(world.joints)
        driven = [world.joints[i] for i in self._robot.actuated_indices]
        return (world.client, world.body, joints, driven, self._gains(index, table))

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


def _constant(commands: np.ndarray) -> bool:
    """Return whether every tick has the same command; a broadcast view says so by itself."""
    return commands.strides[0] == 0 or bool((commands[1:] == commands[0]).all())


def _push_few(hot: Hot, row: list[list[float]]) -> None:
    client, body, _, driven, _ = hot
    for torques in row:
        for joint, torque in zip(driven, torques, strict=True):
            if torque:
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

"""Translate between messages of ROS 2 and those of a controller; pure functions, without ROS.

Joints are bound by name in every message, since a publisher may list them in any order. What a
message leaves out is refused, never filled in: ROS allows empty velocities, and an orientation that
is not measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simreal.deploy.messages import Command, Mode
from simreal.errors import SignalError, TransportError

_FIELDS = {"position": "positions", "velocity": "velocities", "torque": "effort"}


@dataclass(frozen=True, kw_only=True)
class Ros2Types:
    """Hold the message classes, which are made with keyword arguments.

    Attributes:
        trajectory: `trajectory_msgs/JointTrajectory`.
        point: `trajectory_msgs/JointTrajectoryPoint`.
        header: `std_msgs/Header`.
        time: `builtin_interfaces/Time`.
        duration: `builtin_interfaces/Duration`.
    """

    trajectory: Any
    point: Any
    header: Any
    time: Any
    duration: Any


def stamp_s(message: Any) -> float:
    """Return the time in a message's header, on the clock of ROS [s].

    Args:
        message: A message with a header.
    """
    stamp = message.header.stamp
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


def joint_signals(message: Any, joints: Sequence[str]) -> dict[str, np.ndarray]:
    """Return `joint_pos` and `joint_vel` of a `sensor_msgs/JointState`, each (J,).

    Args:
        message: The message; it may hold further joints.
        joints: Joints in the order of the robot's interface (J).

    Raises:
        SignalError: A joint is missing or listed twice, or positions or velocities are not those of
            all names.
    """
    names = list(message.name)
    place = {name: i for i, name in enumerate(names)}
    missing = [name for name in joints if name not in place]
    if missing or len(place) != len(names):
        raise SignalError(
            f"joint state: expected {', '.join(joints)}, once each, found {', '.join(names)}"
        )
    order = [place[name] for name in joints]
    values = {}
    for signal, field in (("joint_pos", "position"), ("joint_vel", "velocity")):
        numbers = np.asarray(getattr(message, field), dtype=np.float64)
        if numbers.shape != (len(names),):
            raise SignalError(
                f"joint state: expected {len(names)} numbers in '{field}', found {numbers.size}; "
                "the publisher has to fill it in"
            )
        values[signal] = numbers[order]
    return values


def imu_signals(
    message: Any, *, quaternion: str | None, angular_velocity: str | None
) -> dict[str, np.ndarray]:
    """Return signals of a `sensor_msgs/Imu`.

    ROS has quaternions as x, y, z, w; here they are w, x, y, z.

    Args:
        message: The message.
        quaternion: Signal that gets the orientation (4,); None for none.
        angular_velocity: Signal that gets the angular velocity (3,) [rad/s]; None for none.

    Raises:
        SignalError: The message says that what is asked for is not measured.
    """
    values = {}
    for signal, field, axes in (
        (quaternion, "orientation", "wxyz"),
        (angular_velocity, "angular_velocity", "xyz"),
    ):
        if signal is None:
            continue
        if float(getattr(message, f"{field}_covariance")[0]) == -1.0:
            raise SignalError(f"imu: expected '{field}', found a message that does not measure it")
        vector = getattr(message, field)
        values[signal] = np.array([float(getattr(vector, axis)) for axis in axes])
    return values


def trajectories(
    command: Command, kinds: Mapping[str, str], types: Ros2Types, now: Any, period_s: float
) -> list[Any]:
    """Return a command as `trajectory_msgs/JointTrajectory`, one per kind of actuator.

    Each has one point: positions, velocities or, of torque-driven joints, effort. Where the robot
    is to damp its joints without values of the sender's, the trajectory has no point, which ends
    the one before.

    Args:
        command: The command.
        kinds: Joint to `position`, `velocity` or `torque`, of every actuator.
        types: Message classes.
        now: Stamp of the messages.
        period_s: Time from the stamp to the point [s].

    Raises:
        TransportError: A joint of the command is unknown, or one is missing.
    """
    values = command.values
    if values.keys() != kinds.keys() and (values or command.mode is not Mode.DAMP):
        raise TransportError(
            f"a command names {sorted(values)}; {sorted(kinds)} are the robot's actuators"
        )
    seconds = int(period_s)
    made = []
    for kind in dict.fromkeys(kinds.values()):
        joints = [joint for joint in kinds if kinds[joint] == kind]
        fields: dict[str, Any] = {name: [] for name in ("positions", "velocities", "effort")}
        if values:
            fields[_FIELDS[kind]] = [float(values[joint]) for joint in joints]
        ahead = types.duration(sec=seconds, nanosec=round(1e9 * (period_s - seconds)))
        point = types.point(**fields, accelerations=[], time_from_start=ahead)
        header = types.header(stamp=now, frame_id="")
        made.append(
            types.trajectory(header=header, joint_names=joints, points=[point] if values else [])
        )
    return made

"""Control a robot that speaks ROS 2: joint states and an IMU in, joint trajectories out.

Needs `rclpy`, which comes with ROS 2 and not from PyPI. These messages carry neither epoch nor time
to live: the middleware drops commands that are older than their time to live (QoS lifespan), but
what damps the joints when commands stop is the timeout of the robot's own driver, which has to be
set there. Nor do they say what robot it is: its interface is what the caller states.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simreal.core.closing import Closing
from simreal.deploy.messages import Command, Signals
from simreal.deploy.transports.ros2_messages import (
    Ros2Types,
    imu_signals,
    joint_signals,
    stamp_s,
    trajectories,
)
from simreal.errors import DependencyError, SignalError, TransportError

_MAX_PER_READ = 32
_CLOCK_LEAD_S = 2e-3


@dataclass(frozen=True, kw_only=True)
class Ros2Topics:
    """Name topics and signals.

    Attributes:
        joints: Topic of `sensor_msgs/JointState`.
        command: Topic of `trajectory_msgs/JointTrajectory`.
        imu: Topic of `sensor_msgs/Imu`; None without one.
        quaternion: Signal that gets the orientation, w, x, y, z; None for none.
        angular_velocity: Signal that gets the angular velocity; None for none.
    """

    joints: str = "/joint_states"
    command: str = "/joint_trajectory"
    imu: str | None = None
    quaternion: str | None = None
    angular_velocity: str | None = None


class Ros2Robot(Closing):
    """Read and command a robot over ROS 2; see `simreal.deploy.RobotIO`.

    Attributes:
        interface: What the robot is, as the caller stated it.
        stale: Messages that were dropped, since their header is not newer than the one before.
    """

    def __init__(
        self,
        interface: Mapping[str, Any],
        *,
        period_s: float,
        ttl_s: float = 0.01,
        topics: Ros2Topics | None = None,
        clock: Callable[[], float] = time.monotonic,
        name: str = "simreal_controller",
    ) -> None:
        """Open a node of its own.

        Args:
            interface: What the robot is, in the form of `simreal.core.robot.Robot.interface`.
            period_s: Time between two commands [s].
            ttl_s: Age at which the middleware drops a command [s].
            topics: Names of topics and signals.
            clock: Monotonic time, the controller's [s].
            name: Name of the node.

        Raises:
            DependencyError: `rclpy` or a package of messages is missing.
        """
        self._ros = _packages()
        self.interface, self.stale = interface, 0
        self._topics = Ros2Topics() if topics is None else topics
        self._clock, self._period_s = clock, period_s
        self._joints = tuple(str(row["name"]) for row in interface["joints"])
        self._kinds = {str(row["joint"]): str(row["kind"]) for row in interface["actuators"]}
        self._newest: dict[str, tuple[float, float, dict[str, np.ndarray]]] = {}
        self._error: SignalError | None = None
        self._taken = 0
        self._context = self._ros.rclpy.context.Context()
        self._context.init()
        self._node = self._ros.rclpy.create_node(name, context=self._context)
        self._executor = self._ros.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._subscribe(ttl_s)

    def connect(self, timeout_s: float = 5.0) -> "Ros2Robot":
        """Wait for the first message of every topic.

        Args:
            timeout_s: Longest wait [s].

        Returns:
            Itself.

        Raises:
            TransportError: A topic stays silent.
        """
        end = self._clock() + timeout_s
        while not self._complete:
            left = end - self._clock()
            if left <= 0.0:
                silent = [topic for topic in self._sources if topic not in self._newest]
                raise TransportError(
                    f"ros2: nothing on {', '.join(silent)} within {timeout_s:g} s; check that the "
                    "robot's driver runs, the names of the topics and ROS_DOMAIN_ID"
                )
            self._executor.spin_once(timeout_sec=left)
        return self

    def read(self) -> Signals:
        """Return the newest measurement, whose time is that of the older of its messages.

        Raises:
            SignalError: None has arrived yet, or a message is not of this robot.
        """
        for _ in range(_MAX_PER_READ):
            before = self._taken
            self._executor.spin_once(timeout_sec=0.0)
            if self._taken == before:
                break
        if self._error is not None:
            raise self._error
        if not self._complete:
            raise SignalError("no measurement has arrived yet; call connect() first")
        values: dict[str, np.ndarray] = {}
        for _, _, part in self._newest.values():
            values.update(part)
        return Signals(min(taken for taken, _, _ in self._newest.values()), values)

    def write(self, command: Command) -> None:
        """Publish a command.

        Args:
            command: The command; its values name every actuator, or none where it damps.

        Raises:
            TransportError: A joint is unknown or missing.
        """
        now = self._node.get_clock().now().to_msg()
        types = self._ros.types
        for message in trajectories(command, self._kinds, types, now, self._period_s):
            self._publisher.publish(message)

    def close(self) -> None:
        """End the node. Safe to call twice."""
        if self._context.ok():
            self._node.destroy_node()
            self._executor.shutdown()
            self._context.shutdown()

    @property
    def _complete(self) -> bool:
        return len(self._newest) == len(self._sources)

    def _subscribe(self, ttl_s: float) -> None:
        topics, qos = self._topics, self._ros.qos
        newest = {
            "history": qos.HistoryPolicy.KEEP_LAST,
            "depth": 1,
            "reliability": qos.ReliabilityPolicy.BEST_EFFORT,
        }
        self._sources: dict[str, Callable[[Any], dict[str, np.ndarray]]] = {
            topics.joints: lambda message: joint_signals(message, self._joints)
        }
        kinds = {topics.joints: self._ros.joint_state}
        if topics.imu is not None:
            self._sources[topics.imu] = lambda message: imu_signals(
                message,
                quaternion=topics.quaternion,
                angular_velocity=topics.angular_velocity,
            )
            kinds[topics.imu] = self._ros.imu
        for topic, kind in kinds.items():
            self._node.create_subscription(
                kind, topic, self._taker(topic), qos.QoSProfile(**newest)
            )
        lifespan = self._ros.duration(seconds=ttl_s)
        self._publisher = self._node.create_publisher(
            self._ros.types.trajectory, topics.command, qos.QoSProfile(**newest, lifespan=lifespan)
        )

    def _taker(self, topic: str) -> Callable[[Any], None]:
        return lambda message: self._take(topic, message)

    def _take(self, topic: str, message: Any) -> None:
        """Keep a message that is newer than the one before; called by the executor."""
        self._taken += 1
        stamp, now = stamp_s(message), self._clock()
        if topic in self._newest and stamp <= self._newest[topic][1]:
            self.stale += 1
            return
        # Headers are on the clock of ROS; what counts is how old the measurement is.
        age = 1e-9 * self._node.get_clock().now().nanoseconds - stamp
        age = 0.0 if -_CLOCK_LEAD_S <= age < 0.0 else age
        try:
            self._newest[topic] = (now - age, stamp, self._sources[topic](message))
            self._error = None
        except SignalError as error:
            self._error = error


@dataclass(frozen=True)
class _Ros:
    """Hold what is used of ROS 2."""

    rclpy: Any
    executors: Any
    qos: Any
    duration: Any
    joint_state: Any
    imu: Any
    types: Ros2Types


def _packages() -> _Ros:
    try:
        import rclpy
        import rclpy.context
        import rclpy.executors
        import rclpy.qos
        from builtin_interfaces.msg import Duration, Time
        from rclpy.duration import Duration as Span
        from sensor_msgs.msg import Imu, JointState
        from std_msgs.msg import Header
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"the package '{error.name}' is not installed, and ROS 2 needs it. Install ROS 2 with "
            "ros-base, and source its setup.bash before this"
        ) from error
    types = Ros2Types(
        trajectory=JointTrajectory,
        point=JointTrajectoryPoint,
        header=Header,
        time=Time,
        duration=Duration,
    )
    return _Ros(rclpy, rclpy.executors, rclpy.qos, Span, JointState, Imu, types)

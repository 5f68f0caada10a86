"""Messages go through the bytes of ROS 2; the node runs against a fake of `rclpy`."""

import builtins
import runpy
import sys
import time
import types
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from simreal.deploy import Command, Mode
from simreal.deploy.transports import ros2
from simreal.deploy.transports.ros2 import Ros2Robot, Ros2Topics
from simreal.deploy.transports.ros2_messages import (
    Ros2Types,
    imu_signals,
    joint_signals,
    stamp_s,
    trajectories,
)
from simreal.errors import DependencyError, SignalError, TransportError
from simreal.paths import policies_dir, project_root

STORE = get_typestore(Stores.ROS2_HUMBLE)
JOINT_STATE, IMU = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Imu"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
POINT = "trajectory_msgs/msg/JointTrajectoryPoint"
KINDS = {"shoulder": "position", "elbow": "torque", "wrist": "torque"}
INTERFACE = {
    "name": "arm",
    "joints": [{"name": "elbow"}, {"name": "shoulder"}, {"name": "wrist"}],
    "actuators": [{"joint": joint, "kind": kind} for joint, kind in KINDS.items()],
}


def kind(name: str) -> Callable[..., Any]:
    """Return what makes a message of a kind: ROS takes lists, `rosbags` arrays."""
    made = STORE.types[name]

    def make(**fields: Any) -> Any:
        numbers = name in (POINT, JOINT_STATE)
        return made(
            **{
                k: np.array(v, np.float64)
                if numbers and isinstance(v, list) and k not in ("name",)
                else v
                for k, v in fields.items()
            }
        )

    return make


TYPES = Ros2Types(
    trajectory=kind(TRAJECTORY),
    point=kind(POINT),
    header=kind("std_msgs/msg/Header"),
    time=kind("builtin_interfaces/msg/Time"),
    duration=kind("builtin_interfaces/msg/Duration"),
)


def header(stamp: float = 12.5) -> Any:
    seconds = int(stamp)
    nanosec = round(1e9 * (stamp - seconds))
    return TYPES.header(stamp=TYPES.time(sec=seconds, nanosec=nanosec), frame_id="base")


def over_the_wire(message: Any, name: str) -> Any:
    """Return a message after it was bytes."""
    return STORE.deserialize_cdr(STORE.serialize_cdr(message, name), name)


def joint_state(stamp: float = 12.5, **changes: Any) -> Any:
    fields = {
        "header": header(stamp),
        "name": ["wrist", "gripper", "elbow", "shoulder"],
        "position": [1.0, 9.0, 2.0, 3.0],
        "velocity": [-1.0, -9.0, -2.0, -3.0],
        "effort": [],
    }
    return over_the_wire(kind(JOINT_STATE)(**(fields | changes)), JOINT_STATE)


def imu(stamp: float = 12.5, measured: float = 0.0) -> Any:
    vector = STORE.types["geometry_msgs/msg/Vector3"]
    quaternion = STORE.types["geometry_msgs/msg/Quaternion"]
    covariance = np.zeros(9)
    covariance[0] = measured
    message = STORE.types[IMU](
        header=header(stamp),
        orientation=quaternion(x=0.1, y=0.2, z=0.3, w=0.9),
        orientation_covariance=covariance,
        angular_velocity=vector(x=1.0, y=2.0, z=3.0),
        angular_velocity_covariance=np.zeros(9),
        linear_acceleration=vector(x=0.0, y=0.0, z=9.81),
        linear_acceleration_covariance=np.zeros(9),
    )
    return over_the_wire(message, IMU)


def run_command(mode: Mode = Mode.RUN, **values: float) -> Command:
    joints = values or {"elbow": 0.5, "shoulder": 0.25, "wrist": -0.125}
    return Command(epoch=1, seq=0, time_s=1.0, ttl_s=0.01, mode=mode, values=joints)


def test_joints_are_bound_by_name_after_the_wire() -> None:
    message = joint_state()
    values = joint_signals(message, ("elbow", "shoulder", "wrist"))
    np.testing.assert_array_equal(values["joint_pos"], [2.0, 3.0, 1.0])
    np.testing.assert_array_equal(values["joint_vel"], [-2.0, -3.0, -1.0])
    assert stamp_s(message) == 12.5


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"name": ["wrist", "gripper", "elbow", "hip"]}, "expected elbow, shoulder, wrist"),
        ({"name": ["wrist", "wrist", "elbow", "shoulder"]}, "once each"),
        ({"velocity": []}, "expected 4 numbers in 'velocity', found 0"),
        ({"position": [1.0]}, "expected 4 numbers in 'position', found 1"),
    ],
)
def test_a_joint_state_that_leaves_something_out_is_refused(
    changes: dict[str, Any], part: str
) -> None:
    with pytest.raises(SignalError, match=part):
        joint_signals(joint_state(**changes), ("elbow", "shoulder", "wrist"))


def test_quaternions_come_with_w_first() -> None:
    values = imu_signals(imu(), quaternion="base_quat", angular_velocity="base_gyro")
    np.testing.assert_array_equal(values["base_quat"], [0.9, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(values["base_gyro"], [1.0, 2.0, 3.0])
    assert set(imu_signals(imu(), quaternion=None, angular_velocity="gyro")) == {"gyro"}
    with pytest.raises(SignalError, match="does not measure"):
        imu_signals(imu(measured=-1.0), quaternion="q", angular_velocity=None)


def test_a_command_becomes_one_trajectory_per_kind_of_actuator() -> None:
    now = TYPES.time(sec=7, nanosec=5)
    made = trajectories(run_command(), KINDS, TYPES, now, 0.002)
    first, second = (over_the_wire(message, TRAJECTORY) for message in made)
    assert first.joint_names == ["shoulder"]
    assert second.joint_names == ["elbow", "wrist"]
    assert (first.header.stamp.sec, first.header.stamp.nanosec) == (7, 5)
    np.testing.assert_array_equal(first.points[0].positions, [0.25])
    np.testing.assert_array_equal(second.points[0].effort, [0.5, -0.125])
    assert len(first.points[0].effort) == len(second.points[0].positions) == 0
    assert second.points[0].time_from_start.nanosec == 2_000_000


def test_damping_without_values_ends_the_trajectory() -> None:
    damping = Command(epoch=1, seq=0, time_s=1.0, ttl_s=0.01, mode=Mode.DAMP, values={})
    made = trajectories(damping, KINDS, TYPES, TYPES.time(sec=0, nanosec=0), 0.002)
    assert [len(over_the_wire(m, TRAJECTORY).points) for m in made] == [0, 0]
    with pytest.raises(TransportError, match="a command names"):
        trajectories(run_command(elbow=1.0), KINDS, TYPES, None, 0.002)


class FakeRos:
    """Stand for `rclpy`: one node, a queue of messages, and a clock that a test moves."""

    def __init__(self) -> None:
        self.queue: deque[tuple[str, Any]] = deque()
        self.callbacks: dict[str, Callable[[Any], None]] = {}
        self.profiles: dict[str, Any] = {}
        self.published: list[Any] = []
        self.ros_s, self.now_s, self.alive = 1000.0, 50.0, False

    def clock(self) -> float:
        return self.now_s

    def tick(self, seconds: float) -> None:
        self.ros_s += seconds
        self.now_s += seconds

    # What follows is asked by name, as of rclpy.
    def init(self) -> None:
        self.alive = True

    def ok(self) -> bool:
        return self.alive

    def shutdown(self) -> None:
        self.alive = False

    def destroy_node(self) -> None:
        self.callbacks.clear()

    def add_node(self, node: Any) -> None:
        assert node is self

    def create_subscription(self, kind: Any, topic: str, callback: Any, qos: Any) -> None:
        self.callbacks[topic], self.profiles[topic] = callback, qos

    def create_publisher(self, kind: Any, topic: str, qos: Any) -> Any:
        self.profiles[topic] = qos
        return SimpleNamespace(publish=self.published.append)

    def get_clock(self) -> Any:
        stamp = TYPES.time(sec=int(self.ros_s), nanosec=0)
        now = SimpleNamespace(nanoseconds=round(1e9 * self.ros_s), to_msg=lambda: stamp)
        return SimpleNamespace(now=lambda: now)

    def spin_once(self, timeout_sec: float) -> None:
        if self.queue:
            topic, message = self.queue.popleft()
            self.callbacks[topic](message)
        else:
            self.tick(timeout_sec)


class LiveRos(FakeRos):
    """In real time: a pendulum hangs and trembles, and tells so every two milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.rng, self.told_s = np.random.default_rng(0), 0.0

    def get_clock(self) -> Any:
        now = time.time()
        stamp = TYPES.time(sec=int(now), nanosec=int(1e9 * (now % 1.0)))
        told = SimpleNamespace(nanoseconds=int(1e9 * now), to_msg=lambda: stamp)
        return SimpleNamespace(now=lambda: told)

    def spin_once(self, timeout_sec: float) -> None:
        now = time.time()
        if now - self.told_s >= 0.002:
            self.told_s = now
            numbers = dict(
                zip(("position", "velocity"), 1e-3 * self.rng.standard_normal((2, 2)), strict=True)
            )
            state = joint_state(now, name=["elbow", "shoulder"], **numbers)
            self.callbacks["/joint_states"](state)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRos:
    return installed(monkeypatch, FakeRos())


def installed(monkeypatch: pytest.MonkeyPatch, made: Any) -> Any:
    """Return a fake that is what importing `rclpy` and its messages gives."""

    def module(name: str, **content: Any) -> None:
        new = types.ModuleType(name)
        vars(new).update(content)
        monkeypatch.setitem(sys.modules, name, new)
        parent, _, leaf = name.rpartition(".")
        if parent in sys.modules:
            setattr(sys.modules[parent], leaf, new)

    module("rclpy", create_node=lambda name, context: made)
    module("rclpy.context", Context=lambda: made)
    module("rclpy.executors", SingleThreadedExecutor=lambda context: made)
    module(
        "rclpy.qos",
        QoSProfile=SimpleNamespace,
        HistoryPolicy=SimpleNamespace(KEEP_LAST="keep last"),
        ReliabilityPolicy=SimpleNamespace(BEST_EFFORT="best effort"),
    )
    module("rclpy.duration", Duration=lambda seconds: seconds)
    for package in ("builtin_interfaces", "sensor_msgs", "std_msgs", "trajectory_msgs"):
        module(package)
    module("builtin_interfaces.msg", Duration=TYPES.duration, Time=TYPES.time)
    module("sensor_msgs.msg", Imu="imu", JointState="joint state")
    module("std_msgs.msg", Header=TYPES.header)
    module(
        "trajectory_msgs.msg", JointTrajectory=TYPES.trajectory, JointTrajectoryPoint=TYPES.point
    )
    return made


TOPICS = Ros2Topics(imu="/imu", quaternion="quat")


@pytest.fixture
def robot(fake: FakeRos) -> Ros2Robot:
    made = Ros2Robot(INTERFACE, period_s=0.002, topics=TOPICS, clock=fake.clock)
    fake.queue.extend([("/joint_states", joint_state(1000.0)), ("/imu", imu(999.996))])
    return made.connect()


def test_a_measurement_is_as_old_as_its_oldest_message(fake: FakeRos, robot: Ros2Robot) -> None:
    signals = robot.read()
    assert signals.time_s == pytest.approx(50.0 - 0.004)
    assert set(signals.values) == {"joint_pos", "joint_vel", "quat"}
    fake.tick(0.1)
    assert robot.read().time_s == pytest.approx(50.0 - 0.004)  # silence ages


def test_the_newest_message_counts_and_none_is_taken_twice(fake: FakeRos, robot: Ros2Robot) -> None:
    newer = joint_state(1000.001, position=[5.0, 0.0, 6.0, 7.0])
    fake.queue.extend([("/joint_states", newer), ("/joint_states", joint_state(999.0))])
    np.testing.assert_array_equal(robot.read().values["joint_pos"], [6.0, 7.0, 5.0])
    assert robot.stale == 1


def test_a_header_without_a_time_is_old_and_a_future_one_is_seen(
    fake: FakeRos, robot: Ros2Robot
) -> None:
    other = Ros2Robot(INTERFACE, period_s=0.002, clock=fake.clock)
    fake.queue.append(("/joint_states", joint_state(0.0)))
    assert other.connect().read().time_s == pytest.approx(50.0 - 1000.0)
    fake.queue.append(("/joint_states", joint_state(1001.0)))
    assert other.read().time_s == pytest.approx(51.0)


def test_sensors_are_best_effort_and_commands_expire(fake: FakeRos, robot: Ros2Robot) -> None:
    for topic in ("/joint_states", "/imu", "/joint_trajectory"):
        profile = fake.profiles[topic]
        assert (profile.reliability, profile.history, profile.depth) == (
            "best effort",
            "keep last",
            1,
        )
    assert fake.profiles["/joint_trajectory"].lifespan == 0.01


def test_commands_are_published_by_name(fake: FakeRos, robot: Ros2Robot) -> None:
    robot.write(run_command())
    assert [m.joint_names for m in fake.published] == [["shoulder"], ["elbow", "wrist"]]


def test_a_message_of_another_robot_is_an_error_until_a_good_one(
    fake: FakeRos, robot: Ros2Robot
) -> None:
    fake.queue.append(("/joint_states", joint_state(1000.1, velocity=[])))
    with pytest.raises(SignalError, match="'velocity'"):
        robot.read()
    fake.queue.append(("/joint_states", joint_state(1000.2)))
    assert robot.read().values["joint_pos"].shape == (3,)


def test_a_silent_topic_is_named(fake: FakeRos) -> None:
    with Ros2Robot(INTERFACE, period_s=0.002, topics=TOPICS, clock=fake.clock) as robot:
        with pytest.raises(SignalError, match=r"connect\(\) first"):
            robot.read()
        with pytest.raises(TransportError, match="nothing on /joint_states, /imu within 2 s"):
            robot.connect(2.0)
    assert not fake.alive
    robot.close()


def test_the_example_commands_a_robot_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    live = installed(monkeypatch, LiveRos())
    path = project_root() / "examples" / "control_ros2.py"
    example = runpy.run_path(str(path))
    report = example["main"](str(policies_dir() / "pendubot-pybullet-randomized"), 0.3)
    assert report.cycles > 5  # a busy machine may latch a fault of time, which damps
    assert {tuple(m.joint_names) for m in live.published} <= {("shoulder", "elbow"), ("shoulder",)}
    ran = [m for m in live.published if len(m.points[0].effort)]
    assert ran
    assert all(np.abs(m.points[0].effort).max() <= 6.0 for m in ran)
    assert not live.alive


def test_missing_ros_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("rclpy"):
            raise ModuleNotFoundError("No module named 'rclpy'", name="rclpy")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DependencyError, match="'rclpy' is not installed") as error:
        ros2.Ros2Robot(INTERFACE, period_s=0.002)
    assert "\n" not in str(error.value)

"""The examples run: each transport's controller, and the C program, against a robot of the test."""

import importlib.util
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.deploy import Bundle, CommandGate, Mode, load
from simreal.deploy.c_source import c_files
from simreal.deploy.transports import RobotServer
from simreal.deploy.transports.links import robot_link
from simreal.errors import ArmError, DependencyError

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
POLICY = str(ROOT / "policies" / "pendubot-pybullet-randomized")
TICK_S = 0.002


class ThreadRobot:
    """A pendulum that hangs and trembles, so that no sensor looks frozen; it counts commands."""

    def __init__(
        self, transport: str, port: int = 0, changes: dict[str, Any] | None = None
    ) -> None:
        robot = load(POLICY).manifest.robot
        interface = {**robot.interface, **(changes or {})}
        link: Any = robot_link(transport, "127.0.0.1", port)
        self.port, self.modes = link.port, dict.fromkeys(Mode, 0)
        self.gate = CommandGate(robot.actuator_names, shared_clock=True)
        signals = {"joint_pos": ("shoulder", "elbow"), "joint_vel": ("shoulder", "elbow")}
        self.server = RobotServer(link, interface, signals, self.gate, period_s=TICK_S)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._live)
        self.values: dict[str, float] = {}

    def _live(self) -> None:
        rng = np.random.default_rng(0)
        while not self.stop.wait(TICK_S):
            noise = 1e-3 * rng.standard_normal((2, 2))
            now = time.monotonic()
            self.server.publish({"joint_pos": noise[0], "joint_vel": noise[1]}, now)
            self.server.poll()
            if self.gate.latched is not None:
                self.gate.reset()  # the operator of this test is quick
            command = self.gate.active(time.monotonic())
            self.modes[command.mode] += 1
            if command.mode is Mode.RUN:
                self.values = dict(command.values)


@contextmanager
def robot(*args: Any, **options: Any) -> Iterator[ThreadRobot]:
    made = ThreadRobot(*args, **options)
    made.thread.start()
    try:
        yield made
    finally:
        made.stop.set()
        made.thread.join()
        made.server.close()


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def armed(run: Callable[[], Any]) -> Any:
    """Return what a controller reports; a busy machine may be too slow to arm at once."""
    for _ in range(20):
        try:
            return run()
        except ArmError as error:
            last = error
    raise last


@pytest.fixture
def bundle() -> Bundle:
    return load(POLICY)


@pytest.mark.parametrize("transport", ["udp", "zenoh"])
def test_the_controller_of_a_transport_commands_a_robot(transport: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1] if transport == "zenoh" else 0
    module = example(f"control_{transport}")
    with robot(transport, port) as made:
        report = armed(lambda: module.main(POLICY, "127.0.0.1", made.port, 0.5))
        assert report.cycles > 5
        assert made.server.sessions >= 1
        assert made.gate.epoch >= 1


def test_without_ros_its_controller_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(DependencyError, match="Install ROS 2"):
        example("control_ros2").main(POLICY, 0.1)


def test_the_robot_of_this_process_is_swung_up() -> None:
    fault, up = example("control_in_process").main(POLICY, "mujoco_real", 5.0)
    assert fault is None
    assert up


@pytest.fixture
def c_robot(tmp_path: Path, bundle: Bundle) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    for name, content in c_files(bundle).items():
        (tmp_path / name).write_bytes(content)
    strict = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    sources = [str(EXAMPLES / "c_robot" / "robot.c"), str(tmp_path / "policy.c")]
    program = tmp_path / "c_robot"
    command = ["cc", *strict, f"-I{tmp_path}", *sources, "-o", str(program), "-lm"]
    subprocess.run(command, check=True)
    return program


def run_c(program: Path, port: int, seconds: float) -> subprocess.CompletedProcess[str]:
    words = [str(program), "127.0.0.1", str(port), str(seconds)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)


def test_a_c_program_runs_an_exported_policy(c_robot: Path) -> None:
    with robot("udp") as made:
        for _ in range(5):  # a busy machine may keep this thread waiting, which the program refuses
            done = run_c(c_robot, made.port, 2.0)
            if done.returncode == 0:
                break
            time.sleep(1.1)  # the robot obeys the one before for another second
        assert done.returncode == 0, done.stderr
        assert "no fault" in done.stdout
        assert made.gate.epoch >= 1
        assert made.modes[Mode.RUN] > 50
        assert set(made.values) == {"shoulder", "elbow"}
        assert 0.0 < abs(made.values["shoulder"]) < 10.0
        assert made.values["elbow"] == 0.0
        assert made.server.dropped.keys() <= {"another controller commands"}


def test_the_c_program_refuses_another_robot(c_robot: Path) -> None:
    with robot("udp", changes={"name": "another"}) as made:
        done = run_c(c_robot, made.port, 1.0)
    assert done.returncode == 1
    assert "trained for another robot" in done.stderr
    assert made.gate.epoch == 0


def test_the_c_program_stops_when_the_robot_falls_silent(c_robot: Path) -> None:
    with robot("udp") as made:
        words = [str(c_robot), "127.0.0.1", str(made.port), "20"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 10.0
        while made.modes[Mode.RUN] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert made.modes[Mode.RUN] > 0
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "the robot is silent" in out


def test_python_examples_are_short() -> None:
    files = sorted(EXAMPLES.glob("control_*.py"))
    assert files
    assert {f.name: len(f.read_text().splitlines()) < 80 for f in files} == {
        f.name: True for f in files
    }

"""No process outlives its controller, however early that was killed."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from simreal.deploy import read_log


def test_a_recorder_ends_although_its_controller_was_gone_before_it_began(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    program = f"""
    import os, signal
    from simreal.deploy import EventLog
    EventLog({str(path)!r}).event("last words", 1.0)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,  # which the recorder holds open as long as it lives
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        timeout=30.0,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert [event["event"] for event in read_log(path).events] == ["last words"]


@pytest.mark.parametrize("moment", ["_await_ready", "arm"])
def test_a_watchdog_ends_after_its_controller_was_killed(moment: str, tmp_path: Path) -> None:
    """Whether it was killed before it was watched, or afterwards."""
    robot = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    robot.bind(str(tmp_path / "robot"))
    program = f"""
    import os, signal
    from simreal.deploy import Watchdog
    Watchdog.{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    target = "robot_process:DatagramTrip"
    Watchdog(target, {{"path": {str(tmp_path / "robot")!r}}}).arm(1, 0.002, False)
    """
    path = [str(Path(__file__).parent), *(p for p in sys.path if p)]
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        stderr=subprocess.PIPE,  # which the watchdog holds open as long as it lives
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        timeout=30.0,
        check=False,
    )
    robot.close()
    assert ended.returncode == -signal.SIGKILL

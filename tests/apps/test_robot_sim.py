"""A robot in a process of its own, and the controller's verb against it, in real time."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from simreal import cli
from simreal.deploy.transports import RobotClient, UdpLink

Refuse = Callable[..., str]


@contextmanager
def robot_sim(*words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a running robot and its port."""
    command = [sys.executable, "-m", "simreal", "robot-sim", "port=0", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert "500 Hz, udp 127.0.0.1:" in first
        yield process, int(first.rsplit(":", 1)[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_controller_runs_a_robot_in_another_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refuse: Refuse
) -> None:
    report_file = tmp_path / "report.json"
    key = tmp_path / "robot.key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    # Patient in everything that depends on how busy this machine is.
    patient = ("limit=1.0", "patience=1000")
    with robot_sim("target=mujoco_ideal", f"key_file={key}") as (process, port):
        words = ("policy=pendubot-pybullet-randomized", f"port={port}", f"key_file={key}")
        cli.main(["control", *words, *patient, "duration=1.0", f"output={report_file}"])
        report = json.loads(report_file.read_text())
        assert report["cycles"] > 50
        assert report["fault"] is None or "rate" in report["fault"] or "cycle" in report["fault"]
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == report

        with RobotClient(UdpLink(to=("127.0.0.1", port)), key=key.read_bytes().strip()) as client:
            client.connect(20.0)
            client.control({"fault": "nan"})
            deadline = time.monotonic() + 20.0
            while not np.isnan(client.read().values["joint_pos"]).any():
                assert time.monotonic() < deadline
                client._link.wait(0.1)

        line = refuse("control", *words, *patient, "duration=1.0", code=1)
        assert "refuses to arm" in line
        assert "joint_pos" in line
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
        assert process.wait(20.0) == 0
    assert (result["robot"], result["domain"]) == ("double_pendulum", "mujoco_ideal")
    assert result["sessions"] == 3
    assert result["gate"]["accepted"] >= 50
    assert result["faults"] == ["nan"]
    assert result["damped_ticks"] > 0
    assert result["dropped"].keys() <= {"another controller commands"}
    assert [run["epoch"] for run in result["runs"]] == [1]
    assert result["runs"][0]["duration_s"] > 0.1


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("duration=0", "duration: got 0"),
        ("fault=nam", "unknown fault 'nam'"),
        ("fault_size=nan", "size of fault 'none'"),
        ("damping=-1", "damping: got -1"),
        ("transport=carrier_pigeon", "unknown transport 'carrier_pigeon'"),
        ("port=70000", "port 70000"),
        ("key_file=/no/such/file", "key_file: got '/no/such/file'"),
        ("ports=1", "ports"),
    ],
)
def test_wrong_settings_are_refused(refuse: Refuse, word: str, part: str) -> None:
    code = 1 if word.startswith(("port=", "key_file")) else 2
    assert part in refuse("robot-sim", "task=pendulum", "robot=simple_pendulum", word, code=code)

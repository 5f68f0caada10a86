"""A robot in a process of its own, and the controller's verb against it, in real time."""

import contextlib
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
from simreal.deploy import Controller, LoopReport, load
from simreal.deploy.settings import ControlSettings
from simreal.deploy.transports import RobotClient, UdpLink
from simreal.domains.robot_faults import FAULTS, Fault
from simreal.domains.robot_host import HostReport
from simreal.errors import ArmError

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


def run_patiently(port: int, key: bytes) -> LoopReport:
    """Run the shipped policy for half a second, however busy this machine is."""
    bundle = load("policies/pendubot-pybullet-randomized")
    with RobotClient(UdpLink(to=("127.0.0.1", port)), key=key).connect(20.0) as client:
        settings = ControlSettings.of(
            bundle.manifest,
            actuator_multiple=5,
            deadline_s=10.0,
            max_consecutive_overruns=10**6,
            rate_tolerance=1e6,
            max_gap_periods=1e6,
            max_stale_periods=10**6,
            frozen_periods=10**6,
            jump_factor=1e6,
        )
        controller = Controller(bundle, client, settings=settings, ttl_s=1.0, without_watchdog=True)
        for _ in range(20):  # a measurement may be old by the time it is judged
            with contextlib.suppress(ArmError):
                controller.arm()
                break
        return controller.run(0.5)


def test_a_controller_runs_a_robot_in_another_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refuse: Refuse
) -> None:
    key = tmp_path / "robot.key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    secret = key.read_bytes().strip()
    with robot_sim("target=mujoco_ideal", f"key_file={key}") as (process, port):
        report = run_patiently(port, secret)
        assert report.fault is None
        assert report.cycles > 5

        words = ("policy=pendubot-pybullet-randomized", f"port={port}", f"key_file={key}")
        output = tmp_path / "report.json"
        words += ("limit=1.0", "watchdog=false")
        code = cli.main(["control", *words, "duration=0.2", f"output={output}"])
        printed = capsys.readouterr()
        if code == 0:  # else this machine was too busy for the rate, and one line says so
            assert json.loads(printed.out.splitlines()[-1]) == json.loads(output.read_text())
        else:
            assert output.exists() or printed.err.count("\n") == 1

        with RobotClient(UdpLink(to=("127.0.0.1", port)), key=secret).connect(20.0) as client:
            client.control({"fault": "nan"})
            deadline = time.monotonic() + 20.0
            while not np.isnan(client.read().values["joint_pos"]).any():
                assert time.monotonic() < deadline
                client._link.wait(0.1)

        line = refuse("control", *words, code=1)
        assert "refuses to arm" in line
        assert "joint_pos" in line
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
        assert process.wait(20.0) == 0
    assert (result["robot"], result["domain"]) == ("double_pendulum", "mujoco_ideal")
    assert result["sessions"] == 4
    assert result["faults"] == ["nan"]
    assert result["damped_ticks"] > 0
    assert result["dropped"].keys() <= {"another controller commands"}
    assert result["runs"][0]["duration_s"] > 0


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_controller_that_is_told_to_stop_disarms_and_reports(told: signal.Signals) -> None:
    with robot_sim("target=mujoco_ideal") as (robot, port):
        words = ("policy=pendubot-pybullet-randomized", f"port={port}", "duration=600", "limit=1.0")
        command = [sys.executable, "-m", "simreal", "control", *words, "patience=1000000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert "pendubot" in process.stdout.readline()
            process.send_signal(told)
            stopped, report = process.stdout.read().splitlines()
            code = process.wait(20.0)
        robot.send_signal(signal.SIGTERM)
        assert robot.stdout is not None
        seen = json.loads(robot.stdout.read())
    result = json.loads(report)
    assert stopped.startswith("stopped    as told, after ")
    assert result["interrupted"] is True
    assert result["wall_s"] < 500
    assert code == (0 if result["fault"] is None else 1)  # a busy machine may be too late
    assert result["fault"] is not None or seen["latched"] is None


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_can_be_said_by_option(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def host(settings: object, robot: object, task: object, fault: Fault, what: str) -> HostReport:
        seen.append(fault.name)
        return HostReport()

    monkeypatch.setattr("simreal.apps.robot_sim._host", host)
    words = ("task=pendulum", "robot=simple_pendulum", "port=0")
    assert cli.main(["robot-sim", *words, f"fault={name}", "fault_at=5"]) == 0
    assert seen == [name]


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("duration=0", "duration: got 0"),
        ("fault=nam", "unknown fault 'nam'"),
        ("fault_size=nan", "size of fault 'none'"),
        ("damping=-1", "damping: got -1"),
        ("priority=0", "priority: got 0; 1 to 99"),
        ("output=/", "output: got '/', which is no plain file"),
        ("transport=carrier_pigeon", "unknown transport 'carrier_pigeon'"),
        ("port=70000", "port 70000"),
        ("key_file=/no/such/file", "key_file: got '/no/such/file'"),
        ("ports=1", "ports"),
    ],
)
def test_wrong_settings_are_refused(refuse: Refuse, word: str, part: str) -> None:
    code = 1 if word.startswith(("port=", "key_file")) else 2
    assert part in refuse("robot-sim", "task=pendulum", "robot=simple_pendulum", word, code=code)

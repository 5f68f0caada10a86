"""A log tells whether the policy did what its bundle says, and where it first did not."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from simreal.apps.replay import _summary, _timeline
from simreal.cli import main
from simreal.core.robot import Robot
from simreal.deploy import Bundle, EventLog, load, read_log
from simreal.deploy.blackbox import TICK_COLUMNS
from simreal.deploy.logreplay import replay_log
from simreal.errors import ConfigError
from tests.deploy.fake_robot import FakeRobot, changed, make_controller


@pytest.fixture(scope="module")
def bundle(written: Path) -> Bundle:
    return load(written)


def _run(path: Path, bundle: Bundle, robot: Robot, order: tuple[int, ...] = (0, 1, 2)) -> Path:
    fake = FakeRobot(robot, order)
    with EventLog(path, process=False) as log:
        controller = make_controller(bundle, fake, log=log)
        for _ in range(2):
            controller.arm()
            controller.run(0.3)
        controller.arm()
        controller.cycle()
        fake.sleep(0.002)
        fake.sense = lambda s: changed(s, lambda v: v["joint_vel"].fill(np.nan))
        controller.cycle()
        controller.stop()
    return path


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_good_run_is_what_its_bundle_gives(
    order: tuple[int, ...], bundle: Bundle, robot: Robot, tmp_path: Path
) -> None:
    log = read_log(_run(tmp_path / "run.log", bundle, robot, order))
    result = replay_log(log, bundle)
    assert (result.steps, result.episodes, result.skipped, result.first) == (61, 3, 0, None)
    assert max(result.worst.values()) < 1e-6
    assert log.header["policy"] == "arm-test"
    assert log.header["elements"]["joint_pos"] == [
        ("shoulder", "slider", "elbow")[i] for i in order
    ]
    # 150 commands per run, one before the fault, one with it; the stops are no cycles.
    assert len(log.ticks) == 302
    states = [log.header["states"][int(c)] for c in log.ticks[:, TICK_COLUMNS.index("state")]]
    assert states == ["run"] * 301 + ["safe-stop"]


def test_every_change_of_state_is_an_event(bundle: Bundle, robot: Robot, tmp_path: Path) -> None:
    log = read_log(_run(tmp_path / "run.log", bundle, robot))
    last = [e for e in log.events if e["event"] == "state"][-5:]
    assert [(e["before"], e["after"]) for e in last] == [
        ("self-tested", "hold"),
        ("hold", "blend"),
        ("blend", "run"),
        ("run", "safe-stop"),
        ("safe-stop", "fault"),
    ]
    assert last[-2]["why"].startswith("signal 'joint_vel' of 'shoulder': expected a number")
    assert log.events[-1]["fault"] == last[-2]["why"]
    assert "samples lost" in log.events[-1]["counts"]


def test_the_first_difference_is_named(bundle: Bundle, robot: Robot, tmp_path: Path) -> None:
    log = read_log(_run(tmp_path / "run.log", bundle, robot))
    start = 3 + 6  # time, first, step; then two signals of three joints
    decisions = log.decisions.copy()
    decisions[40, start + 6] += 0.01  # the first entry of the term `vel`
    decisions[45, start] += 0.01
    first = replay_log(dataclasses.replace(log, decisions=decisions), bundle).first
    assert first is not None
    assert (first.step, first.stage, first.name) == (40, "observation", "vel[elbow]@0")
    assert first.found - first.expected == pytest.approx(0.01, abs=1e-6)
    assert str(first).startswith("step 40 (")
    decisions = log.decisions.copy()
    decisions[7, -2] += 0.5
    first = replay_log(dataclasses.replace(log, decisions=decisions), bundle).first
    assert first is not None
    assert (first.step, first.stage, first.name) == (7, "command", "elbow")


def test_steps_after_a_lost_one_are_not_compared(
    bundle: Bundle, robot: Robot, tmp_path: Path
) -> None:
    log = read_log(_run(tmp_path / "run.log", bundle, robot))
    decisions = np.delete(log.decisions, 10, axis=0)
    result = replay_log(dataclasses.replace(log, decisions=decisions), bundle)
    assert (result.steps, result.skipped, result.first) == (60, 19, None)


def test_the_verb(
    written: Path,
    bundle: Bundle,
    robot: Robot,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = _run(tmp_path / "run.log", bundle, robot)
    assert main(["replay", str(path), f"policy={written}"]) == 0
    out = capsys.readouterr().out
    assert "golden replay: 64 steps" in out
    assert "run -> safe-stop: signal 'joint_vel' of 'shoulder': expected a number, found nan" in out
    assert "commands   302: 301 run, 1 safe-stop" in out
    assert "every step of the policy is what its bundle gives" in out


def test_the_verb_tells_of_a_difference(
    written: Path,
    bundle: Bundle,
    robot: Robot,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The controller ran a runtime that is not the bundle's."""
    fake, path = FakeRobot(robot), tmp_path / "run.log"
    with EventLog(path, process=False) as log:
        controller = make_controller(bundle, fake, log=log)
        controller.arm()
        controller._policy._network.rows[-1][-1, 1] += 0.01
        controller.run(0.1)
    assert main(["replay", str(path), f"policy={written}"]) == 1
    out = capsys.readouterr().out
    assert "verdict    first difference: step 0 (0.000 s), output elbow: expected" in out


@pytest.mark.parametrize(
    "arguments", [[], ["run.log"], ["a", "b", "policy=c"], ["run.log", "polcy=x"]]
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *arguments]) == 2
    assert "expected a log and its policy: simreal replay LOG policy=" in capsys.readouterr().err


def test_a_log_of_another_policy(
    written: Path, bundle: Bundle, robot: Robot, tmp_path: Path
) -> None:
    log = read_log(_run(tmp_path / "run.log", bundle, robot))
    other = dataclasses.replace(bundle, sha256="0" * 64)
    with pytest.raises(ConfigError, match="log: expected one of policy 'arm-test'"):
        replay_log(log, other)
    short = dataclasses.replace(log, decisions=log.decisions[:, :-1])
    with pytest.raises(ConfigError, match="numbers per step of the policy, found"):
        replay_log(short, bundle)


@pytest.mark.parametrize("found", [None, 3, {"joint_pos": ["a"]}, {"joint_pos": 1, "joint_vel": 2}])
def test_a_changed_header_is_refused(
    bundle: Bundle, robot: Robot, tmp_path: Path, found: object
) -> None:
    log = read_log(_run(tmp_path / "run.log", bundle, robot))
    changed = dataclasses.replace(log, header={**log.header, "elements": found})
    with pytest.raises(ConfigError, match=r"expected the elements of joint_pos, .* was changed"):
        replay_log(changed, bundle)


def test_unknown_states_are_counted_as_such(
    bundle: Bundle, robot: Robot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = read_log(_run(tmp_path / "run.log", bundle, robot))
    for states in (None, 1, ["run"], [["a"]]):
        _summary(dataclasses.replace(log, header={**log.header, "states": states}))
        assert "unknown state" in capsys.readouterr().out


def test_events_that_were_changed_are_shown_as_they_are(
    bundle: Bundle, robot: Robot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = read_log(_run(tmp_path / "run.log", bundle, robot))
    changed = [{}, {"event": "state"}, {"event": 3, "time_s": "x", "counts": 1}]
    _timeline(dataclasses.replace(log, events=changed))
    assert capsys.readouterr().out.count("nan s") == 3


def test_a_log_without_a_header_says_so(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EventLog(tmp_path / "a.log", process=False):
        pass
    assert main(["replay", str(tmp_path / "a.log"), f"policy={written}"]) == 2
    assert (
        "expected a header, found none; its controller was never armed" in capsys.readouterr().err
    )


def test_a_log_without_steps_is_no_success(
    bundle: Bundle, robot: Robot, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeRobot(robot)
    with EventLog(tmp_path / "a.log", process=False) as log:
        controller = make_controller(bundle, fake, log=log)
        controller.arm()
        controller.hold()
        controller.run(0.05)
    assert main(["replay", str(tmp_path / "a.log"), f"policy={written}"]) == 1
    assert "nothing was compared" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_plain_file_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(ConfigError, match="expected a plain file, found something else"):
        read_log(path)

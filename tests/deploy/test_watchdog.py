"""A controller that is killed, stopped or hangs leaves damped joints, and cannot come back."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simreal.core.robot import Robot
from simreal.deploy import Bundle, Controller, Mode, Verdict, Watchdog, load
from simreal.deploy.heartbeat import Heartbeat
from simreal.deploy.realtime import RealTime
from simreal.deploy.watch import Watch, make_target
from simreal.deploy.watchdog import time_to_damping_s
from simreal.errors import ArmError, ConfigError
from tests.deploy.fake_robot import TICK, FakeRobot, make_controller
from tests.deploy.robot_process import LiveRobot, kill, start_controller

MS = 1_000_000


class Told:
    """A trip target that notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.broken = False

    def trip(self, reason: str, epoch: int) -> None:
        if self.broken:
            raise OSError("network is down")
        self.calls.append((reason, epoch))

    def close(self) -> None:
        self.broken = True


class Lingering:
    """A trip target with a thread, as network libraries have: a process ends only without it."""

    def __init__(self) -> None:
        self._end = threading.Event()
        threading.Thread(target=self._end.wait).start()

    def trip(self, reason: str, epoch: int) -> None:
        raise OSError("nobody is told")

    def close(self) -> None:
        self._end.set()


class Bench:
    def __init__(self) -> None:
        self.beat, self.told, self.lives = Heartbeat(), Told(), True
        self.watch = Watch(self.beat, self.told, lambda: self.lives)

    def arm(self, epoch: int, now_ns: int) -> None:
        for name, value in (("limit_ns", 3 * MS), ("beat_ns", now_ns), ("epoch", epoch)):
            self.beat.set(name, value)
        self.beat.set("armed", 1)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.beat.close()


def test_it_trips_when_the_heart_stops_and_not_before(bench: Bench) -> None:
    bench.watch.look(100 * MS)
    assert bench.told.calls == []  # nothing is armed
    bench.arm(4, 200 * MS)
    bench.watch.look(203 * MS)
    assert bench.told.calls == []
    bench.watch.look(203 * MS + 1)
    assert bench.told.calls == [("the controller was silent for 3.0 ms", 4)]
    assert bench.beat.get("tripped_epoch") == 4
    assert bench.beat.beat() is True  # so the controller learns of it, should it come back


def test_it_tells_again_until_somebody_arms_anew(bench: Bench) -> None:
    bench.arm(4, 0)
    for ms in range(5, 106):
        bench.watch.look(ms * MS)
    assert 4 <= len(bench.told.calls) <= 6  # every 20 ms
    assert {epoch for _, epoch in bench.told.calls} == {4}
    bench.arm(5, 200 * MS)
    told = len(bench.told.calls)
    bench.watch.look(201 * MS)
    assert len(bench.told.calls) == told
    bench.watch.look(204 * MS)
    assert bench.told.calls[-1][1] == 5


def test_a_way_that_fails_is_tried_again(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.arm(1, 0)
    bench.told.broken = True
    bench.watch.look(5 * MS)
    assert "cannot trip the robot: network is down" in capsys.readouterr().err
    bench.told.broken = False
    bench.watch.look(26 * MS)
    assert len(bench.told.calls) == 1


def test_a_controller_that_is_gone_is_tripped_at_once(bench: Bench) -> None:
    bench.arm(1, 0)
    bench.lives = False
    bench.watch.look(1 * MS)
    assert bench.told.calls == [("the controller is gone, silent for 1.0 ms", 1)]
    assert not bench.watch.done
    bench.watch.look(2002 * MS)
    assert bench.watch.done


def test_a_disarmed_controller_may_be_silent(bench: Bench) -> None:
    bench.arm(1, 0)
    bench.beat.set("armed", 0)
    bench.watch.look(1000 * MS)
    assert bench.told.calls == []
    bench.beat.set("closed", 1)
    bench.watch.look(1001 * MS)
    assert bench.watch.done


def test_it_looks_ten_times_per_limit(bench: Bench) -> None:
    bench.arm(1, 0)
    assert bench.watch.wait_s() == pytest.approx(3e-4)
    bench.beat.set("limit_ns", 600_000 * MS)
    assert bench.watch.wait_s() == 0.1  # else its controller would take it for stopped


@pytest.mark.parametrize(
    ("period_s", "real_time", "limit_s"),
    [(0.002, True, 0.004), (0.002, False, 0.01), (0.01, False, 0.02), (0.01, True, 0.02)],
)
def test_how_soon_joints_are_damped(period_s: float, real_time: bool, limit_s: float) -> None:
    assert time_to_damping_s(period_s, real_time) == limit_s


def test_memory_of_another_version_is_refused() -> None:
    with Heartbeat() as beat:
        beat.set("version", 2)
        with pytest.raises(ValueError, match="heartbeat: expected version 1, found 2"):
            Heartbeat(os.dup(beat.fd))


@pytest.mark.parametrize(
    ("spec", "arguments"),
    [("no_such_module:x", {}), ("json:no_such_name", {}), ("json:dumps", {"wrong": 1})],
)
def test_a_target_that_cannot_be_made(spec: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="watchdog target: got"):
        make_target(spec, arguments)


def test_a_watchdog_that_does_not_start_refuses(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArmError, match="watchdog: expected the process to start"):
        Watchdog("no_such_module:x")
    assert "which cannot be made" in capfd.readouterr().err


def test_a_watchdog_that_was_killed_or_stopped_is_noticed() -> None:
    with Watchdog("tests.deploy.test_watchdog:Told") as watchdog:
        assert watchdog.problem() is None
        os.kill(watchdog.pid, signal.SIGSTOP)
        _until(lambda: "silent" in (watchdog.problem() or ""))
        os.kill(watchdog.pid, signal.SIGCONT)
        _until(lambda: watchdog.problem() is None)
        os.kill(watchdog.pid, signal.SIGKILL)
        _until(lambda: "ended with -9" in (watchdog.problem() or ""))


@pytest.fixture
def bundle(written: Path) -> Bundle:
    return load(written)


def _runs(controller: Controller, fake: FakeRobot) -> None:
    controller.arm()
    for _ in range(3):
        controller.cycle()
        assert fake.act().mode is Mode.RUN
        fake.sleep(TICK)


def test_a_controller_whose_watchdog_was_killed_damps_and_does_not_arm(
    bundle: Bundle, robot: Robot
) -> None:
    fake = FakeRobot(robot)
    with Watchdog("tests.deploy.test_watchdog:Told", limit_s=600.0) as watchdog:
        controller = make_controller(bundle, fake, watchdog=watchdog)
        _runs(controller, fake)
        os.kill(watchdog.pid, signal.SIGKILL)
        _until(lambda: watchdog.problem() is not None)
        controller.cycle()
        words = "watchdog: expected a running process, found one that ended with -9"
        assert controller.fault == words
        assert fake.act().mode is Mode.DAMP
        controller.clear_fault()
        with pytest.raises(ArmError, match=words):
            controller.arm()


def test_a_controller_that_was_tripped_learns_of_it(bundle: Bundle, robot: Robot) -> None:
    """And its next arming has an epoch that nobody has revoked."""
    fake = FakeRobot(robot)
    with Watchdog("tests.deploy.test_watchdog:Told", limit_s=600.0) as watchdog:
        controller = make_controller(bundle, fake, watchdog=watchdog)
        _runs(controller, fake)
        watchdog._beat.set("limit_ns", 1)
        _until(lambda: watchdog.tripped_epoch == 1)
        controller.cycle()
        assert controller.fault == "the watchdog tripped epoch 1"
        assert fake.act().mode is Mode.DAMP
        controller.clear_fault()
        _runs(controller, fake)
        assert controller.epoch == 2


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def live(robot: Robot, tmp_path: Path) -> Iterator[LiveRobot]:
    made = LiveRobot(robot, tmp_path)
    made.start()
    yield made
    made.stop()


def _running(written: Path, live: LiveRobot, priority: int | None = None) -> subprocess.Popen:
    """Return a controller that runs; on a busy machine the watchdog may trip before it does."""
    for _ in range(20):
        live.gate.reset()
        live.running.clear()
        process = start_controller(written, live, priority)
        assert process.stdout is not None
        process.stdout.readline()
        while not live.running.wait(0.01):
            if live.gate.latched is not None or process.poll() is not None:
                break
        else:
            return process
        _end(process)
    raise AssertionError("the controller never ran")


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


def _time_to_damping(
    written: Path,
    live: LiveRobot,
    number: signal.Signals,
    within_s: float,
    priority: int | None = None,
) -> float:
    """Return the best of a few attempts, from the signal to the last command that was acted on."""
    took: list[float] = []
    for _ in range(10):
        process = _running(written, live, priority)
        at = kill(process, number)
        _until(lambda: live.gate.latched is not None)
        acted = live.acted_s
        time.sleep(0.02)
        assert live.acted_s == acted
        assert "the controller" in live.trips[-1]
        _end(process)
        if live.tripped_s > at:  # otherwise it had been tripped before
            took.append(acted - at)
        if took and took[-1] <= within_s:
            break
    return min(took)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_process_is_damped_in_time(
    number: signal.Signals, written: Path, live: LiveRobot
) -> None:
    """10 ms without real-time scheduling, of the machine's best of ten: it may be busy."""
    assert _time_to_damping(written, live, number, within_s=0.01) <= 0.01


def test_a_process_that_goes_on_after_the_trip_commands_nothing(
    written: Path, live: LiveRobot
) -> None:
    process = _running(written, live)
    kill(process, signal.SIGSTOP)
    _until(lambda: live.gate.latched is not None)
    acted, epoch = live.acted_s, live.gate.epoch
    live.gate.reset()  # even if the operator is careless enough to do so now
    kill(process, signal.SIGCONT)
    _until(lambda: live.gate.counts[Verdict.REVOKED_EPOCH] > 10)
    assert live.acted_s == acted
    assert live.gate.revoked >= epoch
    _end(process)
    again = _running(written, live)
    assert live.gate.epoch > epoch
    assert live.acted_s > acted
    _end(again)


def test_the_watchdog_outlives_the_controllers_group(written: Path, live: LiveRobot) -> None:
    process = _running(written, live)
    os.killpg(process.pid, signal.SIGKILL)
    _until(lambda: live.gate.latched is not None)
    assert "is gone" in live.trips[0] or "was silent" in live.trips[0]
    _end(process)


def _real_time_refused() -> bool:
    with RealTime(priority=1, required=False).granted() as refused:
        return bool(refused)


@pytest.mark.skipif(_real_time_refused(), reason="needs the right to real-time scheduling")
def test_under_real_time_scheduling_two_periods_are_enough(
    robot: Robot, tmp_path: Path, written: Path
) -> None:
    live = LiveRobot(robot, tmp_path, priority=30)
    live.start()
    took = _time_to_damping(written, live, signal.SIGKILL, within_s=0.004, priority=20)
    live.stop()
    assert took <= 0.004


def test_the_process_ends_although_its_way_to_the_robot_has_a_thread() -> None:
    with Watchdog("tests.deploy.test_watchdog:Lingering") as watchdog:
        process = watchdog._process
    assert process.returncode == 0  # a process that had to be killed has -9

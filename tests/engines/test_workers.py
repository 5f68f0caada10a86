"""An engine in worker processes is the same engine, to the last bit, and leaves nothing behind."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.core.params import DynamicsParams
from simreal.engines import (
    Engine,
    EngineSpec,
    crew,
    make_engine,
    process_crew,
    worker_process,
)
from simreal.engines.bell import STEP, Spin, num_words
from simreal.engines.crew import Loss
from simreal.engines.process_crew import ProcessCrew
from simreal.engines.shared import Layout
from simreal.engines.workers import ProcessWorkers, WorkerEngine
from simreal.errors import ConfigError, EngineError, ParameterError, UnknownNameError
from tests.engines import sample_robots as robots

N = 5
PARAMS = ("mass.arm1", "com.arm0", "gravity")
Start = Callable[..., WorkerEngine]
ROOT = Path(__file__).resolve().parents[2]


def spec(**settings: Any) -> EngineSpec:
    robot = robots.pendulums(damping=0.01, friction=0.05)
    base = {"num_worlds": N, "tick_s": 0.002, "ticks": 5, "bodies": ("arm1",), "params": PARAMS}
    return EngineSpec(robot=robot, **{**base, **settings})


@pytest.fixture
def workers() -> Iterator[Start]:
    """Start worker engines, and end them."""
    made = []

    def make(
        name: str = "pybullet",
        count: int = 2,
        step_timeout_s: float = 60.0,
        joins: bool = False,
        **settings: Any,
    ) -> WorkerEngine:
        pytest.importorskip(name)
        crew = ProcessWorkers(count=count, joins=joins).make_crew
        engine = WorkerEngine(
            name, spec(**settings), count, make_crew=crew, step_timeout_s=step_timeout_s
        )
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def episode(engine: Engine) -> np.ndarray:
    """Use every method of the contract, and record all that can be read."""
    rng = np.random.default_rng(0)
    state, found = engine.new_state(), []
    everyone, some = np.ones(N, dtype=bool), np.array([True, False, False, True, False])

    def record() -> None:
        for read in (engine.read, engine.sample):
            read(state)
            found.append(state.buffer.copy())

    record()
    engine.reset(everyone, rng.normal(size=(N, 2)), rng.normal(size=(N, 2)))
    record()
    values = {"mass.arm1": rng.uniform(0.3, 1.0, N), "com.arm0": rng.normal(size=(N, 3)) * 0.1}
    engine.apply(DynamicsParams(engine.specs, values, N), some)
    for step in range(12):
        ticks = rng.integers(1, 6, N) if step % 3 else None
        engine.step(rng.normal(size=(5, N, 2)), ticks)
        record()
        if step == 5:
            saved = engine.get_state()
            engine.reset(some, rng.normal(size=(N, 2)), np.zeros((N, 2)))
            record()
    engine.set_state(saved)
    record()
    engine.step(rng.normal(size=(5, N, 2)))
    record()
    return np.array(found)


def test_results_do_not_depend_on_the_number_of_workers(engine_name: str, workers: Start) -> None:
    single = make_engine(engine_name, spec())
    wanted = episode(single)
    single.close()
    for count, joins in ((2, False), (3, False), (2, True)):
        np.testing.assert_array_equal(episode(workers(engine_name, count, joins=joins)), wanted)


def test_more_workers_than_worlds_are_not_started(workers: Start) -> None:
    engine = workers(count=9, num_worlds=2)
    assert len(engine._crew.processes) == 2


def test_one_is_asked_for_by_number(workers: Start) -> None:
    engine = make_engine("pybullet", spec(), workers=2)
    try:
        assert isinstance(engine, WorkerEngine)
        assert engine.name == "pybullet"
        assert engine.exact_state
        assert engine.capability(engine.robot, engine.specs["gravity"]).supported
    finally:
        engine.close()


@pytest.mark.parametrize(("cores", "processes"), [(2, [1]), (3, [0, 1])])
def test_this_process_joins_where_there_is_no_processor_to_spare(
    cores: int, processes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pybullet")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    engine = make_engine("pybullet", spec(), workers=2)
    try:
        assert isinstance(engine, WorkerEngine)
        assert sorted(engine._crew.processes) == processes
    finally:
        engine.close()


def test_the_own_share_goes_on_when_another_worker_is_replaced(workers: Start) -> None:
    engine = workers(joins=True)
    single = make_engine("pybullet", spec())
    wanted = use(single)
    single.close()
    np.testing.assert_array_equal(use(engine), wanted)
    os.kill(engine._crew.processes[1].pid, signal.SIGKILL)
    engine.step(np.zeros((5, N, 2)))
    lost = engine.health(engine.new_state()).lost
    assert lost is not None
    assert lost.tolist() == [False, False, True, True, True]
    np.testing.assert_array_equal(use(engine), wanted)


def test_an_error_in_the_own_share_is_that_of_a_worker(workers: Start) -> None:
    with pytest.raises(ParameterError, match=r"cannot apply 'armature.elbow'"):
        workers(joins=True, params=("armature.elbow",))
    assert multiprocessing.active_children() == []
    engine = workers(joins=True)
    with pytest.raises(EngineError, match="a worker failed"):
        engine.render(0, -1, "wide")  # type: ignore[arg-type]
    engine.step(np.zeros((5, N, 2)))
    engine.close()
    engine.close()
    assert multiprocessing.active_children() == []


def test_a_picture_is_that_of_the_world_asked_for(workers: Start) -> None:
    engine = workers(num_worlds=2, params=())
    single = make_engine("pybullet", spec(num_worlds=2, params=()))
    np.testing.assert_array_equal(engine.render(1, 32, 24), single.render(1, 32, 24))
    single.close()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"params": ("armature.elbow",)}, ParameterError, "cannot apply 'armature.elbow'"),
        ({"bodies": ("absent",)}, UnknownNameError, "absent"),
    ],
)
def test_what_a_worker_refuses_to_build_is_refused_here(
    workers: Start, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        workers(**settings)
    assert "Traceback" in str(caught.value.__cause__)
    assert multiprocessing.active_children() == []


def test_a_worker_that_fails_after_another_one_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    refused, layout = spec(params=("mass.absent",)), Layout(5, N, 2, 9, 2, num_words=num_words(1))
    here, there = multiprocessing.Pipe()
    here.close()  # the parent has heard enough
    spin = Spin(0.0, 0.0, yields=False)
    worker_process.serve(
        there, None, np.zeros(layout.size), layout, (0, 0), spin, "mujoco", refused
    )
    assert there.closed


def test_fewer_than_one_worker_is_refused() -> None:
    with pytest.raises(ConfigError, match="workers is 0"):
        WorkerEngine("pybullet", spec(), 0)
    with pytest.raises(ConfigError, match="workers is -1"):
        make_engine("pybullet", spec(), workers=-1)
    with pytest.raises(ConfigError, match="count is 0"):
        ProcessWorkers(count=0)


def test_an_error_in_a_worker_names_it_and_the_others_go_on(workers: Start) -> None:
    engine = workers()
    state = engine.get_state()
    wrong = {**state, "now": state["now"][:, :2]}
    with pytest.raises(EngineError, match="'now' has shape") as caught:
        engine.set_state(wrong)
    assert "set_state" in str(caught.value.__cause__)
    engine.set_state(state)
    engine.step(np.zeros((5, N, 2)))


def test_an_error_that_is_no_simreal_error_carries_its_traceback(workers: Start) -> None:
    engine = workers()
    with pytest.raises(EngineError, match=r"a worker failed: .*\n.*worker process \d+") as caught:
        engine.render(0, -1, "wide")
    assert "render" in str(caught.value)


def test_commands_of_a_wrong_shape_are_refused_before_they_are_sent(workers: Start) -> None:
    with pytest.raises(EngineError, match=r"\(5, 5, 2\)"):
        workers().step(np.zeros((5, N, 1)))


def use(engine: Engine) -> np.ndarray:
    """Reset to a fixed state, and return where two steps lead."""
    state, everyone = engine.new_state(), np.ones(N, dtype=bool)
    engine.reset(everyone, np.full((N, 2), 0.3), np.zeros((N, 2)))
    for _ in range(2):
        engine.step(np.ones((5, N, 2)))
    engine.read(state)
    return state.buffer.copy()


def test_a_killed_worker_is_replaced_and_its_worlds_are_reported(
    workers: Start, caplog: pytest.LogCaptureFixture
) -> None:
    engine, state = workers(), spec()
    values = {"mass.arm1": np.linspace(0.4, 0.9, N), "gravity": np.linspace(5.0, 9.0, N)}
    single = make_engine("pybullet", state)
    for one in (engine, single):
        one.apply(DynamicsParams(one.specs, values, N), np.arange(N) != 3)
    wanted = use(single)
    np.testing.assert_array_equal(use(engine), wanted)
    os.kill(engine._crew.processes[1].pid, signal.SIGKILL)
    engine.step(np.zeros((5, N, 2)))
    now = engine.new_state()
    engine.read(now)
    health = engine.health(now)
    assert health.lost is not None
    assert health.lost.tolist() == [False, False, True, True, True]
    assert not health.diverged.any()
    assert "3 of 5 worlds lost their worker" in health.reason
    assert not now.joint_pos[2:].any()  # at the default pose, the others went on
    assert now.joint_pos[:2].all()
    assert "worker 1 (worlds 2 to 4) ended with exit code -9" in caplog.text
    np.testing.assert_array_equal(use(engine), wanted)  # with the parameters they had
    assert engine.health(now).lost is None
    assert engine.limit.total == 1
    single.close()


def test_a_worker_that_died_between_steps_is_replaced_at_the_next_call(workers: Start) -> None:
    engine = workers()
    os.kill(engine._crew.processes[0].pid, signal.SIGKILL)
    everyone = np.ones(N, dtype=bool)
    engine.reset(everyone, np.full((N, 2), 0.3), np.zeros((N, 2)))
    state = engine.new_state()
    engine.read(state)
    assert (state.joint_pos == 0.3).all()
    engine.step(np.zeros((5, N, 2)))
    assert engine.health(state).lost is None  # all were reset, so nothing is lost
    os.kill(engine._crew.processes[0].pid, signal.SIGKILL)
    assert engine.get_state()["now"].shape[0] == N
    engine.step(np.zeros((5, N, 2)))
    lost = engine.health(state).lost
    assert lost is not None
    assert lost.tolist() == [True, True, False, False, False]


def test_a_worker_that_hangs_is_replaced_after_the_time_out(
    workers: Start, caplog: pytest.LogCaptureFixture
) -> None:
    engine = workers(step_timeout_s=0.3)
    os.kill(engine._crew.processes[0].pid, signal.SIGSTOP)
    engine.step(np.zeros((5, N, 2)))
    assert "did not answer within 0.3 s" in caplog.text
    assert engine.limit.total == 1


def test_nobody_waits_for_a_worker_that_was_ended_for_hanging(workers: Start) -> None:
    crew = workers(step_timeout_s=2.0)._crew
    os.kill(crew.processes[0].pid, signal.SIGSTOP)
    crew.begin([0, 1], STEP)
    found = crew.collect([0, 1])
    assert list(found) == [0]
    assert isinstance(found[0], Loss)
    start = time.monotonic()
    crew.begin_call({1: ("render", (0, 4, 4))})  # before the other one is replaced
    assert crew.collect([1])[1].shape == (4, 4, 3)
    assert time.monotonic() - start < 1.5


def test_a_worker_that_is_stopped_before_it_reads_a_call_is_replaced(workers: Start) -> None:
    engine = workers("mujoco", step_timeout_s=0.5)
    state = engine.get_state()
    os.kill(engine._crew.processes[0].pid, signal.SIGSTOP)
    engine.set_state({**state, "more": np.zeros((N, 200_000))})  # more than the pipe holds
    assert engine.limit.total == 1
    np.testing.assert_array_equal(engine.get_state()["integration"], state["integration"])


def test_a_worker_that_is_stopped_while_it_answers_is_replaced(workers: Start) -> None:
    pytest.importorskip("mujoco")
    engine = workers("mujoco", step_timeout_s=0.5)
    crew = engine._crew
    crew.begin_call({0: ("render", (0, 400, 400))})  # an answer of more than the pipe holds
    while not crew._bells[0].done:
        pass
    os.kill(crew.processes[0].pid, signal.SIGSTOP)
    found = crew.collect([0])[0]
    assert isinstance(found, Loss)
    assert found.reason == "did not answer within 0.5 s and was ended"


def test_a_new_worker_that_ends_while_it_builds_is_replaced_too(
    workers: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, start, started = workers(), ProcessCrew.start, []

    def start_and_kill_the_first(self: ProcessCrew, worker: int, *more: Any) -> None:
        start(self, worker, *more)
        started.append(worker)
        if len(started) == 1:
            os.kill(self.processes[worker].pid, signal.SIGKILL)

    monkeypatch.setattr(ProcessCrew, "start", start_and_kill_the_first)
    os.kill(engine._crew.processes[0].pid, signal.SIGKILL)
    engine.step(np.zeros((5, N, 2)))
    assert started == [0, 0]
    assert engine.limit.total == 2
    assert "ended with exit code -9 while it built its worlds" in caplog.text
    lost = engine.health(engine.new_state()).lost
    assert lost is not None
    assert lost.tolist() == [True, True, False, False, False]


def test_a_worker_that_never_builds_is_ended_and_the_time_it_had_is_named(
    workers: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_crew, "_BUILD_S", 0.01)
    with pytest.raises(EngineError, match=r"did not answer within 0\.01 s .* while it built"):
        workers()
    assert multiprocessing.active_children() == []


def test_what_cannot_be_sent_to_a_process_is_refused_with_a_remedy(workers: Start) -> None:
    with pytest.raises(EngineError, match=r"cannot be sent .*lambda.*; use one worker"):
        workers(options={"x": lambda: 1})
    assert multiprocessing.active_children() == []


def test_nothing_else_is_asked_for_during_a_step(workers: Start) -> None:
    engine = workers()
    engine.begin_step(np.ones((5, N, 2)))
    for ask in (engine.get_state, lambda: engine.step(np.ones((5, N, 2)))):
        with pytest.raises(EngineError, match=r"a step is under way: call end_step\(\) first"):
            ask()
    engine.end_step()
    engine.step(np.ones((5, N, 2)))  # it goes on


def test_too_many_losses_end_the_run_with_the_workers_own_error(
    workers: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "MAX_RESTARTS", 0)
    engine = workers()
    os.kill(engine._crew.processes[1].pid, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"worker 1 \(worlds 2 to 4\) ended with exit code -9"):
        engine.step(np.zeros((5, N, 2)))
    with pytest.raises(EngineError, match="build a new one"):
        engine.step(np.zeros((5, N, 2)))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into /proc")
def test_pipes_and_doorbells_of_lost_and_closed_workers_are_given_back(workers: Start) -> None:
    workers().close()  # what stays for the next engine is there now
    before = ways_to_others()
    engine = workers()
    assert len(ways_to_others()) > len(before)
    os.kill(engine._crew.processes[0].pid, signal.SIGKILL)
    engine.step(np.zeros((5, N, 2)))
    engine.close()
    assert ways_to_others() == before


def ways_to_others() -> list[str]:
    """Return what this process holds open that another one can hold, too."""
    found = []
    for number in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(number.readlink()))
        except FileNotFoundError:  # that of the listing itself
            continue
    return sorted(name for name in found if name.startswith(("socket:", "pipe:", "anon_inode:")))


def test_five_restarts_a_minute_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(crew.time, "monotonic", lambda: now)
    limit = crew.RestartLimit()
    for now in (0.0, 10.0, 20.0, 30.0, 40.0):  # noqa: B007 - the clock reads it
        limit.count("it ended")
    now = 61.0
    limit.count("it ended")  # the first is more than a minute ago
    now = 69.0
    with pytest.raises(EngineError, match="it ended, after 5 restarts within 60 s"):
        limit.count("it ended")
    assert limit.total == 6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc")
def test_ctrl_c_does_not_reach_a_worker_that_still_imports(
    workers: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, blocked = ProcessCrew.built, []

    def look_first(self: ProcessCrew, worker: int) -> Any:
        status = Path(f"/proc/{self.processes[worker].pid}/status").read_text()
        mask = next(line for line in status.splitlines() if line.startswith("SigBlk"))
        blocked.append(bool(int(mask.split()[1], 16) & 1 << signal.SIGINT - 1))
        return built(self, worker)

    monkeypatch.setattr(ProcessCrew, "built", look_first)
    workers()
    assert blocked == [True, True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])  # but it reaches us


def test_the_parent_can_do_something_else_during_a_step(workers: Start) -> None:
    engine, single = workers(), make_engine("pybullet", spec())
    commands = np.ones((5, N, 2))
    states = [engine.new_state() for _ in range(2)]
    for one, state in zip((engine, single), states, strict=True):
        one.begin_step(commands)
        one.end_step()
        one.read(state)
    np.testing.assert_array_equal(states[0].buffer, states[1].buffer)
    with pytest.raises(EngineError, match="end_step without begin_step"):
        engine.end_step()
    single.close()


def test_a_closed_engine_says_so_and_closes_again(workers: Start) -> None:
    engine = workers(step_timeout_s=math.inf)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="it was closed"):
        engine.get_state()
    assert multiprocessing.active_children() == []


def test_what_an_engine_reports_itself_is_known_here(workers: Start) -> None:
    engine = workers("mujoco", params=())
    commands = np.zeros((5, N, 2))
    commands[:, 3] = np.nan
    engine.step(commands)
    state = engine.new_state()
    engine.read(state)
    found = engine.health(state)
    assert found.diverged.tolist() == [False, False, False, True, False]
    assert "world 3" in found.reason


def test_the_shared_numbers_do_not_overlap() -> None:
    layout = Layout(ticks=2, num_worlds=3, num_actuators=1, width=4, num_joints=1)
    memory = np.zeros(layout.size)
    for i, view in enumerate(layout.views(memory)):
        view[...] += i + 1
    assert np.bincount(memory.astype(int)).tolist() == [0, 6, 12, 12, 3, 3, 3, 6]


SCRIPT = """
    import sys, time
    import numpy as np
    from simreal.engines import make_engine
    from simreal.engines.process_workers import ProcessWorkers
    from tests.engines.test_workers import spec

    if __name__ == "__main__":
        engine = make_engine("pybullet", spec(), ProcessWorkers(count=2, joins={joins}))
        print(*[p.pid for p in engine._crew.processes.values()], flush=True)
        while {forever}:
            engine.step(np.zeros((5, 5, 2)))
        print("done", flush=True)
"""


def start(tmp_path: Path, forever: bool, joins: bool) -> tuple[subprocess.Popen, list[int]]:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT.format(forever=forever, joins=joins)))
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'envs'}"},
    )
    return process, [int(pid) for pid in process.stdout.readline().split()]


def gone(pids: list[int], patience_s: float = 10.0) -> bool:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.05)
    return False


def segments() -> set[str]:
    folder = Path("/dev/shm")
    return {f.name for f in folder.iterdir()} if folder.is_dir() else set()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="watches processes through /proc")
@pytest.mark.parametrize("how", ["exit", "ctrl-c", "kill"])
@pytest.mark.parametrize("joins", [False, True])
def test_no_process_and_no_shared_memory_outlives_the_parent(
    tmp_path: Path, how: str, joins: bool
) -> None:
    pytest.importorskip("pybullet")
    before = segments()
    process, pids = start(tmp_path, how != "exit", joins)
    assert len(pids) == (1 if joins else 2)
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    elif how == "kill":
        process.kill()
    _, errors = process.communicate(timeout=30)
    assert gone(pids)
    assert segments() <= before
    assert ("KeyboardInterrupt" in errors) == (how == "ctrl-c")
    assert "Process simreal worlds" not in errors  # no traceback of a worker's own
    assert "resource_tracker" not in errors

"""An engine in Ray actors is the same engine; a lost actor is replaced, and the run goes on."""

import builtins
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from simreal.core.params import DynamicsParams
from simreal.domains import Domain, SimVecEnv
from simreal.engines import make_engine
from simreal.engines.ray_workers import RayCrew, RayWorkers
from simreal.engines.workers import WorkerEngine
from simreal.errors import ConfigError, DependencyError, EngineError, ParameterError
from simreal_envs.robots import double_pendulum
from simreal_envs.tasks.double_pendulum import Pendubot
from tests.engines.test_workers import ROOT, N, episode, spec

WHY = "Ray is an extra of its own (simreal[ray]) that no other test needs"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start a local Ray for two workers, and end it."""
    ray = pytest.importorskip("ray", reason=WHY)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


def engine(name: str = "pybullet", timeout_s: float = 60.0, **settings: Any) -> WorkerEngine:
    workers = RayWorkers(count=2, cpus=1.0)
    return WorkerEngine(
        name, spec(**settings), 2, make_crew=workers.make_crew, step_timeout_s=timeout_s
    )


def process_of(made: Any, ray: Any, worker: int) -> int:
    return int(ray.get(made._crew.actors[worker].process_id.remote()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pybullet", "mujoco"])
def test_actors_give_what_one_engine_gives(cluster: Any, name: str) -> None:
    single, many = make_engine(name, spec()), engine(name)
    np.testing.assert_array_equal(episode(many), episode(single))
    single.close()
    many.close()
    assert cluster.is_initialized()  # it was there before, so it stays


@pytest.mark.slow
def test_an_actor_killed_in_the_middle_of_a_run_is_replaced(cluster: Any) -> None:
    domain = Domain(name="d", engine="pybullet", dynamics={"armature": {"*": 0.0}})
    env = SimVecEnv(double_pendulum(), Pendubot(), domain, 4, seed=3, workers=RayWorkers(count=2))
    alone = SimVecEnv(double_pendulum(), Pendubot(), domain, 4, seed=3)
    tape = np.random.default_rng(0).uniform(-1.0, 1.0, (30, 4, 1))
    np.testing.assert_array_equal(env.reset(3), alone.reset(3))
    for step, actions in enumerate(tape):
        if step == 10:
            os.kill(process_of(env.engine, cluster, 1), signal.SIGKILL)
        found, wanted = env.step(actions), alone.step(actions)
        np.testing.assert_array_equal(found.obs[:2], wanted.obs[:2])  # the others do not notice
        assert [(e.world, e.reason) for e in found.episodes] == (
            [(2, "lost"), (3, "lost")] if step == 10 else []
        )
        assert np.isfinite(found.obs).all()
    assert env.book.num_lost == 2
    assert env.book.episode.tolist() == [0, 0, 1, 1]
    env.close()
    alone.close()


@pytest.mark.slow
def test_a_new_actor_has_the_parameters_of_the_old_one(cluster: Any) -> None:
    made, single = engine(), make_engine("pybullet", spec())
    values = {"mass.arm1": np.linspace(0.4, 0.9, N)}
    everyone, state = np.ones(N, dtype=bool), made.new_state()
    seen = []
    for one in (single, made):
        one.apply(DynamicsParams(one.specs, values, N), everyone)
        if one is made:
            cluster.kill(made._crew.actors[0])
            made.step(np.zeros((5, N, 2)))
            assert made.limit.total == 1
        one.reset(everyone, np.full((N, 2), 0.3), np.zeros((N, 2)))
        one.step(np.ones((5, N, 2)))
        one.read(state)
        seen.append(state.buffer.copy())
    np.testing.assert_array_equal(*seen)
    made.close()
    single.close()


@pytest.mark.slow
def test_what_an_actor_refuses_is_refused_here_and_slow_ones_are_replaced(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ParameterError, match=r"cannot apply 'armature\.elbow'"):
        engine(params=("armature.elbow",))
    made = engine(timeout_s=2.0)
    state = made.get_state()
    with pytest.raises(EngineError, match="'now' has shape"):
        made.set_state({**state, "now": state["now"][:, :2]})
    os.kill(process_of(made, cluster, 0), signal.SIGSTOP)
    os.kill(process_of(made, cluster, 1), signal.SIGSTOP)
    made.step(np.zeros((5, N, 2)))
    assert made.limit.total == 2
    assert caplog.text.count("did not answer within 2 s and was ended") == 2
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("error", ["OutOfMemoryError", "NodeDiedError", "WorkerCrashedError"])
def test_whatever_ends_an_actor_is_a_loss(
    cluster: Any, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine("mujoco", params=())
    kind, get, raised = getattr(cluster.exceptions, error), cluster.get, []

    def fail_once(*args: Any, **kwargs: Any) -> Any:
        if raised:
            return get(*args, **kwargs)
        raised.append(error)
        raise kind() if error == "WorkerCrashedError" else kind("it is no more")

    monkeypatch.setattr(cluster, "get", fail_once)
    made.step(np.zeros((5, N, 2)))
    assert made.limit.total == 1
    made.close()


ALONE = """
    import numpy as np
    import ray
    from simreal.engines import make_engine
    from simreal.engines.ray_workers import RayWorkers
    from tests.engines.test_workers import spec

    workers = RayWorkers(count=2, cpus=99.0)  # nobody has to reserve them
    engines = [make_engine("mujoco", spec(params=()), workers) for _ in range(2)]
    engines[0].close()
    engines[1].step(np.zeros((5, 5, 2)))
    assert ray.is_initialized()
    engines[1].close()
    assert not ray.is_initialized()
    last = make_engine("mujoco", spec(params=()), workers)
    ray.shutdown()
    last.close()
    assert not ray.is_initialized()
"""


@pytest.mark.slow
def test_a_ray_that_was_started_here_ends_with_the_last_that_works_with_it() -> None:
    pytest.importorskip("ray", reason=WHY)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ALONE)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((f"{ROOT}:{ROOT / 'envs'}", *sys.path))},
    )
    assert done.returncode == 0, done.stderr


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="count is 0"):
        RayWorkers(count=0)
    with pytest.raises(ConfigError, match="cpus -1"):
        RayWorkers(count=1, cpus=-1.0)


def test_a_missing_ray_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DependencyError, match=r'pip install "simreal\[ray\]"'):
        RayCrew(RayWorkers(count=1), "pybullet", None, 1.0)  # type: ignore[arg-type]

"""The physics arms of `gpu.py`: bare MuJoCo Warp, the engine, the whole step, MuJoCo in C."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp

from rounds import Arm, Ratio
from simreal.core.distributions import Uniform
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains import Domain, Randomization, Randomized
from simreal.domains.tensor_env import TensorVecEnv
from simreal.engines import EngineSpec, engine_class
from simreal.engines.warp import WarpEngine
from simreal.engines.warp_setup import find_device, put_model
from simreal_envs import robots as all_robots
from simreal_envs.tasks import bullet_locomotion
from simreal_envs.tasks.double_pendulum import Pendubot

BARE, ENGINE, CORES = "bare MuJoCo Warp", "engine", "MuJoCo, all cores"
WHOLE, FUSED = "whole control step", "whole control step, fused"
RESET = "the same, masses drawn at every reset"
AROUND = "the same without its ticks"
_BURST = 100  # launches between two waits for the device


def _locomotion(name: str, task: str) -> dict[str, tuple[Callable[[], Robot], Callable[[], Task]]]:
    """Return a locomotion robot with its task, where this version of the package has them."""
    made = getattr(all_robots, name, None), getattr(bullet_locomotion, task, None)
    return {} if None in made else {name: made}  # type: ignore[dict-item]


ROBOTS: dict[str, tuple[Callable[[], Robot], Callable[[], Task]]] = {
    "pendubot": (all_robots.double_pendulum, Pendubot),
    **_locomotion("hopper", "HopperBullet"),
    **_locomotion("ant", "AntBullet"),
}
"""Robot and task of every benchmark, by name."""


ROOM: dict[str, dict[str, int]] = {
    "hopper": {"nconmax": 5, "njmax": 24},
    "ant": {"nconmax": 8, "njmax": 64},
}
"""Room for contacts and rows in all arms, from measured peaks; by default it is the most there can
be, which the solver pays for."""


def build(
    robot: str,
    worlds: int,
    device: str,
    *,
    randomization: Randomization | None = None,
    seed: int = 0,
    graphs: bool = True,
    compiled: bool = False,
    exact: bool = False,
) -> TensorVecEnv:
    """Build training worlds of a robot on a device, at the start of their episodes.

    Args:
        robot: One of `ROBOTS`.
        worlds: N.
        device: As Warp names it.
        randomization: What is drawn at every reset; nothing if None.
        seed: Seed.
        graphs: Whether tensor operations are captured.
        compiled: Whether they are fused by `torch.compile` before.
        exact: Whether the physics gives equal results from run to run.
    """
    made, task = ROBOTS[robot]
    domain = Domain(
        name=f"{robot} on {device}",
        engine="warp",
        randomization=randomization or Randomization(),
        options={"device": device, "deterministic": exact, **ROOM.get(robot, {})},
    )
    compiler = torch.compile if compiled else None
    env = TensorVecEnv(
        made(),
        task(),
        domain,
        worlds,
        seed=seed,
        training=True,
        graphs=graphs,
        compiler=compiler,
    )
    env.reset()
    return env


def describe(device: str) -> dict[str, Any]:
    """Describe the device, the driver, and the numeric settings that speed depends on.

    Args:
        device: As Warp names it.
    """
    found = find_device({"device": device, "allow_eager": True})
    cuda = device != "cpu"
    return {
        "name": found.name,
        "product": found.description,
        "graphs": found.graphs,
        "memory_gib": round(wp.get_device(device).total_memory / 2**30, 1) if cuda else None,
        "driver": ".".join(str(n) for n in wp.get_cuda_driver_version()) if cuda else None,
        "torch_cuda": torch.version.cuda,
        "state": "float32",
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cores": os.cpu_count(),
    }


def physics_arms(
    robot: str, worlds: int, device: str, steps: int, *, compiled: bool = False
) -> tuple[list[Arm], Callable[[], dict[str, Any]]]:
    """Build the arms of one robot and size.

    Args:
        robot: One of `ROBOTS`.
        worlds: N.
        device: As Warp names it.
        steps: Control steps of one round.
        compiled: Whether there is an arm whose operations around the physics are fused by
            `torch.compile`.

    Returns:
        The arms, and what gives the settings and peaks that all share after the rounds.
    """
    env = build(robot, worlds, device)
    bare = build(robot, worlds, device)
    whole = build(robot, worlds, device, seed=1)
    cores = _cores_engine(robot, worlds)
    tape = _tape(whole, 64)
    commands = _commands(env)
    for each in (env, bare):
        each.engine.tensors.commands.copy_(commands)
    bare_step = bare_loop(bare.engine, commands)
    schedule = commands.double().cpu().numpy()

    def stepping(env: TensorVecEnv) -> Callable[[int], Any]:
        return lambda number: env.step(tape[number % len(tape)])

    note = "random actions, resets included"
    arms = [
        _arm(BARE, lambda _: bare_step(), device, steps, bare.close),
        _arm(ENGINE, lambda _: env.engine.launch_step(), device, steps, env.close),
        _arm(WHOLE, stepping(whole), device, steps, whole.close, note=note),
        _arm(
            CORES,
            lambda _: cores.step(schedule),
            "cpu",
            max(1, steps // 20),
            cores.close,
            note=f"mujoco.batch, {os.cpu_count()} threads, physics alone",
        ),
    ]

    if compiled:
        arms[3:3] = _fused_arms(robot, worlds, device, steps, stepping, note)
    else:
        arms.insert(3, _around(whole, device, steps, stepping(whole)))

    def extra() -> dict[str, Any]:
        env.engine.poll()
        episodes = whole.drain()
        return {
            "nconmax": env.engine.nconmax,
            "njmax": env.engine.njmax,
            "peaks": {"contacts of all worlds": env.engine.peaks[0], "rows": env.engine.peaks[1]},
            "ticks per control step": env.task.ticks,
            "deterministic": False,
            "episodes ended": len(episodes) + whole.book.num_lost,
        }

    return arms, extra


def _fused_arms(
    robot: str,
    worlds: int,
    device: str,
    steps: int,
    stepping: Callable[[TensorVecEnv], Callable[[int], Any]],
    note: str,
) -> list[Arm]:
    """Return the arms whose operations around the physics are fused by `torch.compile`."""
    kinds = {FUSED: Randomization(), RESET: masses("reset")}
    envs = {
        name: build(robot, worlds, device, seed=1, compiled=True, randomization=drawn)
        for name, drawn in kinds.items()
    }
    arms = [_arm(n, stepping(e), device, steps, e.close, note=note) for n, e in envs.items()]
    return [*arms, _around(envs[FUSED], device, steps, stepping(envs[FUSED]))]


def _around(env: TensorVecEnv, device: str, steps: int, step: Callable[[int], Any]) -> Arm:
    """Return the arm of everything in a control step but the ticks: they run in another arm.

    What it computes is of worlds that stand still. That is no shortcut: actions, sensing, reward,
    episodes, reset and observation are the same operations whatever their numbers are.
    """
    engine: Any = env.engine
    ticks = engine.launch_step

    def without(number: int) -> None:
        engine.launch_step = _nothing
        try:
            step(number)
        finally:
            engine.launch_step = ticks

    return _arm(AROUND, without, device, steps, lambda: None)


def _nothing(*, sampling: bool) -> None:
    """Stand in for the ticks."""


def masses(when: Literal["startup", "reset"]) -> Randomization:
    """Return a randomization of every mass by 20 %.

    Args:
        when: Once per world, or at every reset, which has MuJoCo Warp derive its constants anew.
    """
    drawn = Randomized(distribution=Uniform(0.8, 1.2), mode="scale", when=when)
    return Randomization({"mass": {"*": drawn}})


def physics_ratios(arms: list[Arm]) -> list[Ratio]:
    """Return what the arms are held against."""
    names = {arm.name for arm in arms}
    step = FUSED if FUSED in names else WHOLE
    share = "around the ticks / step: share of the control step"
    pairs = [
        Ratio(name="bare / engine: share of bare speed", top=BARE, bottom=ENGINE, at_least=0.9),
        Ratio(name=share, top=AROUND, bottom=step, at_most=0.15),
        Ratio(name="single kernels / fused: speed-up", top=WHOLE, bottom=FUSED),
        Ratio(name="masses drawn at every reset / never: cost", top=RESET, bottom=FUSED),
        Ratio(name="MuJoCo on all cores / engine: speed-up", top=CORES, bottom=ENGINE),
    ]
    return [pair for pair in pairs if {pair.top, pair.bottom} <= names]


def bare_loop(engine: WarpEngine, commands: torch.Tensor) -> Callable[[], None]:
    """Return the launch of K plain steps of MuJoCo Warp on a model of its own, as one graph.

    Args:
        engine: Says which model, sizes, parameters and state.
        commands: (K, N, A), of which the first tick's command holds for all.
    """
    with wp.ScopedDevice(engine.device.name):
        spec = replace(engine.spec, params=())
        model = put_model(engine._at, spec)
        data = mjw.put_data(
            engine._at.model,
            mujoco.MjData(engine._at.model),
            nworld=engine.num_worlds,
            nconmax=engine.nconmax,
            njmax=engine.njmax,
        )
        for name, place in (("qpos", data.qpos), ("qvel", data.qvel)):
            wp.to_torch(place).copy_(engine._saved[name])
        wp.to_torch(data.ctrl).copy_(commands[0])
        mjw.step(model, data)
        with wp.ScopedCapture() as capture:
            for _ in range(engine.spec.ticks):
                mjw.step(model, data)
    kept = model, data  # the graph refers to their memory

    def launch() -> None:
        if kept:
            wp.capture_launch(capture.graph, stream=engine._stream())

    return launch


def _cores_engine(robot: str, worlds: int) -> Any:
    made, task = ROBOTS[robot]
    built, wanted = made(), task()
    spec = EngineSpec(
        robot=built,
        num_worlds=worlds,
        tick_s=wanted.tick_s,
        ticks=wanted.ticks,
        bodies=wanted.bodies,
        contacts=wanted.contacts,
        ground=wanted.ground,
        options={"threads": 0},
    )
    return engine_class("mujoco")(spec)


def _commands(env: TensorVecEnv) -> torch.Tensor:
    """Return one constant command per world (K, N, A): a tenth of what actions can ask for."""
    shape = env.engine.tensors.commands.shape
    rng = np.random.default_rng(0)
    row = np.zeros(shape[1:])
    drawn = rng.uniform(-0.1, 0.1, (env.num_worlds, env.action_map.dim))
    row[:, env.action_map.index] = drawn * env.action_map.scale
    return torch.tensor(np.broadcast_to(row, shape).copy(), dtype=torch.float32, device=env.device)


def _tape(env: TensorVecEnv, length: int) -> torch.Tensor:
    rng = np.random.default_rng(1)
    drawn = rng.uniform(-1.0, 1.0, (length, env.num_worlds, env.action_map.dim))
    return torch.tensor(drawn, dtype=torch.float32, device=env.device)


def _arm(
    name: str,
    step: Callable[[int], Any],
    device: str,
    steps: int,
    end: Callable[[], None],
    note: str = "",
) -> Arm:
    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize(device)

    def run() -> float:
        for number in range(steps):
            step(number)
            if (number + 1) % _BURST == 0:
                wait()
        wait()
        return steps

    return Arm(name, run, note=note, close=end)

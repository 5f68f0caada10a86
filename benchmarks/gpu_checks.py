"""The checks of `gpu.py`: what must hold on a device before any of its speeds means something."""

import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gpu_physics import build, masses
from simreal.core.params import DynamicsParams
from simreal.engines import Engine, EngineSpec, engine_class
from simreal.engines.audit import audit
from simreal.errors import SimrealError
from simreal_envs.robots import double_pendulum

_AGREE, _STEPS = 1e-5, 100
_BETWEEN_GRAPHS = 1e-3
_HELD, _FAILED, _NOT_RUN = "held", "FAILED", "not run"
MASSES = masses("reset")
"""Randomization of the checks."""


Check = Callable[[str, str, int], tuple[bool | None, str]]
"""From robot, device and number of worlds to whether it holds, and a detail."""


def run_checks(
    robots: list[str], device: str, worlds: int, more: dict[str, Check]
) -> list[dict[str, str]]:
    """Run every check and return one row each: name, verdict and detail.

    Args:
        robots: Names of the robots.
        device: As Warp names it.
        worlds: N of the checks that step many worlds.
        more: Further checks of every robot, by what they check.
    """
    checks: list[tuple[str, Callable[[], tuple[bool | None, str]]]] = [
        ("every dynamics parameter acts", lambda: _audit(device)),
        (f"agreement with MuJoCo in C over {_STEPS} steps", lambda: _agreement(device)),
    ]
    for robot in robots:
        checks += [
            (f"{robot}: graphs equal single operations", _bound(_graphs, robot, device, worlds)),
            (f"{robot}: no step waits for the device", _bound(_no_waiting, robot, device, worlds)),
            *((f"{robot}: {what}", _bound(c, robot, device, worlds)) for what, c in more.items()),
        ]
    return [_row(name, check) for name, check in checks]


def _bound(
    check: Check, robot: str, device: str, worlds: int
) -> Callable[[], tuple[bool | None, str]]:
    return lambda: check(robot, device, worlds)


def _row(name: str, check: Callable[[], tuple[bool | None, str]]) -> dict[str, str]:
    try:
        held, detail = check()
    except (SimrealError, RuntimeError) as error:
        traceback.print_exc()
        held, detail = False, " ".join(str(error).split())
    verdict = _NOT_RUN if held is None else _HELD if held else _FAILED
    return {"check": name, "verdict": verdict, "detail": detail}


def _audit(device: str) -> tuple[bool, str]:
    base = engine_class("warp")

    class OnDevice(base):  # type: ignore[valid-type, misc]
        """Be the engine on the device that is checked."""

        def __init__(self, spec: EngineSpec) -> None:
            super().__init__(_with_options(spec, {"device": device}))

    rows = audit(double_pendulum(), OnDevice)
    wrong = [f"{row.name}: {row.verdict}" for row in rows if not row.passed]
    acting = sum(row.verdict == "acts" for row in rows)
    return not wrong, "; ".join(wrong) or f"{acting} of {len(rows)} act, the others do not apply"


def _with_options(spec: EngineSpec, options: dict[str, Any]) -> EngineSpec:
    fields = {name: getattr(spec, name) for name in EngineSpec.__dataclass_fields__}
    return EngineSpec(**{**fields, "options": {**spec.options, **options}})


def _agreement(device: str) -> tuple[bool, str]:
    """Compare 16 pendulums of randomized masses, which touch nothing, with MuJoCo in C."""
    frictionless = {name: {"friction": 0.0} for name in ("shoulder", "elbow")}
    robot = double_pendulum().revised(joints=frictionless)
    names = ("mass.upper_link", "mass.lower_link")
    rng = np.random.default_rng(0)
    factors = rng.uniform(0.5, 1.5, (2, 16))
    found = []
    for name, options in (("mujoco", {}), ("warp", {"device": device})):
        spec = EngineSpec(
            robot=robot, num_worlds=16, tick_s=0.002, ticks=1, params=names, options=options
        )
        found.append(_driven(engine_class(name)(spec), dict(zip(names, factors, strict=True))))
    worst = float(np.abs(found[0] - found[1]).max())
    return worst < _AGREE, f"largest difference {worst:.2g} rad or rad/s, {_AGREE:g} allowed"


def _driven(engine: Engine, factors: dict[str, np.ndarray]) -> np.ndarray:
    everywhere = np.ones(16, dtype=bool)
    values = {name: engine.specs[name].nominal[0] * f for name, f in factors.items()}
    engine.apply(DynamicsParams(engine.specs, values, 16), everywhere)
    start = np.linspace(-0.8, 0.8, 32).reshape(16, 2)
    engine.reset(everywhere, start, -start)
    state, found = engine.new_state(), []
    for step in range(_STEPS):
        engine.step(np.full((1, 16, 2), 0.5 * np.sin(0.1 * step)))
        engine.read(state)
        found.append(np.concatenate([state.joint_pos, state.joint_vel], axis=1))
    engine.close()
    return np.array(found)


def _graphs(robot: str, device: str, worlds: int) -> tuple[bool | None, str]:
    if device == "cpu":
        return None, "tensor operations are captured on a GPU alone"
    found = []
    # Twice without graphs: MuJoCo Warp itself differs in last bits from run to run where contacts
    # are solved and constants derived, also in its deterministic mode.
    for graphs in (True, False, False):
        env = build(robot, worlds, device, randomization=MASSES, graphs=graphs, exact=True)
        actions = torch.linspace(-1.0, 1.0, worlds, device=env.device)[:, None]
        for _ in range(20):
            result = env.step(actions.expand(-1, env.action_map.dim))
        found.append([part.float().clone() for part in result])
        env.close()
    graphs_off, again_off = (
        max(float((a - b).abs().max()) for a, b in zip(found[i], found[j], strict=True))
        for i, j in ((0, 1), (1, 2))
    )
    held = graphs_off <= max(2.0 * again_off, _BETWEEN_GRAPHS)
    return held, f"{graphs_off:.2g} after 20 steps; {again_off:.2g} between two runs without graphs"


def _no_waiting(robot: str, device: str, worlds: int) -> tuple[bool | None, str]:
    env = build(robot, worlds, device, randomization=MASSES)
    actions = torch.zeros(worlds, env.action_map.dim, device=env.device)
    for _ in range(10):  # pieces are captured in the fourth and eighth
        env.step(actions)
    if device == "cpu":
        env.close()
        return None, "10 steps ran; a processor has nothing to wait for"
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(50):
            env.step(actions)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        env.close()
    return env.pieces.warm, "50 steps under torch.cuda.set_sync_debug_mode('error')"

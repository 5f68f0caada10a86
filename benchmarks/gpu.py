"""Check, time and train the device runtime, on a CUDA GPU or, as a rehearsal, on the CPU.

    python benchmarks/gpu.py --device cuda:0
    python benchmarks/gpu.py --device cpu --worlds 64

Parts (`--only`): `checks` (effect audit, agreement with MuJoCo, graphs against single launches, no
waiting for the device), `physics` (the engine against bare MuJoCo Warp and against MuJoCo on all
cores, and the whole control step against the physics), `training` (`TorchPPO` against rsl_rl and
against worlds on the CPU), `learning` (returns and success of a training). Arms take turns within
every round. Everything lands in one results file, with the hardware.

Needed: torch, numpy, mujoco, mujoco_warp, warp, gymnasium, stable_baselines3, and rsl-rl-lib for
its arms, which are left out and said to be where it is missing.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gpu_checks import run_checks
from gpu_physics import ROBOTS, describe, physics_arms, physics_ratios
from gpu_training import learn, training_arms, training_ratios, waits_for_nothing
from rounds import RESULTS, at_least_seven, close, print_table, summarize, take_turns

PARTS = ("checks", "physics", "training", "learning")


def main(words: list[str] | None = None) -> int:
    """Run the script.

    Args:
        words: Command line; that of the process if None.

    Returns:
        0 where every check holds, else 1; figures that miss their goal are reported, not fatal.
    """
    options = _options(words)
    path = options.output or RESULTS / f"gpu_{options.device.split(':')[0]}.json"
    report: dict[str, Any] = {"device": describe(options.device), "settings": _settings(options)}
    sound = True
    for part, name, value in _results(options):
        report.setdefault(part, {})[name] = value
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        sound &= part != "checks" or value["verdict"] != "FAILED"
    print(f"wrote {path}")
    return 0 if sound else 1


def _results(options: argparse.Namespace) -> Iterator[tuple[str, str, Any]]:
    """Give one result after another: its part, its name, and what was found."""
    robots, device = options.robots, options.device
    if "checks" in options.only:
        more = {"no iteration of a training waits": waits_for_nothing}
        for row in run_checks(robots, device, min(options.worlds), more):
            print(f"  {row['check']:60s} {row['verdict']:8s} {row['detail']}", flush=True)
            yield "checks", row.pop("check"), row
    if "training" in options.only:
        for robot in robots:
            yield "training", f"{robot}, {options.worlds[0]} worlds", _training(robot, options)
    if "physics" in options.only:
        for worlds in options.worlds:
            for robot in robots:
                yield "physics", f"{robot}, {worlds} worlds", _physics(robot, worlds, options)
    if "learning" in options.only:
        for robot in robots:
            steps, fused = options.learn_steps, options.compile
            curve = learn(robot, options.worlds[0], device, steps, compiled=fused)
            yield "learning", robot, curve


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--device", default="cuda:0", help="cuda:0 or cpu")
    parser.add_argument("--worlds", type=int, nargs="+", default=[4096, 16384])
    parser.add_argument("--robots", nargs="+", default=list(ROBOTS), choices=list(ROBOTS))
    parser.add_argument("--only", nargs="+", default=list(PARTS[:3]), choices=PARTS)
    parser.add_argument("--rounds", type=at_least_seven, default=7)
    parser.add_argument("--steps", type=int, default=200, help="control steps per arm and round")
    parser.add_argument("--iterations", type=int, default=5, help="PPO iterations per round")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="fuse the tensor operations with torch.compile: in training, and as one more arm",
    )
    parser.add_argument("--tf32", action="store_true", help="matrix products in TF32, in all arms")
    parser.add_argument("--learn-steps", type=int, default=20_000_000, help="for `learning`")
    parser.add_argument("--output", type=Path, default=None, help="where the JSON goes")
    options = parser.parse_args(words)
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: torch sees no CUDA device; rehearse with cpu")
    if options.tf32:
        torch.set_float32_matmul_precision("high")
    return options


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}


def _physics(robot: str, worlds: int, options: argparse.Namespace) -> dict[str, Any]:
    arms, extra = physics_arms(
        robot, worlds, options.device, options.steps, compiled=options.compile
    )
    take_turns(arms, options.rounds)
    unit = f"control step of {worlds} worlds"
    report = summarize(arms, physics_ratios(arms), unit=unit, extra=extra())
    print(f"{robot}, {worlds} worlds")
    print_table(report)
    close(arms)
    return report


def _training(robot: str, options: argparse.Namespace) -> dict[str, Any]:
    worlds = options.worlds[0]
    arms, extra = training_arms(
        robot, worlds, options.device, options.iterations, compiled=options.compile
    )
    take_turns(arms, options.rounds)
    report = summarize(
        arms, training_ratios(robot, arms), unit="environment step of training", extra=extra
    )
    print(f"training {robot}, {worlds} worlds")
    print_table(report)
    close(arms)
    return report


if __name__ == "__main__":
    sys.exit(main())

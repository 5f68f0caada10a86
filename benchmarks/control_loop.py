"""Swing up and balance over UDP: a controller process against a robot in another process.

The shipped pendubot policy at its trained 100 Hz, the actuator loop at 500 Hz, the robot in real
time in the domain `mujoco_real` (friction, rotor inertia, 11 ms command delay, sensor noise). Every
runtime gets a robot of its own. What counts is whether the pendubot is up in the task's window and
stays up to the end, how many cycles missed their deadline, and how long a cycle took.

    python benchmarks/control_loop.py                       # 60 s with numpy, ONNX Runtime and C
    python benchmarks/control_loop.py --duration 12 --runtimes numpy --priority 0
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import rounds
from simreal.evaluation.provenance import collect_provenance

ROOT = Path(__file__).resolve().parent.parent
POLICY, TARGET = "pendubot-pybullet-randomized", "mujoco_real"
RUNTIMES = ("numpy", "onnx", "c")
# How patient the controller is: late cycles in a row, silence [s], relative error of the rate.
PATIENCE, LIMIT_S, TOLERANCE = 20, 0.05, 0.1


def main() -> int:
    """Run every runtime once, and write what happened."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--duration", type=float, default=60.0, help="of every run [s]")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--priority", type=int, default=20, help="SCHED_FIFO, 0 for ordinary")
    parser.add_argument("--target", default=TARGET)
    parser.add_argument("--output", type=Path, default=None, help="where the JSON goes")
    options = parser.parse_args()
    runs = {}
    for runtime in options.runtimes:
        runs[runtime] = run(runtime, options.target, options.duration, options.priority)
        print(line(runtime, runs[runtime]), flush=True)
    report = {
        "policy": POLICY,
        "target": options.target,
        "duration_s": options.duration,
        "priority": options.priority or None,
        "patience": PATIENCE,
        "limit_s": LIMIT_S,
        "rate_tolerance": TOLERANCE,
        "runs": runs,
        "load_average": os.getloadavg(),
        "provenance": collect_provenance((0,), ["python", *sys.argv]).to_dict(),
    }
    rounds.write(report, "control_loop", options.output)
    return 0 if all(run["stayed_up"] for run in runs.values()) else 1


def run(runtime: str, target: str, duration_s: float, priority: int) -> dict[str, Any]:
    """Run a robot and a controller, and return what both reported.

    Args:
        runtime: Runtime of the policy.
        target: Domain of the robot.
        duration_s: How long [s].
        priority: Of the controller; the robot has half of it; 0 for ordinary scheduling.
    """
    with tempfile.TemporaryDirectory() as folder:
        robot = start(
            "robot-sim",
            "task=pendubot",
            f"target={target}",
            "port=0",
            f"output={folder}/robot.json",
            *([f"priority={max(priority // 2, 1)}"] if priority else []),
        )
        try:
            port = int(first_line(robot).rsplit(":", 1)[1])
            controller = start(
                "control",
                f"policy={POLICY}",
                f"port={port}",
                f"duration={duration_s}",
                f"runtime={runtime}",
                f"patience={PATIENCE}",
                f"limit={LIMIT_S}",
                f"tolerance={TOLERANCE}",
                f"output={folder}/control.json",
                *([f"priority={priority}"] if priority else []),
            )
            controller.communicate()
        finally:
            robot.terminate()
            robot.communicate()
        seen = json.loads(Path(folder, "robot.json").read_text(encoding="utf-8"))
        done = json.loads(Path(folder, "control.json").read_text(encoding="utf-8"))
    record = seen["runs"][0] if seen["runs"] else {}
    stayed = (
        record.get("window") is True
        and record.get("held_share") == 1.0
        and record["duration_s"] > duration_s - 1.0  # what was stopped early did not stay up
        and done["fault"] is None
    )
    return {"stayed_up": stayed, "controller": done, "robot": seen}


def start(*words: str) -> subprocess.Popen[str]:
    """Start a verb of this checkout."""
    paths = [str(ROOT), str(ROOT / "envs")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "simreal", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)


def first_line(process: subprocess.Popen[str]) -> str:
    """Return what a process said first."""
    if process.stdout is None:
        raise RuntimeError("the process has no output to read")
    return process.stdout.readline()


def line(runtime: str, run: dict[str, Any]) -> str:
    """Return a run in one line."""
    did, seen = run["controller"], run["robot"]
    record = seen["runs"][0] if seen["runs"] else {}
    return (
        f"{runtime:6s} stayed up: {run['stayed_up']}, up at {record.get('up_at_s')} s, "
        f"held {record.get('held_share')} from 8 s, "
        f"{did['cycles']} cycles at {did['mean_rate_hz']:.2f} Hz, missed {did['missed']}, "
        f"skipped {did['skipped']}, latency p50 {1e6 * did['latency_p50_s']:.0f} "
        f"p99 {1e6 * did['latency_p99_s']:.0f} max {1e6 * did['latency_max_s']:.0f} us, "
        f"jitter p99 {1e6 * did['jitter_p99_s']:.0f} max {1e6 * did['jitter_max_s']:.0f} us, "
        f"fault {did['fault']}, robot late {seen['late']}, timeouts {seen['timeouts']}"
    )


if __name__ == "__main__":
    sys.exit(main())

"""Measure how soon joints are damped after a controller process was killed or stopped.

A controller process commands at 500 Hz over UDP, watched by its watchdog process; a robot with a
command gate listens in a thread of this process. The time runs from the signal to the first look of
the robot at its gate after which it acts on no command of the policy any more, and to the moment at
which the watchdog's trip latched the gate. Kinds of signal and of scheduling take turns.

The robot of this script shares the machine with what it measures, as a robot's own computer does
not. A round in which it did not look at its gate for longer than half a command period says nothing
about the controller; it is counted, and measured again.

    python benchmarks/watchdog_latency.py        # real-time scheduling needs the right to it
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import rounds
from simreal.deploy import CommandGate, Mode, RealTime, load_bundle
from simreal.deploy.transports import RobotServer, UdpLink
from simreal.deploy.watchdog import time_to_damping_s
from simreal.evaluation.provenance import collect_provenance
from simreal.paths import policies_dir

POLICY, TICK_S, PRIORITY = "pendulum-pybullet", 0.002, 20
SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}
_PATIENCE_S, _SETTLED_S, _ATTEMPTS = 30.0, 0.1, 50


class Robot(threading.Thread):
    """Publish measurements at 500 Hz, and note when a command of the policy was acted on."""

    def __init__(self, priority: int | None) -> None:
        """Open a port.

        Args:
            priority: Of its thread; None for ordinary scheduling.
        """
        super().__init__(daemon=True)
        robot = load_bundle(policies_dir() / POLICY).manifest.robot
        self.gate = CommandGate(robot.actuator_names, shared_clock=True)
        self.joints, self.priority = len(robot.joints), priority
        self.link = UdpLink(bind=("127.0.0.1", 0))
        names = dict.fromkeys(("joint_pos", "joint_vel"), robot.joint_names)
        self.server = RobotServer(self.link, robot.interface, names, self.gate, period_s=TICK_S)
        self.idle_s = self.latched_s = self.gap_s = 0.0
        self.running, self.over = threading.Event(), threading.Event()

    def run(self) -> None:
        """Be the robot."""
        with RealTime(priority=self.priority, required=False).granted():
            following = last = time.monotonic()
            while not self.over.is_set():
                self.server.poll()
                now = time.monotonic()
                self.gap_s, last = max(self.gap_s, now - last), now
                if self.gate.active(now).mode is Mode.RUN:
                    self.idle_s = 0.0
                    self.running.set()
                elif self.idle_s == 0.0:
                    self.idle_s = now
                if self.gate.latched is not None and self.latched_s == 0.0:
                    self.latched_s = now
                if now >= following:
                    following += TICK_S
                    angle = np.full(self.joints, 0.1 + 0.01 * np.sin(now))
                    speed = np.full(self.joints, 0.01 * np.cos(now))
                    self.server.publish({"joint_pos": angle, "joint_vel": speed}, now)
                time.sleep(1e-4)
        self.link.close()


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="of every kind")
    parser.add_argument("--output", type=Path, default=None, help="where the JSON goes")
    options = parser.parse_args()
    kinds = [(how, fast) for how in SIGNALS for fast in ((True, False) if _may() else (False,))]
    found: dict[tuple[str, bool], list[dict[str, float]]] = {kind: [] for kind in kinds}
    for number in range(options.rounds):
        for kind in kinds:
            found[kind].append(once(*kind))
        print(f"round {number + 1} of {options.rounds}", flush=True)
    arms = [summary(kind, rows) for kind, rows in found.items()]
    report = {
        "policy": POLICY,
        "command_period_s": TICK_S,
        "arms": arms,
        "load_average": os.getloadavg(),
        "provenance": collect_provenance((0,), ["python", *sys.argv]).to_dict(),
    }
    print(*(arm["words"] for arm in arms), sep="\n")
    rounds.write(report, "watchdog_latency", options.output)
    return 0


def once(how: str, fast: bool) -> dict[str, float]:
    """Start a robot and a controller, end the controller, and return what was seen [s].

    Where the watchdog trips before that, or the robot stalls, which a busy machine can bring about,
    it is tried again.

    Args:
        how: Key of `SIGNALS`.
        fast: Whether controller, watchdog and robot have real-time scheduling.
    """
    false_trips = stalls = 0
    while false_trips + stalls < _ATTEMPTS:
        robot = Robot(PRIORITY // 2 if fast else None)
        robot.start()
        process = start(robot.link.port, fast)
        try:
            seen = end(robot, process, SIGNALS[how])
        finally:
            process.kill()
            process.wait()
            robot.over.set()
            robot.join()
        if seen is None:
            false_trips += 1
        elif seen["robot_gap_s"] > TICK_S / 2:
            stalls += 1
        else:
            return {**seen, "false_trips": false_trips, "stalls": stalls}
    raise SystemExit(
        f"{_ATTEMPTS} attempts: the watchdog tripped before the signal in {false_trips}, the robot "
        f"stalled in {stalls}; measure on a quieter machine"
    )


def end(
    robot: Robot, process: subprocess.Popen[bytes], number: signal.Signals
) -> dict[str, float] | None:
    """Send a signal to a controller that runs, and return what was seen [s]; None if it did not.

    Args:
        robot: The robot that it commands.
        process: The controller.
        number: The signal.
    """
    begun = _wait(lambda: robot.running.is_set() or robot.gate.latched is not None)
    if not begun or robot.gate.latched is not None:
        return None
    time.sleep(_SETTLED_S)
    robot.gap_s, at = 0.0, time.monotonic()
    process.send_signal(number)
    if not _wait(lambda: robot.latched_s > 0.0) or robot.latched_s <= at:
        return None
    damped, latched = robot.idle_s - at, robot.latched_s - at
    return {"damped_s": damped, "latched_s": latched, "robot_gap_s": robot.gap_s}


def start(port: int, fast: bool) -> subprocess.Popen[bytes]:
    """Start a controller process.

    Args:
        port: The robot's.
        fast: Whether it asks for real-time scheduling.
    """
    command = [sys.executable, "-m", "simreal", "control", f"policy={POLICY}", f"port={port}"]
    command += ["duration=60", "patience=100", *([f"priority={PRIORITY}"] if fast else [])]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def summary(kind: tuple[str, bool], rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return median, worst and the bound of one kind.

    Args:
        kind: How it ended, and whether in real time.
        rows: One per round.
    """
    how, fast = kind
    bound = time_to_damping_s(TICK_S, fast)
    damped = sorted(row["damped_s"] for row in rows)
    within = sum(value <= bound for value in damped)
    name = f"{how}, {'SCHED_FIFO' if fast else 'ordinary scheduling'}"
    return {
        "name": name,
        "bound_s": bound,
        "damped_median_s": statistics.median(damped),
        "damped_worst_s": damped[-1],
        "latched_median_s": statistics.median(row["latched_s"] for row in rows),
        "latched_worst_s": max(row["latched_s"] for row in rows),
        "within_bound": within,
        "rounds": len(rows),
        "false_trips": sum(int(row["false_trips"]) for row in rows),
        "stalls": sum(int(row["stalls"]) for row in rows),
        "rows": rows,
        "words": (
            f"{name:<32} damped: median {1e3 * statistics.median(damped):5.2f} ms, worst "
            f"{1e3 * damped[-1]:5.2f} ms; bound {1e3 * bound:g} ms kept in {within} of {len(rows)}"
        ),
    }


def _may() -> bool:
    with RealTime(priority=1, required=False).granted() as refused:
        return not refused


def _wait(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


if __name__ == "__main__":
    sys.exit(main())

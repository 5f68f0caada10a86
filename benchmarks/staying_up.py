"""How often the shipped pendubot stays up for a minute, by command delay and by pauses.

One run of `benchmarks/control_loop.py` is one draw of chance: of the noise, and of when commands
arrive. Here the same controller and the same robot run in one process and in simulated time, a
minute in seconds, with a seed of its own for every run; a command acts a tick after it was sent,
which adds 2 ms to the domain's delay. A pause stops the controller for so long, every two seconds
from the fifth on, while the robot goes on with what it was last told: a machine that is not quiet.

    python benchmarks/staying_up.py --jobs 2
"""

import argparse
import math
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rounds
from control_loop import LIMIT_S, PATIENCE, POLICY, TARGET, TOLERANCE
from simreal.config import compose
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import Controller, ControlSettings, load
from simreal.domains import Domain
from simreal.domains.ticked_robot import TickedRobot
from simreal.evaluation.provenance import collect_provenance
from simreal.evaluation.statistics import wilson_interval
from simreal.paths import find_bundle

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from control_in_process import InProcess

_FIRST_PAUSE_S, _PAUSE_EVERY_S = 5.0, 2.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Describe one run.

    Attributes:
        policy: A bundle, or the name of a shipped one.
        target: Domain of the robot.
        delay_s: Command delay of the domain [s].
        pause_s: Length of the pauses [s]; 0 for none.
        duration_s: How long [s].
        seed: Of initial state and noise.
    """

    policy: str
    target: str
    delay_s: float
    pause_s: float
    duration_s: float
    seed: int


class Watched(InProcess):
    """Note at every tick whether the task succeeds, and let the controller be paused."""

    def __init__(self, robot: TickedRobot, pause_s: float) -> None:
        """Take the robot.

        Args:
            robot: The robot.
            pause_s: Length of the pauses [s].
        """
        super().__init__(robot)
        self.up: list[bool] = []
        self._pause = round(pause_s / robot.tick_s)
        self._next_s = _FIRST_PAUSE_S if self._pause else math.inf

    def sleep(self, seconds: float) -> None:
        """Let the robot live for so long, and for longer where a pause is due."""
        ticks = max(round(seconds / self.robot.tick_s), 0)
        if self.clock() >= self._next_s:
            ticks, self._next_s = ticks + self._pause, self._next_s + _PAUSE_EVERY_S
        for _ in range(ticks):
            super().sleep(self.robot.tick_s)
            self.up.append(self.robot.succeeds)


def run(trial: Trial) -> dict[str, Any]:
    """Run a controller and its robot, and say whether the robot was up, and stayed up."""
    bundle = load(find_bundle(trial.policy))
    words = ["task=pendubot", f"target={trial.target}"]
    parts = compose("robot_sim", [*words, f"target.actuation.command_delay={trial.delay_s}"])
    task = parts.build("task", Task)
    kinds = parts.build("robot", Robot), task, parts.build("target", Domain)
    with TickedRobot(*kinds, seed=trial.seed) as simulated:
        robot = Watched(simulated, trial.pause_s)
        settings = ControlSettings.of(
            bundle.manifest,
            actuator_multiple=round(bundle.manifest.timing.control_period_s / simulated.tick_s),
            max_consecutive_overruns=PATIENCE,
            rate_tolerance=TOLERANCE,
        )
        controller = Controller(
            bundle,
            robot,
            settings=settings,
            clock=robot.clock,
            sleep=robot.sleep,
            period_s=simulated.tick_s,
            ttl_s=LIMIT_S,
            without_watchdog=True,
        )
        controller.arm()
        before = len(robot.up)
        report = controller.run(trial.duration_s)
        up = np.array(robot.up[before:])
        first, last = (round(at / simulated.tick_s) for at in task.success_window_s)
    return {
        "seed": trial.seed,
        "fault": report.fault,
        "in_window": bool(up[first:last].all()),
        "to_the_end": bool(up[first:].all()) and report.fault is None,
        "held_share": float(up[first:].mean()),
        "up_for_good_s": float(np.flatnonzero(~up).max(initial=-1) + 1) * simulated.tick_s,
    }


def summary(trial: Trial, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a row of the table."""
    stayed = sum(run["to_the_end"] for run in runs)
    interval = wilson_interval(stayed, len(runs))
    return {
        "delay_s": trial.delay_s,
        "pause_s": trial.pause_s,
        "stayed_up": stayed,
        "of": len(runs),
        "low": interval.low,
        "high": interval.high,
        "in_window": sum(run["in_window"] for run in runs),
        "held_share": float(np.mean([run["held_share"] for run in runs])),
        "runs": runs,
    }


def line(row: dict[str, Any]) -> str:
    """Return a row in one line."""
    return (
        f"delay {1e3 * row['delay_s']:4.1f} ms, pauses {1e3 * row['pause_s']:4.1f} ms: up in the "
        f"window {row['in_window']} of {row['of']}, to the end {row['stayed_up']} "
        f"[{100 * row['low']:.0f}, {100 * row['high']:.0f} %], up {100 * row['held_share']:.1f} % "
        "of the time from then on"
    )


def cases(options: argparse.Namespace) -> Iterable[tuple[float, float]]:
    """Return the delays without pauses, then the pauses at the domain's own delay [s]."""
    yield from ((delay, 0.0) for delay in options.delays)
    yield from ((options.delay, pause) for pause in options.pauses)


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--policy", default=POLICY)
    parser.add_argument("--target", default=TARGET)
    parser.add_argument(
        "--delays", nargs="*", type=float, default=[0.007, 0.009, 0.011, 0.013, 0.015, 0.017]
    )
    parser.add_argument("--pauses", nargs="*", type=float, default=[0.006, 0.014])
    parser.add_argument("--delay", type=float, default=0.011, help="where there are pauses [s]")
    parser.add_argument("--duration", type=float, default=60.0, help="of every run [s]")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--output", type=Path, default=None, help="where the JSON goes")
    options = parser.parse_args()
    rows = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for delay, pause in cases(options):
            trials = [
                Trial(
                    policy=options.policy,
                    target=options.target,
                    delay_s=delay,
                    pause_s=pause,
                    duration_s=options.duration,
                    seed=seed,
                )
                for seed in range(options.seeds)
            ]
            rows.append(summary(trials[0], list(pool.map(run, trials))))
            print(line(rows[-1]), flush=True)
    report = {
        "policy": options.policy,
        "identity": load(find_bundle(options.policy)).sha256,
        "target": options.target,
        "duration_s": options.duration,
        "rows": rows,
        "provenance": collect_provenance(
            tuple(range(options.seeds)), ["python", *sys.argv]
        ).to_dict(),
    }
    print(rounds.write(report, "staying_up", options.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Identify a real robot from its logs, and judge the result by logs that were held out.

The DFKI double pendulum (https://github.com/dfki-ric-underactuated-lab/double_pendulum, runs of
2023-06-29): eight logs of ten seconds, of which every other one is fitted to, starting from the
published model. The kit has none of the files; the folder with them is given.

    python benchmarks/identification.py --logs FOLDER
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from rounds import RESULTS
from simreal.config import compose
from simreal.core.robot import Robot
from simreal.domains import Domain
from simreal.evaluation.atomic_file import write_atomic
from simreal.evaluation.provenance import collect_provenance
from simreal.identification import (
    FitSettings,
    LogColumns,
    Unknowns,
    identify,
    read_log,
)

MODELS = ("unmoved", "believed", "identified", "zeroed")


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--logs", type=Path, required=True, help="folder of *.csv.gz")
    parser.add_argument("--output", type=Path, default=RESULTS / "identification.json")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    composed = compose("identify")
    robot: Robot = composed.build("robot", Robot)
    columns: LogColumns = composed.build("log", LogColumns)
    paths = sorted(options.logs.glob("*.csv.gz"))
    logs = [read_log(path, columns, robot) for path in paths]
    start = time.perf_counter()
    target: Domain = composed.build("target", Domain)
    estimate = identify(
        robot,
        target,
        composed.build("unknowns", Unknowns),
        logs[::2],
        logs[1::2],
        FitSettings(workers=options.workers),
    )
    seconds = time.perf_counter() - start
    held_out = [error for error in estimate.errors if error.held_out]
    report: dict[str, Any] = {
        "seconds": seconds,
        "fitted": [log.name for log in logs[::2]],
        "held_out": [log.name for log in logs[1::2]],
        "agreeing_starts": [estimate.agreeing, len(estimate.starts)],
        "horizons_s": list(held_out[0].horizons_s),
        "joints": [joint.name for joint in robot.movable],
        "unknowns": estimate.rows(),
        "zeros": {error.log: error.zeros.tolist() for error in estimate.errors},
        "rms_of_held_out": {
            model: np.sqrt(np.mean([getattr(e, model) ** 2 for e in held_out], axis=0)).tolist()
            for model in MODELS
        },
        "per_log": {
            error.log: {model: getattr(error, model).tolist() for model in MODELS}
            for error in held_out
        },
        "provenance": collect_provenance([0]).to_dict(),
    }
    write_atomic(options.output, (json.dumps(report, indent=1) + "\n").encode())
    print(f"{seconds:.0f} s, {report['agreeing_starts'][0]} of {len(estimate.starts)} starts agree")
    for model, rows in report["rms_of_held_out"].items():
        for horizon, row in zip(report["horizons_s"], rows, strict=True):
            print(f"{model:<11} {horizon:<5g} s", *(f"{value:.4f}" for value in row))
    print(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

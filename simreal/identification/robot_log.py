"""Logs of a robot: when, where its joints were, and what its actuators were told.

A table in a CSV file, as it comes from a robot's own software, compressed or not. Which column is
which is said once per robot (`LogColumns`); everything else in the file is left alone.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from simreal.core.robot import Robot
from simreal.errors import ConfigError, nearest

_LEAST_ROWS = 16
_SHORTEST_S, _LONGEST_S = 1e-5, 0.5  # from one row to the next
_JUMP = 4.0  # rad from row to row, of an angle that was wrapped


@dataclass(frozen=True, slots=True, kw_only=True)
class LogColumns:
    """Say which column of a log is which.

    Attributes:
        joint_pos: Joint to column of its position [rad or m]; every movable joint of the robot.
        command: Joint to column of what its actuator was told [Nm, or rad for position
            actuators]; an actuator that is not named was told nothing, 0.
        time: Column of the time [s].
    """

    joint_pos: Mapping[str, str]
    command: Mapping[str, str] = field(default_factory=dict)
    time: str = "time"


@dataclass(frozen=True, slots=True)
class RobotLog:
    """Hold one log.

    Attributes:
        name: What it is called in tables.
        time_s: When each row was written (T,), increasing [s].
        joint_pos: Positions in the robot's joint order (T, J) [rad or m].
        command: What each actuator was told from that row on to the next (T, A) [Nm or rad].
    """

    name: str
    time_s: np.ndarray
    joint_pos: np.ndarray
    command: np.ndarray


def read_log(path: Path, columns: LogColumns, robot: Robot) -> RobotLog:
    """Read a log.

    Args:
        path: CSV file with a header, perhaps compressed (`.gz`).
        columns: Which column is which.
        robot: Whose log it is.

    Raises:
        ConfigError: The file cannot be read, lacks a column, holds something that is no number, or
            its time does not increase.
    """
    joints = [joint.name for joint in robot.movable]
    actuators = [actuator.joint for actuator in robot.actuators]
    _check_names("joint_pos", columns.joint_pos, joints, complete=True)
    _check_names("command", columns.command, actuators, complete=False)
    wanted = [
        columns.time,
        *(columns.joint_pos[name] for name in joints),
        *columns.command.values(),
    ]
    table = dict(zip(wanted, _numbers(path, wanted).T, strict=True))
    time_s = table[columns.time]
    if time_s.size < _LEAST_ROWS:
        raise ConfigError(f"{path}: {time_s.size} rows; at least {_LEAST_ROWS} are needed")
    back = np.flatnonzero(np.diff(time_s) <= 0)
    if back.size:
        row = int(back[0]) + 1
        same = time_s[row] == time_s[row - 1]
        remedy = "remove rows that repeat a time" if same else "split the file there"
        raise ConfigError(
            f"{path}: row {row + 1}: time {time_s[row]!s} s comes after {time_s[row - 1]!s} s; "
            f"time must increase: {remedy}"
        )
    period = float(np.median(np.diff(time_s)))
    if not _SHORTEST_S <= period <= _LONGEST_S:
        raise ConfigError(
            f"{path}: rows are {period:g} s apart; {_SHORTEST_S:g} to {_LONGEST_S:g} s are "
            f"expected: is column '{columns.time}' in seconds?"
        )
    command = np.zeros((time_s.size, len(actuators)))
    for i, name in enumerate(actuators):
        if name in columns.command:
            command[:, i] = table[columns.command[name]]
    positions = np.stack([table[columns.joint_pos[name]] for name in joints], axis=1)
    for joint, column in zip(robot.movable, positions.T, strict=True):
        jumps = np.flatnonzero(np.abs(np.diff(column)) > _JUMP)
        if joint.kind != "prismatic" and jumps.size:
            row = int(jumps[0]) + 1
            raise ConfigError(
                f"{path}: row {row + 1}: joint '{joint.name}' jumps from {column[row - 1]:g} to "
                f"{column[row]:g} rad; angles must go on beyond pi: unwrap them (numpy.unwrap), "
                "and write them in radians"
            )
    return RobotLog(path.name, time_s, positions, command)


def _check_names(
    what: str, given: Mapping[str, str], known: Sequence[str], *, complete: bool
) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(
                f"log.{what}: the robot has no '{name}'. Allowed: {', '.join(known)}."
                f"{nearest(name, known)}"
            )
    missing = [name for name in known if name not in given]
    if complete and missing:
        raise ConfigError(
            f"log.{what}: no column for {', '.join(missing)}; the position of every joint is needed"
        )


def _numbers(path: Path, wanted: Sequence[str]) -> np.ndarray:
    """Return some columns of a file (T, len(wanted))."""
    with _opened(path) as file:
        rows = csv.reader(file)
        header = [name.strip() for name in next(rows, [])]
        places = []
        for name in wanted:
            if name not in header:
                raise ConfigError(
                    f"{path}: no column '{name}'. There are: {', '.join(header) or 'none'}."
                    f"{nearest(name, header)}"
                )
            places.append(header.index(name))
        found = [_row(path, number, row, places) for number, row in enumerate(rows, 1) if row]
    return np.array(found, dtype=np.float64).reshape(len(found), len(wanted))


def _row(path: Path, number: int, row: Sequence[str], places: Sequence[int]) -> list[float]:
    try:
        values = [float(row[place]) for place in places]
    except (ValueError, IndexError):
        seen = [row[place] if place < len(row) else "nothing" for place in places]
        raise ConfigError(f"{path}: row {number}: got {', '.join(seen)}; numbers needed") from None
    if not np.isfinite(values).all():
        raise ConfigError(f"{path}: row {number}: got {values}; finite numbers needed")
    return values


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", newline="", encoding="utf-8-sig") as file:
                yield file
        else:
            with path.open(newline="", encoding="utf-8-sig") as file:
                yield file
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read as a CSV file ({reason})") from error

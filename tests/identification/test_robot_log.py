"""Logs come in as they were written, or are refused in one line."""

import gzip
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.errors import ConfigError
from simreal.identification import LogColumns, read_log
from simreal_envs.robots import double_pendulum, hopper

COLUMNS = LogColumns(
    time="t",
    joint_pos={"shoulder": "q1", "elbow": "q2"},
    command={"elbow": "u2"},
)
ROWS = [f"{0.002 * i:.3f},{0.1 * i},{-0.1 * i},{0.5 * i},note" for i in range(20)]
HEADER = "t,q2, q1 ,u2,more"


def write(path: Path, header: str = HEADER, rows: list[str] = ROWS) -> Path:
    text = "\n".join([header, *rows]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["run.csv", "run.csv.gz"])
def test_columns_are_found_by_name_in_the_robots_order(tmp_path: Path, name: str) -> None:
    log = read_log(write(tmp_path / name), COLUMNS, double_pendulum())
    assert log.name == name
    np.testing.assert_array_equal(log.time_s, np.round(0.002 * np.arange(20), 3))
    np.testing.assert_allclose(log.joint_pos[:, 0], -0.1 * np.arange(20))
    np.testing.assert_allclose(log.joint_pos[:, 1], 0.1 * np.arange(20))
    np.testing.assert_array_equal(log.command[:, 0], 0.0)  # no column: told nothing
    np.testing.assert_array_equal(log.command[:, 1], 0.5 * np.arange(20))


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("t,q1,q2,u", ROWS, ["no column 'u2'", "There are: t, q1, q2, u", "u"]),
        ("", [], ["no column 't'", "none"]),
        (HEADER, [*ROWS[:5], "0.01,x,0,0", *ROWS[6:]], ["row 6", "got 0.01, 0, x, 0", "numbers"]),
        (HEADER, [*ROWS[:5], "0.01,1", *ROWS[6:]], ["row 6", "nothing"]),
        (HEADER, [*ROWS[:5], "0.01,nan,0,0", *ROWS[6:]], ["row 6", "finite"]),
        (HEADER, [*ROWS[:5], *ROWS[4:]], ["row 6", "0.008 s comes after 0.008 s", "repeat"]),
        (HEADER, [*ROWS[:5], *ROWS[3:]], ["row 6", "0.006 s comes after 0.008 s", "split"]),
        (HEADER, [f"{2 * i},0,0,0" for i in range(20)], ["rows are 2 s apart", "'t' in seconds?"]),
        (
            HEADER,
            [*ROWS[:5], "0.01,-5.9,0,0", *ROWS[6:]],
            ["row 6: joint 'elbow' jumps from 0.4 to -5.9 rad", "unwrap"],
        ),
        (HEADER, ROWS[:15], ["15 rows", "at least 16"]),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, header: str, rows: list[str], words: list[str]
) -> None:
    path = write(tmp_path / "run.csv", header, rows)
    with pytest.raises(ConfigError) as caught:
        read_log(path, COLUMNS, double_pendulum())
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.csv", None),
        ("run.csv.gz", b"no gzip"),
        ("run.csv.gz", gzip.compress("\n".join([HEADER, *ROWS]).encode(), mtime=0)[:60]),
        ("run.csv", b"\xff\xfe\x00binary"),
    ],
)
def test_files_that_are_no_table_are_refused(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot be read as a CSV file"):
        read_log(path, COLUMNS, double_pendulum())


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (LogColumns(joint_pos={"shoulder": "q1"}), "no column for elbow"),
        (LogColumns(joint_pos={"shoulder": "a", "elbo": "b"}), "Did you mean 'elbow'"),
        (
            LogColumns(joint_pos={"shoulder": "a", "elbow": "b"}, command={"wrist": "c"}),
            "no 'wrist'. Allowed: shoulder, elbow",
        ),
    ],
)
def test_columns_of_other_joints_are_refused(
    tmp_path: Path, columns: LogColumns, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        read_log(write(tmp_path / "run.csv"), columns, double_pendulum())


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("\ufeff" + "\n".join([HEADER, *ROWS]), encoding="utf-8")
    assert read_log(path, COLUMNS, double_pendulum()).time_s.size == 20


def test_a_passive_joint_has_a_position_and_no_command(tmp_path: Path) -> None:
    robot = hopper()
    joints = [joint.name for joint in robot.movable]
    columns = LogColumns(joint_pos={name: name for name in joints})
    header = ",".join(["time", *joints])
    rows = [",".join([str(0.01 * i), *["0.5"] * len(joints)]) for i in range(20)]
    log = read_log(write(tmp_path / "run.csv", header, rows), columns, robot)
    assert log.joint_pos.shape == (20, robot.num_joints)
    assert log.command.shape == (20, len(robot.actuators))


@given(text=st.text(max_size=300))
def test_any_text_is_a_log_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("log") / "run.csv"
    path.write_text("t,q1,q2,u2\n" + text, encoding="utf-8", newline="")
    with suppress(ConfigError):  # and nothing else
        assert np.isfinite(read_log(path, COLUMNS, double_pendulum()).joint_pos).all()

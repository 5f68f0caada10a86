import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from simreal.apps import output
from simreal.apps.output import (
    ProgressLine,
    continuable,
    duration,
    progress_text,
    run_folder,
    save_config,
    say_run,
)
from simreal.config import compose
from simreal.errors import ConfigError, OutputError

FACTS = {"reward": 61.25, "success": 0.98, "steps_per_s": 12_345.6, "left_s": 143.0}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (9.6, "0:10"),
        (59.6, "1:00"),
        (143, "2:23"),
        (3_600, "1:00:00"),
        (7_265, "2:01:05"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_plain_line_has_everything() -> None:
    assert progress_text("pendubot", 1_500_000, 3_000_000, FACTS) == (
        "pendubot: 1,500,000 of 3,000,000 steps  reward 61.2  success 98 %  "
        "12,346 steps/s  2:23 left"
    )


def test_unknown_facts_are_left_out() -> None:
    facts = {"steps_per_s": 10.0, "left_s": 5.0}
    assert progress_text("x", 5, 10, facts) == "x: 5 of 10 steps  10 steps/s  0:05 left"


def test_a_terminal_gets_what_fits() -> None:
    numbers = " 50 %  reward 61.2  success 98 %  12,346 steps/s  2:23 left"
    bar = "━" * 10 + "╌" * 10
    lines = {w: progress_text("pendubot", 5, 10, FACTS, w) for w in (120, 85, 70, 30)}
    assert lines[120] == f"pendubot  {bar} {numbers}"
    assert lines[85] == f"{bar} {numbers}"
    assert lines[70] == numbers
    assert lines[30] == numbers[:29]


def test_more_steps_than_planned_are_all_of_them() -> None:
    assert "100 %" in progress_text("x", 12, 10, FACTS, 120)


def test_plain_lines_come_every_ten_seconds_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(output, "CONSOLE", Console(soft_wrap=True, force_terminal=False))
    monkeypatch.setattr(output.time, "monotonic", lambda: clock[0])
    with ProgressLine("toy") as line:
        line.note("from step 0: 3 of 4 parameters train; frozen: actor.std")
        for step in range(1, 26):
            clock[0] = float(step)
            line.update(step, 25, FACTS)
    printed = capsys.readouterr().out.splitlines()
    assert [text.split("  ")[0] for text in printed] == [
        "toy: from step 0: 3 of 4 parameters train; frozen: actor.std",
        "toy: 10 of 25 steps",
        "toy: 20 of 25 steps",
        "toy: 25 of 25 steps",
    ]
    assert printed[-1].endswith("12,346 steps/s  after 0:25")


_SCRIPT = """
import time
from simreal.apps.output import ProgressLine, say
with ProgressLine("pendubot in pybullet_ideal") as line:
    line.note("a note")
    facts = {"success": 0.5, "steps_per_s": 9e3}
    for step in range(1, 6):
        facts |= {"reward": 10.0 * step, "left_s": 5.0 - step}
        line.update(200_000 * step, 1_000_000, facts)
        time.sleep(0.15)
say("done")
"""


def test_on_a_terminal_one_line_is_rewritten() -> None:
    """On a pseudo-terminal of 80 columns, which wraps what is longer."""
    master, slave = pty.openpty()
    env = dict(os.environ, TERM="xterm", COLUMNS="80", LINES="24")
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT], stdout=slave, stderr=slave, env=env)
    os.close(slave)
    raw = b""
    while True:
        try:
            chunk = os.read(master, 65_536)
        except OSError:  # the other end was closed
            break
        if not chunk:
            break
        raw += chunk
    os.close(master)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", raw.decode())
    drawn = [
        line for line in re.split(r"[\r\n]+", text) if "steps/s" in line and "after" not in line
    ]
    assert any(
        "100 %  reward 50.0  success 50 %  9,000 steps/s  0:00 left" in line for line in drawn
    )
    assert all(len(line) < 80 for line in drawn)
    assert "pendubot in pybullet_ideal: a note" in text
    assert "1,000,000 of 1,000,000 steps" in text
    assert text.rstrip().endswith("done")


def test_a_new_folder_has_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [run_folder(None, "toy", 3) for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(
        f.is_dir() and f.parent == Path("outputs/toy") and "_seed3" in f.name for f in folders
    )


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="which cannot be made"):
        run_folder(str(tmp_path / "file" / "run"), "toy", 0)


def test_commands_that_are_printed_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("my runs") / "run"
    with pytest.raises(KeyboardInterrupt), continuable("train", folder):
        raise KeyboardInterrupt
    command = capsys.readouterr().err.removeprefix("continue with: ")
    assert shlex.split(command) == ["simreal", "train", f"resume={folder}"]
    say_run(folder)
    command = capsys.readouterr().out.splitlines()[1]
    assert shlex.split(command) == ["tensorboard", "--logdir", str(folder / "tensorboard")]


def test_a_chosen_folder_must_be_empty(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run_folder(str(folder), "toy", 0) == folder
    (folder / ".run.json.x1.part").write_text("{")  # of a process that was killed while it began
    assert run_folder(str(folder), "toy", 0) == folder
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="choose another folder") as caught:
        run_folder(str(folder), "toy", 0)
    assert "resume" not in str(caught.value)
    for other in ("[]", "{", '{"verb": "identify"}'):  # nothing that resume= would take
        (folder / "run.json").write_text(other)
        with pytest.raises(ConfigError, match=r"choose another folder$"):
            run_folder(str(folder), "toy", 0)
    (folder / "run.json").write_text('{"verb": "train"}')
    with pytest.raises(ConfigError, match=f"continue that run with resume={folder}"):
        run_folder(str(folder), "toy", 0)


def test_what_a_run_began_with_is_saved(tmp_path: Path) -> None:
    save_config(tmp_path, compose("train", ["task=pendulum", "seed=3"]))
    content = json.loads((tmp_path / "run.json").read_text())
    assert content == {"verb": "train", "overrides": ["task=pendulum", "seed=3"]}
    assert "seed: 3" in (tmp_path / "config.yaml").read_text()

"""The shared part of the benchmark scripts counts what it says it counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rounds import Arm, Ratio, arguments, processor_s, summarize, take_turns, write


def arm(name: str, wall: list[float]) -> Arm:
    return Arm(name, lambda: 1.0, wall=wall, cpu=[2.0 * second for second in wall])


def test_ratios_are_taken_round_by_round() -> None:
    ours, theirs = arm("ours", [1e-6, 2e-6, 4e-6]), arm("theirs", [4e-6, 10e-6, 12e-6])
    report = summarize(
        [ours, theirs],
        [
            Ratio(name="speed", top="theirs", bottom="ours", at_least=3.5),
            Ratio(name="cost", top="ours", bottom="theirs", at_most=0.2),
            Ratio(name="plain", top="ours", bottom="theirs"),
        ],
        unit="step",
        extra={"worlds": 3},
    )
    speed, cost = report["ratios"]["speed"], report["ratios"]["cost"]
    # 4, 5 and 3 times, and their inverses
    assert (speed["median"], speed["worst"], speed["best"], speed["met"]) == (4.0, 3.0, 5.0, True)
    assert (cost["median"], cost["worst"], cost["best"], cost["met"]) == (0.25, 0.3333, 0.2, False)
    assert report["ratios"]["plain"]["met"] is None
    assert report["arms"]["ours"]["median"] == 2.0
    assert report["arms"]["ours"]["cpu_rounds"] == [2.0, 4.0, 8.0]
    assert report["worlds"] == 3


def test_the_clock_can_be_the_processors() -> None:
    report = summarize([arm("one", [1e-6])], [], unit="step", clock="cpu")
    assert report["unit"] == "us of processor time per step"
    assert report["arms"]["one"]["median"] == 2.0


def test_arms_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []

    def run(name: str) -> float:
        calls.append(name)
        return 4.0

    arms = [Arm("a", lambda: run("a")), Arm("b", lambda: run("b"))]
    take_turns(arms, 2)
    assert "".join(calls) == "ababab"
    assert len(arms[0].wall) == len(arms[1].cpu) == 2


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_processor_time_of_a_living_child_counts() -> None:
    before = processor_s()
    script = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        spent = processor_s() - before
        child.communicate(b"\n")
    assert spent >= 0.19


def test_fewer_than_seven_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments("Measure.").parse_args(["--rounds", "6"])
    assert "at least 7" in capsys.readouterr().err


def test_a_report_is_written_as_json(tmp_path: Path) -> None:
    path = write({"unit": "s"}, "any", tmp_path / "deeper" / "any.json")
    assert json.loads(path.read_text()) == {"unit": "s"}

import csv
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from simreal.learning.logs import open_logs


def log(folder: Path, done: int | None, steps: range, scale: float = 1.0, extra: str = "") -> None:
    logger = open_logs(folder, done)
    for step in steps:
        logger.record("reward/height", scale * step)
        logger.record("time/total_timesteps", step, exclude="tensorboard")
        if extra and step >= 5:
            logger.record(extra, 1.0)
        logger.dump(step)
    logger.close()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "progress.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_new_run_logs_every_step_once(tmp_path: Path) -> None:
    log(tmp_path, None, range(1, 4))
    assert [float(row["reward/height"]) for row in rows(tmp_path)] == [1.0, 2.0, 3.0]


def test_a_continued_run_replaces_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    log(tmp_path, None, range(1, 7))
    log(tmp_path, 3, range(4, 9), scale=10.0, extra="eval/success_rate")
    seen = [(int(r["time/total_timesteps"]), float(r["reward/height"])) for r in rows(tmp_path)]
    assert seen == [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50), (6, 60), (7, 70), (8, 80)]
    assert [row["eval/success_rate"] for row in rows(tmp_path)] == [""] * 4 + ["1.0"] * 4


def test_tensorboard_shows_each_step_once(tmp_path: Path) -> None:
    log(tmp_path, None, range(1, 7))
    log(tmp_path, 3, range(4, 9), scale=10.0)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("reward/height")
    assert [(e.step, e.value) for e in events] == [
        *((s, s) for s in (1, 2, 3)),
        *((s, 10 * s) for s in range(4, 9)),
    ]


@pytest.mark.parametrize("rest", ["", "4,", "4,40\n5"])
def test_a_half_written_row_is_dropped(tmp_path: Path, rest: str) -> None:
    text = "time/total_timesteps,reward/height\n1,1.0\n2,2.0\n"
    (tmp_path / "progress.csv").write_text(text + rest)
    log(tmp_path, 2, range(3, 4))
    assert [row["time/total_timesteps"] for row in rows(tmp_path)] == ["1", "2", "3"]


@pytest.mark.parametrize("text", ["", "nonsense\n1\n", "\x00\x00"])
def test_an_unusable_table_begins_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress.csv").write_text(text)
    log(tmp_path, 2, range(3, 5))
    assert [row["time/total_timesteps"] for row in rows(tmp_path)] == ["3", "4"]

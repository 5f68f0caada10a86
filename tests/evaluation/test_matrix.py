import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.errors import EvaluationError, UnknownNameError
from simreal.evaluation.episodes import EpisodeRecord
from simreal.evaluation.matrix import (
    EvaluationResult,
    aggregate,
    require_same_random_numbers,
)
from simreal.evaluation.provenance import Provenance

PROVENANCE = Provenance(
    command="simreal evaluate", seeds=(0, 1), time="2026-01-01T00:00:00+00:00", hardware="2 cores"
)


def make_records(
    policy: str = "a",
    domain: str = "target",
    *,
    returns: Any = ((1, 3), (5, 7)),
    success: Sequence[Sequence[bool | None]] | None = None,
    first: int = 100,
) -> list[EpisodeRecord]:
    outcomes = success or tuple((True,) * len(row) for row in returns)
    return [
        EpisodeRecord(
            policy,
            domain,
            seed,
            episode,
            first + episode,
            float(value),
            10 + seed,
            won,
            "time limit",
        )
        for seed, (row, wins) in enumerate(zip(returns, outcomes, strict=True))
        for episode, (value, won) in enumerate(zip(row, wins, strict=True))
    ]


def make_result(*groups: list[EpisodeRecord]) -> EvaluationResult:
    return EvaluationResult(tuple(r for group in groups for r in group), PROVENANCE)


def test_a_cell_keeps_seeds_and_counts() -> None:
    cell = aggregate(make_records(success=((True, False), (True, True))))

    assert (cell.num_seeds, cell.num_episodes, cell.seeds) == (2, 4, (0, 1))
    assert cell.seed_returns == (2.0, 6.0)
    assert cell.seed_success_rates == (0.5, 1.0)
    assert cell.success.estimate == 0.75
    assert cell.success.low == pytest.approx(0.3006, abs=1e-4)
    assert cell.returns.estimate == 4.0
    assert cell.mean_length == 10.5
    assert cell.end_reasons == {"time limit": 4}


def test_the_return_interval_covers_seeds_and_not_episodes() -> None:
    # Episodes vary wildly within a seed; the seed means are all 50.
    steady = aggregate(make_records(returns=((0, 100), (100, 0), (0, 100))))

    assert (steady.returns.low, steady.returns.high) == (50.0, 50.0)
    assert steady.returns.method == "IQM, bootstrap over seeds"


def test_the_return_interval_of_one_seed_covers_its_episodes_and_says_so() -> None:
    cell = aggregate(make_records(returns=((0, 10, 20, 30, 40),)))

    assert cell.returns.estimate == 20.0
    assert cell.returns.low < 20.0 < cell.returns.high
    assert "one seed" in cell.returns.method


def test_the_order_of_episodes_does_not_matter() -> None:
    records = make_records()

    assert aggregate(records[::-1]) == aggregate(records)


def test_a_task_without_success_has_none() -> None:
    cell = aggregate(make_records(success=((None, None), (None, None))))

    assert cell.success is None
    assert cell.seed_success_rates is None


def test_success_known_for_some_episodes_only_is_refused() -> None:
    with pytest.raises(EvaluationError, match="3 of 4"):
        aggregate(make_records(success=((True, None), (True, False))))


def test_seeds_with_different_numbers_of_episodes_are_refused() -> None:
    with pytest.raises(EvaluationError, match="same number"):
        aggregate(make_records(returns=((1, 2), (3,))))


def test_policies_and_domains_keep_the_order_of_their_first_episode() -> None:
    result = make_result(
        make_records("z", "target"), make_records("z", "source"), make_records("a", "target")
    )

    assert result.policies == ("z", "a")
    assert result.domains == ("target", "source")
    pairs = [(cell.policy, cell.domain) for cell in result.cells]
    assert pairs == [("z", "target"), ("z", "source"), ("a", "target")]
    assert result.cell("a", "target").policy == "a"


def test_a_missing_cell_and_an_unknown_name_are_told_apart() -> None:
    result = make_result(make_records("z", "source"), make_records("fine_tune", "target"))

    with pytest.raises(EvaluationError, match="was not evaluated"):
        result.cell("z", "target")
    with pytest.raises(UnknownNameError, match="Did you mean 'fine_tune'"):
        result.cell("fine_tuned", "target")
    with pytest.raises(UnknownNameError, match="domain 'targett'"):
        result.cell("z", "targett")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_records("b", first=500), "different random numbers"),
        (make_records("b", returns=((1, 2, 3), (4, 5, 6))), "4 and 6 episodes"),
        (make_records("b", returns=((1, 2, 3, 4),)), "seeds"),
        (make_records("b", "elsewhere"), "within one domain"),
    ],
)
def test_cells_measured_with_different_random_numbers_are_refused(
    other: list[EpisodeRecord], message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        require_same_random_numbers([aggregate(make_records("a")), aggregate(other)])


def test_compare_pairs_the_seeds() -> None:
    base = [(float(seed), float(seed)) for seed in range(5)]
    better = [(seed + 0.5 + 0.01 * seed, seed + 0.5) for seed in range(5)]
    result = make_result(
        make_records("scratch", returns=base), make_records("fine_tune", returns=better)
    )

    by_return = result.compare("fine_tune", "scratch", "target", score="return")
    by_success = result.compare("fine_tune", "scratch", "target")

    assert by_return.label == "positive transfer"
    assert by_return.difference == pytest.approx(0.51)
    assert (by_success.label, by_success.difference) == ("no transfer", 0.0)


def test_compare_by_success_needs_success() -> None:
    nothing = tuple((None,) * 2 for _ in range(2))
    result = make_result(make_records("a", success=nothing), make_records("b", success=nothing))

    with pytest.raises(EvaluationError, match="score='return'"):
        result.compare("a", "b", "target")


def test_a_result_refuses_no_episode_and_one_recorded_twice() -> None:
    with pytest.raises(EvaluationError, match="at least one episode"):
        make_result([])
    with pytest.raises(EvaluationError, match="2 times"):
        make_result(make_records(), make_records()[:1])


@pytest.mark.parametrize(("value", "length"), [(float("nan"), 1), (float("inf"), 1), (0.0, -1)])
def test_an_episode_that_cannot_be_aggregated_is_refused(value: float, length: int) -> None:
    with pytest.raises(EvaluationError, match="diverged"):
        EpisodeRecord("a", "b", 0, 0, 0, value, length, True, "diverged")


def test_json_gives_back_the_same_result(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    result = make_result(
        make_records("ü", returns=rng.normal(size=(5, 8))),
        make_records("b", "source", success=((None, None), (None, None))),
    )
    path = tmp_path / "deep" / "result.json"
    result.to_json(path)
    back = EvaluationResult.from_json(path)

    assert back == result
    assert back.cells == result.cells


def test_json_holds_readable_cells_beside_the_episodes(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    make_result(make_records()).to_json(path)
    content = json.loads(path.read_text())

    assert content["schema"] == "simreal.evaluation"
    assert content["schema_version"] == 1
    assert content["cells"][0]["success"]["estimate"] == 1.0
    assert content["cells"][0]["num_seeds"] == 2
    assert content["episodes"]["episode_seed"] == [100, 101, 100, 101]

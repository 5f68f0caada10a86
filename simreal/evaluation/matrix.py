"""The source-by-target matrix: episodes in a tidy table, aggregated without losing the seeds.

Every episode is kept, because an aggregate cannot be taken apart again. Two cells are compared only
if they were measured with the same seeds, the same number of episodes and the same random numbers:
otherwise part of their difference is luck of the draw.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from simreal.errors import EvaluationError, unknown_name
from simreal.evaluation.episodes import EpisodeRecord
from simreal.evaluation.provenance import Provenance
from simreal.evaluation.result_file import read_result, write_result
from simreal.evaluation.statistics import (
    FloatArray,
    Interval,
    stratified_bootstrap,
    wilson_interval,
)
from simreal.evaluation.verdict import Verdict, verdict

Score = Literal["success", "return"]


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """Hold what one policy did in one domain, over seeds and episodes.

    The success interval covers the chance of the episodes, given these seeds; the spread between
    seeds shows in `seed_success_rates`. The return interval covers the seeds, if there is more
    than one.

    Attributes:
        policy: Name of the policy or method.
        domain: Name of the domain.
        seeds: Training seeds, ascending.
        num_episodes: Episodes of all seeds together.
        success: Success rate with its Wilson interval; None for a task without success.
        seed_success_rates: Success rate per seed, in the order of `seeds`; None likewise.
        returns: Interquartile mean over seeds of the mean return, with its bootstrap interval.
        seed_returns: Mean return per seed, in the order of `seeds`.
        mean_length: Mean length of an episode [control steps].
        end_reasons: How many episodes ended for which reason, most frequent first.
        random_numbers: Digest of the seeds, episodes and random-number keys behind the cell.
    """

    policy: str
    domain: str
    seeds: tuple[int, ...]
    num_episodes: int
    success: Interval | None
    seed_success_rates: tuple[float, ...] | None
    returns: Interval
    seed_returns: tuple[float, ...]
    mean_length: float
    end_reasons: Mapping[str, int]
    random_numbers: str

    @property
    def num_seeds(self) -> int:
        """Return the number of training seeds."""
        return len(self.seeds)


@dataclass(frozen=True)
class EvaluationResult:
    """Hold all episodes of an evaluation and where they came from.

    Attributes:
        records: The tidy table.
        provenance: Command, commit, versions, hardware, seeds and time.
    """

    records: tuple[EpisodeRecord, ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        """Refuse an empty table and an episode that is there twice.

        Raises:
            EvaluationError: If so.
        """
        if not self.records:
            raise EvaluationError("an evaluation needs at least one episode, got none.")
        keys = Counter((r.policy, r.domain, r.seed, r.episode) for r in self.records)
        key, count = keys.most_common(1)[0]
        if count > 1:
            raise EvaluationError(
                f"policy '{key[0]}', domain '{key[1]}', seed {key[2]}, episode {key[3]} is there "
                f"{count} times. Each episode may be recorded once."
            )

    @cached_property
    def policies(self) -> tuple[str, ...]:
        """Return the policies in the order of their first episode."""
        return tuple(dict.fromkeys(record.policy for record in self.records))

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """Return the domains in the order of their first episode."""
        return tuple(dict.fromkeys(record.domain for record in self.records))

    @cached_property
    def cells(self) -> tuple[MatrixCell, ...]:
        """Return the cells that were measured, by policy and then by domain."""
        groups: dict[tuple[str, str], list[EpisodeRecord]] = {}
        for record in self.records:
            groups.setdefault((record.policy, record.domain), []).append(record)
        pairs = [(p, d) for p in self.policies for d in self.domains if (p, d) in groups]
        return tuple(aggregate(groups[pair]) for pair in pairs)

    def cell(self, policy: str, domain: str) -> MatrixCell:
        """Return one cell.

        Args:
            policy: Name of the policy.
            domain: Name of the domain.

        Raises:
            UnknownNameError: If the policy or the domain is not in the table.
            EvaluationError: If that pair was not measured.
        """
        if policy not in self.policies:
            raise unknown_name("policy", policy, self.policies)
        if domain not in self.domains:
            raise unknown_name("domain", domain, self.domains)
        for cell in self.cells:
            if (cell.policy, cell.domain) == (policy, domain):
                return cell
        raise EvaluationError(
            f"policy '{policy}' was not evaluated in domain '{domain}'. Evaluate it there first."
        )

    def compare(
        self,
        transfer: str,
        scratch: str,
        domain: str,
        score: Score = "success",
        min_effect: float = 0.0,
        margin: float = 0.05,
    ) -> Verdict:
        """Compare two policies in one domain, seed by seed.

        Args:
            transfer: Policy with transfer.
            scratch: Policy to compare with.
            domain: Domain to compare in.
            score: Whether success rates or mean returns are compared.
            min_effect: Smallest difference worth calling a gain or a loss.
            margin: Largest difference that counts as none; for returns, give one in their unit.

        Returns:
            The verdict from paired differences.

        Raises:
            EvaluationError: If both were not measured with the same random numbers, or the task
                has no success.
        """
        pair = [self.cell(policy, domain) for policy in (transfer, scratch)]
        require_same_random_numbers(pair)
        scores = [_seed_scores(cell, score) for cell in pair]
        return verdict(scores[0], scores[1], True, min_effect=min_effect, margin=margin)

    def to_json(self, path: Path) -> None:
        """Write the result, at once and never in halves.

        Args:
            path: The file to create or replace.
        """
        cells = [{**asdict(cell), "num_seeds": cell.num_seeds} for cell in self.cells]
        write_result(path, self.records, self.provenance, cells)

    @classmethod
    def from_json(cls, path: Path) -> "EvaluationResult":
        """Read a result.

        Args:
            path: A file that `to_json` wrote.

        Returns:
            The result.

        Raises:
            EvaluationError: If the file is missing, damaged, of another kind or a newer schema.
        """
        records, provenance = read_result(path)
        return cls(records, provenance)


def aggregate(records: Sequence[EpisodeRecord]) -> MatrixCell:
    """Aggregate the episodes of one policy in one domain.

    Args:
        records: All episodes of that policy in that domain, in any order.

    Returns:
        The cell.

    Raises:
        EvaluationError: If seeds have different numbers of episodes, or only some episodes know
            whether they succeeded.
    """
    by_seed: dict[int, list[EpisodeRecord]] = {}
    for record in sorted(records, key=lambda r: (r.seed, r.episode)):
        by_seed.setdefault(record.seed, []).append(record)
    name = f"policy '{records[0].policy}' in domain '{records[0].domain}'"
    counts = {seed: len(group) for seed, group in by_seed.items()}
    if len(set(counts.values())) > 1:
        raise EvaluationError(
            f"{name} has different numbers of episodes per seed: {counts}. "
            "Evaluate every seed with the same number."
        )
    returns = np.array([[r.episode_return for r in group] for group in by_seed.values()], float)
    outcomes = [[r.success for r in group] for group in by_seed.values()]
    success, rates = _success(outcomes, name)
    reasons = Counter(record.end_reason for record in records)
    return MatrixCell(
        policy=records[0].policy,
        domain=records[0].domain,
        seeds=tuple(by_seed),
        num_episodes=len(records),
        success=success,
        seed_success_rates=rates,
        returns=_return_interval(returns),
        seed_returns=tuple(float(mean) for mean in returns.mean(axis=1)),
        mean_length=float(np.mean([record.length for record in records])),
        end_reasons=dict(reasons.most_common()),
        random_numbers=_digest(by_seed),
    )


def require_same_random_numbers(cells: Sequence[MatrixCell]) -> None:
    """Refuse to compare cells that did not see the same random numbers.

    Args:
        cells: Cells of one domain.

    Raises:
        EvaluationError: If seeds, episode counts or random-number keys differ.
    """
    first = cells[0]
    for other in cells[1:]:
        pair = f"'{first.policy}' and '{other.policy}' in domain '{other.domain}'"
        if first.domain != other.domain:
            raise EvaluationError(
                f"cells of domains '{first.domain}' and '{other.domain}' are not a comparison of "
                "policies. Compare within one domain."
            )
        if first.seeds != other.seeds:
            raise EvaluationError(
                f"{pair} have seeds {first.seeds} and {other.seeds}. Evaluate the same seeds."
            )
        if first.num_episodes != other.num_episodes:
            raise EvaluationError(
                f"{pair} have {first.num_episodes} and {other.num_episodes} episodes. "
                "Evaluate both with the same number."
            )
        if first.random_numbers != other.random_numbers:
            raise EvaluationError(
                f"{pair} were measured with different random numbers. "
                "Evaluate both with the same evaluation seed."
            )


def _success(
    outcomes: list[list[bool | None]], name: str
) -> tuple[Interval | None, tuple[float, ...] | None]:
    """Return the pooled success rate with its interval, and the rate of each seed."""
    known = [[bool(o) for o in group if o is not None] for group in outcomes]
    num_known, num_all = sum(map(len, known)), sum(map(len, outcomes))
    if num_known == 0:
        return None, None
    if num_known < num_all:
        raise EvaluationError(
            f"{name} knows the success of {num_known} of {num_all} episodes. "
            "Record it for all of them or for none."
        )
    interval = wilson_interval(sum(map(sum, known)), num_all)
    return interval, tuple(float(np.mean(group)) for group in known)


def _return_interval(returns: FloatArray) -> Interval:
    """Return the interquartile mean over seeds; over episodes if there is one seed.

    Args:
        returns: `(S, E)` returns.
    """
    several = len(returns) > 1
    sample = returns.mean(axis=1) if several else returns[0]
    found = stratified_bootstrap([sample])
    over = "seeds" if several else "the episodes of one seed, spread between seeds unknown"
    return Interval(
        found.estimate, found.low, found.high, found.confidence, f"IQM, bootstrap over {over}"
    )


def _seed_scores(cell: MatrixCell, score: Score) -> tuple[float, ...]:
    """Return one score per seed."""
    if score == "return":
        return cell.seed_returns
    if cell.seed_success_rates is None:
        raise EvaluationError(
            f"policy '{cell.policy}' in domain '{cell.domain}' has no success. "
            "Compare with score='return' and a margin in its unit."
        )
    return cell.seed_success_rates


def _digest(by_seed: Mapping[int, Sequence[EpisodeRecord]]) -> str:
    """Return a digest of which random numbers the episodes of each seed drew."""
    keys = [(r.seed, r.episode, r.episode_seed) for group in by_seed.values() for r in group]
    return hashlib.sha256(repr(keys).encode()).hexdigest()[:16]

"""The tidy table of an evaluation: one row per episode, by columns when it is stored.

Storing columns keeps thousands of episodes small in a text file, and checking each column on the
way back gives an error that names the column and the row.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simreal.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """Hold one row of the table: one episode of one policy in one domain.

    Attributes:
        policy: Name of the policy or method.
        domain: Name of the domain that the episode ran in.
        seed: Training seed of the policy.
        episode: Index of the episode, from 0.
        episode_seed: Key of the random numbers that the episode drew from.
        episode_return: Undiscounted sum of rewards.
        length: Number of control steps.
        success: Whether the task was solved; None for a task without such a notion.
        end_reason: Why the episode ended, for instance "time limit", "terminated" or "diverged".
    """

    policy: str
    domain: str
    seed: int
    episode: int
    episode_seed: int
    episode_return: float
    length: int
    success: bool | None
    end_reason: str

    def __post_init__(self) -> None:
        """Refuse a return that cannot be aggregated.

        Raises:
            EvaluationError: If the return is not finite, or the length is negative.
        """
        if not math.isfinite(self.episode_return) or self.length < 0:
            raise EvaluationError(
                f"episode {self.episode} of policy '{self.policy}' in domain '{self.domain}' has "
                f"return {self.episode_return} and length {self.length}. Both must be finite and "
                "the length not negative: end a diverged episode before its reward is counted."
            )


# bool is an int to Python, but not to a reader of the file.
_CHECKS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "policy": ("a text", lambda v: isinstance(v, str)),
    "domain": ("a text", lambda v: isinstance(v, str)),
    "seed": ("an integer", lambda v: type(v) is int),
    "episode": ("an integer", lambda v: type(v) is int),
    "episode_seed": ("an integer", lambda v: type(v) is int),
    "episode_return": ("a number", lambda v: type(v) in (int, float)),
    "length": ("an integer", lambda v: type(v) is int),
    "success": ("true, false or null", lambda v: v is None or type(v) is bool),
    "end_reason": ("a text", lambda v: isinstance(v, str)),
}


def to_columns(records: Sequence[EpisodeRecord]) -> dict[str, list[object]]:
    """Return the table by columns.

    Args:
        records: The rows.

    Returns:
        One list per attribute of `EpisodeRecord`, all of the same length.
    """
    return {name: [getattr(record, name) for record in records] for name in _CHECKS}


def from_columns(columns: object) -> tuple[EpisodeRecord, ...]:
    """Rebuild the table from what `to_columns` gave, trusting nothing about it.

    Args:
        columns: The decoded JSON.

    Returns:
        The rows.

    Raises:
        EvaluationError: If a column is missing, unknown, of a wrong type or of another length.
    """
    if not isinstance(columns, dict) or set(columns) != set(_CHECKS):
        seen = sorted(columns) if isinstance(columns, dict) else type(columns).__name__
        raise EvaluationError(f"episodes must have the columns {sorted(_CHECKS)}, got {seen}.")
    for name, column in columns.items():
        if not isinstance(column, list):
            raise EvaluationError(f"episodes.{name} must be a list, got {type(column).__name__}.")
        kind, accepts = _CHECKS[name]
        for index, value in enumerate(column):
            if not accepts(value):
                raise EvaluationError(f"episodes.{name}[{index}] must be {kind}, got {value!r}.")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise EvaluationError(f"episodes has columns of different lengths: {lengths}.")
    rows = zip(*(columns[name] for name in _CHECKS), strict=True)
    return tuple(EpisodeRecord(**dict(zip(_CHECKS, row, strict=True))) for row in rows)

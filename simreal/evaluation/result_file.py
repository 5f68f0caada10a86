"""Evaluation results as JSON that any tool can read, and that is checked when read back.

The aggregated cells stand beside the episodes for whoever opens the file; reading it back rebuilds
them from the episodes, so that both cannot disagree.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from simreal.errors import EvaluationError
from simreal.evaluation.atomic_file import write_atomic
from simreal.evaluation.episodes import EpisodeRecord, from_columns, to_columns
from simreal.evaluation.provenance import Provenance

SCHEMA = "simreal.evaluation"
SCHEMA_VERSION = 1


def write_result(
    path: Path,
    records: Sequence[EpisodeRecord],
    provenance: Provenance,
    cells: Sequence[Mapping[str, object]],
) -> None:
    """Write a result.

    Args:
        path: The file to create or replace, at once and never in halves.
        records: The episodes.
        provenance: Where they came from.
        cells: What was aggregated from them, for whoever opens the file.
    """
    content = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "provenance": provenance.to_dict(),
        "cells": list(cells),
        "episodes": to_columns(records),
    }
    text = json.dumps(without_nonfinite(content), allow_nan=False, ensure_ascii=False)
    write_atomic(path, (text + "\n").encode())


def read_result(path: Path) -> tuple[tuple[EpisodeRecord, ...], Provenance]:
    """Read a result.

    Args:
        path: A file that `write_result` wrote.

    Returns:
        The episodes and where they came from.

    Raises:
        EvaluationError: If the file is missing, damaged, of another kind or of a newer schema.
    """
    content = _read(path)
    if content.get("schema") != SCHEMA:
        raise EvaluationError(
            f"{path} is not an evaluation result: its schema is {content.get('schema')!r}, "
            f"expected '{SCHEMA}'."
        )
    if content.get("schema_version") != SCHEMA_VERSION:
        raise EvaluationError(
            f"{path} has schema version {content.get('schema_version')!r}, this program reads "
            f"{SCHEMA_VERSION}. Use the version of simreal that wrote it, or evaluate again."
        )
    try:
        records = from_columns(content.get("episodes"))
        return records, Provenance.from_dict(content.get("provenance"))
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error


def without_nonfinite(value: object) -> object:
    """Return a value for JSON, in which every number that is not finite has become None.

    `NaN` and `Infinity` are not JSON; most readers refuse the whole file because of one.

    Args:
        value: Nested mappings, sequences and scalars.

    Returns:
        The same structure out of dicts and lists.
    """
    if isinstance(value, Mapping):
        return {str(key): without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nonfinite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _read(path: Path) -> dict[str, object]:
    """Return the decoded file, which must be a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise EvaluationError(f"cannot read {path}: {error.strerror}. Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise EvaluationError(
            f"{path} is not valid JSON: {error}. It may be cut off: evaluate again."
        ) from error
    if not isinstance(content, dict):
        raise EvaluationError(f"{path} must hold a JSON object, got {type(content).__name__}.")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")

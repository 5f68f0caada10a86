"""The page on bundles names every field and file that there is, and promises no other number."""

import dataclasses
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

from simreal.core.observation import _NUM_VALUES
from simreal.deploy.consistency import MAX_GOLDEN_ATOL, MIN_GOLDEN_STEPS
from simreal.deploy.manifest import FORMAT, SCHEMA_VERSION, Manifest
from simreal.deploy.migrations import MIGRATIONS
from simreal.deploy.onnx_graph import OPSET
from simreal.deploy.records import Role
from simreal.deploy.writer import _DERIVED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"`([^`\n]+)`", PAGE))


def _fields(kind: Any) -> set[str]:
    """Return the names of all fields of a record and of the records in it."""
    if not dataclasses.is_dataclass(kind):
        return set().union(*map(_fields, get_args(kind)))
    hints = get_type_hints(kind)
    inner = set().union(*(_fields(hints[f.name]) for f in dataclasses.fields(kind)))
    return inner | {f.name for f in dataclasses.fields(kind)}


def test_every_field_of_the_manifest_is_explained() -> None:
    fields = _fields(Manifest)
    assert {"interface_sha256", "stride", "torque_rate_max", "weight_hh"} < fields
    assert fields - {"kind", "values"} - WORDS == set()


def test_every_role_file_and_operation_is_there() -> None:
    assert {*get_args(Role), *_DERIVED, *_NUM_VALUES} - WORDS == set()


def test_numbers_are_those_of_the_code() -> None:
    assert {FORMAT, SCHEMA_VERSION, *MIGRATIONS} - WORDS == set()
    assert f"At least {MIN_GOLDEN_STEPS} steps" in PAGE
    assert f"at most {MAX_GOLDEN_ATOL:.0e}".replace("e-04", "e-4") in PAGE
    assert f"operator set {OPSET}" in PAGE

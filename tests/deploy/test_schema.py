"""The committed JSON Schema is what the decoder reads, and refuses what the decoder refuses."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from simreal.deploy.manifest import decode_manifest
from simreal.deploy.schema import SCHEMA_FILE, manifest_schema, to_text
from simreal.errors import BundleError


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return dict(json.loads(SCHEMA_FILE.read_text()))


@pytest.fixture
def content(written: Path) -> dict[str, Any]:
    return dict(json.loads((written / "manifest.json").read_text()))


def test_the_committed_schema_is_made_from_the_records() -> None:
    assert SCHEMA_FILE.read_text() == to_text(manifest_schema()), (
        "run: python -m simreal.deploy.schema > simreal/deploy/manifest.schema.json"
    )


def test_it_is_a_schema_and_accepts_what_is_written(
    schema: dict[str, Any], content: dict[str, Any]
) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content, schema)


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [at, *(path for key, item in inner for path in _paths(item, (*at, key)))]


def _refused(content: dict[str, Any], validator: Any) -> tuple[bool, bool]:
    try:
        decode_manifest(json.dumps(content).encode())
    except BundleError:
        return True, not validator.is_valid(content)
    return False, not validator.is_valid(content)


@pytest.mark.parametrize("wrong", [None, True, "x", -3, 0.5, [], {"odd": 1}])
def test_decoder_and_schema_refuse_the_same_types(
    wrong: Any, schema: dict[str, Any], content: dict[str, Any]
) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    refused = 0
    paths = random.Random(repr(wrong)).sample(_paths(content)[1:], 15)
    for path in paths:
        changed = copy.deepcopy(content)
        at: Any = changed
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = wrong
        by_decoder, by_schema = _refused(changed, validator)
        # The decoder also knows what belongs together; the schema must never be the stricter one.
        assert by_decoder or not by_schema, path
        refused += by_schema
    assert refused > len(paths) / 4


def test_a_missing_and_an_unknown_key_are_refused_by_both(
    schema: dict[str, Any], content: dict[str, Any]
) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    for path in [*_paths(content)[:1], *_paths(content)[1::8]]:
        changed = copy.deepcopy(content)
        at: Any = changed
        for key in path:
            at = at[key]
        if isinstance(at, dict) and path not in _FREE:
            at["odd"] = 1
            assert _refused(changed, validator) == (True, True), path


_FREE = {
    ("files",),
    ("provenance", "versions"),
    ("provenance", "randomization"),
    ("safety", "torque_limit"),
    ("safety", "torque_rate_max"),
    ("safety", "joint_position"),
    ("safety", "joint_velocity_max"),
    ("safety", "safe_stop_kd"),
}

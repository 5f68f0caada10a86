"""Whatever is done to the bytes of a bundle, nothing but a `BundleError` comes out."""

import copy
import hashlib
import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simreal.deploy import Bundle, check_bundle
from simreal.deploy.consistency import check_manifest
from simreal.deploy.manifest import decode_manifest
from simreal.deploy.tensors import read_tensors
from simreal.errors import BundleError

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([0, -1, 1, 2**31, 2**62, 1e300, -1e-300, "", "joint_pos", "elbow", [], {}])
)


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        found += _paths(inner, (*at, key))
    return found


def _try(path: Path) -> None:
    message = ""
    try:
        check_bundle(path)
    except BundleError as error:
        message = str(error)
    assert message.isprintable()


@pytest.fixture(scope="module")
def content(written: Path) -> dict[str, Any]:
    return dict(json.loads((written / "manifest.json").read_text()))


@FUZZ
@given(data=st.data())
def test_mutated_manifests(data: st.DataObject, content: dict[str, Any], bundle_dir: Path) -> None:
    changed = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(_paths(changed)))
        at: Any = changed
        for key in path[:-1]:
            at = at[key]
        action = data.draw(st.sampled_from(["set", "delete", "double", "other"]))
        if action == "set":
            at[path[-1]] = data.draw(SCALARS)
        elif action == "delete":
            del at[path[-1]]
        elif action == "double" and isinstance(at, list):
            at.append(copy.deepcopy(at[path[-1]]))
        else:
            other = data.draw(st.sampled_from(_paths(content)))
            source: Any = content
            for key in other:
                source = source[key]
            at[path[-1]] = copy.deepcopy(source)
    (bundle_dir / "manifest.json").write_text(json.dumps(changed))
    _try(bundle_dir)


@FUZZ
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.none() | st.integers(0, 10_000))
def test_mutated_manifest_bytes(at: int, byte: int, cut: int | None, written: Path) -> None:
    data = bytearray((written / "manifest.json").read_bytes())
    data[at % len(data)] = byte
    message = ""
    try:
        check_manifest(decode_manifest(bytes(data[:cut])))
    except BundleError as error:
        message = str(error)
    assert message.isprintable()


@FUZZ
@given(
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    cut=st.none() | st.integers(0, 2000),
)
def test_mutated_tensor_files(edits: list[tuple[int, int]], cut: int | None, written: Path) -> None:
    data = bytearray((written / "weights.safetensors").read_bytes())
    for at, byte in edits:
        data[at % len(data)] = byte
    tensors, message = {}, ""
    try:
        tensors = read_tensors(bytes(data[:cut]), "weights.safetensors")
    except BundleError as error:
        message = str(error)
    assert message.isprintable()
    assert bool(message) != bool(tensors)
    assert all(np.isfinite(value).all() for value in tensors.values())


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_as_tensors(data: bytes) -> None:
    with pytest.raises(BundleError):
        read_tensors(b"\x00" + data, "weights.safetensors")


@settings(FUZZ, max_examples=40)
@given(at=st.integers(0, 10**6), value=st.floats(width=32, allow_nan=True))
def test_mutated_weights_that_fit_their_hash(
    at: int, value: float, written: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.policy"
    shutil.copytree(written, path, dirs_exist_ok=True)
    data = bytearray((path / "weights.safetensors").read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    place = begin + 4 * (at % ((len(data) - begin) // 4))
    data[place : place + 4] = np.float32(value).tobytes()
    (path / "weights.safetensors").write_bytes(data)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["weights.safetensors"]["sha256"] = hashlib.sha256(data).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    _try(path)


def _mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes of which a few are others, cut at a random place half of the time."""
    changed = bytearray(data)
    for at, byte in zip(rng.integers(0, len(data), 3), rng.integers(0, 256, 3), strict=True):
        changed[at] = byte
    return bytes(changed[: rng.integers(1, len(data))] if rng.random() < 0.5 else changed)


def _weights(data: bytes) -> None:
    read_tensors(data, "weights.safetensors")


def _manifest(data: bytes) -> None:
    check_manifest(decode_manifest(data))


@pytest.mark.parametrize(
    ("name", "parse"), [("manifest.json", _manifest), ("weights.safetensors", _weights)]
)
def test_no_memory_is_kept_by_what_is_refused(
    name: str, parse: Callable[[bytes], None], written: Path
) -> None:
    data, rng = (written / name).read_bytes(), np.random.default_rng(0)

    def feed(count: int) -> int:
        refused = 0
        for _ in range(count):
            try:
                parse(_mutated(data, rng))
            except BundleError:
                refused += 1
        return refused

    feed(200)  # what is built once: compiled patterns, interned names
    tracemalloc.start()
    try:
        feed(50)
        before = tracemalloc.get_traced_memory()[0]
        assert feed(1000) > 500
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept - before < 64_000  # 64 bytes each would show
    assert peak - before < 64 * len(data) + 1_000_000


def test_bundles_are_compared_by_identity(written: Path) -> None:
    from simreal.deploy import load

    first, second = load(written), load(written)
    assert isinstance(first, Bundle)
    assert first != second
    assert first.sha256 == second.sha256

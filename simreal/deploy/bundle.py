"""Load a policy bundle, or refuse it in one line.

A bundle is a folder with a manifest, weights, golden vectors and a card. It may come from anybody,
so each file is opened once, never through a link, never larger than it declares, hashed, and then
read from the very bytes that were hashed. No file of a bundle can hold code, and none is ever
executed.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from simreal.deploy.consistency import check_manifest, disagreements
from simreal.deploy.contents import Golden, Layer, Lstm, Normalizer, read_golden, read_network
from simreal.deploy.decode import Words, decode, describe, expect, mismatch, one_line, problems
from simreal.deploy.manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    decode_manifest,
    manifest_content,
)
from simreal.deploy.tensors import read_tensors, refuse_foreign
from simreal.errors import BundleError, nearest

MANIFEST = "manifest.json"
CARD = "CARD.md"
MAX_BUNDLE_BYTES = 64 * 2**20

# A member that is a link must not be followed, one that is a pipe must not block.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_SNIFFED = 8
_TENSOR_ROLES = ("weights", "golden", "training")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """Hold a bundle that passed every check of its content.

    Attributes:
        path: Where it was read from.
        manifest: Its manifest.
        sha256: Hash of the manifest, which covers all hashes in it: the identity of the policy.
        layers: The network.
        normalizer: Observation statistics, if the policy has any.
        lstm: The recurrent layer, if the policy has one.
        golden: The recorded episodes.
        derived: Content of the files that were derived from the others, by role: `onnx`,
            `c_source`, `c_header`, `leapp`.
        training: Everything a trainer continues from, name to array, if the bundle holds it. No
            controller reads it.
    """

    path: Path
    manifest: Manifest
    sha256: str
    layers: tuple[Layer, ...]
    normalizer: Normalizer | None
    golden: Golden
    lstm: Lstm | None = None
    training: Mapping[str, np.ndarray] | None = None
    derived: Mapping[str, bytes] = field(default_factory=dict)


def load_bundle(path: str | Path, max_bytes: int = MAX_BUNDLE_BYTES) -> Bundle:
    """Load a bundle.

    Args:
        path: The folder.
        max_bytes: Most bytes that its files may hold together.

    Raises:
        BundleError: Anything about it is not as its manifest says, or must not be trusted.
    """
    folder = Path(path)
    try:
        return _load(folder, max_bytes)
    except BundleError as error:
        raise BundleError(one_line(f"bundle '{folder}': {error}")) from None
    except (OSError, ValueError) as error:
        raise BundleError(one_line(f"bundle '{folder}': cannot be read: {error}")) from error


def read_members(bundle: Bundle) -> dict[str, bytes]:
    """Return the content of every listed file of a bundle, by name, checked once more.

    Args:
        bundle: A loaded bundle.

    Raises:
        BundleError: A file is not as it was when the bundle was loaded.
    """
    manifest = bundle.manifest
    return {name: _read_declared(bundle.path, name, manifest) for name in manifest.files}


def find_problems(path: str | Path) -> list[str]:
    """Return everything that is wrong with a bundle's manifest and files, one line each.

    `load_bundle` stops at the first problem; this goes on, for whoever has to mend them all.

    Args:
        path: The folder.
    """
    folder = Path(path)
    try:
        load_bundle(folder)
    except BundleError as error:
        first = str(error)
    else:
        return []
    prefix = one_line(f"bundle '{folder}': ")
    try:
        content = manifest_content(_read(folder, MANIFEST, MAX_MANIFEST_BYTES))
        found = problems(Manifest, content, "")
        found = found or _deeper_problems(folder, decode(Manifest, content, ""))
    except (BundleError, OSError):
        return [first]  # there is nothing to go on with
    return [f"{prefix}{problem}" for problem in found] or [first]


def _deeper_problems(folder: Path, manifest: Manifest) -> list[str]:
    found = disagreements(manifest)
    for name in manifest.files if not found else ():
        try:
            _read_declared(folder, name, manifest)
        except BundleError as error:
            found.append(str(error))
    return found


def _load(folder: Path, max_bytes: int) -> Bundle:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise mismatch("path", "a folder with a manifest.json", found)
    content = _read(folder, MANIFEST, MAX_MANIFEST_BYTES)
    manifest = decode_manifest(content)
    check_manifest(manifest)
    _check_members(folder, manifest)
    total = len(content) + sum(entry.bytes for entry in manifest.files.values())
    expect(total <= max_bytes, "files", f"at most {max_bytes} bytes together", total)
    data = {name: _read_declared(folder, name, manifest) for name in manifest.files}
    layers, normalizer, lstm = read_network(data[manifest.file_of("weights")], manifest)
    extra = next((n for n, entry in manifest.files.items() if entry.role == "training"), None)
    return Bundle(
        path=folder,
        manifest=manifest,
        sha256=hashlib.sha256(content).hexdigest(),
        layers=layers,
        normalizer=normalizer,
        lstm=lstm,
        golden=read_golden(data[manifest.file_of("golden")], manifest),
        training=None if extra is None else read_tensors(data[extra], extra),
        derived={
            entry.role: data[name]
            for name, entry in manifest.files.items()
            if entry.role not in _TENSOR_ROLES
        },
    )


def _check_members(folder: Path, manifest: Manifest) -> None:
    """Check that the folder holds what is listed; only the card, which nothing reads, may lack."""
    listed = {MANIFEST, *manifest.files}
    seen = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name not in listed | {CARD}:
                hint = nearest(entry.name[:99], listed)
                raise mismatch("files", f"only {sorted(listed)}", describe(entry.name) + hint)
            plain = entry.is_file(follow_symlinks=False)
            expect(plain, entry.name, "a plain file", Words("a link or a folder"))
            seen.add(entry.name)
    for name in sorted(listed - seen):
        raise mismatch("files", f"the member {name!r}", "none")


def _read(folder: Path, name: str, most: int, *, tensors: bool = False) -> bytes:
    """Return the content of a member, which must be a plain file of at most so many bytes."""
    try:
        handle = os.open(folder / name, _OPEN_FLAGS)
    except OSError as error:
        _refuse_open(name, error)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        expect(stat.S_ISREG(status.st_mode), name, "a plain file", Words("something else"))
        if tensors:
            refuse_foreign(file.read(_SNIFFED), status.st_size, name)
            file.seek(0)
        expect(status.st_size <= most, name, f"{most} bytes at most", status.st_size)
        content = file.read(most + 1)
    expect(len(content) <= most, name, f"{most} bytes at most", len(content))
    return content


def _refuse_open(name: str, error: OSError) -> NoReturn:
    if error.errno == errno.ELOOP:
        raise mismatch(name, "a plain file", "a link") from None
    if isinstance(error, FileNotFoundError):
        raise mismatch("files", f"the member {name!r}", "none") from None
    raise error


def _read_declared(folder: Path, name: str, manifest: Manifest) -> bytes:
    entry = manifest.files[name]
    content = _read(folder, name, entry.bytes, tensors=entry.role in _TENSOR_ROLES)
    expect(len(content) == entry.bytes, name, f"{entry.bytes} bytes", len(content))
    found = hashlib.sha256(content).hexdigest()
    expect(found == entry.sha256, name, f"sha256 {entry.sha256[:12]}", Words(found[:12]))
    return content

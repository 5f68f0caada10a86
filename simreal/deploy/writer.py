"""Write a policy bundle, so that a reader sees a whole one or none.

A bundle is written aside, loaded, replayed against its own golden vectors, and only then renamed
into place: what does not reproduce the training policy is never published.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from simreal.deploy.bundle import CARD, MANIFEST, load_bundle
from simreal.deploy.card import render_card
from simreal.deploy.check import replay
from simreal.deploy.decode import one_line
from simreal.deploy.manifest import FORMAT, Manifest
from simreal.deploy.spec import GOLDEN_FILE, TRAINING_FILE, WEIGHTS_FILE, BundleSpec, build
from simreal.errors import BundleError

_DERIVED = ("policy.onnx", "policy.c", "policy.h", "leapp.yaml")


def write_bundle(path: str | Path, spec: BundleSpec) -> Path:
    """Write a bundle; the same policy gives the same bytes.

    Args:
        path: The folder to create, by convention `<name>.policy`; a bundle that is there is
            replaced.
        spec: The policy.

    Returns:
        `path`.

    Raises:
        BundleError: The policy is inconsistent, does not reproduce its golden vectors, or `path` is
            something else than a bundle.
    """
    manifest, listed = build(spec)
    return publish(path, manifest, listed, notes=spec.notes, created=spec.created)


def publish(
    path: str | Path,
    manifest: Manifest,
    members: Mapping[str, bytes],
    *,
    notes: str = "",
    created: str | None = None,
) -> Path:
    """Write a bundle from its parts, check it, and put it in place.

    Args:
        path: The folder to create; a bundle that is there is replaced.
        manifest: The manifest.
        members: Content of every file it lists, by name.
        notes: Text for the card.
        created: When it is written, for the card alone.

    Returns:
        `path`.

    Raises:
        BundleError: What was written does not load or does not reproduce its golden vectors, or
            `path` is something else than a bundle.
    """
    target = Path(path)
    _refuse_foreign_target(target)
    content = manifest.to_bytes()
    card = render_card(manifest, hashlib.sha256(content).hexdigest(), notes=notes, created=created)
    files = {**members, CARD: card.encode(), MANIFEST: content}
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        for name, data in files.items():
            _write_synced(aside / name, data)
        aside.chmod(0o755)
        replay(load_bundle(aside))
        _put_in_place(aside, target)
    except BundleError as error:
        raise BundleError(one_line(f"policy '{manifest.name}' is not written: {error}")) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _refuse_foreign_target(target: Path) -> None:
    """Refuse to replace anything but a bundle: what is there is deleted in the end."""
    if not target.exists() and not target.is_symlink():
        return
    ours = False
    if target.is_dir() and not target.is_symlink():
        known = {MANIFEST, WEIGHTS_FILE, GOLDEN_FILE, TRAINING_FILE, CARD, *_DERIVED}
        names = {entry.name for entry in target.iterdir()}
        head = (target / MANIFEST).read_bytes() if MANIFEST in names else b""
        ours = not names or (names <= known and FORMAT.encode() in head)
    if not ours:
        raise BundleError(
            one_line(
                f"'{target}' exists and is not a bundle; choose another path or remove it first"
            )
        )


def _put_in_place(aside: Path, target: Path) -> None:
    """Rename the new folder to its place; a bundle that was there is deleted after that."""
    _sync(aside)
    old = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
        target.rename(old / target.name)
    try:
        aside.rename(target)
    except OSError:
        if old is not None:
            (old / target.name).rename(target)
        raise
    finally:
        _sync(target.parent)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Force renames to the disk, where the system can open folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

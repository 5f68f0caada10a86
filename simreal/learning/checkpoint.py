"""Checkpoints that a killed run continues from, bit for bit.

A checkpoint holds all that determines the rest of a run: parameters, normalizer, optimizer, random
generators and the state of every world. It is two files: tensors as safetensors, named by their
hash, and a small JSON that names them and is written last, so that a half-written checkpoint is
never seen. Both are written aside, synced and renamed; the two newest checkpoints are kept. Nothing
is pickled.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from simreal.errors import CheckpointError

FORMAT = "simreal/checkpoint-1"
KEEP = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Hold one checkpoint.

    Attributes:
        tensors: Name to array.
        meta: JSON-able facts: counters, curve, identity of the run.
        path: Its JSON file.
    """

    tensors: dict[str, np.ndarray]
    meta: dict[str, Any]
    path: Path


def write_checkpoint(
    folder: Path, num_timesteps: int, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]
) -> Path:
    """Write a checkpoint and drop all but the newest ones.

    Args:
        folder: Where checkpoints of this run lie.
        num_timesteps: Environment steps so far; names the files.
        tensors: Name to array.
        meta: JSON-able facts.

    Returns:
        The JSON file, whose presence makes the checkpoint valid.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"checkpoint-{num_timesteps:012d}"
    # Not `ascontiguousarray`, which makes an array of one element of a plain number.
    blob = save({name: np.asarray(value, order="C") for name, value in tensors.items()})
    digest = hashlib.sha256(blob).hexdigest()
    # With the hash in its name, the file never replaces the one that an older marker points to.
    tensors_file = f"{stem}.{digest[:12]}.safetensors"
    _write_synced(folder / tensors_file, blob)
    content = {
        "format": FORMAT,
        "num_timesteps": num_timesteps,
        "tensors": tensors_file,
        "sha256": digest,
        "bytes": len(blob),
        "meta": dict(meta),
    }
    marker = folder / f"{stem}.json"
    _write_synced(marker, json.dumps(content, sort_keys=True).encode())
    _drop_old(folder)
    return marker


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Load the newest valid checkpoint of a run.

    A checkpoint whose files do not agree is passed over in favor of the one before.

    Args:
        folder: Where checkpoints of the run lie.

    Returns:
        The checkpoint, or None if there is none at all.

    Raises:
        CheckpointError: There are checkpoints, but none is valid.
    """
    markers = sorted(folder.glob("checkpoint-*.json"), reverse=True)
    reasons = []
    for marker in markers:
        try:
            return _load(marker)
        except CheckpointError as error:
            reasons.append(str(error))
    if reasons:
        raise CheckpointError(f"no valid checkpoint in {folder}: {reasons[0]}; start the run anew")
    return None


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, np.ndarray]:
    """Return an optimizer's state as arrays, in parameter order.

    Args:
        optimizer: Adam or a subclass.
        prefix: Prefix of the names.
    """
    tensors: dict[str, np.ndarray] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            array = torch.as_tensor(value).detach().cpu().numpy()
            tensors[f"{prefix}.{index}.{key}"] = array.copy()
    return tensors


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, np.ndarray], prefix: str
) -> None:
    """Put back what `optimizer_tensors` returned.

    Args:
        optimizer: A fresh optimizer over the same parameters.
        tensors: All tensors of a checkpoint.
        prefix: Prefix of the names.
    """
    content = optimizer.state_dict()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(f"{prefix}."):
            index, key = name[len(prefix) + 1 :].split(".", 1)
            state.setdefault(int(index), {})[key] = torch.from_numpy(np.array(value))
    content["state"] = state
    optimizer.load_state_dict(content)


def rng_tensors() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the state of torch's and numpy's global generators as arrays and JSON-able facts."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {"rng.torch": torch.get_rng_state().numpy(), "rng.numpy": np.asarray(keys)}
    meta = {
        "kind": kind,
        "position": int(position),
        "has_gauss": int(has_gauss),
        "cached_gaussian": float(cached),
    }
    return tensors, meta


def restore_rng(tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Put back what `rng_tensors` returned."""
    torch.set_rng_state(torch.from_numpy(np.array(tensors["rng.torch"])))
    np.random.set_state(
        (
            meta["kind"],
            np.array(tensors["rng.numpy"]),
            meta["position"],
            meta["has_gauss"],
            meta["cached_gaussian"],
        )
    )


def _write_synced(path: Path, blob: bytes) -> None:
    aside = path.with_name(path.name + ".tmp")
    with aside.open("wb") as file:
        file.write(blob)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _drop_old(folder: Path) -> None:
    """Remove all but the newest checkpoints, and what killed runs left half-written."""
    markers = sorted(folder.glob("checkpoint-*.json"))
    for marker in markers[:-KEEP]:
        marker.unlink()  # first the marker, so that no valid checkpoint lacks its tensors
    kept = {marker.name for marker in markers[-KEEP:]}
    for marker in markers[-KEEP:]:
        try:
            kept.add(str(json.loads(marker.read_text())["tensors"]))
        except (ValueError, KeyError, TypeError):
            continue  # damaged; it is passed over when it is read
    for leftover in folder.glob("checkpoint-*"):
        if leftover.name not in kept:
            leftover.unlink()


def _load(marker: Path) -> Checkpoint:
    try:
        content = json.loads(marker.read_text())
        tensors_path = marker.parent / Path(str(content["tensors"])).name
        blob = tensors_path.read_bytes()
        seen = hashlib.sha256(blob).hexdigest()
        recorded, meta, form = content["sha256"], content["meta"], content["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{marker.name} cannot be read ({error!r})") from error
    if form != FORMAT:
        raise CheckpointError(f"{marker.name} has format {form!r}; {FORMAT!r} is needed")
    if seen != recorded:
        raise CheckpointError(f"{tensors_path.name} has sha256 {seen[:12]}..., not as recorded")
    try:
        tensors = load(blob)
    except SafetensorError as error:
        raise CheckpointError(f"{tensors_path.name}: {error}") from error
    return Checkpoint(tensors=tensors, meta=meta, path=marker)

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from simreal.errors import CheckpointError
from simreal.learning.checkpoint import (
    newest_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    restore_rng,
    rng_tensors,
    write_checkpoint,
)

TENSORS = {
    "vector": np.arange(3.0),
    "number": np.array(7),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 2), dtype=np.float32),
    "transposed": np.arange(6.0).reshape(2, 3).T,
}


def write(folder: Path, *steps: int) -> None:
    for step in steps:
        write_checkpoint(folder, step, TENSORS | {"step": np.array(step)}, {"at": step, "x": 0.1})


def test_round_trip_keeps_shapes_types_and_numbers(tmp_path: Path) -> None:
    write(tmp_path, 5)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.meta == {"at": 5, "x": 0.1}
    for name, value in TENSORS.items():
        assert found.tensors[name].shape == value.shape
        assert found.tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(found.tensors[name], value)


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "absent") is None
    (tmp_path / "checkpoint-000000000001.abc.safetensors").write_bytes(b"half")
    (tmp_path / "checkpoint-000000000001.json.tmp").write_bytes(b"{")
    assert newest_checkpoint(tmp_path) is None


def test_the_two_newest_are_kept_and_leftovers_removed(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    (tmp_path / "checkpoint-000000000003.abc.safetensors.tmp").write_bytes(b"half")
    write(tmp_path, 3)
    markers = sorted(p.name for p in tmp_path.glob("*.json"))
    assert markers == ["checkpoint-000000000002.json", "checkpoint-000000000003.json"]
    assert len(list(tmp_path.iterdir())) == 4


def test_the_same_step_is_replaced_without_a_gap(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, {"a": np.zeros(2)}, {})
    before = json.loads((tmp_path / "checkpoint-000000000001.json").read_text())
    kept = tmp_path / before["tensors"]
    copy = tmp_path / "copy"
    shutil.copyfile(kept, copy)
    write_checkpoint(tmp_path, 1, {"a": np.ones(2)}, {})
    # Had the process been killed before the marker was renamed, the old pair would still be whole.
    assert not kept.exists()
    copy.rename(kept)
    (tmp_path / "checkpoint-000000000001.json").write_text(json.dumps(before))
    found = newest_checkpoint(tmp_path)
    assert found is not None
    np.testing.assert_array_equal(found.tensors["a"], np.zeros(2))


def _tensors(folder: Path, step: int) -> Path:
    return next(folder.glob(f"checkpoint-{step:012d}.*.safetensors"))


def _truncate(folder: Path) -> None:
    path = _tensors(folder, 2)
    path.write_bytes(path.read_bytes()[:-8])


def _flip_a_bit(folder: Path) -> None:
    path = _tensors(folder, 2)
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(bytes(blob))


def _no_tensors(folder: Path) -> None:
    _tensors(folder, 2).unlink()


def _no_marker(folder: Path) -> None:
    (folder / "checkpoint-000000000002.json").rename(folder / "checkpoint-000000000002.json.tmp")


def _half_marker(folder: Path) -> None:
    marker = folder / "checkpoint-000000000002.json"
    marker.write_text(marker.read_text()[:40])


def _wrong_hash(folder: Path) -> None:
    marker = folder / "checkpoint-000000000002.json"
    content = json.loads(marker.read_text())
    marker.write_text(json.dumps(content | {"sha256": "0" * 64}))


def _not_an_object(folder: Path) -> None:
    (folder / "checkpoint-000000000002.json").write_text("[1, 2]")


def _other_format(folder: Path) -> None:
    marker = folder / "checkpoint-000000000002.json"
    marker.write_text(marker.read_text().replace("simreal/checkpoint-1", "simreal/checkpoint-9"))


DAMAGES = [
    _truncate,
    _flip_a_bit,
    _no_tensors,
    _no_marker,
    _half_marker,
    _wrong_hash,
    _not_an_object,
    _other_format,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    write(tmp_path, 1, 2)
    damage(tmp_path)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.meta["at"] == 1
    assert int(found.tensors["step"]) == 1


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d is not _no_marker])
def test_only_damaged_checkpoints_are_an_error(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    write(tmp_path, 2)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=r"no valid checkpoint.*start the run anew"):
        newest_checkpoint(tmp_path)


def test_a_marker_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "run", 2)
    _tensors(tmp_path / "run", 2).rename(tmp_path / "elsewhere.safetensors")
    marker = tmp_path / "run" / "checkpoint-000000000002.json"
    content = json.loads(marker.read_text())
    marker.write_text(json.dumps(content | {"tensors": "../elsewhere.safetensors"}))
    with pytest.raises(CheckpointError, match="cannot be read"):
        newest_checkpoint(tmp_path / "run")


@pytest.mark.parametrize("fused", [False, True])
def test_optimizers_continue_exactly(fused: bool) -> None:
    def make() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.Adam(layer.parameters(), lr=0.01, fused=fused)

    def step(layer: torch.nn.Linear, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        layer(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    layer, optimizer = make()
    for _ in range(3):
        step(layer, optimizer)
    saved = optimizer_tensors(optimizer, "optimizer.x")
    parameters = {k: v.clone() for k, v in layer.state_dict().items()}
    for _ in range(2):
        step(layer, optimizer)
    other, fresh = make()
    other.load_state_dict(parameters)
    restore_optimizer(fresh, saved, "optimizer.x")
    for _ in range(2):
        step(other, fresh)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in layer.state_dict().items())


def test_random_generators_continue_exactly() -> None:
    np.random.standard_normal()  # leaves a cached second number behind
    tensors, meta = rng_tensors()
    tensors = {name: np.array(value) for name, value in tensors.items()}
    first = (torch.rand(3), np.random.standard_normal(3), np.random.randint(0, 100, 5))
    restore_rng(tensors, json.loads(json.dumps(meta)))
    second = (torch.rand(3), np.random.standard_normal(3), np.random.randint(0, 100, 5))
    assert torch.equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[2], second[2])

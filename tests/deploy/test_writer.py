"""A bundle survives the round trip bit for bit, and replaces nothing but bundles."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from simreal.core.observation import Term
from simreal.core.robot import Robot
from simreal.deploy import BundleSpec, Golden, Layer, Normalizer, check_bundle, load, write_bundle
from simreal.deploy.manifest import decode_manifest
from simreal.errors import BundleError

Make = Callable[..., BundleSpec]


def _files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def _names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def test_round_trip_keeps_every_number(written: Path, make_spec: Make) -> None:
    spec, bundle = make_spec(), load(written)
    for layer, kept in zip(spec.layers, bundle.layers, strict=True):
        np.testing.assert_array_equal(layer.weight, kept.weight)
        np.testing.assert_array_equal(layer.bias, kept.bias)
        assert layer.activation == kept.activation
    assert spec.normalizer is not None
    assert bundle.normalizer is not None
    np.testing.assert_array_equal(spec.normalizer.mean, bundle.normalizer.mean)
    np.testing.assert_array_equal(spec.normalizer.var, bundle.normalizer.var)
    assert bundle.normalizer.count == 1000.0
    np.testing.assert_array_equal(
        spec.golden.signals["joint_pos"], bundle.golden.signals["joint_pos"]
    )
    assert bundle.manifest.provenance == spec.provenance


def test_terms_are_the_terms_of_training(written: Path, make_spec: Make) -> None:
    found = [
        Term.from_dict(dataclasses.asdict(t)) for t in load(written).manifest.observation.terms
    ]
    assert found == list(make_spec().terms)


def test_manifest_states_what_was_derived(written: Path, robot: Robot) -> None:
    manifest = load(written).manifest
    assert [t.slice for t in manifest.observation.terms] == [(0, 6), (6, 8), (8, 9), (9, 13)]
    assert [t.unit for t in manifest.observation.terms] == ["rad", "rad/s", "m", "1"]
    assert manifest.timing.decimation == 5
    assert manifest.timing.max_signal_age_s == 0.02
    assert manifest.robot.interface == robot.interface
    assert manifest.robot.interface_sha256 == robot.interface_sha256
    assert manifest.safety.torque_limit == {"elbow": 6.0, "shoulder": 9.0}
    assert manifest.safety.safe_stop_kd == {"elbow": 0.5}
    assert [(e.joint, e.kind, e.unit) for e in manifest.action.entries] == [
        ("shoulder", "position", "rad"),
        ("elbow", "torque", "Nm"),
    ]


def test_same_policy_gives_the_same_bytes(tmp_path: Path, make_spec: Make) -> None:
    first = write_bundle(tmp_path / "a.policy", make_spec())
    second = write_bundle(tmp_path / "b.policy", make_spec())
    assert _files(first) == _files(second)


def test_time_stands_in_the_card_alone(tmp_path: Path, make_spec: Make) -> None:
    early = _files(write_bundle(tmp_path / "a.policy", make_spec(created="2026-01-01T00:00:00Z")))
    late = _files(write_bundle(tmp_path / "b.policy", make_spec(created="2026-02-02T00:00:00Z")))
    assert early.pop("CARD.md") != late.pop("CARD.md")
    assert early == late


def test_another_seed_gives_another_identity(
    tmp_path: Path, make_spec: Make, written: Path
) -> None:
    origin = dataclasses.replace(make_spec().provenance, seed=8)
    other = write_bundle(tmp_path / "b.policy", make_spec(provenance=origin))
    assert load(other).sha256 != load(written).sha256


def test_manifest_is_canonical_and_survives_decoding(written: Path) -> None:
    data = (written / "manifest.json").read_bytes()
    assert decode_manifest(data).to_bytes() == data
    assert list(json.loads(data)) == sorted(json.loads(data))


def test_numbers_are_written_in_full(tmp_path: Path, make_spec: Make) -> None:
    limit = {"elbow": 0.1 + 0.2}
    bundle = load(write_bundle(tmp_path / "a.policy", make_spec(torque_limit=limit)))
    assert bundle.manifest.safety.torque_limit["elbow"] == 0.30000000000000004


def test_files_are_ordinary_safetensors(written: Path, make_spec: Make) -> None:
    tensors = load_file(written / "weights.safetensors")
    np.testing.assert_array_equal(tensors["network.0.weight"], make_spec().layers[0].weight)


def test_a_bundle_is_replaced(tmp_path: Path, make_spec: Make) -> None:
    path = write_bundle(tmp_path / "a.policy", make_spec())
    before = load(path).sha256
    write_bundle(path, make_spec(activation="elu"))
    assert load(path).sha256 != before
    assert _names(tmp_path) == ["a.policy"]


@pytest.mark.parametrize("what", ["file", "folder", "link", "bundle with notes"])
def test_anything_else_is_not_replaced(
    what: str, tmp_path: Path, make_spec: Make, bundle_dir: Path
) -> None:
    target = tmp_path / "target"
    if what == "file":
        target.write_text("precious")
    elif what == "folder":
        target.mkdir()
        (target / "precious.txt").write_text("precious")
    elif what == "link":
        target.symlink_to(bundle_dir)
    else:
        bundle_dir.rename(target)
        (target / "notes.txt").write_text("precious")
    before = _names(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle"):
        write_bundle(target, make_spec())
    assert _names(tmp_path) == before


def test_a_failed_write_leaves_the_old_bundle(tmp_path: Path, make_spec: Make) -> None:
    path = write_bundle(tmp_path / "a.policy", make_spec())
    before = _files(path)
    spec = make_spec()
    layers = (
        *spec.layers[:-1],
        dataclasses.replace(spec.layers[-1], bias=spec.layers[-1].bias + 1),
    )
    with pytest.raises(BundleError, match=r"not written: golden replay, output at step 0"):
        write_bundle(path, make_spec(layers=layers))
    assert _files(path) == before
    assert _names(tmp_path) == ["a.policy"]


def _break_dtype(spec: BundleSpec) -> dict[str, object]:
    return {"layers": tuple(_wide(layer) for layer in spec.layers)}


def _wide(layer: Layer) -> Layer:
    return dataclasses.replace(layer, weight=layer.weight.astype(np.float64))


def _break_term(spec: BundleSpec) -> dict[str, object]:
    return {"terms": (*spec.terms, Term(name="secret", source="contact", elements=("foot",)))}


def _break_clip(spec: BundleSpec) -> dict[str, object]:
    norm = spec.normalizer
    assert isinstance(norm, Normalizer)
    return {"normalizer": dataclasses.replace(norm, epsilon=float("nan"))}


def _break_length(spec: BundleSpec) -> dict[str, object]:
    golden = spec.golden
    signals = {name: value[:10] for name, value in golden.signals.items()}
    short = Golden(
        signals=signals,
        observation=golden.observation[:10],
        output=golden.output[:10],
        command=golden.command[:10],
    )
    return {"golden": short}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_break_dtype, "network.0.weight: expected float32, found float64"),
        (_break_term, "term 'secret' reads 'contact', expected one of"),
        (_break_clip, "expected finite numbers"),
        (_break_length, "golden.steps: expected at least 64, found 10"),
        (lambda s: {"control_period_s": 0.011}, "timing.control_period_s"),
        (lambda s: {"tick_s": 0.0}, "tick_s: expected more than 0"),
        (lambda s: {"squash": "sigmoid"}, "network.squash: expected 'none' or 'tanh'"),
        (lambda s: {"torque_limit": {"elbow": 7.0}}, "safety.torque_limit.elbow"),
        (lambda s: {"torque_limit": {"knee": 1.0}}, "safety.torque_limit"),
        (lambda s: {"safe_stop_kd": {"shoulder": 1.0}}, "safety.safe_stop_kd"),
        (lambda s: {"name": "../evil"}, "name: expected"),
        (lambda s: {"squash": "tanh", "golden": s.golden}, "golden replay, output at step 0"),
        (lambda s: {"normalizer": None}, "golden replay, output"),
    ],
)
def test_an_inconsistent_policy_is_not_written(
    change: Callable[[BundleSpec], dict[str, object]],
    message: str,
    tmp_path: Path,
    make_spec: Make,
) -> None:
    with pytest.raises(BundleError) as caught:
        write_bundle(tmp_path / "a.policy", make_spec(**change(make_spec())))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _names(tmp_path) == []


def test_numpy_scalars_are_written_as_numbers(tmp_path: Path, make_spec: Make) -> None:
    origin = dataclasses.replace(make_spec().provenance, seed=np.int64(7), env_steps=np.int64(9))
    bundle = load(write_bundle(tmp_path / "a.policy", make_spec(provenance=origin)))
    assert bundle.manifest.provenance.env_steps == 9


def test_check_reports_what_was_checked(written: Path) -> None:
    report = check_bundle(written)
    assert any("golden replay: 64 steps from a reset" in line for line in report)
    assert any("13-16-16-2" in line for line in report)


def test_training_parameters_travel_and_are_checked(tmp_path: Path, make_spec: Make) -> None:
    training = {"critic.weight": np.ones((2, 3), dtype=np.float32), "steps": np.array(5.0)}
    path = write_bundle(tmp_path / "a.policy", make_spec(training=training))
    found = load(path).training
    assert found is not None
    assert {name: value.tolist() for name, value in found.items()} == {
        "critic.weight": [[1.0] * 3] * 2,
        "steps": 5.0,
    }
    file = path / "training.safetensors"
    file.write_bytes(b"\x80\x04" + file.read_bytes()[2:])
    with pytest.raises(BundleError, match=r"training\.safetensors: expected a safetensors file"):
        load(path)


def test_a_spec_without_training_parameters_has_no_such_file(written: Path) -> None:
    assert load(written).training is None
    assert "training.safetensors" not in _names(written)

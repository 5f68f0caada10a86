"""A bundle may hold its policy as ONNX and C as well; they are listed, hashed and compared."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml

from simreal.deploy import Bundle, BundleSpec, check_bundle, load
from simreal.deploy.derive import check_derived, derive, write_derived
from simreal.errors import BundleError, DependencyError

ALL = ("onnx", "c", "leapp")


@pytest.fixture(scope="module")
def full(bundles: Mapping[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_derived(tmp_path_factory.mktemp("full") / "a.policy", bundles["lstm"], ALL)


def test_every_form_is_listed_hashed_and_replayed(full: Path) -> None:
    manifest = load(full).manifest
    roles = {name: entry.role for name, entry in manifest.files.items()}
    assert roles == {
        "weights.safetensors": "weights",
        "golden.safetensors": "golden",
        "policy.onnx": "onnx",
        "policy.c": "c_source",
        "policy.h": "c_header",
        "leapp.yaml": "leapp",
    }
    assert manifest.network.onnx is not None
    assert manifest.network.onnx.opset == 17
    lines = check_bundle(full)
    assert [line.split(":")[0] for line in lines[-3:]] == ["onnx replay", "c replay", "leapp"]


def test_the_same_policy_gives_the_same_bytes(
    full: Path, bundles: Mapping[str, Bundle], tmp_path: Path
) -> None:
    again = write_derived(tmp_path / "b.policy", bundles["lstm"], ALL)
    names = sorted(path.name for path in full.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    for name in names:
        assert (full / name).read_bytes() == (again / name).read_bytes(), name


def test_deriving_twice_changes_nothing(full: Path, tmp_path: Path) -> None:
    again = write_derived(tmp_path / "b.policy", load(full), ALL)
    assert load(again).sha256 == load(full).sha256


@pytest.mark.parametrize("name", ["policy.onnx", "policy.c", "policy.h", "leapp.yaml"])
def test_a_changed_form_is_refused(name: str, full: Path, edit_copy: Callable[[Path], Any]) -> None:
    edit = edit_copy(full)
    data = (edit.path / name).read_bytes()
    (edit.path / name).write_bytes(b"x" + data[1:])
    with pytest.raises(BundleError, match=rf"{name}: expected"):
        check_bundle(edit.path)
    edit.put(name, b"x" + data[1:])  # the hash fits again, the content does not
    with pytest.raises(BundleError, match=r"(policy|leapp)\.(onnx|c|h|yaml): "):
        check_bundle(edit.path)


def test_c_that_was_smuggled_in_is_refused_and_never_compiled(
    full: Path, edit_copy: Callable[[Path], Any]
) -> None:
    edit = edit_copy(full)
    edit.put("policy.c", b'#include "policy.h"\n#error compiled\n')
    with pytest.raises(BundleError, match=r"policy\.c: expected the C that the weights give"):
        check_bundle(edit.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["network"].update(onnx=None), "network.onnx: expected an entry if files"),
        (lambda m: m["files"]["policy.h"].update(role="golden"), "files: expected one of each"),
        (lambda m: m["files"].pop("policy.h"), "files: expected both of c_source and c_header"),
    ],
)
def test_a_manifest_that_lists_forms_wrongly_is_refused(
    change: Callable[[Any], Any], message: str, full: Path, edit_copy: Callable[[Path], Any]
) -> None:
    edit = edit_copy(full)
    edit.manifest(change)
    with pytest.raises(BundleError, match=message):
        load(edit.path)


def test_a_graph_of_other_weights_does_not_replay(
    bundles: Mapping[str, Bundle], make_spec: Callable[..., BundleSpec]
) -> None:
    bundle = bundles["tanh"]
    bias = bundle.layers[-1].bias + np.float32(0.01)
    other = (*bundle.layers[:-1], dataclasses.replace(bundle.layers[-1], bias=bias))
    graph = derive(dataclasses.replace(bundle, layers=other), ("onnx",))["policy.onnx"]
    with pytest.raises(BundleError, match="golden replay, output at step 0"):
        check_derived(dataclasses.replace(bundle, derived={"onnx": graph}))


def test_leapp_describes_the_graph_and_its_feedback(full: Path) -> None:
    text = (full / "leapp.yaml").read_text()
    content = yaml.safe_load(text)
    assert content == json.loads(text)
    model = content["models"]["policy"]
    data = (full / model["parameters"]["model_path"]).read_bytes()
    assert model["parameters"]["sha256sum"] == hashlib.sha256(data).hexdigest()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == [i["name"] for i in model["inputs"]]
    assert [o.name for o in session.get_outputs()] == [o["name"] for o in model["outputs"]]
    assert [i.shape for i in session.get_inputs()] == [i["shape"] for i in model["inputs"]]
    assert model["inputs"][0]["kind"] == "state/joint/position"
    assert model["inputs"][0]["element_names"] == [["shoulder", "slider", "elbow"]]
    assert model["inputs"][0]["units"] == ["rad", "m", "rad"]
    assert "kind" not in model["outputs"][0]  # one motor takes torques, the other positions
    pipeline = content["pipeline"]
    assert pipeline["configs"]["frequency"] == 100.0
    assert pipeline["inputs"] == {"policy": ["signal.joint_pos", "signal.joint_vel"]}
    fed = {target for targets in pipeline["feedback_flow"].values() for target in targets}
    assert fed == {f"policy/{i['name']}" for i in model["inputs"] if "carry" in i["name"]}


def test_a_missing_package_is_named(
    bundles: Mapping[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install 'simreal\[onnx\]'"):
        derive(bundles["tanh"], ("leapp",))


def test_what_cannot_be_replayed_here_is_said(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    lines = check_bundle(full)
    assert lines[-3:-1] == [
        "onnx: not replayed, since onnxruntime is not installed",
        "c: as generated from the weights; not replayed without a compiler",
    ]

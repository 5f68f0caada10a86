"""Every broken or hostile bundle is refused in one line that names what is wrong."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.deploy import check_bundle, load
from simreal.errors import BundleError

W, G = "weights.safetensors", "golden.safetensors"
Break = Callable[[Any], Any]


def _set(*keys: Any, value: Any) -> Break:
    """Return a break that replaces one value of the manifest."""

    def change(manifest: dict[str, Any]) -> None:
        at: Any = manifest
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value

    return lambda edit: edit.manifest(change)


def _drop(*keys: Any) -> Break:
    def change(manifest: dict[str, Any]) -> None:
        at: Any = manifest
        for key in keys[:-1]:
            at = at[key]
        del at[keys[-1]]

    return lambda edit: edit.manifest(change)


def _raw(data: bytes) -> Break:
    return lambda edit: (edit.path / "manifest.json").write_bytes(data)


def _rename_member(name: str) -> Break:
    return lambda edit: edit.manifest(lambda m: m["files"].update({name: m["files"].pop(W)}))


def _tensor(file: str, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Break:
    return lambda edit: edit.tensors(file, lambda t: t.update({name: change(t[name])}))


def _poke(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array.flat[0] = value
    return array


def _offsets(edit: Any) -> None:
    edit.header(W, lambda h: h["network.0.bias"].update(data_offsets=[0, 64]))


def _gap(edit: Any) -> None:
    last = max(json_header(edit.path / W).items(), key=lambda item: item[1]["data_offsets"])[0]

    def shift(header: dict[str, Any]) -> None:
        begin, end = header[last]["data_offsets"]
        header[last]["data_offsets"] = [begin + 4, end + 4]

    edit.header(W, shift)


def json_header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + size]))


def _extra_bytes(edit: Any) -> None:
    edit.put(W, (edit.path / W).read_bytes() + b"\0" * 8)


def _claims(length: int) -> Break:
    return lambda edit: edit.put(W, length.to_bytes(8, "little") + b"{}" + b" " * 100)


def _link(name: str) -> Break:
    def change(edit: Any) -> None:
        (edit.path / name).rename(edit.path.parent / "elsewhere")
        (edit.path / name).symlink_to(edit.path.parent / "elsewhere")

    return change


def _edit_byte(edit: Any) -> None:
    data = bytearray((edit.path / W).read_bytes())
    data[-1] ^= 1
    (edit.path / W).write_bytes(data)


class _Touch:
    """A pickle that leaves a mark if anything opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def _pickle(protocol: int, fit_hash: bool) -> Break:
    def change(edit: Any) -> None:
        data = pickle.dumps(_Touch(edit.path.parent / "executed"), protocol) + b" " * 64
        edit.put(W, data) if fit_hash else (edit.path / W).write_bytes(data)

    return change


def _large_history(edit: Any) -> None:
    """Make every number fit, and the stored frames 8000 times 206."""

    def change(manifest: dict[str, Any]) -> None:
        names = [f"e{i}" for i in range(200)]
        signal = {"name": "many", "kind": "other", "elements": names, "units": ["1"] * 200}
        manifest["signals"].append({**manifest["signals"][0], **signal})
        terms = manifest["observation"]["terms"]
        terms[0]["history"] = 8000
        wide = {"name": "wide", "source": "many", "elements": names, "ops": [], "history": 1}
        terms.append({**terms[0], **wide, "fill": "first", "unit": "1"})
        at = 0
        for term in terms:
            term["slice"] = [at, at + term["history"] * len(term["elements"])]
            at = term["slice"][1]
        manifest["observation"]["dim"] = manifest["network"]["inputs"] = at

    edit.manifest(change)


def _torch_zip(edit: Any) -> None:
    edit.put(W, b"PK\x03\x04" + b"\0" * 200)


JOINTS = ("robot", "joints")
TERMS = ("observation", "terms")
NORM = ("observation", "normalization")

CASES: dict[str, tuple[Break, str]] = {
    "bad json": (_raw(b'{"format": '), "manifest.json: expected JSON, found at line 1"),
    "empty": (_raw(b""), "manifest.json: expected JSON"),
    "not utf-8": (_raw(b'{"a": "\xff"}'), "manifest.json: expected UTF-8 text"),
    "a list": (_raw(b"[]"), "manifest.json: expected an object, found a list of 0 items"),
    "too deep": (_raw(b"[" * 100_000), "manifest.json: expected JSON that nests a few levels"),
    "too large": (_raw(b" " * (2**20 + 1)), "manifest.json: expected 1048576 bytes at most"),
    "huge integer": (_raw(b'{"a": ' + b"9" * 9999 + b"}"), "numbers of at most 64 bit"),
    "duplicate key": (
        lambda e: e.text('"tick_s"', '"tick_s": 0.5, "tick_s"'),
        "manifest.json: expected every key once, found the key 'tick_s' twice",
    ),
    "nan literal": (lambda e: e.text("0.002", "NaN"), "found the literal NaN"),
    "infinity literal": (lambda e: e.text("0.002", "-Infinity"), "found the literal -Infinity"),
    "overflow": (lambda e: e.text("0.002", "1e999"), "timing.tick_s: expected a finite number"),
    "another format": (_set("format", value="zip"), "format: expected 'simreal/policy-bundle'"),
    "unknown major": (
        _set("schema_version", value="2.0"),
        "schema_version: expected major version 1",
    ),
    "version number": (_set("schema_version", value=1.0), "schema_version: expected a text"),
    "unknown key": (
        _set("timing", "control_perod_s", value=1),
        "timing: expected only the keys of the schema, found the unknown key 'control_perod_s'. "
        "Did you mean 'control_period_s'?",
    ),
    "key with line break": (_set("timing", "a\nb", value=1), "timing: expected printable keys"),
    "missing key": (
        _drop("timing", "decimation"),
        "timing.decimation: expected a value, found nothing",
    ),
    "wrong type": (
        _set("timing", "tick_s", value="0.002"),
        "timing.tick_s: expected a finite number",
    ),
    "bool as number": (
        _set("timing", "decimation", value=True),
        "timing.decimation: expected an integer",
    ),
    "path traversal": (
        _rename_member("../weights.safetensors"),
        "files: expected plain file names",
    ),
    "absolute path": (_rename_member("/etc/passwd.d"), "files: expected plain file names"),
    "backslash path": (_rename_member("..\\w.safetensors"), "files: expected plain file names"),
    "manifest as weights": (_rename_member("manifest.json"), "files: expected plain file names"),
    "two weights": (_set("files", G, "role", value="weights"), "files: expected one of each role"),
    "symlinked weights": (_link(W), f"{W}: expected a plain file, found a link"),
    "symlinked manifest": (
        _link("manifest.json"),
        "manifest.json: expected a plain file, found a link",
    ),
    "folder as member": (
        lambda e: ((e.path / W).unlink(), (e.path / W).mkdir()),
        f"{W}: expected a plain file",
    ),
    "pipe as member": (
        lambda e: ((e.path / W).unlink(), os.mkfifo(e.path / W)),
        f"{W}: expected a plain file",
    ),
    "extra member": (lambda e: (e.path / "run.py").write_text("x"), "files: expected only"),
    "extra folder": (lambda e: (e.path / "sub").mkdir(), "found 'sub'"),
    "missing member": (lambda e: (e.path / G).unlink(), f"files: expected the member '{G}'"),
    "missing manifest": (
        lambda e: (e.path / "manifest.json").unlink(),
        "files: expected the member 'manifest.json', found none",
    ),
    "truncated": (
        lambda e: (e.path / W).write_bytes((e.path / W).read_bytes()[:-4]),
        f"{W}: expected",
    ),
    "edited byte": (_edit_byte, f"{W}: expected sha256"),
    "wrong hash": (
        _set("files", G, "sha256", value="0" * 64),
        f"{G}: expected sha256 000000000000",
    ),
    "no hash": (_set("files", G, "sha256", value=""), f"files.{G}.sha256: expected 64 hexadecimal"),
    "wrong size": (
        _set("files", G, "bytes", value=10**9),
        "files: expected at most 67108864 bytes",
    ),
    "size too small": (_set("files", G, "bytes", value=10), f"{G}: expected 10 bytes at most"),
    "pickle": (_pickle(4, True), f"{W}: expected a safetensors file, found a Python pickle"),
    "pickle, hash not fitted": (_pickle(2, False), f"{W}: expected a safetensors file, found a Py"),
    "text pickle": (_pickle(0, True), f"{W}: expected a header of at most"),
    "torch checkpoint": (_torch_zip, f"{W}: expected a safetensors file, found a zip archive"),
    "10 GB header": (_claims(10 * 2**30), "found one that claims 10737418240 bytes"),
    "endless header": (_claims(2**64 - 1), "found one that claims 18446744073709551615 bytes"),
    "short file": (lambda e: e.put(W, b"\0\0"), f"{W}: expected a safetensors file, found 2 bytes"),
    "header is no json": (
        lambda e: e.put(W, (4).to_bytes(8, "little") + b"{{{{"),
        f"{W} header: expected JSON",
    ),
    "overlapping offsets": (_offsets, "data_offsets: expected to begin at 64, found 0"),
    "gap in offsets": (_gap, "data_offsets: expected to begin at"),
    "extra bytes": (_extra_bytes, f"{W}: expected"),
    "negative shape": (
        lambda e: e.header(W, lambda h: h["network.0.bias"].update(shape=[-16, -1])),
        "tensor 'network.0.bias' shape: expected at most 4 sizes, none negative",
    ),
    "overflowing shape": (
        lambda e: e.header(W, lambda h: h["network.0.bias"].update(shape=[2**62, 2**62])),
        "tensor 'network.0.bias': expected",
    ),
    "hidden metadata": (
        lambda e: e.header(W, lambda h: h.update(__metadata__={"a": "b"})),
        f"{W} header: expected tensors only",
    ),
    "wrong dtype": (
        _tensor(W, "network.0.weight", lambda a: a.astype(np.float16)),
        "tensor 'network.0.weight'.dtype: expected 'F32' or 'F64'",
    ),
    "integers": (
        _tensor(G, "command", lambda a: a.astype(np.int64)),
        "tensor 'command'.dtype: expected 'F32' or 'F64'",
    ),
    "double weights": (
        _tensor(W, "network.0.weight", lambda a: a.astype(np.float64)),
        "tensor 'network.0.weight': expected float32, found float64",
    ),
    "nan weight": (
        _tensor(W, "network.2.bias", lambda a: _poke(a, np.nan)),
        "tensor 'network.2.bias': expected finite numbers, found nan at 0",
    ),
    "infinite golden": (
        _tensor(G, "command", lambda a: _poke(a, np.inf)),
        "tensor 'command': expected finite numbers, found inf at 0",
    ),
    "negative variance": (
        _tensor(W, "normalizer.var", lambda a: _poke(a, -1.0)),
        "tensor 'normalizer.var': expected var >= 0",
    ),
    "wrong shape": (
        _tensor(W, "network.1.weight", lambda a: np.ascontiguousarray(a[:, 1:])),
        "tensor 'network.1.weight': expected shape (16, 16), found (16, 15)",
    ),
    "transposed": (
        _tensor(W, "network.0.weight", lambda a: np.ascontiguousarray(a.T)),
        "tensor 'network.0.weight': expected shape (16, 13), found (13, 16)",
    ),
    "missing tensor": (
        lambda e: e.tensors(W, lambda t: t.pop("normalizer.mean")),
        f"{W}: expected a tensor 'normalizer.mean', found none",
    ),
    "renamed tensor": (
        lambda e: e.tensors(W, lambda t: t.update({"normalizer.maen": t.pop("normalizer.mean")})),
        "Did you mean 'normalizer.maen'?",
    ),
    "extra tensor": (
        lambda e: e.tensors(W, lambda t: t.update(extra=np.zeros(2, np.float32))),
        f"{W}: expected only the tensors of the manifest, found 'extra'",
    ),
    "golden too short": (_set("golden", "steps", value=63), "golden.steps: expected at least 64"),
    "golden of other length": (_set("golden", "steps", value=65), "expected shape (65,"),
    "loose tolerance": (_set("golden", "atol", value=1.0), "golden.atol: expected a value in"),
    "golden file": (_set("golden", "file", value=W), "golden.file: expected"),
    "wrong dim": (_set("observation", "dim", value=14), "observation.dim: expected 13"),
    "wrong inputs": (
        _set("network", "inputs", value=160),
        "network.inputs: expected observation.dim = 13",
    ),
    "gap in slices": (
        _set(*TERMS, 1, "slice", value=[7, 9]),
        "terms.vel.slice: expected [6, 8], found [7, 9]",
    ),
    "overlap in slices": (
        _set(*TERMS, 1, "slice", value=[5, 7]),
        "terms.vel.slice: expected [6, 8]",
    ),
    "unknown signal": (
        _set(*TERMS, 0, "source", value="joint_poss"),
        "unknown signal of observation term 'pos' 'joint_poss'. Did you mean 'joint_pos'?",
    ),
    "unknown element": (
        _set(*TERMS, 0, "elements", 0, value="shouldr"),
        "'shouldr'. Did you mean 'shoulder'?",
    ),
    "unknown operation": (
        _set(*TERMS, 0, "ops", 0, "kind", value="sine"),
        "observation.terms[0].ops[0].kind: expected 'sin' or",
    ),
    "operation without value": (
        _set(*TERMS, 1, "ops", 0, "values", value=[]),
        "observation.terms[1].ops[0]: observation operation 'scale' takes 1 values",
    ),
    "endless lag": (
        _set(*TERMS, 0, "ops", value=[{"kind": "lag", "values": [10**12]}]),
        "observation.terms",
    ),
    "endless history": (_set(*TERMS, 0, "history", value=10**12), "observation.terms.pos"),
    "large history": (_large_history, "observation.terms: expected at most 1048576 stored"),
    "no history": (_set(*TERMS, 0, "history", value=0), "observation.terms[0]: observation term"),
    "degrees in a term": (_set(*TERMS, 0, "unit", value="deg"), "terms.pos.unit: expected 'rad'"),
    "degrees in a signal": (
        _set("signals", 0, "units", value=["deg", "m", "deg"]),
        "signals.joint_pos.units of shoulder: expected 'rad', found 'deg'",
    ),
    "unknown joint in signal": (
        _set("signals", 0, "elements", 2, value="elbo"),
        "signals.joint_pos.elements: expected a known name, found 'elbo'. Did you mean 'elbow'?",
    ),
    "doubled term": (
        _set(*TERMS, 1, "name", value="pos"),
        "observation.terms: expected every name once",
    ),
    "missing normalizer": (
        _set(*NORM, "kind", value="none"),
        "observation.normalization.mean: expected null",
    ),
    "live normalizer": (_set(*NORM, "frozen", value=False), "observation.normalization.frozen"),
    "broken chain": (_set("network", "layers", 0, "units", value=8), "expected shape (8, 13)"),
    "too few outputs": (
        _set("network", "layers", 2, "units", value=1),
        "network.layers[2].units: expected 2",
    ),
    "activated output": (
        _set("network", "layers", 2, "activation", value="tanh"),
        "network.layers[2].activation: expected 'identity'",
    ),
    "unknown activation": (
        _set("network", "layers", 0, "activation", value="gelu"),
        "network.layers[0].activation: expected 'tanh' or 'relu' or 'elu'",
    ),
    "shared tensor": (
        _set("network", "layers", 1, "weight", value="network.0.weight"),
        "network.layers: expected every name once",
    ),
    "rate": (
        _set("timing", "control_period_s", value=0.011),
        "timing.control_period_s: expected tick_s",
    ),
    "decimation": (
        _set("timing", "decimation", value=4),
        "expected tick_s * decimation = 0.008, found 0.01",
    ),
    "negative latency": (
        _set("timing", "trained_latency", "command_s", value=[0.1, 0.0]),
        "timing.trained_latency.command_s: expected 0 <= smallest <= largest",
    ),
    "limits reversed": (
        lambda e: e.manifest(lambda m: m["robot"]["joints"][0].update(lower=3.0, upper=-3.0)),
        "robot.joints.shoulder.upper: expected more than the lower limit 3.0, found -3.0",
    ),
    "default outside": (_set(*JOINTS, 0, "default", value=4), "robot.joints.shoulder.default"),
    "limit changed": (_set(*JOINTS, 0, "upper", value=3.1), "robot.interface_sha256: expected"),
    "joints swapped": (
        lambda e: e.manifest(lambda m: m["robot"]["joints"].reverse()),
        "robot.interface_sha256: expected",
    ),
    "doubled joint": (
        _set(*JOINTS, 1, "name", value="elbow"),
        "robot.joints: expected every name once",
    ),
    "axis": (_set(*JOINTS, 0, "axis", value=[0, 2, 0]), "robot.joints.shoulder.axis"),
    "negative gain": (_set("robot", "actuators", 1, "kp", value=-1), "robot.actuators.shoulder.kp"),
    "clip": (
        _set("action", "clip", value=[-5, 5]),
        "action.clip: expected [-1, 1], found [-5.0, 5.0]",
    ),
    "scale": (_set("action", "entries", 1, "scale", value=0), "action.entries.elbow.scale"),
    "kind": (_set("action", "entries", 1, "kind", value="position"), "action.entries.elbow.kind"),
    "torque limit": (
        _set("safety", "torque_limit", "elbow", value=60),
        "safety.torque_limit.elbow",
    ),
    "no velocity guard": (
        _drop("safety", "joint_velocity_max", "elbow"),
        "safety.joint_velocity_max: expected a value for 'elbow', found none",
    ),
    "impossible figures": (
        _set("provenance", "evaluation", 0, "successes", value=201),
        "provenance.evaluation[0].successes: expected a number in [0, 200], found 201",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_bundle_is_refused_in_one_line(case: str, edit: Any) -> None:
    change, message = CASES[case]
    load(edit.path)
    change(edit)
    with pytest.raises(BundleError) as caught:
        load(edit.path)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert len(text) < 900
    assert not (edit.path.parent / "executed").exists()


REPLAYED: dict[str, tuple[Break, str]] = {
    "one weight": (
        _tensor(W, "network.1.weight", lambda a: _poke(a, a.flat[0] + 0.01)),
        "output at step 0",
    ),
    "weights of two layers": (
        lambda e: e.tensors(
            W,
            lambda t: t.update(
                {"network.0.bias": t["network.1.bias"], "network.1.bias": t["network.0.bias"]}
            ),
        ),
        "output at step 0",
    ),
    "normalizer": (
        _tensor(W, "normalizer.mean", lambda a: a + np.float32(0.1)),
        "output at step 0",
    ),
    "term scale": (
        _set(*TERMS, 1, "ops", 0, "values", value=[0.2]),
        "observation at step 0, vel[elbow]@0",
    ),
    "element order": (
        _set(*TERMS, 0, "elements", value=["elbow", "shoulder"]),
        "observation at step 0, pos[elbow]@0",
    ),
    "history fill": (
        _set(*TERMS, 0, "fill", value="first"),
        "observation at step 0, pos[shoulder]@2",
    ),
    "clip of the normalizer": (_set(*NORM, "clip", value=0.5), "output at step"),
    "activation": (_set("network", "layers", 0, "activation", value="elu"), "output at step 0"),
    "action order": (
        lambda e: e.manifest(lambda m: m["action"]["entries"].reverse()),
        "command at step 0, elbow",
    ),
    "action scale": (_set("action", "entries", 1, "scale", value=5.9), "command at step 0, elbow"),
    "action offset": (
        _set("action", "entries", 0, "offset", value=0.3),
        "command at step 0, shoulder",
    ),
}


@pytest.mark.parametrize("case", REPLAYED)
def test_golden_replay_names_what_differs(case: str, edit: Any) -> None:
    change, message = REPLAYED[case]
    change(edit)
    load(edit.path)  # consistent, and wrong
    with pytest.raises(BundleError, match="golden replay, ") as caught:
        check_bundle(edit.path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"expected a folder with a manifest\.json, found nothing"
    ):
        load(tmp_path / "absent\nname")
    (tmp_path / "file").write_bytes(pickle.dumps({}))
    with pytest.raises(BundleError, match="found a file"):
        load(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"the member 'manifest.json', found none"):
        load(tmp_path / "empty")


def test_total_size_is_the_callers_choice(written: Path) -> None:
    with pytest.raises(BundleError, match="files: expected at most 4096 bytes together"):
        load(written, max_bytes=4096)


def test_the_card_may_lack_and_is_not_trusted(bundle_dir: Path) -> None:
    identity = load(bundle_dir).sha256
    (bundle_dir / "CARD.md").write_text("anything")
    assert load(bundle_dir).sha256 == identity
    (bundle_dir / "CARD.md").unlink()
    assert load(bundle_dir).sha256 == identity


@pytest.mark.parametrize(
    "case", ["10 GB header", "endless history", "overflowing shape", "too deep"]
)
def test_memory_stays_bounded(case: str, edit: Any) -> None:
    CASES[case][0](edit)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError):
            load(edit.path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_sparse_giant_is_refused_under_a_memory_limit(edit: Any) -> None:
    with (edit.path / W).open("r+b") as file:
        file.truncate(10 * 2**30)
    program = f"""
    import resource
    from simreal.deploy import load
    from simreal.errors import BundleError
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    try:
        load({str(edit.path)!r})
    except BundleError as error:
        print("refused:", error)
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.startswith("refused:")
    assert "bytes at most, found 10737418240" in done.stdout

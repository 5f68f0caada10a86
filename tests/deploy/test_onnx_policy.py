"""The ONNX graph holds everything, in a pinned operator set, and nothing from outside is loaded."""

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from simreal.deploy import Bundle, NumpyPolicy
from simreal.deploy.onnx_graph import OPSET, network_model, onnx_model, ports
from simreal.deploy.onnx_policy import OnnxPolicy, make_session
from simreal.errors import BundleError


def _with_model(bundle: Bundle, model: bytes) -> Bundle:
    return dataclasses.replace(bundle, derived={"onnx": model})


def test_the_graph_goes_from_signals_to_commands_with_its_carry(
    bundles: Mapping[str, Bundle],
) -> None:
    model = onnx.load_from_string(onnx_model(bundles["rich"]))
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    carry = ["action", "frames", "state", "started"]
    assert inputs == ["signal.joint_pos", "signal.joint_vel", *(f"carry.{c}" for c in carry)]
    assert outputs == ["command", "observation", "output", *(f"next.{c}" for c in carry)]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert all(t.data_location == TensorProto.DEFAULT for t in model.graph.initializer)


def test_a_policy_without_memory_has_no_carry(bundles: Mapping[str, Bundle]) -> None:
    assert ports(bundles["blind"].manifest)[1] == []


def test_the_same_policy_gives_the_same_bytes(bundles: Mapping[str, Bundle]) -> None:
    assert onnx_model(bundles["lstm"]) == onnx_model(bundles["lstm"])


def test_the_graph_of_the_network_alone(bundles: Mapping[str, Bundle]) -> None:
    bundle = bundles["tanh"]
    session = make_session(network_model(bundle))
    (found,) = session.run(None, {"observation": bundle.golden.observation[:1]})
    np.testing.assert_allclose(found[0], bundle.golden.output[0], rtol=0, atol=1e-5)
    with pytest.raises(BundleError, match="recurrent"):
        network_model(bundles["lstm"])


def test_a_step_reads_the_carry_of_the_step_before(bundles: Mapping[str, Bundle]) -> None:
    # The graph by itself, as another program would run it: zeros begin, next.x feeds carry.x.
    bundle = bundles["rich"]
    session = make_session(onnx_model(bundle))
    names = [value.name for value in session.get_outputs()]
    carry = {f"carry.{p.name}": np.zeros(p.shape, p.dtype) for p in ports(bundle.manifest)[1]}
    policy = NumpyPolicy(bundle)
    for step in range(12):
        signals = {name: value[step] for name, value in bundle.golden.signals.items()}
        feed = {f"signal.{name}": value for name, value in signals.items()}
        found = dict(zip(names, session.run(None, {**feed, **carry}), strict=True))
        expected = policy.step(signals) if step else policy.reset(signals)
        np.testing.assert_allclose(found["command"][0], expected, rtol=0, atol=1e-5)
        carry = {name: found[name.replace("carry.", "next.")] for name in carry}


@pytest.mark.parametrize("flush", [False, True])
def test_arithmetic_of_the_thread_changes_only_where_that_is_asked_for(
    flush: bool, bundles: Mapping[str, Bundle]
) -> None:
    code = f"""
import numpy as np
from simreal.deploy import load
from simreal.deploy.onnx_policy import OnnxPolicy
bundle = load({str(bundles["tanh"].path)!r})
small = np.full(4, 1e-40, dtype=np.float32)
policy = OnnxPolicy(bundle, flush_denormals={flush})
policy.reset({{name: value[0] for name, value in bundle.golden.signals.items()}})
print(bool((small * np.float32(1.0)).any()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(not flush)


def _external(path: Path) -> bytes:
    """A graph that adds what a file outside holds."""
    (path / "secret.bin").write_bytes(np.arange(2, dtype=np.float32).tobytes())
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(path / "secret.bin"))
    node = helper.make_node("Add", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("x", "y")]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def test_a_graph_that_reads_other_files_is_refused(
    bundles: Mapping[str, Bundle], tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=r"policy.onnx: cannot be loaded"):
        OnnxPolicy(_with_model(bundles["tanh"], _external(tmp_path)))


def test_what_is_no_graph_is_refused_in_one_line(bundles: Mapping[str, Bundle]) -> None:
    with pytest.raises(BundleError, match=r"policy.onnx: cannot be loaded") as caught:
        OnnxPolicy(_with_model(bundles["tanh"], b"\x08\x08 nothing"))
    assert str(caught.value).isprintable()


def test_a_graph_of_another_policy_is_refused(bundles: Mapping[str, Bundle]) -> None:
    with pytest.raises(BundleError, match=r"policy.onnx inputs: expected .*carry.action"):
        OnnxPolicy(_with_model(bundles["tanh"], onnx_model(bundles["blind"])))


def test_an_input_of_another_shape_is_refused(bundles: Mapping[str, Bundle]) -> None:
    model = onnx.load_from_string(onnx_model(bundles["tanh"]))
    wide = next(v for v in model.graph.input if v.name == "carry.frames")
    wide.type.tensor_type.shape.dim[1].dim_value += 1
    _answer_zero(model.graph)
    with pytest.raises(BundleError, match=r"policy.onnx carry.frames: expected .*found"):
        OnnxPolicy(_with_model(bundles["tanh"], bytes(model.SerializeToString())))


def _answer_zero(graph: onnx.GraphProto) -> None:
    """Rewrite a graph so that it is valid whatever its inputs are."""
    del graph.node[:], graph.initializer[:]
    for value in graph.output:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        kind, numbers = value.type.tensor_type.elem_type, np.zeros(shape).ravel().tolist()
        zero = helper.make_tensor(f"{value.name}.zero", kind, shape, numbers)
        graph.node.append(helper.make_node("Constant", [], [value.name], value=zero))

"""Run a policy's ONNX graph with ONNX Runtime: one thread, no spinning, buffers that stay.

Inputs and outputs are bound once to arrays of this object, and what an episode carries changes
between two sets of them, so that a step copies nothing but the signals.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from simreal.deploy.bundle import Bundle
from simreal.deploy.decode import Words, expect, one_line
from simreal.deploy.onnx_graph import Port, onnx_model, ports
from simreal.deploy.policy import PolicyBase
from simreal.errors import BundleError

_TYPES = {np.float64: "tensor(double)", np.float32: "tensor(float)", np.bool_: "tensor(bool)"}


def make_session(model: bytes, *, flush_denormals: bool = False) -> Any:
    """Return an inference session for the control loop.

    One thread, in sequence, without a spinning thread that would take time from other programs.

    Args:
        model: The graph.
        flush_denormals: Whether numbers near zero, which are slow, become zero. ONNX Runtime then
            changes the calling thread for good: all its later arithmetic does so, numpy's too.

    Raises:
        BundleError: ONNX Runtime cannot load it, for instance because it refers to other files.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if flush_denormals:
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base
        raise BundleError(one_line(f"policy.onnx: cannot be loaded: {error}")) from None


def bound_run(session: Any, binding: Any) -> Callable[[], object]:
    """Return a call that runs what is bound; the quickest form that the package has.

    Args:
        session: An inference session.
        binding: Its binding, with all inputs and outputs.
    """
    # The public method passes these two on, in a twentieth of the time that a small network takes.
    inner, bound = getattr(session, "_sess", None), getattr(binding, "_iobinding", None)
    if inner is None or bound is None:
        return functools.partial(session.run_with_iobinding, binding)
    return functools.partial(inner.run_with_iobinding, bound, None)


class OnnxPolicy(PolicyBase):
    """Turn raw signals into commands with ONNX Runtime; the same as `NumpyPolicy` to 1e-5.

    It needs the package `onnxruntime`, and `onnx` as well where the bundle has no `policy.onnx`.
    """

    def __init__(self, bundle: Bundle, *, flush_denormals: bool = False) -> None:
        """Load the graph of a bundle, or make one.

        Args:
            bundle: A loaded bundle.
            flush_denormals: As for `make_session`; for a thread that runs nothing but a controller.

        Raises:
            BundleError: The graph cannot be loaded, or its inputs and outputs are not those of the
                manifest.
        """
        super().__init__(bundle.manifest)
        model = bundle.derived.get("onnx")
        model = onnx_model(bundle) if model is None else model
        self._session = make_session(model, flush_denormals=flush_denormals)
        signals, carry, outputs = ports(bundle.manifest)
        _check(self._session.get_inputs(), [*signals, *_named("carry", carry)], "inputs")
        _check(self._session.get_outputs(), [*outputs, *_named("next", carry)], "outputs")
        results = {port.name: np.zeros(port.shape, port.dtype) for port in outputs}
        self._observation = results["observation"][0]
        self._output = results["output"][0]
        self._command = results["command"][0]
        # Two carries: a step reads the one and writes the other.
        self._carries = [{p.name: np.zeros(p.shape, p.dtype) for p in carry} for _ in range(2)]
        self._runs = [
            self._bind_arrays(results, self._carries[i], self._carries[1 - i]) for i in range(2)
        ]
        self._turn = 0
        # A policy that does not observe its last action has a graph that does not keep it.
        self._keeps = any(port.name == "action" for port in carry)
        self._own = np.zeros_like(self._output)
        self._last = [c["action"][0] if self._keeps else self._own for c in self._carries]
        self._action = self._last[0]

    def _bind_arrays(
        self,
        results: Mapping[str, np.ndarray],
        before: Mapping[str, np.ndarray],
        after: Mapping[str, np.ndarray],
    ) -> Callable[[], object]:
        import onnxruntime

        def shared(array: np.ndarray) -> Any:  # on the processor this shares the array's memory
            return onnxruntime.OrtValue.ortvalue_from_numpy(array)

        binding = self._session.io_binding()
        for name, array in self._signals.rows.items():
            binding.bind_ortvalue_input(f"signal.{name}", shared(array))
        for name, array in before.items():
            binding.bind_ortvalue_input(f"carry.{name}", shared(array))
        for name, array in results.items():
            binding.bind_ortvalue_output(name, shared(array))
        for name, array in after.items():
            binding.bind_ortvalue_output(f"next.{name}", shared(array))
        return bound_run(self._session, binding)

    def _begin(self) -> None:
        for array in self._carries[self._turn].values():
            array.fill(0)
        self._advance()

    def _advance(self) -> None:
        # Kernels may clamp NaN to a number, so none may come in; outputs are tested by the caller.
        if not math.isfinite(np.add.reduce(self._signals.packed)):
            for array in (self._output, self._action, self._command):
                array.fill(np.nan)
            return
        self._runs[self._turn]()
        self._turn = 1 - self._turn
        self._action = self._last[self._turn]
        if not self._keeps:
            np.clip(self._output, -1.0, 1.0, out=self._own)


def _named(prefix: str, found: list[Port]) -> list[Port]:
    return [Port(f"{prefix}.{port.name}", port.dtype, port.shape) for port in found]


def _check(found: Any, expected: list[Port], what: str) -> None:
    """Refuse a graph whose inputs or outputs are not those that the manifest asks for."""
    seen = {value.name: (value.type, tuple(value.shape)) for value in found}
    names = sorted(port.name for port in expected)
    expect(sorted(seen) == names, f"policy.onnx {what}", names, Words(sorted(seen)))
    for port in expected:
        wanted = (_TYPES[port.dtype], port.shape)
        right = seen[port.name] == wanted
        expect(right, f"policy.onnx {port.name}", wanted, Words(seen[port.name]))

"""Describe a policy's ONNX graph in NVIDIA's LEAPP format, for runtimes that read that.

The description names inputs and outputs with LEAPP's kinds, and says which output is fed back to
which input. It is written as JSON, which every YAML reader reads. Source of the format: the Python
package `leapp` 0.7.2, configuration version 1.3.
"""

import hashlib
import json
from typing import Any

import numpy as np

from simreal.deploy.manifest import Manifest, SignalEntry
from simreal.deploy.onnx_graph import ONNX_FILE, Port, ports

LEAPP_FILE = "leapp.yaml"
_CONFIG_VERSION = "1.3"
_NODE = "policy"

_INPUT_KINDS = {
    "joint_position": "state/joint/position",
    "joint_velocity": "state/joint/velocity",
    "joint_torque": "state/joint/effort",
    "angular_velocity": "state/body/angular_velocity",
    "linear_velocity": "state/body/linear_velocity",
    "linear_acceleration": "state/body/linear_acceleration",
    "gravity": "state/vector3d",
    "quaternion": "state/body/rotation",
}
_OUTPUT_KINDS = {
    "torque": "target/joint/torques",
    "position": "target/joint/position",
    "velocity": "target/joint/velocity",
}


def leapp_description(manifest: Manifest, model: bytes) -> bytes:
    """Return the description of a policy.

    Args:
        manifest: The manifest.
        model: Its ONNX graph.
    """
    signals, carry, outputs = ports(manifest)
    described = [
        {**_port(port), **_signal(entry)}
        for port, entry in zip(signals, manifest.signals, strict=True)
    ]
    described += [_port(port, "carry.") for port in carry]
    results = [_port(port) for port in outputs] + [_port(port, "next.") for port in carry]
    results[0].update(_command(manifest))
    parameters = {
        "model_path": ONNX_FILE,
        "md5sum": hashlib.md5(model, usedforsecurity=False).hexdigest(),
        "sha256sum": hashlib.sha256(model).hexdigest(),
        "backend": "onnx",
    }
    content = {
        "models": {_NODE: {"inputs": described, "outputs": results, "parameters": parameters}},
        "pipeline": {
            "configs": {"frequency": 1.0 / manifest.timing.control_period_s},
            "data_flow": {},
            "feedback_flow": {
                f"{_NODE}/next.{port.name}": [f"{_NODE}/carry.{port.name}"] for port in carry
            },
            "inputs": {_NODE: [port.name for port in signals]},
            "outputs": {_NODE: [port.name for port in outputs]},
        },
        "system information": {"leapp config version": _CONFIG_VERSION},
    }
    return f"{json.dumps(content, indent=1, allow_nan=False)}\n".encode("ascii")


def _port(port: Port, prefix: str = "") -> dict[str, Any]:
    kind = np.dtype(port.dtype).name
    return {"name": f"{prefix}{port.name}", "dtype": kind, "shape": list(port.shape)}


def _signal(entry: SignalEntry) -> dict[str, Any]:
    known: dict[str, Any] = {"element_names": [list(entry.elements)], "units": list(entry.units)}
    if entry.kind in _INPUT_KINDS:
        known["kind"] = _INPUT_KINDS[entry.kind]
    if entry.frame is not None:
        known["frame"] = entry.frame
    return known


def _command(manifest: Manifest) -> dict[str, Any]:
    known: dict[str, Any] = {"element_names": [None, list(manifest.robot.actuator_names)]}
    kinds = {actuator.kind for actuator in manifest.robot.actuators}
    if len(kinds) == 1:
        known["kind"] = _OUTPUT_KINDS[kinds.pop()]
    return known

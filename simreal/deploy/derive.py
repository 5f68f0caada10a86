"""Write a bundle with the forms of its policy that other programs run: ONNX, C, LEAPP.

They are derived from weights and manifest alone, listed and hashed like every member, and the
policy that they hold is compared with the golden vectors before anything is published.
"""

import dataclasses
import hashlib
import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from simreal.deploy.bundle import Bundle, read_members
from simreal.deploy.c_policy import CPolicy
from simreal.deploy.c_source import C_HEADER, C_SOURCE, c_files
from simreal.deploy.check import replay
from simreal.deploy.decode import Words, expect
from simreal.deploy.leapp import LEAPP_FILE, leapp_description
from simreal.deploy.manifest import FileEntry, Manifest, OnnxEntry, Role
from simreal.deploy.onnx_graph import ONNX_FILE, OPSET, onnx_model
from simreal.deploy.onnx_policy import OnnxPolicy
from simreal.deploy.writer import publish
from simreal.errors import DependencyError

Format = Literal["onnx", "c", "leapp"]

_ROLES: dict[str, Role] = {
    ONNX_FILE: "onnx",
    C_SOURCE: "c_source",
    C_HEADER: "c_header",
    LEAPP_FILE: "leapp",
}


def write_derived(path: str | Path, bundle: Bundle, formats: Sequence[Format]) -> Path:
    """Write a bundle again, with further forms of its policy.

    Args:
        path: The folder to create.
        bundle: A loaded bundle.
        formats: What to add; `leapp` describes the ONNX graph and adds that too.

    Returns:
        `path`.

    Raises:
        BundleError: A form does not reproduce the golden vectors, or the policy has none.
        DependencyError: A package that a form needs is not installed.
    """
    made = derive(bundle, formats)
    members = {**read_members(bundle), **made}
    entries = {
        name: FileEntry(bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), role=_ROLES[name])
        for name, data in made.items()
    }
    extended = dataclasses.replace(
        bundle,
        manifest=_extended(bundle.manifest, entries),
        derived={**bundle.derived, **{_ROLES[name]: data for name, data in made.items()}},
    )
    check_derived(extended)
    return publish(path, extended.manifest, members)


def derive(bundle: Bundle, formats: Sequence[Format]) -> dict[str, bytes]:
    """Return the files of some forms, by name; the same bundle gives the same bytes.

    Args:
        bundle: A loaded bundle.
        formats: Which.

    Raises:
        BundleError: The policy has no such form.
        DependencyError: A package that a form needs is not installed.
    """
    made: dict[str, bytes] = {}
    if "c" in formats:
        made.update(c_files(bundle))
    if "onnx" in formats or "leapp" in formats:
        _need("onnx", "to write the graph")
        made[ONNX_FILE] = onnx_model(bundle)
    if "leapp" in formats:
        made[LEAPP_FILE] = leapp_description(bundle.manifest, made[ONNX_FILE])
    return made


def check_derived(bundle: Bundle) -> list[str]:
    """Compare what a bundle holds beside its weights with them.

    Args:
        bundle: A loaded bundle.

    Returns:
        What was checked, or why it could not be, one line each.

    Raises:
        BundleError: A form differs from the weights or from the golden vectors.
    """
    lines: list[str] = []
    if "onnx" in bundle.derived:
        if importlib.util.find_spec("onnxruntime") is None:
            lines.append("onnx: not replayed, since onnxruntime is not installed")
        else:
            lines.append(_said("onnx replay", replay(bundle, OnnxPolicy(bundle))))
    if "c_source" in bundle.derived:
        # Nothing that came with a bundle is compiled: it has to be what is generated from it.
        made = c_files(bundle)
        for role, name in (("c_source", C_SOURCE), ("c_header", C_HEADER)):
            same = bundle.derived[role] == made[name]
            expect(same, name, "the C that the weights give", Words("another text"))
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            lines.append("c: as generated from the weights; not replayed without a compiler")
        else:
            lines.append(_said("c replay", replay(bundle, CPolicy(bundle))))
    if "leapp" in bundle.derived:
        expected = leapp_description(bundle.manifest, bundle.derived.get("onnx", b""))
        same = bundle.derived["leapp"] == expected
        expect(same, LEAPP_FILE, "the description of its graph", Words("another text"))
        lines.append("leapp: describes the graph of the bundle")
    return lines


def _said(what: str, worst: dict[str, float]) -> str:
    largest = ", ".join(f"{stage} {error:.1e}" for stage, error in worst.items())
    return f"{what}: largest difference: {largest}"


def _extended(manifest: Manifest, entries: dict[str, FileEntry]) -> Manifest:
    network = manifest.network
    if ONNX_FILE in entries:
        onnx = OnnxEntry(opset=OPSET, fused=("observation", "normalization", "network", "action"))
        network = dataclasses.replace(network, onnx=onnx)
    return dataclasses.replace(manifest, files={**manifest.files, **entries}, network=network)


def _need(package: str, why: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise DependencyError(
            f"the package '{package}' is not installed, which is needed {why}. Install it with: "
            "pip install 'simreal[onnx]'"
        )

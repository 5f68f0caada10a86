"""The manifest: what a policy needs, promises and expects, as typed records, schema 1.1.

Robots were damaged by numbers that were right in one program and retyped, reordered or rounded in
the next. So everything between raw signals and joint commands stands here once, by name and with
its unit, written by the exporter and interpreted by the runtime. There is no time in it: the same
checkpoint gives the same bytes, and their hash is the identity of the policy.

Schema 1.0, which policies were exported in first, is read through a migration.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simreal.deploy.decode import decode, describe, expect, mismatch, parse_json
from simreal.deploy.migrations import upgrade
from simreal.deploy.records import (
    UNITS,
    ActionEntry,
    ActionTable,
    Activation,
    ActuatorEntry,
    CommandKind,
    Evaluation,
    FileEntry,
    GoldenEntry,
    JointEntry,
    LayerEntry,
    NetworkEntry,
    Normalization,
    ObservationEntry,
    OnnxEntry,
    Provenance,
    RecurrentEntry,
    RobotEntry,
    Role,
    Safety,
    SignalEntry,
    SignalKind,
    Span,
    TermEntry,
    Timing,
    TrainedLatency,
)

__all__ = [
    "FORMAT",
    "MAX_MANIFEST_BYTES",
    "SCHEMA_VERSION",
    "UNITS",
    "ActionEntry",
    "ActionTable",
    "Activation",
    "ActuatorEntry",
    "CommandKind",
    "Evaluation",
    "FileEntry",
    "GoldenEntry",
    "JointEntry",
    "LayerEntry",
    "Manifest",
    "NetworkEntry",
    "Normalization",
    "ObservationEntry",
    "OnnxEntry",
    "Provenance",
    "RecurrentEntry",
    "RobotEntry",
    "Role",
    "Safety",
    "SignalEntry",
    "SignalKind",
    "Span",
    "TermEntry",
    "Timing",
    "TrainedLatency",
    "decode_manifest",
    "interface_sha256",
    "manifest_content",
]

FORMAT: Literal["simreal/policy-bundle"] = "simreal/policy-bundle"
SCHEMA_VERSION: Literal["1.1"] = "1.1"
MAX_MANIFEST_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Hold a manifest of schema 1.1; `license` is an SPDX name, or None where nobody stated one."""

    format: Literal["simreal/policy-bundle"]
    schema_version: Literal["1.1"]
    name: str
    license: str | None
    files: dict[str, FileEntry]
    robot: RobotEntry
    timing: Timing
    signals: tuple[SignalEntry, ...]
    observation: ObservationEntry
    network: NetworkEntry
    action: ActionTable
    safety: Safety
    golden: GoldenEntry
    provenance: Provenance

    def to_bytes(self) -> bytes:
        """Return the canonical JSON: sorted keys, shortest numbers that read back the same.

        Raises:
            BundleError: A number is not finite, or a value has no form in JSON.
        """
        try:
            text = json.dumps(
                dataclasses.asdict(self),
                sort_keys=True,
                indent=1,
                ensure_ascii=True,
                allow_nan=False,
                default=_plain,
            )
        except ValueError as error:
            raise mismatch("manifest", "finite numbers", str(error)) from None
        return f"{text}\n".encode("ascii")

    def file_of(self, role: str) -> str:
        """Return the name of the file with a role."""
        return next(name for name, entry in self.files.items() if entry.role == role)


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest without comparing its parts; `simreal.deploy.consistency` does that.

    A manifest of an earlier schema is brought to the present one first.

    Args:
        data: Content of `manifest.json`.

    Raises:
        BundleError: It is too large, not JSON, of an unknown version, or not of the schema.
    """
    manifest: Manifest = decode(Manifest, manifest_content(data), "")
    return manifest


def manifest_content(data: bytes) -> dict[str, Any]:
    """Return the content of a manifest, brought to the present schema, without decoding it.

    Args:
        data: Content of `manifest.json`.

    Raises:
        BundleError: It is too large, not JSON, or of an unknown version.
    """
    expect(len(data) <= MAX_MANIFEST_BYTES, "manifest.json", "at most 1 MiB", len(data))
    content = parse_json(data, "manifest.json")
    expect(isinstance(content, dict), "manifest.json", "an object", content)
    found = content.get("format")
    expect(found == FORMAT, "format", repr(FORMAT), found)
    version = content.get("schema_version")
    if not isinstance(version, str) or not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", version):
        raise mismatch("schema_version", f"a text such as '{SCHEMA_VERSION}'", describe(version))
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        expected = f"major version {SCHEMA_VERSION.split('.')[0]}, which this simreal reads"
        raise mismatch("schema_version", expected, describe(version))
    return upgrade(content, SCHEMA_VERSION)


def _plain(value: object) -> Any:
    """Return the Python number in a numpy scalar, which exporters easily leave in a record."""
    if isinstance(value, np.generic):
        return value.item()
    raise mismatch("manifest", "texts, numbers and lists", f"a {type(value).__name__}")


def interface_sha256(interface: dict[str, Any]) -> str:
    """Return the hash of an interface, equal to `simreal.core.robot.Robot.interface_sha256`.

    Args:
        interface: In the form of `simreal.core.robot.Robot.interface`.
    """
    text = json.dumps(interface, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

"""The JSON Schema of the manifest, made from the records that decode it.

`manifest.schema.json` beside this module is its output, for editors and for programs in other
languages; a test compares the two, so neither can drift. The schema says which keys and types there
are; what must agree between them is checked by `simreal check-bundle`.

    python -m simreal.deploy.schema > simreal/deploy/manifest.schema.json
"""

import dataclasses
import json
import sys
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from simreal.deploy.decode import MAX_ITEMS, MAX_TEXT
from simreal.deploy.manifest import SCHEMA_VERSION, Manifest

SCHEMA_FILE = Path(__file__).resolve().parent / "manifest.schema.json"

_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string", "maxLength": MAX_TEXT},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
}


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a manifest."""
    definitions: dict[str, Any] = {}
    root = _of(Manifest, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"simreal policy bundle manifest {SCHEMA_VERSION}",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def to_text(schema: dict[str, Any]) -> str:
    """Return a schema as the text of its file.

    Args:
        schema: The schema.
    """
    return json.dumps(schema, indent=1) + "\n"


def _of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _record(kind, definitions)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(inner[0], definitions), {"type": "null"}]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is dict:
        values = _of(inner[1], definitions)
        return {"type": "object", "additionalProperties": values, "maxProperties": MAX_ITEMS}
    if origin is tuple and inner[-1] is Ellipsis:
        return {"type": "array", "items": _of(inner[0], definitions), "maxItems": MAX_ITEMS}
    if origin is tuple:
        items = [_of(one, definitions) for one in inner]
        sizes = {"minItems": len(items), "maxItems": len(items)}
        return {"type": "array", "prefixItems": items, "items": False, **sizes}
    return dict(_SCALARS[kind])


def _record(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}  # a record that holds itself would end here
        hints = get_type_hints(kind)
        fields = {f.name: _of(hints[f.name], definitions) for f in dataclasses.fields(kind)}
        definitions[name] = {
            "description": str(kind.__doc__).split("\n", 1)[0],
            "type": "object",
            "properties": fields,
            "required": sorted(fields),
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}


if __name__ == "__main__":
    sys.stdout.write(to_text(manifest_schema()))

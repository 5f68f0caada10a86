"""Read a safetensors file from memory, trusting none of its numbers.

The format is a length, a JSON header and raw numbers; there is nothing in it to execute. What is
left to an attacker is the header: a length of 10 GB, offsets outside the file or on top of each
other, shapes whose product overflows, numbers that are not finite. Each is refused before anything
is allocated.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simreal.deploy.decode import Words, decode, describe, expect, mismatch, parse_json
from simreal.errors import BundleError

MAX_HEADER_BYTES = 2**20
_PREFIX = 8
_DTYPES: dict[str, Any] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
_FOREIGN = {b"\x80": "a Python pickle", b"PK\x03\x04": "a zip archive such as a torch checkpoint"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """Describe a tensor as the header of the format does."""

    dtype: Literal["F32", "F64"]
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def refuse_foreign(head: bytes, size: int, where: str) -> None:
    """Refuse a file that is not of this format at all, and say what it looks like.

    Args:
        head: Its first bytes.
        size: Its size [bytes].
        where: Its name.

    Raises:
        BundleError: The file is something else, too short, or its header is longer than allowed.
    """
    expect(len(head) >= _PREFIX, where, "a safetensors file", Words(f"{size} bytes"))
    length = int.from_bytes(head[:_PREFIX], "little")
    if length <= min(size - _PREFIX, MAX_HEADER_BYTES):
        return
    for magic, what in _FOREIGN.items():
        # A valid length may begin with the same byte, but is never this large.
        if head.startswith(magic):
            raise BundleError(
                f"{where}: expected a safetensors file, found {what}; it was not opened"
            )
    limit = min(size - _PREFIX, MAX_HEADER_BYTES)
    raise mismatch(where, f"a header of at most {limit} bytes", f"one that claims {length} bytes")


def read_tensors(data: bytes, where: str) -> dict[str, np.ndarray]:
    """Return the tensors of a file.

    Args:
        data: Content of the file.
        where: Name of the file, for messages.

    Returns:
        Name to read-only array over `data`, float32 or float64.

    Raises:
        BundleError: The file is damaged, of another format, or holds a number that is not finite.
    """
    refuse_foreign(data[:_PREFIX], len(data), where)
    begin = _PREFIX + int.from_bytes(data[:_PREFIX], "little")
    header = parse_json(data[_PREFIX:begin], f"{where} header")
    expect(isinstance(header, dict), f"{where} header", "an object", header)
    expect("__metadata__" not in header, f"{where} header", "tensors only", "__metadata__")
    entries = {
        name: decode(TensorEntry, value, f"{where} tensor {describe(name)}")
        for name, value in header.items()
    }
    _check_layout(entries, len(data) - begin, where)
    made: dict[str, np.ndarray] = {}
    for name, entry in entries.items():
        dtype = _DTYPES[entry.dtype]
        count = (entry.data_offsets[1] - entry.data_offsets[0]) // dtype.itemsize
        flat = (
            np.frombuffer(data, dtype, count, begin + entry.data_offsets[0])
            if count
            else (np.empty(0, dtype))
        )
        made[name] = flat.reshape(entry.shape)
        finite = bool(np.isfinite(flat).all())
        field = f"{where} tensor {describe(name)}"
        expect(finite, field, "finite numbers", Words("" if finite else _first_bad(flat)))
    return made


def _check_layout(entries: dict[str, TensorEntry], size: int, where: str) -> None:
    """Check that the tensors fill the file one after the other, each as large as its shape."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        field = f"{where} tensor {describe(name)}"
        begin, end = entry.data_offsets
        expect(begin == at, f"{field} data_offsets", f"to begin at {at}", begin)
        expect(end >= begin, f"{field} data_offsets", f"to end at or after {begin}", end)
        fits = len(entry.shape) <= 4 and all(d >= 0 for d in entry.shape)
        expect(fits, f"{field} shape", "at most 4 sizes, none negative", entry.shape)
        needed = math.prod(entry.shape) * _DTYPES[entry.dtype].itemsize
        expect(end - begin == needed, field, f"{needed} bytes, as its shape", end - begin)
        at = end
    expect(at == size, where, f"{at} bytes of numbers, as the header says", size)


def _first_bad(flat: np.ndarray) -> str:
    index = int(np.flatnonzero(~np.isfinite(flat))[0])
    return f"{flat[index]} at {index}"

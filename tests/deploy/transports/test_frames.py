"""A frame means what its layout says, and nothing that arrives can do more than be dropped."""

import hashlib
import hmac
import math
import struct
import tracemalloc
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.deploy.transports import Drop, Frame, FrameCodec, Kind
from simreal.errors import TransportError

KEY = bytes(range(32))
FRAME = Frame(
    kind=Kind.COMMAND,
    interface=b"\x11\x22\x33\x44\x55\x66\x77\x88",
    controller=0x0102030405060708,
    robot=2**64 - 1,
    epoch=3,
    seq=700,
    time_s=12.5,
    ttl_s=0.02,
    mode=1,
    numbers=[1.0, -2.5],
    text="é".encode(),
)
BYTES = (
    b"SIMR"
    + bytes([1, 5, 1, 0])
    + b"\x11\x22\x33\x44\x55\x66\x77\x88"
    + struct.pack("<QQIIdd", 0x0102030405060708, 2**64 - 1, 3, 700, 12.5, 0.02)
    + struct.pack("<HHI", 2, 2, 0)
    + struct.pack("<dd", 1.0, -2.5)
    + b"\xc3\xa9"
)
WHOLE = BYTES + struct.pack("<I", zlib.crc32(BYTES))


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def same(found: Any, expected: Frame) -> bool:
    numbers = np.array_equal(found.numbers, np.asarray(expected.numbers), equal_nan=True)
    return numbers and replace(found, numbers=()) == replace(expected, numbers=())


def test_the_layout_is_the_documented_one() -> None:
    assert len(BYTES) == 64 + 16 + 2
    assert FrameCodec().encode(FRAME) == WHOLE
    assert same(FrameCodec().decode(WHOLE), FRAME)


def test_a_tag_is_the_hmac_of_all_before_it() -> None:
    data = FrameCodec(KEY).encode(FRAME)
    body = BYTES[:7] + b"\x01" + BYTES[8:]
    assert data[:-32] == sealed(body)
    assert data[-32:] == hmac.new(KEY, data[:-32], hashlib.sha256).digest()
    assert same(FrameCodec(KEY).decode(data), FRAME)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Drop.SIZE),
        (WHOLE[:67], Drop.SIZE),
        (WHOLE[:-1], Drop.SIZE),
        (WHOLE + b"\0", Drop.SIZE),
        (bytes(65_508), Drop.SIZE),
        (b"X" + WHOLE[1:], Drop.MAGIC),
        (sealed(BYTES[:4] + b"\x02" + BYTES[5:]), Drop.VERSION),
        (sealed(BYTES[:5] + b"\x08" + BYTES[6:]), Drop.KIND),
        (sealed(BYTES[:5] + b"\x00" + BYTES[6:]), Drop.KIND),
        (sealed(BYTES[:7] + b"\x04" + BYTES[8:]), Drop.FIELD),
        (sealed(BYTES[:60] + b"\x01" + BYTES[61:]), Drop.FIELD),
        (sealed(BYTES[:40] + struct.pack("<d", math.nan) + BYTES[48:]), Drop.FIELD),
        (sealed(BYTES[:40] + struct.pack("<d", math.inf) + BYTES[48:]), Drop.FIELD),
        (sealed(BYTES[:48] + struct.pack("<d", math.nan) + BYTES[56:]), Drop.FIELD),
        (sealed(BYTES[:48] + struct.pack("<d", -0.1) + BYTES[56:]), Drop.FIELD),
        (sealed(BYTES[:48] + struct.pack("<d", math.inf) + BYTES[56:]), Drop.FIELD),
        (sealed(BYTES[:56] + struct.pack("<HHI", 5000, 0, 0) + bytes(40_000)), Drop.FIELD),
        (sealed(BYTES[:56] + struct.pack("<HHI", 0, 40_000, 0) + bytes(40_000)), Drop.FIELD),
        (sealed(BYTES[:56] + struct.pack("<HHI", 0xFFFF, 0xFFFF, 0) + BYTES[64:]), Drop.SIZE),
    ],
)
def test_what_is_not_a_frame_is_dropped_with_its_reason(data: bytes, reason: Drop) -> None:
    assert FrameCodec().decode(data) is reason


def test_one_wrong_bit_anywhere_is_seen() -> None:
    for bit in range(8 * 4, 8 * len(WHOLE)):
        at, mask = bit // 8, 1 << bit % 8
        wrong = WHOLE[:at] + bytes([WHOLE[at] ^ mask]) + WHOLE[at + 1 :]
        assert FrameCodec().decode(wrong) in (Drop.CHECKSUM, Drop.SIZE, Drop.VERSION)


def test_with_a_key_only_frames_with_the_right_tag_are_read() -> None:
    data = FrameCodec(KEY).encode(FRAME)
    assert FrameCodec(KEY).decode(WHOLE) is Drop.TAG
    assert FrameCodec().decode(data) is Drop.TAG
    assert FrameCodec(KEY[::-1]).decode(data) is Drop.TAG
    assert FrameCodec(KEY).decode(data[:-1] + bytes([data[-1] ^ 1])) is Drop.TAG
    # Whoever changes the content can mend the checksum, not the tag.
    forged = sealed(data[:36] + struct.pack("<I", 701) + data[40:-36]) + data[-32:]
    assert FrameCodec(KEY).decode(forged) is Drop.TAG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seq": 2**32}, "seq is 4294967296; 0 to 4294967295 is allowed"),
        ({"epoch": -1}, "epoch is -1"),
        ({"controller": 2**64}, "controller is"),
        ({"mode": 256}, "mode is 256"),
        ({"numbers": np.zeros(4097)}, "numbers is 4097; 0 to 4096"),
        ({"numbers": np.zeros((2, 2))}, "one dimension"),
        ({"text": bytes(2**15)}, "text is 32768"),
        ({"interface": b"abc"}, "interface has 3 bytes"),
        ({"time_s": math.nan}, "a finite time"),
        ({"ttl_s": -1.0}, "time to live >= 0"),
    ],
)
def test_what_does_not_fit_is_not_sent(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TransportError, match=message):
        FrameCodec().encode(replace(FRAME, **change))


def test_a_short_key_is_refused_with_a_way_to_make_one() -> None:
    with pytest.raises(TransportError, match=r"got 5 bytes; at least 16.*token_hex"):
        FrameCodec(b"short")


frames = st.builds(
    Frame,
    kind=st.sampled_from(Kind),
    interface=st.binary(min_size=8, max_size=8),
    controller=st.integers(0, 2**64 - 1),
    robot=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**32 - 1),
    seq=st.integers(0, 2**32 - 1),
    time_s=st.floats(allow_nan=False, allow_infinity=False),
    ttl_s=st.floats(0.0, 1e9),
    mode=st.integers(0, 255),
    latched=st.booleans(),
    numbers=st.lists(st.floats(), max_size=30),
    text=st.binary(max_size=200),
)


@settings(max_examples=100, deadline=None)
@given(frames, st.booleans())
def test_every_frame_survives_the_way(frame: Frame, keyed: bool) -> None:
    codec = FrameCodec(KEY if keyed else None)
    assert same(codec.decode(codec.encode(frame)), frame)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.booleans(), st.booleans())
def test_noise_is_dropped_and_never_raises(data: bytes, framed: bool, keyed: bool) -> None:
    codec = FrameCodec(KEY if keyed else None)
    assert isinstance(codec.decode(data), Drop)
    if framed:  # noise behind a true beginning reaches further into the parser
        decoded = codec.decode(sealed((WHOLE[:8] + data).ljust(64, b"\0")))
        assert isinstance(decoded, Drop | Frame)


def test_parsing_keeps_nothing_of_what_it_drops() -> None:
    codec, rng = FrameCodec(), np.random.default_rng(0)
    noise = [rng.bytes(300) for _ in range(50)] + [WHOLE[:k] for k in range(len(WHOLE))]
    for data in noise:
        codec.decode(data)
    tracemalloc.start()
    try:
        codec.decode(WHOLE)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            for data in noise:
                codec.decode(data)
        assert tracemalloc.get_traced_memory()[0] - before < 2_000
    finally:
        tracemalloc.stop()

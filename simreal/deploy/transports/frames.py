"""The one datagram that every transport carries: fixed header, numbers, text, checksum, tag.

A frame is little endian and has no room for code: 64 bytes of header, `count` float64, `text` bytes
of UTF-8, the CRC32 of all that, and, where both sides hold a key, the HMAC-SHA256 of all before it.

    offset  bytes  field
         0      4  magic "SIMR"
         4      1  version, 1
         5      1  kind: 1 hello, 2 interface, 3 sync, 4 signals, 5 command, 6 control, 7 trip
         6      1  mode: 0 run, 1 damp, 2 hold
         7      1  flags: bit 0, a tag follows; bit 1, the robot's gate is latched
         8      8  first bytes of the interface's SHA-256; zero in a hello
        16      8  nonce of the controller
        24      8  nonce of the robot; zero in a hello
        32      4  epoch
        36      4  sequence number
        40      8  time on the sender's monotonic clock [s]
        48      8  time to live [s]
        56      2  count
        58      2  text
        60      4  zero

What arrives is parsed without exceptions: a frame, or the reason why there is none.
"""

import hmac
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np

from simreal.errors import TransportError

MAGIC = b"SIMR"
VERSION = 1
MAX_NUMBERS = 4096
MAX_TEXT_BYTES = 2**15 - 1
MIN_KEY_BYTES = 16

_HEADER = struct.Struct("<4sBBBB8sQQIIddHHI")
_CRC = struct.Struct("<I")
_TAG_BYTES = 32
_TAGGED, _LATCHED = 1, 2
_FLAGS = _TAGGED | _LATCHED
_U32, _U64 = 2**32, 2**64

HEADER_BYTES = _HEADER.size
MAX_FRAME_BYTES = 65_507  # of one UDP datagram
MIN_FRAME_BYTES = HEADER_BYTES + _CRC.size


class Kind(IntEnum):
    """Say what a frame is.

    The robot sends `INTERFACE` in answer to `HELLO`, `SYNC` in answer to `SYNC`, and `SIGNALS`; all
    others are the controller's, and `TRIP` is its watchdog's too.
    """

    HELLO = 1
    INTERFACE = 2
    SYNC = 3
    SIGNALS = 4
    COMMAND = 5
    CONTROL = 6
    TRIP = 7


class Drop(Enum):
    """Say why something that arrived is not used."""

    SIZE = "size"
    MAGIC = "not a frame"
    VERSION = "unknown version"
    KIND = "unknown kind"
    CHECKSUM = "corrupted"
    TAG = "wrong tag"
    FIELD = "field out of range"
    INTERFACE = "another interface"
    SESSION = "another session"
    REPLAYED = "replayed"
    REORDERED = "reordered"
    FUTURE = "from the future"
    PAYLOAD = "payload"
    BUSY = "another controller commands"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Hold the content of one datagram.

    Attributes:
        kind: What it is.
        interface: First 8 bytes of the SHA-256 of the robot's interface.
        controller: Nonce of the controller, 64 bits.
        robot: Nonce of the robot, 64 bits.
        epoch: Of a command, its arming; of signals, the highest that the robot's gate has seen.
        seq: Sequence number.
        time_s: Time on the sender's clock [s].
        ttl_s: Time to live [s].
        mode: Number of the mode of a command.
        latched: Whether the robot's gate is latched.
        numbers: Values (count,), float64.
        text: UTF-8.
    """

    kind: Kind
    interface: bytes = bytes(8)
    controller: int = 0
    robot: int = 0
    epoch: int = 0
    seq: int = 0
    time_s: float = 0.0
    ttl_s: float = 0.0
    mode: int = 0
    latched: bool = False
    numbers: Sequence[float] | np.ndarray = ()
    text: bytes = b""


class FrameCodec:
    """Write and read frames, with or without a shared key."""

    def __init__(self, key: bytes | None = None) -> None:
        """Keep the key.

        Args:
            key: What both sides share; None for frames without a tag. With a key only frames with
                the right tag are read, without one only frames without any.

        Raises:
            TransportError: The key is too short.
        """
        if key is not None and len(key) < MIN_KEY_BYTES:
            raise TransportError(
                f"key: got {len(key)} bytes; at least {MIN_KEY_BYTES} are needed. Make one with: "
                'python -c "import secrets; print(secrets.token_hex(32))"'
            )
        self._key = key

    def encode(self, frame: Frame) -> bytes:
        """Return the bytes of a frame.

        Args:
            frame: What to write.

        Raises:
            TransportError: A field does not fit into its place.
        """
        numbers = np.asarray(frame.numbers, dtype="<f8")
        _refuse_misfits(frame, numbers)
        flags = _TAGGED * (self._key is not None) | _LATCHED * frame.latched
        body = (
            _HEADER.pack(
                MAGIC,
                VERSION,
                frame.kind,
                frame.mode,
                flags,
                frame.interface,
                frame.controller,
                frame.robot,
                frame.epoch,
                frame.seq,
                frame.time_s,
                frame.ttl_s,
                numbers.size,
                len(frame.text),
                0,
            )
            + numbers.tobytes()
            + frame.text
        )
        body += _CRC.pack(zlib.crc32(body))
        return body if self._key is None else body + hmac.digest(self._key, body, "sha256")

    def decode(self, data: bytes) -> Frame | Drop:
        """Return the frame in a datagram, or why there is none; never raises.

        Args:
            data: What arrived.
        """
        if not MIN_FRAME_BYTES <= len(data) <= MAX_FRAME_BYTES:
            return Drop.SIZE
        head = _HEADER.unpack_from(data)
        magic, version, kind, _, flags, *_ = head
        count, text, reserved = head[12:]
        if magic != MAGIC:
            return Drop.MAGIC
        if version != VERSION:
            return Drop.VERSION
        end = HEADER_BYTES + 8 * count + text
        tag_bytes = _TAG_BYTES if flags & _TAGGED else 0
        if len(data) != end + _CRC.size + tag_bytes:
            return Drop.SIZE
        if zlib.crc32(memoryview(data)[:end]) != _CRC.unpack_from(data, end)[0]:
            return Drop.CHECKSUM
        if not self._genuine(data, tag_bytes):
            return Drop.TAG
        if kind not in _KINDS:
            return Drop.KIND
        if reserved or flags & ~_FLAGS or not _sound(head):
            return Drop.FIELD
        return _frame(head, data)

    def _genuine(self, data: bytes, tag_bytes: int) -> bool:
        if self._key is None or not tag_bytes:
            return self._key is None and not tag_bytes
        body, tag = data[:-_TAG_BYTES], data[-_TAG_BYTES:]
        return hmac.compare_digest(hmac.digest(self._key, body, "sha256"), tag)


_KINDS = frozenset(int(kind) for kind in Kind)


def _sound(head: tuple[int, ...]) -> bool:
    """Return whether times are numbers and sizes within their bounds."""
    time_s, ttl_s, count, text, _ = head[10:]
    return (
        math.isfinite(time_s)
        and 0.0 <= ttl_s < math.inf
        and count <= MAX_NUMBERS
        and text <= MAX_TEXT_BYTES
    )


def _frame(head: tuple, data: bytes) -> Frame:  # type: ignore[type-arg]
    _, _, kind, mode, flags, interface, controller, robot, epoch, seq, time_s, ttl_s, *sizes = head
    count, text, _ = sizes
    middle = HEADER_BYTES + 8 * count
    return Frame(
        kind=Kind(kind),
        interface=interface,
        controller=controller,
        robot=robot,
        epoch=epoch,
        seq=seq,
        time_s=time_s,
        ttl_s=ttl_s,
        mode=mode,
        latched=bool(flags & _LATCHED),
        numbers=np.frombuffer(data, dtype="<f8", count=count, offset=HEADER_BYTES),
        text=data[middle : middle + text],
    )


def _refuse_misfits(frame: Frame, numbers: np.ndarray) -> None:
    for name, value, bound in (
        ("controller", frame.controller, _U64),
        ("robot", frame.robot, _U64),
        ("epoch", frame.epoch, _U32),
        ("seq", frame.seq, _U32),
        ("mode", frame.mode, 256),
        ("numbers", numbers.size, MAX_NUMBERS + 1),
        ("text", len(frame.text), MAX_TEXT_BYTES + 1),
    ):
        if not 0 <= value < bound:
            raise TransportError(f"frame: {name} is {value}; 0 to {bound - 1} is allowed")
    if len(frame.interface) != 8 or numbers.ndim != 1:
        raise TransportError(
            f"frame: interface has {len(frame.interface)} bytes and numbers have shape "
            f"{numbers.shape}; 8 bytes and one dimension are needed"
        )
    if not (math.isfinite(frame.time_s) and 0.0 <= frame.ttl_s < math.inf):
        raise TransportError(
            f"frame: time_s is {frame.time_s}, ttl_s is {frame.ttl_s}; a finite time and a "
            "finite time to live >= 0 are needed"
        )

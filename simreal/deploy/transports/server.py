"""The robot's side of a transport: introduce, take commands, publish measurements.

One controller at a time. A hello gets an introduction and opens nothing by itself: the session
begins with the first frame that carries both nonces, which nobody can have recorded before.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from simreal.deploy.decode import one_line, parse_json
from simreal.deploy.gate import CommandGate
from simreal.deploy.messages import Command, Mode
from simreal.deploy.transports.frames import Drop, Frame, FrameCodec, Kind
from simreal.deploy.transports.introduction import Introduction, SignalPacker
from simreal.deploy.transports.link import Link, Peer
from simreal.deploy.transports.order import SequenceWindow
from simreal.errors import BundleError

MODES = (Mode.RUN, Mode.DAMP, Mode.HOLD)
"""What the numbers of a frame's mode mean."""

_MAX_PER_POLL = 256
_MAX_REASON = 200


@dataclass
class _Session:
    """Keep what is known of one controller."""

    peer: Peer
    controller: int
    robot: int
    heard_s: float
    windows: dict[Kind, SequenceWindow] = field(default_factory=dict)


class RobotServer:
    """Stand between a link and a robot's command gate.

    Attributes:
        gate: Decides which command is acted on.
        received: Datagrams that arrived.
        drops: How often each reason to drop one was met; what the gate drops, it counts itself.
        sessions: Sessions so far.
    """

    def __init__(
        self,
        link: Link,
        interface: Mapping[str, Any],
        signals: Mapping[str, Sequence[str]],
        gate: CommandGate,
        *,
        period_s: float,
        key: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
        session_timeout_s: float = 1.0,
        on_control: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        """Prepare to listen.

        Args:
            link: Carries the datagrams; it is closed with the server.
            interface: What the robot is, in the form of `simreal.core.robot.Robot.interface`.
            signals: Raw signal name to its element names, as `publish` gives them.
            gate: The robot's command gate.
            period_s: Time between two measurements [s].
            key: Shared key; frames without its tag are dropped.
            clock: Monotonic time [s].
            session_timeout_s: Silence after which another controller may take over [s].
            on_control: Takes a control message and says whether it was understood; without it none
                is.

        Raises:
            TransportError: The key is too short or the interface too long.
        """
        self.gate, self.received, self.sessions = gate, 0, 0
        self.drops = dict.fromkeys(Drop, 0)
        self._link, self._clock, self._on_control = link, clock, on_control
        self._codec = FrameCodec(key)
        named = {name: tuple(elements) for name, elements in signals.items()}
        self._introduction = Introduction(interface=interface, signals=named, period_s=period_s)
        self._texts = {
            busy: replace(self._introduction, busy=busy).to_bytes() for busy in (False, True)
        }
        self._digest = self._introduction.digest
        self._actuators = self._introduction.actuators
        self._packer = SignalPacker(named)
        self._timeout_s = session_timeout_s
        self._active: _Session | None = None
        self._pending: _Session | None = None
        self._seq = 0

    @property
    def dropped(self) -> dict[str, int]:
        """Return how often each reason to drop a datagram was met, by name."""
        return {reason.value: n for reason, n in self.drops.items() if n}

    @property
    def connected(self) -> bool:
        """Return whether a controller was heard within the timeout."""
        return self._live(self._clock())

    def poll(self) -> int:
        """Take what has arrived, at most 256 datagrams.

        Returns:
            How many there were.
        """
        for count in range(_MAX_PER_POLL):
            arrived = self._link.receive()
            if arrived is None:
                return count
            self.received += 1
            frame = self._codec.decode(arrived[0])
            reason = frame if isinstance(frame, Drop) else self._take(frame, arrived[1])
            if reason is not None:
                self.drops[reason] += 1
        return _MAX_PER_POLL

    def publish(self, values: Mapping[str, np.ndarray], time_s: float) -> None:
        """Send a measurement to the controller, if there is one.

        Args:
            values: Raw signal name to (k,).
            time_s: When it was taken, on the server's clock [s].

        Raises:
            TransportError: A signal is missing or of another size than announced.
        """
        numbers = self._packer.pack(values)
        self._seq += 1
        if self._active is None:
            return
        latched = self.gate.latched
        self._send(
            self._active,
            Frame(
                kind=Kind.SIGNALS,
                epoch=max(self.gate.epoch, self.gate.revoked),
                seq=self._seq,
                time_s=time_s,
                latched=latched is not None,
                numbers=numbers,
                text=(latched or "").encode()[:_MAX_REASON],
            ),
        )

    def close(self) -> None:
        """Close the link."""
        self._link.close()

    def _take(self, frame: Frame, peer: Peer) -> Drop | None:
        """Act on a frame, or return why it is dropped."""
        now = self._clock()
        if frame.kind is Kind.HELLO:
            return self._greet(frame, peer, now)
        if frame.kind not in (Kind.SYNC, Kind.COMMAND, Kind.CONTROL, Kind.TRIP):
            return Drop.KIND
        if frame.interface != self._digest:
            return Drop.INTERFACE
        session, reason = self._find(frame, now)
        if session is None:
            return reason
        reason = session.windows.setdefault(frame.kind, SequenceWindow()).judge(
            frame.epoch, frame.seq
        )
        if reason is not None:
            return reason
        if frame.kind is Kind.TRIP:  # perhaps the watchdog's; it is no sign of the controller
            reason_text = frame.text[:_MAX_REASON].decode(errors="replace")
            self.gate.trip(one_line(reason_text) or "without a reason", frame.epoch)
            return None
        session.heard_s, session.peer = now, peer
        if frame.kind is Kind.SYNC:
            answer = Frame(kind=Kind.SYNC, seq=frame.seq, time_s=now, numbers=[frame.time_s])
            self._send(session, answer)
            return None
        return self._command(frame, now) if frame.kind is Kind.COMMAND else self._control(frame)

    def _greet(self, frame: Frame, peer: Peer, now: float) -> Drop | None:
        if frame.controller == 0 or frame.robot != 0:
            return Drop.FIELD
        known = [s for s in (self._active, self._pending) if s and s.controller == frame.controller]
        if known:
            session = known[0]
        else:
            nonce = secrets.randbits(63) + 1
            session = self._pending = _Session(peer, frame.controller, nonce, now)
        busy = session is not self._active and self._live(now)
        answer = Frame(
            kind=Kind.INTERFACE,
            seq=frame.seq,
            time_s=now,
            numbers=[frame.time_s],
            text=self._texts[busy],
        )
        self._send(session, answer, peer)
        return None

    def _find(self, frame: Frame, now: float) -> tuple[_Session | None, Drop | None]:
        """Return the session of a frame; a pending one becomes the active one."""
        for session in (self._active, self._pending):
            if session and (session.controller, session.robot) == (frame.controller, frame.robot):
                break
        else:
            return None, Drop.SESSION
        if session is not self._active:
            if self._live(now):
                return None, Drop.BUSY
            self._active, self._pending = session, None
            self.sessions += 1
        return session, None

    def _live(self, now: float) -> bool:
        return self._active is not None and now - self._active.heard_s < self._timeout_s

    def _command(self, frame: Frame, now: float) -> Drop | None:
        count = len(frame.numbers)
        empty = count == 0 and frame.mode == MODES.index(Mode.DAMP)
        if frame.mode >= len(MODES) or frame.text or (count != len(self._actuators) and not empty):
            return Drop.PAYLOAD
        values = np.asarray(frame.numbers).tolist()
        self.gate.accept(
            Command(
                epoch=frame.epoch,
                seq=frame.seq,
                time_s=frame.time_s,
                ttl_s=frame.ttl_s,
                mode=MODES[frame.mode],
                values={} if empty else dict(zip(self._actuators, values, strict=True)),
            ),
            now,
        )
        return None

    def _control(self, frame: Frame) -> Drop | None:
        try:
            message = parse_json(frame.text, "control")
        except BundleError:
            return Drop.PAYLOAD
        if not isinstance(message, dict):
            return Drop.PAYLOAD
        understood = self._on_control is not None and self._on_control(message)
        return None if understood else Drop.PAYLOAD

    def _send(self, session: _Session, frame: Frame, peer: Peer | None = None) -> None:
        whole = replace(
            frame,
            interface=self._digest,
            controller=session.controller,
            robot=session.robot,
        )
        self._link.send(self._codec.encode(whole), session.peer if peer is None else peer)

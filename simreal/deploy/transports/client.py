"""The controller's side of a transport: a `RobotIO` over any link."""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from simreal.core.closing import Closing
from simreal.deploy.decode import one_line
from simreal.deploy.messages import Command, Signals
from simreal.deploy.transports.frames import Drop, Frame, FrameCodec, Kind
from simreal.deploy.transports.introduction import Introduction, SignalPacker
from simreal.deploy.transports.link import Link
from simreal.deploy.transports.order import ClockSync, SequenceWindow
from simreal.deploy.transports.server import MODES
from simreal.deploy.transports.tripwire import Ticket
from simreal.errors import SignalError, TransportError

_MAX_PER_READ = 512
_BACKLOG = 64  # datagrams from which a full socket may have lost the newest
_HELLO_EVERY_S = 0.1
_MAX_LEAD_S = 2e-3  # how far a clock may run ahead between two exchanges, beyond the uncertainty


class RobotClient(Closing):
    """Read and command a robot; see `simreal.deploy.RobotIO`.

    Attributes:
        received: Datagrams that arrived.
        drops: How often each reason to drop one was met.
        sync: The robot's clock against this one.
    """

    def __init__(
        self,
        link: Link,
        *,
        key: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
        sync_every_s: float = 0.25,
    ) -> None:
        """Prepare; `connect` speaks first.

        Args:
            link: Carries the datagrams; it is closed with the client.
            key: Shared key; frames without its tag are dropped.
            clock: Monotonic time, the controller's [s].
            sync_every_s: Time between two comparisons of the clocks [s].

        Raises:
            TransportError: The key is too short.
        """
        self.received, self.sync = 0, ClockSync()
        self.drops = dict.fromkeys(Drop, 0)
        self._link, self._clock, self._codec = link, clock, FrameCodec(key)
        self._sync_every_s, self._asked_s = sync_every_s, 0.0
        self._nonce = secrets.randbits(63) + 1
        self._robot = self._seq = 0
        self._greeted_s = clock()
        self._introduction: Introduction | None = None
        self._windows: dict[Kind, SequenceWindow] = {}
        self._signals: Signals | None = None
        self._epoch, self._digest = 0, bytes(8)

    def connect(self, timeout_s: float = 5.0) -> "RobotClient":
        """Ask the robot who it is, and wait for its first measurement.

        While the robot obeys another controller nothing but that is waited for.

        Args:
            timeout_s: Longest wait [s].

        Returns:
            Itself.

        Raises:
            TransportError: Nobody answers, or the robot obeys another controller.
        """
        begin = self._clock()
        asked = -_HELLO_EVERY_S
        while self._signals is None:
            elapsed = self._clock() - begin
            if elapsed >= timeout_s:
                raise TransportError(self._silence(timeout_s))
            if elapsed - asked >= _HELLO_EVERY_S:
                asked = elapsed
                self._ask()
            self._link.wait(min(_HELLO_EVERY_S, timeout_s - elapsed))
            self._drain()
        return self

    @property
    def interface(self) -> Mapping[str, Any]:
        """Return what the robot said it is.

        Raises:
            TransportError: It has not been asked yet.
        """
        return self._known().interface

    @property
    def dropped(self) -> dict[str, int]:
        """Return how often each reason to drop a datagram was met, by name."""
        return {reason.value: n for reason, n in self.drops.items() if n}

    @property
    def period_s(self) -> float:
        """Return the time between two measurements, as the robot announced it [s].

        Raises:
            TransportError: The robot has not been asked yet.
        """
        return self._known().period_s

    def read(self) -> Signals:
        """Return the newest measurement; older ones under way are skipped.

        It does not wait, unless so many have piled up that the newest may have found no room: then
        it waits for the next one, at most two of the robot's periods.

        Raises:
            SignalError: None has arrived yet.
        """
        if self._drain() >= _BACKLOG and self._introduction is not None:
            self._link.wait(2.0 * self._introduction.period_s)
            self._drain()
        if self._clock() - self._asked_s >= self._sync_every_s and self._robot:
            self._ask()
        if self._signals is None:
            raise SignalError("no measurement has arrived yet; call connect() first")
        return self._signals

    def write(self, command: Command) -> None:
        """Send a command.

        Args:
            command: The command; its values name every actuator, or none where it damps.

        Raises:
            TransportError: The robot was not asked yet, or a value is missing.
        """
        joints = self._known().actuators
        values = command.values
        if values and (len(values) != len(joints) or not all(name in values for name in joints)):
            raise TransportError(
                f"a command names {sorted(values)}; {sorted(joints)} are the robot's actuators"
            )
        self._epoch = command.epoch
        self._send(
            Frame(
                kind=Kind.COMMAND,
                epoch=command.epoch,
                seq=command.seq,
                time_s=command.time_s,
                ttl_s=command.ttl_s,
                mode=MODES.index(command.mode),
                numbers=[values[name] for name in joints] if values else (),
            )
        )

    def trip(self, reason: str, epoch: int = 0) -> None:
        """Latch the robot's gate in damping; every epoch so far is revoked.

        Args:
            reason: Why.
            epoch: An epoch to revoke that may not have commanded yet.
        """
        self._known()
        self._link.send(self.ticket.trip(self._codec, reason, epoch))

    @property
    def ticket(self) -> Ticket:
        """Return what another process needs to trip the robot in this session.

        Raises:
            TransportError: There is no session yet.
        """
        self._known()
        return Ticket(controller=self._nonce, robot=self._robot, interface=self._digest.hex())

    def control(self, message: Mapping[str, Any]) -> None:
        """Send a message that is no command, for instance a fault to inject.

        Args:
            message: JSON content.
        """
        self._seq += 1
        text = json.dumps(dict(message), allow_nan=False).encode()
        now = self._clock()
        # The window counts per epoch; a control message names the one it is about.
        frame = Frame(kind=Kind.CONTROL, seq=self._seq, epoch=self._epoch, time_s=now, text=text)
        self._send(frame)

    def close(self) -> None:
        """Close the link."""
        self._link.close()

    def _known(self) -> Introduction:
        if self._introduction is None:
            raise TransportError("the robot has not introduced itself yet; call connect() first")
        return self._introduction

    def _silence(self, timeout_s: float) -> str:
        if self._introduction is not None and self._introduction.busy:
            name = self._introduction.interface.get("name")
            return f"robot '{name}' obeys another controller; stop that one first"
        seen = ", ".join(f"{reason.value}: {n}" for reason, n in self.drops.items() if n)
        if seen:
            return f"no usable answer within {timeout_s:g} s; what arrived was dropped ({seen})"
        who = "nobody" if self._introduction is None else "after its introduction nobody"
        return (
            f"{who} answered within {timeout_s:g} s; check that the robot runs, its host and port, "
            "and that both sides use the same key"
        )

    def _ask(self) -> None:
        """Compare the clocks, or greet while there is no session."""
        self._seq += 1
        self._asked_s = self._clock()
        kind = Kind.SYNC if self._robot else Kind.HELLO
        self._send(Frame(kind=kind, seq=self._seq, time_s=self._asked_s))

    def _send(self, frame: Frame) -> None:
        whole = replace(frame, interface=self._digest, controller=self._nonce, robot=self._robot)
        self._link.send(self._codec.encode(whole))

    def _drain(self) -> int:
        """Take what has arrived, and return how many datagrams there were."""
        for count in range(_MAX_PER_READ):
            arrived = self._link.receive()
            if arrived is None:
                return count
            self.received += 1
            frame = self._codec.decode(arrived[0])
            reason = frame if isinstance(frame, Drop) else self._take(frame)
            if reason is not None:
                self.drops[reason] += 1
        return _MAX_PER_READ

    def _take(self, frame: Frame) -> Drop | None:
        if frame.controller != self._nonce:
            return Drop.SESSION
        if frame.kind is Kind.INTERFACE:
            return self._meet(frame)
        if frame.kind not in (Kind.SYNC, Kind.SIGNALS):
            return Drop.KIND
        if self._introduction is None or frame.robot != self._robot:
            return Drop.SESSION
        if frame.interface != self._digest:
            return Drop.INTERFACE
        reason = self._windows.setdefault(frame.kind, SequenceWindow()).judge(0, frame.seq)
        if reason is not None:
            return reason
        if frame.kind is Kind.SYNC:
            return self._compare(frame)
        return self._measure(frame)

    def _meet(self, frame: Frame) -> Drop | None:
        if self._robot:
            return Drop.REPLAYED
        introduction = Introduction.from_bytes(frame.text)
        if introduction is None or frame.robot == 0:
            return Drop.PAYLOAD
        if frame.interface != introduction.digest:
            return Drop.INTERFACE
        reason = self._compare(frame)
        if reason is None:
            self._introduction, self._robot = introduction, frame.robot
            self._digest, self._packer = introduction.digest, SignalPacker(introduction.signals)
            self._ask()
        return reason

    def _compare(self, frame: Frame) -> Drop | None:
        """Take an exchange of times, unless its question cannot have been put."""
        now = self._clock()
        if len(frame.numbers) != 1 or not self._greeted_s <= float(frame.numbers[0]) <= now:
            return Drop.PAYLOAD
        self.sync.add(float(frame.numbers[0]), frame.time_s, now)
        return None

    def _measure(self, frame: Frame) -> Drop | None:
        if len(frame.numbers) != self._packer.size:
            return Drop.PAYLOAD
        now, taken = self._clock(), frame.time_s - self.sync.offset_s
        if taken > now + self.sync.uncertainty_s + _MAX_LEAD_S:
            return Drop.FUTURE
        reason = one_line(frame.text.decode(errors="replace"))
        self._signals = Signals(
            time_s=min(taken, now),
            values=self._packer.unpack(np.asarray(frame.numbers)),
            seq=frame.seq,
            epoch=frame.epoch,
            latched=(reason or "without a reason") if frame.latched else None,
        )
        return None

"""The receiver's side of a command: what may be acted on, and until when.

A sender cannot vouch for its own silence. A policy process that was stopped, continued, or killed
while its packets were under way must not move the robot, so the decision is made where the motors
are, on the receiver's clock, without any help of the sender.
"""

import math
from collections.abc import Sequence
from enum import Enum

from simreal.deploy.messages import Command, Mode

# A clock of another machine may gain or lose this much; the estimate of its offset follows it.
_CLOCK_DRIFT = 2e-4
_SHARED_CLOCK_LEAD_S = 1e-3
_FOREIGN_CLOCK_LEAD_S = 0.1


class Verdict(Enum):
    """Say whether a command was accepted, or why it was dropped."""

    ACCEPTED = "accepted"
    LATCHED = "the gate is latched"
    REVOKED_EPOCH = "epoch revoked"
    OLD_EPOCH = "epoch older than the present one"
    OLD_SEQ = "sequence number not newer"
    FUTURE = "from the future"
    EXPIRED = "expired"
    INVALID = "not a command for this robot"


class CommandGate:
    """Decide which command a robot acts on. Pure logic: every method takes the time.

    `accept` judges what arrives, `active` says what to do now, `trip` latches damping and revokes
    the epoch that was commanding. Afterwards an operator has to `reset` it, and even then only a
    later arming can command: a policy that was stopped and continued still sends the revoked epoch.

    `trip` may be called from another thread: the latch is tested where commands are used, not only
    where they are accepted.

    Attributes:
        epoch: Highest epoch of an accepted command.
        latched: Why it is latched; None if it is not.
        counts: How often each verdict was given.
        timeouts: Accepted commands whose time was over before a newer one came.
        trips: How often it was tripped while it was not latched.
    """

    def __init__(
        self,
        joints: Sequence[str],
        *,
        shared_clock: bool = False,
        max_ttl_s: float = 1.0,
        max_lead_s: float | None = None,
    ) -> None:
        """Begin in damping, with nothing seen.

        Args:
            joints: The driven joints; a command names each of them.
            shared_clock: Whether sender and receiver read the same clock, as two processes of one
                machine do. Otherwise the offset of the sender's clock is taken from the quickest
                command of its epoch.
            max_ttl_s: Longest time to live that a command may claim [s].
            max_lead_s: How far ahead of its clock's estimate a command may be [s]; 1 ms on a shared
                clock, 100 ms otherwise (the first command of an epoch may have been slow) if None.
        """
        self.epoch = 0
        self.latched: str | None = None
        self.counts = dict.fromkeys(Verdict, 0)
        self.timeouts = self.trips = 0
        self._joints = frozenset(joints)
        self._shared = shared_clock
        self._max_ttl_s = max_ttl_s
        lead = _SHARED_CLOCK_LEAD_S if shared_clock else _FOREIGN_CLOCK_LEAD_S
        self._max_lead_s = lead if max_lead_s is None else max_lead_s
        self._revoked = 0
        self._seq = -1
        self._command: Command | None = None
        self._arrival_s = -math.inf
        self._deadline_s = -math.inf
        self._offset_s = 0.0  # receiver's clock minus sender's, for the quickest command
        self._offset_at_s = 0.0
        self._now_s = -math.inf

    @property
    def revoked(self) -> int:
        """Return the highest revoked epoch."""
        return self._revoked

    def accept(self, command: Command, now_s: float) -> Verdict:
        """Judge a command that arrived.

        Args:
            command: What arrived.
            now_s: Time, on the receiver's monotonic clock [s].
        """
        self._watch_clock(now_s)
        verdict = self._judge(command, now_s)
        self.counts[verdict] += 1
        if verdict is Verdict.ACCEPTED:
            self.epoch, self._seq = command.epoch, command.seq
            self._command = command
            self._arrival_s, self._deadline_s = now_s, now_s + command.ttl_s
        return verdict

    def active(self, now_s: float) -> Command:
        """Return the command to act on: the newest accepted one while it lives, else damping.

        Args:
            now_s: Time, on the receiver's monotonic clock [s].
        """
        self._watch_clock(now_s)
        command = self._command
        if self.latched is not None or command is None:
            return self._damping(now_s)
        if now_s < self._deadline_s:
            return command
        self.timeouts += 1
        self._command = None
        return self._damping(now_s)

    def trip(self, reason: str, epoch: int = 0) -> None:
        """Latch damping, and revoke every epoch up to the present one.

        A watchdog says it again and again; once its epoch is revoked, that is no new trip, and an
        operator may reset the gate meanwhile.

        Args:
            reason: Why; the first reason is kept.
            epoch: The epoch to revoke, which may not have commanded yet; 0 for the present one.
        """
        if 0 < epoch <= self._revoked:
            return
        self._revoked = max(self._revoked, self.epoch, epoch)
        if self.latched is None:
            self.latched = reason
            self.trips += 1

    def reset(self) -> None:
        """Release the latch; for an operator. Revoked epochs stay revoked."""
        self._command = None
        self.latched = None

    def _judge(self, command: Command, now_s: float) -> Verdict:
        """Return the verdict, and follow the sender's clock."""
        order = self._judge_order(command)
        if order is not None:
            return order
        if not self._usable(command):
            return Verdict.INVALID
        if command.mode is Mode.DAMP:
            return Verdict.ACCEPTED  # it is never too late to stop
        transit = now_s - command.time_s
        if self._shared:
            offset = 0.0
        elif command.epoch > self.epoch:
            offset = transit
        else:
            offset = self._offset_s + _CLOCK_DRIFT * (now_s - self._offset_at_s)
        if transit < offset - self._max_lead_s:
            return Verdict.FUTURE
        if transit - offset >= command.ttl_s:
            return Verdict.EXPIRED
        if not self._shared:
            self._offset_s, self._offset_at_s = min(offset, transit), now_s
        return Verdict.ACCEPTED

    def _judge_order(self, command: Command) -> Verdict | None:
        if command.epoch <= self._revoked:
            return Verdict.REVOKED_EPOCH
        if self.latched is not None:
            return Verdict.LATCHED
        if command.epoch < self.epoch:
            return Verdict.OLD_EPOCH
        if command.epoch == self.epoch and command.seq <= self._seq:
            return Verdict.OLD_SEQ
        return None

    def _usable(self, command: Command) -> bool:
        finite = math.isfinite(command.time_s) and all(map(math.isfinite, command.values.values()))
        lives = 0.0 < command.ttl_s <= self._max_ttl_s  # false where it is not a number
        known = command.values.keys() == self._joints
        return finite and lives and (known or (command.mode is Mode.DAMP and not command.values))

    def _watch_clock(self, now_s: float) -> None:
        """Trip if the receiver's own clock cannot be trusted: no time to live could be kept."""
        if not now_s >= self._now_s:  # true where it is not a number
            self.trip(f"the receiver's clock went from {self._now_s!r} s to {now_s!r} s")
        self._now_s = now_s

    def _damping(self, now_s: float) -> Command:
        # No values: a zero would send a position-driven joint to its zero position.
        seq = max(self._seq, 0)
        return Command(
            epoch=self.epoch, seq=seq, time_s=now_s, ttl_s=0.0, mode=Mode.DAMP, values={}
        )

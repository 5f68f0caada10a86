"""Watch a controller from another process, and trip the robot's gate when it falls silent.

A controller that was killed, stopped or hangs in a driver cannot damp anything. So a process of its
own, in a session of its own, looks at a heartbeat in shared memory; when that is too old it revokes
the controller's epoch at the robot, again and again until the operator has armed anew. It is no
certified functional safety: it shares the computer, the power and the cable with what it watches.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from simreal.core.closing import Closing
from simreal.deploy.heartbeat import Heartbeat
from simreal.errors import ArmError

LIMIT_PERIODS = 2.0
ORDINARY_LIMIT_S = 0.01
_SHARE = 0.75  # of the limit: the rest is for looking, sending and receiving
_SILENT_S = 0.5
_START_S = 20.0


def time_to_damping_s(period_s: float, real_time: bool) -> float:
    """Return within what time joints are to be damped after a controller's last sign of life.

    Two periods under real-time scheduling, at least 10 ms without, where a process may be kept
    waiting that long for nothing worse than another program.

    Args:
        period_s: Time between two commands [s].
        real_time: Whether the controller has real-time scheduling.
    """
    limit = LIMIT_PERIODS * period_s
    return limit if real_time else max(limit, ORDINARY_LIMIT_S)


class Watchdog(Closing):
    """Start a watchdog process, and be its counterpart in the controller's process.

    Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        target: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        limit_s: float | None = None,
        priority: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the process, and wait until it watches.

        Args:
            target: `module:name` of a function or class that makes a `TripTarget`.
            arguments: Its keyword arguments; numbers, texts, lists and tables of them.
            limit_s: Silence that trips [s]; from the controller's period if None.
            priority: `SCHED_FIFO` priority of the process; None leaves it ordinary.
            environment: Environment variables to add.

        Raises:
            ArmError: The process did not start.
        """
        self.limit_s = limit_s
        self._beat = Heartbeat()
        task = {
            "fd": self._beat.fd,
            "target": target,
            "arguments": dict(arguments or {}),
            "priority": priority,
            "parent": os.getpid(),
        }
        command = [sys.executable, "-m", "simreal.deploy.watch", json.dumps(task)]
        self._process = subprocess.Popen(
            command,
            pass_fds=[self._beat.fd],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # what stops the controller's group does not reach it
        )
        self._await_ready()

    @property
    def pid(self) -> int:
        """Return the process number of the watchdog."""
        return self._process.pid

    def problem(self) -> str | None:
        """Return why the watchdog does not watch, or None if it does."""
        code = self._process.poll()
        if code is not None:
            return f"watchdog: expected a running process, found one that ended with {code}"
        silent = (time.monotonic_ns() - self._beat.get("watched_ns")) / 1e9
        if silent > _SILENT_S:
            return f"watchdog: expected it to look every few ms, found it silent for {silent:.2f} s"
        return None

    def arm(self, epoch: int, period_s: float, real_time: bool) -> None:
        """Begin to be watched.

        Args:
            epoch: Epoch of the arming.
            period_s: Time between two commands [s].
            real_time: Whether the controller has real-time scheduling.
        """
        limit_s = self.limit_s
        if limit_s is None:
            limit_s = _SHARE * time_to_damping_s(period_s, real_time)
        self._beat.set("limit_ns", round(1e9 * limit_s))
        self._beat.set("beat_ns", time.monotonic_ns())
        self._beat.set("epoch", epoch)
        self._beat.set("armed", 1)

    def beat(self) -> bool:
        """Say that the controller lives; return whether its epoch was tripped."""
        return self._beat.beat()

    def disarm(self) -> None:
        """End to be watched, after the last command."""
        self._beat.set("armed", 0)

    @property
    def tripped_epoch(self) -> int:
        """Return the highest tripped epoch; 0 if there is none."""
        return self._beat.get("tripped_epoch")

    def close(self) -> None:
        """End the process."""
        self._beat.set("closed", 1)
        try:
            self._process.wait(timeout=_START_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._beat.close()

    def _await_ready(self) -> None:
        out = self._process.stdout
        line = out.readline().decode(errors="replace").strip() if out is not None else ""
        if line != "watching":
            self.close()
            raise ArmError(
                f"watchdog: expected the process to start, found: {line or 'it ended'}; its output "
                "stands above"
            )

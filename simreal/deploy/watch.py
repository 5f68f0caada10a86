"""The watchdog process: look at a heartbeat, and trip the robot's gate when it stops.

Started by `simreal.deploy.watchdog`; it shares nothing with the controller but a few numbers.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from simreal.deploy.heartbeat import Heartbeat
from simreal.deploy.realtime import RealTime
from simreal.errors import ConfigError

_LOOKS = 10  # per limit
_ORDINARY_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.1  # a controller takes a watchdog that does not look for a stopped one
_REPEAT_S = 0.02
_LINGER_S = 2.0


class TripTarget(Protocol):
    """Describe what a watchdog tells: a way to the robot's `CommandGate`."""

    def trip(self, reason: str, epoch: int) -> None:
        """Latch damping and revoke an epoch; called again and again, so it must not wait.

        Args:
            reason: Why.
            epoch: The epoch to revoke.
        """
        ...

    def close(self) -> None:
        """Let go of the way to the robot, so that the process can end."""
        ...


class Watch:
    """Decide when to trip. Pure logic: `look` takes the time.

    Attributes:
        done: Whether there is nothing left to watch.
    """

    def __init__(
        self, heartbeat: Heartbeat, target: TripTarget, parent_lives: Callable[[], bool]
    ) -> None:
        """Begin with nothing tripped.

        Args:
            heartbeat: Shared with the controller.
            target: What to tell.
            parent_lives: Whether the controller's process still exists.
        """
        self.done = False
        self._beat, self._target, self._lives = heartbeat, target, parent_lives
        self._told_ns = 0
        self._reason = ""
        self._failed = False  # said once, not a hundred times
        self._orphan_ns: int | None = None

    def look(self, now_ns: int) -> None:
        """Look once, and trip if the heart has stopped.

        Args:
            now_ns: Time [ns], of the monotonic clock.
        """
        beat = self._beat
        beat.set("watched_ns", now_ns)
        lives = self._lives()
        epoch = beat.get("epoch")
        if beat.get("armed") and beat.get("tripped_epoch") < epoch:
            silent_ns = now_ns - beat.get("beat_ns")
            if silent_ns > beat.get("limit_ns") or not lives:
                what = "was silent" if lives else "is gone, silent"
                self._reason = f"the controller {what} for {silent_ns / 1e6:.1f} ms"
                beat.set("tripped_epoch", epoch)
                beat.set("tripped_ns", now_ns)
                self._tell(now_ns)
        elif beat.get("tripped_epoch") >= epoch > 0 and now_ns - self._told_ns > 1e9 * _REPEAT_S:
            self._tell(now_ns)
        self._end(now_ns, lives)

    def wait_s(self) -> float:
        """Return how long to wait before the next look [s]."""
        limit_s = self._beat.get("limit_ns") / 1e9
        return min(limit_s / _LOOKS, _LONGEST_WAIT_S) if limit_s else _ORDINARY_WAIT_S

    def _tell(self, now_ns: int) -> None:
        self._told_ns = now_ns
        try:
            self._target.trip(self._reason, self._beat.get("tripped_epoch"))
        except OSError as error:
            # The way to the robot may be back at the next attempt; the robot's own time to live
            # damps it meanwhile.
            if not self._failed:
                print(f"watchdog: cannot trip the robot: {error}", file=sys.stderr)  # noqa: T201
            self._failed = True

    def _end(self, now_ns: int, lives: bool) -> None:
        """Go on telling for a while after the controller is gone, then end."""
        if self._beat.get("closed"):
            self.done = True
        if lives:
            return
        if self._orphan_ns is None:
            self._orphan_ns = now_ns
        self.done = self.done or now_ns - self._orphan_ns > 1e9 * _LINGER_S


def make_target(spec: str, arguments: Mapping[str, Any]) -> TripTarget:
    """Make a trip target by name.

    Args:
        spec: `module:name`.
        arguments: Keyword arguments.

    Raises:
        ConfigError: There is no such thing, or it cannot be tripped.
    """
    module, _, name = spec.partition(":")
    try:
        target: TripTarget = getattr(importlib.import_module(module), name)(**arguments)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"watchdog target: got '{spec}', which cannot be made ({error}); 'module:name' of a "
            "class with trip(reason, epoch) and close() is needed"
        ) from error
    return target


def main(argument: str) -> int:
    """Be the watchdog process.

    Args:
        argument: The task, as JSON.
    """
    task = json.loads(argument)
    parent = task["parent"]  # told: the controller may be gone before this process has begun
    target = make_target(task["target"], task["arguments"])
    with (
        RealTime(priority=task["priority"], required=False).granted() as refused,
        Heartbeat(task["fd"]) as heartbeat,
    ):
        for line in refused:
            print(f"watchdog: {line}", file=sys.stderr)  # noqa: T201
        heartbeat.set("watchdog_pid", os.getpid())
        watch = Watch(heartbeat, target, lambda: os.getppid() == parent)
        watch.look(time.monotonic_ns())
        print("watching", flush=True)  # noqa: T201
        while not watch.done:
            time.sleep(watch.wait_s())
            watch.look(time.monotonic_ns())
        target.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

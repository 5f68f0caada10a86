"""Ask the two who may stop a controller from outside: a watchdog process, and an operator."""

from collections.abc import Callable

from simreal.deploy.decode import one_line
from simreal.deploy.settings import ControlSettings
from simreal.deploy.states import State
from simreal.deploy.watchdog import Watchdog


class Guards:
    """Hold the watchdog and the operator's dead-man switch, where there are any."""

    def __init__(
        self,
        watchdog: Watchdog | None,
        without_watchdog: bool,
        dead_man: Callable[[], float] | None,
        settings: ControlSettings,
        real_time: bool,
    ) -> None:
        """Take the guards.

        Args:
            watchdog: A started watchdog.
            without_watchdog: Says that there is none, where a robot cannot do harm.
            dead_man: Gives when the operator last held the switch, on the controller's clock [s].
            settings: Patience with the operator, and the time between two commands.
            real_time: Whether the controller has real-time scheduling.
        """
        self._watchdog, self._without_watchdog = watchdog, without_watchdog
        self._dead_man, self._most_s = dead_man, settings.dead_man_timeout_s
        self._tick_s, self._real_time = settings.tick_s, real_time

    @property
    def tripped_epoch(self) -> int:
        """Return the highest epoch that the watchdog has tripped; 0 if there is none."""
        return 0 if self._watchdog is None else self._watchdog.tripped_epoch

    def missing(self, now_s: float) -> list[str]:
        """Return which guards are missing before arming.

        Args:
            now_s: Time [s].
        """
        problem = None
        if self._watchdog is not None:
            problem = self._watchdog.problem()
        elif not self._without_watchdog:
            problem = (
                "watchdog: expected a running one, found none; start a Watchdog, or say "
                "without_watchdog=True if the robot cannot do harm"
            )
        return [words for words in (problem, self.let_go(now_s)) if words is not None]

    def tripped(self, state: State, epoch: int) -> str | None:
        """Tell the watchdog that the controller lives; return why it must stop, if it must.

        Args:
            state: State of the controller; the watchdog begins to watch in the first cycle.
            epoch: Epoch of the arming.
        """
        watchdog = self._watchdog
        if watchdog is None:
            return None
        if state is State.SELF_TESTED:
            watchdog.arm(epoch, self._tick_s, self._real_time)
        elif watchdog.beat():
            return f"the watchdog tripped epoch {epoch}"
        return watchdog.problem()

    def let_go(self, now_s: float) -> str | None:
        """Return the words for an operator who let go of the switch, or None.

        Args:
            now_s: Time [s].
        """
        if self._dead_man is None:
            return None
        try:
            age_s = now_s - self._dead_man()
        except Exception as error:  # a switch that cannot be asked is not held
            return one_line(f"the dead-man switch failed: {type(error).__name__}: {error}")
        if -self._most_s <= age_s <= self._most_s:  # a time to come is another clock's
            return None
        return (
            f"dead-man switch: expected it to be held within {self._most_s:g} s, found "
            f"{age_s:.3g} s"
        )

    def disarm(self) -> None:
        """Let the watchdog end to watch, after the last command."""
        if self._watchdog is not None:
            self._watchdog.disarm()

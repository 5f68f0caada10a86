"""Ask a policy once per control period, and say what is commanded until it answers again."""

import math

import numpy as np

from simreal.deploy.blackbox import BlackBox
from simreal.deploy.intake import SignalIntake
from simreal.deploy.policy import Policy
from simreal.deploy.settings import ControlSettings


class Decider:
    """Hold a policy's last two answers, between which a faster loop may interpolate."""

    def __init__(
        self, policy: Policy, settings: ControlSettings, intake: SignalIntake, actuators: int
    ) -> None:
        """Begin with no answer.

        Args:
            policy: The runtime, bound.
            settings: How often a command is sent, and what between two answers.
            intake: Measurements.
            actuators: Number of commands, A.
        """
        self._policy, self._intake = policy, intake
        self._multiple = settings.actuator_multiple
        self._linear = settings.interpolation == "linear" and self._multiple > 1
        self._from, self._to, self._target = np.zeros((3, actuators))
        self.begin()

    def begin(self) -> None:
        """Let the next answer begin an episode."""
        self._begun, self._period = False, -1

    def ask(self, tick: int, time_s: float, box: BlackBox | None) -> str | None:
        """Ask the policy if its period has come; return why its answer cannot be used.

        Args:
            tick: Number of the command.
            time_s: Time, for the log [s].
            box: The log, if any.
        """
        period = tick // self._multiple
        if period == self._period and self._begun:
            return None
        self._period = period
        first = not self._begun
        try:
            answer = (self._policy.reset if first else self._policy.step)(self._intake.values)
        except Exception as error:  # whatever a runtime gives, the joints must still be damped
            return f"the policy failed: {type(error).__name__}: {error}"
        self._begun = True
        output = self._policy.output
        if not math.isfinite(np.dot(output, output)) and not np.isfinite(output).all():
            return f"network output: expected finite numbers, found {output.tolist()}"
        self._from[:] = answer if first else self._to
        self._to[:] = answer
        if box is not None:
            box.decision(time_s, first, self._intake, self._policy, answer)
        return None

    def target(self, tick: int) -> np.ndarray:
        """Return what is wanted at a command (A), valid until the next call.

        Args:
            tick: Number of the command.
        """
        if not self._linear:
            return self._to
        np.subtract(self._to, self._from, out=self._target)
        self._target *= (tick % self._multiple + 1) / self._multiple
        self._target += self._from
        return self._target

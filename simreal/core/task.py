"""The decision problem, written once and for every engine.

A task is batched functions over an array namespace: they take and give arrays with one row per
world, do not branch on array values and keep shapes fixed, so that numpy runs them on CPU engines
and torch on a GPU. The reward and the success test see the truth; the policy sees what the sensors
gave.

For a few worlds the functions are called once with symbols, and what they compute is run as plain
numbers from then on. So they depend on their arguments and on the task's attributes alone, and keep
no state between calls.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from simreal.core.action import ActionTerm
from simreal.core.observation import Term
from simreal.core.robot import Robot
from simreal.errors import ConfigError

Array = Any
"""An array of the namespace `xp`; one row per world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSpec:
    """Describe a raw signal beside the joints' own that a task's observation reads.

    A robot has to supply it, by whatever estimator, before the policy can run on it.

    Attributes:
        elements: Names of its numbers (k).
        units: One unit per element.
    """

    elements: tuple[str, ...]
    units: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check that there is a unit per element.

        Raises:
            ConfigError: There are no elements, or another number of units.
        """
        if not self.elements or len(self.elements) != len(self.units):
            raise ConfigError(
                f"a signal has elements {self.elements} and units {self.units}; at least one "
                "element and a unit for each are needed"
            )


class StateView(Protocol):
    """Describe what a task may read of a state; see `simreal.core.state.State`."""

    joint_pos: Array
    joint_vel: Array
    root_pose: Array
    root_vel: Array
    body_pos: dict[str, Array]
    contact: dict[str, Array]
    time: Array


class Task(ABC):
    """Define observation, action, reward, termination, success and initial states.

    Attributes:
        name: Identifier.
        control_period_s: Time between two actions [s].
        tick_s: Physics time step [s]; the control period is a whole multiple of it.
        episode_s: Length of an episode [s].
        train_episode_s: Length at which training cuts an episode [s]; as `episode_s` if None. Cut
            episodes are bootstrapped across.
        reward_names: Names of the reward terms (K), in the order `reward` returns them.
        success_window_s: From when to when in an episode the success test must hold at every step
            [s].
        num_draws: Random numbers that one initial state takes.
        explore: Share of the training episodes that begin at a random state instead of the
            start of the task.
        bodies: Links whose position the task reads.
        contacts: Links whose contact flag the task reads.
        ground: Whether the world has a ground plane.
        robot_names: Robots this task is written for.
        normalize: Whether policies may normalize observations by their own statistics; no where the
            terms are scaled so that their proportions matter.
    """

    name: str = ""
    control_period_s: float = 0.01
    tick_s: float = 0.002
    episode_s: float = 10.0
    train_episode_s: float | None = None
    reward_names: tuple[str, ...] = ()
    success_window_s: tuple[float, float] = (0.0, 0.0)
    num_draws: int = 0
    explore: float = 0.0
    bodies: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    ground: bool = False
    robot_names: tuple[str, ...] = ()
    normalize: bool = True

    @abstractmethod
    def observation(self, robot: Robot) -> tuple[Term, ...]:
        """Return the observation terms."""

    @abstractmethod
    def action(self, robot: Robot) -> tuple[ActionTerm, ...]:
        """Return what each action entry commands."""

    def signals(self, robot: Robot) -> Mapping[str, SignalSpec]:
        """Return the raw signals that `derive` gives, by name; none by default."""
        return {}

    def derive(self, xp: Any, measured: StateView) -> Mapping[str, Array]:
        """Return the raw signals that the joints' own do not hold.

        Args:
            xp: Array namespace.
            measured: What the sensors saw.

        Returns:
            Name to (N, k), with the names and elements of `signals`.
        """
        return {}

    @abstractmethod
    def reward(
        self,
        xp: Any,
        previous: StateView,
        current: StateView,
        action: Array,
        previous_action: Array,
    ) -> tuple[Array, ...]:
        """Return the reward terms, weighted, whose sum is the reward.

        Args:
            xp: Array namespace.
            previous: Truth at the beginning of the control step.
            current: Truth at its end.
            action: Clipped action of this step (N, dim).
            previous_action: Clipped action of the step before (N, dim), zero in the first step.

        Returns:
            K arrays (N,).
        """

    @abstractmethod
    def success(self, xp: Any, state: StateView) -> Array:
        """Return whether each world is where it should be (N,), bool."""

    @abstractmethod
    def initial(self, xp: Any, draws: Array, explore: float) -> tuple[Array, Array]:
        """Return initial states.

        Args:
            xp: Array namespace.
            draws: Independent uniform numbers in [0, 1) (N, num_draws).
            explore: Share of the worlds that begin at a random state.

        Returns:
            Joint positions (N, J) [rad or m] and velocities (N, J) [rad/s or m/s].
        """

    def terminated(self, xp: Any, state: StateView) -> Array | None:
        """Return which worlds end early (N,), bool; None if the task never ends early."""
        return None

    @property
    def ticks(self) -> int:
        """Return the physics ticks of one control step, K.

        Raises:
            ConfigError: The control period is not a whole multiple of the tick.
        """
        ticks = round(self.control_period_s / self.tick_s)
        if ticks < 1 or abs(ticks * self.tick_s - self.control_period_s) > 1e-9:
            raise ConfigError(
                f"task '{self.name}': control period {self.control_period_s} s is not a whole "
                f"multiple of the tick {self.tick_s} s"
            )
        return ticks

    def episode_steps(self, *, training: bool = False) -> int:
        """Return the control steps of one episode.

        Args:
            training: Whether it is cut as in training.
        """
        length = self.train_episode_s if training and self.train_episode_s else self.episode_s
        return round(length / self.control_period_s)

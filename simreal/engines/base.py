"""The contract of a physics engine: N worlds of one robot, advanced in ticks.

An engine applies parameters, resets, ticks and reads; it knows nothing of tasks, rewards,
observations, delays or noise. Whatever it cannot represent it refuses when it is built, by name.
The conformance suite states what every engine must do, and is run on each.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simreal.core.params import DynamicsParams, ParamSpec, catalogue
from simreal.core.robot import Robot
from simreal.core.state import State
from simreal.errors import ParameterError

CONTACT_KINDS = ("contact_friction", "spinning_friction", "rolling_friction", "restitution")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """Say what an engine has to build.

    Attributes:
        robot: The record every world is brought to.
        num_worlds: N.
        tick_s: Physics time step [s].
        ticks: Physics steps of one control step, K.
        bodies: Links whose position is read (see `State.body_pos`).
        contacts: Links whose contact flag is read.
        ground: Whether there is a ground plane at z = 0.
        params: Names of the engine parameters that will be applied; anything the engine cannot
            apply raises when it is built.
        fixed: Engine parameters that hold from the start in every world, name to value (k).
        scale_inertia: Whether a changed mass scales the link's inertia.
        options: Options of one engine alone.
    """

    robot: Robot
    num_worlds: int
    tick_s: float
    ticks: int
    bodies: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    ground: bool = False
    params: tuple[str, ...] = ()
    fixed: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    scale_inertia: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Capability:
    """Say what an engine does with one parameter.

    Attributes:
        supported: Whether it can be applied.
        mechanism: How, in the engine's own terms; or why not.
        rebuilds: Whether applying it loads the world's model anew.
    """

    supported: bool
    mechanism: str
    rebuilds: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Say which worlds can still be trusted.

    Attributes:
        diverged: (N,) bool, worlds whose state is not finite or beyond the velocity bound.
        reason: One line, empty where nothing diverged.
        lost: (N,) bool, worlds whose process ended during the step and that stand at the default
            pose in a new one; None where there are none.
    """

    diverged: np.ndarray
    reason: str = ""
    lost: np.ndarray | None = None


class Engine(ABC):
    """Advance N worlds of one robot.

    A constructor takes one `EngineSpec`, builds the worlds at the nominal dynamics overridden by
    `spec.fixed`, and leaves them reset at the default pose.
    """

    name: str = ""
    exact_state: bool = True
    """Whether `get_state` holds everything, so that a restored engine continues bit for bit."""
    dtype: type[np.floating[Any]] = np.float64
    """Precision in which the simulator holds its worlds."""

    def __init__(self, spec: EngineSpec) -> None:
        """Check the specification against what this engine can do.

        Args:
            spec: What to build.

        Raises:
            ParameterError: A parameter is unknown, out of bounds, or cannot be applied by this
                engine.
            RobotError: The engine cannot represent the robot's nominal dynamics.
        """
        self.spec = spec
        self.robot = spec.robot
        self.num_worlds = spec.num_worlds
        self.specs: dict[str, ParamSpec] = {
            k: v for k, v in catalogue(spec.robot).items() if v.owner == "engine"
        }
        self._check_params([*spec.params, *spec.fixed])
        self._sound = Health(np.zeros(spec.num_worlds, dtype=bool))

    @classmethod
    @abstractmethod
    def capability(cls, robot: Robot, param: ParamSpec) -> Capability:
        """Say what this engine does with one engine parameter of a robot."""

    @abstractmethod
    def reset(self, mask: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray) -> None:
        """Put some worlds into a state, exactly, and their clock to zero.

        Args:
            mask: Worlds to reset (N,), bool.
            joint_pos: (N, J) [rad or m]; rows outside the mask are ignored.
            joint_vel: (N, J) [rad/s or m/s].
        """

    @abstractmethod
    def step(self, commands: np.ndarray, sample_tick: np.ndarray | None = None) -> None:
        """Advance every world by one control step of K ticks.

        Args:
            commands: What each actuator gets in each tick (K, N, A) [Nm, or rad for position
                actuators].
            sample_tick: After how many ticks the sensors of each world are read (N,), 1 to K; None
                where nothing is delayed, and then `sample` equals `read`.
        """

    def begin_step(self, commands: np.ndarray, sample_tick: np.ndarray | None = None) -> None:
        """Begin a control step, which may go on while the caller does something else.

        Args:
            commands: See `step`.
            sample_tick: See `step`.
        """
        self.step(commands, sample_tick)

    def end_step(self) -> None:  # noqa: B027 - nothing to wait for is a good answer
        """Wait until the step that was begun is over."""

    @abstractmethod
    def read(self, state: State) -> None:
        """Write the present truth of every world into a state."""

    @abstractmethod
    def sample(self, state: State) -> None:
        """Write what the sensors saw at `sample_tick` of the last step into a state."""

    @abstractmethod
    def apply(self, params: DynamicsParams, mask: np.ndarray) -> None:
        """Change dynamics parameters of some worlds. Takes effect from the next tick on.

        A parameter that changes a mass scales the inertia with it, unless the specification says
        otherwise or the inertia itself is given too.

        Args:
            params: Values for all N worlds.
            mask: Worlds to change (N,), bool.
        """

    def realized(self, name: str) -> np.ndarray | None:
        """Return the value of an engine parameter as the simulator itself has it now.

        Args:
            name: Parameter name.

        Returns:
            (N,) or (N, k); for `inertia` the principal moments. None where it cannot be read back.
        """
        return None

    @abstractmethod
    def get_state(self) -> dict[str, np.ndarray]:
        """Return all that determines the future of the worlds, for a checkpoint."""

    @abstractmethod
    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `get_state` returned; parameters must have been applied before."""

    @abstractmethod
    def render(self, world: int, width: int, height: int) -> np.ndarray:
        """Return a picture of one world (H, W, 3), uint8, without a display."""

    @abstractmethod
    def close(self) -> None:
        """Release everything. Safe to call twice."""

    def new_state(self) -> State:
        """Return an empty state in this engine's layout."""
        return State(
            self.num_worlds,
            self.robot.num_joints,
            floating_base=not self.robot.fixed_base,
            bodies=self.spec.bodies,
            contacts=self.spec.contacts,
        )

    def health(self, state: State, max_velocity: float = 1e4) -> Health:
        """Say which worlds diverged.

        Args:
            state: The state to judge.
            max_velocity: Joint speed beyond which a world is called diverged [rad/s or m/s].
        """
        numbers = state.buffer.reshape(-1)
        # One sum of squares finds any NaN or infinity; the rest runs only when it is large.
        if numbers.dot(numbers) < max_velocity * max_velocity:
            return self._sound
        finite = np.asarray(np.isfinite(state.buffer).all(axis=1))
        fast = ~(np.abs(state.joint_vel) < max_velocity).all(axis=1)
        diverged = ~finite | fast
        worlds = np.flatnonzero(diverged)
        if worlds.size == 0:
            return Health(diverged)
        first = int(worlds[0])
        why = "state is not finite" if not finite[first] else f"joint speed beyond {max_velocity:g}"
        return Health(
            diverged, f"{worlds.size} of {self.num_worlds} worlds diverged; world {first}: {why}"
        )

    def settled(self, fixed: Mapping[str, Any]) -> Robot:
        """Return the robot's record with the fixed parameters written into it.

        Link, joint and actuator parameters are covered; gravity and link lengths are not part of
        it.

        Args:
            fixed: Parameter name to value.
        """
        fields = {
            "mass": "mass",
            "com": "com",
            "contact_friction": "contact_friction",
            "spinning_friction": "spinning_friction",
            "rolling_friction": "rolling_friction",
            "restitution": "restitution",
        }
        joint_fields = {
            "joint_damping": "damping",
            "joint_friction": "friction",
            "armature": "armature",
        }
        actuator_fields = {
            "motor_strength": "strength",
            "torque_limit": "torque_limit",
            "kp": "kp",
            "kd": "kd",
        }
        links: dict[str, dict[str, Any]] = {}
        joints: dict[str, dict[str, Any]] = {}
        actuators: dict[str, dict[str, Any]] = {}
        for name, value in fixed.items():
            spec = self.specs[name]
            number = tuple(float(v) for v in np.atleast_1d(value))
            plain: Any = number if spec.size > 1 else number[0]
            if spec.kind == "inertia":
                links.setdefault(spec.target, {})
            elif spec.kind in fields:
                links.setdefault(spec.target, {})[fields[spec.kind]] = plain
            elif spec.kind in joint_fields:
                joints.setdefault(spec.target, {})[joint_fields[spec.kind]] = plain
            elif spec.kind in actuator_fields:
                actuators.setdefault(spec.target, {})[actuator_fields[spec.kind]] = plain
        for target, changed in links.items():
            link = self.robot.link(target)
            if f"inertia.{target}" in fixed:
                diagonal = tuple(float(v) for v in np.atleast_1d(fixed[f"inertia.{target}"]))
                changed["inertia"] = diagonal + link.inertia[3:]
            elif "mass" in changed and self.spec.scale_inertia:
                ratio = changed["mass"] / link.mass
                changed["inertia"] = tuple(ratio * v for v in link.inertia)
        return self.robot.revised(links=links, joints=joints, actuators=actuators)

    def _check_params(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.specs:
                raise ParameterError(
                    f"engine '{self.name}' has no parameter '{name}' on robot '{self.robot.name}'; "
                    f"known kinds: {', '.join(sorted({s.kind for s in self.specs.values()}))}"
                )
            # What is held at zero is left out on purpose; an engine need not be able to have it.
            if name not in self.spec.params and not np.any(self.spec.fixed[name]):
                continue
            capability = self.capability(self.robot, self.specs[name])
            if not capability.supported:
                raise ParameterError(
                    f"engine '{self.name}' cannot apply '{name}': {capability.mechanism}; leave it "
                    "out of dynamics and randomization, or use an engine that can (`simreal audit`)"
                )
            inert = self._touches_nothing(self.specs[name])
            if inert:
                raise ParameterError(
                    f"engine '{self.name}': '{name}' would change nothing: {inert}"
                )
        for name, value in self.spec.fixed.items():
            self.specs[name].check(value)

    def _touches_nothing(self, param: ParamSpec) -> str:
        """Return why a contact parameter cannot act in this scene, or an empty string."""
        if param.kind not in CONTACT_KINDS:
            return ""
        if not any(shape.collides for shape in self.robot.link(param.target).shapes):
            return f"link '{param.target}' has no colliding shape"
        return "" if self.spec.ground else "there is no ground to touch; set ground: true"

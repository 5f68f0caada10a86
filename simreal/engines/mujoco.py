"""The MuJoCo engine: N worlds of one compiled model on MuJoCo's own thread pool.

`mujoco.batch.Batch` steps all worlds in one call that releases the interpreter lock, and its
results do not depend on the number of threads. State is read and written through live views that
are bound once; positions of bodies and contact flags, which MuJoCo computes before it integrates,
are brought up to date only where they are asked for, so that nothing that is read is one tick old.

Options (`EngineSpec.options`): `threads` (default 1, 0 is one per CPU), `integrator` (see
`mujoco_model`).
"""

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from simreal.core.params import DynamicsParams, ParamSpec
from simreal.core.robot import Robot
from simreal.core.state import State
from simreal.engines.base import Capability, Engine, EngineSpec, Health
from simreal.engines.mujoco_model import compile_robot, lengthened, refuse_restitution
from simreal.engines.mujoco_params import WorldFields, capability
from simreal.engines.mujoco_render import Offscreen
from simreal.errors import EngineError, unknown_name

_OPTIONS = ("integrator", "threads")
_NOTHING, _CURRENT = int(mujoco.mjtStage.mjSTAGE_NONE), int(mujoco.mjtStage.mjSTAGE_VEL)
# Bad position, velocity, acceleration, control: the state is not to be trusted any more.
_FATAL = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADCTRL) + 1)


class MuJoCoEngine(Engine):
    """Advance N MuJoCo worlds."""

    name = "mujoco"

    def __init__(self, spec: EngineSpec) -> None:
        """Compile the robot and make N worlds of it, reset at the default pose.

        Args:
            spec: What to build.

        Raises:
            ParameterError: A parameter is unknown, out of bounds, or cannot be applied.
            RobotError: MuJoCo cannot represent the robot.
            UnknownNameError: An option is unknown.
        """
        super().__init__(spec)
        for option in spec.options:
            if option not in _OPTIONS:
                raise unknown_name("option of engine 'mujoco'", option, _OPTIONS)
        settled = lengthened(self.settled(spec.fixed), spec.fixed)
        refuse_restitution(settled, self.name)
        self._at = compile_robot(spec, settled)
        derived = bool(spec.bodies or self._at.contact_adr)
        # Only a batch that keeps each world's data can continue a tick from stages computed for
        # reading.
        self._batch = Batch(
            self._at.model, spec.num_worlds, int(spec.options.get("threads", 1)), persistent=derived
        )
        self._stage = _CURRENT if derived else _NOTHING
        self._fields = WorldFields(self._batch, self._at, spec, settled)
        self._bind()
        self._failed = np.zeros(spec.num_worlds, dtype=bool)
        self._reason = ""
        self._sample = self.new_state()
        self._sampling = False
        self._offscreen: Offscreen | None = None
        everywhere = np.ones(spec.num_worlds, dtype=bool)
        pose = np.tile(self.robot.default_pose, (spec.num_worlds, 1))
        self.reset(everywhere, pose, np.zeros_like(pose))

    @classmethod
    def capability(cls, robot: Robot, param: ParamSpec) -> Capability:
        """Say what this engine does with one engine parameter of a robot."""
        return capability(param)

    def reset(self, mask: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray) -> None:
        """Put some worlds into a state, exactly, and their clock to zero.

        Args:
            mask: Worlds to reset (N,), bool.
            joint_pos: (N, J) [rad or m].
            joint_vel: (N, J) [rad/s or m/s].
        """
        worlds = np.flatnonzero(mask)
        if worlds.size == 0:
            return
        # Clears time, controls, warnings and the solver's warm start; puts a floating base back.
        self._guarded(lambda: self._batch.reset(worlds, stage=_NOTHING))
        self._failed[worlds] = False
        self._qpos[worlds[:, None], self._at.joint_qpos] = joint_pos[worlds]
        self._qvel[worlds[:, None], self._at.joint_dof] = joint_vel[worlds]
        self._refresh(worlds)
        self._write(self._sample, worlds)

    def step(self, commands: np.ndarray, sample_tick: np.ndarray | None = None) -> None:
        """Advance every world by one control step of K ticks.

        Args:
            commands: What each actuator gets in each tick (K, N, A) [Nm, or rad for position
                actuators].
            sample_tick: After how many ticks the sensors of each world are read (N,), 1 to K, or
                None.
        """
        num_ticks = len(commands)
        self._sampling = sample_tick is not None
        start = 0
        for tick in range(1, num_ticks + 1):
            sampled = None if sample_tick is None else np.flatnonzero(sample_tick == tick)
            reading = sampled is not None and sampled.size > 0
            last = tick == num_ticks
            # Ticks with one command and nobody looking are one call into the thread pool.
            if not (last or reading or not np.array_equal(commands[tick], commands[start])):
                continue
            self._ctrl[...] = commands[start]
            stage = self._stage if last or reading else _NOTHING
            self._advance(tick - start, stage)
            start = tick
            if reading:
                self._write(self._sample, sampled)

    def read(self, state: State) -> None:
        """Write the present truth of every world into a state."""
        self._write(state, slice(None))

    def sample(self, state: State) -> None:
        """Write what the sensors saw at `sample_tick` of the last step into a state."""
        if self._sampling:
            state.copy_from(self._sample)
        else:
            self.read(state)

    def apply(self, params: DynamicsParams, mask: np.ndarray) -> None:
        """Change dynamics parameters of some worlds. Takes effect from the next tick on.

        Args:
            params: Values for all N worlds.
            mask: Worlds to change (N,), bool.
        """
        self._fields.apply(params, mask)
        # Data computed for reading belongs to the old parameters, and the next tick would start
        # from it.
        self._refresh(np.flatnonzero(mask))

    def realized(self, name: str) -> np.ndarray | None:
        """Return the value of a parameter that the worlds have now (N,) or (N, k)."""
        return np.array(self._fields.realized(name))

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all that determines the future of the worlds: MuJoCo's integration state."""
        return {
            "integration": self._batch.state.copy(),
            "sample": self._sample.buffer.copy(),
            "sampling": np.array(self._sampling),
            "warning": np.array(self._batch.warning),
            "failed": self._failed.copy(),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `get_state` returned; parameters must have been applied before.

        Raises:
            EngineError: The state is of other worlds.
        """
        if state["integration"].shape != self._batch.state.shape:
            raise EngineError(
                f"state of shape {state['integration'].shape} does not fit these worlds, "
                f"{self._batch.state.shape}; build the engine with the same robot and num_worlds"
            )
        self._batch.state[...] = state["integration"]
        self._refresh(np.arange(self.num_worlds))
        self._batch.warning[...] = state["warning"]
        self._sample.buffer[...] = state["sample"]
        self._sampling = bool(state["sampling"])
        self._failed[...] = state["failed"]

    def health(self, state: State, max_velocity: float = 1e4) -> Health:
        """Say which worlds diverged, by their state or by MuJoCo's own warnings.

        Args:
            state: The state to judge.
            max_velocity: Joint speed beyond which a world is called diverged [rad/s or m/s].
        """
        found = super().health(state, max_velocity)
        warned = self._warned.any(axis=1) | self._failed
        if not warned.any() or (warned <= found.diverged).all():
            return found
        world = int(np.flatnonzero(warned)[0])
        kinds = ("position", "velocity", "acceleration", "command")
        numbers = np.flatnonzero(self._warned[world])
        bad = self._reason if numbers.size == 0 else f"bad {kinds[int(numbers[0])]}"
        diverged = found.diverged | warned
        reason = f"{diverged.sum()} of {self.num_worlds} worlds diverged; world {world}: {bad}"
        return Health(diverged, reason)

    def render(self, world: int, width: int, height: int) -> np.ndarray:
        """Return a picture of one world (H, W, 3), uint8, without a display.

        Raises:
            DependencyError: There is neither EGL nor OSMesa.
        """
        model, data = self._batch.get_model(world), self._batch.get_data(world)
        mujoco.mj_forward(model, data)
        if self._offscreen is None or self._offscreen.size != (width, height):
            if self._offscreen is not None:
                self._offscreen.close()
            self._offscreen = Offscreen(self._at.model, width, height)
        return self._offscreen.draw(model, data)

    def close(self) -> None:
        """Release everything. Safe to call twice."""
        if self._offscreen is not None:
            self._offscreen.close()
            self._offscreen = None
        self.__dict__.pop("_batch", None)
        self.__dict__.pop("_fields", None)

    def _bind(self) -> None:
        self._qpos, self._qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self._ctrl, self._time = self._batch.bind("ctrl"), self._batch.bind("time")
        self._warned = self._batch.warning[:, _FATAL, 1]
        if self.spec.bodies:
            self._xpos = self._batch.bind("xpos")
        if self._at.contact_adr:
            self._touch = self._batch.bind("sensordata")

    def _advance(self, num_ticks: int, stage: int) -> None:
        self._guarded(lambda: self._batch.step(nstep=num_ticks, stage=stage))

    def _refresh(self, worlds: np.ndarray) -> None:
        """Bring body positions and contacts of some worlds up to date with their state."""
        if self._stage and worlds.size:
            self._guarded(lambda: self._batch.forward(worlds, stage=self._stage))

    def _guarded(self, call: Any) -> None:
        """Run a call into the batch; worlds in which MuJoCo raises are marked, the others go on."""
        try:
            call()
        except SimulationError as error:
            self._failed[error.ids] = True
            self._reason = str(error)

    def _write(self, state: State, rows: Any) -> None:
        state.joint_pos[rows] = self._qpos[rows][:, self._at.joint_qpos]
        state.joint_vel[rows] = self._qvel[rows][:, self._at.joint_dof]
        state.time[rows] = self._time[rows]
        if not self.robot.fixed_base:
            pose, speed = self._qpos[rows, :7], self._qvel[rows, :6]
            state.root_pose[rows] = pose
            state.root_vel[rows, :3] = speed[:, :3]
            # A free joint's angular velocity is in the body's frame.
            state.root_vel[rows, 3:] = _rotate(pose[:, 3:], speed[:, 3:])
        for name in self.spec.bodies:
            state.body_pos[name][rows] = self._xpos[rows, self._at.bodies[name]]
        for name, address in self._at.contact_adr.items():
            state.contact[name][rows] = self._touch[rows, address] > 0


def _rotate(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotate vectors (N, 3) by quaternions wxyz (N, 4)."""
    axis = quat[:, 1:]
    twice = 2 * np.cross(axis, vector)
    return vector + quat[:, :1] * twice + np.cross(axis, twice)

"""The GPU engine: N worlds of one model in MuJoCo Warp, one captured graph per control step.

The model is the one that the MuJoCo engine compiles from the robot's table, in single precision.
Everything that a control step takes (the command of each tick, K ticks, the packing of what is
read) is one graph, which is replayed without the host. On Warp's `cpu` device the same graphs are
recorded and replayed by the processor, so what is tested without a GPU is what runs on one.

Two faces: the contract of `Engine`, in numpy, and `tensors` with the `launch` methods, in tensors
that share memory with the worlds, for a runtime that stays on the device.

Options (`EngineSpec.options`): `device` (`auto`, `cpu`, `cuda:0`), `allow_eager` (accept a CUDA
device without graphs), `nconmax` (contacts per world, on average), `njmax` (constraint rows of a
world), `deterministic` (equal results from run to run on a GPU), `integrator` (see `mujoco_model`).
"""

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from torch import Tensor

from simreal.core.params import DynamicsParams, ParamSpec
from simreal.core.robot import Robot
from simreal.core.state import State
from simreal.engines import warp_kernels as kernels
from simreal.engines import warp_setup as setup
from simreal.engines.base import Capability, Engine, EngineSpec, Health
from simreal.engines.mujoco_model import compile_robot, lengthened, refuse_restitution
from simreal.engines.mujoco_params import DERIVED_KINDS, capability
from simreal.engines.mujoco_render import Offscreen
from simreal.engines.warp_params import WarpFields
from simreal.errors import EngineError

_CONTACTS = mjw.OverflowType.BROADPHASE | mjw.OverflowType.NARROWPHASE | mjw.OverflowType.CCD
_ROWS = mjw.OverflowType.NEFC | mjw.OverflowType.NJMAX_NNZ


@dataclass(frozen=True)
class DeviceTensors:
    """Hold the tensors through which worlds are driven and read; all on the engine's device.

    Attributes:
        commands: What each actuator gets in each tick (K, N, A), read by `launch_step`.
        sample_tick: After how many ticks each world's sensors are read (N,), int32.
        mask: Worlds to reset (N,), bool, read by `launch_reset`.
        joint_pos: Their new joint positions (N, J).
        joint_vel: Their new joint velocities (N, J).
        truth: State after the last launch, in the layout of `State` (N, D), float32.
        sample: State at `sample_tick` of the last sampling step (N, D), float32.
    """

    commands: Tensor
    sample_tick: Tensor
    mask: Tensor
    joint_pos: Tensor
    joint_vel: Tensor
    truth: Tensor
    sample: Tensor


class WarpEngine(Engine):
    """Advance N MuJoCo Warp worlds.

    Attributes:
        device: Where the worlds are, and whether graphs are on.
        tensors: Tensors that share memory with the worlds.
        nconmax: Contacts per world there is room for, on average over the worlds.
        njmax: Constraint rows there is room for in each world.
    """

    name = "warp"
    dtype = np.float32

    def __init__(self, spec: EngineSpec) -> None:
        """Compile the robot, put N worlds of it on the device and reset them at the default pose.

        Args:
            spec: What to build.

        Raises:
            ParameterError: A parameter is unknown, out of bounds, or cannot be applied.
            RobotError: MuJoCo cannot represent the robot.
            UnknownNameError: An option or the device is unknown.
            EngineError: The device cannot capture graphs, or MuJoCo Warp lacks a feature.
        """
        super().__init__(spec)
        setup.check_names(spec.options)
        self.device = setup.find_device(spec.options)
        settled = lengthened(self.settled(spec.fixed), spec.fixed)
        refuse_restitution(settled, self.name)
        # Contact flags are found by a kernel here; a contact sensor would cost in every tick.
        self._at = compile_robot(replace(spec, contacts=()), settled)
        self.nconmax, self.njmax = setup.sizes(self._at.model, spec.options)
        self._derived = bool(spec.bodies or spec.contacts)
        self._graphs: dict[str, Any] = {}
        self._streams: dict[int, Any] = {}
        self._offscreen: Offscreen | None = None
        began = time.perf_counter()
        with wp.ScopedDevice(self.device.name):
            self._allocate(settled)
            self._warm_up()
        setup.log_build(self.device, time.perf_counter() - began)
        self._sampling = False
        everywhere = np.ones(spec.num_worlds, dtype=bool)
        pose = np.tile(self.robot.default_pose, (spec.num_worlds, 1))
        self.reset(everywhere, pose, np.zeros_like(pose))

    @classmethod
    def capability(cls, robot: Robot, param: ParamSpec) -> Capability:
        """Say what this engine does with one engine parameter of a robot."""
        return capability(param)

    # ------------------------------------------------------------------ numpy

    def reset(self, mask: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray) -> None:
        """Put some worlds into a state, exactly in single precision, and their clock to zero.

        Args:
            mask: Worlds to reset (N,), bool.
            joint_pos: (N, J) [rad or m].
            joint_vel: (N, J) [rad/s or m/s].
        """
        self.tensors.mask.copy_(_tensor(mask, np.bool_))
        self.tensors.joint_pos.copy_(_tensor(joint_pos))
        self.tensors.joint_vel.copy_(_tensor(joint_vel))
        self.launch_reset()

    def step(self, commands: np.ndarray, sample_tick: np.ndarray | None = None) -> None:
        """Advance every world by one control step of K ticks.

        Args:
            commands: What each actuator gets in each tick (K, N, A) [Nm, or rad for position
                actuators].
            sample_tick: After how many ticks the sensors of each world are read (N,), 1 to K, or
                None.

        Raises:
            EngineError: The commands are not of K ticks.
        """
        if len(commands) != self.spec.ticks:
            raise EngineError(
                f"engine 'warp': {len(commands)} ticks of commands; its control step has "
                f"{self.spec.ticks}, which are captured as one graph"
            )
        self.tensors.commands.copy_(_tensor(commands))
        if sample_tick is not None:
            self.tensors.sample_tick.copy_(_tensor(sample_tick, np.int32))
        self.launch_step(sampling=sample_tick is not None)

    def read(self, state: State) -> None:
        """Write the present truth of every world into a state."""
        self._write(state, self.tensors.truth)

    def sample(self, state: State) -> None:
        """Write what the sensors saw at `sample_tick` of the last step into a state."""
        self._write(state, self.tensors.sample if self._sampling else self.tensors.truth)

    def apply(self, params: DynamicsParams, mask: np.ndarray) -> None:
        """Change dynamics parameters of some worlds. Takes effect from the next tick on.

        Args:
            params: Values for all N worlds.
            mask: Worlds to change (N,), bool.

        Raises:
            ParameterError: A parameter was not declared when the engine was built.
        """
        self._fields.check(params)
        values = {name: _tensor(params[name]).to(self._fields.device) for name in params}
        self.launch_apply(values, _tensor(mask, np.bool_).to(self._fields.device))

    def realized(self, name: str) -> np.ndarray | None:
        """Return the value of a parameter that the worlds have now (N,) or (N, k)."""
        found = np.asarray(self._fields.realized(name).cpu().numpy(), dtype=np.float64)
        return np.array(np.broadcast_to(found, (self.num_worlds, *found.shape[1:])))

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all that determines the future of the worlds."""
        state = {name: part.cpu().numpy().copy() for name, part in self._saved.items()}
        return {**state, "sampling": np.array(self._sampling)}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `get_state` returned; parameters must have been applied before.

        Raises:
            EngineError: The state is of other worlds.
        """
        for name, part in self._saved.items():
            if state[name].shape != tuple(part.shape):
                raise EngineError(
                    f"state '{name}' of shape {state[name].shape} does not fit these worlds, "
                    f"{tuple(part.shape)}; build the engine with the same robot and num_worlds"
                )
            part.copy_(torch.from_numpy(np.ascontiguousarray(state[name])))
        self._sampling = bool(state["sampling"])
        self._run("refresh", self._refresh)

    def health(self, state: State, max_velocity: float = 1e4) -> Health:
        """Say which worlds diverged.

        Args:
            state: The state to judge.
            max_velocity: Joint speed beyond which a world is called diverged [rad/s or m/s].

        Raises:
            EngineError: There was no room for all contacts or constraints, or an inertia was of no
                rigid body.
        """
        self.poll()
        return super().health(state, max_velocity)

    def render(self, world: int, width: int, height: int) -> np.ndarray:
        """Return a picture of one world (H, W, 3), uint8, without a display.

        Raises:
            DependencyError: There is neither EGL nor OSMesa.
        """
        model = self._at.model
        data = mujoco.MjData(model)
        data.qpos[:] = self._saved["qpos"][world].cpu().numpy()
        place = wp.to_torch(self._model.body_pos)
        model.body_pos[:] = place[world % len(place)].cpu().numpy()
        mujoco.mj_forward(model, data)
        if self._offscreen is None or self._offscreen.size != (width, height):
            if self._offscreen is not None:
                self._offscreen.close()
            self._offscreen = Offscreen(model, width, height)
        return self._offscreen.draw(model, data)

    def close(self) -> None:
        """Release everything. Safe to call twice."""
        if self._offscreen is not None:
            self._offscreen.close()
            self._offscreen = None
        self._graphs.clear()
        for name in ("_data", "_model"):
            self.__dict__.pop(name, None)

    # ---------------------------------------------------------------- tensors

    def launch_step(self, *, sampling: bool = False) -> None:
        """Advance every world by one control step with `tensors.commands`.

        Args:
            sampling: Whether `tensors.sample` is taken at `tensors.sample_tick`.
        """
        self._sampling = sampling
        name, body = ("sampling", self._ticks_sampled) if sampling else ("step", self._ticks)
        self._run(name, body)

    def launch_reset(self) -> None:
        """Reset the worlds of `tensors.mask` to `tensors.joint_pos` and `tensors.joint_vel`."""
        self._run("reset", self._reset)

    def launch_apply(self, values: Mapping[str, Tensor], mask: Tensor) -> None:
        """Change declared parameters of some worlds.

        Args:
            values: Name to (N,) or (N, k), on the engine's device.
            mask: Worlds to change (N,), bool, on the engine's device.
        """
        self.write_params(values, mask)
        self.launch_derive(values)

    def write_params(self, values: Mapping[str, Tensor], mask: Tensor) -> None:
        """Write declared parameters of some worlds; `launch_derive` has to follow.

        Tensor operations alone, which can be captured with others.

        Args:
            values: Name to (N,) or (N, k), on the engine's device.
            mask: Worlds to change (N,), bool, on the engine's device.
        """
        self._fields.apply(values, mask)

    def launch_derive(self, names: Iterable[str]) -> None:
        """Bring what follows from changed parameters up to date.

        Args:
            names: Names of the parameters that were written.
        """
        if any(name.partition(".")[0] in DERIVED_KINDS for name in names):
            self._run("derive", self._derive)
        elif self._derived:
            self._run("refresh", self._refresh)

    def poll(self) -> None:
        """Ask the device whether everything had room; waits for it.

        Raises:
            EngineError: There was no room for all contacts or constraints, or an inertia was of no
                rigid body.
        """
        overflow = self._overflow.bitwise_and(int(_CONTACTS | _ROWS)).cpu().numpy()
        bits = int(np.bitwise_or.reduce(overflow))
        if bits & int(_CONTACTS):
            raise EngineError(
                f"engine 'warp': {int(self._peak_contacts.cpu())} contacts at once in "
                f"{self.num_worlds} worlds, {self.nconmax * self.num_worlds} have room; set "
                f"options: {{nconmax: {self._needed_contacts()}}} or more (now {self.nconmax})"
            )
        if bits & int(_ROWS):
            needed = int(self._peak_rows.max().cpu())
            raise EngineError(
                f"engine 'warp': {needed} constraint rows at once in world "
                f"{int(self._peak_rows.argmax().cpu())}, {self.njmax} have room; set options: "
                f"{{njmax: {needed}}} or more"
            )
        if bool(self._fields.bad.any()):
            world = int(self._fields.bad.int().argmax().cpu())
            raise EngineError(
                f"engine 'warp': world {world} was given an inertia of no rigid body; all "
                "principal moments must be > 0 and the largest at most the sum of the other two"
            )

    @property
    def peaks(self) -> tuple[int, int]:
        """Return the most contacts of all worlds at once, and the most rows of a world, so far."""
        return int(self._peak_contacts.cpu()), int(self._peak_rows.max().cpu())

    # ---------------------------------------------------------------- physics

    def _allocate(self, settled: Robot) -> None:
        spec, at, count = self.spec, self._at, self.num_worlds
        try:
            self._model = setup.put_model(at, spec)
        except NotImplementedError as error:
            raise EngineError(
                f"engine 'warp': MuJoCo Warp cannot run this model: {error}"
            ) from error
        self._data = mjw.put_data(
            at.model,
            mujoco.MjData(at.model),
            nworld=count,
            nconmax=self.nconmax,
            njmax=self.njmax,
        )
        joints, width = self.robot.num_joints, self.new_state().buffer.shape[1]
        self._commands = wp.zeros((spec.ticks, count, self.robot.num_actuators), dtype=float)
        self._sample_tick = wp.full(count, spec.ticks, dtype=int)
        self._mask = wp.zeros(count, dtype=bool)
        self._pos, self._vel = (wp.zeros((count, joints), dtype=float) for _ in range(2))
        self._truth, self._sample = (wp.zeros((count, width), dtype=float) for _ in range(2))
        self._tick_count, self._rows = (wp.zeros(count, dtype=int) for _ in range(2))
        self._most_contacts = wp.zeros(1, dtype=int)
        self._touching = wp.zeros((count, len(spec.contacts)), dtype=float)
        self._joint_qpos = wp.array(at.joint_qpos.astype(np.int32), dtype=int)
        self._joint_dof = wp.array(at.joint_dof.astype(np.int32), dtype=int)
        self._bodies = wp.array([at.bodies[name] for name in spec.bodies], dtype=int)
        slots = np.full(max(at.model.ngeom, 1), -1, dtype=np.int32)
        for slot, name in enumerate(spec.contacts):
            slots[at.geoms[name]] = slot
        self._geom_slot = wp.array(slots, dtype=int)
        self._fields = WarpFields(self._model, at, spec, settled)
        self._take_views()

    def _take_views(self) -> None:
        data = self._data
        self.tensors = DeviceTensors(
            commands=wp.to_torch(self._commands),
            sample_tick=wp.to_torch(self._sample_tick),
            mask=wp.to_torch(self._mask),
            joint_pos=wp.to_torch(self._pos),
            joint_vel=wp.to_torch(self._vel),
            truth=wp.to_torch(self._truth),
            sample=wp.to_torch(self._sample),
        )
        self._overflow = wp.to_torch(data.overflow)
        self._peak_contacts = wp.to_torch(self._most_contacts)
        self._peak_rows = wp.to_torch(self._rows)
        self._saved: dict[str, Tensor] = {
            "qpos": wp.to_torch(data.qpos),
            "qvel": wp.to_torch(data.qvel),
            "warmstart": wp.to_torch(data.qacc_warmstart),
            "ticks": wp.to_torch(self._tick_count),
            "sample": self.tensors.sample,
        }

    def _warm_up(self) -> None:
        """Run everything once, so that all kernels are built and loaded before any capture."""
        self._tick(0)
        self._end_step()
        self._derive()
        self._reset()
        for part in (self._overflow, self._peak_contacts, self._peak_rows):
            part.zero_()

    def _ticks(self) -> None:
        for tick in range(self.spec.ticks):
            self._tick(tick)
        self._end_step()
        self._refresh()

    def _ticks_sampled(self) -> None:
        for tick in range(self.spec.ticks):
            self._tick(tick)
            self._find_derived()
            self._pack(self._sample, extra=tick + 1, wanted=tick + 1)
        self._end_step()
        self._pack(self._truth)

    def _tick(self, tick: int) -> None:
        data = self._data
        wp.launch(
            kernels.begin_tick,
            dim=self.num_worlds,
            inputs=[tick, self._commands, data.nefc, data.nacon, data.ncollision],
            outputs=[data.ctrl, self._rows, self._most_contacts],
        )
        mjw.step(self._model, data)

    def _end_step(self) -> None:
        data = self._data
        wp.launch(
            kernels.end_step,
            dim=self.num_worlds,
            inputs=[self.spec.ticks, data.nefc, data.nacon, data.ncollision],
            outputs=[self._tick_count, self._rows, self._most_contacts],
        )

    def _refresh(self) -> None:
        """Pack the present truth, body positions and contacts included."""
        self._find_derived()
        self._pack(self._truth)

    def _derive(self) -> None:
        """Compute what follows from changed masses, inertias, armatures and lengths."""
        if setup.has_derived(self.spec):
            mjw.set_const(self._model, self._data, restore=False)
        self._refresh()

    def _find_derived(self) -> None:
        """Bring body positions and contacts up to date; a tick leaves them where it began."""
        if not self._derived:
            return
        data = self._data
        mjw.kinematics(self._model, data)
        if not self.spec.contacts:
            return
        mjw.collision(self._model, data)
        self._touching.zero_()
        contact = data.contact
        wp.launch(
            kernels.find_touching,
            dim=max(data.naconmax, 1),
            inputs=[
                data.nacon,
                contact.worldid,
                contact.geom,
                contact.dist,
                contact.includemargin,
                self._geom_slot,
            ],
            outputs=[self._touching],
        )

    def _pack(self, out: Any, *, extra: int = 0, wanted: int = -1) -> None:
        data = self._data
        wp.launch(
            kernels.pack_state,
            dim=self.num_worlds,
            inputs=[
                extra,
                self._sample_tick,
                wanted,
                self.spec.tick_s,
                int(not self.robot.fixed_base),
                self._joint_qpos,
                self._joint_dof,
                self._bodies,
                data.qpos,
                data.qvel,
                data.xpos,
                self._touching,
                self._tick_count,
            ],
            outputs=[out],
        )

    def _reset(self) -> None:
        data = self._data
        wp.launch(
            kernels.reset_worlds,
            dim=self.num_worlds,
            inputs=[
                self._mask,
                self._pos,
                self._vel,
                self._joint_qpos,
                self._joint_dof,
                self._model.qpos0,
            ],
            outputs=[
                data.qpos,
                data.qvel,
                data.qacc_warmstart,
                data.ctrl,
                data.time,
                self._tick_count,
            ],
        )
        self._refresh()
        shape = self._truth.shape
        wp.launch(
            kernels.copy_rows,
            dim=shape,
            inputs=[self._mask, self._truth],
            outputs=[self._sample],
        )

    # ----------------------------------------------------------------- graphs

    def _run(self, name: str, body: Callable[[], None]) -> None:
        """Replay a graph, which is captured the first time it is asked for."""
        with wp.ScopedDevice(self.device.name):
            if not self.device.graphs:
                with wp.ScopedStream(self._stream(), sync_enter=False):
                    body()
                return
            if name not in self._graphs:
                self._graphs[name] = self._capture(body)
            wp.capture_launch(self._graphs[name], stream=self._stream())

    def _capture(self, body: Callable[[], None]) -> Any:
        with _no_collection(), wp.ScopedCapture() as capture:
            body()
        return capture.graph

    def _stream(self) -> Any:
        """Return torch's present stream, so that launches and tensors keep their order."""
        if self.device.name == "cpu":
            return None
        stream = torch.cuda.current_stream(torch.device(self.device.name))
        if stream.cuda_stream not in self._streams:
            self._streams[stream.cuda_stream] = wp.stream_from_torch(stream)
        return self._streams[stream.cuda_stream]

    def _write(self, state: State, packed: Tensor) -> None:
        state.buffer[...] = packed.cpu().numpy()
        # Ticks are whole numbers: their time is exact again in double precision.
        state.time[:] = np.rint(state.time / self.spec.tick_s) * self.spec.tick_s

    def _needed_contacts(self) -> int:
        return -(-int(self._peak_contacts.cpu()) // self.num_worlds)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hold the garbage collector: a graph that is freed during a capture spoils it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _tensor(values: np.ndarray, dtype: Any = np.float32) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=dtype))

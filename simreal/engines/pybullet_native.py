"""PyBullet worlds whose robot Bullet loads from its own file, instead of from the table.

What differs from `PyBulletEngine`: a reset restores the state saved after loading, which is exact
and some hundred times cheaper than loading; a control step is one call, which Bullet divides into
ticks; and a contact flag says whether Bullet has any contact point between the link and the ground,
also one that is about to touch.
"""

import itertools
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import numpy as np

from simreal.core.params import DynamicsParams, ParamSpec
from simreal.core.robot import Robot
from simreal.core.state import State
from simreal.engines.base import Capability, Engine, EngineSpec
from simreal.engines.memory import give_back_memory
from simreal.engines.pybullet_camera import take_picture
from simreal.engines.pybullet_native_world import NativeWorld
from simreal.engines.pybullet_params import ParamTable, capability
from simreal.engines.pybullet_world import p
from simreal.errors import EngineError, RobotError, unknown_name

_OPTIONS = ("solver_iterations",)
_motors, _TORQUE = p.setJointMotorControlArray, p.TORQUE_CONTROL
_read, _tick, _points = p.getJointStates, p.stepSimulation, p.getContactPoints
_PLACE_AND_SPEED = itemgetter(0, 1)
_flat = itertools.chain.from_iterable
_INERT = ("spinning_friction", "rolling_friction")


class NativePyBulletEngine(Engine):
    """Advance N worlds of a robot that Bullet loads by itself, in this process.

    Attributes:
        exact_state: False: Bullet keeps contact points that it does not give out. `get_state`
            therefore puts every world into the state it returns, without contacts, so that a run
            that takes checkpoints equals a resumed one.
    """

    name = "pybullet"
    exact_state = False

    def __init__(self, spec: EngineSpec) -> None:
        """Build the worlds, compare them with the record, and reset to the default pose.

        Args:
            spec: What to build. Options: `solver_iterations`, the robot's own by default.

        Raises:
            ParameterError: A parameter is unknown, out of bounds, or cannot be applied.
            RobotError: The robot has no model for this engine, or one this engine cannot drive.
            EngineError: Bullet loaded something else than the record.
        """
        self._worlds: list[NativeWorld] = []
        super().__init__(spec)
        for option in spec.options:
            if option not in _OPTIONS:
                raise unknown_name("option of engine 'pybullet'", option, _OPTIONS)
        for link in (*spec.bodies, *spec.contacts):
            self.robot.link(link)  # an unknown name raises here, before any world is built
        _check(self.robot)
        self._table = ParamTable(self.specs, spec, self.settled(spec.fixed))
        self._now, self._sampled = self.new_state(), self.new_state()
        self._sampled_early = False
        self._tick = np.zeros(spec.num_worlds, dtype=np.int64)
        worlds, joints = spec.num_worlds, self.robot.num_joints
        self._found = np.zeros((worlds, joints, 2))
        # The columns of position and velocity, which are neighbours, as pairs.
        columns = self._now.buffer[:, : 2 * joints]
        self._pairs = columns.reshape(worlds, 2, joints).transpose(0, 2, 1)
        self._roots = self._now.buffer[:, 2 * joints : 2 * joints + 13]  # pose, then velocity
        self._command_shape = (spec.ticks, worlds, self.robot.num_actuators)
        self._build()
        pose = np.tile(self.robot.default_pose, (worlds, 1))
        self.reset(np.ones(worlds, dtype=bool), pose, np.zeros_like(pose))

    @classmethod
    def capability(cls, robot: Robot, param: ParamSpec) -> Capability:
        """Say what Bullet does with one engine parameter of a robot it loads by itself."""
        if param.kind in ("com", "link_length"):
            return Capability(False, "Bullet has no setter, and the model file is not rewritten")
        if param.kind in _INERT:
            return Capability(False, "the ground of the model has none, and the product would be 0")
        return capability(robot, param)

    def reset(self, mask: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray) -> None:
        """Put some worlds into a state, exactly, and their clock to zero.

        Args:
            mask: Worlds to reset (N,), bool.
            joint_pos: (N, J) [rad or m]; rows outside the mask are ignored.
            joint_vel: (N, J) [rad/s or m/s].
        """
        self._tick[mask] = 0
        for world in np.flatnonzero(mask).tolist():
            if not np.isfinite(self._now.buffer[world]).all():
                # Bullet drops bodies whose position is no number.
                self._worlds[world].load(self.robot, self._table.gravity(world))
                self._write_all(world)
                self._refresh()
            self._worlds[world].restore()
            self._worlds[world].place_joints(joint_pos[world], joint_vel[world])
            self._observe(world, self._now)
            for name in self.spec.contacts:  # Bullet still tells those from before the reset
                self._now.contact[name][world] = 0.0
            self._sampled.buffer[world] = self._now.buffer[world]

    def step(self, commands: np.ndarray, sample_tick: np.ndarray | None = None) -> None:
        """Advance every world by one control step of K ticks.

        Args:
            commands: What each actuator gets in each tick (K, N, A) [Nm].
            sample_tick: After how many ticks the sensors of each world are read (N,), 1 to K.
        """
        if commands.shape != self._command_shape:
            raise EngineError(
                f"commands have shape {commands.shape}; "
                f"ticks, worlds, actuators {self._command_shape} needed"
            )
        self._sampled_early = sample_tick is not None
        whole = sample_tick is None and not self._damped and _constant(commands)
        self._divide(self.spec.ticks if whole else 1)
        if whole:
            self._advance(self._torques(commands[0]).tolist())
        else:
            self._advance_ticks(self._torques(commands), sample_tick)
        self._tick += self.spec.ticks
        np.multiply(self._tick, self.spec.tick_s, out=self._now.time)
        if self._body_links:
            for world in range(self.num_worlds):
                self._observe_bodies(world, self._now)
        if sample_tick is not None:
            self._sampled.copy_from(self._now, sample_tick >= self.spec.ticks)

    def read(self, state: State) -> None:
        """Write the present truth of every world into a state."""
        state.buffer[...] = self._now.buffer

    def sample(self, state: State) -> None:
        """Write what the sensors saw at `sample_tick` of the last step into a state."""
        state.buffer[...] = (self._sampled if self._sampled_early else self._now).buffer

    def apply(self, params: DynamicsParams, mask: np.ndarray) -> None:
        """Change dynamics parameters of some worlds. Takes effect from the next tick on.

        Args:
            params: Values for all N worlds.
            mask: Worlds to change (N,), bool.

        Raises:
            ParameterError: One was not declared when the engine was built.
        """
        changed = self._table.stage(params, mask)
        for world, names in changed.items():
            self._table.write(self._worlds[world], world, names)
        if changed:
            self._refresh()

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all that determines the future of the worlds, one row per world.

        See `exact_state` for what it does beside.
        """
        state = {
            "now": self._now.buffer.copy(),
            "sampled": (self._sampled if self._sampled_early else self._now).buffer.copy(),
            "tick": self._tick.copy(),
        }
        self.set_state(state)
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `get_state` returned; parameters must have been applied before.

        Args:
            state: What `get_state` returned.

        Raises:
            EngineError: It belongs to another number of worlds or another robot.
        """
        buffer = self._now.buffer
        for key, own in (("now", buffer), ("sampled", buffer), ("tick", self._tick)):
            if key not in state or state[key].shape != own.shape:
                seen = state[key].shape if key in state else "nothing"
                raise EngineError(
                    f"engine state '{key}' has shape {seen}; {own.shape} is needed: "
                    "it was saved with other worlds, joints or bodies"
                )
        self._now.buffer[...], self._sampled.buffer[...] = state["now"], state["sampled"]
        self._tick[...], self._sampled_early = state["tick"], True
        for world, bullet in enumerate(self._worlds):
            bullet.restore()
            if not self.robot.fixed_base:
                _place_root(bullet, self._now.root_pose[world], self._now.root_vel[world])
            bullet.place_joints(self._now.joint_pos[world], self._now.joint_vel[world])

    def render(self, world: int, width: int, height: int) -> np.ndarray:
        """Return a picture of one world (H, W, 3), uint8, drawn by the CPU.

        Args:
            world: Number of the world.
            width: Columns [pixel].
            height: Rows [pixel].
        """
        bullet = self._worlds[world]
        center = p.getLinkState(bullet.body, bullet.joints[-1], 0, 1, bullet.client)[0]
        return take_picture(bullet, center, width, height)

    def close(self) -> None:
        """Free every client, and their memory. Safe to call twice."""
        while self._worlds:
            self._worlds.pop().close()
        give_back_memory()

    def _build(self) -> None:
        model = self.robot.native_for(self.name)
        if model is None:
            raise RobotError(
                f"robot '{self.robot.name}' has no model that engine '{self.name}' loads by "
                "itself; use the engine that builds from the table"
            )
        self._ground = self.spec.ground
        try:
            for world in range(self.num_worlds):
                self._worlds.append(
                    NativeWorld(
                        self.robot,
                        model,
                        tick_s=self.spec.tick_s,
                        ticks=self.spec.ticks,
                        gravity=self._table.gravity(world),
                        ground=self.spec.ground,
                        iterations=int(
                            self.spec.options.get("solver_iterations", model.iterations)
                        ),
                    )
                )
                self._write_all(world)
        except Exception:
            self.close()
            raise
        first = self._worlds[0]
        self._body_links = [first.frames[name] for name in self.spec.bodies]
        self._contact_links = [first.links[name] for name in self.spec.contacts]
        self._contact_flags = [self._now.contact[name] for name in self.spec.contacts]
        self._driven = [first.joints[i] for i in self.robot.actuated_indices]
        self._refresh()

    def _write_all(self, world: int) -> None:
        """Write every parameter that may differ from what was loaded."""
        names = {name for name in (*self.spec.fixed, *self.spec.params) if name in self.specs}
        self._table.write(self._worlds[world], world, {n for n in names if self._acts(n)})

    def _acts(self, name: str) -> bool:
        return self.capability(self.robot, self.specs[name]).supported

    def _refresh(self) -> None:
        """Take over Bullet's numbers, the motors' gains, and whether any joint is damped."""
        self._hot = [(w.body, w.client, w.joints, w.ground_body) for w in self._worlds]
        motors = [actuator.joint for actuator in self.robot.actuators]
        column = self._table.column
        self._strength = np.array([column("motor_strength", joint) for joint in motors]).T
        self._limit = np.array([column("torque_limit", joint) for joint in motors]).T
        self._low = -self._limit
        # Bullet applies joint damping once per call.
        self._damped = any(column("joint_damping", j).any() for j in self.robot.joint_names)

    def _torques(self, commands: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(commands * self._strength, self._low), self._limit)

    def _divide(self, ticks: int) -> None:
        if self._worlds[0].ticks != ticks:
            for world in self._worlds:
                world.set_ticks(ticks)

    def _advance(self, torques: list[list[float]]) -> None:
        """Advance every world by one call and read joints and contacts."""
        found: list[float] = []
        touched: list[Any] = []
        roots: list[list[float]] = []
        put, driven, floats = found.extend, self._driven, not self.robot.fixed_base
        watch = len(self._contact_links) if self._ground else 0
        only = self._contact_links[0] if watch == 1 else -2
        # All worlds step before any is read: changing over costs Bullet more than a second loop.
        for (body, client, _, _), row in zip(self._hot, torques, strict=True):
            _motors(body, driven, _TORQUE, forces=row, physicsClientId=client)
            _tick(client)
        for body, client, joints, ground in self._hot:
            put(_flat(map(_PLACE_AND_SPEED, _read(body, joints, client))))
            if floats:
                roots.append(_root(body, client))
            if watch:
                touched.append(_points(body, ground, only, -2, client))
        self._found.reshape(-1)[:] = found
        self._pairs[...] = self._found
        if floats:
            self._roots[...] = roots
        if watch == 1:
            self._contact_flags[0][:] = [len(points) > 0 for points in touched]
        elif watch:
            sides = [{point[3] for point in points} for points in touched]
            for flags, link in zip(self._contact_flags, self._contact_links, strict=True):
                flags[:] = [link in links for links in sides]

    def _advance_ticks(self, torques: np.ndarray, sample_tick: np.ndarray | None) -> None:
        ends = [0] * self.num_worlds if sample_tick is None else sample_tick.tolist()
        for number, world in enumerate(self._worlds):
            for tick, row in enumerate(torques[:, number].tolist(), start=1):
                _motors(world.body, self._driven, _TORQUE, forces=row, physicsClientId=world.client)
                _tick(world.client)
                if tick == ends[number] and tick < self.spec.ticks:
                    self._observe(number, self._sampled)
                    self._sampled.time[number] += tick * self.spec.tick_s
            self._observe(number, self._now)

    def _observe(self, world: int, state: State) -> None:
        """Read one world into its row of a state."""
        bullet = self._worlds[world]
        now = _read(bullet.body, bullet.joints, bullet.client)
        state.joint_pos[world] = [joint[0] for joint in now]
        state.joint_vel[world] = [joint[1] for joint in now]
        state.time[world] = self._tick[world] * self.spec.tick_s
        if not self.robot.fixed_base:
            root = _root(bullet.body, bullet.client)
            state.root_pose[world], state.root_vel[world] = root[:7], root[7:]
        self._observe_bodies(world, state)
        if self._contact_links:
            self._touch(world, bullet, state)

    def _observe_bodies(self, world: int, state: State) -> None:
        bullet = self._worlds[world]
        for name, link in zip(self.spec.bodies, self._body_links, strict=True):
            if link >= 0:
                found = p.getLinkState(bullet.body, link, 0, 1, bullet.client)
                state.body_pos[name][world] = found[4]
            else:
                state.body_pos[name][world] = p.getBasePositionAndOrientation(
                    bullet.body, bullet.client
                )[0]

    def _touch(self, number: int, world: NativeWorld, state: State) -> None:
        touching: set[Any] = set()
        if self._ground:
            found = _points(world.body, world.ground_body, physicsClientId=world.client)
            touching = {point[3] for point in found}
        for name, link in zip(self.spec.contacts, self._contact_links, strict=True):
            state.contact[name][number] = link in touching


def _root(body: int, client: int) -> list[float]:
    """Return pose and velocity of the root (13), quaternion wxyz."""
    (px, py, pz), (x, y, z, w) = p.getBasePositionAndOrientation(body, client)
    linear, angular = p.getBaseVelocity(body, client)
    return [px, py, pz, w, x, y, z, *linear, *angular]


def _place_root(world: NativeWorld, pose: np.ndarray, vel: np.ndarray) -> None:
    w, x, y, z = pose[3:].tolist()
    position = pose[:3].tolist()
    p.resetBasePositionAndOrientation(world.body, position, (x, y, z, w), world.client)
    p.resetBaseVelocity(world.body, vel[:3].tolist(), vel[3:].tolist(), world.client)


def _constant(commands: np.ndarray) -> bool:
    """Return whether every tick has the same command; a broadcast view says so by itself."""
    return commands.strides[0] == 0 or bool((commands[1:] == commands[0]).all())


def _check(robot: Robot) -> None:
    placed = [actuator.joint for actuator in robot.actuators if actuator.kind != "torque"]
    if placed:
        raise RobotError(
            f"robot '{robot.name}' is loaded from a file of Bullet's, and the motors of {placed} "
            "take positions; torque motors are needed there"
        )
    root = robot.links[0]
    if not robot.fixed_base and (any(root.com) or any(root.inertia[3:])):
        raise RobotError(
            f"robot '{robot.name}': the root's center of mass {root.com} or principal axes differ "
            "from its frame; a free robot loaded from a file needs them to agree"
        )

"""The PyBullet engine: one physics client per world, many worlds in one process.

Bullet holds Python's lock while it steps, so threads gain nothing, and several robots in one client
are slower than several clients. What remains is to call it as little as possible: per world and
control step, one motor call and one step per tick (see `pybullet_drive` for when even that is too
often), and one batched read. More processes are the
business of `simreal.engines.workers`.

Integration is semi-implicit Euler at the tick; joint damping is explicit, dry friction implicit.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from simreal.core.params import DynamicsParams, ParamSpec
from simreal.core.robot import Robot
from simreal.core.state import State
from simreal.engines.base import Capability, Engine, EngineSpec
from simreal.engines.memory import give_back_memory
from simreal.engines.pybullet_camera import take_picture
from simreal.engines.pybullet_drive import Drive
from simreal.engines.pybullet_params import ParamTable, capability
from simreal.engines.pybullet_root import place_root, rest_pose, root_state
from simreal.engines.pybullet_world import World, p
from simreal.errors import EngineError, RobotError, unknown_name

_OPTIONS = {"solver_iterations": 50}


class PyBulletEngine(Engine):
    """Advance N worlds of one robot in Bullet, in this process.

    Attributes:
        exact_state: Whether `get_state` holds everything, so that a restored engine continues bit
            for bit. It does while nothing can touch anything and the base is fixed. Elsewhere
            Bullet keeps contact points and a rotation that it does not give out; `get_state` then
            loads every world anew at the state it returns, so that a run that takes checkpoints
            equals a resumed one.
    """

    name = "pybullet"

    def __init__(self, spec: EngineSpec) -> None:
        """Build the worlds, read every number back, and reset to the default pose.

        Args:
            spec: What to build. Options: `solver_iterations` (50).

        Raises:
            ParameterError: A parameter is unknown, out of bounds, or cannot be applied.
            RobotError: The robot has rotor inertia that is not overridden to 0.
            EngineError: Bullet loaded something else than the record.
        """
        self._worlds: list[World] = []
        self._portrait: World | None = None  # shapes are only loaded where a picture is wanted
        super().__init__(spec)
        for option in spec.options:
            if option not in _OPTIONS:
                raise unknown_name("option of engine 'pybullet'", option, _OPTIONS)
        for link in (*spec.bodies, *spec.contacts):
            self.robot.link(link)  # an unknown name raises here, before any world is built
        reference = self.settled(spec.fixed)
        _refuse_armature(reference)
        self._table = ParamTable(self.specs, spec, reference)
        self._now, self._sampled = self.new_state(), self.new_state()
        self._sampled_early = False
        self._tick = np.zeros(spec.num_worlds)  # whole numbers, which numpy adds up fastest so
        self._ticks = np.full(spec.num_worlds, float(spec.ticks))
        self._tick_s = np.full(spec.num_worlds, spec.tick_s)
        worlds, joints = spec.num_worlds, self.robot.num_joints
        self._found = np.zeros((worlds, joints, 2))
        self._flat = self._found.reshape(-1)
        # The columns of position and velocity, which are neighbours, as pairs.
        columns = self._now.buffer[:, : 2 * joints]
        self._pairs = columns.reshape(worlds, 2, joints).transpose(0, 2, 1)
        self._states = p.getJointStates if self.robot.num_joints else _no_states
        self._command_shape = (spec.ticks, spec.num_worlds, self.robot.num_actuators)
        self._drive = Drive(self.robot, spec.tick_s, spec.ticks)
        self._build()
        self.exact_state = self.robot.fixed_base and not self._can_touch()
        pose = np.tile(self.robot.default_pose, (spec.num_worlds, 1))
        self.reset(np.ones(spec.num_worlds, dtype=bool), pose, np.zeros_like(pose))

    @classmethod
    def capability(cls, robot: Robot, param: ParamSpec) -> Capability:
        """Say what Bullet does with one engine parameter of a robot."""
        return capability(robot, param)

    def reset(self, mask: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray) -> None:
        """Put some worlds into a state, exactly, and their clock to zero.

        Worlds that keep contact points, and diverged ones, are loaded anew: Bullet drops bodies
        whose position is no number, and remembers contacts across a mere change of position.

        Args:
            mask: Worlds to reset (N,), bool.
            joint_pos: (N, J) [rad or m]; rows outside the mask are ignored.
            joint_vel: (N, J) [rad/s or m/s].
        """
        self._tick[mask] = 0
        for world in np.flatnonzero(mask).tolist():
            finite = bool(np.isfinite(self._now.buffer[world]).all())
            if not (finite and self.exact_state):
                self._reload(world, clean=finite)
            root = None if self.robot.fixed_base else rest_pose(self._worlds[world])
            self._place(world, joint_pos[world], joint_vel[world], root)
            self._observe(world, self._now)
            self._sampled.buffer[world] = self._now.buffer[world]

    def step(self, commands: np.ndarray, sample_tick: np.ndarray | None = None) -> None:
        """Advance every world by one control step of K ticks.

        Args:
            commands: What each actuator gets in each tick (K, N, A) [Nm, or rad for position
                actuators].
            sample_tick: After how many ticks the sensors of each world are read (N,), 1 to K.
        """
        if commands.shape != self._command_shape:
            raise EngineError(
                f"commands have shape {commands.shape}; "
                f"ticks, worlds, actuators {self._command_shape} needed"
            )
        self._sampled_early = sample_tick is not None
        if sample_tick is None and self._drive.merge(self._worlds, commands):
            self._record(self._drive.once(commands[0]))
        else:
            self._record(self._push_each(commands, sample_tick))
        if self._extras:
            for world in range(self.num_worlds):
                self._observe_extras(world, self._now)
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
            ParameterError: Bullet cannot apply one of them. Nothing is changed then.
        """
        changed = self._table.stage(params, mask)
        for world, names in changed.items():
            if self._table.write(self._worlds[world], world, names):
                held = self._hold(world)
                self._reload(world)
                self._place(world, *held)
        if changed:
            self._drive.refresh(self._worlds, self._table)

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all that determines the future of the worlds, one row per world.

        See `exact_state` for what it does where Bullet keeps more than it tells.
        """
        state = {
            "now": self._now.buffer.copy(),
            "sampled": (self._sampled if self._sampled_early else self._now).buffer.copy(),
            "tick": self._tick.copy(),
        }
        if not self.exact_state:
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
        for world in range(self.num_worlds):
            if not self.exact_state:
                self._reload(world)
            self._place(world, *self._hold(world))

    def render(self, world: int, width: int, height: int) -> np.ndarray:
        """Return a picture of one world (H, W, 3), uint8, drawn by the CPU.

        Args:
            world: Number of the world.
            width: Columns [pixel].
            height: Rows [pixel].
        """
        root = self._now.root_pose[world, :3].tolist()
        target = root or [0.0, 0.0, self.robot.base_height]
        return take_picture(self._portrait_of(world), target, width, height)

    def close(self) -> None:
        """Free every client, and their memory. Safe to call twice."""
        while self._worlds:
            self._worlds.pop().close()
        if self._portrait is not None:
            self._portrait.close()
            self._portrait = None
        give_back_memory()

    def _build(self) -> None:
        options = {**_OPTIONS, **self.spec.options}
        try:
            for world in range(self.num_worlds):
                self._worlds.append(
                    World(
                        self._table.record(world),
                        tick_s=self.spec.tick_s,
                        gravity=self._table.gravity(world),
                        ground=self.spec.ground,
                        iterations=int(options["solver_iterations"]),
                    )
                )
        except Exception:
            self.close()
            raise
        links = self._worlds[0].links
        self._body_links = [links[name] for name in self.spec.bodies]
        self._contact_links = [links[name] for name in self.spec.contacts]
        self._extras = bool(not self.robot.fixed_base or self.spec.bodies or self.spec.contacts)
        self._drive.refresh(self._worlds, self._table)

    def _can_touch(self) -> bool:
        shapes = (shape for link in self.robot.links for shape in link.shapes)
        return self.spec.ground and any(shape.collides for shape in shapes)

    def _reload(self, world: int, clean: bool = True) -> None:
        """Load a world's robot anew; if the world is not clean, everything in it."""
        put = self._worlds[world].swap if clean else self._worlds[world].load
        put(self._table.record(world), self._table.gravity(world))
        self._drive.rebind(self._worlds, world, self._table)

    def _hold(self, world: int) -> tuple[np.ndarray, ...]:
        """Return the present joint positions, velocities and root of a world."""
        now = self._now
        held = (now.joint_pos[world].copy(), now.joint_vel[world].copy())
        return (*held, now.root_pose[world].copy(), now.root_vel[world].copy())

    def _place(
        self,
        world: int,
        joint_pos: np.ndarray,
        joint_vel: np.ndarray,
        root_pose: np.ndarray | None = None,
        root_vel: np.ndarray | None = None,
    ) -> None:
        if root_pose is not None and root_pose.size:
            still = np.zeros(6) if root_vel is None else root_vel
            place_root(self._worlds[world], root_pose, still)
        self._worlds[world].place_joints(joint_pos, joint_vel)

    def _portrait_of(self, world: int) -> World:
        """Return a drawn world at the present state of one world."""
        record = self._table.record(world)
        if self._portrait is None:
            self._portrait = World(record, tick_s=self.spec.tick_s, gravity=0.0, drawn=True)
        elif self._portrait.robot != record:
            self._portrait.swap(record, 0.0)
        joint_pos, joint_vel, root_pose, root_vel = self._hold(world)
        if root_pose.size:
            place_root(self._portrait, root_pose, root_vel)
        self._portrait.place_joints(joint_pos, joint_vel)
        return self._portrait

    def _push_each(self, commands: np.ndarray, sample_tick: np.ndarray | None) -> list[float]:
        push, last = self._drive.push, self.spec.ticks
        rows = self._drive.rows(self._worlds, commands)
        ends = [last] * self.num_worlds if sample_tick is None else sample_tick.tolist()
        found: list[float] = []
        for world, (hot, row) in enumerate(zip(self._drive.hot, rows, strict=True)):
            if ends[world] < last:
                push(hot, row[: ends[world]])
                self._observe(world, self._sampled)
                self._sampled.time[world] += ends[world] * self.spec.tick_s
                row = row[ends[world] :]
            push(hot, row)
            for pos, vel, _, _ in self._states(hot[1], hot[2], hot[0]):
                found += (pos, vel)
        return found

    def _record(self, found: list[float]) -> None:
        """Write positions and velocities of all worlds' joints, one after another, and the time."""
        self._flat[:] = found
        self._pairs[...] = self._found
        self._tick += self._ticks
        np.multiply(self._tick, self._tick_s, out=self._now.time)

    def _observe(self, world: int, state: State) -> None:
        """Read one world into its row of a state."""
        bullet = self._worlds[world]
        if bullet.joints:
            now = p.getJointStates(bullet.body, bullet.joints, bullet.client)
            state.joint_pos[world] = [joint[0] for joint in now]
            state.joint_vel[world] = [joint[1] for joint in now]
        state.time[world] = self._tick[world] * self.spec.tick_s
        if self._extras:
            self._observe_extras(world, state)

    def _observe_extras(self, world: int, state: State) -> None:
        bullet = self._worlds[world]
        if not self.robot.fixed_base:
            state.root_pose[world], state.root_vel[world] = root_state(bullet)
        below = [link for link in self._body_links if link >= 0]
        found = p.getLinkStates(bullet.body, below, 0, 1, bullet.client) if below else ()
        positions = iter(found)
        for name, link in zip(self.spec.bodies, self._body_links, strict=True):
            if link >= 0:
                state.body_pos[name][world] = next(positions)[4]
            elif self.robot.fixed_base:
                state.body_pos[name][world] = (0.0, 0.0, self.robot.base_height)
            else:
                state.body_pos[name][world] = state.root_pose[world, :3]
        if self._contact_links:
            points = p.getContactPoints(bullet.body, physicsClientId=bullet.client)
            touching = {point[3] for point in points if point[9] > 0.0}
            for name, link in zip(self.spec.contacts, self._contact_links, strict=True):
                state.contact[name][world] = float(link in touching)


def _no_states(*_: Any) -> tuple[Any, ...]:
    """Stand in for the batched read of a robot without joints, which Bullet answers with None."""
    return ()


def _refuse_armature(robot: Robot) -> None:
    heavy = [joint for joint in robot.movable if joint.armature != 0]
    if heavy:
        fixed = ", ".join(f"armature.{joint.name}: 0.0" for joint in heavy)
        values = ", ".join(f"{joint.name} {joint.armature:.4g} kg m^2" for joint in heavy)
        raise RobotError(
            f"engine 'pybullet' cannot represent the armature of robot '{robot.name}' ({values}); "
            f"leave it out on purpose with fixed dynamics {{{fixed}}}"
        )

"""One Bullet world with a robot and a ground that Bullet's own importers load from their files.

Published results on such a robot rest on what that importer makes of the file: masses computed from
shapes, no joint damping, no rotor inertia, contacts between the robot's own links. So nothing is
corrected here. What was loaded is compared with the robot's table instead, and a difference is an
error when the world is built.

The calls and their order are those with which the published environments are set up, since contacts
only repeat to the last bit in a world that came about the same way.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from simreal.core.kinematics import link_frames
from simreal.core.native import NativeModel
from simreal.core.robot import Link, Robot
from simreal.engines.pybullet_world import World, p
from simreal.engines.silence import silenced
from simreal.errors import EngineError

_FLAGS = (
    p.URDF_USE_SELF_COLLISION
    | p.URDF_USE_SELF_COLLISION_EXCLUDE_ALL_PARENTS
    | p.URDF_GOOGLEY_UNDEFINED_COLORS
)
_PROBE = (0.17, -0.23, 0.31)  # joint positions at which the kinematics are compared
_TOLERANCE = 1e-6  # Bullet's importers read in single precision


class NativeWorld(World):
    """Own one physics client and what was loaded into it.

    Attributes:
        ground_body: Bullet's number of the ground, -1 without one.
        frames: Link name to the Bullet link whose frame is the table's.
    """

    __slots__ = ("_first_ticks", "_model", "_saved", "frames", "ground_body")

    def __init__(
        self,
        robot: Robot,
        model: NativeModel,
        *,
        tick_s: float,
        ticks: int,
        gravity: float,
        ground: bool,
        iterations: int,
    ) -> None:
        """Connect, load and verify.

        Args:
            robot: The record.
            model: The files.
            tick_s: Physics time step [s].
            ticks: Time steps of one call of `stepSimulation`.
            gravity: Downward acceleration [m/s^2].
            ground: Whether the ground is loaded.
            iterations: Solver iterations.

        Raises:
            EngineError: Bullet offers no client, cannot load a file, or loaded something else than
                the record says.
        """
        self._model = model
        self._saved = -1
        self._first_ticks = ticks
        super().__init__(
            robot, tick_s=tick_s, gravity=gravity, ground=ground, iterations=iterations, drawn=True
        )

    def load(self, robot: Robot, gravity: float) -> None:
        """Empty the world and load everything anew, at the default pose.

        Args:
            robot: The record.
            gravity: Downward acceleration [m/s^2].
        """
        c = self.client
        p.resetSimulation(physicsClientId=c)
        p.setPhysicsEngineParameter(deterministicOverlappingPairs=1, physicsClientId=c)
        self.set_gravity(gravity)
        p.setDefaultContactERP(self._model.contact_erp, physicsClientId=c)
        self.set_ticks(self._first_ticks)
        self.ground_body = self._load_ground() if self.ground else -1
        self._put(robot)
        self._saved = int(p.saveState(physicsClientId=c))

    def swap(self, robot: Robot, gravity: float) -> None:
        """Load everything anew: a robot of a file cannot be replaced by another record."""
        self.load(robot, gravity)

    def restore(self) -> None:
        """Go back to the state after loading, with no contact remembered."""
        p.restoreState(self._saved, physicsClientId=self.client)

    def verify(self) -> None:
        """Compare what was loaded with the record.

        Raises:
            EngineError: Bullet holds another number.
        """
        ground_friction = self._model.ground_friction if self.ground else 1.0
        for link in self.robot.links:
            if link.mass > 0:
                self._verify_inertial(link, ground_friction)
        for joint, index in zip(self.robot.movable, self.joints, strict=True):
            info = p.getJointInfo(self.body, index, self.client)
            self._close(f"damping of joint '{joint.name}'", info[6], joint.damping)
            if np.isfinite(joint.lower) or np.isfinite(joint.upper):
                self._close(f"limits of '{joint.name}'", info[8:10], (joint.lower, joint.upper))
        self._verify_places()
        self.restore()

    def set_ticks(self, ticks: int) -> None:
        """Set how many ticks one call of Bullet's `stepSimulation` advances."""
        self.ticks = ticks
        p.setPhysicsEngineParameter(
            fixedTimeStep=ticks * self.tick_s,
            numSolverIterations=self.iterations,
            numSubSteps=ticks if ticks > 1 else 0,
            physicsClientId=self.client,
        )

    def set_contact(self, link: str, field: str, value: float) -> None:
        """Set one contact coefficient of a link, such that its product with the ground's is this.

        Args:
            link: The link.
            field: The record's field name.
            value: The product.
        """
        model = self._model
        ground = {
            "contact_friction": model.ground_friction,
            "restitution": model.ground_restitution,
        }
        super().set_contact(link, field, value / ground[field])

    def _load_ground(self) -> int:
        c = self.client
        with silenced():
            bodies = p.loadSDF(self._file(self._model.ground), physicsClientId=c)
        for body in bodies:
            p.changeDynamics(
                body,
                -1,
                lateralFriction=self._model.ground_friction,
                restitution=self._model.ground_restitution,
                physicsClientId=c,
            )
        return int(bodies[0])

    def _put(self, robot: Robot) -> None:
        self.robot = robot
        with silenced():
            bodies = p.loadMJCF(
                self._file(self._model.model), flags=_FLAGS, physicsClientId=self.client
            )
        self.body = int(bodies[0])
        self._index()
        for joint in range(p.getNumJoints(self.body, self.client)):
            # The importer leaves a position motor on every joint.
            p.setJointMotorControl2(
                self.body,
                joint,
                p.POSITION_CONTROL,
                positionGain=0.1,
                velocityGain=0.1,
                force=0,
                physicsClientId=self.client,
            )

    def _file(self, name: str) -> str:
        spec = importlib.util.find_spec(self._model.package)
        if spec is None or spec.origin is None:
            raise EngineError(
                f"'{name}' comes with the package '{self._model.package}', which is not "
                "installed; install it, or choose another engine"
            )
        path = Path(spec.origin).parent / name
        if not path.is_file():
            raise EngineError(
                f"package '{self._model.package}' has no file '{name}'; install the pinned version"
            )
        return str(path)

    def _index(self) -> None:
        joints: dict[str, int] = {}
        names: dict[str, int] = {p.getBodyInfo(self.body, self.client)[0].decode(): -1}
        for index in range(p.getNumJoints(self.body, self.client)):
            info = p.getJointInfo(self.body, index, self.client)
            joints[info[1].decode()], names[info[12].decode()] = index, index
        other = self._model.joints
        root = self.robot.links[0].name
        self.links, self.frames = {root: -1}, {root: -1}
        try:
            self.joints = [joints[other.get(name, name)] for name in self.robot.joint_names]
            for joint in self.robot.joints:
                link = self.robot.link(joint.child)
                carried = joints[other.get(joint.name, joint.name)] if joint.kind != "fixed" else -1
                self.links[link.name] = names[link.name] if link.mass > 0 else carried
                self.frames[link.name] = carried if carried >= 0 else names[link.name]
        except KeyError as error:
            raise EngineError(
                f"'{self._model.model}' has no joint or body {error}, which the record of robot "
                f"'{self.robot.name}' names; it has joints {sorted(joints)}"
            ) from error

    def _verify_inertial(self, link: Link, ground_friction: float) -> None:
        info = p.getDynamicsInfo(self.body, self.links[link.name], self.client)
        name = f"link '{link.name}'"
        self._close(f"mass of {name}", info[0], link.mass)
        self._close(f"inertia of {name}", (*info[2], 0.0, 0.0, 0.0), link.inertia)
        self._close(f"axes of the inertia of {name}", info[4], (0.0, 0.0, 0.0, 1.0))
        friction = info[1] * ground_friction
        if self.ground:
            self._close(f"friction of {name} on the ground", friction, link.contact_friction)

    def _verify_places(self) -> None:
        robot = self.robot
        pose = [_PROBE[i % len(_PROBE)] for i in range(robot.num_joints)]
        for index, position in zip(self.joints, pose, strict=True):
            p.resetJointState(self.body, index, position, 0.0, self.client)
        for name, (origin, turn) in link_frames(robot, pose).items():
            link = robot.link(name)
            if self.links[name] >= 0 and link.mass > 0:
                state = p.getLinkState(self.body, self.links[name], 0, 1, self.client)
                wanted = origin + turn @ np.array(link.com)
                self._close(f"center of mass of link '{name}'", state[0], wanted)
                found = np.array(p.getMatrixFromQuaternion(state[1])).reshape(3, 3)
                self._close(f"orientation of link '{name}'", found, turn)

    def _close(self, what: str, found: object, wanted: Mapping | Sequence | object) -> None:
        self._compare(what, found, wanted, _TOLERANCE)

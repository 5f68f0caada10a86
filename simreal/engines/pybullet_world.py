"""One Bullet world: a client of its own with one robot, brought to the record and read back.

Bullet's importer recomputes inertias, adds damping, clamps speeds and puts a motor on every joint.
Here each of these is set to what the record says and read back, so that what it could not represent
is an error when a world is built and not a robot that behaves a little differently.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

from simreal.core.kinematics import link_frames
from simreal.core.robot import Link, Robot
from simreal.core.rotations import principal_inertia
from simreal.core.urdf import robot_to_urdf
from simreal.engines.silence import silenced
from simreal.errors import EngineError

with silenced():  # importing it prints its build time
    import pybullet as p

__all__ = ["CONTACT_FIELDS", "World", "p"]

UNLIMITED = 1e12  # stands for no velocity clamp [rad/s]
_LOAD = p.URDF_USE_INERTIA_FROM_FILE | p.URDF_MAINTAIN_LINK_ORDER
_PROBE = (0.37, -0.23, 0.51)  # joint positions at which the kinematics are compared
CONTACT_FIELDS = {
    "contact_friction": "lateralFriction",
    "spinning_friction": "spinningFriction",
    "rolling_friction": "rollingFriction",
    "restitution": "restitution",
}


class World:
    """Own one physics client and the robot in it.

    Attributes:
        client: Bullet's number of the client.
        body: Bullet's number of the robot.
        joints: Bullet's joint index of every movable joint, canonical order (J).
        ticks: Ticks that one call of Bullet's `stepSimulation` advances.
        links: Link name to Bullet's link index, -1 for the root.
    """

    __slots__ = (
        "body",
        "client",
        "drawn",
        "ground",
        "iterations",
        "joints",
        "links",
        "robot",
        "tick_s",
        "ticks",
    )

    def __init__(
        self,
        robot: Robot,
        *,
        tick_s: float,
        gravity: float,
        ground: bool = False,
        iterations: int = 50,
        drawn: bool = False,
    ) -> None:
        """Connect, load and verify.

        Args:
            robot: The record.
            tick_s: Physics time step [s].
            gravity: Downward acceleration [m/s^2].
            ground: Whether there is a plane at z = 0.
            iterations: Solver iterations.
            drawn: Whether shapes that are only seen are loaded too, which makes loading several
                times slower.

        Raises:
            EngineError: Bullet offers no client, cannot load the robot, or loaded something else.
        """
        self.tick_s, self.ground, self.iterations, self.drawn = tick_s, ground, iterations, drawn
        self.ticks = 1
        self.client = p.connect(p.DIRECT)
        if self.client < 0:
            raise EngineError(
                "PyBullet offers no further client in this process (it allows 1024); "
                "use fewer worlds per process or more workers"
            )
        try:
            self.load(robot, gravity)
            self.verify()
        except Exception:
            self.close()
            raise

    def load(self, robot: Robot, gravity: float) -> None:
        """Empty the world and build it anew from a record, at the default pose.

        Args:
            robot: The record.
            gravity: Downward acceleration [m/s^2].
        """
        c = self.client
        p.resetSimulation(physicsClientId=c)
        self.set_ticks(self.ticks)
        p.setPhysicsEngineParameter(
            numSolverIterations=self.iterations,
            deterministicOverlappingPairs=1,
            enableFileCaching=0,
            physicsClientId=c,
        )
        self.set_gravity(gravity)
        if self.ground:
            # Bullet multiplies the coefficients of a pair: with 1 here, the robot's own ones count.
            shape = p.createCollisionShape(p.GEOM_PLANE, planeNormal=[0, 0, 1], physicsClientId=c)
            plane = p.createMultiBody(0, shape, physicsClientId=c)
            # A contact acts once it touches. Bullet's default brakes a body already before it does,
            # and then restitution has nothing left to reflect.
            p.changeDynamics(
                plane,
                -1,
                lateralFriction=1.0,
                restitution=1.0,
                contactProcessingThreshold=0.0,
                physicsClientId=c,
            )
        self._put(robot)

    def swap(self, robot: Robot, gravity: float) -> None:
        """Replace the robot by one of another record, at the default pose.

        It is as good as a new world, to the last bit, and several times faster.

        Args:
            robot: The record.
            gravity: Downward acceleration [m/s^2].
        """
        self.set_gravity(gravity)
        p.removeBody(self.body, self.client)
        self._put(robot)

    def _put(self, robot: Robot) -> None:
        self.robot = robot
        self.body = self._load_urdf(robot)
        self._index()
        p.changeDynamics(
            self.body,
            -1,
            linearDamping=0.0,
            angularDamping=0.0,
            maxJointVelocity=UNLIMITED,
            physicsClientId=self.client,
        )
        for link in robot.links:
            self._settle(link)
        for i, joint in enumerate(robot.movable):
            self.set_friction(i, joint.friction)
            p.resetJointState(self.body, self.joints[i], joint.default, 0.0, self.client)

    def verify(self) -> None:
        """Read everything back and compare it with the record.

        Raises:
            EngineError: Bullet holds another number.
        """
        for link in self.robot.links:
            self._verify_link(link)
        for joint, index in zip(self.robot.movable, self.joints, strict=True):
            info = p.getJointInfo(self.body, index, self.client)
            self._compare(f"damping of joint '{joint.name}'", info[6], joint.damping)
            if joint.kind != "continuous" and np.isfinite(joint.lower + joint.upper):
                self._compare(f"limits of '{joint.name}'", info[8:10], (joint.lower, joint.upper))
        self._verify_kinematics()

    def place_joints(self, joint_pos: np.ndarray, joint_vel: np.ndarray) -> None:
        """Put the movable joints into a state (J), exactly."""
        for joint, pos, vel in zip(
            self.joints, joint_pos.tolist(), joint_vel.tolist(), strict=True
        ):
            p.resetJointState(self.body, joint, pos, vel, self.client)

    def set_ticks(self, ticks: int) -> None:
        """Set how many ticks one call of Bullet's `stepSimulation` advances."""
        self.ticks = ticks
        p.setPhysicsEngineParameter(
            fixedTimeStep=ticks * self.tick_s,
            numSubSteps=ticks if ticks > 1 else 0,
            physicsClientId=self.client,
        )

    def set_gravity(self, gravity: float) -> None:
        """Set the downward acceleration [m/s^2]."""
        p.setGravity(0.0, 0.0, -gravity, physicsClientId=self.client)

    def set_inertial(self, link: str, mass: float, moments: np.ndarray) -> None:
        """Set mass [kg] and principal moments (3) [kg m^2] of a link.

        Both in one call: Bullet overwrites the moments when it is given a mass alone.
        """
        p.changeDynamics(
            self.body,
            self.links[link],
            mass=mass,
            localInertiaDiagonal=moments.tolist(),
            physicsClientId=self.client,
        )

    def set_contact(self, link: str, field: str, value: float) -> None:
        """Set one contact coefficient of a link, by the record's field name."""
        p.changeDynamics(
            self.body,
            self.links[link],
            **{CONTACT_FIELDS[field]: value},
            physicsClientId=self.client,
        )

    def set_damping(self, joint: int, damping: float) -> None:
        """Set viscous friction of a movable joint, by canonical index [Nm s/rad]."""
        p.changeDynamics(
            self.body, self.joints[joint], jointDamping=damping, physicsClientId=self.client
        )

    def set_friction(self, joint: int, friction: float) -> None:
        """Set Coulomb friction of a movable joint, by canonical index [Nm].

        It is the joint's own motor, asked to stand still, with that much torque. Bullet keeps it as
        the impulse of the time step it has at this moment, which has to be one tick.
        """
        ticks = self.ticks
        if ticks > 1:
            self.set_ticks(1)
        p.setJointMotorControl2(
            self.body,
            self.joints[joint],
            p.VELOCITY_CONTROL,
            targetVelocity=0.0,
            force=friction,
            physicsClientId=self.client,
        )
        if ticks > 1:
            self.set_ticks(ticks)

    def close(self) -> None:
        """Free the client. Safe to call twice."""
        if self.client >= 0:
            p.disconnect(self.client)
            self.client = -1

    def _load_urdf(self, robot: Robot) -> int:
        # Bullet only loads files; a name of its own each time, since it caches by name.
        descriptor, name = tempfile.mkstemp(suffix=".urdf", prefix="simreal-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(robot_to_urdf(robot, principal_axes=True, visuals=self.drawn))
            with silenced():
                return int(
                    p.loadURDF(
                        name,
                        basePosition=[0.0, 0.0, robot.base_height],
                        useFixedBase=robot.fixed_base,
                        flags=_LOAD,
                        physicsClientId=self.client,
                    )
                )
        except p.error as error:
            raise EngineError(
                f"PyBullet cannot load robot '{robot.name}' ({error}); "
                "check its shapes and mesh files"
            ) from error
        finally:
            Path(name).unlink(missing_ok=True)

    def _index(self) -> None:
        self.links = {self.robot.links[0].name: -1}
        joints: dict[str, int] = {}
        for index in range(p.getNumJoints(self.body, self.client)):
            info = p.getJointInfo(self.body, index, self.client)
            joints[info[1].decode()] = index
            self.links[info[12].decode()] = index
        self.joints = [joints[name] for name in self.robot.joint_names]

    def _settle(self, link: Link) -> None:
        index = self.links[link.name]
        if index >= 0 or not self.robot.fixed_base:
            self.set_inertial(link.name, link.mass, principal_inertia(link)[0])
        if not any(shape.collides for shape in link.shapes):
            return
        # A call of its own: mixed with damping, a link's friction also lands on the root.
        values = {key: getattr(link, field) for field, key in CONTACT_FIELDS.items()}
        p.changeDynamics(self.body, index, **values, physicsClientId=self.client)

    def _verify_link(self, link: Link) -> None:
        index = self.links[link.name]
        info = p.getDynamicsInfo(self.body, index, self.client)
        name = f"link '{link.name}'"
        if index >= 0 or not self.robot.fixed_base:
            self._compare(f"mass of {name}", info[0], link.mass)
            self._compare(f"principal inertia of {name}", info[2], principal_inertia(link)[0])
            self._compare(f"center of mass of {name}", info[3], link.com)
        if any(shape.collides for shape in link.shapes):
            wanted = (
                link.contact_friction,
                link.restitution,
                link.rolling_friction,
                link.spinning_friction,
            )
            self._compare(f"contact coefficients of {name}", (info[1], *info[5:8]), wanted)

    def _verify_kinematics(self) -> None:
        robot = self.robot
        pose = [j.default + _PROBE[i % len(_PROBE)] for i, j in enumerate(robot.movable)]
        for index, position in zip(self.joints, pose, strict=True):
            p.resetJointState(self.body, index, position, 0.0, self.client)
        for name, (origin, turn) in link_frames(robot, pose).items():
            if self.links[name] < 0:
                continue
            state = p.getLinkState(self.body, self.links[name], 0, 1, self.client)
            self._compare(f"position of link '{name}'", state[4], origin, 1e-7)
            found = np.array(p.getMatrixFromQuaternion(state[5])).reshape(3, 3)
            self._compare(f"orientation of link '{name}'", found, turn, 1e-7)
        for index, joint in zip(self.joints, robot.movable, strict=True):
            p.resetJointState(self.body, index, joint.default, 0.0, self.client)

    def _compare(self, what: str, found: object, wanted: object, tolerance: float = 1e-12) -> None:
        if not np.allclose(np.asarray(found), np.asarray(wanted), rtol=1e-9, atol=tolerance):
            raise EngineError(
                f"PyBullet loaded robot '{self.robot.name}' differently: {what} is {found}, "
                f"the record says {wanted}; Bullet cannot represent it"
            )

"""Turn a robot's record into a compiled MuJoCo model, without any importer in between.

The XML and URDF readers fuse bodies, rescale masses and fill in inertias. Here every number of the
record is written into an `MjSpec` directly: explicit inertials, nested bodies (fixed joints
included, so that every link keeps a frame), a free joint for a floating base, and actuators whose
force is exactly the record's law.

Choices that are not in the record, and why:

* Integrator `implicitfast`. Without velocity-dependent actuators it equals semi-implicit Euler with
  implicit joint damping, and it stays stable under a stiff velocity gain. Bullet integrates alike:
  without friction, the two engines agree on a double pendulum to rounding. At a 2 ms tick one that
  is released at 1.5 rad is 21 mrad off a tight ODE solution after 1 s, with 0.05 Nm s/rad of
  damping 1.2 mrad. `rk4` is available for references (3.7 times the cost).
* Coulomb friction is MuJoCo's own constraint with a time constant of two ticks and an impedance of
  0.9999. With the defaults (20 ms, 0.95) friction acts like a damper near zero speed: a joint held
  at 90 % of its stiction creeps at 3 mrad/s, here at 8 urad/s; against an ODE with Coulomb
  friction, 20 to 30 mrad of error after 1 s become 3 to 4.
* Contacts exist between a link and the ground only, as in Bullet without self-collision flags. The
  link's geoms have priority over the ground's, so that a contact has the link's friction
  coefficients. (Bullet multiplies those of the pair; with a ground of 1 that is the same number.)
  MuJoCo's contacts are a convex approximation that lifts a body while it slides: the friction force
  chatters from tick to tick, and its mean over 0.1 s was 1 % (coefficient 0.2) to 9 % (0.8) too
  low.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from simreal.core.robot import Joint, Link, Robot, Shape
from simreal.core.rotations import matrix_from_rpy, principal_inertia
from simreal.engines.base import EngineSpec
from simreal.engines.silence import silenced
from simreal.errors import RobotError, unknown_name

INTEGRATORS = {
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    "euler": mujoco.mjtIntegrator.mjINT_EULER,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "rk4": mujoco.mjtIntegrator.mjINT_RK4,
}
_GEOMS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "mesh": mujoco.mjtGeom.mjGEOM_MESH,
}
# Bits: the ground meets links, links meet the ground, links do not meet each other.
_GROUND_BIT, _LINK_BIT = 2, 1
_ARENA_BYTES = 1 << 22
_FRICTION_IMPEDANCE = 0.9999
# A center of mass this far off keeps MuJoCo from compiling in that it lies in the body's origin.
_OFF_CENTER = (0.01, 0.02, 0.03)


@dataclass(frozen=True)
class Compiled:
    """Hold a compiled model and where the robot's things are in it.

    Attributes:
        model: The model at the nominal dynamics.
        joint_qpos: Index into qpos of every movable joint, canonical order (J).
        joint_dof: Index into qvel of every movable joint, canonical order (J).
        bodies: Link name to body id.
        geoms: Link name to the ids of its colliding geoms.
        contact_adr: Link name to address in sensordata, for links whose contact is read.
    """

    model: mujoco.MjModel
    joint_qpos: np.ndarray
    joint_dof: np.ndarray
    bodies: dict[str, int]
    geoms: dict[str, list[int]]
    contact_adr: dict[str, int]


def compile_robot(spec: EngineSpec, robot: Robot) -> Compiled:
    """Build and compile the model of one world.

    Args:
        spec: Ticks, ground, bodies and contacts to read, options.
        robot: The record, with every fixed parameter written into it.

    Raises:
        RobotError: MuJoCo rejects the robot.
    """
    massless = [name for name in spec.bodies if _is_carrier(robot, robot.link(name))]
    if massless:
        raise RobotError(
            f"robot '{robot.name}': {massless} only carry a joint and are no bodies in MuJoCo; "
            "read the position of the link they carry"
        )
    world = _empty_world(spec)
    bodies = _add_links(world, spec, robot)
    for index, actuator in enumerate(robot.actuators):
        motor = world.add_actuator(name=f"motor.{actuator.joint}")
        motor.trntype = mujoco.mjtTrn.mjTRN_JOINT
        motor.target = actuator.joint
        motor.biastype = mujoco.mjtBias.mjBIAS_AFFINE
        motor.gainprm[0], motor.biasprm[:3] = actuator_law(robot, index)
        limit = min(actuator.torque_limit, 1e9)
        motor.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
        motor.forcerange[:] = (-limit, limit)
    touching = [name for name in spec.contacts if robot.link(name).shapes and spec.ground]
    for name in touching:
        _add_contact_sensor(world, name)
    try:
        with silenced():
            model = world.compile()
    except ValueError as error:
        line = " ".join(str(error).split())
        raise RobotError(f"robot '{robot.name}': MuJoCo refuses the model: {line}") from error
    _recenter(model, bodies, spec, robot)
    return _index(model, robot, touching)


def actuator_law(robot: Robot, index: int) -> tuple[float, tuple[float, float, float]]:
    """Return gain and affine bias (constant, position, velocity) of an actuator.

    Args:
        robot: The record.
        index: Which actuator.
    """
    actuator = robot.actuators[index]
    if actuator.kind == "torque":
        return actuator.strength, (0.0, 0.0, 0.0)
    stiffness, damping = actuator.strength * actuator.kp, actuator.strength * actuator.kd
    return stiffness, (0.0, -stiffness, -damping)


def principal_axes(link: Link) -> tuple[np.ndarray, np.ndarray]:
    """Split a link's inertia into principal moments and the rotation of their axes.

    Args:
        link: The link.

    Returns:
        Moments (3,) [kg m^2] and quaternion wxyz (4,); the identity for a diagonal inertia.
    """
    moments, axes = principal_inertia(link)
    return moments, _quat(axes)


def lengthened(robot: Robot, fixed: Mapping[str, Any]) -> Robot:
    """Write fixed link lengths into a record: the next joint moves along its direction.

    Args:
        robot: The record.
        fixed: Parameter name to value, of any kind.
    """
    moved = {}
    for name, value in fixed.items():
        kind, _, target = name.partition(".")
        if kind == "link_length":
            joint = next(j for j in robot.joints if j.parent == target)
            nominal = np.linalg.norm(joint.xyz)
            scale = float(np.ravel(value)[0]) / nominal
            moved[joint.name] = {"xyz": tuple(float(scale * c) for c in joint.xyz)}
    return robot.revised(joints=moved)


def refuse_restitution(robot: Robot, engine: str) -> None:
    """Refuse a record with restitution, which no setting of MuJoCo is.

    Args:
        robot: The record.
        engine: Name of the engine that is asked for it.

    Raises:
        RobotError: A colliding link has restitution.
    """
    for link in robot.links:
        if link.restitution > 0 and any(shape.collides for shape in link.shapes):
            raise RobotError(
                f"robot '{robot.name}': link '{link.name}' has restitution {link.restitution}, "
                f"which engine '{engine}' cannot represent (its contacts are soft); set it to 0"
            )


def _quat(matrix: np.ndarray) -> np.ndarray:
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(matrix).ravel())
    return quat


def quiet() -> None:
    """Keep MuJoCo from printing and from writing MUJOCO_LOG.TXT into the working directory.

    What it warns about (bad positions, velocities, accelerations, controls) is counted per world
    and reported by `Engine.health`.
    """
    config = mujoco.MjLogConfig.get()
    config.logto_console = config.logto_file = False
    config.set()


def _empty_world(spec: EngineSpec) -> mujoco.MjSpec:
    quiet()
    world = mujoco.MjSpec()
    world.compiler.degree = False
    world.memory = _ARENA_BYTES
    option = world.option
    option.timestep = spec.tick_s
    option.gravity = (0.0, 0.0, -float(np.ravel(spec.fixed.get("gravity", 9.81))[0]))
    name = str(spec.options.get("integrator", "implicitfast")).lower()
    if name not in INTEGRATORS:
        raise unknown_name("integrator of engine 'mujoco'", name, INTEGRATORS)
    option.integrator = INTEGRATORS[name]
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    # Ten times stiffer along the surface than across it: a sticking contact hardly creeps.
    option.impratio = 10.0
    option.tolerance = 1e-10
    # A world that blows up must stay where it is, to be seen, and not restart unasked.
    option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    world.worldbody.add_light(pos=(0.0, -1.0, 4.0), dir=(0.0, 0.25, -1.0))
    world.visual.global_.offwidth, world.visual.global_.offheight = 1920, 1080
    if spec.ground:
        ground = world.worldbody.add_geom(name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE)
        ground.size[:] = (0.0, 0.0, 1.0)
        ground.contype = ground.conaffinity = _GROUND_BIT
        ground.friction[:] = (1.0, 0.0, 0.0)
        ground.rgba[:] = (0.85, 0.85, 0.85, 1.0)
    return world


def _add_links(world: mujoco.MjSpec, spec: EngineSpec, robot: Robot) -> dict[str, "mujoco.MjsBody"]:
    root = robot.links[0]
    body = world.worldbody.add_body(name=root.name, pos=(0.0, 0.0, robot.base_height))
    if not robot.fixed_base:
        body.add_freejoint()
    bodies = {root.name: body}
    _fill_body(world, spec, body, root)
    # A link that only carries a joint is no body: its joint stands on the next one's.
    carriers = {link.name for link in robot.links if _is_carrier(robot, link)}
    for joint in robot.joints:
        link, body = robot.link(joint.child), bodies[joint.parent]
        if joint.parent not in carriers:
            body = body.add_body(
                name=link.name, pos=joint.xyz, quat=_quat(matrix_from_rpy(joint.rpy))
            )
        _add_joint(body, joint, spec.tick_s)
        bodies[link.name] = body
        if link.mass > 0:
            body.name = link.name
            _fill_body(world, spec, body, link)
    return bodies


def _is_carrier(robot: Robot, link: Link) -> bool:
    return link.mass == 0 and link is not robot.links[0]


def _add_joint(body: "mujoco.MjsBody", joint: Joint, tick_s: float) -> None:
    if joint.kind == "fixed":
        return
    slide = joint.kind == "prismatic"
    added = body.add_joint(name=joint.name, axis=joint.axis)
    added.type = mujoco.mjtJoint.mjJNT_SLIDE if slide else mujoco.mjtJoint.mjJNT_HINGE
    limited = joint.kind != "continuous" and (np.isfinite(joint.lower) or np.isfinite(joint.upper))
    added.limited = (
        mujoco.mjtLimited.mjLIMITED_TRUE if limited else mujoco.mjtLimited.mjLIMITED_FALSE
    )
    if limited:
        added.range[:] = (max(joint.lower, -1e9), min(joint.upper, 1e9))
    added.damping[0] = joint.damping
    added.frictionloss = joint.friction
    added.armature = joint.armature
    added.solref_friction[:] = (2 * tick_s, 1.0)
    added.solimp_friction[:2] = _FRICTION_IMPEDANCE


def _fill_body(world: mujoco.MjSpec, spec: EngineSpec, body: "mujoco.MjsBody", link: Link) -> None:
    body.explicitinertial = True
    body.mass = link.mass
    shifts = f"com.{link.name}" in spec.params
    body.ipos[:] = np.add(link.com, _OFF_CENTER) if shifts else link.com
    body.inertia[:], body.iquat[:] = principal_axes(link)
    for number, shape in enumerate(link.shapes):
        _add_shape(world, spec, body, link, shape, f"{link.name}.{number}")


def _add_shape(
    world: mujoco.MjSpec,
    spec: EngineSpec,
    body: "mujoco.MjsBody",
    link: Link,
    shape: Shape,
    name: str,
) -> None:
    geom = body.add_geom(name=name, type=_GEOMS[shape.kind], pos=shape.xyz)
    geom.quat[:] = _quat(matrix_from_rpy(shape.rpy))
    geom.rgba[:] = shape.rgba
    geom.mass = 0.0
    if shape.kind == "mesh":
        scale = shape.size[0] if shape.size else 1.0
        world.add_mesh(name=name, file=str(shape.mesh), scale=(scale,) * 3)
        geom.meshname = name
    elif shape.kind in ("cylinder", "capsule"):
        geom.size[:2] = (shape.size[0], shape.size[1] / 2)
    else:
        geom.size[: len(shape.size)] = shape.size
    geom.group = 0 if shape.collides else 1
    geom.contype = geom.conaffinity = _LINK_BIT if shape.collides else 0
    if not shape.collides:
        return
    # The ground accepts a link if either's type meets the other's affinity.
    geom.conaffinity = _GROUND_BIT
    geom.priority = 1
    geom.condim = _contact_dimension(spec, link)
    geom.friction[:] = (link.contact_friction, link.spinning_friction, link.rolling_friction)


def _contact_dimension(spec: EngineSpec, link: Link) -> int:
    """Return MuJoCo's number of friction directions: those that are, or may become, nonzero."""
    if link.rolling_friction > 0 or f"rolling_friction.{link.name}" in spec.params:
        return 6
    if link.spinning_friction > 0 or f"spinning_friction.{link.name}" in spec.params:
        return 4
    return 3


def _add_contact_sensor(world: mujoco.MjSpec, link: str) -> None:
    sensor = world.add_sensor(name=f"contact.{link}", type=mujoco.mjtSensor.mjSENS_CONTACT)
    sensor.objtype, sensor.objname = mujoco.mjtObj.mjOBJ_BODY, link
    # One number, the count of contacts: data bits "found", no reduction, one slot.
    sensor.intprm[:3] = (1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND), 0, 1)


def _recenter(
    model: mujoco.MjModel, bodies: dict[str, "mujoco.MjsBody"], spec: EngineSpec, robot: Robot
) -> None:
    """Undo the shift of those centers of mass that will be changed.

    MuJoCo decides while compiling that a free body whose center of mass is its origin has a
    diagonal mass matrix, and keeps to that when the center is moved later.
    """
    shifted = [name for name in bodies if f"com.{name}" in spec.params]
    for name in shifted:
        model.body_ipos[model.body(name).id] = robot.link(name).com
    if shifted:
        mujoco.mj_setConst(model, mujoco.MjData(model))


def _index(model: mujoco.MjModel, robot: Robot, touching: list[str]) -> Compiled:
    joints = [model.joint(name).id for name in robot.joint_names]
    return Compiled(
        model=model,
        joint_qpos=model.jnt_qposadr[joints],
        joint_dof=model.jnt_dofadr[joints],
        bodies={
            link.name: model.body(link.name).id
            for link in robot.links
            if not _is_carrier(robot, link)
        },
        geoms={
            link.name: [
                model.geom(f"{link.name}.{i}").id
                for i, shape in enumerate(link.shapes)
                if shape.collides
            ]
            for link in robot.links
        },
        contact_adr={name: int(model.sensor(f"contact.{name}").adr[0]) for name in touching},
    )

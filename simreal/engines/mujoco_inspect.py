"""Say what MuJoCo's own importer makes of a model file; run as a process by `model_check`."""

import math
import sys

import mujoco
import numpy as np

from simreal.engines.model_check import BASE, Group, LoadedJoint, LoadedModel, Piece, emit

_KINDS = {
    int(mujoco.mjtJoint.mjJNT_HINGE): "hinge",
    int(mujoco.mjtJoint.mjJNT_SLIDE): "slide",
    int(mujoco.mjtJoint.mjJNT_BALL): "ball",
}
_FREE = int(mujoco.mjtJoint.mjJNT_FREE)


def inspect(file: str) -> LoadedModel:
    """Load a file and describe it.

    Args:
        file: URDF or MJCF.

    Returns:
        The model; with `error` set if MuJoCo refuses it even without meshes.
    """
    try:
        model, notes = _load(file)
    except ValueError as error:
        return LoadedModel(engine="mujoco", error=_line(error))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    groups: dict[int, Group] = {}
    for body in range(model.nbody):
        leader = int(model.body_weldid[body])
        if leader not in groups:
            groups[leader] = _group(model, data, leader)
        rotation = data.ximat[body].reshape(3, 3)
        inertia = rotation @ np.diag(model.body_inertia[body]) @ rotation.T
        name = model.body(body).name or f"body {body}"
        mass = float(model.body_mass[body])
        groups[leader].pieces.append(Piece(mass, data.xipos[body].copy(), inertia, name))
    return LoadedModel(
        engine="mujoco",
        base_moves=bool(np.any(model.jnt_type == _FREE)),
        bodies=tuple(rigid for group in groups.values() if (rigid := group.body()) is not None),
        joints=tuple(
            _joint(model, data, joint)
            for joint in range(model.njnt)
            if int(model.jnt_type[joint]) != _FREE
        ),
        notes=tuple(notes),
    )


def _load(file: str) -> tuple[mujoco.MjModel, list[str]]:
    """Load a file as it is, or without its meshes if that is all that is wrong with it."""
    try:
        return mujoco.MjModel.from_xml_path(file), []
    except ValueError as error:
        reason = _line(error)
    spec = mujoco.MjSpec.from_file(file)
    names = [geom for geom in spec.geoms if geom.type == mujoco.mjtGeom.mjGEOM_MESH]
    if not names:
        raise ValueError(reason)
    for geom in names:
        spec.delete(geom)
    for mesh in list(spec.meshes):
        spec.delete(mesh)
    try:
        return spec.compile(), [f"mujoco: {len(names)} mesh shapes left out ({reason})"]
    except ValueError as error:
        second = _line(error)
        both = reason if second == reason else f"{reason}; without its meshes: {second}"
        raise ValueError(both) from error


def _group(model: mujoco.MjModel, data: mujoco.MjData, leader: int) -> Group:
    count, first = int(model.body_jntnum[leader]), int(model.body_jntadr[leader])
    if count == 0:
        return Group(BASE, data.xpos[leader].copy())
    last = first + count - 1
    if int(model.jnt_type[last]) == _FREE:
        free = int(np.sum(model.jnt_type == _FREE))
        name = BASE if free == 1 else f"{BASE} of {model.body(leader).name}"
        return Group(name, data.xpos[leader].copy())
    return Group(model.joint(last).name or f"joint {last}", data.xanchor[last].copy())


def _joint(model: mujoco.MjModel, data: mujoco.MjData, joint: int) -> LoadedJoint:
    limited, dof = bool(model.jnt_limited[joint]), int(model.jnt_dofadr[joint])
    lower, upper = model.jnt_range[joint] if limited else (-math.inf, math.inf)
    return LoadedJoint(
        name=model.joint(joint).name or f"joint {joint}",
        kind=_KINDS[int(model.jnt_type[joint])],
        axis=tuple(float(v) for v in data.xaxis[joint]),
        lower=float(lower),
        upper=float(upper),
        damping=float(model.dof_damping[dof]),
        friction=float(model.dof_frictionloss[dof]),
        armature=float(model.dof_armature[dof]),
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    emit(inspect(sys.argv[1]), sys.argv[2])

"""Say what PyBullet's own importer makes of a model file; run as a process by `model_check`."""

import math
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pybullet as p

from simreal.engines.model_check import BASE, Group, LoadedJoint, LoadedModel, Piece, emit

_KINDS = {p.JOINT_REVOLUTE: "hinge", p.JOINT_PRISMATIC: "slide", p.JOINT_SPHERICAL: "ball"}


def inspect(file: str) -> LoadedModel:
    """Load a file and describe it.

    Args:
        file: URDF or MJCF.

    Returns:
        The model; with `error` set if PyBullet refuses it.
    """
    client = p.connect(p.DIRECT)
    try:
        loaded = _load(file, client)
    except p.error as error:
        return LoadedModel(engine="pybullet", error=" ".join(str(error).split()))
    # An MJCF's ground becomes a body of its own: one link without mass.
    robots = [body for body in loaded if p.getNumJoints(body, client) or _mass(body, -1, client)]
    free = [body for body in robots if _mass(body, -1, client) > 0]
    groups: list[Group] = []
    joints: list[LoadedJoint] = []
    for body in robots:
        name = p.getBodyInfo(body, client)[0].decode(errors="replace")
        key = BASE if len(free) <= 1 else f"{BASE} of {name}"
        _describe(body, key, name, client, groups, joints)
    return LoadedModel(
        engine="pybullet",
        base_moves=bool(free),
        bodies=tuple(rigid for group in groups if (rigid := group.body()) is not None),
        joints=tuple(joints),
    )


def _load(file: str, client: int) -> list[int]:
    try:
        mjcf = ElementTree.parse(file).getroot().tag == "mujoco"
    except ElementTree.ParseError:
        # Bullet is to say itself what it thinks of the file.
        mjcf = file.endswith(".xml")
    if mjcf:
        return list(p.loadMJCF(file, physicsClientId=client))
    p.setAdditionalSearchPath(str(Path(file).parent), physicsClientId=client)
    return [p.loadURDF(file, physicsClientId=client)]


def _describe(
    body: int,
    key: str,
    name: str,
    client: int,
    groups: list[Group],
    joints: list[LoadedJoint],
) -> None:
    """Collect the rigid groups and joints of one Bullet body."""
    center, turn = p.getBasePositionAndOrientation(body, client)
    offset, twist = p.getDynamicsInfo(body, -1, client)[3:5]
    frame, _ = p.multiplyTransforms(center, turn, *p.invertTransform(offset, twist))
    owner = {-1: Group(key, np.array(frame))}
    owner[-1].pieces.append(_piece(body, -1, name, center, turn, client))
    groups.append(owner[-1])
    for index in range(p.getNumJoints(body, client)):
        info = p.getJointInfo(body, index, client)
        link = p.getLinkState(body, index, computeForwardKinematics=1, physicsClientId=client)
        if info[2] == p.JOINT_FIXED:
            owner[index] = owner[info[16]]
        else:
            joint = _joint(info, np.array(p.getMatrixFromQuaternion(link[5])).reshape(3, 3))
            owner[index] = Group(joint.name, np.array(link[4]))
            groups.append(owner[index])
            joints.append(joint)
        title = info[12].decode(errors="replace")
        owner[index].pieces.append(_piece(body, index, title, link[0], link[1], client))


def _piece(body: int, link: int, name: str, center: Any, turn: Any, client: int) -> Piece:
    rotation = np.array(p.getMatrixFromQuaternion(turn)).reshape(3, 3)
    moments = np.array(p.getDynamicsInfo(body, link, client)[2])
    inertia = rotation @ np.diag(moments) @ rotation.T
    return Piece(_mass(body, link, client), np.array(center), inertia, name)


def _joint(info: Any, rotation: np.ndarray) -> LoadedJoint:
    axis = rotation @ np.array(info[13])
    length = float(np.linalg.norm(axis))
    limited = info[8] <= info[9]
    return LoadedJoint(
        name=info[1].decode(errors="replace"),
        kind=_KINDS.get(info[2], f"type {info[2]}"),
        axis=tuple(float(v) for v in (axis / length if length else axis)),
        lower=float(info[8]) if limited else -math.inf,
        upper=float(info[9]) if limited else math.inf,
        damping=float(info[6]),
        friction=float(info[7]),
        armature=0.0,  # Bullet's articulated bodies have none
    )


def _mass(body: int, link: int, client: int) -> float:
    return float(p.getDynamicsInfo(body, link, client)[0])


if __name__ == "__main__":
    emit(inspect(sys.argv[1]), sys.argv[2])

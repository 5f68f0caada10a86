"""The kernels that the Warp engine adds to MuJoCo Warp's own, captured with them in one graph.

They hand each tick its command, reset some worlds, pack what is read in the layout of
`simreal.core.state.State`, and keep the peaks of contacts and constraints, so that a control step
needs neither the host nor a second array library in between.
"""

import warp as wp


@wp.kernel(enable_backward=False)
def begin_tick(
    tick: int,
    commands: wp.array3d[float],
    nefc: wp.array[int],
    nacon: wp.array[int],
    ncollision: wp.array[int],
    # out
    ctrl: wp.array2d[float],
    peak_nefc: wp.array[int],
    peak_contacts: wp.array[int],
) -> None:
    """Write the command of one tick, and note what the tick before needed."""
    world = wp.tid()
    for actuator in range(ctrl.shape[1]):
        ctrl[world, actuator] = commands[tick, world, actuator]
    peak_nefc[world] = wp.max(peak_nefc[world], nefc[world])
    if world == 0:
        peak_contacts[0] = wp.max(peak_contacts[0], wp.max(nacon[0], ncollision[0]))


@wp.kernel(enable_backward=False)
def end_step(
    num_ticks: int,
    nefc: wp.array[int],
    nacon: wp.array[int],
    ncollision: wp.array[int],
    # out
    ticks: wp.array[int],
    peak_nefc: wp.array[int],
    peak_contacts: wp.array[int],
) -> None:
    """Count the ticks of a control step, and note what its last tick needed."""
    world = wp.tid()
    ticks[world] = ticks[world] + num_ticks
    peak_nefc[world] = wp.max(peak_nefc[world], nefc[world])
    if world == 0:
        peak_contacts[0] = wp.max(peak_contacts[0], wp.max(nacon[0], ncollision[0]))


@wp.kernel(enable_backward=False)
def reset_worlds(
    mask: wp.array[bool],
    joint_pos: wp.array2d[float],
    joint_vel: wp.array2d[float],
    joint_qpos: wp.array[int],
    joint_dof: wp.array[int],
    qpos0: wp.array2d[float],
    # out
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    warmstart: wp.array2d[float],
    ctrl: wp.array2d[float],
    time: wp.array[float],
    ticks: wp.array[int],
) -> None:
    """Put some worlds into a state and forget what the solver remembers of them.

    MuJoCo Warp's own partial reset leaves the list of contacts corrupt; the list is computed anew
    in the next tick anyway, and is not touched here. A warm start that is not a number would poison
    the world again.
    """
    world = wp.tid()
    if not mask[world]:
        return
    for i in range(qpos.shape[1]):
        qpos[world, i] = qpos0[0, i]
    for i in range(qvel.shape[1]):
        qvel[world, i] = 0.0
        warmstart[world, i] = 0.0
    for i in range(ctrl.shape[1]):
        ctrl[world, i] = 0.0
    for joint in range(joint_qpos.shape[0]):
        qpos[world, joint_qpos[joint]] = joint_pos[world, joint]
        qvel[world, joint_dof[joint]] = joint_vel[world, joint]
    time[world] = 0.0
    ticks[world] = 0


@wp.kernel(enable_backward=False)
def copy_rows(mask: wp.array[bool], source: wp.array2d[float], target: wp.array2d[float]) -> None:
    """Copy the rows of some worlds."""
    world, column = wp.tid()
    if mask[world]:
        target[world, column] = source[world, column]


@wp.kernel(enable_backward=False)
def find_touching(
    nacon: wp.array[int],
    contact_world: wp.array[int],
    contact_geom: wp.array[wp.vec2i],
    contact_dist: wp.array[float],
    contact_margin: wp.array[float],
    geom_slot: wp.array[int],
    # out
    touching: wp.array2d[float],
) -> None:
    """Mark the links that touch something; many contacts may write the same number."""
    contact = wp.tid()
    if contact >= nacon[0]:
        return
    if contact_dist[contact] >= contact_margin[contact]:
        return
    pair = contact_geom[contact]
    for side in range(2):
        geom = pair[side]
        if geom >= 0:
            slot = geom_slot[geom]
            if slot >= 0:
                touching[contact_world[contact], slot] = 1.0


@wp.func
def pack_root(
    world: int,
    at: int,
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    out: wp.array2d[float],
) -> None:
    """Write pose and velocity of a floating base from a column on."""
    for i in range(7):
        out[world, at + i] = qpos[world, i]
    # A free joint's angular velocity is in the body's frame; Warp's quaternions are xyzw.
    attitude = wp.quat(qpos[world, 4], qpos[world, 5], qpos[world, 6], qpos[world, 3])
    spin = wp.quat_rotate(attitude, wp.vec3(qvel[world, 3], qvel[world, 4], qvel[world, 5]))
    for i in range(3):
        out[world, at + 7 + i] = qvel[world, i]
        out[world, at + 10 + i] = spin[i]


@wp.kernel(enable_backward=False)
def pack_state(
    extra_ticks: int,
    chosen: wp.array[int],
    wanted: int,
    tick_s: float,
    floating: int,
    joint_qpos: wp.array[int],
    joint_dof: wp.array[int],
    bodies: wp.array[int],
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    xpos: wp.array2d[wp.vec3],
    touching: wp.array2d[float],
    ticks: wp.array[int],
    # out
    out: wp.array2d[float],
) -> None:
    """Write the state of the worlds whose chosen number is the wanted one; of all if it is < 0."""
    world = wp.tid()
    if wanted >= 0 and chosen[world] != wanted:
        return
    joints = joint_qpos.shape[0]
    for joint in range(joints):
        out[world, joint] = qpos[world, joint_qpos[joint]]
        out[world, joints + joint] = qvel[world, joint_dof[joint]]
    at = 2 * joints
    if floating == 1:
        pack_root(world, at, qpos, qvel, out)
        at += 13
    for body in range(bodies.shape[0]):
        place = xpos[world, bodies[body]]
        for i in range(3):
            out[world, at + i] = place[i]
        at += 3
    for slot in range(touching.shape[1]):
        out[world, at + slot] = touching[world, slot]
    at += touching.shape[1]
    out[world, at] = tick_s * float(ticks[world] + extra_ticks)

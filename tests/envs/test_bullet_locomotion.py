"""The locomotion tasks: numbers by hand, and one meaning in every array namespace."""

import math
from dataclasses import dataclass, field
from typing import Any

import array_api_strict
import numpy as np
import pytest

from simreal.core.arrays import NUMPY
from simreal.core.observation import LAST_ACTION
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.core.robot import Robot
from simreal.domains.vec_env import signal_names
from simreal_envs import robots
from simreal_envs.tasks import bullet_locomotion as tasks

FAMILY = {
    "hopper": tasks.HopperBullet,
    "walker2d": tasks.Walker2DBullet,
    "half_cheetah": tasks.HalfCheetahBullet,
    "ant": tasks.AntBullet,
}
TICK_S = 0.0165 / 4


@dataclass
class View:
    """Show a state to a task, in any namespace."""

    joint_pos: Any
    joint_vel: Any
    root_pose: Any = None
    root_vel: Any = None
    body_pos: dict[str, Any] = field(default_factory=dict)
    contact: dict[str, Any] = field(default_factory=dict)
    time: Any = None


def view(task: tasks.BulletLocomotion, pos: Any, vel: Any = None, touching: tuple = ()) -> View:
    pos = np.atleast_2d(np.array(pos, dtype=float))
    vel = np.zeros_like(pos) if vel is None else np.atleast_2d(np.array(vel, dtype=float))
    contact = {foot: np.full(len(pos), float(foot in touching)) for foot in task.feet}
    return View(pos, vel, contact=contact)


def rewards(task: tasks.BulletLocomotion, before: View, after: View, action: Any) -> dict:
    action = np.atleast_2d(np.array(action, dtype=float))
    values = task.reward(NUMPY, before, after, action, action)
    return dict(zip(task.reward_names, (float(v[0]) for v in values), strict=True))


def observe(task: tasks.BulletLocomotion, robot: Robot, state: View) -> dict[str, float]:
    """Return the observation that begins an episode in a state, by entry."""
    pipeline = ObservationPipeline(task.observation(robot), signal_names(robot, task))
    signals = {"joint_pos": state.joint_pos, "joint_vel": state.joint_vel}
    signals[LAST_ACTION] = np.zeros((1, robot.num_actuators))
    pipeline.restart({**signals, **task.derive(NUMPY, state)})
    return dict(zip(pipeline.entry_names, pipeline.emit()[0].tolist(), strict=True))


def test_observations_have_the_published_sizes() -> None:
    sizes = {"hopper": 15, "walker2d": 22, "half_cheetah": 26, "ant": 28}
    for name, task in FAMILY.items():
        robot = getattr(robots, name)()
        pipeline = ObservationPipeline(task().observation(robot), signal_names(robot, task()))
        assert pipeline.dim == sizes[name]


def test_actions_are_the_published_torques() -> None:
    found = [
        [term.scale for term in task().action(getattr(robots, name)())]
        for name, task in FAMILY.items()
    ]
    assert found == [[75] * 3, [40, 40, 12] * 2, [108, 81, 54, 126, 54, 27], [250] * 8]


def test_the_hopper_at_rest_by_hand() -> None:
    task, robot = tasks.HopperBullet(), robots.hopper()
    seen = observe(task, robot, view(task, [0.0] * 6, touching=("foot",)))
    expected = dict.fromkeys(seen, 0.0)
    # Ranges -150 to 0 degrees for thigh and leg: 0 is their upper end; the contact shows one later.
    expected |= {"bearing_cos[target]@0": 1.0}
    expected |= {"pos_thigh_joint[thigh_joint]@0": 1.0, "pos_leg_joint[leg_joint]@0": 1.0}
    assert seen == pytest.approx(expected, abs=1e-6)


def test_the_mean_of_the_parts_by_hand() -> None:
    # Eleven parts, the ground one of them. Pitched by 90 degrees forward, the torso's center is at
    # 1.25 m; the joints at 1.05, 0.6, 0.1; centers of thigh and leg at 0.825 and 0.35; that of the
    # foot, 0.065 m before the ankle, at 0.1 (and now 0.065 m lower).
    task = tasks.HopperBullet()
    parts = 1.25 + 1.05 + 0.825 + 0.6 + 0.35 + 0.1 + 0.1
    state = view(task, [0.0, 0.0, math.pi / 2, 0.0, 0.0, 0.0])
    assert task.gait.to_go(NUMPY, state)[0] == pytest.approx(-parts / 11, abs=1e-8)
    # A step of 1.1 m forward moves all but the ground.
    state = view(task, [1.1, 0.0, math.pi / 2, 0.0, 0.0, 0.0])
    assert task.gait.to_go(NUMPY, state)[0] == pytest.approx(-parts / 11 - 1.0, abs=1e-8)


def test_progress_is_as_exact_in_single_precision_as_where_the_robot_stands() -> None:
    for task, size in ((tasks.HopperBullet(), 6), (tasks.AntBullet(), 8)):
        found = {}
        for dtype in (np.float64, np.float32):
            places = []
            for forward in (1.0, 1.0165):
                state = view(task, [0.0] * size)
                state.joint_pos = state.joint_pos.astype(dtype)
                state.joint_vel = state.joint_vel.astype(dtype)
                if size == 6:
                    state.joint_pos[0, 0] = forward
                else:
                    state.root_pose = np.array([[forward, 0.3, 0.75, 1, 0, 0, 0]], dtype=dtype)
                    state.root_vel = np.zeros((1, 6), dtype=dtype)
                places.append(task.gait.to_go(NUMPY, state)[0])
            assert places[0].dtype == dtype
            found[dtype] = (places[0] - places[1]) / 0.0165
        # One bit of a distance of 1 km is 0.0037; of a place about 1 m away, 7e-6.
        assert found[np.float32] == pytest.approx(found[np.float64], abs=3e-5)


def test_beyond_the_target_the_way_grows_again() -> None:
    task = tasks.HopperBullet()
    before, beyond = (view(task, [x, 0.0, 0.0, 0.0, 0.0, 0.0]) for x in (1090.0, 1210.0))
    # The mean of the parts is at 10 / 11 of that, and a little to the side.
    gained = task.gait.to_go(NUMPY, before)[0] - task.gait.to_go(NUMPY, beyond)[0]
    assert gained == pytest.approx(2000 - 2300 * 10 / 11, abs=0.2)


def test_rewards_by_hand() -> None:
    task = tasks.HopperBullet()
    before = view(task, [0.0, 0.0, 0.0, -1.0, -1.0, 0.0])
    after = view(task, [0.033, 0.0, 0.0, -1.0, -2.61, 0.0], [0, 0, 0, 0, 0, -5.0])
    after.joint_pos[0, 5] += TICK_S * -5.0  # so that a tick ago the foot was where it was before
    found = rewards(task, before, after, [0.0, 0.0, -0.5])
    assert found["alive"] == 1.0
    # |-0.5 * 0.1 * -5| = 0.25, over three joints, times -2; and 0.1 * 0.25 / 3.
    assert found["electricity"] == pytest.approx(-2 * 0.25 / 3 - 0.1 * 0.25 / 3)
    assert found["joint_limits"] == pytest.approx(-0.1)  # -2.61 of -2.618
    assert found["feet_collision"] == 0.0
    still = rewards(task, before, before, [0.0, 0.0, 0.0])
    assert still["progress"] == still["electricity"] == still["joint_limits"] == 0.0
    moved = view(task, [0.033, 0.0, 0.0, -1.0, -1.0, 0.0])
    assert rewards(task, before, moved, [0.0] * 3)["progress"] == pytest.approx(2 * 10 / 11)


@pytest.mark.parametrize(
    ("pos", "up"),
    [
        ([0, 0, 0, 0, 0, 0], True),
        ([0, -0.44, 0, 0, 0, 0], True),  # 0.81 m
        ([0, -0.46, 0, 0, 0, 0], False),  # 0.79 m
        ([0, 1.0, 0.99, 0, 0, 0], True),
        ([0, 1.0, -1.01, 0, 0, 0], False),
    ],
)
def test_the_hopper_falls_by_height_or_pitch(pos: list[float], up: bool) -> None:
    task = tasks.HopperBullet()
    state = view(task, pos)
    assert rewards(task, state, state, [0.0] * 3)["alive"] == (1.0 if up else -1.0)
    ended = task.terminated(NUMPY, state)
    assert ended is not None
    assert bool(ended[0]) is not up
    assert bool(task.success(NUMPY, state)[0]) is up


def test_the_half_cheetah_is_judged_by_what_touched_a_step_ago_and_never_ends() -> None:
    task = tasks.HalfCheetahBullet()
    free, foot = view(task, [0.0] * 9), view(task, [0.0] * 9, touching=("ffoot", "bfoot"))
    for limb in ("fshin", "fthigh", "bshin", "bthigh"):
        down = view(task, [0.0] * 9, touching=(limb,))
        assert rewards(task, down, free, [0.0] * 6)["alive"] == -1.0
        assert rewards(task, free, down, [0.0] * 6)["alive"] == 1.0
    assert rewards(task, foot, free, [0.0] * 6)["alive"] == 1.0
    assert task.terminated(NUMPY, view(task, [0, 0, 3.0] + [0.0] * 6)) is None


def test_the_mean_of_the_ants_parts_by_hand() -> None:
    # At rest all parts lie around the torso. Moved by 2.2 m, all but the ground follow: 21 of 22.
    # A second hip yawed from its corner by 90 degrees swings what hangs on it: thigh's center at
    # 0.1, knee twice at 0.2, shin's center 0.2 beyond, from (-x, +y) to (-x, -y).
    task = tasks.AntBullet()
    state = view(task, [0.0] * 8)
    state.root_pose = np.array([[2.2, 0.0, 0.75, 1.0, 0.0, 0.0, 0.0]])
    state.root_vel = np.zeros((1, 6))
    assert task.gait.to_go(NUMPY, state)[0] == pytest.approx(-2.1, abs=1e-9)
    state.joint_pos[0, 2] = math.pi / 2
    sideways = -2 * (0.1 + 2 * 0.2 + 0.2) / 22
    expected = math.hypot(1000 - 2.1, sideways) - 1000
    assert task.gait.to_go(NUMPY, state)[0] == pytest.approx(expected, abs=1e-9)
    bearing = float(task.derive(NUMPY, state)["bearing"][0, 0])
    assert bearing == pytest.approx(math.atan2(-sideways, 1000 - 2.1), abs=1e-9)


def test_contacts_show_a_control_step_later() -> None:
    task, robot = tasks.Walker2DBullet(), robots.walker2d()
    pipeline = ObservationPipeline(task.observation(robot), signal_names(robot, task))
    shown = []
    for number, touching in enumerate([(), ("foot",), ("foot", "foot_left"), ()]):
        state = view(task, [0.0] * 9, touching=touching)
        signals = {"joint_pos": state.joint_pos, "joint_vel": state.joint_vel}
        signals |= {**task.derive(NUMPY, state), LAST_ACTION: np.zeros((1, 6))}
        pipeline.push(signals) if number else pipeline.restart(signals)
        shown.append(pipeline.emit()[0, -2:].tolist())
    assert shown == [[0, 0], [0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize("name", FAMILY)
def test_the_time_feature_is_the_share_that_is_left_and_the_limit_an_end(name: str) -> None:
    task, robot = FAMILY[name](time_feature=True), getattr(robots, name)()
    state = view(task, [0.0] * robot.num_joints)
    state.root_pose = np.array([[0.0, 0.0, 0.75, 1.0, 0.0, 0.0, 0.0]])
    state.root_vel = np.zeros((1, 6))
    for step, left in ((0, 1.0), (1, 0.999), (999, 0.001), (1000, 0.0)):
        state.time = np.array([step * 0.0165])
        entries = observe(task, robot, state)
        assert list(entries)[-1].startswith("time_left")
        assert list(entries.values())[-1] == pytest.approx(left, abs=1e-6)
        ended = task.terminated(NUMPY, state)
        assert ended is not None
        assert ended.tolist() == [step == 1000]
        assert task.success(NUMPY, state).tolist() == [True]


@pytest.mark.parametrize("name", FAMILY)
def test_starts_are_spread_over_a_tenth(name: str) -> None:
    task, robot = FAMILY[name](), getattr(robots, name)()
    draws = np.random.default_rng(0).random((200, task.num_draws))
    position, velocity = task.initial(NUMPY, draws, 0.0)
    assert position.shape == velocity.shape == (200, robot.num_joints)
    assert not velocity.any()
    driven = position[:, list(robot.actuated_indices)]
    assert -0.1 <= driven.min() < -0.095
    assert 0.095 < driven.max() < 0.1
    assert not np.delete(position, robot.actuated_indices, axis=1).any()


def evaluate(task: tasks.BulletLocomotion, xp: Any, make: Any) -> dict[str, Any]:
    """Return all that a task computes for some states, in a namespace."""
    rng = np.random.default_rng(0)
    joints, actions = task._joints, task.num_draws
    states = []
    for _ in range(2):
        pos, vel = rng.uniform(-3, 3, (50, joints)), rng.uniform(-9, 9, (50, joints))
        contact = {foot: make((rng.random(50) < 0.2).astype(float)) for foot in task.feet}
        pose, spin = rng.normal(size=(50, 7)), rng.normal(size=(50, 6))
        pose[:, 3:] /= np.linalg.norm(pose[:, 3:], axis=1, keepdims=True)
        bodies = (make(pos), make(vel), make(pose), make(spin))
        states.append(View(*bodies, contact=contact, time=make(rng.uniform(0.0, 33.0, 50))))
    action = make(rng.uniform(-1, 1, (50, actions)))
    found = dict(zip(task.reward_names, task.reward(xp, *states, action, action), strict=True))
    found |= task.derive(xp, states[0])
    found["terminated"] = task.terminated(xp, states[0])
    found["success"] = task.success(xp, states[0])
    draws = make(rng.random((50, actions)))
    found["position"], found["velocity"] = task.initial(xp, draws, 0.0)
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize("time_feature", [False, True])
@pytest.mark.parametrize("name", FAMILY)
def test_every_namespace_computes_the_same(name: str, time_feature: bool) -> None:
    torch = pytest.importorskip("torch")
    task = FAMILY[name](time_feature=time_feature)
    expected = evaluate(task, NUMPY, np.array)
    for xp, make in ((torch, torch.tensor), (array_api_strict, array_api_strict.asarray)):
        found = evaluate(task, xp, make)
        assert set(found) == set(expected)
        for key, value in expected.items():
            np.testing.assert_allclose(np.asarray(found[key]), value, atol=1e-9, err_msg=key)

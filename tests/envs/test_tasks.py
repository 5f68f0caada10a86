"""The shipped tasks: documented rewards by hand, and one meaning in every array namespace."""

import math
from dataclasses import dataclass, field
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.core.arrays import NUMPY
from simreal.core.observation import LAST_ACTION
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains.vec_env import signal_names
from simreal.errors import ConfigError
from simreal_envs.robots import double_pendulum, simple_pendulum
from simreal_envs.tasks.acrobot import Acrobot
from simreal_envs.tasks.double_pendulum import Pendubot
from simreal_envs.tasks.pendulum import PendulumSwingUp

TASKS = [Pendubot, Acrobot, PendulumSwingUp]


@dataclass
class View:
    """Show positions and velocities to a task, in any namespace."""

    joint_pos: Any
    joint_vel: Any
    root_pose: Any = None
    root_vel: Any = None
    body_pos: dict[str, Any] = field(default_factory=dict)
    contact: dict[str, Any] = field(default_factory=dict)
    time: Any = None


def robot_of(task: Task) -> Robot:
    return simple_pendulum() if task.name == "pendulum" else double_pendulum()


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=float)


def terms(task: Task, pos: list[float], vel: list[float], action: float, last: float) -> dict:
    view = View(rows(pos), rows(vel))
    values = task.reward(NUMPY, view, view, rows([action]), rows([last]))
    return dict(zip(task.reward_names, (float(v[0]) for v in values), strict=True))


# -- rewards by hand -------------------------------------------------------------------------------


def test_hanging_at_rest_earns_almost_nothing() -> None:
    found = terms(Pendubot(), [0.0, 0.0], [0.0, 0.0], 0.0, 0.0)
    # height -1: slope 0, narrow term 0.15 exp(-sqrt(4) / 0.5) = 0.15 exp(-4).
    assert found == pytest.approx(
        {"height": 0, "upright": 0.15 * math.exp(-4), "speed": 0, "effort": 0, "smoothness": 0}
    )


def test_standing_at_rest_earns_the_most() -> None:
    found = terms(Pendubot(), [math.pi, 0.0], [0.0, 0.0], 0.0, 0.0)
    assert found == pytest.approx(
        {"height": 0.05, "upright": 0.15, "speed": 0, "effort": 0, "smoothness": 0}, abs=1e-7
    )


def test_a_state_between_by_hand() -> None:
    # Upper link level, lower link hanging: z = -0.3 of 0.5 m, height -0.6. Squared speeds 9 + 16.
    found = terms(Pendubot(), [math.pi / 2, -math.pi / 2], [3.0, -4.0], 0.5, -1.0)
    assert found["height"] == pytest.approx(0.05 * 0.4 / 2)
    assert found["upright"] == pytest.approx(0.15 * math.exp(-math.sqrt(2 * 1.6 + 0.25) / 0.5))
    assert found["speed"] == pytest.approx(-5e-5 * 25)
    assert found["effort"] == pytest.approx(-0.001 * 0.25)
    assert found["smoothness"] == pytest.approx(-0.002 * 2.25)


def test_the_penalty_on_speed_is_limited() -> None:
    assert terms(Pendubot(), [0, 0], [30.0, 40.0], 0, 0)["speed"] == pytest.approx(-5e-5 * 400)


def test_the_acrobot_earns_the_most_standing_and_nothing_hanging() -> None:
    assert terms(Acrobot(), [math.pi, 0.0], [0.0, 0.0], 0.3, 0.0) == pytest.approx(
        {"cost_to_go": 0.1, "height": 0.02}
    )
    assert terms(Acrobot(), [0.0, 0.0], [0.0, 0.0], 0.3, 0.0) == pytest.approx(
        {"cost_to_go": 0.0, "height": 0.0}, abs=1e-12
    )


@pytest.mark.parametrize("turns", [0, -1, 2])
def test_the_acrobots_reward_by_hand(turns: int) -> None:
    # Leaning by 0.1 rad: S[0, 0] is 1079.83, V = 10.798; log(1 + 107.98) / log(1 + 1e5) = 0.40747.
    turn = 2 * math.pi * turns
    found = terms(Acrobot(), [math.pi + 0.1 + turn, turn], [0.0, 0.0], 0.0, 0.0)
    assert found["cost_to_go"] == pytest.approx(0.1 * (1 - 0.40747), abs=1e-6)
    assert found["height"] == pytest.approx(0.01 * (1 + math.cos(0.1)))


def test_the_acrobots_reward_falls_where_the_motor_cannot_help() -> None:
    # Shoulder and elbow lean the same way, or one makes up for the other: 2.2 = S[0, 0] / S[0, 1].
    worse = terms(Acrobot(), [math.pi + 0.05, 0.11], [0.0, 0.0], 0.0, 0.0)["cost_to_go"]
    better = terms(Acrobot(), [math.pi + 0.05, -0.11], [0.0, 0.0], 0.0, 0.0)["cost_to_go"]
    assert better > worse + 0.03


def test_the_simple_pendulum_by_hand() -> None:
    found = terms(PendulumSwingUp(), [2 * math.pi / 3], [2.0], 1.0, 1.0)
    assert found["height"] == pytest.approx(0.05 * 1.5 / 2)
    assert found["upright"] == pytest.approx(0.15 * math.exp(-2 * math.sqrt(1 + 0.04)))
    assert found["speed"] == pytest.approx(-2e-4)
    assert (found["effort"], found["smoothness"]) == (-0.001, 0.0)


@pytest.mark.parametrize(
    ("task", "pos", "expected"),
    [
        (Pendubot(), [math.pi, 0.0], True),
        (Pendubot(), [-math.pi, 2 * math.pi], True),
        (Pendubot(), [math.pi + 0.4, 0.0], True),  # 0.5 cos 0.4 = 0.4605 m
        (Pendubot(), [math.pi + 0.46, 0.0], False),  # 0.4480 m
        (Pendubot(), [math.pi, 0.58], True),  # 0.2 + 0.3 cos 0.58 = 0.4509 m
        (Pendubot(), [math.pi, 0.60], False),  # 0.4476 m
        (Pendubot(), [0.0, math.pi], False),
        (PendulumSwingUp(), [math.pi - 0.199], True),
        (PendulumSwingUp(), [math.pi + 0.201], False),
    ],
)
def test_success_is_the_height_of_the_tip(task: Task, pos: list[float], expected: bool) -> None:
    view = View(rows(pos), np.zeros((1, len(pos))))
    assert bool(task.success(NUMPY, view)[0]) is expected


# -- observations ----------------------------------------------------------------------------------


def observe(task: Task, pos: np.ndarray, vel: np.ndarray) -> np.ndarray:
    robot = robot_of(task)
    pipeline = ObservationPipeline(task.observation(robot), signal_names(robot, task), len(pos))
    action = np.zeros((len(pos), 1))
    pipeline.restart({"joint_pos": pos, "joint_vel": vel, LAST_ACTION: action})
    return pipeline.emit().copy()


@settings(deadline=None)
@given(
    cls=st.sampled_from(TASKS),
    turns=st.integers(-3, 3),
    other=st.floats(-4, 4),
    joint=st.integers(0, 1),
)
def test_observations_do_not_jump_where_an_angle_passes_half_a_turn(
    cls: type[Task], turns: int, other: float, joint: int
) -> None:
    task = cls()
    joints = robot_of(task).num_joints
    pos = np.full((2, joints), other)
    step = 1e-6
    pos[:, joint % joints] = (2 * turns + 1) * math.pi + np.array([-step, step])
    before, after = observe(task, pos, np.zeros_like(pos))
    assert np.abs(after - before).max() < 20 * step


def test_the_layout_of_the_pendubots_observation() -> None:
    obs = observe(Pendubot(), rows([math.pi / 2, math.pi]), rows([5.0, 60.0]))[0]
    frame = {"sin": [1, 0], "cos": [0, -1], "shoulder": [0.5], "elbow": [3.0], "action": [0]}
    expected = [v for part in frame.values() for v in part * 3]
    np.testing.assert_allclose(obs, expected, atol=1e-7)


def test_the_layout_of_the_acrobots_observation() -> None:
    obs = observe(Acrobot(), rows([math.pi / 2, math.pi]), rows([5.0, 70.0]))[0]
    frame = {
        **{"sin_shoulder": [8], "sin_elbow": [0], "cos": [0, -1]},
        **{"speed_shoulder": [10], "speed_elbow": [60], "action": [0]},
    }
    expected = [v for part in frame.values() for v in part * 3]
    np.testing.assert_allclose(obs, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("cls", "ends"),
    [
        (Pendubot, {1.0, 3.0}),
        (PendulumSwingUp, {1.0, 3.0}),
        (Acrobot, {1.0, 4.0, 8.0, 60.0}),
    ],
)
def test_bounds_are_finite_so_that_tools_accept_the_space(
    cls: type[Task], ends: set[float]
) -> None:
    task = cls()
    names = signal_names(robot_of(task), task)
    pipeline = ObservationPipeline(task.observation(robot_of(task)), names)
    low, high = pipeline.bounds({LAST_ACTION: (-1.0, 1.0)})
    assert set(np.abs(low)) == set(high) == ends


# -- initial states --------------------------------------------------------------------------------


def test_evaluation_begins_hanging_within_the_spread() -> None:
    task = Pendubot()
    pos, vel = task.initial(NUMPY, np.random.default_rng(0).random((500, task.num_draws)), 0.0)
    for values in (pos, vel):
        assert np.abs(values).max() <= 0.02
        assert values.std() == pytest.approx(0.02 / math.sqrt(3), rel=0.1)


def test_training_begins_at_random_states_as_often_as_it_says() -> None:
    task = Pendubot(explore=0.4)
    draws = np.random.default_rng(0).random((4000, task.num_draws))
    pos, vel = task.initial(NUMPY, draws, 0.4)
    hanging = np.abs(pos).max(axis=1) <= 0.1
    near_top = (np.abs(pos - [math.pi, 0]).max(axis=1) <= 0.45) & (np.abs(vel).max(axis=1) <= 1.75)
    assert hanging.mean() == pytest.approx(0.6, abs=0.04)
    assert near_top.mean() == pytest.approx(0.2, abs=0.03)
    assert np.abs(vel).max() <= 5.0


def test_the_acrobot_trains_from_swing_ups_as_often_as_it_says() -> None:
    task = Acrobot()
    draws = np.random.default_rng(0).random((4000, task.num_draws))
    pos, vel = task.initial(NUMPY, draws, 0.4)
    explores = draws[:, 0] < 0.4
    assert np.abs(pos[~explores]).max() <= 0.1
    assert np.abs(vel[~explores]).max() <= 0.1
    assert (np.abs(vel[explores]) < [12.0, 18.0]).all()
    # 0.1 s before upright: the share u of (0.1 / 3)^(1 / 2.5), about a quarter, less those that
    # still fall fast.
    close = np.abs(pos[explores] - [math.pi, 0.0]).max(axis=1) < 0.2
    assert 0.2 < close.mean() < 0.5
    again = Acrobot().initial(NUMPY, draws, 0.4)
    np.testing.assert_array_equal(again[0], pos)


# -- array namespaces ------------------------------------------------------------------------------


NAMESPACES = [
    pytest.param(array_api_strict, array_api_strict.asarray, id="array-api-strict"),
    pytest.param(np, np.asarray, id="numpy"),
]


def everything(task: Task, xp: Any, convert: Any, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    joints = robot_of(task).num_joints
    views = [
        View(*(convert(rng.uniform(-size, size, (6, joints))) for size in (4.0, 25.0)))
        for _ in range(2)
    ]
    actions = [convert(rng.uniform(-1, 1, (6, 1))) for _ in range(2)]
    draws = convert(rng.random((6, task.num_draws)))
    found = [
        *task.reward(xp, *views, *actions),
        task.success(xp, views[1]),
        *task.initial(xp, draws, 0.0),
        *task.initial(xp, draws, 0.5),
    ]
    assert task.terminated(xp, views[1]) is None
    return [np.asarray(value) for value in found]


@pytest.mark.parametrize(("xp", "convert"), NAMESPACES)
@pytest.mark.parametrize("cls", TASKS)
def test_a_task_means_the_same_in_every_namespace(cls: type[Task], xp: Any, convert: Any) -> None:
    for seed in range(5):
        expected = everything(cls(), NUMPY, np.asarray, seed)
        for one, other in zip(everything(cls(), xp, convert, seed), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("cls", TASKS)
def test_a_task_means_the_same_in_torch(cls: type[Task]) -> None:
    torch = pytest.importorskip("torch")
    expected = everything(cls(), NUMPY, np.asarray, 0)
    for one, other in zip(everything(cls(), torch, torch.as_tensor, 0), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cls", TASKS)
def test_a_row_does_not_depend_on_the_others(cls: type[Task]) -> None:
    task = cls()
    joints = robot_of(task).num_joints
    rng = np.random.default_rng(3)
    pos, vel, action = (rng.uniform(-9, 9, (33, k)) for k in (joints, joints, 1))
    whole = task.reward(NUMPY, View(pos, vel), View(pos, vel), action, action)
    for row in (0, 16, 32):
        part = View(pos[row : row + 1], vel[row : row + 1])
        alone = task.reward(NUMPY, part, part, *[action[row : row + 1]] * 2)
        assert [float(t[row]) for t in whole] == [float(t[0]) for t in alone]


# -- numbers that cannot be ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"torque_nm": 0.0}, "torque_nm is 0.0"),
        ({"explore": 1.5}, "explore is 1.5"),
        ({"speed_scale": (10.0,)}, r"speed_scale is \(10.0,\); 2 speeds"),
        ({"speed_scale": (10.0, 0.0)}, "2 speeds > 0"),
    ],
)
def test_wrong_numbers_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pendubot(**wrong)

"""A Bullet world holds the record's numbers, and says so when it does not."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.core.robot import Joint, Link, Robot, Shape
from simreal.core.rotations import matrix_from_rpy
from simreal.errors import EngineError
from tests.engines import sample_robots as robots

p = pytest.importorskip("pybullet")
from simreal.engines.pybullet_root import place_root, rest_pose, root_state  # noqa: E402
from simreal.engines.pybullet_world import World  # noqa: E402

FINITE = st.floats(-2.0, 2.0)
Make = Callable[..., World]


@pytest.fixture
def world() -> Iterator[Make]:
    """Build worlds, and free them in the end."""
    made = []

    def make(robot: Robot, **settings: Any) -> World:
        made.append(World(robot, **{"tick_s": 0.002, "gravity": 9.81, **settings}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def tilted_inertia() -> tuple[float, ...]:
    turn = matrix_from_rpy((0.4, -0.3, 0.8))
    full = turn @ np.diag([0.01, 0.02, 0.025]) @ turn.T
    return tuple(float(full[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)))


def walker() -> Robot:
    """Return a floating box with a leg, nothing of which is aligned with anything."""
    box = Shape(kind="box", size=(0.1, 0.1, 0.1), collides=True)
    foot = Shape(kind="sphere", size=(0.05,), xyz=(0.0, 0.0, -0.2), collides=True)
    return Robot(
        name="walker",
        links=(
            Link(
                name="trunk",
                mass=1.0,
                com=(0.01, 0.02, -0.03),
                inertia=tilted_inertia(),
                shapes=(box,),
                contact_friction=0.6,
            ),
            Link(
                name="leg",
                mass=0.3,
                com=(0.0, 0.01, -0.1),
                inertia=(0.001, 0.001, 0.001, 0.0, 0.0, 0.0),
                shapes=(foot,),
                contact_friction=0.9,
                rolling_friction=0.01,
                spinning_friction=0.02,
                restitution=0.3,
            ),
        ),
        joints=(
            Joint(
                name="hip",
                kind="revolute",
                parent="trunk",
                child="leg",
                xyz=(0.1, 0.0, -0.05),
                rpy=(0.1, 0.2, 0.3),
                axis=(0.0, 0.6, 0.8),
                lower=-1.0,
                upper=1.5,
                damping=0.02,
                default=0.2,
            ),
        ),
        actuators=(),
        fixed_base=False,
        base_height=0.5,
    )


def test_every_number_arrives(world: Make) -> None:
    made = world(walker(), ground=True)
    trunk = p.getDynamicsInfo(made.body, -1, made.client)
    np.testing.assert_allclose(sorted(trunk[2]), [0.01, 0.02, 0.025], rtol=1e-12)
    leg = p.getDynamicsInfo(made.body, made.links["leg"], made.client)
    assert (leg[0], leg[1], leg[5], leg[6], leg[7]) == (0.3, 0.9, 0.3, 0.01, 0.02)
    assert trunk[1] == 0.6
    assert p.getJointState(made.body, made.joints[0], made.client)[0] == 0.2


@pytest.mark.parametrize(
    ("link", "change", "message"),
    [
        ("leg", {"mass": 0.31}, "mass of link 'leg'"),
        ("leg", {"inertia": (0.001, 0.0012, 0.001, 0, 0, 0)}, "principal inertia of link 'leg'"),
        ("leg", {"com": (0.0, 0.01, -0.101)}, "center of mass of link 'leg'"),
        ("leg", {"contact_friction": 0.8}, "contact coefficients of link 'leg'"),
        ("trunk", {"mass": 1.1}, "mass of link 'trunk'"),
    ],
)
def test_a_link_that_differs_is_named(
    world: Make, link: str, change: dict[str, Any], message: str
) -> None:
    made = world(walker())
    made.robot = made.robot.revised(links={link: change})
    with pytest.raises(EngineError, match=message):
        made.verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"damping": 0.03}, "damping of joint 'hip'"),
        ({"upper": 1.4}, "limits of 'hip'"),
        ({"axis": (0.0, 0.8, 0.6)}, "of link 'leg'"),
        ({"xyz": (0.1, 0.0, -0.051)}, "position of link 'leg'"),
        ({"rpy": (0.1, 0.2, 0.31)}, "of link 'leg'"),
    ],
)
def test_a_joint_that_differs_is_named(world: Make, change: dict[str, Any], message: str) -> None:
    made = world(walker(), gravity=0.0)
    made.robot = made.robot.revised(joints={"hip": change})
    with pytest.raises(EngineError, match=message):
        made.verify()


def fall(made: World, num_ticks: int = 400) -> np.ndarray:
    found = []
    for tick in range(num_ticks):
        p.setJointMotorControl2(
            made.body,
            made.joints[0],
            p.TORQUE_CONTROL,
            force=float(np.sin(0.02 * tick)),
            physicsClientId=made.client,
        )
        p.stepSimulation(made.client)
        pose, vel = root_state(made)
        found.append([*pose, *vel, *p.getJointState(made.body, made.joints[0], made.client)[:2]])
    return np.array(found)


def test_a_swapped_robot_is_as_good_as_a_new_world_to_the_last_bit(world: Make) -> None:
    wanted = fall(world(walker(), ground=True))
    used = world(walker(), ground=True)
    fall(used, 250)
    used.swap(walker(), 9.81)
    np.testing.assert_array_equal(fall(used), wanted)
    used.load(walker(), 9.81)
    np.testing.assert_array_equal(fall(used), wanted)


def test_the_walker_really_hits_the_ground(world: Make) -> None:
    path = fall(world(walker(), ground=True))
    assert path[:, 2].min() > 0.0
    assert np.abs(np.diff(path[:, 9])).max() > 0.1


def test_swapping_takes_the_new_gravity(world: Make) -> None:
    made = world(walker())
    made.swap(walker(), 1.0)
    p.stepSimulation(made.client)
    linear = p.getBaseVelocity(made.body, made.client)[0]
    assert linear[2] == pytest.approx(-0.002, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.lists(FINITE, min_size=9, max_size=9), st.tuples(FINITE, FINITE, FINITE))
def test_the_root_frame_goes_in_and_comes_out(
    numbers: list[float], angles: tuple[float, float, float]
) -> None:
    turn = matrix_from_rpy(angles)
    made = World(walker(), tick_s=0.002, gravity=0.0)
    try:
        quaternion = p.getQuaternionFromEuler(angles)
        x, y, z, w = quaternion
        pose, vel = np.array([*numbers[:3], w, x, y, z]), np.array(numbers[3:])
        place_root(made, pose, vel)
        found_pose, found_vel = root_state(made)
        sign = np.sign(np.dot(found_pose[3:], pose[3:]))
        np.testing.assert_allclose(found_pose[:3], pose[:3], atol=1e-12)
        np.testing.assert_allclose(sign * found_pose[3:], pose[3:], atol=1e-9)
        np.testing.assert_allclose(found_vel, vel, atol=1e-12)
        center = p.getBasePositionAndOrientation(made.body, made.client)[0]
        np.testing.assert_allclose(
            center, pose[:3] + turn @ np.array([0.01, 0.02, -0.03]), atol=1e-9
        )
    finally:
        made.close()


def test_at_rest_the_root_stands_upright_at_its_height(world: Make) -> None:
    made = world(walker())
    place_root(made, rest_pose(made), np.zeros(6))
    np.testing.assert_allclose(root_state(made)[0], [0, 0, 0.5, 1, 0, 0, 0], atol=1e-12)


def test_every_kind_of_shape_loads(world: Make, tmp_path: Path) -> None:
    mesh = tmp_path / "plate.obj"
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n")
    shapes = (
        Shape(kind="box", size=(0.1, 0.1, 0.1)),
        Shape(kind="sphere", size=(0.1,), collides=True),
        Shape(kind="cylinder", size=(0.1, 0.2)),
        Shape(kind="capsule", size=(0.1, 0.2), collides=True),
        Shape(kind="mesh", size=(0.5,), mesh=str(mesh)),
    )
    robot = robots.cart().revised(links={"cart": {"shapes": shapes}})
    drawn = world(robot, drawn=True)
    assert len(p.getVisualShapeData(drawn.body, physicsClientId=drawn.client)) >= 5
    assert len(p.getCollisionShapeData(drawn.body, 0, drawn.client)) == 2


def test_no_file_is_left_behind(
    world: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = world(walker())
    made.swap(dataclasses.replace(walker(), base_height=1.0), 9.81)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_world_can_be_closed_again(world: Make) -> None:
    made = world(robots.cart())
    made.close()
    made.close()

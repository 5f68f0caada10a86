"""Forward kinematics on cases that can be done in the head."""

import numpy as np
import pytest

from simreal.core.kinematics import link_frames, reach
from simreal.core.robot import Joint, Link, Robot, Shape

BALL = (0.01, 0.01, 0.01, 0.0, 0.0, 0.0)


def chain(*joints: dict, base_height: float = 0.0) -> Robot:
    links = [Link(name="l0", mass=0.0)]
    made = []
    for i, joint in enumerate(joints):
        links.append(Link(name=f"l{i + 1}", mass=1.0, inertia=BALL))
        made.append(Joint(name=f"j{i}", parent=f"l{i}", child=f"l{i + 1}", **joint))
    return Robot(
        name="chain",
        links=tuple(links),
        joints=tuple(made),
        actuators=(),
        base_height=base_height,
    )


def test_a_prismatic_joint_moves_along_its_axis_in_the_turned_frame() -> None:
    robot = chain({"kind": "prismatic", "axis": (1.0, 0.0, 0.0), "rpy": (0.0, 0.0, np.pi / 2)})
    position, turn = link_frames(robot, [0.5])["l1"]
    np.testing.assert_allclose(position, [0.0, 0.5, 0.0], atol=1e-15)
    np.testing.assert_allclose(turn @ [1, 0, 0], [0, 1, 0], atol=1e-15)


def test_a_fixed_joint_takes_no_position_and_the_base_height_carries_over() -> None:
    robot = chain(
        {"kind": "fixed", "xyz": (0.0, 0.0, 1.0)},
        {"kind": "continuous", "xyz": (1.0, 0.0, 0.0)},
        {"kind": "fixed", "xyz": (1.0, 0.0, 0.0)},
        base_height=0.25,
    )
    frames = link_frames(robot, [np.pi / 2])
    np.testing.assert_allclose(frames["l2"][0], [1.0, 0.0, 1.25], atol=1e-15)
    np.testing.assert_allclose(frames["l3"][0], [1.0, 1.0, 1.25], atol=1e-15)


def test_a_full_turn_about_a_slanted_axis_comes_back() -> None:
    axis = tuple(np.array([1.0, 2.0, -1.0]) / np.sqrt(6.0))
    robot = chain({"kind": "continuous", "axis": axis})
    np.testing.assert_allclose(link_frames(robot, [2 * np.pi])["l1"][1], np.eye(3), atol=1e-14)
    np.testing.assert_allclose(link_frames(robot, [1.1])["l1"][1] @ axis, axis, atol=1e-14)


def test_a_wrong_number_of_positions_is_noticed() -> None:
    with pytest.raises(ValueError, match="argument"):
        link_frames(chain({"kind": "continuous"}), [0.0, 0.0])


def test_reach_adds_joint_offsets_travel_and_shapes() -> None:
    robot = chain(
        {"kind": "continuous", "xyz": (0.0, 0.0, 0.3)},
        {"kind": "prismatic", "xyz": (0.4, 0.0, 0.0), "lower": -0.1, "upper": 0.2},
    )
    assert reach(robot) == pytest.approx(0.3 + 0.4 + 0.2)
    ball = Shape(kind="sphere", size=(0.05,), xyz=(0.0, 0.1, 0.0))
    assert reach(robot.revised(links={"l2": {"shapes": (ball,)}})) == pytest.approx(0.9 + 0.15)

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simreal.core.params import catalogue
from simreal.core.robot import Actuator, Joint, Link, Robot, Shape, inertia_matrix, package_file
from simreal.errors import RobotError, UnknownNameError
from tests.engines.sample_robots import gantry, pendulums


def change(robot: Robot, group: str, index: int, **fields: Any) -> Robot:
    """Return the robot with fields of one link, joint or actuator changed, unchecked names."""
    parts = list(getattr(robot, group))
    parts[index] = replace(parts[index], **fields)
    return replace(robot, **{group: tuple(parts)})


def test_the_canonical_order_is_that_of_the_movable_joints() -> None:
    robot = gantry()
    fixed = Joint(name="plate", kind="fixed", parent="base", child="lid")
    lid = Link(name="lid", mass=1.0, inertia=(0.1, 0.1, 0.1, 0.0, 0.0, 0.0))
    robot = replace(robot, links=(*robot.links, lid), joints=(fixed, *robot.joints))
    assert robot.joint_names == ("zeta", "alpha", "mid")
    assert robot.num_joints == 3
    assert robot.joint_index("mid") == 2
    assert robot.actuated_indices == (2, 0), "the motors are on mid and zeta, in this order"


def test_parts_are_found_by_name_and_unknown_ones_refused() -> None:
    robot = gantry()
    assert robot.link("body_mid").mass == 4.0
    assert robot.joint("alpha").axis == (0, 1.0, 0)
    with pytest.raises(UnknownNameError, match="Did you mean 'alpha'"):
        robot.joint_index("alfa")
    with pytest.raises(UnknownNameError, match="link of robot 'gantry' 'body'"):
        robot.link("body")


def test_the_default_pose_follows_the_joints() -> None:
    robot = gantry().revised(joints={"mid": {"default": 0.3}})
    np.testing.assert_array_equal(robot.default_pose, [0.0, 0.0, 0.3])


def test_the_inertia_matrix_is_symmetric_in_the_documented_order() -> None:
    link = Link(name="x", mass=1.0, inertia=(1.0, 2.0, 3.0, 0.1, 0.2, 0.3))
    np.testing.assert_array_equal(
        inertia_matrix(link), [[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]]
    )


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "index", "fields", "message"),
    [
        ("links", 1, {"mass": 0.0}, "link 'body_zeta' has mass 0.0 kg"),
        ("links", 1, {"mass": math.nan}, "has mass nan"),
        ("links", 1, {"inertia": (1.0, 1.0, 2.1, 0, 0, 0)}, "the largest at most the sum"),
        ("links", 1, {"inertia": (0.0, 1.0, 1.0, 0, 0, 0)}, "needs all > 0"),
        ("links", 1, {"inertia": (math.nan, 1.0, 1.0, 0, 0, 0)}, "is not finite"),
        ("links", 1, {"name": "base"}, "link names must be unique, seen twice: \\['base'\\]"),
        ("joints", 1, {"axis": (0.0, 1.0, 1.0)}, "axis of joint 'alpha' has length 1.41421"),
        ("joints", 1, {"lower": 1.0, "upper": 0.0}, "lower 1.0 > upper 0.0"),
        ("joints", 1, {"friction": -0.1}, "friction of joint 'alpha' is -0.1"),
        ("joints", 1, {"damping": math.inf}, "damping of joint 'alpha' is inf"),
        ("joints", 1, {"armature": -1e-9}, "armature"),
        ("joints", 1, {"name": "mid"}, "joint names must be unique"),
        ("joints", 1, {"parent": "body_mid"}, "not placed before it"),
        ("joints", 2, {"child": "body_zeta"}, "child of two joints"),
        ("actuators", 0, {"joint": "rail"}, "joint of robot 'gantry' 'rail'"),
        ("actuators", 0, {"joint": "zeta"}, "actuator names must be unique"),
        ("actuators", 0, {"torque_limit": -1.0}, "torque_limit of the actuator on 'mid' is -1.0"),
        ("actuators", 0, {"strength": math.nan}, "strength of the actuator on 'mid' is nan"),
    ],
)
def test_a_table_that_is_no_robot_is_refused(
    group: str, index: int, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises((RobotError, UnknownNameError), match=message) as caught:
        change(gantry(), group, index, **fields)
    assert "\n" not in str(caught.value)


def test_a_robot_needs_links_and_a_tree_without_loose_parts() -> None:
    with pytest.raises(RobotError, match="has no links"):
        Robot(name="x", links=(), joints=(), actuators=())
    loose = Link(name="loose", mass=1.0, inertia=(1.0, 1.0, 1.0, 0, 0, 0))
    with pytest.raises(RobotError, match=r"\['loose'\] hang on no joint"):
        replace(gantry(), links=(*gantry().links, loose))


# -- hashes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "index", "fields"),
    [
        ("joints", 1, {"name": "beta"}),
        ("joints", 1, {"axis": (0, -1.0, 0)}),
        ("joints", 1, {"lower": -1.0}),
        ("joints", 1, {"max_velocity": 5.0}),
        ("actuators", 0, {"torque_limit": 49.0}),
    ],
)
def test_the_interface_hash_sees_what_must_match(
    group: str, index: int, fields: dict[str, Any]
) -> None:
    robot = gantry()
    assert change(robot, group, index, **fields).interface_sha256 != robot.interface_sha256


@pytest.mark.parametrize(
    ("group", "index", "fields"),
    [
        ("links", 1, {"mass": 1.1}),
        ("links", 1, {"com": (0.0, 0.0, 0.1)}),
        ("joints", 1, {"friction": 0.1}),
        ("joints", 1, {"xyz": (0.0, 0.0, 0.1)}),
    ],
)
def test_the_dynamics_hash_sees_what_may_differ_and_the_interface_hash_does_not(
    group: str, index: int, fields: dict[str, Any]
) -> None:
    robot = gantry()
    other = change(robot, group, index, **fields)
    assert other.dynamics_sha256 != robot.dynamics_sha256
    assert other.interface_sha256 == robot.interface_sha256


def test_hashes_are_those_of_the_content() -> None:
    assert gantry().interface_sha256 == gantry().interface_sha256
    assert len(gantry().dynamics_sha256) == 64
    assert pendulums().interface["joints"][0]["lower"] is None, "JSON has no infinity"


# -- revision --------------------------------------------------------------------------------------


def test_a_revision_changes_what_it_names_and_nothing_else() -> None:
    robot = pendulums()
    revised = robot.revised(
        links={"arm1": {"mass": 2.0}},
        joints={"elbow": {"damping": 0.5}},
        actuators={"shoulder": {"strength": 0.9}},
    )
    assert revised.link("arm1").mass == 2.0
    assert revised.joint("elbow").damping == 0.5
    assert [a.strength for a in revised.actuators] == [0.9, 1.0]
    assert revised.link("arm0") == robot.link("arm0")
    assert robot.link("arm1").mass == 0.6, "the original stays"


@pytest.mark.parametrize("group", ["links", "joints", "actuators"])
def test_revising_what_is_not_there_is_refused(group: str) -> None:
    with pytest.raises(UnknownNameError, match="'nothing'"):
        pendulums().revised(**{group: {"nothing": {}}})


def test_a_file_beside_a_module_is_found() -> None:
    assert package_file(__file__, "model.urdf").parent.name == "core"


def test_motors_are_described_with_defaults() -> None:
    motor = Actuator(joint="x", torque_limit=1.0)
    assert (motor.kind, motor.strength, motor.kp, motor.kd) == ("torque", 1.0, 0.0, 0.0)


def test_a_link_without_mass_may_carry_the_next_joint_in_its_own_frame() -> None:
    robot = _sledge()
    assert [link.mass for link in robot.links] == [0.0, 0.0, 0.0, 2.0]
    assert {name for name in catalogue(robot) if "carrier" in name} == set()


@pytest.mark.parametrize(
    "change",
    [
        {"links": {"carrier_z": {"shapes": (Shape(kind="sphere", size=(0.1,)),)}}},
        {"joints": {"z": {"xyz": (0.1, 0.0, 0.0)}}},
        {"joints": {"z": {"rpy": (0.0, 0.1, 0.0)}}},
        {"joints": {"z": {"kind": "fixed"}}},
        {"links": {"body": {"mass": 0.0}}},
    ],
)
def test_a_link_without_mass_that_does_more_is_refused(change: dict) -> None:
    with pytest.raises(RobotError, match=r"has mass 0\.0 kg; > 0 needed"):
        _sledge().revised(**change)


def _sledge() -> Robot:
    """Return a body on two slides and a hinge."""
    names = ("base", "carrier_x", "carrier_z")
    box = (0.1, 0.1, 0.1, 0.0, 0.0, 0.0)
    slide = {"kind": "prismatic"}
    return Robot(
        name="sledge",
        links=(*(Link(name=n, mass=0.0) for n in names), Link(name="body", mass=2.0, inertia=box)),
        joints=(
            Joint(name="x", parent="base", child="carrier_x", axis=(1.0, 0.0, 0.0), **slide),
            Joint(name="z", parent="carrier_x", child="carrier_z", **slide),
            Joint(
                name="y",
                kind="continuous",
                parent="carrier_z",
                child="body",
                axis=(0.0, 1.0, 0.0),
            ),
        ),
        actuators=(),
    )

"""URDF there and back, and what is refused on the way in."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simreal.core.robot import Actuator, Joint, Link, Robot, Shape, inertia_matrix
from simreal.core.rotations import matrix_from_rpy
from simreal.core.urdf import robot_from_urdf, robot_to_urdf
from simreal.errors import RobotError
from simreal_envs.robots import double_pendulum, simple_pendulum

Load = Callable[..., Robot]
INERTIAL = '<inertial><mass value="1"/><inertia ixx="0.1" iyy="0.1" izz="0.1"/></inertial>'


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a document and read it as a robot."""

    def read(text: str, **settings: Any) -> Robot:
        file = tmp_path / "robot.urdf"
        file.write_text(text, encoding="utf-8")
        return robot_from_urdf(file, **settings)

    return read


def visual(geometry: str) -> str:
    return f"{INERTIAL}<visual><geometry>{geometry}</geometry></visual>"


def two_links(joint: str = "", link: str = INERTIAL, kind: str = "continuous") -> str:
    return (
        f'<robot name="two"><link name="a"/><link name="b">{link}</link>'
        f'<joint name="j" type="{kind}"><parent link="a"/><child link="b"/>{joint}</joint></robot>'
    )


@pytest.mark.parametrize("robot", [double_pendulum(), double_pendulum("1.1"), simple_pendulum()])
def test_shipped_robots_come_back_but_for_armature(load: Load, robot: Robot) -> None:
    back = load(robot_to_urdf(robot))
    assert back.links == robot.links
    bare = {j.name: {"armature": 0.0} for j in robot.joints}
    assert back.joints == robot.revised(joints=bare).joints
    assert back.interface == load(robot_to_urdf(robot), name=robot.name).interface


def test_motors_come_from_effort_limits_unless_they_are_given(load: Load) -> None:
    text = robot_to_urdf(double_pendulum())
    assert load(text).actuators == double_pendulum().actuators
    elbow = (Actuator(joint="elbow", kind="position", torque_limit=3.0, kp=10.0),)
    assert load(text, actuators=elbow).actuators == elbow
    assert load(two_links()).actuators == ()


NAME_FREE = st.floats(-2.0, 2.0, allow_nan=False)
VECTOR = st.tuples(NAME_FREE, NAME_FREE, NAME_FREE)
POSITIVE = st.floats(1e-4, 10.0)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    kind = draw(st.sampled_from(["box", "sphere", "cylinder", "capsule"]))
    count = {"box": 3, "sphere": 1}.get(kind, 2)
    return Shape(
        kind=kind,
        size=tuple(draw(POSITIVE) for _ in range(count)),
        xyz=draw(VECTOR),
        rpy=draw(VECTOR),
        rgba=(*draw(st.tuples(*[st.floats(0, 1)] * 3)), 1.0),
        collides=draw(st.booleans()),
    )


@st.composite
def links(draw: st.DrawFn, name: str) -> Link:
    moments = draw(st.tuples(*[st.floats(1.0, 1.5)] * 3))
    turn = matrix_from_rpy(draw(VECTOR))
    full = turn @ np.diag(moments) @ turn.T
    pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    return Link(
        name=name,
        mass=draw(POSITIVE),
        com=draw(VECTOR),
        inertia=tuple(float(full[i, j]) for i, j in pairs),
        shapes=tuple(draw(st.lists(shapes(), max_size=2, unique_by=lambda s: s.size))),
        contact_friction=draw(POSITIVE),
        restitution=draw(st.floats(0, 1)),
    )


@st.composite
def robots(draw: st.DrawFn) -> Robot:
    """Draw a tree of up to five links, joints in depth-first order."""
    count = draw(st.integers(1, 5))
    parents = [draw(st.integers(0, i)) for i in range(count - 1)]
    made = []

    def grow(parent: int) -> None:
        for child in [i + 1 for i, p in enumerate(parents) if p == parent]:
            kind = draw(st.sampled_from(["revolute", "continuous", "prismatic", "fixed"]))
            axis = np.add(draw(VECTOR), (0.0, 0.0, 5.0))
            lower = draw(st.one_of(st.just(-math.inf), st.floats(-3, 0)))
            bounded = kind in ("revolute", "prismatic")
            moving = (
                {}
                if kind == "fixed"
                else {
                    "axis": tuple(float(c) for c in axis / np.linalg.norm(axis)),
                    "damping": draw(POSITIVE),
                    "friction": draw(POSITIVE),
                    "max_velocity": draw(POSITIVE),
                }
            )
            limits = {"lower": lower, "upper": draw(st.floats(0, 3))} if bounded else {}
            made.append(
                Joint(
                    name=f"j{child}",
                    kind=kind,
                    parent=f"l{parent}",
                    child=f"l{child}",
                    xyz=draw(VECTOR),
                    rpy=draw(VECTOR),
                    **moving,
                    **limits,
                )
            )
            grow(child)

    grow(0)
    motors = [
        Actuator(joint=j.name, torque_limit=draw(POSITIVE)) for j in made if j.kind != "fixed"
    ]
    return Robot(
        name="tree",
        links=tuple(draw(links(f"l{i}")) for i in range(count)),
        joints=tuple(made),
        actuators=tuple(motors),
        fixed_base=False,
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(robots())
def test_any_tree_comes_back_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory, robot: Robot
) -> None:
    file = tmp_path_factory.mktemp("urdf") / "tree.urdf"
    file.write_text(robot_to_urdf(robot), encoding="utf-8")
    back = robot_from_urdf(file, fixed_base=False)
    assert back.joints == robot.joints
    assert back.actuators == robot.actuators
    assert back.links == robot.links


@settings(max_examples=25, deadline=None)
@given(robots())
def test_principal_axes_describe_the_same_bodies(
    tmp_path_factory: pytest.TempPathFactory, robot: Robot
) -> None:
    file = tmp_path_factory.mktemp("urdf") / "tree.urdf"
    file.write_text(robot_to_urdf(robot, principal_axes=True), encoding="utf-8")
    assert 'ixy="0.0"' in file.read_text()
    back = robot_from_urdf(file, fixed_base=False)
    for found, wanted in zip(back.links, robot.links, strict=True):
        np.testing.assert_allclose(inertia_matrix(found), inertia_matrix(wanted), atol=1e-12)


def test_an_inertial_frame_that_is_turned_is_turned_back(load: Load) -> None:
    turned = (
        '<inertial><origin xyz="0 0 0.1" rpy="0 0 1.5707963267948966"/><mass value="2"/>'
        '<inertia ixx="0.1" iyy="0.2" izz="0.15"/></inertial>'
    )
    link = load(two_links(link=turned)).link("b")
    assert link.com == (0.0, 0.0, 0.1)
    np.testing.assert_allclose(link.inertia, [0.2, 0.1, 0.15, 0, 0, 0], atol=1e-15)


def test_boxes_are_full_extents_in_a_urdf_and_half_extents_here(load: Load) -> None:
    box = '<visual><geometry><box size="0.2 0.4 0.6"/></geometry></visual>'
    assert load(two_links(link=INERTIAL + box)).link("b").shapes[0].size == (0.1, 0.2, 0.3)


def test_visual_and_collision_of_one_geometry_are_one_shape(load: Load) -> None:
    ball = '<geometry><sphere radius="0.1"/></geometry>'
    both = f"{INERTIAL}<visual>{ball}</visual><collision>{ball}</collision>"
    assert [(s.collides, s.rgba[3]) for s in load(two_links(link=both)).link("b").shapes] == [
        (True, 1.0)
    ]
    alone = f"{INERTIAL}<collision>{ball}</collision>"
    robot = load(two_links(link=alone))
    assert [(s.collides, s.rgba[3]) for s in robot.link("b").shapes] == [(True, 0.0)]
    assert "<visual>" not in robot_to_urdf(robot)


def test_colors_are_found_by_material_name(load: Load) -> None:
    text = two_links(
        link=INERTIAL
        + '<visual><geometry><sphere radius="1"/></geometry><material name="red"/></visual>'
    ).replace("<link", '<material name="red"><color rgba="1 0 0 1"/></material><link', 1)
    assert load(text).link("b").shapes[0].rgba == (1.0, 0.0, 0.0, 1.0)


def test_meshes_are_kept_by_their_resolved_path(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    mesh = tmp_path / "meshes" / "arm.obj"
    mesh.write_text("v 0 0 0")
    for filename in ("meshes/arm.obj", f"package://{tmp_path.name}/meshes/arm.obj"):
        geometry = f'<geometry><mesh filename="{filename}" scale="2 2 2"/></geometry>'
        file = tmp_path / "robot.urdf"
        file.write_text(two_links(link=f"{INERTIAL}<visual>{geometry}</visual>"))
        shape = robot_from_urdf(file).link("b").shapes[0]
        assert (shape.kind, shape.size, shape.mesh) == ("mesh", (2.0,), str(mesh.resolve()))


def test_what_is_only_drawn_can_be_left_out() -> None:
    text = robot_to_urdf(double_pendulum(), visuals=False)
    assert "<visual>" not in text
    assert "<mass" in text


def test_the_axis_defaults_to_x_and_is_made_unit_length(load: Load) -> None:
    assert load(two_links()).joints[0].axis == (1.0, 0.0, 0.0)
    assert load(two_links('<axis xyz="0 3 0"/>')).joints[0].axis == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<robot", "not well-formed"),
        ("<model/>", "<robot> is needed"),
        (two_links(link=""), "link 'b' has no <inertial>"),
        (two_links(link='<inertial><mass value="1"/></inertial>'), "both <mass> and <inertia>"),
        (two_links(kind="floating"), "type 'floating'; supported: revolute"),
        (two_links('<mimic joint="k"/>'), "mimics another joint"),
        (two_links(kind="revolute"), "has no <limit>"),
        (two_links('<axis xyz="0 0 0"/>'), "zero axis"),
        (two_links('<axis xyz="0 0"/>'), "3 finite"),
        (two_links('<dynamics damping="nan"/>'), "1 finite"),
        (two_links().replace('<child link="b"/>', ""), "no <child"),
        (two_links().replace('child link="b"', 'child link="c"'), "names link 'c'"),
        (two_links().replace('name="j"', ""), "no name"),
        (
            '<robot name="x"><link name="a"/><link name="b">' + INERTIAL + "</link></robot>",
            "2 root",
        ),
        (two_links(link=f"{INERTIAL}<visual><geometry><cone/></geometry></visual>"), "<cone>"),
        (two_links(link=f"{INERTIAL}<visual/>"), "no geometry"),
        (
            two_links(
                link=f'{INERTIAL}<visual><geometry><mesh filename="x.stl"/></geometry></visual>'
            ),
            "mesh 'x.stl' not found",
        ),
        (two_links(link=visual('<mesh filename="x" scale="1 2 1"/>')), "uniform scale"),
        (two_links(link=INERTIAL.replace('ixx="0.1"', 'ixx="9"')), "principal moments"),
    ],
)
def test_what_the_record_cannot_hold_is_refused_in_one_line(
    load: Load, text: str, message: str
) -> None:
    with pytest.raises(RobotError, match=message) as caught:
        load(text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RobotError, match="cannot read URDF"):
        robot_from_urdf(tmp_path / "absent.urdf")


def test_a_loop_of_joints_is_refused(load: Load) -> None:
    link = "<link name='{}'>" + INERTIAL + "</link>"
    joint = "<joint name='{0}{1}' type='fixed'><parent link='{0}'/><child link='{1}'/></joint>"
    text = "<robot name='x'><link name='a'/>" + "".join(link.format(n) for n in "bc")
    text += joint.format("b", "c") + joint.format("c", "b") + "</robot>"
    with pytest.raises(RobotError, match="do not hang on the root"):
        load(text)

"""The shipped robots against the published numbers and against hand calculations."""

import numpy as np
import pytest

from simreal.core.kinematics import link_frames, reach
from simreal.core.robot import Robot
from simreal.errors import UnknownNameError
from simreal_envs.robots import double_pendulum, simple_pendulum
from simreal_envs.robots.simple_pendulum import LENGTH, MASS, RADIUS


@pytest.fixture(params=[double_pendulum, simple_pendulum])
def robot(request: pytest.FixtureRequest) -> Robot:
    return request.param()


def test_the_double_pendulum_has_the_published_masses_and_limits() -> None:
    robot = double_pendulum()
    assert [link.mass for link in robot.links] == [0.0, 0.523460, 0.625568]
    assert robot.joint_names == ("shoulder", "elbow")
    assert [a.joint for a in robot.actuators] == ["shoulder", "elbow"]
    assert [(a.kind, a.torque_limit) for a in robot.actuators] == [("torque", 6.0)] * 2
    assert [(j.damping, j.friction) for j in robot.joints] == [(0.001, 0.16), (0.001, 0.12)]


@pytest.mark.parametrize(
    ("link", "about_joint", "com"),
    [("upper_link", 0.0318872, 0.2), ("lower_link", 0.0508698, 0.255693)],
)
def test_inertias_about_the_center_give_back_the_published_ones_about_the_joint(
    link: str, about_joint: float, com: float
) -> None:
    body = double_pendulum().link(link)
    assert body.com == (0.0, 0.0, -com)
    assert body.inertia[1] + body.mass * com**2 == pytest.approx(about_joint, rel=1e-12)


def test_rotor_inertia_is_seen_through_the_gear_on_both_joints() -> None:
    assert [j.armature for j in double_pendulum().joints] == pytest.approx([36 * 6.2872e-5] * 2)


def test_the_terms_left_out_are_as_small_as_documented() -> None:
    rotor, gear = 6.2872e-5, 6.0
    coupling = 0.625568 * 0.2 * 0.255693
    shoulder = [0.0318872 + 0.0508698 + 0.625568 * 0.04 + 2 * s * coupling for s in (1, -1)]
    assert 0.0003 < rotor / shoulder[0] < rotor / shoulder[1] < 0.0015
    assert gear * rotor / (0.0508698 + coupling) == pytest.approx(0.0046, abs=1e-4)
    assert gear * rotor / (0.0508698 - coupling) == pytest.approx(0.020, abs=1e-3)


def test_model_1_1_is_the_frictionless_one() -> None:
    robot = double_pendulum("1.1")
    assert all(j.damping == j.friction == j.armature == 0.0 for j in robot.joints)
    assert robot.links == double_pendulum().links
    assert robot.interface_sha256 == double_pendulum().interface_sha256


def test_an_unknown_model_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match=r"1\.2.*Known: 1\.0, 1\.1"):
        double_pendulum("1.2")


def test_a_positive_angle_moves_the_double_pendulum_to_plus_x() -> None:
    robot, q = double_pendulum(), (0.3, 0.4)
    position, turn = link_frames(robot, q)["lower_link"]
    tip = position + turn @ np.array([0.0, 0.0, -0.3])
    np.testing.assert_allclose(position, [0.2 * np.sin(0.3), 0.0, -0.2 * np.cos(0.3)], atol=1e-15)
    wanted = [
        0.2 * np.sin(0.3) + 0.3 * np.sin(0.7),
        0.0,
        -0.2 * np.cos(0.3) - 0.3 * np.cos(0.7),
    ]
    np.testing.assert_allclose(tip, wanted, atol=1e-15)


def test_upright_the_tip_is_half_a_meter_up() -> None:
    position, turn = link_frames(double_pendulum(), (np.pi, 0.0))["lower_link"]
    assert (position + turn @ np.array([0.0, 0.0, -0.3]))[2] == pytest.approx(0.5)


def test_the_simple_pendulum_is_a_point_mass_but_for_a_small_ball() -> None:
    rod = simple_pendulum().link("rod")
    assert rod.com == (0.0, 0.0, -0.5)
    assert 0.57 <= rod.mass <= 0.68
    assert rod.inertia[1] == pytest.approx(0.4 * MASS * RADIUS**2)
    assert rod.inertia[1] / (MASS * LENGTH**2) < 0.001


def test_the_simple_pendulums_motor_cannot_hold_it_level() -> None:
    motor = simple_pendulum().actuators[0]
    assert (motor.joint, motor.torque_limit) == ("shoulder", 2.5)
    assert motor.torque_limit < MASS * 9.81 * LENGTH == pytest.approx(3.313, abs=1e-3)


def test_joints_turn_freely_from_hanging_in_the_x_z_plane(robot: Robot) -> None:
    for joint in robot.joints:
        assert joint.kind == "continuous"
        assert joint.axis == (0.0, -1.0, 0.0)
    np.testing.assert_array_equal(robot.default_pose, np.zeros(robot.num_joints))


def test_shapes_are_only_drawn_and_moving_ones_stay_in_front_of_the_stand(robot: Robot) -> None:
    stand = min(
        s.xyz[1] - 0.02 for s in robot.links[0].shapes if s.kind == "box" and s.size[2] > 0.1
    )
    for link in robot.links:
        assert link.shapes
        assert not any(shape.collides for shape in link.shapes)
    for link in robot.links[1:]:
        assert all(shape.xyz[1] + 0.02 < stand for shape in link.shapes)


def test_the_camera_can_rely_on_the_reach(robot: Robot) -> None:
    assert 0.5 <= reach(robot) < 1.0


def test_hashes_are_stable_and_tell_robots_apart() -> None:
    assert double_pendulum().interface_sha256 == double_pendulum().interface_sha256
    assert double_pendulum().dynamics_sha256 != double_pendulum("1.1").dynamics_sha256
    assert simple_pendulum().interface_sha256 != double_pendulum().interface_sha256

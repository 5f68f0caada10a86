"""Poses in which a parameter can act, on robots whose default pose lies at its limits."""

import numpy as np
import pytest

from simreal.core.kinematics import link_frames
from simreal.core.params import DynamicsParams
from simreal.engines.audit import ACTS, audit
from simreal.engines.audit_poses import (
    can_be_lifted,
    center_of_mass,
    felt_inertia,
    free_pose,
    grounding,
    turns_upright,
)
from simreal.engines.registry import engine_class
from simreal_envs.robots import half_cheetah, hopper
from simreal_envs.robots.double_pendulum import double_pendulum
from tests.engines import sample_robots as robots

KINDS = (
    "contact_friction",
    "spinning_friction",
    "restitution",
    "motor_strength",
    "joint_damping",
    "joint_friction",
)


def test_joints_near_a_limit_begin_in_the_middle_of_their_range() -> None:
    robot = hopper()
    pose = dict(zip(robot.joint_names, free_pose(robot), strict=True))
    # Thigh and leg go from -150 degrees to 0, where they stand by default.
    assert pose["thigh_joint"] == pytest.approx(np.radians(-75.0), abs=1e-3)
    assert pose["leg_joint"] == pytest.approx(np.radians(-75.0), abs=1e-3)
    assert pose["foot_joint"] == 0.0
    assert pose["rootx"] == robot.default_pose[0]


def test_a_grounded_link_is_the_lowest_one() -> None:
    robot = hopper()
    assert can_be_lifted(robot)
    place = grounding(robot, "torso")
    assert place is not None
    frames = link_frames(robot, place.pos.tolist())
    # The torso is upside down or level: no other link's frame is near the ground.
    low = {name: origin[2] for name, (origin, _) in frames.items() if name in ("leg", "foot")}
    assert min(low.values()) > 0.0
    assert np.count_nonzero(place.upward) == 1
    assert robot.joint_names[place.level[0]] == "rootx"


def test_a_link_between_thicker_ones_never_reaches_the_ground() -> None:
    assert grounding(hopper(), "leg") is None


def test_planar_robots_do_not_turn_about_the_vertical() -> None:
    assert not turns_upright(hopper())
    assert not turns_upright(half_cheetah())
    assert turns_upright(robots.flywheel())


def test_a_robot_on_a_fixed_base_cannot_be_lifted() -> None:
    assert not can_be_lifted(double_pendulum())


def test_felt_inertia_of_a_cart_is_its_mass() -> None:
    cart = robots.cart()
    pose = np.array(cart.default_pose)
    # The rail carries 2 kg and nothing that is free to swing.
    assert felt_inertia(cart, cart.joint_index("rail"), pose) == pytest.approx(2.0)


def test_the_center_of_mass_moves_with_the_root() -> None:
    robot = hopper()
    rest = np.array(robot.default_pose)
    moved = rest + np.eye(robot.num_joints)[0]
    gone = center_of_mass(robot, moved) - center_of_mass(robot, rest)
    np.testing.assert_allclose(gone, [1.0, 0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("engine", ["pybullet", "mujoco"])
def test_the_hopper_acts_or_says_why_not(engine: str) -> None:
    pytest.importorskip(engine)
    rows = audit(hopper(), engine, only=KINDS)
    assert {row.name: row.verdict for row in rows if not row.passed} == {}
    verdicts = {row.name: row.verdict for row in rows}
    assert verdicts["motor_strength.leg_joint"] == ACTS
    assert verdicts["contact_friction.foot"] == ACTS
    assert verdicts["contact_friction.torso"] == ACTS
    assert verdicts["contact_friction.leg"].startswith("not applicable: in every pose")


def test_a_bounce_too_small_to_have_a_direction_is_said_to_be_so() -> None:
    pytest.importorskip("pybullet")
    rows = {row.name: row for row in audit(half_cheetah(), "pybullet", only=["restitution"])}
    assert {row.verdict for row in rows.values() if row.motion} == {ACTS}
    assert rows["restitution.torso"].direction.endswith(": too small to tell")
    assert not rows["restitution.ffoot"].direction.endswith("tell")


def test_friction_that_acts_the_wrong_way_round_is_caught_where_it_is_clear() -> None:
    honest = engine_class("pybullet", hopper())

    class UpsideDown(honest):  # type: ignore[misc, valid-type]
        def apply(self, params: DynamicsParams, mask: np.ndarray) -> None:
            inverse = {name: 0.8**2 / params[name] for name in params}
            super().apply(DynamicsParams(self.specs, inverse, len(mask)), mask)

        def realized(self, name: str) -> None:
            return None

    row = audit(hopper(), UpsideDown, only=["contact_friction.foot"])[0]
    assert row.verdict == "WRONG DIRECTION"

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.core.params import (
    DynamicsParams,
    catalogue,
    flatten,
    link_lengths,
    select,
    world_specs,
)
from simreal.core.robot import Robot
from simreal.errors import ParameterError
from simreal_envs.robots import double_pendulum
from tests.engines.sample_robots import cart, flywheel


@pytest.fixture
def robot() -> Robot:
    return double_pendulum()


def test_the_catalogue_names_everything_that_can_be_changed(robot: Robot) -> None:
    names = set(catalogue(robot))
    assert {
        "mass.upper_link",
        "com.lower_link",
        "joint_friction.elbow",
        "armature.shoulder",
    } < names
    assert {"motor_strength.elbow", "torque_limit.shoulder", "link_length.upper_link"} < names
    assert {"gravity", "command_delay", "measurement_delay", "dropout", "torque_noise"} < names


def test_what_cannot_be_changed_is_not_in_the_catalogue(robot: Robot) -> None:
    names = set(catalogue(robot))
    assert "mass.base" not in names, "a fixed root has no dynamics"
    assert "kp.elbow" not in names, "torque motors have no gains"
    assert "link_length.lower_link" not in names, "there is no joint at its end"
    assert {"kp.rail", "kd.rail"} < set(catalogue(cart(kp=5.0)))
    assert "mass.body" in catalogue(flywheel()), "a floating root has"


def test_nominal_values_are_the_records(robot: Robot) -> None:
    specs = catalogue(robot)
    assert specs["mass.upper_link"].nominal == (0.523460,)
    assert specs["com.lower_link"].nominal == (0.0, 0.0, -0.255693)
    assert specs["joint_friction.shoulder"].nominal == (0.16,)
    assert specs["gravity"].nominal == (9.81,)
    assert specs["link_length.upper_link"].nominal == (0.2,)
    assert link_lengths(robot) == {"upper_link": 0.2}


def test_an_encoder_reads_in_the_unit_of_its_joint(robot: Robot) -> None:
    assert catalogue(robot)["encoder_offset.shoulder"].unit == "rad"
    assert catalogue(cart())["encoder_offset.rail"].unit == "m"


def test_a_name_has_a_kind_and_a_target(robot: Robot) -> None:
    spec = catalogue(robot)["com.upper_link"]
    assert (spec.kind, spec.target, spec.size, spec.unit) == ("com", "upper_link", 3, "m")
    gravity = catalogue(robot)["gravity"]
    assert (gravity.kind, gravity.target, gravity.size) == ("gravity", "", 1)


def test_owners_say_who_applies_what(robot: Robot) -> None:
    owners = {name: spec.owner for name, spec in catalogue(robot).items()}
    assert owners["mass.upper_link"] == owners["gravity"] == "engine"
    assert owners["command_delay"] == owners["torque_noise"] == "actuation"
    assert owners["dropout"] == owners["joint_pos_bias"] == "sensing"
    assert owners["encoder_offset.elbow"] == "sensing"
    assert world_specs().keys() < owners.keys()


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, r"mass.upper_link: -1 kg is outside \[1e-06, 100000\] kg"),
        ([0.5, 2e6], r"2e\+06 kg is outside"),
        (np.nan, "nan is not finite"),
        (np.inf, "inf is not finite"),
        ("heavy", "got 'heavy'; a number in kg is needed"),
        (None, "got None; a number in kg is needed"),
        (True, "got True; a number in kg is needed"),
        ({"a": 1}, "a number in kg is needed"),
        ([[1.0], [1.0, 2.0]], "a number in kg is needed"),
    ],
)
def test_values_that_cannot_be_are_refused_in_one_line(
    robot: Robot, value: Any, message: str
) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        catalogue(robot)["mass.upper_link"].check(value)
    assert "\n" not in str(caught.value)


@given(st.floats(0.0, 100.0))
def test_values_within_the_bounds_pass_unchanged(value: float) -> None:
    assert float(world_specs()["gravity"].check(value)) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("gravity", 3, [3.0, 3.0]),
        ("gravity", [1.0, 2.0], [1.0, 2.0]),
        ("gravity", [[1.0], [2.0]], [1.0, 2.0]),
        ("com.upper_link", [1, 2, 3], [[1, 2, 3], [1, 2, 3]]),
        ("com.upper_link", 0.5, [[0.5] * 3] * 2),
    ],
)
def test_values_are_spread_over_the_worlds(
    robot: Robot, name: str, value: Any, expected: Any
) -> None:
    params = DynamicsParams(catalogue(robot), {name: value}, 2)
    np.testing.assert_array_equal(params[name], expected)
    assert list(params) == [name]
    assert len(params) == 1


def test_a_wrong_shape_is_refused(robot: Robot) -> None:
    with pytest.raises(ParameterError, match=r"gravity: got shape \(3,\); a scalar or \(2,\)"):
        DynamicsParams(catalogue(robot), {"gravity": [1.0, 2.0, 3.0]}, 2)


def test_the_representation_shows_ranges(robot: Robot) -> None:
    params = DynamicsParams(catalogue(robot), {"gravity": [1.0, 2.0]}, 2)
    assert repr(params) == "DynamicsParams(2 worlds, gravity=[1, 2])"


# -- names -----------------------------------------------------------------------------------------


def test_nested_and_flat_names_are_the_same() -> None:
    nested = {"mass": {"upper": 1.0, "*": 2.0}, "gravity": 9.0}
    assert flatten(nested) == {"mass.upper": 1.0, "mass.*": 2.0, "gravity": 9.0}
    assert flatten(flatten(nested)) == flatten(nested)


def test_what_is_not_a_mapping_is_refused() -> None:
    with pytest.raises(ParameterError, match="written as a mapping"):
        flatten([1, 2])  # type: ignore[arg-type]


def test_a_star_means_every_target(robot: Robot) -> None:
    found = select(catalogue(robot), "joint_damping.*")
    assert [spec.name for spec in found] == ["joint_damping.shoulder", "joint_damping.elbow"]


@pytest.mark.parametrize("name", ["mass.uper_link", "gravityy", "friction.*", "gravity.*"])
def test_an_unknown_name_is_refused_with_what_there_is(robot: Robot, name: str) -> None:
    with pytest.raises(ParameterError, match=r"unknown dynamics parameter .* Known: mass\."):
        select(catalogue(robot), name)

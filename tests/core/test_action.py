import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simreal.core.action import ActionMap, ActionTerm
from simreal.errors import ConfigError, UnknownNameError
from tests.engines.sample_robots import cart, gantry


def test_a_command_is_offset_plus_scale_times_action_in_the_motors_order() -> None:
    # The gantry's motors are mid and zeta, in this order.
    terms = (
        ActionTerm(joint="zeta", scale=10.0, offset=1.0),
        ActionTerm(joint="mid", scale=-4.0),
    )
    out = np.full((2, 2), 99.0)
    ActionMap(terms, gantry()).command(np.array([[0.5, 1.0], [-1.0, 0.25]]), out)
    np.testing.assert_array_equal(out, [[-4.0, 6.0], [-1.0, -9.0]])


def test_motors_without_a_term_keep_their_constant() -> None:
    action_map = ActionMap((ActionTerm(joint="zeta", scale=2.0),), gantry())
    np.testing.assert_array_equal(action_map.idle, [0.0, 0.0])
    out = np.tile([7.0, 7.0], (3, 1))
    action_map.command(np.ones((3, 1)), out)
    np.testing.assert_array_equal(out, [[7.0, 2.0]] * 3)


def test_an_idle_position_motor_stands_at_its_default() -> None:
    robot = cart(kp=5.0).revised(joints={"rail": {"default": 0.3}})
    terms = (ActionTerm(joint="rail", scale=0.1),)
    np.testing.assert_array_equal(ActionMap(terms, robot).idle, [0.3])


@given(
    action=arrays(np.float64, (3, 2), elements=st.floats(-1, 1)),
    numbers=st.lists(st.floats(-50, 50).filter(lambda x: abs(x) > 1e-3), min_size=4, max_size=4),
    swapped=st.booleans(),
)
def test_the_map_equals_its_formula(
    action: np.ndarray, numbers: list[float], swapped: bool
) -> None:
    joints = ["zeta", "mid"] if swapped else ["mid", "zeta"]
    terms = [
        ActionTerm(joint=joint, scale=numbers[i], offset=numbers[2 + i])
        for i, joint in enumerate(joints)
    ]
    out = ActionMap(terms, gantry()).command(action, np.zeros((3, 2)))
    for i, joint in enumerate(joints):
        column = ["mid", "zeta"].index(joint)
        np.testing.assert_allclose(out[:, column], numbers[2 + i] + numbers[i] * action[:, i])


def test_a_joint_without_a_motor_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match=r"'alpha'.*Known: mid, zeta"):
        ActionMap((ActionTerm(joint="alpha", scale=1.0),), gantry())


@pytest.mark.parametrize("joints", [[], ["mid", "mid"]])
def test_an_action_needs_terms_and_one_per_joint(joints: list[str]) -> None:
    with pytest.raises(ConfigError, match="at least one term and at most one per joint"):
        ActionMap([ActionTerm(joint=j, scale=1.0) for j in joints], gantry())


@pytest.mark.parametrize("numbers", [{"scale": 0.0}, {"scale": np.nan}, {"offset": np.inf}])
def test_numbers_that_make_no_command_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"joint 'mid'.*finite"):
        ActionTerm(**{"joint": "mid", "scale": 1.0, **numbers})


def test_the_json_form_has_every_field() -> None:
    action_map = ActionMap((ActionTerm(joint="mid", scale=2.0, offset=0.5),), gantry())
    assert action_map.to_dict() == [{"joint": "mid", "scale": 2.0, "offset": 0.5}]

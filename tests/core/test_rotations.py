"""Rotations against hand-computed cases, and there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.core.robot import Link
from simreal.core.rotations import matrix_from_rpy, principal_inertia, rpy_from_matrix

ANGLE = st.floats(-3.1, 3.1)


def test_yaw_turns_x_into_y() -> None:
    np.testing.assert_allclose(
        matrix_from_rpy((0, 0, np.pi / 2)) @ [1, 0, 0], [0, 1, 0], atol=1e-15
    )


def test_roll_acts_first_and_yaw_last() -> None:
    # Roll takes y to z, pitch takes z to x, yaw takes x to y.
    turned = matrix_from_rpy((np.pi / 2,) * 3) @ [0, 1, 0]
    np.testing.assert_allclose(turned, [0, 1, 0], atol=1e-15)


@given(ANGLE, st.floats(-1.5, 1.5), ANGLE)
def test_angles_come_back(roll: float, pitch: float, yaw: float) -> None:
    np.testing.assert_allclose(
        rpy_from_matrix(matrix_from_rpy((roll, pitch, yaw))), (roll, pitch, yaw), atol=1e-9
    )


@given(ANGLE, st.sampled_from([-np.pi / 2, np.pi / 2]), ANGLE)
def test_the_rotation_comes_back_where_roll_and_yaw_are_one(
    roll: float, pitch: float, yaw: float
) -> None:
    matrix = matrix_from_rpy((roll, pitch, yaw))
    np.testing.assert_allclose(matrix_from_rpy(rpy_from_matrix(matrix)), matrix, atol=1e-9)


def test_a_diagonal_inertia_keeps_its_order_and_axes() -> None:
    moments, axes = principal_inertia(
        Link(name="a", mass=1.0, inertia=(0.3, 0.1, 0.25, 0.0, 0.0, 0.0))
    )
    assert moments.tolist() == [0.3, 0.1, 0.25]
    np.testing.assert_array_equal(axes, np.eye(3))


@given(ANGLE, st.floats(-1.5, 1.5), ANGLE)
def test_principal_axes_give_the_inertia_back(roll: float, pitch: float, yaw: float) -> None:
    turn = matrix_from_rpy((roll, pitch, yaw))
    full = turn @ np.diag([0.1, 0.2, 0.25]) @ turn.T
    inertia = tuple(float(full[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)))
    moments, axes = principal_inertia(Link(name="a", mass=1.0, inertia=inertia))
    np.testing.assert_allclose(axes @ np.diag(moments) @ axes.T, full, atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1.0)

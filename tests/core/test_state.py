import numpy as np
import pytest

from simreal.core.state import State


def test_the_views_tile_the_buffer_in_the_documented_order() -> None:
    state = State(2, 3, floating_base=True, bodies=("hand", "foot"), contacts=("foot",))
    assert state.buffer.shape == (2, 3 + 3 + 7 + 6 + 2 * 3 + 1 + 1)
    state.buffer[...] = np.arange(27.0)
    np.testing.assert_array_equal(state.joint_pos[0], [0, 1, 2])
    np.testing.assert_array_equal(state.joint_vel[1], [3, 4, 5])
    np.testing.assert_array_equal(state.root_pose[0], np.arange(6, 13))
    np.testing.assert_array_equal(state.root_vel[0], np.arange(13, 19))
    np.testing.assert_array_equal(state.body_pos["foot"][1], [22, 23, 24])
    np.testing.assert_array_equal(state.contact["foot"], [25, 25])
    np.testing.assert_array_equal(state.time, [26, 26])


def test_a_fixed_base_has_no_root_columns() -> None:
    state = State(4, 2)
    assert state.buffer.shape == (4, 5)
    assert state.root_pose.shape == (4, 0)
    assert state.root_vel.shape == (4, 0)


def test_views_write_through() -> None:
    state = State(2, 1)
    state.joint_vel[1] = 3.0
    state.time[0] = 0.5
    np.testing.assert_array_equal(state.buffer, [[0, 0, 0.5], [0, 3, 0]])


def test_it_lies_over_given_memory() -> None:
    memory = np.zeros((2, 3))
    State(2, 1, buffer=memory).joint_pos[...] = 7.0
    np.testing.assert_array_equal(memory[:, 0], 7.0)


@pytest.mark.parametrize(
    ("mask", "expected"), [(None, [1, 1, 1]), (np.array([True, False, True]), [1, 0, 1])]
)
def test_copying_takes_all_worlds_or_the_masked_ones(
    mask: np.ndarray | None, expected: list[float]
) -> None:
    source, target = State(3, 1), State(3, 1)
    source.buffer[...] = 1.0
    target.copy_from(source, mask)
    np.testing.assert_array_equal(target.joint_pos[:, 0], expected)


def test_like_has_the_same_layout_and_memory_of_its_own() -> None:
    state = State(2, 2, bodies=("tip",), contacts=("tip",))
    twin = state.like()
    assert twin.buffer.shape == state.buffer.shape
    assert list(twin.body_pos) == list(twin.contact) == ["tip"]
    twin.buffer[...] = 1.0
    assert not state.buffer.any()

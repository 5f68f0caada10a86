"""Few worlds are evaluated by plain numbers, with the results that arrays give."""

import math
from typing import Any

import numpy as np
import pytest

from simreal.core.observation import Op, Term
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.core.state import State
from simreal.core.task import Array, StateView
from simreal.domains.evaluators import ArrayEvaluator, ScalarEvaluator, make_evaluator
from tests.domains.toy import Reach

NAMES = {"joint_pos": ("slide",), "joint_vel": ("slide",)}
TERMS = (
    Term(name="wrapped", source="joint_pos", elements=("slide",), ops=(Op("wrap"), Op("sin"))),
    Term(
        name="speed",
        source="joint_vel",
        elements=("slide",),
        ops=(Op("offset", (0.5,)), Op("scale", (2.0,)), Op("clip", (-1.0, 1.0)), Op("cos")),
        history=2,
    ),
)


def signals(measured: State, action: Any) -> dict[str, Any]:
    return {"joint_pos": measured.joint_pos, "joint_vel": measured.joint_vel}


def evaluator(task: Reach, num_worlds: int = 2, terms: tuple[Term, ...] = TERMS) -> ArrayEvaluator:
    pipeline = ObservationPipeline(terms, NAMES, num_worlds)
    return make_evaluator(task, pipeline, signals, NAMES, State(num_worlds, 1), 1)


def step(num_worlds: int = 2) -> tuple[State, State, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    states = [State(num_worlds, 1, buffer=rng.normal(size=(num_worlds, 3))) for _ in range(2)]
    return (*states, *(rng.uniform(-1, 1, (num_worlds, 1)) for _ in range(2)))


class Falling(Reach):
    """End where the cart is left of 0, and reward the root of its position."""

    def reward(
        self, xp: Any, previous: StateView, current: StateView, action: Array, last: Array
    ) -> tuple[Array, ...]:
        with np.errstate(invalid="ignore"):
            return (self.weight * xp.sqrt(current.joint_pos[:, 0]), 0.0 * action[:, 0])

    weight = 1.0

    def terminated(self, xp: Any, state: StateView) -> Array | None:
        return state.joint_pos[:, 0] < 0.0


def test_few_worlds_take_plain_numbers_and_many_arrays() -> None:
    assert isinstance(evaluator(Reach()), ScalarEvaluator)
    assert evaluator(Reach()).why == ""
    assert "operations in 40 worlds cost more" in evaluator(Reach(), 40).why


def test_both_give_the_same() -> None:
    scalar, arrays = (
        evaluator(Reach()),
        ArrayEvaluator(Reach(), ObservationPipeline(TERMS, NAMES, 2), signals),
    )
    given = step()
    for found, wanted in zip(scalar.judge(*given), arrays.judge(*given), strict=True):
        if wanted is None:
            assert found is None
        else:
            np.testing.assert_allclose(found, wanted, rtol=1e-12)
    np.testing.assert_array_equal(scalar.success(given[1]), arrays.success(given[1]))
    for one in (scalar, arrays):
        one.observe(given[0], given[2])
        one.observe(given[1], given[2])
    np.testing.assert_allclose(scalar.observation.history, arrays.observation.history, rtol=1e-12)
    assert scalar.observation.emit().shape == (2, 3)


@pytest.mark.parametrize("num_worlds", [3, 40])
def test_some_worlds_begin_a_history_as_they_do_with_arrays(num_worlds: int) -> None:
    scalar = evaluator(Reach(), num_worlds)
    arrays = ArrayEvaluator(Reach(), ObservationPipeline(TERMS, NAMES, num_worlds), signals)
    first, second, action, _ = step(num_worlds)
    for one in (scalar, arrays):
        one.observe(first, action)
        one.restart(second, action, np.arange(num_worlds) % 3 == 1)
    np.testing.assert_allclose(scalar.observation.history, arrays.observation.history, rtol=1e-12)


def test_the_numbers_are_those_computed_by_hand() -> None:
    one = evaluator(Reach(), 1)
    previous, current = State(1, 1), State(1, 1)
    previous.joint_pos[0], current.joint_pos[0], current.joint_vel[0] = 0.25, math.pi + 1.0, -0.75
    terms, total, ended = one.judge(previous, current, np.array([[0.5]]), np.zeros((1, 1)))
    np.testing.assert_allclose(terms[:, 0], [math.pi + 0.75, -0.25], rtol=1e-15)
    assert total[0] == pytest.approx(math.pi + 0.5)
    assert ended is None
    assert one.success(current).tolist() == [True]
    one.observe(current, np.zeros((1, 1)))
    # pi + 1 is 1 - pi, whose sine is -sin(1); (-0.75 + 0.5) * 2 is -0.5
    expected = [-math.sin(1.0), 1.0 * 0.0, math.cos(-0.5)]
    np.testing.assert_allclose(one.observation.emit()[0], np.float32(expected), rtol=1e-6)


def test_where_plain_numbers_raise_arrays_tell() -> None:
    one = evaluator(Falling())
    assert isinstance(one, ScalarEvaluator)
    given = step()
    given[1].joint_pos[:, 0] = (4.0, -1.0)
    terms, total, ended = one.judge(*given)
    assert terms[0, 0] == 2.0
    assert np.isnan(terms[0, 1])
    assert np.isnan(total[1])
    assert ended is not None
    assert ended.tolist() == [False, True]
    given[1].joint_pos[:, 0] = (4.0, 9.0)
    assert one.judge(*given)[2].tolist() == [False, False]  # type: ignore[union-attr]


def test_a_task_that_gets_other_numbers_is_heard() -> None:
    task = Falling()
    one = evaluator(task)
    given = step()
    given[1].joint_pos[:, 0] = 4.0
    assert one.judge(*given)[1].tolist() == [2.0, 2.0]
    task.weight = 3.0
    assert one.judge(*given)[1].tolist() == [6.0, 6.0]
    task.goal = np.zeros(2)  # type: ignore[attr-defined]
    assert one.judge(*given)[1].tolist() == [6.0, 6.0]


class Branching(Reach):
    def success(self, xp: Any, state: StateView) -> Array:
        return state.joint_pos[:, 0] > (0.5 if (state.joint_pos > 0.0)[0, 0] else 0.0)


class Leaking(Reach):
    def reward(
        self, xp: Any, previous: StateView, current: StateView, action: Array, last: Array
    ) -> tuple[Array, ...]:
        return (current.joint_pos[:, 0], xp.sum(action, axis=0) + 0.0 * action[:, 0])


def test_a_task_that_cannot_be_recorded_keeps_its_arrays_and_says_why() -> None:
    assert evaluator(Branching()).why == "Untraceable: a branch on the value of an array"
    assert evaluator(Leaking()).why == "Untraceable: plain numbers and arrays differ"

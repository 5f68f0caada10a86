import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.core.observation import Op, Term
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.errors import ConfigError, UnknownNameError

SIGNALS = {"joint_pos": ("a", "b", "c"), "joint_vel": ("a", "b", "c"), "last_action": ("b",)}


def term(
    name: str, source: str = "joint_pos", elements: tuple[str, ...] = ("a",), **more: Any
) -> Term:
    return Term(name=name, source=source, elements=elements, **more)


def raw(*rows: list[float]) -> dict[str, np.ndarray]:
    pos = np.array(rows, dtype=float)
    return {"joint_pos": pos, "joint_vel": 10.0 * pos, "last_action": pos[:, :1]}


# -- operations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        (Op("sin"), math.pi / 6, 0.5),
        (Op("cos"), math.pi, -1.0),
        (Op("scale", (0.1,)), 25.0, 2.5),
        (Op("offset", (-2.0,)), 0.5, -1.5),
        (Op("clip", (-1.0, 2.0)), 7.0, 2.0),
        (Op("clip", (-1.0, 2.0)), -7.0, -1.0),
        (Op("clip", (-1.0, 2.0)), 0.3, 0.3),
        (Op("wrap"), 1.0, 1.0),
        (Op("wrap"), math.pi, -math.pi),
        (Op("wrap"), -math.pi, -math.pi),
        (Op("wrap"), 3 * math.pi + 0.25, -math.pi + 0.25),
        (Op("wrap"), -7.0, -7.0 + 2 * math.pi),
    ],
)
def test_operations_on_numbers_done_by_hand(op: Op, value: float, expected: float) -> None:
    pipeline = ObservationPipeline((term("x", ops=(op,)),), SIGNALS)
    pipeline.restart(raw([value, 0.0, 0.0]))
    assert pipeline.emit()[0, 0] == pytest.approx(expected, abs=1e-6)


def test_operations_run_from_left_to_right() -> None:
    ops = (Op("offset", (1.0,)), Op("scale", (3.0,)), Op("clip", (-5.0, 5.0)))
    pipeline = ObservationPipeline((term("x", ops=ops),), SIGNALS, 2)
    pipeline.restart(raw([0.5, 0, 0], [2.0, 0, 0]))
    np.testing.assert_array_equal(pipeline.emit(), [[4.5], [5.0]])


@given(st.floats(-1e4, 1e4))
def test_wrapping_lands_within_half_a_turn_and_changes_no_direction(angle: float) -> None:
    pipeline = ObservationPipeline((term("x", ops=(Op("wrap"),)),), SIGNALS)
    pipeline.restart(raw([angle, 0.0, 0.0]))
    wrapped = float(pipeline.history[0, 0, 0])
    assert -math.pi <= wrapped <= math.pi
    assert math.cos(wrapped - angle) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("sine", (), "Did you mean 'sin'"),
        ("scale", (), "takes 1 values"),
        ("clip", (1.0,), "takes 2 values"),
        ("offset", (math.nan,), "not finite"),
        ("lag", (0.0,), "whole number of control steps"),
        ("lag", (1.5,), "whole number of control steps"),
    ],
)
def test_wrong_operations_are_refused(kind: Any, values: tuple[float, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Op(kind, values)


# -- layout and history ----------------------------------------------------------------------------


def test_entries_stand_term_after_term_and_frame_after_frame_oldest_first() -> None:
    terms = (
        term("pos", elements=("c", "a"), history=2),
        term("act", "last_action", ("b",), history=3, fill="zero"),
    )
    pipeline = ObservationPipeline(terms, SIGNALS)
    pipeline.restart(raw([1, 2, 3]))
    np.testing.assert_array_equal(pipeline.emit(), [[3, 1, 3, 1, 0, 0, 1]])
    pipeline.push(raw([4, 5, 6]))
    np.testing.assert_array_equal(pipeline.emit(), [[3, 1, 6, 4, 0, 1, 4]])
    pipeline.push(raw([7, 8, 9]))
    pipeline.push(raw([10, 11, 12]))
    np.testing.assert_array_equal(pipeline.emit(), [[9, 7, 12, 10, 4, 7, 10]])
    assert pipeline.entry_names == (
        *("pos[c]@1", "pos[a]@1", "pos[c]@0", "pos[a]@0"),
        *("act[b]@2", "act[b]@1", "act[b]@0"),
    )


def test_restarting_some_rows_leaves_the_others_alone() -> None:
    pipeline = ObservationPipeline((term("x", history=3),), SIGNALS, 2)
    pipeline.restart(raw([1, 0, 0], [2, 0, 0]))
    pipeline.push(raw([3, 0, 0], [4, 0, 0]))
    pipeline.restart(raw([9, 0, 0], [8, 0, 0]), np.array([False, True]))
    np.testing.assert_array_equal(pipeline.emit(), [[1, 1, 3], [8, 8, 8]])
    pipeline.push(raw([5, 0, 0], [6, 0, 0]))
    np.testing.assert_array_equal(pipeline.emit(), [[1, 3, 5], [8, 8, 6]])


def test_a_restored_history_goes_on_as_the_saved_one() -> None:
    terms = (term("x", elements=("a", "b"), history=4), term("y", "joint_vel", ("c",), history=2))
    first, second = (ObservationPipeline(terms, SIGNALS, 1) for _ in range(2))
    first.restart(raw([0, 0, 0]))
    for i in range(6):
        first.push(raw([i, -i, 2 * i]))
    second.restore(first.history)
    for i in range(5):
        np.testing.assert_array_equal(first.emit(), second.emit())
        first.push(raw([i, i, i]))
        second.push(raw([i, i, i]))


def test_the_observation_is_cast_once_at_the_end() -> None:
    pipeline = ObservationPipeline((term("x"),), SIGNALS)
    pipeline.restart(raw([1 / 3, 0, 0]))
    assert pipeline.history[0, 0, 0] == 1 / 3
    assert pipeline.emit().dtype == np.float32
    out = np.zeros((1, 1), dtype=np.float32)
    assert pipeline.emit(out) is out
    assert out[0, 0] == np.float32(1 / 3)


OPS = st.one_of(
    st.sampled_from([Op("sin"), Op("cos"), Op("wrap")]),
    st.floats(-3, 3).map(lambda v: Op("scale", (v,))),
    st.floats(-3, 3).map(lambda v: Op("offset", (v,))),
    st.floats(-3, 0).map(lambda v: Op("clip", (v, v + 1.5))),
)
TERMS = st.lists(
    st.tuples(
        st.sampled_from(["joint_pos", "joint_vel"]),
        st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True),
        st.lists(OPS, max_size=3),
        st.integers(1, 4),
        st.sampled_from(["first", "zero"]),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=5,
)


def terms_of(specs: list) -> list[Term]:
    return [
        Term(
            name=f"t{i}",
            source=source,
            elements=tuple(elements),
            ops=(*ops, Op("lag", (lag,))) if lag else tuple(ops),
            history=history,
            fill=fill,
        )
        for i, (source, elements, ops, history, fill, lag) in enumerate(specs)
    ]


def naive(op: Op, x: float) -> float:
    v = op.values
    return {
        "sin": lambda: math.sin(x),
        "cos": lambda: math.cos(x),
        "wrap": lambda: (x + math.pi) % (2 * math.pi) - math.pi,
        "scale": lambda: x * v[0],
        "offset": lambda: x + v[0],
        "clip": lambda: min(max(x, v[0]), v[1]),
        "lag": lambda: x,
    }[op.kind]()


@settings(deadline=None, max_examples=60)
@given(specs=TERMS, num_steps=st.integers(0, 6), seed=st.integers(0, 100))
def test_the_pipeline_equals_a_naive_one(specs: list, num_steps: int, seed: int) -> None:
    terms = terms_of(specs)
    pipeline = ObservationPipeline(terms, SIGNALS, 3)
    rng = np.random.default_rng(seed)
    frames = [raw(*rng.uniform(-4, 4, (3, 3))) for _ in range(num_steps + 1)]
    pipeline.restart(frames[0])
    for frame in frames[1:]:
        pipeline.push(frame)
    for row, got in enumerate(pipeline.emit()):
        expected: list[float] = []
        for t in terms:
            for age in reversed(range(t.history)):
                at = num_steps - age - t.lag
                for element in t.elements:
                    x = frames[max(at, 0)][t.source][row, "abc".index(element)]
                    for op in t.ops:
                        x = naive(op, x)
                    expected.append(0.0 if at < 0 and t.fill == "zero" else x)
        np.testing.assert_allclose(got, expected, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(specs=TERMS, seed=st.integers(0, 100))
def test_observations_stay_within_their_bounds(specs: list, seed: int) -> None:
    terms = terms_of(specs)
    pipeline = ObservationPipeline(terms, SIGNALS, 2)
    low, high = pipeline.bounds({"joint_pos": (-4.0, 4.0)})
    pipeline.restart(raw(*np.random.default_rng(seed).uniform(-4, 4, (2, 3))))
    assert low.shape == high.shape == (pipeline.dim,)
    assert ((low <= pipeline.emit()) & (pipeline.emit() <= high)).all()


def test_bounds_by_hand() -> None:
    terms = (
        term("sin", ops=(Op("sin"),)),
        term("speed", "joint_vel", ops=(Op("scale", (-0.1,)), Op("clip", (-3.0, 3.0)))),
        term("free", "joint_vel"),
        term("act", "last_action", ("b",), history=2, fill="zero", ops=(Op("offset", (2.0,)),)),
    )
    low, high = ObservationPipeline(terms, SIGNALS).bounds({"last_action": (-1.0, 1.0)})
    np.testing.assert_array_equal(low, [-1, -3, -np.inf, 0, 0])
    np.testing.assert_array_equal(high, [1, 3, np.inf, 3, 3])


def test_a_lagged_term_shows_what_was_a_step_ago_filled_as_declared() -> None:
    terms = (
        term("late", ops=(Op("scale", (2.0,)), Op("lag", (2,))), fill="zero"),
        term("held", ops=(Op("lag", (1,)),), history=2),
        term("now"),
    )
    pipeline = ObservationPipeline(terms, SIGNALS)
    assert pipeline.entry_names == ("late[a]@2", "held[a]@2", "held[a]@1", "now[a]@0")
    seen = []
    for value in (1.0, 3.0, 5.0, 7.0):
        frame = raw([value, 0, 0])
        pipeline.push(frame) if seen else pipeline.restart(frame)
        seen.append(pipeline.emit()[0].tolist())
    assert seen == [[0, 1, 1, 1], [0, 1, 1, 3], [2, 1, 3, 5], [6, 3, 5, 7]]


def test_a_lagged_term_may_show_its_fill() -> None:
    ops = (Op("offset", (5.0,)), Op("clip", (4.0, 6.0)), Op("lag", (1,)))
    low, high = ObservationPipeline((term("x", ops=ops, fill="zero"),), SIGNALS).bounds()
    assert (low[0], high[0]) == (0.0, 6.0)


# -- errors and the JSON form ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ((term("x", "joint_poss"),), "Did you mean 'joint_pos'"),
        ((term("x", elements=("d",)),), "element of signal 'joint_pos' in term 'x' 'd'"),
    ],
)
def test_unknown_names_are_refused(terms: tuple[Term, ...], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        ObservationPipeline(terms, SIGNALS)


@pytest.mark.parametrize("terms", [(), (term("x"), term("x"))])
def test_terms_need_unique_names(terms: tuple[Term, ...]) -> None:
    with pytest.raises(ConfigError, match="unique names"):
        ObservationPipeline(terms, SIGNALS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"history": 0}, "at least 1"), ({"elements": ()}, "no elements"), ({"fill": "last"}, "fill")],
)
def test_wrong_terms_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Term(**{"name": "x", "source": "joint_pos", "elements": ("a",), **wrong})


def test_the_json_form_gives_the_term_back() -> None:
    original = term("x", history=3, fill="zero", ops=(Op("scale", (0.5,)), Op("sin")))
    assert Term.from_dict(original.to_dict()) == original


# -- operations that remember ----------------------------------------------------------------------


def test_unwrapping_goes_on_beyond_half_a_turn() -> None:
    pipeline = ObservationPipeline((term("x", ops=(Op("unwrap"),)),), SIGNALS)
    pipeline.restart(raw([3.0, 0.0, 0.0]))
    seen = [float(pipeline.emit()[0, 0])]
    # 0.5 rad a step across pi, where the sensor jumps to the other end, and back.
    for angle in (3.5 - 2 * math.pi, 4.0 - 2 * math.pi, 3.5 - 2 * math.pi, 3.0):
        pipeline.push(raw([angle, 0.0, 0.0]))
        seen.append(float(pipeline.emit()[0, 0]))
    np.testing.assert_allclose(seen, [3.0, 3.5, 4.0, 3.5, 3.0], atol=1e-6)


def test_a_low_pass_moves_by_its_share() -> None:
    pipeline = ObservationPipeline((term("x", ops=(Op("low_pass", (0.25,)),)),), SIGNALS)
    pipeline.restart(raw([8.0, 0.0, 0.0]))
    seen = [float(pipeline.emit()[0, 0])]
    for _ in range(2):
        pipeline.push(raw([0.0, 0.0, 0.0]))
        seen.append(float(pipeline.emit()[0, 0]))
    assert seen == [8.0, 6.0, 4.5]


def test_what_is_remembered_begins_anew_in_the_restarted_rows_alone() -> None:
    ops = (Op("low_pass", (0.5,)), Op("scale", (2.0,)))
    pipeline = ObservationPipeline((term("x", ops=ops),), SIGNALS, 2)
    pipeline.restart(raw([4.0, 0, 0], [4.0, 0, 0]))
    pipeline.restart(raw([8.0, 0, 0], [100.0, 0, 0]), np.array([True, False]))
    np.testing.assert_array_equal(pipeline.emit(), [[16.0], [8.0]])
    pipeline.push(raw([0.0, 0, 0], [0.0, 0, 0]))
    np.testing.assert_array_equal(pipeline.emit(), [[8.0], [4.0]])


def test_what_is_remembered_is_restored() -> None:
    terms = (
        term("x", ops=(Op("low_pass", (0.5,)),), history=3, stride=2, order="newest_first"),
        term("y", elements=("b", "c"), ops=(Op("unwrap"), Op("sin"))),
    )
    pipeline, other = (ObservationPipeline(terms, SIGNALS, 2) for _ in range(2))
    rng = np.random.default_rng(0)
    signals = [raw(*rng.normal(0.0, 2.0, (2, 3)).tolist()) for _ in range(9)]
    pipeline.restart(signals[0])
    for signal in signals[1:5]:
        pipeline.push(signal)
    other.restore(pipeline.history)
    for signal in signals[5:]:
        pipeline.push(signal)
        other.push(signal)
        np.testing.assert_array_equal(pipeline.emit(), other.emit())


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_low_pass_needs_a_share(share: float) -> None:
    with pytest.raises(ConfigError, match="a share in"):
        Op("low_pass", (share,))


def test_frames_may_stride_and_come_newest_first() -> None:
    terms = (
        term("old", history=3, stride=2),
        term("new", history=2, stride=3, order="newest_first", fill="zero"),
    )
    pipeline = ObservationPipeline(terms, SIGNALS)
    assert pipeline.entry_names == ("old[a]@4", "old[a]@2", "old[a]@0", "new[a]@0", "new[a]@3")
    pipeline.restart(raw([1.0, 0, 0]))
    np.testing.assert_array_equal(pipeline.emit(), [[1, 1, 1, 1, 0]])
    for value in (2.0, 3.0, 4.0, 5.0):
        pipeline.push(raw([value, 0, 0]))
    np.testing.assert_array_equal(pipeline.emit(), [[1, 3, 5, 5, 2]])


@pytest.mark.parametrize(
    ("field", "value"), [("history", 0), ("stride", 0), ("fill", "last"), ("order", "random")]
)
def test_a_history_that_makes_no_sense_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        term("x", **{field: value})

"""From one row come the same bits as from one signal after the other, in fewer operations."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.core.observation import Op, Term
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.deploy.one_row import ROW, of_one_row

# Joined by a point, "a" with "b.c" and "a.b" with "c" would have one name.
SIGNALS = {"a": ("x", "b.c"), "a.b": ("c", "y", "z"), "last_action": ("u",)}
NUMBER = st.floats(-10.0, 10.0)
OPS = st.one_of(
    st.builds(lambda a: Op("scale", (a,)), NUMBER),
    st.builds(lambda a: Op("offset", (a,)), NUMBER),
    st.builds(lambda a: Op("clip", (a, a + 1.0)), NUMBER),
    st.sampled_from([Op("sin"), Op("wrap"), Op("low_pass", (0.5,)), Op("lag", (1.0,))]),
)
PLACES = st.sampled_from([(name, e) for name, elements in SIGNALS.items() for e in elements])


@st.composite
def terms(draw: st.DrawFn) -> tuple[Term, ...]:
    """Draw terms that read neighbours of one signal."""
    found = []
    for i in range(draw(st.integers(1, 5))):
        source, first = draw(PLACES)
        known = SIGNALS[source]
        at = known.index(first)
        term = Term(
            name=str(i),
            source=source,
            elements=known[at : at + draw(st.integers(1, 3))],
            ops=tuple(draw(st.lists(OPS, max_size=3))),
            history=draw(st.integers(1, 2)),
            fill=draw(st.sampled_from(["first", "zero"])),
        )
        found.append(term)
    return tuple(found)


@settings(deadline=None)
@given(terms(), st.integers(1, 4), st.integers(0, 1000))
def test_every_bit_is_the_same(found: tuple[Term, ...], steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    by_name = ObservationPipeline(found, SIGNALS)
    by_row = of_one_row(ObservationPipeline(found, SIGNALS))
    for step in range(steps):
        row = 3.0 * rng.standard_normal((1, 6))
        row[0, rng.integers(6)] = -0.0
        signals = {"a": row[:, :2], "a.b": row[:, 2:5], "last_action": row[:, 5:]}
        for pipeline, values in ((by_name, signals), (by_row, {ROW: row})):
            pipeline.push(values) if step else pipeline.restart(values)
        assert by_row.emit().tobytes() == by_name.emit().tobytes()


def test_what_is_scaled_and_what_is_shifted_share_two_operations() -> None:
    found = (
        Term(name="p", source="a", elements=("x",), ops=(Op("offset", (-1.0,)),)),
        Term(name="v", source="a.b", elements=("z", "y"), ops=(Op("scale", (2.0,)),)),
        Term(name="u", source="last_action", elements=("u",)),
        Term(name="s", source="a", elements=("x",), ops=(Op("sin"),)),
    )
    pipeline = of_one_row(ObservationPipeline(found, SIGNALS))
    assert [[op.kind for op in term.ops] for term in pipeline.terms] == [
        *[["scale", "offset"]] * 3,
        ["sin"],
    ]
    assert len(pipeline._groups) == 2
    pipeline.restart({ROW: np.array([[0.5, 9.0, 9.0, 1.0, 2.0, 0.25]])})
    expected = np.array([-0.5, 4.0, 2.0, 0.25, np.sin(0.5)], dtype=np.float32)
    assert pipeline.emit().tolist() == [expected.tolist()]

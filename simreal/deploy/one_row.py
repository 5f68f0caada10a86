"""Evaluate an observation with few array operations, from all signals in one row.

A call of numpy costs the same for one number as for fifty. A robot's observation takes each signal
through operations of its own; but a signal that is only scaled can be given an offset as well, one
that changes nothing, and then both are the same two operations, with a number per entry.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from simreal.core.observation import Op, Term
from simreal.core.observation_pipeline import ObservationPipeline

ROW = "row"
"""Name of the one signal."""

# Each gives back the very number that comes in; adding 0 would turn -0 into 0.
_IDENTITY = {"scale": Op("scale", (1.0,)), "offset": Op("offset", (-0.0,))}


def of_one_row(pipeline: ObservationPipeline) -> ObservationPipeline:
    """Return a pipeline that gives the same numbers from the signals in one row.

    Args:
        pipeline: A pipeline; its signals stand in the row one after the other, in its order.
    """
    row = [(name, e) for name, elements in pipeline.signal_elements.items() for e in elements]
    place = {key: str(i) for i, key in enumerate(row)}
    terms = [
        replace(term, source=ROW, elements=tuple(place[term.source, e] for e in term.elements))
        for term in pipeline.terms
    ]
    return ObservationPipeline(_alike(terms), {ROW: list(place.values())}, pipeline.num_rows)


def _alike(terms: Sequence[Term]) -> list[Term]:
    """Give neighbours that are only scaled and shifted the same operations."""
    found: list[Term] = []
    for affine, run in groupby(terms, lambda term: all(op.kind in _IDENTITY for op in term.ops)):
        neighbours = list(run)
        if affine:
            kinds = _common([[op.kind for op in term.ops] for term in neighbours])
            neighbours = [replace(t, ops=_padded(t.ops, kinds)) for t in neighbours]
        found += neighbours
    return found


def _common(sequences: Sequence[Sequence[str]]) -> list[str]:
    """Return a short sequence in which all of these are found, with others in between."""
    common: list[str] = []
    for sequence in sequences:
        at = 0
        for word in sequence:
            if word not in common[at:]:
                common.insert(at, word)
            at = common.index(word, at) + 1
    return common


def _padded(ops: Sequence[Op], kinds: Sequence[str]) -> tuple[Op, ...]:
    """Return operations of these kinds that do what the given ones do."""
    rest = list(ops)
    return tuple(
        rest.pop(0) if rest and rest[0].kind == kind else _IDENTITY[kind] for kind in kinds
    )

"""What is believed of parameters, and the numbers that a fit moves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simreal.core.params import DynamicsParams, catalogue
from simreal.errors import ConfigError, ParameterError
from simreal.identification import Unknown, Unknowns
from simreal.identification.unknowns import REACH, UnknownVector
from simreal_envs.robots import double_pendulum

ROBOT = double_pendulum()
SPECS = catalogue(ROBOT)
SCALED, ADDED = Unknown(mode="scale", spread=0.2), Unknown(mode="add", spread=0.05)


def vector(params: dict[str, object], fixed: dict[str, object] | None = None) -> UnknownVector:
    return UnknownVector(Unknowns(params), SPECS, fixed or {})


def test_factors_and_additions() -> None:
    found = vector({"mass": {"upper_link": SCALED}, "joint_friction": {"*": ADDED}})
    assert [column.label for column in found.columns] == [
        "joint_friction.shoulder",
        "joint_friction.elbow",
        "mass.upper_link",
    ]
    values = found.values(np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 1.0]]))
    np.testing.assert_allclose(values["mass.upper_link"], 0.52346 * np.exp([0.0, 0.2]))
    np.testing.assert_allclose(values["joint_friction.shoulder"], [0.16, 0.21])
    np.testing.assert_allclose(values["joint_friction.elbow"], [0.12, 0.02])


def test_the_domains_value_is_what_is_believed() -> None:
    found = vector({"command_delay": ADDED}, {"command_delay": 0.011})
    assert found.columns[0].start == 0.011
    assert found.engine_names == ()
    assert found.columns[0].bounds() == pytest.approx((-0.22, REACH))


def test_a_vectors_components_are_added_to_and_scaled_alike() -> None:
    added = vector({"com.upper_link": ADDED})
    assert [c.label for c in added.columns] == [f"com.upper_link[{i}]" for i in range(3)]
    np.testing.assert_allclose(
        added.values(np.array([[1.0, 0.0, 2.0]]))["com.upper_link"], [[0.05, 0.0, -0.1]]
    )
    scaled = vector({"inertia.upper_link": SCALED})
    nominal = np.array(SPECS["inertia.upper_link"].nominal)
    assert len(scaled.columns) == 1
    assert scaled.columns[0].start == 1.0
    np.testing.assert_allclose(
        scaled.values(np.array([[1.0], [-1.0]]))["inertia.upper_link"],
        nominal * np.exp([[0.2], [-0.2]]),
    )


def test_a_full_name_beats_a_pattern() -> None:
    found = vector({"mass": {"*": ADDED, "upper_link": SCALED}})
    assert {c.spec.name: c.rule for c in found.columns} == {
        "mass.lower_link": ADDED,
        "mass.upper_link": SCALED,
    }


def test_deviations_follow_the_slope() -> None:
    mass, friction = (
        vector({name: rule}).columns[0]
        for name, rule in (("mass.upper_link", SCALED), ("joint_friction.elbow", ADDED))
    )
    assert friction.deviation(3.0, 0.5) == pytest.approx(0.025)
    step = 1e-6
    slope = float(mass.value(1.0 + step) - mass.value(1.0 - step)) / (2.0 * step)
    assert mass.deviation(1.0, 0.5) == pytest.approx(0.5 * slope)


@given(
    mode=st.sampled_from(["scale", "add"]),
    spread=st.floats(1e-3, 10.0),
    share=st.lists(st.floats(0.0, 1.0), min_size=11, max_size=11),
)
def test_whatever_lies_within_the_bounds_can_be_applied(
    mode: str, spread: float, share: list[float]
) -> None:
    rule = Unknown(mode=mode, spread=spread)  # type: ignore[arg-type]
    found = vector(
        {
            "mass.*": rule,
            "joint_friction.*": rule,
            "motor_strength.*": rule,
            "gravity": rule,
            "inertia.*": Unknown(mode="scale", spread=min(spread, 1.0)),
            "com.upper_link": ADDED,
        }
    )
    low, high = found.bounds
    assert (low <= 0.0).all()
    assert (high >= 0.0).all()
    x = low + np.resize(share, low.size) * (high - low)
    DynamicsParams(SPECS, found.values(x[None]), 1)  # raises where one is out of its bounds


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "name a parameter"),
        ({"mass": {"*": 0.2}}, "Unknown"),
        ({"mass.torso": SCALED}, "unknown dynamics parameter 'mass.torso'"),
        ({"joint_pos_noise": ADDED}, "a matter of sensing"),
        ({"torque_noise": ADDED}, "only 'command_delay'"),
        ({"command_delay": SCALED}, "scales 0 s, which changes nothing; use mode add"),
    ],
)
def test_what_cannot_be_identified_is_refused(params: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        vector(params)


@pytest.mark.parametrize("spread", [0.0, -1.0, float("inf"), float("nan"), True, "wide"])
def test_spreads_are_positive(spread: object) -> None:
    with pytest.raises(ParameterError, match="a positive number is needed"):
        Unknown(mode="add", spread=spread)  # type: ignore[arg-type]


def test_modes_are_known() -> None:
    with pytest.raises(ConfigError, match="scale"):
        Unknown(mode="scal", spread=1.0)  # type: ignore[arg-type]

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simreal.core.distributions import Beta, Fixed, LogUniform, Normal, TruncatedNormal, Uniform
from simreal.core.params import catalogue
from simreal.core.seeding import Stream
from simreal.domains import Domain, JointSamples, Randomization, Randomized, SimVecEnv
from simreal.domains.randomization import Sampler
from simreal.errors import ParameterError, UnknownNameError
from simreal_envs.robots import double_pendulum
from simreal_envs.tasks.double_pendulum import Pendubot
from tests.domains.conftest import Build

SPECS = catalogue(double_pendulum())


def scale(low: float = 0.9, high: float = 1.1, **more: Any) -> Randomized:
    return Randomized(distribution=Uniform(low, high), mode="scale", **more)


def sampler(
    params: dict[str, Any], fixed: dict[str, Any] | None = None, worlds: int = 3
) -> Sampler:
    return Sampler(Randomization(params), SPECS, fixed or {}, worlds, seed=0)


def draw(made: Sampler, *names: str, episode: int = 0, block: int = 0) -> dict[str, np.ndarray]:
    worlds = made.num_worlds
    made.draw(names, np.ones(worlds, bool), np.full(worlds, episode), np.full(worlds, block))
    return {name: made.values[name].copy() for name in names}


# -- rules -----------------------------------------------------------------------------------------


def test_a_star_means_every_target_and_a_full_name_beats_it() -> None:
    special = Randomized(distribution=Fixed(0.5))
    rules = Randomization({"joint_friction": {"elbow": special, "*": scale()}}).resolve(SPECS)
    assert rules["joint_friction.elbow"] is special
    assert rules["joint_friction.shoulder"] == scale()


@pytest.mark.parametrize(
    ("mode", "distribution", "expected"),
    [("set", Fixed(2.0), 2.0), ("scale", Fixed(2.0), 1.2), ("add", Fixed(2.0), 2.6)],
)
def test_a_number_sets_scales_or_adds(mode: Any, distribution: Fixed, expected: float) -> None:
    rule = Randomized(distribution=distribution, mode=mode)
    made = sampler({"mass.upper_link": rule}, {"mass.upper_link": 0.6})
    assert draw(made, "mass.upper_link")["mass.upper_link"] == pytest.approx(expected)


def test_a_factor_scales_all_components_alike() -> None:
    drawn = draw(sampler({"inertia.upper_link": scale()}), "inertia.upper_link")
    factors = drawn["inertia.upper_link"] / np.array(SPECS["inertia.upper_link"].nominal)
    np.testing.assert_allclose(factors, np.tile(factors[:, :1], 3))
    assert np.unique(factors[:, 0].round(12)).size == 3, "another one in every world"


def test_a_shift_moves_every_component_by_itself() -> None:
    rule = Randomized(distribution=Uniform(-0.01, 0.01), mode="add")
    drawn = draw(sampler({"com.upper_link": rule}), "com.upper_link")["com.upper_link"]
    assert np.unique(drawn - np.array(SPECS["com.upper_link"].nominal)).size == 9


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"distribution": 1.0}, ParameterError, "distribution is 1.0"),
        ({"mode": "multiply"}, UnknownNameError, "mode of a randomization 'multiply'"),
        ({"when": "rest"}, UnknownNameError, "Did you mean 'reset'"),
        ({"interval_s": 0.0}, ParameterError, "interval_s is 0.0; a positive time"),
        ({"interval_s": "1"}, ParameterError, "interval_s is '1'"),
    ],
)
def test_wrong_rules_are_refused(wrong: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Randomized(**{"distribution": Fixed(1.0), **wrong})


@pytest.mark.parametrize("params", [{"mass": {"upper_link": 1.0}}, {"gravity": None}, [1]])
def test_a_leaf_that_is_no_rule_is_refused(params: Any) -> None:
    with pytest.raises(ParameterError, match=r"Randomized\(distribution=|as a mapping"):
        Randomization(params)


@pytest.mark.parametrize(
    ("name", "rule", "message"),
    [
        ("mass.upper_link", scale(-0.1, 1.0), "outside its hard bounds"),
        ("dropout", Randomized(distribution=Uniform(0.5, 1.5)), r"reaches from 0.5 to 1.5 1"),
        ("gravity", Randomized(distribution=Normal(9.81, 3.0)), "reaches from -8.19"),
        ("joint_pos_noise", scale(), "scales 0 rad, which changes nothing"),
        ("mass.uper_link", scale(), "Did you mean 'mass.upper_link'"),
    ],
)
def test_draws_that_cannot_be_are_refused_when_built(
    name: str, rule: Randomized, message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        sampler({name: rule}, {"joint_pos_noise": 0.0})


def test_a_distribution_without_ends_is_cut_at_six_standard_deviations() -> None:
    made = sampler({"gravity": Randomized(distribution=Normal(9.0, 0.5))})
    assert made.reach("gravity") == (6.0, 12.0)


# -- independence ----------------------------------------------------------------------------------


def test_a_draw_does_not_depend_on_what_else_is_drawn_or_in_which_order() -> None:
    alone = sampler({"mass.lower_link": scale()})
    among = sampler({"gravity": scale(), "joint_friction.*": scale(), "mass.*": scale()})
    mine = draw(alone, "mass.lower_link")["mass.lower_link"]
    names = ("gravity", "joint_friction.elbow", "mass.upper_link", "mass.lower_link")
    for order in (names, names[::-1]):
        np.testing.assert_array_equal(draw(among, *order)["mass.lower_link"], mine)


def test_parameters_are_drawn_independently_of_each_other() -> None:
    made = sampler({"mass.*": scale(), "gravity": scale(when="step")}, worlds=400)
    drawn = draw(made, "mass.upper_link", "mass.lower_link", "gravity")
    table = np.corrcoef(np.array([values[:, 0] for values in drawn.values()]))
    assert np.abs(table - np.eye(3)).max() < 4 / 400**0.5


def test_episode_and_block_give_other_draws_and_the_mask_limits_them() -> None:
    made = sampler({"gravity": scale()})
    first = draw(made, "gravity")["gravity"]
    assert (draw(made, "gravity", episode=1)["gravity"] != first).all()
    assert (draw(made, "gravity", block=1)["gravity"] != first).all()
    np.testing.assert_array_equal(draw(made, "gravity")["gravity"], first)
    only = np.array([False, True, False])
    made.draw(("gravity",), only, np.full(3, 9), np.zeros(3, int), Stream.DYNAMICS)
    assert (made.values["gravity"][:, 0] != first[:, 0]).tolist() == [False, True, False]


# -- in the runtime: realized draws, and when ------------------------------------------------------

KS = [
    ("mass.cart", Randomized(distribution=Uniform(0.5, 1.5), mode="scale"), stats.uniform(1, 2)),
    ("gravity", Randomized(distribution=Normal(9.0, 0.3)), stats.norm(9.0, 0.3)),
    (
        "joint_friction.rail",
        Randomized(distribution=LogUniform(0.01, 1.0)),
        stats.loguniform(0.01, 1),
    ),
    ("dropout", Randomized(distribution=Beta(2.0, 5.0, 0.0, 1.0)), stats.beta(2, 5)),
    (
        "command_delay",
        Randomized(distribution=TruncatedNormal(0.01, 0.01, 0.0, 0.02)),
        stats.truncnorm(-1, 1, 0.01, 0.01),
    ),
]


@pytest.mark.parametrize(("name", "rule", "wanted"), KS, ids=[case[0] for case in KS])
def test_realized_draws_have_the_declared_distribution_and_reach_engine_or_wiring(
    build: Build, name: str, rule: Randomized, wanted: Any
) -> None:
    env = build(8, randomization=Randomization({name: rule}))
    drawn, seen = [], []
    for _ in range(50):  # 400 episodes; a test at 0.1 %, with fixed seeds
        env.reset()
        drawn.append(env.params[name][:, 0].copy())
        applied: Any = env.engine
        seen.append(np.array(applied.applied.get(name, env._wiring.values.get(name))))
    assert stats.kstest(np.concatenate(drawn), wanted.cdf).pvalue > 1e-3
    np.testing.assert_array_equal(drawn, seen)


def test_startup_draws_once_per_world_and_again_after_reseeding(build: Build) -> None:
    env = build(3, randomization=Randomization({"gravity": scale(when="startup")}))
    env.reset(5)
    first = env.params["gravity"].copy()
    assert np.unique(first).size == 3
    env.reset()
    np.testing.assert_array_equal(env.params["gravity"], first)
    env.reset(6)
    assert (env.params["gravity"] != first).all()
    env.reset(5)
    np.testing.assert_array_equal(env.params["gravity"], first)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"when": "reset"}, [0, 0, 0, 0, 0, 0]),
        ({"when": "step"}, [1, 1, 1, 1, 1, 1]),
        ({"when": "interval", "interval_s": 0.03}, [0, 0, 1, 0, 0, 1]),
    ],
)
def test_draws_come_when_they_should(
    build: Build, more: dict[str, Any], expected: list[int]
) -> None:
    rule = scale(**more)
    env = build(2, randomization=Randomization({"gravity": rule, "mass.cart": rule}))
    env.reset(0)
    before, changed = env.params["gravity"].copy(), []
    for _ in expected:
        env.step(np.zeros((2, 1)))
        now = env.params["gravity"]
        changed.append(int((now != before).all()))
        before = now.copy()
        assert (now / 9.81 != env.params["mass.cart"] / 2.0).all(), "each has its own numbers"
    assert changed == expected


def test_a_randomized_delay_acts(build: Build) -> None:
    rule = Randomized(distribution=Uniform(0.0, 0.02), mode="set")
    env = build(4, randomization=Randomization({"command_delay": rule}))
    env.reset(1)
    env.step(np.ones((4, 1)))
    engine: Any = env.engine
    got = engine.schedules[0][:, :, 0].sum(axis=0) / 4.0 * 0.002  # seconds it acted, of 10 ms
    np.testing.assert_allclose(got, np.maximum(0.010 - env.params["command_delay"][:, 0], 0.0))


def test_draws_reach_a_real_simulator() -> None:
    domain = Domain(
        name="d", engine="mujoco", randomization=Randomization({"mass": {"*": scale()}})
    )
    env = SimVecEnv(double_pendulum(), Pendubot(), domain, 4)
    try:
        env.reset(2)
        for name, values in env.params.items():
            realized = env.engine.realized(name)
            assert realized is not None
            np.testing.assert_allclose(realized, values[:, 0], rtol=1e-12)
            assert np.unique(values).size == 4
    finally:
        env.close()


# -- joint samples ---------------------------------------------------------------------------------

ROWS = {
    "mass.upper_link": [0.5, 0.6, 0.7, 0.8],
    "com.upper_link": [[0.0, 0.0, -0.1 * i] for i in range(1, 5)],
    "command_delay": [0.001, 0.002, 0.003, 0.004],
}


def joint_sampler(worlds: int = 200, **more: Any) -> Sampler:
    return Sampler(Randomization(joint=JointSamples(ROWS), **more), SPECS, {}, worlds, seed=0)


def test_joint_samples_are_drawn_as_whole_sets() -> None:
    drawn = draw(joint_sampler(), *ROWS)
    taken = np.searchsorted(ROWS["mass.upper_link"], drawn["mass.upper_link"][:, 0])
    assert set(taken.tolist()) == {0, 1, 2, 3}
    for name, rows in ROWS.items():
        expected = np.array(rows)[taken].reshape(len(taken), -1)
        np.testing.assert_array_equal(drawn[name], expected)


@given(st.integers(2, 9), st.integers(0, 50), st.integers(0, 2**32))
def test_a_set_depends_on_world_and_episode_alone(count: int, episode: int, seed: int) -> None:
    rows = {"mass.upper_link": np.linspace(0.5, 0.8, count).tolist()}
    more = {"gravity": np.linspace(9.0, 10.0, count).tolist()}
    alone, both = (
        Sampler(Randomization(joint=JointSamples(v)), SPECS, {}, 4, seed)
        for v in (rows, rows | more)
    )
    expected = draw(alone, "mass.upper_link", episode=episode)["mass.upper_link"]
    drawn = draw(both, "mass.upper_link", "gravity", episode=episode)
    np.testing.assert_array_equal(drawn["mass.upper_link"], expected)
    assert np.isin(expected, rows["mass.upper_link"]).all()


def test_joint_samples_beat_a_pattern_and_reach_from_the_least_to_the_greatest() -> None:
    made = joint_sampler(params={"mass": {"*": scale()}})
    assert made.reach("mass.upper_link") == (0.5, 0.8)
    assert made.reach("command_delay") == (0.001, 0.004)
    assert made.rules["mass.lower_link"] == scale()
    assert made.names("reset") == ("mass.upper_link", "mass.lower_link", *list(ROWS)[1:])


def test_joint_samples_say_what_they_are() -> None:
    randomization = Randomization({"gravity": scale()}, JointSamples(ROWS, when="startup"))
    assert randomization
    assert randomization.words["command_delay"] == "one of 4 joint samples, startup"
    assert randomization.words["gravity"] == "scale Uniform(low=0.9, high=1.1), reset"
    assert not Randomization()


@pytest.mark.parametrize(
    ("values", "when", "words"),
    [
        (
            {"mass.upper_link": [1.0], "gravity": [9.0, 9.8]},
            "reset",
            "1 of 'mass.upper_link', 2 of",
        ),
        ({"mass.upper_link": []}, "reset", r"are \[\]; M numbers are needed"),
        ({"mass.upper_link": ["heavy"]}, "reset", "'heavy'"),
        ({"mass.upper_link": [float("nan")]}, "reset", "nan"),
        ({"mass.upper_link": 1.0}, "reset", "are 1.0; M numbers"),
        ({"com.upper_link": [[0.0, 0.0, 0.0], [0.0, 0.0]]}, "reset", "M rows of one number"),
        ({"mass.upper_link": [1.0]}, "step", "startup"),
    ],
)
def test_joint_samples_that_are_none_are_refused(values: Any, when: Any, words: str) -> None:
    with pytest.raises(ParameterError if when == "reset" else UnknownNameError, match=words):
        JointSamples(values, when=when)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"com.upper_link": [0.1, 0.2]}, "have 1 components; 3 are needed"),
        ({"mass.upper_link": [-1.0]}, "outside its hard bounds"),
        ({"mass.no_link": [1.0]}, "no_link"),
    ],
)
def test_joint_samples_that_do_not_fit_are_refused(values: Any, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        Sampler(Randomization(joint=JointSamples(values)), SPECS, {}, 1, seed=0)


def test_a_parameter_is_drawn_one_way() -> None:
    with pytest.raises(ParameterError, match="on its own and in joint samples; leave one out"):
        Randomization({"mass.upper_link": scale()}, JointSamples(ROWS))
    with pytest.raises(ParameterError, match="joint is 3"):
        Randomization(joint=3)  # type: ignore[arg-type]


def test_worlds_have_the_sets_they_drew() -> None:
    domain = Domain(
        name="joint", engine="mujoco", randomization=Randomization(joint=JointSamples(ROWS))
    )
    env = SimVecEnv(double_pendulum(), Pendubot(), domain, 8, seed=1)
    env.reset()
    drawn = {name: values.copy() for name, values in env.params.items()}
    for name, rows in ROWS.items():
        assert np.isin(drawn[name], np.array(rows)).all()
    env.close()

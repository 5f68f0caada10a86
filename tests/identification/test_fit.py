"""Parameters of simulated robots are found again, with an uncertainty that is true."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.core.params import catalogue
from simreal.core.robot import Robot
from simreal.domains import Actuation, Domain
from simreal.errors import ConfigError, ParameterError
from simreal.identification import (
    Estimate,
    FitSettings,
    LogColumns,
    RobotLog,
    Unknown,
    Unknowns,
    identify,
    read_log,
)
from simreal.identification.predictor import Clock, Predictor, Worlds, cut
from simreal.identification.signals import signals_of
from simreal.identification.unknowns import UnknownVector
from simreal_envs.robots import ant, double_pendulum, simple_pendulum
from tests.identification.samples import TICK_S, simulated_log

MUJOCO = Domain(name="belief", engine="mujoco")
QUICK = FitSettings(starts=1, samples=0)
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def scaled(spread: float) -> Unknown:
    return Unknown(mode="scale", spread=spread)


def added(spread: float) -> Unknown:
    return Unknown(mode="add", spread=spread)


def found(estimate: Estimate) -> dict[str, tuple[float, float]]:
    """Return label to value and standard deviation."""
    return {
        column.label: (float(column.value(x)), column.deviation(x, std))
        for column, x, std in zip(estimate.columns, estimate.x, estimate.std, strict=True)
    }


@pytest.fixture(scope="module")
def pendulum() -> tuple[Robot, dict[str, float], Estimate]:
    """Identify a simple pendulum that differs in four things, from noisy logs."""
    pytest.importorskip("mujoco")
    robot = simple_pendulum()
    truth = {
        "mass.rod": 0.5,
        "joint_friction.shoulder": 0.11,
        "joint_damping.shoulder": 0.02,
    }
    logs = [
        simulated_log(robot, truth, delay_ticks=5, noise=2e-4, torque=1.5, seed=seed)
        for seed in range(3)
    ]
    unknowns = Unknowns(
        {
            "mass": {"*": scaled(0.3)},
            "com.rod": added(0.05),
            "joint_friction": {"*": added(0.1)},
            "joint_damping": {"*": added(0.1)},
            "command_delay": added(0.01),
        }
    )
    estimate = identify(robot, MUJOCO, unknowns, logs[:2], logs[2:], FitSettings(starts=2))
    return robot, truth, estimate


def test_what_differs_is_found(pendulum: tuple[Robot, dict[str, float], Estimate]) -> None:
    _, truth, estimate = pendulum
    values = found(estimate)
    for name, value in {**truth, "command_delay": 5 * TICK_S}.items():
        assert values[name][0] == pytest.approx(value, rel=0.15), name
    assert estimate.agreeing == 2
    assert estimate.at_bounds == ()


def test_the_uncertainty_covers_the_truth(
    pendulum: tuple[Robot, dict[str, float], Estimate],
) -> None:
    _, truth, estimate = pendulum
    values = found(estimate)
    for name, value in {**truth, "command_delay": 5 * TICK_S}.items():
        assert abs(values[name][0] - value) < 4.0 * values[name][1], name


def test_what_the_logs_do_not_show_stays_as_believed(
    pendulum: tuple[Robot, dict[str, float], Estimate],
) -> None:
    robot, _, estimate = pendulum
    # The weight's place along the axis of the shaft acts on nothing.
    values, labels = found(estimate), [column.label for column in estimate.columns]
    believed = robot.link("rod").com[1]
    assert values["com.rod[1]"] == pytest.approx((believed, 0.05), abs=1e-6)
    assert estimate.learned[labels.index("com.rod[1]")] < 1e-6
    assert estimate.learned[labels.index("joint_friction.shoulder")] > 0.9


def test_it_predicts_logs_that_it_has_not_seen(
    pendulum: tuple[Robot, dict[str, float], Estimate],
) -> None:
    estimate = pendulum[2]
    assert [error.held_out for error in estimate.errors] == [False, False, True]
    held_out = estimate.errors[-1]
    assert held_out.horizons_s == (0.05, 0.1, 0.2, 0.5)
    assert held_out.believed.shape == (4, 1)
    assert (held_out.identified < 0.5 * held_out.believed).all()
    assert (held_out.identified[-2:] < 0.15 * held_out.believed[-2:]).all()
    assert held_out.unmoved[-1, 0] > 0.1
    assert estimate.noise[0] == pytest.approx(2e-4, rel=0.1)


def test_samples_lie_around_the_estimate(
    pendulum: tuple[Robot, dict[str, float], Estimate],
) -> None:
    estimate = pendulum[2]
    assert estimate.samples["mass.rod"].shape == (256,)
    assert estimate.samples["com.rod"].shape == (256, 3)
    mean, std = found(estimate)["joint_friction.shoulder"]
    drawn = estimate.samples["joint_friction.shoulder"]
    assert (abs(drawn - mean) < 5.0 * std).all()
    assert np.ptp(drawn) > 0.5 * std


def test_samples_are_a_domain_that_draws_them(
    pendulum: tuple[Robot, dict[str, float], Estimate],
) -> None:
    robot, _, estimate = pendulum
    believed = Domain(name="believed", engine="mujoco")
    domain = estimate.drawn(robot, believed, "drawn")
    assert domain.dynamics == estimate.domain(believed, "drawn").dynamics
    rules = domain.randomization.resolve(catalogue(robot))
    assert rules.keys() == {*estimate.samples, "encoder_offset.shoulder"}
    for name, values in estimate.samples.items():
        assert rules[name].reach(np.zeros(1)) == (values.min(), values.max())
    none = replace(estimate, samples={n: v[:0] for n, v in estimate.samples.items()})
    with pytest.raises(ParameterError, match=r"fit\.samples"):
        none.drawn(robot, believed, "drawn")


def test_what_was_identified_is_a_domain(
    pendulum: tuple[Robot, dict[str, float], Estimate],
) -> None:
    robot, _, estimate = pendulum
    believed = Domain(name="belief", engine="mujoco", dynamics={"joint_friction": {"*": 0.05}})
    domain = estimate.domain(believed, "robot")
    fixed, values = domain.fixed(robot), found(estimate)
    assert (domain.name, domain.engine) == ("robot", "mujoco")
    for name in ("mass.rod", "joint_friction.shoulder", "command_delay"):
        assert fixed[name] == pytest.approx(values[name][0])
    assert fixed["joint_pos_noise"] == pytest.approx(estimate.noise[0])
    drawn = estimate.domain(believed, "robot_3", sample=2).fixed(robot)
    assert drawn["mass.rod"] == estimate.samples["mass.rod"][2]
    assert drawn["com.rod"] == pytest.approx(estimate.samples["com.rod"][2])


OFFSETS = (0.08, -0.05, -0.03)


@pytest.fixture(scope="module")
def askew() -> list[RobotLog]:
    """Return logs of a pendulum whose encoder was zeroed elsewhere before each."""
    pytest.importorskip("mujoco")
    logs = [simulated_log(simple_pendulum(), {}, torque=1.5, seed=seed) for seed in range(3)]
    return [
        replace(log, joint_pos=log.joint_pos + off) for log, off in zip(logs, OFFSETS, strict=True)
    ]


def test_encoders_that_were_zeroed_askew_are_found(askew: list[RobotLog]) -> None:
    robot, unknowns = simple_pendulum(), Unknowns({"com.rod": added(0.05)})
    more = replace(QUICK, samples=200)
    estimate = identify(robot, MUJOCO, unknowns, askew[:2], askew[2:], more)
    # What logs have in common may as well be a weight beside the rod.
    x, std = found(estimate)["com.rod[0]"]
    assert abs(x - robot.link("rod").com[0]) < 3.0 * std
    assert np.diff(estimate.offsets[:, 0]) == pytest.approx(OFFSETS[1] - OFFSETS[0], abs=2e-3)
    length = abs(robot.link("rod").com[2])
    common = (x - robot.link("rod").com[0]) / length
    zeros = [error.zeros[0] for error in estimate.errors]
    assert zeros == pytest.approx([off + common for off in OFFSETS], abs=5e-3)
    held_out = estimate.errors[-1]
    assert held_out.held_out
    assert (held_out.zeroed < 0.5 * held_out.identified)[-2:].all()
    assert estimate.offset_std[0] == pytest.approx(np.sqrt(np.mean(np.square(zeros[:2]))))
    drawn = estimate.joint(robot)["encoder_offset.shoulder"]
    assert np.std(drawn) == pytest.approx(estimate.offset_std[0], rel=0.2)


def test_encoders_that_are_known_to_be_right_are_believed(askew: list[RobotLog]) -> None:
    robot, unknowns = simple_pendulum(), Unknowns({"com.rod": added(0.05)})
    estimate = identify(
        robot, MUJOCO, unknowns, askew[:1], askew[1:], replace(QUICK, zero_spread=0.0)
    )
    assert not estimate.offset_std.any()
    assert "encoder_offset.shoulder" not in estimate.joint(robot)
    x, std = found(estimate)["com.rod[0]"]
    assert abs(x - robot.link("rod").com[0]) > 10.0 * std, "the weight takes the blame"
    for error in estimate.errors:
        np.testing.assert_array_equal(error.zeroed, error.identified)
        assert not error.zeros.any()


def test_two_links_are_told_apart() -> None:
    pytest.importorskip("mujoco")
    robot = double_pendulum()
    truth = {"joint_friction.shoulder": 0.05, "joint_friction.elbow": 0.2, "mass.lower_link": 0.5}
    log = simulated_log(robot, truth, torque=1.5)
    unknowns = Unknowns({"joint_friction.*": added(0.1), "mass.*": scaled(0.2)})
    values = found(identify(robot, MUJOCO, unknowns, [log], settings=QUICK))
    for name, value in {**truth, "mass.upper_link": robot.link("upper_link").mass}.items():
        assert values[name][0] == pytest.approx(value, rel=0.03), name


def test_pybullet_identifies_pybullet() -> None:
    pytest.importorskip("pybullet")
    robot = simple_pendulum()
    truth = {"joint_damping.shoulder": 0.03}
    log = simulated_log(robot, truth, engine="pybullet", seconds=2.5, torque=1.5)
    settings = FitSettings(starts=1, samples=0, max_worlds=4, stride_s=0.4)
    unknowns = Unknowns({"joint_damping.*": added(0.1)})
    domain = Domain(name="belief", engine="pybullet")
    values = found(identify(robot, domain, unknowns, [log], settings=settings))
    assert values["joint_damping.shoulder"][0] == pytest.approx(0.03, rel=0.05)


def test_turns_workers_and_batches_predict_the_same() -> None:
    pytest.importorskip("mujoco")
    robot = simple_pendulum()
    signals = [signals_of(simulated_log(robot, {}, seconds=2.0), 0.03)]
    clock = Clock(tick_s=TICK_S, ticks=5, steps=4)
    windows = cut(signals, clock, 0.3)
    domain = Domain(name="d", engine="mujoco", actuation=Actuation(command_delay=0.005))
    unknowns = UnknownVector(
        Unknowns({"mass.rod": scaled(0.2), "command_delay": added(0.01)}),
        catalogue(robot),
        domain.fixed(robot),
    )
    vectors = np.array([[0.0, 0.0], [1.0, 0.5], [-1.0, -0.3]])
    parts = (robot, domain, unknowns, signals, windows, clock)
    whole, turns = Predictor(*parts, 3, Worlds(100, 1)), Predictor(*parts, 3, Worlds(4, 1))
    np.testing.assert_array_equal(whole(vectors), turns(vectors))
    one = Predictor(*parts, 1, Worlds(100, 1))
    for vector, predicted in zip(vectors, whole(vectors), strict=True):
        np.testing.assert_array_equal(one(vector[None])[0], predicted)
    for predictor in (whole, turns, one):
        predictor.close()


def test_the_truth_predicts_what_was_measured() -> None:
    pytest.importorskip("mujoco")
    robot = double_pendulum()
    signals = [signals_of(simulated_log(robot, {}, delay_ticks=3), 0.03)]
    clock = Clock(tick_s=TICK_S, ticks=5, steps=10)
    windows = cut(signals, clock, 0.3)
    domain = Domain(name="d", engine="mujoco", actuation=Actuation(command_delay=3 * TICK_S))
    unknowns = UnknownVector(
        Unknowns({"mass.*": scaled(0.2)}), catalogue(robot), domain.fixed(robot)
    )
    predictor = Predictor(robot, domain, unknowns, signals, windows, clock, 1, Worlds(100, 1))
    off = predictor(np.zeros((1, 2)))[0] - windows.measured
    predictor.close()
    assert np.sqrt(np.mean(off[..., :2] ** 2)) < 5e-4


def test_wrong_beliefs_that_would_need_more_than_may_be_are_said() -> None:
    pytest.importorskip("mujoco")
    robot = simple_pendulum()
    # Viscous friction is far too high as believed, and Coulomb friction alone may be changed.
    log = simulated_log(robot, {"joint_friction.shoulder": 0.0, "joint_damping.shoulder": 0.0})
    unknowns = Unknowns({"joint_friction.*": added(0.1)})
    estimate = identify(robot, MUJOCO, unknowns, [log], settings=QUICK)
    assert estimate.at_bounds == ("joint_friction.shoulder",)


def test_a_robot_that_never_moves_shows_nothing() -> None:
    pytest.importorskip("mujoco")
    log = simulated_log(simple_pendulum(), {}, seconds=1.0, torque=0.0)
    assert not log.joint_pos.any()
    unknowns = Unknowns({"joint_friction.*": added(0.01), "mass.*": scaled(0.2)})
    estimate = identify(simple_pendulum(), MUJOCO, unknowns, [log], settings=QUICK)
    np.testing.assert_allclose(estimate.x, 0.0, atol=1e-6)
    np.testing.assert_allclose(estimate.learned, 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tick_s": 0.0}, "tick_s is 0.0; a positive time"),
        ({"step_s": 0.5}, "each must be at most the next"),
        ({"horizons_s": ()}, "horizons_s"),
        ({"starts": 0}, "starts is 0"),
        ({"samples": -1}, "samples is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"max_worlds": 0}, "max_worlds is 0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FitSettings(**settings)


def test_what_logs_cannot_show_is_refused() -> None:
    pytest.importorskip("mujoco")
    robot, unknowns = simple_pendulum(), Unknowns({"mass.*": scaled(0.2)})
    log = simulated_log(robot, {}, seconds=0.3)
    with pytest.raises(ConfigError, match="got none; at least one"):
        identify(robot, MUJOCO, unknowns, [])
    with pytest.raises(ConfigError, match=r"no stretch of 0.5 s without a gap"):
        identify(robot, MUJOCO, unknowns, [log], settings=QUICK)
    with pytest.raises(ConfigError, match="floating base"):
        identify(ant(), MUJOCO, unknowns, [log], settings=QUICK)


def test_an_engine_that_lacks_a_parameter_says_so() -> None:
    pytest.importorskip("pybullet")
    robot = simple_pendulum()
    log = simulated_log(robot, {}, seconds=1.0)
    domain = Domain(name="belief", engine="pybullet")
    with pytest.raises(ParameterError, match=r"cannot apply 'armature.shoulder'"):
        identify(robot, domain, Unknowns({"armature.*": added(0.01)}), [log], settings=QUICK)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"logs of real robots are not at {DATA}")
def test_a_real_robot_is_predicted_better_than_its_published_model_does() -> None:
    pytest.importorskip("mujoco")
    robot = double_pendulum()
    columns = LogColumns(
        joint_pos={"shoulder": "pos_meas1", "elbow": "pos_meas2"},
        command={"shoulder": "tau_con1", "elbow": "tau_con2"},
    )
    logs = [
        read_log(DATA / "double_pendulum" / f"20230629-{time}.csv.gz", columns, robot)
        for time in ("143601", "143524")
    ]
    unknowns = Unknowns(
        {
            "joint_friction": {"*": added(0.1)},
            "joint_damping": {"*": added(0.02)},
            "mass": {"*": scaled(0.2)},
            "command_delay": added(0.01),
        }
    )
    published = Domain(name="published", engine="mujoco", actuation=Actuation(command_delay=0.011))
    estimate = identify(robot, published, unknowns, logs[:1], logs[1:], QUICK)
    held_out = estimate.errors[1]
    assert held_out.held_out
    at = held_out.horizons_s.index(0.2)
    assert (held_out.identified[at] < 0.5 * held_out.believed[at]).all()

"""Every runtime gives what the training code gave, from the first step of every episode."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.deploy import Bundle, NumpyPolicy, replay
from simreal.deploy.c_policy import CPolicy, compile_policy
from simreal.deploy.onnx_policy import OnnxPolicy
from simreal.deploy.policy import PolicyBase

KINDS = ("tanh", "elu", "relu", "rich", "blind", "lstm")
Make = Callable[[str], PolicyBase]
both = pytest.mark.parametrize("runtime", ["c", "onnx"])
every = pytest.mark.parametrize("runtime", ["numpy", "c", "onnx"])


@pytest.fixture(scope="module")
def libraries(bundles: Mapping[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that compiles each kind of policy once."""

    @functools.cache
    def library(kind: str) -> Path:
        return compile_policy(bundles[kind], tmp_path_factory.mktemp("library"))

    return library


@pytest.fixture
def make(runtime: str, bundles: Mapping[str, Bundle], libraries: Any) -> Make:
    return {
        "numpy": lambda kind: NumpyPolicy(bundles[kind]),
        "onnx": lambda kind: OnnxPolicy(bundles[kind]),
        "c": lambda kind: CPolicy(bundles[kind], libraries(kind)),
    }[runtime]


@every
@pytest.mark.parametrize("kind", KINDS)
def test_it_reproduces_the_golden_episodes(
    kind: str, make: Make, bundles: Mapping[str, Bundle]
) -> None:
    bundle = bundles[kind]
    assert bundle.golden.resets == (0, 40)
    worst = replay(bundle, make(kind))
    assert max(worst.values()) < 1e-5


@both
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_numpy_in_a_free_run_with_a_second_arming(
    kind: str, make: Make, bundles: Mapping[str, Bundle]
) -> None:
    bundle = bundles[kind]
    policy, reference = make(kind), NumpyPolicy(bundle)
    rng = np.random.default_rng(5)
    for step in range(45):
        if step == 20:
            for runtime in (policy, reference):
                runtime.bind(("elbow", "shoulder", "slider"))
        signals = {"joint_pos": rng.normal(0, 3, 3), "joint_vel": rng.normal(0, 3, 3)}
        act = "reset" if step in (0, 20) else "step"
        got, expected = (getattr(p, act)(signals) for p in (policy, reference))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(policy.observation, reference.observation, atol=1e-6)
        np.testing.assert_allclose(policy.output, reference.output, rtol=0, atol=1e-5)
        np.testing.assert_allclose(policy.action, reference.action, rtol=0, atol=1e-5)
        assert policy.command_by_name() == pytest.approx(reference.command_by_name(), abs=1e-5)


@every
def test_an_action_that_was_replaced_is_what_is_observed(
    make: Make,
) -> None:
    policy = make("tanh")
    still = {"joint_pos": np.zeros(3), "joint_vel": np.zeros(3)}
    policy.reset(still)
    policy.applied(np.array([0.5, -7.0]))
    policy.step(still)
    np.testing.assert_array_equal(policy.observation[-4:], [0.0, 0.0, 0.5, -1.0])


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_signal_that_is_not_finite_never_gives_a_number(
    bad: float, runtime: str, make: Make
) -> None:
    policy = make("relu")
    good = {"joint_pos": np.zeros(3), "joint_vel": np.zeros(3)}
    policy.reset(good)
    with np.errstate(invalid="ignore"):
        command = policy.step({**good, "joint_vel": np.array([0.0, 0.0, bad])})
    assert not np.isfinite(policy.output).all() or not np.isfinite(policy.observation).all()
    assert runtime == "numpy" or np.isnan(command).all()


@every
def test_commands_do_not_depend_on_the_order_of_a_robots_joints(
    runtime: str, make: Make, bundles: Mapping[str, Bundle]
) -> None:
    bundle = bundles["rich"]
    rng = np.random.default_rng(1)
    policy, names = make("rich"), bundle.manifest.robot.joint_names
    signals = [
        {"joint_pos": rng.normal(0, 2, 3), "joint_vel": rng.normal(0, 2, 3)} for _ in range(3)
    ]

    def run(order: np.ndarray) -> list[dict[str, float]]:
        policy.bind([names[i] for i in order])
        commands = []
        for step, signal in enumerate(signals):
            given = {name: value[order] for name, value in signal.items()}
            policy.step(given) if step else policy.reset(given)
            commands.append(policy.command_by_name())
        return commands

    expected = run(np.arange(3))
    assert len({tuple(sorted(c.items())) for c in expected}) == 3
    for _ in range(1000 if runtime == "numpy" else 100):
        assert run(rng.permutation(3)) == expected

"""The numpy runtime gives the training policy's commands, whatever the robot's joint order."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.deploy import Bundle, BundleSpec, NumpyPolicy, load, replay, write_bundle
from simreal.deploy.policy import PackedSignals
from simreal.errors import ArmError, SignalError

Make = Callable[..., BundleSpec]
NAMES = ("shoulder", "slider", "elbow")


@pytest.fixture(scope="module")
def bundle(written: Path) -> Bundle:
    return load(written)


def _signals(bundle: Bundle, step: int) -> dict[str, np.ndarray]:
    return {name: values[step] for name, values in bundle.golden.signals.items()}


def test_replay_is_within_tolerance(bundle: Bundle) -> None:
    worst = replay(bundle)
    assert worst["observation"] < 2e-7  # one step of float32
    assert 0.0 < worst["output"] < 1e-6
    assert worst["command"] < 1e-5


@pytest.mark.parametrize("activation", ["tanh", "relu", "elu", "identity"])
@pytest.mark.parametrize("squash", ["none", "tanh"])
@pytest.mark.parametrize("normalize", [True, False])
def test_every_kind_of_network(
    activation: str, squash: str, normalize: bool, tmp_path: Path, make_spec: Make
) -> None:
    spec = make_spec(activation=activation, squash=squash, normalize=normalize)
    worst = replay(load(write_bundle(tmp_path / "a.policy", spec)))
    assert max(worst.values()) < 1e-5


def test_one_step_by_hand(tmp_path: Path, make_spec: Make) -> None:
    # Zero weights: outputs are the last biases, 0.4 and 7; the second is clipped to 1.
    layers = tuple(
        dataclasses.replace(k, weight=np.zeros_like(k.weight), bias=np.zeros_like(k.bias))
        for k in make_spec().layers
    )
    bias = np.array([0.4, 7.0], dtype=np.float32)
    layers = (*layers[:-1], dataclasses.replace(layers[-1], bias=bias))
    spec = make_spec(layers=layers)
    golden = dataclasses.replace(
        spec.golden,
        output=np.tile(bias, (64, 1)),
        # elbow: 6 Nm * 1; shoulder: 0.25 + 0.5 * 0.4
        command=np.tile([6.0, 0.45], (64, 1)),
        observation=_last_action(spec.golden.observation, (0.4, 1.0), spec.golden.resets),
    )
    policy = NumpyPolicy(
        load(write_bundle(tmp_path / "a.policy", make_spec(layers=layers, golden=golden)))
    )
    still = {"joint_pos": np.array([0.5, 0.4, 0.0]), "joint_vel": np.array([1.0, 0.0, 2.0])}
    np.testing.assert_allclose(policy.reset(still), [6.0, 0.45], atol=1e-7)
    assert policy.command_by_name() == pytest.approx({"elbow": 6.0, "shoulder": 0.45})
    np.testing.assert_allclose(policy.action, [0.4, 1.0])
    np.testing.assert_allclose(policy.output, [0.4, 7.0])
    # pos, oldest first, filled with zeros; vel of elbow, shoulder / 10; clip(0.4) + 0.05; no action
    expected = [0, 0, 0, 0, np.sin(0.5), 0, 0.2, 0.1, 0.35, 0, 0, 0, 0]
    np.testing.assert_allclose(policy.observation, expected, atol=1e-7)
    policy.step(still)
    np.testing.assert_allclose(policy.observation[-4:], [0, 0, 0.4, 1.0])
    np.testing.assert_allclose(policy.observation[2:6], [np.sin(0.5), 0, np.sin(0.5), 0])


def _last_action(
    observation: np.ndarray, action: tuple[float, float], resets: tuple[int, ...]
) -> np.ndarray:
    """Return a recorded observation in which every action had been the same."""
    changed = observation.copy()
    for begin, end in itertools.pairwise([*resets, len(observation)]):
        changed[begin + 1 : end, -2:] = action
        changed[begin + 2 : end, -4:-2] = action
    return changed


def test_reset_forgets_the_past(bundle: Bundle) -> None:
    policy = NumpyPolicy(bundle)
    first = policy.reset(_signals(bundle, 0))
    for step in range(1, 20):
        policy.step(_signals(bundle, step))
    np.testing.assert_array_equal(policy.reset(_signals(bundle, 0)), first)
    np.testing.assert_array_equal(policy.observation[-4:], 0.0)


def test_two_calls_are_equal_and_results_are_the_callers(bundle: Bundle) -> None:
    one, other = NumpyPolicy(bundle), NumpyPolicy(bundle)
    first = one.reset(_signals(bundle, 0))
    other.reset(_signals(bundle, 0))
    kept = first.copy()
    np.testing.assert_array_equal(one.step(_signals(bundle, 1)), other.step(_signals(bundle, 1)))
    np.testing.assert_array_equal(first, kept)
    observation = one.observation
    observation[:] = 99.0
    assert one.observation.max() < 99.0


def test_joint_order_does_not_matter(bundle: Bundle) -> None:
    rng = np.random.default_rng(0)
    reference = NumpyPolicy(bundle)
    commands = [reference.reset(_signals(bundle, 0)).copy()]
    commands += [reference.step(_signals(bundle, step)).copy() for step in range(1, 4)]
    policy = NumpyPolicy(bundle)
    for _ in range(200):
        order = rng.permutation(3)
        policy.bind([NAMES[i] for i in order])
        for step in range(4):
            signals = {name: value[order] for name, value in _signals(bundle, step).items()}
            command = policy.step(signals) if step else policy.reset(signals)
            np.testing.assert_array_equal(command, commands[step])


def test_a_row_is_taken_as_its_signals_are(bundle: Bundle) -> None:
    """The second layout has the signals in another order, and is read signal by signal."""
    by_name, by_row = NumpyPolicy(bundle), NumpyPolicy(bundle)
    for policy in (by_name, by_row):
        policy.bind(["elbow", "shoulder", "slider"])
    bound = tuple(by_row.elements.items())
    assert by_row._signals._knows(bound)
    assert not by_row._signals._knows(bound[::-1])
    for step in range(8):
        signals = _signals(bundle, step)
        given = {name: values[[2, 0, 1]] for name, values in signals.items()}
        layout = bound if step % 3 else bound[::-1]
        packed = PackedSignals(layout, np.concatenate([given[name] for name, _ in layout]))
        assert {name: values.tolist() for name, values in packed.items()} == {
            name: values.tolist() for name, values in given.items()
        }
        commands = [
            policy.step(values) if step else policy.reset(values)
            for policy, values in ((by_name, given), (by_row, packed))
        ]
        assert commands[0].tobytes() == commands[1].tobytes()
        np.testing.assert_allclose(commands[1], bundle.golden.command[step], atol=1e-5)


@pytest.mark.parametrize("shape", [(1,), (5,), (7,), (1, 6)])
def test_a_row_of_another_size_is_refused(shape: tuple[int, ...], bundle: Bundle) -> None:
    """One number would be taken for all, and the last of too few for those that are missing."""
    layout = tuple(NumpyPolicy(bundle).elements.items())
    with pytest.raises(SignalError, match=r"row of signals: expected shape \(6,\), found"):
        PackedSignals(layout, np.zeros(shape))


@pytest.mark.parametrize(
    "names",
    [
        ("shoulder", "slider"),
        ("shoulder", "slider", "elbow", "elbow"),
        ("shoulder", "slider", "elbow", "wrist"),
        ("shoulder", "slider", "elbo"),
    ],
)
def test_other_joints_are_refused(names: tuple[str, ...], bundle: Bundle) -> None:
    with pytest.raises(ArmError, match="joint names: expected") as caught:
        NumpyPolicy(bundle).bind(names)
    assert "\n" not in str(caught.value)


def test_elements_of_a_signal_may_be_given_in_another_order(bundle: Bundle) -> None:
    policy, reference = NumpyPolicy(bundle), NumpyPolicy(bundle)
    policy.bind(NAMES, {"joint_vel": ("elbow", "slider", "shoulder")})
    signals = _signals(bundle, 5)
    turned = {**signals, "joint_vel": signals["joint_vel"][::-1]}
    np.testing.assert_array_equal(policy.reset(turned), reference.reset(signals))
    with pytest.raises(ArmError, match="elements of signal 'joint_vel'"):
        policy.bind(NAMES, {"joint_vel": ("elbow", "slider")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("joint_vel"), "signal 'joint_vel': expected 3 numbers, found nothing"),
        (lambda s: s.update(joint_pos=np.zeros(4)), r"found \(4,\)"),
        (lambda s: s.update(joint_pos=np.zeros(1)), r"found \(1,\)"),
        (lambda s: s.update(joint_pos=0.0), r"found \(\)"),
        (lambda s: s.update(joint_pos=np.zeros((1, 3))), r"found \(1, 3\)"),
    ],
)
def test_signals_of_another_size_are_refused(
    change: Callable[[dict[str, Any]], Any], message: str, bundle: Bundle
) -> None:
    signals: dict[str, Any] = dict(_signals(bundle, 0))
    change(signals)
    with pytest.raises(SignalError, match=message):
        NumpyPolicy(bundle).reset(signals)


def test_step_before_reset_is_refused(bundle: Bundle) -> None:
    policy = NumpyPolicy(bundle)
    with pytest.raises(SignalError, match="step before reset"):
        policy.step(_signals(bundle, 0))
    policy.reset(_signals(bundle, 0))
    policy.bind(NAMES)
    with pytest.raises(SignalError, match="step before reset"):
        policy.step(_signals(bundle, 0))


def test_nan_is_not_hidden_by_the_clip(bundle: Bundle) -> None:
    signals = _signals(bundle, 0)
    signals["joint_pos"] = np.array([np.nan, 0.0, 0.0])
    policy = NumpyPolicy(bundle)
    assert np.isnan(policy.reset(signals)).all()
    assert np.isnan(policy.action).all()


def test_numbers_equal_torch(tmp_path: Path, make_spec: Make) -> None:
    torch = pytest.importorskip("torch")
    spec = make_spec(activation="elu")
    modules: list[Any] = []
    for layer in spec.layers:
        linear = torch.nn.Linear(*reversed(layer.weight.shape))
        linear.weight.data = torch.from_numpy(layer.weight.copy())
        linear.bias.data = torch.from_numpy(layer.bias.copy())
        modules += [linear, torch.nn.ELU() if layer.activation == "elu" else torch.nn.Identity()]
    network = torch.nn.Sequential(*modules)
    bundle = load(write_bundle(tmp_path / "a.policy", spec))
    norm = bundle.normalizer
    assert norm is not None
    policy = NumpyPolicy(bundle)
    mean, std = (torch.tensor(v).float() for v in (norm.mean, np.sqrt(norm.var + norm.epsilon)))
    for step in range(64):
        signals = _signals(bundle, step)
        policy.step(signals) if step else policy.reset(signals)
        with torch.no_grad():
            x = ((torch.from_numpy(policy.observation) - mean) / std).clamp(-norm.clip, norm.clip)
            expected = network(x).numpy()
        np.testing.assert_allclose(policy.output, expected, rtol=0, atol=1e-6)

"""A policy with an LSTM keeps its state through an episode and forgets it at a reset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.deploy import Bundle, BundleSpec, NumpyPolicy, check_bundle, load, write_bundle
from simreal.errors import BundleError


@pytest.fixture(scope="module")
def path(make_spec: Callable[..., BundleSpec], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("lstm") / "a.policy", make_spec(hidden=8))


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    return load(path)


def _signals(bundle: Bundle, step: int) -> dict[str, np.ndarray]:
    return {name: values[step] for name, values in bundle.golden.signals.items()}


def test_it_replays_two_episodes(path: Path, bundle: Bundle) -> None:
    assert bundle.golden.resets == (0, 40)
    assert bundle.manifest.network.kind == "lstm"
    assert len(check_bundle(path)) == 6


def test_a_reset_forgets(bundle: Bundle) -> None:
    policy, fresh = NumpyPolicy(bundle), NumpyPolicy(bundle)
    policy.reset(_signals(bundle, 0))
    for step in range(1, 20):
        policy.step(_signals(bundle, step))
    for step in range(20, 30):
        act = "reset" if step == 20 else "step"
        command = getattr(policy, act)(_signals(bundle, step))
        np.testing.assert_array_equal(command, getattr(fresh, act)(_signals(bundle, step)))


def test_the_state_matters(bundle: Bundle) -> None:
    policy, fresh = NumpyPolicy(bundle), NumpyPolicy(bundle)
    policy.reset(_signals(bundle, 5))
    policy.step(_signals(bundle, 6))
    fresh.reset(_signals(bundle, 6))
    assert np.abs(policy.output - fresh.output).max() > 1e-3


def test_a_golden_episode_without_its_second_reset_is_refused(
    tmp_path: Path, make_spec: Callable[..., BundleSpec]
) -> None:
    import dataclasses

    spec = make_spec(hidden=8)
    wrong = dataclasses.replace(spec.golden, resets=(0,))
    with pytest.raises(BundleError, match="golden replay, observation at step 40"):
        write_bundle(tmp_path / "a.policy", dataclasses.replace(spec, golden=wrong))


def test_numbers_equal_torch(bundle: Bundle) -> None:
    torch = pytest.importorskip("torch")
    lstm, norm = bundle.lstm, bundle.normalizer
    assert lstm is not None
    assert norm is not None
    module = torch.nn.LSTM(lstm.inputs, lstm.hidden)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    for name, value in zip(names, lstm.tensors, strict=True):
        getattr(module, name).data = torch.from_numpy(value.copy())
    head: list[Any] = []
    for layer in bundle.layers:
        linear = torch.nn.Linear(layer.inputs, layer.bias.size)
        linear.weight.data = torch.from_numpy(layer.weight.copy())
        linear.bias.data = torch.from_numpy(layer.bias.copy())
        head += [linear, torch.nn.Tanh() if layer.activation == "tanh" else torch.nn.Identity()]
    network = torch.nn.Sequential(*head)
    mean, std = (torch.tensor(v).float() for v in (norm.mean, np.sqrt(norm.var + norm.epsilon)))
    policy, state = NumpyPolicy(bundle), None
    for step in range(64):
        signals = _signals(bundle, step)
        policy.step(signals) if step else policy.reset(signals)
        with torch.no_grad():
            x = ((torch.from_numpy(policy.observation) - mean) / std).clamp(-norm.clip, norm.clip)
            y, state = module(x[None], state)
            expected = network(y[0]).numpy()
        np.testing.assert_allclose(policy.output, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n.update(kind="mlp"), "network.kind: expected 'lstm', as network.recurrent"),
        (lambda n: n["recurrent"].update(hidden=0), "network.recurrent.hidden: expected 1 to"),
        (
            lambda n: n["recurrent"].update(hidden=9),
            "weights.safetensors tensor 'lstm.weight_ih_l0': expected shape (36, 13)",
        ),
        (
            lambda n: n["recurrent"].update(weight_hh="network.0.weight"),
            "network.layers: expected every name once, found 'network.0.weight'",
        ),
        (
            lambda n: n["recurrent"].update(kind="gru"),
            "network.recurrent.kind: expected 'lstm', found 'gru'",
        ),
    ],
)
def test_a_broken_recurrent_layer_is_refused(
    change: Callable[[dict[str, Any]], Any],
    message: str,
    path: Path,
    edit_copy: Callable[[Path], Any],
) -> None:
    edit = edit_copy(path)
    edit.manifest(lambda manifest: change(manifest["network"]))
    with pytest.raises(BundleError) as caught:
        load(edit.path)
    assert message in str(caught.value)

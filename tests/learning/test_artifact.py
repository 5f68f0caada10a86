import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simreal.core.distributions import Normal, Uniform
from simreal.deploy import Evaluation, NumpyPolicy, check_bundle, load_bundle, replay
from simreal.deploy.c_policy import CPolicy
from simreal.deploy.onnx_policy import OnnxPolicy
from simreal.domains import Actuation, JointSamples, Randomization, SimVecEnv
from simreal.domains.randomization import Randomized
from simreal.errors import BundleError, SignalError
from simreal.learning.actor_critic import Acting
from simreal.learning.algorithms import PPOSettings
from simreal.learning.artifact import (
    Network,
    Trained,
    act_of,
    actor_chain,
    load_policy,
    normalizer_of,
    save_policy,
)
from simreal.learning.trainer import TrainingOutcome, train
from simreal.learning.vec_env import SB3VecEnv
from simreal_envs.domains import domain
from simreal_envs.robots import hopper
from simreal_envs.tasks.bullet_locomotion import HopperBullet

Build = Callable[..., Any]


_DONE: dict[str, tuple[TrainingOutcome, Trained]] = {}


@pytest.fixture
def trained(toy_job: Build, toy_domain: Build, toy_algo: Build) -> Build:
    """Return a function that trains a policy with its normalizer, once, and describes it."""

    def make(algo: str = "ppo", **network: Any) -> tuple[TrainingOutcome, Trained]:
        key = repr((algo, network))
        if key not in _DONE:
            _DONE[key] = once(algo, network)
        return _DONE[key]

    def once(algo: str, network: dict[str, Any]) -> tuple[TrainingOutcome, Trained]:
        job = toy_job(settings=toy_algo(algo, **network), domain=toy_domain(busy=True))
        outcome = train(job)
        description = Trained(
            name="toy",
            robot=job.robot,
            task=job.task,
            domain=job.domain,
            state=outcome.state,
            activation=job.settings.activation,
            algo=algo,
            seed=job.seed,
            env_steps=outcome.num_steps,
            evaluation=(Evaluation(domain="mujoco", seeds=(3,), episodes=2, successes=0),),
        )
        return outcome, description

    return make


NETWORKS = [
    ("ppo", {}),
    ("sac", {"activation": "relu"}),
    ("ppo", {"extractor": (16, 8), "head": (), "activation": "elu"}),
    ("ppo", {"extractor": (), "head": (8, 4)}),
    ("ppo", {"normalize": False}),
    ("torch_ppo", {"extractor": (), "memory": 8, "sequence_length": 4}),
    ("torch_ppo", {"privileged": True}),
]


@pytest.mark.parametrize(("algo", "network"), NETWORKS)
def test_a_bundle_gives_the_actions_of_the_trained_policy(
    trained: Build, tmp_path: Path, algo: str, network: dict[str, Any]
) -> None:
    outcome, description = trained(algo, **network)
    outcome.model.policy.load_state_dict(outcome.state)
    bundle = load_bundle(save_policy(tmp_path / "toy.policy", description))
    obs = np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32)
    expected, _ = outcome.model.policy.predict(obs, deterministic=True)
    np.testing.assert_allclose(np.clip(act_of(bundle)(obs), -1, 1), expected, atol=1e-6)


@pytest.mark.parametrize(("algo", "network"), NETWORKS)
def test_the_numpy_runtime_gives_the_commands_of_the_training_environment(
    trained: Build, tmp_path: Path, algo: str, network: dict[str, Any]
) -> None:
    """Over an episode with history, delays and noise, from raw signals alone."""
    outcome, description = trained(algo, **network)
    act = Acting(outcome.model.policy)
    outcome.model.policy.load_state_dict(outcome.state)
    bundle = load_bundle(save_policy(tmp_path / "toy.policy", description))
    for make in (CPolicy, OnnxPolicy):  # two episodes that the training code recorded
        assert max(replay(bundle, make(bundle)).values()) < 1e-5
    runtime = NumpyPolicy(bundle)
    env = SimVecEnv(description.robot, description.task, description.domain, 1)
    try:
        obs = env.reset(77)
        for step in range(description.task.episode_steps()):
            signals = {name: value[0].copy() for name, value in env.signals.items()}
            command = runtime.reset(signals) if step == 0 else runtime.step(signals)
            act.begin(np.array([step == 0]))
            action = act(obs)
            expected = np.clip(action[0].astype(np.float64), -1, 1) * description.task.torque_nm
            np.testing.assert_allclose(runtime.observation, obs[0], atol=1e-6)
            np.testing.assert_allclose(command, expected, atol=1e-5)
            obs = env.step(action, autoreset=False).final_obs
    finally:
        env.close()


def test_the_same_policy_gives_the_same_bytes(trained: Build, tmp_path: Path) -> None:
    _, description = trained()
    first = save_policy(tmp_path / "a", description)
    second = save_policy(tmp_path / "b", description)
    names = sorted(p.name for p in first.iterdir())
    assert names == sorted(p.name for p in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_policy_comes_back_as_it_was(trained: Build, tmp_path: Path) -> None:
    outcome, description = trained()
    bundle, state = load_policy(save_policy(tmp_path / "toy.policy", description))
    assert state.keys() == outcome.state.keys()
    for name, value in state.items():
        assert torch.equal(value, outcome.state[name]), name
        assert value.dtype == outcome.state[name].dtype
    provenance = bundle.manifest.provenance
    assert (provenance.algo, provenance.task, provenance.seed) == ("ppo", "toy", 3)
    assert provenance.env_steps == 192
    assert "golden replay" in check_bundle(tmp_path / "toy.policy")[-1]


def test_a_bundle_without_training_parameters_cannot_be_fine_tuned(
    trained: Build, tmp_path: Path
) -> None:
    _, description = trained()
    path = save_policy(tmp_path / "toy.policy", replace(description, state=dict(description.state)))
    manifest = path / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"] = {k: v for k, v in content["files"].items() if v["role"] != "training"}
    manifest.write_text(json.dumps(content))
    (path / "training.safetensors").unlink()
    with pytest.raises(BundleError):
        load_policy(path)


@pytest.mark.parametrize(("algo", "squashes"), [("ppo", False), ("sac", True)])
def test_the_chain_goes_from_observation_to_action(
    trained: Build, algo: str, squashes: bool
) -> None:
    outcome, description = trained(algo, extractor=(8, 6), head=(5,))
    layers, squash = actor_chain(outcome.state, description.activation)
    assert squash is squashes
    assert [layer.weight.shape for layer in layers] == [(8, 12), (6, 8), (5, 6), (1, 5)]
    assert layers[-1].activation == "identity"


def test_layers_are_ordered_by_number_and_not_by_letter(trained: Build) -> None:
    outcome, description = trained(extractor=(3,) * 6, head=(2,))
    layers, _ = actor_chain(outcome.state, description.activation)
    # Six layers with activations are numbered 0, 2, ..., 10; by letter, 10 would come second.
    prefix = "pi_features_extractor.layers"
    expected = [outcome.state[f"{prefix}.{n}.weight"].numpy() for n in range(0, 12, 2)]
    for layer, weight in zip(layers, expected, strict=False):
        np.testing.assert_array_equal(layer.weight, weight)


def test_an_activation_without_a_runtime_is_refused(trained: Build) -> None:
    outcome, _ = trained()
    with pytest.raises(BundleError, match="'gelu' cannot be exported"):
        actor_chain(outcome.state, "gelu")


def test_hand_computed_network() -> None:
    state = {
        "pi_features_extractor.layers.0.weight": torch.tensor([[1.0, -1.0]]),
        "pi_features_extractor.layers.0.bias": torch.tensor([0.5]),
        "action_net.weight": torch.tensor([[2.0]]),
        "action_net.bias": torch.tensor([-1.0]),
    }
    layers, squash = actor_chain(state, "relu")
    network = Network(layers, normalizer_of(state), squash=squash)
    # 2 relu(3 - 1 + 0.5) - 1 = 4, and 2 relu(-3.5) - 1 = -1.
    assert network(np.array([[3.0, 1.0], [-1.0, 3.0]])).tolist() == [[4.0], [-1.0]]


@pytest.mark.parametrize(
    ("rule", "span"),
    [
        (None, (0.011, 0.011)),
        (Randomized(distribution=Uniform(0.0, 0.016)), (0.0, 0.016)),
        (Randomized(distribution=Uniform(0.5, 2.0), mode="scale"), (0.0055, 0.022)),
        (Randomized(distribution=Uniform(-0.001, 0.001), mode="add"), (0.010, 0.012)),
    ],
)
def test_the_bundle_states_the_delays_of_the_training(
    trained: Build, tmp_path: Path, rule: Randomized | None, span: tuple[float, float]
) -> None:
    _, description = trained()
    domain = replace(
        description.domain,
        actuation=Actuation(command_delay=0.011),
        randomization=Randomization({} if rule is None else {"command_delay": rule}),
    )
    path = save_policy(tmp_path / "toy.policy", replace(description, domain=domain))
    latency = load_bundle(path).manifest.timing.trained_latency
    assert latency.command_s == pytest.approx(span)
    assert latency.measurement_s == pytest.approx((0.004, 0.004))


@pytest.mark.parametrize(
    ("randomization", "span"),
    [
        (Randomization({"command_delay": Randomized(distribution=Normal(0.01, 0.001))}), (4, 16)),
        (Randomization(joint=JointSamples({"command_delay": [0.011, 0.002, 0.003]})), (2, 11)),
    ],
)
def test_a_delay_is_stated_as_far_as_it_is_drawn(
    trained: Build, tmp_path: Path, randomization: Randomization, span: tuple[float, float]
) -> None:
    _, description = trained()
    domain = replace(description.domain, randomization=randomization)
    path = save_policy(tmp_path / "toy.policy", replace(description, domain=domain))
    manifest = load_bundle(path).manifest
    assert manifest.timing.trained_latency.command_s == pytest.approx([1e-3 * end for end in span])
    assert "reset" in manifest.provenance.randomization["command_delay"]


def test_a_bundle_lists_the_signals_that_its_task_derives(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    robot, task = hopper(), HopperBullet()
    env = SB3VecEnv(SimVecEnv(robot, task, domain("mujoco_published"), 2))
    settings = PPOSettings(num_worlds=2, num_steps=16, batch_size=32, use_sde=True)
    model = settings.build(env, 0)
    env.close()
    state = {name: value.detach() for name, value in model.policy.state_dict().items()}
    described = Trained(
        name="hopper",
        robot=robot,
        task=task,
        domain=domain("mujoco_published"),
        state=state,
        activation="tanh",
        algo="ppo",
        seed=0,
        env_steps=0,
    )
    bundle = load_bundle(save_policy(tmp_path / "hopper", described))
    kinds = {signal.name: signal.kind for signal in bundle.manifest.signals}
    assert list(kinds) == ["joint_pos", "joint_vel", *task.signals(robot)]
    assert {kinds[name] for name in task.signals(robot)} == {"other"}
    signals = {name: values[0] for name, values in bundle.golden.signals.items()}
    del signals["base_velocity"]
    with pytest.raises(SignalError, match="signal 'base_velocity'"):
        NumpyPolicy(bundle).reset(signals)

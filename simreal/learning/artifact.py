"""From a trained network to a policy bundle, and back to the parameters a trainer goes on with.

The golden vectors are recorded by running the network in its training domain through the training
code, from the first step of an episode, so that a runtime that reproduces them also fills its
history right.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from simreal.core.params import catalogue
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import (
    Bundle,
    BundleSpec,
    Evaluation,
    Golden,
    Layer,
    Lstm,
    Normalizer,
    Provenance,
    SignalEntry,
    TrainedLatency,
    joint_signals,
    load_bundle,
    write_bundle,
)
from simreal.deploy.bundle import read_members
from simreal.deploy.manifest import Activation
from simreal.deploy.spec import STALE_HOLD_STEPS, with_golden
from simreal.deploy.writer import publish
from simreal.domains import Domain, SimVecEnv
from simreal.errors import BundleError
from simreal.learning.normalizer import EPSILON, LIMIT

GOLDEN_STEPS = 200
GOLDEN_RESETS = (0, 120)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Describe a trained policy, for its bundle.

    Attributes:
        name: Name of the policy.
        robot: The robot.
        task: The task.
        domain: Domain it was trained in.
        state: Parameters by SB3's names.
        activation: Activation of the hidden layers.
        algo: Algorithm.
        seed: Seed of the training.
        env_steps: Environment steps of the training.
        evaluation: What was measured.
        parent: Hash of the policy it was transferred from.
        notes: Text for the card.
        git_commit: Revision of the code.
    """

    name: str
    robot: Robot
    task: Task
    domain: Domain
    state: Mapping[str, torch.Tensor]
    activation: str
    algo: str
    seed: int
    env_steps: int
    evaluation: tuple[Evaluation, ...] = ()
    parent: str | None = None
    notes: str = ""
    git_commit: str | None = None


def save_policy(path: Path, trained: Trained) -> Path:
    """Write the bundle of a trained policy.

    Args:
        path: Folder to create.
        trained: The policy.

    Returns:
        `path`.

    Raises:
        BundleError: The policy does not reproduce its golden vectors, or `path` is something else.
    """
    layers, squash = actor_chain(trained.state, trained.activation)
    normalizer = normalizer_of(trained.state)
    task = trained.task
    spec = BundleSpec(
        name=trained.name,
        robot=trained.robot,
        terms=task.observation(trained.robot),
        signals=_signals(trained.robot, task),
        actions=task.action(trained.robot),
        layers=layers,
        normalizer=normalizer,
        squash="tanh" if squash else "none",
        control_period_s=task.control_period_s,
        tick_s=task.tick_s,
        trained_latency=_latency(trained.domain, trained.robot),
        golden=record_golden(
            trained.robot,
            trained.task,
            trained.domain,
            network_of(trained.state, trained.activation),
        ),
        lstm=lstm_of(trained.state),
        provenance=Provenance(
            algo=trained.algo,
            task=task.name,
            source_domain=trained.domain.name,
            seed=trained.seed,
            env_steps=trained.env_steps,
            versions=_versions(),
            git_commit=trained.git_commit,
            randomization=trained.domain.randomization.words,
            evaluation=trained.evaluation,
            parent=trained.parent,
        ),
        training={name: value.detach().cpu().numpy() for name, value in trained.state.items()},
        notes=trained.notes,
    )
    return write_bundle(path, spec)


def load_policy(path: Path) -> tuple[Bundle, dict[str, torch.Tensor]]:
    """Load a bundle and the parameters a trainer goes on with.

    Args:
        path: The bundle.

    Returns:
        The bundle, and parameters by SB3's names.

    Raises:
        BundleError: It cannot be trusted, or holds nothing a trainer could use.
    """
    bundle = load_bundle(path)
    if bundle.training is None:
        raise BundleError(
            f"bundle '{path}' has no training.safetensors, which fine-tuning begins with; "
            "export it with training parameters"
        )
    return bundle, {k: torch.from_numpy(np.array(v)) for k, v in bundle.training.items()}


class Network:
    """Evaluate an actor for a batch, in numpy and float32."""

    def __init__(
        self,
        layers: tuple[Layer, ...],
        normalizer: Normalizer | None,
        *,
        squash: bool = False,
        lstm: Lstm | None = None,
    ) -> None:
        """Prepare the layers.

        Args:
            layers: The dense layers.
            normalizer: Observation statistics, if any.
            squash: Whether the output passes through tanh.
            lstm: Recurrent layer between normalizer and dense layers, if any.
        """
        self._lstm = lstm
        self._state: tuple[np.ndarray, np.ndarray] | None = None
        self._layers = [(layer.weight.T.copy(), layer.bias, layer.activation) for layer in layers]
        self._squash = squash
        self._norm: tuple[np.ndarray, np.ndarray, float] | None = None
        if normalizer is not None:
            scale = np.sqrt(normalizer.var + normalizer.epsilon)
            limit = np.inf if normalizer.clip is None else normalizer.clip
            self._norm = (normalizer.mean.astype(np.float32), scale.astype(np.float32), limit)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return deterministic actions (N, A) for observations (N, dim)."""
        x = np.asarray(obs, dtype=np.float32)
        if self._norm is not None:
            mean, scale, limit = self._norm
            x = np.clip((x - mean) / scale, -limit, limit)
        if self._lstm is not None:
            x = self._remember(self._lstm, x)
        for weight, bias, activation in self._layers:
            x = _ACTIVATIONS[activation](x @ weight + bias)
        return np.tanh(x) if self._squash else x

    def begin(self, mask: np.ndarray) -> None:
        """Set the state of a recurrent layer to zero where an episode begins (N,), bool."""
        if self._state is not None:
            for part in self._state:
                part[mask] = 0.0

    def _remember(self, lstm: Lstm, x: np.ndarray) -> np.ndarray:
        """Return the output (N, H) of the recurrent layer, which goes on from its state."""
        if self._state is None or self._state[0].shape[0] != x.shape[0]:
            zero = np.zeros((x.shape[0], lstm.hidden), dtype=np.float32)
            self._state = zero, zero.copy()
        output, cell = self._state
        gates = x @ lstm.weight_ih.T + lstm.bias_ih + output @ lstm.weight_hh.T + lstm.bias_hh
        enter, keep, new, leave = np.split(gates, 4, axis=1)
        cell = _sigmoid(keep) * cell + _sigmoid(enter) * np.tanh(new)
        output = _sigmoid(leave) * np.tanh(cell)
        self._state = output, cell
        return output


def network_of(state: Mapping[str, torch.Tensor], activation: str) -> Network:
    """Return an actor as a batch network.

    Args:
        state: Parameters by SB3's names.
        activation: Activation of the hidden layers.
    """
    layers, squash = actor_chain(state, activation)
    return Network(layers, normalizer_of(state), squash=squash, lstm=lstm_of(state))


def act_of(bundle: Bundle) -> Network:
    """Return the batch form of a bundle's policy."""
    squash = bundle.manifest.network.squash == "tanh"
    return Network(bundle.layers, bundle.normalizer, squash=squash, lstm=bundle.lstm)


def actor_chain(
    state: Mapping[str, torch.Tensor], activation: str
) -> tuple[tuple[Layer, ...], bool]:
    """Return the actor's layers from observation to action.

    Args:
        state: Parameters by SB3's names.
        activation: Activation of the hidden layers.

    Returns:
        The layers, and whether the output is squashed (SAC).
    """
    off_policy = any(name.startswith("actor.") for name in state)
    prefixes = (
        ("actor.features_extractor.layers", "actor.latent_pi", "actor.mu")
        if off_policy
        else ("pi_features_extractor.layers", "mlp_extractor.policy_net", "action_net")
    )
    names: list[str] = []
    for prefix in prefixes:
        found = [
            n[: -len(".weight")] for n in state if n.startswith(prefix) and n.endswith(".weight")
        ]
        names += sorted(found, key=_layer_number)
    layers = []
    for name in names:
        last = name == names[-1]
        layers.append(
            Layer(
                weight=state[f"{name}.weight"].detach().cpu().numpy().astype(np.float32),
                bias=state[f"{name}.bias"].detach().cpu().numpy().astype(np.float32),
                activation="identity" if last else _activation(activation),
            )
        )
    return tuple(layers), off_policy


def _activation(name: str) -> Activation:
    for known in _ACTIVATIONS:
        if known == name:
            return known
    raise BundleError(f"activation '{name}' cannot be exported; use one of {sorted(_ACTIVATIONS)}")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


_ACTIVATIONS: dict[Activation, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "elu": _elu,
    "identity": lambda x: x,
}


def _layer_number(name: str) -> int:
    tail = name.rsplit(".", 1)[-1]
    return int(tail) if tail.isdigit() else 0


def normalizer_of(state: Mapping[str, torch.Tensor]) -> Normalizer | None:
    """Return the actor's observation statistics, if it has any.

    Args:
        state: Parameters by SB3's names.
    """
    for prefix in ("pi_features_extractor.normalizer", "actor.features_extractor.normalizer"):
        if f"{prefix}.mean" in state:
            return Normalizer(
                mean=state[f"{prefix}.mean"].detach().cpu().numpy(),
                var=state[f"{prefix}.var"].detach().cpu().numpy(),
                count=float(state[f"{prefix}.count"]),
                epsilon=EPSILON,
                clip=LIMIT,
            )
    return None


def lstm_of(state: Mapping[str, torch.Tensor]) -> Lstm | None:
    """Return the actor's recurrent layer, if it has one.

    Args:
        state: Parameters by SB3's names.
    """
    prefix = "pi_features_extractor.lstm"
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    if f"{prefix}.{names[0]}_l0" not in state:
        return None
    arrays = {name: state[f"{prefix}.{name}_l0"].detach().cpu().numpy() for name in names}
    return Lstm(**{name: array.astype(np.float32) for name, array in arrays.items()})


def record_golden(robot: Robot, task: Task, domain: Domain, network: Network) -> Golden:
    """Run two episodes in the training domain and keep what went in and out.

    The second one shows that nothing of the first is left. No end of an episode is a reset.

    Args:
        robot: The robot.
        task: The task.
        domain: The training domain.
        network: The actor, at the beginning of an episode.
    """
    env = SimVecEnv(robot, task, domain, 1)
    try:
        rows: dict[str, list[np.ndarray]] = {"observation": [], "output": [], "command": []}
        signals: dict[str, list[np.ndarray]] = {name: [] for name in env.signals}
        command = np.tile(env.action_map.idle, (1, 1))
        obs = env.reset(12_345)
        for step in range(GOLDEN_STEPS):
            if step in GOLDEN_RESETS[1:]:
                obs = env.reset(12_345 + step)
                network.begin(np.ones(1, dtype=bool))
            for name, value in env.signals.items():
                signals[name].append(value[0].copy())
            output = network(obs)
            env.action_map.command(np.clip(output, -1.0, 1.0), command)
            rows["observation"].append(obs[0].copy())
            rows["output"].append(output[0].copy())
            rows["command"].append(command[0].copy())
            obs = env.step(output, autoreset=False).final_obs
    finally:
        env.close()
    return Golden(
        signals={name: np.stack(values) for name, values in signals.items()},
        observation=np.stack(rows["observation"]),
        output=np.stack(rows["output"]),
        command=np.stack(rows["command"]),
        resets=GOLDEN_RESETS,
    )


def _latency(domain: Domain, robot: Robot) -> TrainedLatency:
    fixed, rules = domain.fixed(robot), domain.randomization.resolve(catalogue(robot))
    spans: dict[str, tuple[float, float]] = {}
    for name in ("measurement_delay", "command_delay"):
        low = high = float(fixed[name])
        if name in rules:
            low, high = rules[name].reach(np.array([low]))
        spans[name] = low, high
    return TrainedLatency(
        measurement_s=spans["measurement_delay"], command_s=spans["command_delay"]
    )


def record_again(path: Path, bundle: Bundle, robot: Robot, task: Task, domain: Domain) -> Path:
    """Write a bundle in the present schema, with golden vectors that are recorded anew.

    Weights, and whatever else is a claim about the training, stay as they are; a controller may
    bear stale signals as long as with a bundle that is new.

    Args:
        path: The folder to create, or that of the bundle.
        bundle: A bundle of that robot, task and domain; it may be of an earlier schema.
        robot: The robot.
        task: The task.
        domain: The training domain.

    Returns:
        `path`.

    Raises:
        BundleError: It is of another domain, or does not reproduce its golden vectors.
    """
    origin = bundle.manifest.provenance
    if origin.source_domain != domain.name:
        raise BundleError(
            f"bundle '{bundle.path}' was trained in '{origin.source_domain}', and '{domain.name}' "
            "was given; golden vectors come from the training domain"
        )
    golden = record_golden(robot, task, domain, act_of(bundle))
    manifest, data = with_golden(bundle.manifest, golden)
    manifest = replace(
        manifest,
        provenance=replace(origin, randomization=domain.randomization.words),
        safety=replace(manifest.safety, stale_hold_steps=STALE_HOLD_STEPS),
    )
    return publish(path, manifest, {**read_members(bundle), manifest.golden.file: data})


def _signals(robot: Robot, task: Task) -> tuple[SignalEntry, ...]:
    """Return what a robot must supply: its joints, and what the task's observation reads beside."""
    others = task.signals(robot).items()
    return (
        *joint_signals(robot),
        *(
            SignalEntry(name=name, kind="other", elements=spec.elements, units=spec.units)
            for name, spec in others
        ),
    )


def _versions() -> dict[str, str]:
    packages = ("simreal", "torch", "stable-baselines3", "numpy", "mujoco", "pybullet")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            continue
    return found

"""Policies with memory, and with a critic that sees more."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from simreal.domains import SimVecEnv
from simreal.errors import ConfigError
from simreal.learning.actor_critic import Acting, Memory, SimPolicy
from simreal.learning.policy import FeatureExtractor, part_of
from simreal.learning.torch_ppo import TorchPPO
from simreal.learning.torch_ppo.dense import DenseLearner
from simreal.learning.torch_ppo.sequences import SequenceLearner
from simreal.learning.vec_env import SB3VecEnv

REMEMBERING: dict[str, Any] = {
    "features_extractor_class": Memory,
    "features_extractor_kwargs": {"hidden": 6},
    "share_features_extractor": False,
    "net_arch": [8],
}
SMALL: dict[str, Any] = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "device": "cpu", "seed": 0}


@pytest.fixture
def model(recorded: Any) -> TorchPPO:
    """Return a trainer with memory, chunks of 8 steps, before its first rollout."""
    made = TorchPPO(
        SimPolicy, recorded(6, ends=0.2), policy_kwargs=REMEMBERING, sequence_length=8, **SMALL
    )
    made.start = made._setup_learn(10**6)[1]  # type: ignore[attr-defined]
    return made


def collect(model: Any) -> Any:
    model.collect_rollouts(model.env, model.start, model.rollout_buffer, model.n_steps)
    return model.rollout_buffer


def unrolled(memory: Memory, obs: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Return the outputs of `torch.nn.LSTM` itself, world by world and episode by episode."""
    steps, worlds, _ = obs.shape
    rows = torch.zeros(steps, worlds, memory.lstm.hidden_size)
    for world in range(worlds):
        cuts = [0, *torch.nonzero(starts[1:, world]).flatten().add(1).tolist(), steps]
        for first, last in pairwise(cuts):
            rows[first:last, world] = memory.lstm(memory.normalized(obs[first:last, world]))[0]
    return rows


@torch.no_grad()
def test_rollouts_run_torchs_lstm_from_zero_in_every_episode(model: Any) -> None:
    first = collect(model)
    obs, starts = [first.observations.clone()], [first.episode_starts[:-1].clone()]
    second = collect(model)  # the memory goes on over the border of two rollouts
    obs.append(second.observations)
    starts.append(second.episode_starts[:-1])
    policy, seen, begins = model.policy, torch.cat(obs), torch.cat(starts)
    assert begins[1:].sum() > 10
    actor = unrolled(policy.pi_features_extractor, seen, begins)[16:]
    critic = unrolled(policy.vf_features_extractor, seen, begins)[16:]
    values = policy.value(critic.flatten(0, 1)).view(16, 6)
    torch.testing.assert_close(second.values, values, atol=1e-5, rtol=0)
    z = (
        second.actions - policy.mean_action(actor.flatten(0, 1)).view(16, 6, 2)
    ) / policy.log_std.exp()
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = (normal.log_prob(z) - policy.log_std).sum(-1)
    torch.testing.assert_close(second.log_probs, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_values_before_a_reset_go_on_from_the_state_after_the_step(model: Any) -> None:
    buffer = collect(model)
    policy = model.policy
    critic = policy.vf_features_extractor
    step, world = torch.nonzero(buffer.done)[5].tolist()
    begin = max([t for t in range(step + 1) if buffer.episode_starts[t, world]], default=0)
    episode = torch.cat(
        (buffer.observations[begin : step + 1, world], buffer.final_observations[step, world][None])
    )
    expected = policy.value(critic.lstm(critic.normalized(episode))[0][-1:])
    assert buffer.next_values[step, world].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_first_minibatch_finds_the_probabilities_of_the_rollout(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        collect(model)
    ratios: list[torch.Tensor] = []
    backward = SequenceLearner.backward

    def spy(self: Any, row: int) -> None:
        backward(self, row)
        ratios.append(self._table.log_ratios[row].clone())

    monkeypatch.setattr(SequenceLearner, "backward", spy)
    model.learning_rate = model.lr_schedule = lambda _: 0.0
    model.train()
    # 96 transitions in chunks of 8: minibatches of 4 chunks, all steps of each.
    assert [r.shape[0] for r in ratios] == [32, 32, 32] * 2
    assert torch.cat(ratios).abs().max() < 1e-5


def test_minibatches_are_whole_chunks(model: Any) -> None:
    collect(model)
    order = model._learner.permutation()
    assert sorted(order.tolist()) == list(range(96))
    for part in order.split(32):
        grid = part.view(8, 4)
        assert (grid[1:] - grid[:-1] == 6).all()  # six worlds: the next step of the same world
        assert (grid[0] // 6 % 8 == 0).all()


def test_gradients_equal_those_through_torchs_lstm(model: Any) -> None:
    collect(model)
    policy, buffer = model.policy, model.rollout_buffer
    starts = buffer.episode_starts[:-1]
    memory = policy.pi_features_extractor
    obs = buffer.observations
    own = memory.sequence(memory.normalized(obs), memory.zeros(6), starts).outputs
    weights = torch.linspace(-1, 1, own.numel()).view_as(own)
    parameters = list(memory.lstm.parameters())
    mine = torch.autograd.grad((own * weights).sum(), parameters)
    yours = torch.autograd.grad((unrolled(memory, obs, starts) * weights).sum(), parameters)
    for first, second in zip(mine, yours, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


def test_predict_carries_the_state_and_forgets_at_the_start_of_an_episode(model: Any) -> None:
    policy = model.policy
    obs = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
    act = Acting(policy)
    act.begin(np.ones(2, dtype=bool))
    first = act(obs[0])
    act.begin(np.array([False, False]))
    second = act(obs[1])
    act.begin(np.array([True, False]))
    third = act(obs[2])
    lstm = policy.pi_features_extractor.lstm
    with torch.no_grad():
        out = lstm(policy.pi_features_extractor.normalized(torch.from_numpy(obs)))[0]
        expected = policy.mean_action(out.flatten(0, 1)).view(3, 2, 2).clamp(-1, 1).numpy()
        fresh = policy.mean_action(policy.pi_features_extractor(torch.from_numpy(obs[2])))
    np.testing.assert_allclose(first, expected[0], atol=1e-6)
    np.testing.assert_allclose(second, expected[1], atol=1e-6)
    np.testing.assert_allclose(third[1], expected[2, 1], atol=1e-6)
    np.testing.assert_allclose(third[0], fresh[0].clamp(-1, 1).numpy(), atol=1e-6)


def test_sizes_that_do_not_fit_are_refused(recorded: Any) -> None:
    model = TorchPPO(SimPolicy, recorded(6), policy_kwargs=REMEMBERING, sequence_length=5, **SMALL)
    with pytest.raises(ConfigError, match="sequence_length is 5; it must divide"):
        model.learn(96)
    with pytest.raises(ConfigError, match="share_features_extractor=False"):
        TorchPPO(
            SimPolicy, recorded(6), policy_kwargs={"features_extractor_class": Memory}, **SMALL
        )


class Recall(gymnasium.Env):
    """Show a sign in the first step only; reward it in each of the four steps that follow."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count, self.sign = 0, float(self.np_random.choice([-1.0, 1.0]))
        return np.array([self.sign, 1.0], dtype=np.float32), {}

    def step(self, action: np.ndarray) -> Any:
        self.count += 1
        reward = float(action[0]) * self.sign
        return np.zeros(2, dtype=np.float32), reward, self.count == 5, False, {}


def test_it_learns_what_needs_memory(tmp_path: Path) -> None:
    settings = SMALL | {"n_steps": 40, "batch_size": 80, "n_epochs": 6, "learning_rate": 1e-2}
    env = DummyVecEnv([Recall for _ in range(16)])
    model = TorchPPO(
        SimPolicy, env, policy_kwargs=REMEMBERING, gamma=0.5, sequence_length=10, **settings
    )
    model.learn(13_000)
    act, obs, total = Acting(model.policy), env.reset(), 0.0
    starts = np.ones(16, dtype=bool)
    for _ in range(5):
        act.begin(starts)
        obs, rewards, starts, _ = env.step(act(np.asarray(obs)))
        total += float(np.mean(rewards))
    assert total > 4.0  # without memory at most 1: the first step alone
    model.save(tmp_path / "memory")
    again = TorchPPO.load(tmp_path / "memory", device="cpu")
    seen = np.array([[1.0, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(*(m.predict(seen, deterministic=True)[0] for m in (model, again)))


# ------------------------------------------------------------ a privileged critic


@pytest.fixture
def face(toy_robot: Any, toy_task: Any, toy_domain: Callable[..., Any]) -> Any:
    made = []

    def make(privileged: bool, **domain: Any) -> SB3VecEnv:
        sim = SimVecEnv(toy_robot, toy_task, toy_domain(**domain), 4, seed=5)
        made.append(SB3VecEnv(sim, privileged=privileged))
        return made[-1]

    yield make
    for env in made:
        env.close()


def test_the_true_state_stands_behind_the_observation(face: Any) -> None:
    plain, full = face(False, busy=True), face(True, busy=True)
    # Position and velocity of one joint, its mass, damping, and the command delay.
    assert full.num_privileged == 2 + sum(v[0].size for v in full.sim.params.values())
    first, second = plain.reset(), full.reset()
    np.testing.assert_array_equal(first, second[:, :12])
    action = np.full((4, 1), 0.3, dtype=np.float32)
    for _ in range(45):
        before = full.sim.book.episode.copy()
        first, rewards, dones, infos = plain.step(action)
        second, again, ends, others = full.step(action)
        np.testing.assert_array_equal(first, second[:, :12])
        np.testing.assert_array_equal(rewards, again)
        np.testing.assert_array_equal(dones, ends)
        assert (full.sim.book.episode - before == dones).all()
        np.testing.assert_array_equal(second[:, 12:13], full.sim.truth.joint_pos.astype(np.float32))
        for world in np.flatnonzero(dones):
            last = others[world]["terminal_observation"]
            np.testing.assert_array_equal(infos[world]["terminal_observation"], last[:12])
            assert last[12] != second[world, 12]  # the state before the reset


def test_the_actor_does_not_see_it_and_the_critic_does(face: Any) -> None:
    env = face(True)
    kwargs = {
        "features_extractor_class": FeatureExtractor,
        "features_extractor_kwargs": {"widths": (8,)},
        "share_features_extractor": False,
        "net_arch": [8],
        "privileged": env.num_privileged,
    }
    model = TorchPPO(SimPolicy, env, policy_kwargs=kwargs, **SMALL).learn(128)
    assert type(model._learner) is DenseLearner
    obs = torch.from_numpy(env.reset())
    other = obs.clone()
    other[:, 12:] += 1.0
    policy: Any = model.policy
    with torch.no_grad():
        np.testing.assert_array_equal(
            *(policy.predict(o.numpy(), deterministic=True)[0] for o in (obs, other))
        )
        assert (policy.predict_values(obs) - policy.predict_values(other)).abs().max() > 1e-4
        # A robot gives the first entries alone.
        np.testing.assert_array_equal(
            policy.predict(obs.numpy(), deterministic=True)[0],
            policy.predict(obs[:, :12].numpy(), deterministic=True)[0],
        )


def test_parts_of_a_memory_have_names(model: Any) -> None:
    parts = {part_of(name) for name, _ in model.policy.named_parameters()}
    assert parts == {
        "actor.extractor",
        "actor.head",
        "actor.std",
        "critic.extractor",
        "critic.head",
    }

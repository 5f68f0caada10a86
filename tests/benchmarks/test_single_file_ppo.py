"""The single file that trainings are compared with is a PPO."""

import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env

from peers.single_file_ppo import SingleFilePPO

SETTINGS = {
    "n_steps": 2,
    "batch_size": 2,
    "n_epochs": 1,
    "learning_rate": 1e-3,
    "gamma": 0.5,
    "gae_lambda": 0.5,
}


@pytest.fixture
def trainer() -> SingleFilePPO:
    return SingleFilePPO(make_vec_env("Pendulum-v1", 1), 0, SETTINGS)


@pytest.mark.parametrize(("done", "first"), [(0.0, 1.75), (1.0, 1.0)])
def test_advantages(trainer: SingleFilePPO, done: float, first: float) -> None:
    with torch.no_grad():
        for parameter in trainer.agent.critic[-1].parameters():
            parameter.zero_()
        trainer.agent.critic[-1].bias.fill_(2.0)
    trainer.rewards[:, 0] = torch.tensor([1.0, 2.0])
    trainer.values[:, 0] = torch.tensor([0.0, 0.0])
    trainer.dones[1] = done
    # Last step: 2 + 0.5 * 2 = 3. First one: 1 + 0.25 * 3, or 1 if an episode ended there.
    found = trainer._advantages(torch.zeros(1, 3), torch.zeros(1))
    assert found.flatten().tolist() == [first, 3.0]


def test_it_trains(trainer: SingleFilePPO) -> None:
    before = [p.detach().clone() for p in trainer.agent.parameters()]
    trainer.learn(8)
    assert trainer.num_timesteps == 8
    moved = [
        (p.detach() - q).abs().max()
        for p, q in zip(trainer.agent.parameters(), before, strict=True)
    ]
    assert float(min(moved)) > 0

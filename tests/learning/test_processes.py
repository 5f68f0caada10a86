"""Two processes that train one policy, against one with twice the worlds and minibatches."""

import csv
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

from simreal.errors import CheckpointError, ConfigError
from simreal.learning.normalizer import RunningNorm
from simreal.learning.processes import Processes, processes
from simreal.learning.torch_ppo.dense import DenseLearner
from simreal.learning.torch_ppo.learner import Learner
from simreal.learning.trainer import train

WORLDS, STEPS, BATCH = 4, 16, 32


def in_two(function: Callable[[], Any], folder: Path) -> list[Any]:
    """Call a function in two processes that know each other, and return what they returned."""
    context = multiprocessing.get_context("fork")
    folder.mkdir(parents=True, exist_ok=True)
    store = (folder / "store").as_uri()

    def member(rank: int, answer: Any) -> None:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
        try:
            answer.send_bytes(pickle.dumps(function()))
        finally:
            distributed.destroy_process_group()

    found = []
    members = []
    for rank in range(2):
        ours, theirs = context.Pipe(duplex=False)
        members.append((context.Process(target=member, args=(rank, theirs), daemon=True), ours))
        members[-1][0].start()
        theirs.close()
    for process, answer in members:
        assert answer.poll(120), "a process does not answer"
        found.append(pickle.loads(answer.recv_bytes()))
        process.join(30)
    return found


@pytest.fixture
def shared_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw exploration and minibatches by world, however the worlds are split over processes."""
    begin = DenseLearner.begin_rollout
    noise, orders = np.random.default_rng(1), np.random.default_rng(2)

    def begin_rollout(self: Any) -> None:
        begin(self)
        drawn = noise.normal(size=(STEPS, 2 * WORLDS, 1)).astype(np.float32)
        rank, own = processes().rank, self.rollouts.n_envs
        self._noise.copy_(torch.from_numpy(drawn[:, rank * own : (rank + 1) * own]))

    def permutation(self: Any) -> torch.Tensor:
        # A minibatch of the whole: one of the first half of the worlds, one of the second.
        halves = [orders.permutation(STEPS * WORLDS).reshape(-1, BATCH) for _ in range(2)]
        everybody = processes()
        if everybody.size == 2:
            return torch.from_numpy(halves[everybody.rank].reshape(-1))
        rows = []
        for half, order in enumerate(halves):
            step, world = np.divmod(order, WORLDS)
            rows.append(step * 2 * WORLDS + half * WORLDS + world)
        return torch.from_numpy(np.concatenate(rows, axis=1).reshape(-1))

    monkeypatch.setattr(DenseLearner, "begin_rollout", begin_rollout)
    monkeypatch.setattr(Learner, "permutation", permutation)


@pytest.mark.parametrize("target_kl", [None, 1e-5])
def test_two_processes_equal_one_with_the_double_batch(
    toy_job: Callable[..., Any],
    toy_algo: Callable[..., Any],
    shared_draws: None,
    tmp_path: Path,
    target_kl: float | None,
) -> None:
    """Six rollouts with evaluations, checkpoints and a normalizer, in float32."""

    def outcome(worlds: int, batch: int, name: str) -> Any:
        settings = toy_algo(
            "torch_ppo", num_worlds=worlds, batch_size=batch, num_epochs=4, target_kl=target_kl
        )
        plan = {"num_steps": 6 * STEPS * 2 * WORLDS, "eval_every": 256, "checkpoint_every": 256}
        job = toy_job(settings=settings, plan=plan, folder=tmp_path / name)
        found = train(job)
        state = {k: v.numpy() for k, v in found.model.policy.state_dict().items()}
        return found.initial, state, found.num_steps, found.curve, found.model._n_updates

    # The fork comes first, so that all begin with the same draws.
    ours = in_two(lambda: outcome(WORLDS, BATCH, "two"), tmp_path)
    initial, whole, num_steps, curve, num_updates = outcome(2 * WORLDS, 2 * BATCH, "one")
    stopped = target_kl is not None
    assert (num_updates < 24) is stopped
    for _, state, steps, points, updates in ours:
        assert (steps, updates) == (num_steps, num_updates) == (768, num_updates)
        assert points[-1].return_ == pytest.approx(curve[-1].return_, abs=1e-3)
        assert max(float(np.abs(v - whole[k]).max()) for k, v in state.items()) < 1e-5
    assert all(np.array_equal(v, ours[1][1][k]) for k, v in ours[0][1].items())
    assert max(float(np.abs(v.numpy() - whole[k]).max()) for k, v in initial.items()) > 1e-2
    logs = [read(tmp_path / name / "tensorboard" / "progress.csv") for name in ("two", "one")]
    for tag in ("approx_kl", "loss", "explained_variance", "value_loss"):
        mine, theirs = (float(rows[-2][f"train/{tag}"]) for rows in logs)
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-4), tag


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_processes_explore_differently_and_continue_bit_for_bit(
    toy_job: Callable[..., Any], toy_algo: Callable[..., Any], tmp_path: Path
) -> None:
    def run(num_steps: int, folder: Path, *, resume: bool) -> Any:
        plan = {"num_steps": num_steps, "checkpoint_every": 128, "eval_every": 128}
        found = train(
            toy_job(settings=toy_algo("torch_ppo"), plan=plan, folder=folder), resume=resume
        )
        return found.model.policy.state_dict(), found.model.rollout_buffer.actions

    def both() -> Any:
        whole, actions = run(512, tmp_path / "whole", resume=False)
        return {k: v.numpy() for k, v in whole.items()}, actions.numpy()

    first, second = in_two(both, tmp_path)
    assert all(np.array_equal(v, second[0][k]) for k, v in first[0].items())
    assert np.abs(first[1] - second[1]).min() > 0

    def again() -> Any:
        state, actions = run(512, tmp_path / "whole", resume=True)
        return {k: v.numpy() for k, v in state.items()}, actions.numpy()

    last = sorted((tmp_path / "whole" / "checkpoints").glob("*.json"))[-1]
    last.unlink()  # as if the run had been killed before its last checkpoint
    for before, after in zip((first, second), in_two(again, tmp_path / "again"), strict=True):
        assert all(np.array_equal(v, after[0][k]) for k, v in before[0].items())
        np.testing.assert_array_equal(before[1], after[1])
    with pytest.raises(CheckpointError, match="processes was 2, now absent"):
        run(512, tmp_path / "whole", resume=True)


def test_only_torch_ppo_trains_in_several_processes(
    toy_job: Callable[..., Any], toy_algo: Callable[..., Any], tmp_path: Path
) -> None:
    def attempt(settings: Any) -> str:
        with pytest.raises(ConfigError) as error:
            train(toy_job(settings=settings))
        return str(error.value)

    for settings in (toy_algo("ppo"), toy_algo("torch_ppo", normalize_reward=True)):
        folder = tmp_path / type(settings).__name__
        for text in in_two(lambda settings=settings: attempt(settings), folder):
            assert "2 processes train together" in text
            assert "algo=torch_ppo" in text


def test_averages_and_moments(tmp_path: Path) -> None:
    def work() -> Any:
        everybody = processes()
        rank = float(everybody.rank)
        tensors = [torch.full((2,), rank), torch.full((1, 2), 3.0 * rank), torch.full((), rank)]
        wide = torch.tensor(5.0 * rank, dtype=torch.float64)
        everybody.average(*tensors, wide)
        norm = RunningNorm(1)
        norm.update(torch.tensor([[rank], [4.0 * rank + 1.0]]))  # 0, 1 and 1, 5
        told, heard = everybody.tell(f"from {rank}"), everybody.joined([everybody.rank] * 2)
        return [t.tolist() for t in (*tensors, wide)], norm.mean, norm.var, norm.count, told, heard

    for averaged, mean, var, count, told, heard in in_two(work, tmp_path):
        assert averaged == [[0.5, 0.5], [[1.5, 1.5]], 0.5, 2.5]
        assert (float(mean), float(var), float(count)) == (1.75, 3.6875, 4.0)
        assert (told, heard) == ("from 0.0", [0, 0, 1, 1])


def test_one_process_is_left_alone() -> None:
    alone = processes()
    value = torch.tensor([1.0, 3.0])
    alone.average(value)
    assert alone == Processes(0, 1)
    assert alone.first
    assert value.tolist() == [1.0, 3.0]
    assert alone.tell("x") == "x"
    assert alone.joined([1]) == [1]
    assert [float(part) for part in alone.moments(value, 0)] == [2.0, 1.0]


@pytest.mark.slow
def test_torchrun_trains_and_writes_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ["task=pendulum", "algo=torch_ppo", "algo.num_worlds=4", "algo.num_steps=16"]
    words += ["algo.batch_size=32", "algo.extractor=[8]", "algo.head=[8]", "plan.num_steps=256"]
    words += ["plan.eval_every=128", "plan.eval_episodes=1", "plan.checkpoint_every=128"]
    words += ["num_test_episodes=1", f"output={folder}"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["-m", "simreal", "train", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("policy     ") == 1
    assert json.loads((folder / "summary.json").read_text())["num_steps"] == 256
    steps = [row["time/total_timesteps"] for row in read(folder / "tensorboard" / "progress.csv")]
    assert steps == ["128", "256", "256"]  # the last row tells of the last evaluation
    assert (folder / "policy" / "manifest.json").is_file()

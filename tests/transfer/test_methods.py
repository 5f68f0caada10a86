import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from simreal.errors import CheckpointError, ConfigError
from simreal.learning import trainer
from simreal.learning.policy import part_of
from simreal.learning.trainer import TrainingPlan, train
from simreal.transfer import (
    FineTune,
    FrozenExtractor,
    Scratch,
    TransferProblem,
    TransferResult,
    ZeroShot,
)
from simreal.transfer.fine_tune import two_phases, with_overrides

Build = Callable[..., Any]
State = dict[str, torch.Tensor]
PLAN = TrainingPlan(num_steps=192, eval_every=64, eval_episodes=2, checkpoint_every=64, keep="last")


_SOURCES: dict[str, State] = {}


@pytest.fixture(params=["ppo", "torch_ppo", "sac"])
def problem(
    request: pytest.FixtureRequest,
    toy_job: Build,
    toy_domain: Build,
    toy_algo: Build,
    tmp_path: Path,
) -> TransferProblem:
    """Return a problem whose source policy was trained, a little, in another domain."""
    changes = {"learning_starts": 0} if request.param == "sac" else {}
    job = toy_job(folder=tmp_path / "source", settings=toy_algo(request.param))
    if request.param not in _SOURCES:
        _SOURCES[request.param] = train(job).state
    return TransferProblem(
        robot=job.robot,
        task=job.task,
        target=toy_domain("mujoco", busy=True),
        settings=toy_algo(request.param, **changes),
        source_state=copy.deepcopy(_SOURCES[request.param]),
        seed=7,
        folder=tmp_path / "target",
    )


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> dict[int, State]:
    """Return the parameters at each evaluation, by steps; at 0 what the training began with."""
    seen: dict[int, State] = {}
    learn, evaluate = trainer._Run._learn, trainer._Run._evaluate

    def at_start(self: Any, **settings: Any) -> None:
        seen[0] = copy.deepcopy(self.model.policy.state_dict())
        learn(self, **settings)

    def at_evaluation(self: Any) -> bool:
        seen[self.model.num_timesteps] = copy.deepcopy(self.model.policy.state_dict())
        return evaluate(self)

    monkeypatch.setattr(trainer._Run, "_learn", at_start)
    monkeypatch.setattr(trainer._Run, "_evaluate", at_evaluation)
    return seen


def moved(first: State, second: State) -> set[str]:
    """Return the parts in which two sets of parameters differ; targets follow up to rounding."""
    return {
        str(part_of(name))
        for name, value in first.items()
        if not torch.equal(value, second[name]) and not name.startswith("critic_target.")
    }


def test_zero_shot_takes_no_step(problem: TransferProblem) -> None:
    result = ZeroShot().run(problem)
    assert moved(result.state, problem.source("zero_shot")) == set()
    assert (result.train_steps, result.eval_steps, result.target_steps) == (0, 0, 0)
    assert result.curve == ()


def test_scratch_uses_nothing_of_the_source(problem: TransferProblem, tmp_path: Path) -> None:
    first = Scratch(PLAN).run(problem)
    without = replace(problem, source_state=None, folder=tmp_path / "without")
    assert moved(first.state, Scratch(PLAN).run(without).state) == set()
    assert first.settings is problem.settings


def test_fine_tuning_begins_with_the_source_and_warms_the_critic_up(
    problem: TransferProblem, snapshots: dict[int, State]
) -> None:
    # At 64 steps the policy has taken one update; the actor may move from step 128 on.
    result = FineTune(PLAN, warm_up_steps=128, action_std=None).run(problem)
    assert moved(problem.source("fine_tune"), snapshots[0]) == set()
    assert moved(snapshots[0], snapshots[128]) == {"critic.extractor", "critic.head"}
    assert moved(snapshots[128], result.state) == {
        "actor.extractor",
        "actor.head",
        "actor.std",
        "critic.extractor",
        "critic.head",
    }


def test_every_step_on_the_target_is_counted(problem: TransferProblem) -> None:
    result = FineTune(PLAN, warm_up_steps=64).run(problem)
    # Three evaluations of two episodes of 20 steps.
    assert (result.train_steps, result.eval_steps, result.target_steps) == (192, 120, 312)
    assert result.kept_at == 192


def test_statistics_move_only_where_asked(
    problem: TransferProblem, snapshots: dict[int, State]
) -> None:
    FineTune(PLAN, warm_up_steps=64, frozen_statistics=False).run(problem)
    changed = {p for p in moved(snapshots[0], snapshots[192]) if p.endswith(".normalizer")}
    off_policy = problem.settings.name == "sac"  # merges in its random phase, which is left out
    assert changed == (set() if off_policy else {"actor.normalizer", "critic.normalizer"})


def test_a_frozen_extractor_stays_bit_for_bit(
    problem: TransferProblem, snapshots: dict[int, State]
) -> None:
    result = FrozenExtractor(PLAN, warm_up_steps=64).run(problem)
    source = problem.source("frozen_extractor")
    for name, value in source.items():
        if str(part_of(name)).endswith((".extractor", ".normalizer")) and "target" not in name:
            assert torch.equal(value, result.state[name]), name
    # A new head, while the critic's is the source's; then first the critic learns.
    assert moved(source, snapshots[0]) == {"actor.head"}
    assert moved(snapshots[0], snapshots[64]) <= {"critic.head"}
    assert moved(snapshots[64], snapshots[192]) == {"actor.head", "actor.std", "critic.head"}


def test_a_frozen_extractor_may_keep_its_head(
    problem: TransferProblem, snapshots: dict[int, State]
) -> None:
    FrozenExtractor(PLAN, warm_up_steps=64, new_head=False).run(problem)
    assert moved(problem.source("frozen_extractor"), snapshots[0]) == set()


def test_a_new_critic_begins_at_random(
    problem: TransferProblem, snapshots: dict[int, State]
) -> None:
    FineTune(PLAN, warm_up_steps=64, new_critic=True, action_std=None).run(problem)
    assert moved(problem.source("x"), snapshots[0]) == {"critic.extractor", "critic.head"}


def test_parts_have_learning_rates_of_their_own(
    problem: TransferProblem, snapshots: dict[int, State]
) -> None:
    FineTune(PLAN, warm_up_steps=0, learning_rates={"actor.extractor": 0.0}).run(problem)
    assert "actor.extractor" not in moved(snapshots[0], snapshots[192])
    assert "actor.head" in moved(snapshots[0], snapshots[192])


@pytest.mark.parametrize("method", [FineTune, FrozenExtractor, Scratch])
def test_a_killed_transfer_continues_bit_for_bit(
    problem: TransferProblem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: type[Any],
) -> None:
    class Killed(BaseException):
        pass

    def run(where: TransferProblem) -> TransferResult:
        settings = {} if method is Scratch else {"warm_up_steps": 96}
        return method(PLAN, **settings).run(where)

    whole = run(replace(problem, folder=tmp_path / "whole"))
    write = trainer.write_checkpoint

    def killing(folder: Path, num_timesteps: int, *rest: Any) -> Path:
        write(folder, num_timesteps, *rest)
        if num_timesteps == 64:
            raise Killed
        return folder

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "write_checkpoint", killing)
        with pytest.raises(Killed):
            run(problem)
    again = run(replace(problem, resume=True))
    assert all(torch.equal(value, again.state[name]) for name, value in whole.state.items())
    assert again.curve == whole.curve
    assert again.target_steps == whole.target_steps


def test_another_source_policy_is_refused_on_continuing(problem: TransferProblem) -> None:
    FineTune(PLAN, warm_up_steps=64).run(problem)
    other = {k: v + 1 for k, v in problem.source("x").items()}
    with pytest.raises(CheckpointError, match="origin was"):
        FineTune(PLAN, warm_up_steps=64).run(replace(problem, source_state=other, resume=True))


@pytest.mark.parametrize(
    "method",
    [ZeroShot(), FineTune(PLAN, warm_up_steps=64), FrozenExtractor(PLAN, warm_up_steps=64)],
)
def test_a_missing_source_policy_is_named(problem: TransferProblem, method: Any) -> None:
    with pytest.raises(ConfigError, match=f"'{method.name}' begins with a source policy"):
        method.run(replace(problem, source_state=None))


def test_methods_say_what_they_need() -> None:
    needs = {
        m.name: (m.needs_source, m.needs_target_data)
        for m in (ZeroShot(), Scratch(PLAN), FineTune(PLAN), FrozenExtractor(PLAN))
    }
    assert needs == {
        "zero_shot": (True, False),
        "scratch": (False, True),
        "fine_tune": (True, True),
        "frozen_extractor": (True, True),
    }


# ------------------------------------------------------------------- helpers


def test_two_phases() -> None:
    first, second = two_phases(10, 30, ("*.normalizer",), {"actor.head": 1e-4})
    assert (first.until, first.frozen) == (10, ("actor.*", "*.normalizer"))
    assert (second.until, second.frozen) == (30, ("*.normalizer",))
    assert first.learning_rates == second.learning_rates == {"actor.head": 1e-4}
    assert len(two_phases(0, 30, (), {})) == 1


@pytest.mark.parametrize("warm_up", [-1, 30, 31])
def test_a_warm_up_leaves_something_to_train(warm_up: int) -> None:
    with pytest.raises(ConfigError, match=f"warm_up_steps is {warm_up}"):
        two_phases(warm_up, 30, (), {})


def test_overrides_keep_whole_numbers_whole(toy_algo: Build) -> None:
    changed = with_overrides(toy_algo(), {"num_steps": 32.0, "final_learning_rate": 1e-5})
    assert (changed.num_steps, changed.final_learning_rate) == (32, 1e-5)
    assert type(changed.num_steps) is int
    assert changed.extractor == (8,)


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({"learning_rat": 1.0}, "Did you mean 'learning_rate'"),
        ({"extractor": 8}, "no number 'extractor'"),
        ({"normalize": 0}, "no number 'normalize'"),
        ({"num_steps": 2.5}, "num_steps is 2.5; a whole number"),
        ({"gamma": 2.0}, "gamma is 2.0"),
    ],
)
def test_wrong_overrides_are_named(toy_algo: Build, overrides: dict[str, float], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        with_overrides(toy_algo(), overrides)

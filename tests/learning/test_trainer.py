import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from simreal.domains import SimVecEnv
from simreal.errors import CheckpointError, ConfigError
from simreal.learning import trainer
from simreal.learning.policy import normalizers, part_of
from simreal.learning.trainer import Phase, TrainingPlan, train

Build = Callable[..., Any]


class Sink:
    def __init__(self) -> None:
        self.updates: list[tuple[int, int, dict[str, float]]] = []
        self.notes: list[str] = []

    def update(self, done: int, total: int, facts: dict[str, float]) -> None:
        self.updates.append((done, total, dict(facts)))

    def note(self, text: str) -> None:
        self.notes.append(text)


class Killed(BaseException):
    """Stand in for the end of the process."""


def killed(monkeypatch: pytest.MonkeyPatch, step: int, job: Any, *, before: bool = False) -> None:
    """Begin or continue a run that ends right after, or before, the checkpoint of a step."""
    write = trainer.write_checkpoint

    def wrapped(folder: Path, num_timesteps: int, *rest: Any) -> Path:
        if before and num_timesteps == step:
            raise Killed
        path = write(folder, num_timesteps, *rest)
        if num_timesteps == step:
            raise Killed
        return path

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "write_checkpoint", wrapped)
        with pytest.raises(Killed):
            train(job, resume=True)


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(v, second[k]) for k, v in first.items())


def assert_same(first: Any, second: Any) -> None:
    """Compare two outcomes bit for bit: what was kept, where it ended, and what it measured."""
    assert equal(first.state, second.state)
    assert equal(first.model.policy.state_dict(), second.model.policy.state_dict())
    assert first.curve == second.curve
    assert (first.num_steps, first.eval_steps, first.kept_at) == (
        second.num_steps,
        second.eval_steps,
        second.kept_at,
    )
    obs = np.linspace(-1, 1, 12, dtype=np.float32)[None, :]
    actions = [o.model.policy.predict(obs, deterministic=True)[0] for o in (first, second)]
    np.testing.assert_array_equal(*actions)


# ------------------------------------------------------------------ the plan


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"num_steps": 0}, "num_steps is 0"),
        ({"eval_every": -1}, "eval_every -1"),
        ({"eval_episodes": 0}, "eval_episodes is 0"),
        ({"stop_patience": 0}, "stop_patience 0"),
        ({"stop_success": 98.0}, "stop_success is 98.0"),
        ({"keep": "beste"}, "keep is 'beste'"),
    ],
)
def test_plans_are_checked(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        TrainingPlan(**({"num_steps": 10} | settings))


def test_training_changes_the_policy_and_watches_it(toy_job: Build) -> None:
    outcome = train(toy_job())
    assert outcome.num_steps == 192
    assert [p.num_steps for p in outcome.curve] == [64, 128, 192]
    # Two episodes of 20 steps each time.
    assert [p.eval_steps for p in outcome.curve] == [40, 80, 120]
    assert outcome.eval_steps == 120
    assert outcome.kept_at in (64, 128, 192)


def test_one_seed_repeats_a_run(toy_job: Build, tmp_path: Path) -> None:
    first = train(toy_job())
    assert_same(first, train(toy_job(folder=tmp_path / "again")))
    other = train(toy_job(folder=tmp_path / "other", seed=4))
    assert not equal(first.state, other.state)


def test_the_normalizer_learns_between_rollouts(toy_job: Build) -> None:
    outcome = train(toy_job(settings=toy_job().settings))
    # The last of three rollouts of 64 observations has no rollout after it.
    assert {n.count.item() for n in normalizers(outcome.model.policy)} == {128.0}


def test_the_normalizer_learns_at_every_step_if_asked(toy_job: Build, toy_algo: Build) -> None:
    outcome = train(toy_job(settings=toy_algo("ppo", normalize_every_step=True)))
    # What was reset and what came of 48 steps, in four worlds.
    found = [n.count.item() for n in normalizers(outcome.model.policy)]
    assert found == pytest.approx([4 * 49 + 1e-4] * 2)


def test_off_policy_statistics_stop_after_the_random_phase(toy_job: Build, toy_algo: Build) -> None:
    outcome = train(toy_job(settings=toy_algo("sac")))
    found = normalizers(outcome.model.policy)
    assert [n.count.item() for n in found] == [40.0, 40.0, 40.0]
    assert torch.equal(found[1].mean, found[2].mean)
    assert not torch.equal(found[0].mean, torch.zeros(12, dtype=torch.float64))


def test_without_a_normalizer_nothing_is_normalized(toy_job: Build, toy_algo: Build) -> None:
    outcome = train(toy_job(settings=toy_algo(normalize=False)))
    assert normalizers(outcome.model.policy) == []


def test_keep_last_keeps_the_final_parameters(toy_job: Build) -> None:
    outcome = train(toy_job(plan={"keep": "last", "eval_every": 0}))
    assert equal(outcome.state, outcome.model.policy.state_dict())
    assert outcome.kept_at == 192
    assert [p.num_steps for p in outcome.curve] == [192]


def test_keep_best_keeps_the_best_evaluation(
    toy_job: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns = iter([1.0, 5.0, 3.0])
    kept: list[dict[str, torch.Tensor]] = []
    parameters = trainer._Run._parameters

    def spy(self: Any) -> dict[str, torch.Tensor]:
        kept.append(parameters(self))
        return kept[-1]

    monkeypatch.setattr(trainer, "mean_return", lambda episodes: next(returns))
    monkeypatch.setattr(trainer._Run, "_parameters", spy)
    outcome = train(toy_job())
    assert outcome.kept_at == 128
    assert [p.return_ for p in outcome.curve] == [1.0, 5.0, 3.0]
    assert len(kept) == 3  # before the first step, and twice the best so far
    assert equal(outcome.initial, kept[0])
    assert equal(outcome.state, kept[2])
    assert not equal(outcome.state, outcome.model.policy.state_dict())


def test_an_early_stop_takes_no_further_step_and_no_second_evaluation(
    toy_job: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([1.0, 0.5, 1.0, 1.0])
    monkeypatch.setattr(trainer, "success_rate", lambda episodes: next(rates))
    plan = {"num_steps": 640, "stop_success": 0.9, "stop_patience": 2}
    job = toy_job(plan=plan)
    outcome = train(job)
    assert outcome.num_steps == 256
    assert [p.num_steps for p in outcome.curve] == [64, 128, 192, 256]
    assert outcome.eval_steps == 160
    # Continuing it finds that nothing is left to do.
    assert_same(outcome, train(job, resume=True))


def test_a_plan_that_evaluates_at_its_end_does_so_once(toy_job: Build) -> None:
    outcome = train(toy_job(plan={"num_steps": 128, "eval_every": 64}))
    assert [p.num_steps for p in outcome.curve] == [64, 128]


# -------------------------------------------------------------------- phases


def test_phases_freeze_in_turn(toy_job: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, dict[str, torch.Tensor]] = {}
    evaluate = trainer._Run._evaluate

    def spy(self: Any) -> bool:
        seen[self.model.num_timesteps] = copy.deepcopy(self.model.policy.state_dict())
        return evaluate(self)

    monkeypatch.setattr(trainer._Run, "_evaluate", spy)
    phases = (Phase(until=128, frozen=("actor.*",)), Phase(until=256, frozen=("*.extractor",)))
    sink = Sink()
    train(toy_job(plan={"num_steps": 256, "phases": phases}), sink=sink)

    def moved(first: int, second: int) -> set[str]:
        return {
            str(part_of(name))
            for name, value in seen[first].items()
            if not torch.equal(value, seen[second][name])
        }

    assert moved(64, 128) == {"critic.normalizer", "critic.extractor", "critic.head"}
    assert moved(192, 256) == {"actor.head", "actor.std", "critic.head"}
    assert len(sink.notes) == 2
    assert sink.notes[0].startswith("from step 0: ")
    assert sink.notes[1].endswith("frozen: actor.extractor, critic.extractor")


def test_progress_tells_reward_success_rate_and_time_left(toy_job: Build) -> None:
    sink = Sink()
    train(toy_job(plan={"num_steps": 320}), sink=sink)
    done, total, facts = sink.updates[-1]
    assert (done, total) == (320, 320)
    assert set(facts) == {"reward", "success", "steps_per_s", "left_s"}
    assert facts["left_s"] == 0.0
    assert facts["steps_per_s"] > 0


# ---------------------------------------------------------------------- logs


def tags(folder: Path) -> set[str]:
    return set(EventAccumulator(str(folder / "tensorboard")).Reload().Tags()["scalars"])


@pytest.mark.parametrize("algo", ["ppo", "torch_ppo", "sac"])
def test_tensorboard_has_sb3s_tags_and_ours(
    toy_job: Build, toy_domain: Build, toy_algo: Build, algo: str
) -> None:
    job = toy_job(settings=toy_algo(algo), domain=toy_domain(busy=True), plan={"num_steps": 320})
    train(job)
    found = tags(job.folder)
    terms = ("height", "upright", "speed", "effort", "smoothness")
    ours = {f"reward/{term}" for term in terms}
    ours |= {"domain/mass.rod/mean", "domain/mass.rod/std", "domain/command_delay/mean"}
    ours |= {"rollout/num_diverged", "eval/success_rate", "eval/mean_reward"}
    sb3s = {"rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "train/learning_rate"}
    sb3s |= {"train/value_loss", "train/approx_kl"} if algo != "sac" else {"train/actor_loss"}
    assert ours | sb3s <= found


def test_logged_parameters_are_those_that_were_drawn(toy_job: Build, toy_domain: Build) -> None:
    job = toy_job(domain=toy_domain(busy=True))
    train(job)
    reader = EventAccumulator(str(job.folder / "tensorboard")).Reload()
    delays = [event.value for event in reader.Scalars("domain/command_delay/mean")]
    assert all(0.0 < delay < 0.016 for delay in delays)


# -------------------------------------------------------------------- resume


@pytest.mark.parametrize("engine", ["mujoco", "pybullet"])
@pytest.mark.parametrize("algo", ["ppo", "torch_ppo", "sac"])
def test_a_continued_run_equals_an_uninterrupted_one(
    toy_job: Build,
    toy_domain: Build,
    toy_algo: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    algo: str,
) -> None:
    settings = {"settings": toy_algo(algo), "domain": toy_domain(engine, busy=True)}
    whole = train(toy_job(folder=tmp_path / "whole", **settings))
    for step in (64, 128):
        killed(monkeypatch, step, toy_job(**settings))
    assert_same(whole, train(toy_job(**settings), resume=True))


@pytest.mark.parametrize(
    "changes",
    [{"extractor": (), "memory": 8, "sequence_length": 8}, {"privileged": True}],
    ids=["memory", "privileged"],
)
@pytest.mark.parametrize("engine", ["mujoco", "pybullet"])
def test_memory_and_a_privileged_critic_continue(
    toy_job: Build,
    toy_domain: Build,
    toy_algo: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    changes: dict[str, Any],
) -> None:
    domain = toy_domain(engine, busy=True)
    settings = {"settings": toy_algo("torch_ppo", **changes), "domain": domain}
    whole = train(toy_job(folder=tmp_path / "whole", **settings))
    for step in (64, 128):
        killed(monkeypatch, step, toy_job(**settings))
    again = train(toy_job(**settings), resume=True)
    assert equal(whole.state, again.state)
    assert equal(whole.model.policy.state_dict(), again.model.policy.state_dict())
    assert whole.curve == again.curve


@pytest.mark.parametrize(
    ("algo", "every_step"), [("ppo", False), ("ppo", True), ("torch_ppo", False)]
)
def test_exploration_by_state_and_normalized_rewards_continue(
    toy_job: Build,
    toy_algo: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algo: str,
    every_step: bool,
) -> None:
    published = {"use_sde": True, "sde_sample_freq": 4, "normalize_reward": True}
    settings = {"settings": toy_algo(algo, normalize_every_step=every_step, **published)}
    whole = train(toy_job(folder=tmp_path / "whole", **settings))
    killed(monkeypatch, 128, toy_job(**settings))
    assert_same(whole, train(toy_job(**settings), resume=True))


def test_killed_in_the_random_phase_of_sac(
    toy_job: Build, toy_algo: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {"checkpoint_every": 16, "num_steps": 96}
    settings = {"settings": toy_algo("sac"), "plan": plan}
    whole = train(toy_job(folder=tmp_path / "whole", **copy.deepcopy(settings)))
    killed(monkeypatch, 16, toy_job(**copy.deepcopy(settings)))
    assert_same(whole, train(toy_job(**settings), resume=True))


def test_a_full_replay_buffer_continues_where_it_wraps(
    toy_job: Build, toy_algo: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"settings": toy_algo("sac", buffer_size=80)}
    whole = train(toy_job(folder=tmp_path / "whole", **settings))
    killed(monkeypatch, 128, toy_job(**settings))
    assert_same(whole, train(toy_job(**settings), resume=True))


@pytest.mark.parametrize("algo", ["ppo", "torch_ppo"])
def test_phases_continue(
    toy_job: Build, toy_algo: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algo: str
) -> None:
    phases = (
        Phase(until=96, frozen=("actor.*",), learning_rates={"critic.head": 1e-2}),
        Phase(until=256, learning_rates={"actor.*": 1e-4}),
    )
    changes = {"plan": {"phases": phases, "num_steps": 256}, "settings": toy_algo(algo)}
    whole = train(toy_job(folder=tmp_path / "whole", **copy.deepcopy(changes)))
    for step in (64, 128):
        killed(monkeypatch, step, toy_job(**copy.deepcopy(changes)))
    assert_same(whole, train(toy_job(**changes), resume=True))


def test_killed_before_the_first_checkpoint(
    toy_job: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(toy_job(folder=tmp_path / "whole"))
    killed(monkeypatch, 0, toy_job(), before=True)
    assert_same(whole, train(toy_job(), resume=True))


def test_what_a_task_keeps_while_it_runs_is_no_setting(
    toy_job: Build, toy_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()

    class Remembering(type(toy_task)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.seen: dict[int, str] = {}

        def reward(self, *args: Any, **kwargs: Any) -> Any:
            self.seen[next(calls)] = "never the same number again"
            return super().reward(*args, **kwargs)

    whole = train(toy_job(folder=tmp_path / "whole", task=Remembering()))
    killed(monkeypatch, 64, toy_job(task=Remembering()))
    assert_same(whole, train(toy_job(task=Remembering()), resume=True))


def test_killed_after_the_end(toy_job: Build, tmp_path: Path) -> None:
    whole = train(toy_job(folder=tmp_path / "whole"))
    train(toy_job())
    marker = sorted((tmp_path / "run" / "checkpoints").glob("*.json"))[-1]
    before = marker.read_bytes()
    assert_same(whole, train(toy_job(), resume=True))
    assert marker.read_bytes() == before


def test_without_checkpoints_it_begins_anew(toy_job: Build, tmp_path: Path) -> None:
    plan = {"checkpoint_every": 0}
    whole = train(toy_job(folder=tmp_path / "whole", plan=dict(plan)))
    train(toy_job(plan=dict(plan)))
    assert_same(whole, train(toy_job(plan=dict(plan)), resume=True))


def test_worlds_of_an_engine_that_hides_its_state_begin_anew_in_both_runs(
    toy_job: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resets: list[int] = []
    build = SimVecEnv._build_engine

    def hiding(self: Any, *args: Any) -> None:
        build(self, *args)
        self.engine.exact_state = False
        get_state = self.engine.get_state
        # What such an engine gives is not what it needs: only a reset brings it to a known state.
        self.engine.get_state = lambda: get_state() | {"hidden": np.zeros(1)}

    monkeypatch.setattr(SimVecEnv, "_build_engine", hiding)
    reset = SimVecEnv.reset

    def counting(self: Any, seed: int | None = None) -> np.ndarray:
        if self.training:
            resets.append(seed if seed is not None else -1)
        return reset(self, seed)

    monkeypatch.setattr(SimVecEnv, "reset", counting)
    whole = train(toy_job(folder=tmp_path / "whole"))
    assert resets == [3, -1, -1, -1, -1]  # the start, and the checkpoints at 0, 64, 128 and 192
    for step in (0, 64):
        killed(monkeypatch, step, toy_job())
    assert_same(whole, train(toy_job(), resume=True))


def test_another_number_of_workers_continues_the_same_run(
    toy_job: Build, toy_domain: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"domain": toy_domain("pybullet", busy=True)}
    whole = train(toy_job(folder=tmp_path / "whole", **settings))
    killed(monkeypatch, 64, toy_job(**settings))
    assert_same(whole, train(toy_job(workers=2, **settings), resume=True))


def test_other_settings_are_refused_in_one_line(
    toy_job: Build, toy_domain: Build, toy_algo: Build
) -> None:
    train(toy_job())
    for changes, part in (
        ({"seed": 4}, "seed was 3, now 4"),
        ({"settings": toy_algo(gamma=0.9)}, r"algo\.gamma was 0\.99, now 0\.9"),
        ({"domain": toy_domain(busy=True)}, r"domain\.\S+ was .*, now"),
        ({"plan": {"num_steps": 256}}, r"plan\.num_steps was 192, now 256"),
        ({"origin": "abc"}, "origin was '', now 'abc'"),
    ):
        with pytest.raises(CheckpointError, match=part) as caught:
            train(toy_job(**changes), resume=True)
        assert "\n" not in str(caught.value)


def test_a_new_run_does_not_write_among_the_checkpoints_of_another(toy_job: Build) -> None:
    train(toy_job())
    with pytest.raises(CheckpointError, match="holds the checkpoints of a run; resume it"):
        train(toy_job())


def test_damaged_checkpoints_are_refused(toy_job: Build, tmp_path: Path) -> None:
    train(toy_job())
    for path in (tmp_path / "run" / "checkpoints").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="no valid checkpoint"):
        train(toy_job(), resume=True)


def test_the_worlds_are_closed_when_something_fails(
    toy_job: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    close = SimVecEnv.close

    def spy(self: Any) -> None:
        closed.append(self.training)
        close(self)

    def fail(model: Any) -> None:
        raise RuntimeError("no parameters")

    monkeypatch.setattr(SimVecEnv, "close", spy)
    with pytest.raises(RuntimeError, match="no parameters"):
        train(toy_job(initialize=fail))
    assert sorted(closed) == [False, True]

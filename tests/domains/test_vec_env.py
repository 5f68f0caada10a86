from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simreal.core.distributions import Uniform
from simreal.core.state import State
from simreal.domains import Actuation, Domain, Randomization, Randomized, Sensing, SimVecEnv
from simreal.engines import Health
from simreal.errors import CheckpointError, ConfigError, EngineError, ParameterError
from simreal_envs.robots import double_pendulum, simple_pendulum
from simreal_envs.tasks.double_pendulum import Pendubot
from tests.domains.conftest import Build
from tests.domains.toy import Reach

NOISY = {
    "sensing": Sensing(
        joint_pos_noise=0.01, joint_vel_noise=0.1, measurement_delay=0.013, dropout=0.1
    ),
    "actuation": Actuation(command_delay=0.011, torque_noise=0.2),
    "randomization": Randomization(
        {
            "gravity": Randomized(distribution=Uniform(9.0, 10.0)),
            "motor_strength": {
                "*": Randomized(
                    distribution=Uniform(0.8, 1.2), mode="scale", when="interval", interval_s=0.02
                )
            },
            "command_delay": Randomized(distribution=Uniform(0.0, 0.016)),
            "mass": {"*": Randomized(distribution=Uniform(0.9, 1.1), mode="scale", when="startup")},
        }
    ),
}


def tape(num_steps: int, num_worlds: int, dim: int = 1) -> np.ndarray:
    return np.random.default_rng(7).uniform(-1.3, 1.3, (num_steps, num_worlds, dim))


def rollout(env: SimVecEnv, actions: np.ndarray) -> list[np.ndarray]:
    """Step through a tape and return everything that came back, copied."""
    seen = []
    for action in actions:
        result = env.step(action)
        seen += [np.array(part) for part in result[:5]]
        seen += [np.array([e.return_, e.length, *e.params.values()]) for e in result.episodes]
    return seen


def assert_equal(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


# -- one step by hand ------------------------------------------------------------------------------


def test_a_step_by_hand(build: Build) -> None:
    env = build(2)
    start = env.reset(0)[:, 0].astype(float)
    result = env.step(np.array([[1.0], [-0.5]]))
    # 4 and -2 N on 2 kg for five ticks of 2 ms: v = a t, x = a dt^2 (1 + 2 + 3 + 4 + 5).
    moved = np.array([2.0, -1.0]) * 0.002**2 * 15
    speed = np.array([2.0, -1.0]) * 0.010
    np.testing.assert_allclose(env.truth.joint_vel[:, 0], speed)
    np.testing.assert_allclose(result.reward, moved - np.array([1.0, 0.25]), atol=1e-7)
    expected = np.stack([start, start + moved, speed, [0, 0], [1.0, -0.5]], axis=1)
    np.testing.assert_allclose(result.obs, expected, atol=1e-6)
    assert result.obs is result.final_obs
    assert not (result.terminated | result.truncated).any()
    assert result.episodes == []
    np.testing.assert_array_equal(env.signals["joint_pos"], env.truth.joint_pos)


def test_actions_are_clipped_and_seen_clipped(build: Build) -> None:
    env = build(2)
    env.reset(0)
    obs = env.step(np.array([[7.0], [-np.inf]])).obs
    engine: Any = env.engine
    np.testing.assert_array_equal(engine.schedules[0][0, :, 0], [4.0, -4.0])
    np.testing.assert_array_equal(obs[:, -1], [1.0, -1.0])


def test_results_stay_valid_until_the_step_after_the_next(build: Build) -> None:
    env = build(2)
    env.reset(0)
    first = env.step(np.ones((2, 1)))
    kept = first.obs.copy()
    env.step(np.zeros((2, 1)))
    np.testing.assert_array_equal(first.obs, kept)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 1)), r"actions have shape \(3, 1\); \(2, 1\) is needed"),
        (np.zeros(2), r"shape \(2,\)"),
        (np.array([[0.0], [np.nan]]), "action of world 1 is not a number"),
    ],
)
def test_actions_that_are_none_are_refused(build: Build, actions: Any, message: str) -> None:
    env = build(2)
    env.reset(0)
    with pytest.raises(EngineError, match=message):
        env.step(actions)


def test_stepping_before_a_reset_is_refused(build: Build) -> None:
    with pytest.raises(EngineError, match="call reset"):
        build().step(np.zeros((2, 1)))


@pytest.mark.parametrize("part", ["begin_step", "end_step"])
def test_an_interrupted_step_is_made_good_by_a_reset(
    build: Build, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, untouched = build(2), build(2)
    env.reset(0)

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(env.engine, part, interrupt)
        with pytest.raises(KeyboardInterrupt):
            env.step(np.ones((2, 1)))
    with pytest.raises(EngineError, match="call reset"):
        env.step(np.ones((2, 1)))
    np.testing.assert_array_equal(env.reset(3), untouched.reset(3))
    assert_equal(rollout(env, tape(5, 2)), rollout(untouched, tape(5, 2)))


def test_a_reset_drops_a_step_that_is_under_way(closing: list[SimVecEnv]) -> None:
    made = [
        SimVecEnv(double_pendulum(), Pendubot(), Domain(name="d", engine="mujoco"), 3, workers=2)
        for _ in range(2)
    ]
    closing += made
    env, untouched = made
    env.reset(0)
    env.send(np.ones((3, 1)))
    for ask in (env.get_state, lambda: env.set_state({})):
        with pytest.raises(EngineError, match=r"a step is under way: call receive\(\) first"):
            ask()
    np.testing.assert_array_equal(env.reset(3), untouched.reset(3))
    with pytest.raises(EngineError, match="receive without a step"):
        env.receive()
    assert_equal(rollout(env, tape(5, 3)), rollout(untouched, tape(5, 3)))


# -- episodes --------------------------------------------------------------------------------------


def test_an_episode_ends_at_the_time_limit_and_the_next_begins_at_once(build: Build) -> None:
    env = build(2)
    first = env.reset(0).copy()
    for step in range(1, 11):
        result = env.step(np.zeros((2, 1)))
        assert result.truncated.tolist() == [step == 10] * 2
    assert not result.terminated.any()
    np.testing.assert_allclose(result.final_obs[:, :2], first[:, :2])
    assert (result.obs[:, 0] != first[:, 0]).all(), "the next episode has another start"
    np.testing.assert_array_equal(result.obs[:, 3:], 0.0)
    assert [(e.length, e.reason, e.partial) for e in result.episodes] == [
        (10, "time limit", False)
    ] * 2
    assert env.book.step.tolist() == [0, 0]
    assert env.step(np.zeros((2, 1))).episodes == []


def test_without_autoreset_the_world_stays_where_it_ended(build: Build) -> None:
    env = build(1)
    env.reset(0)
    for _ in range(10):
        result = env.step(np.zeros((1, 1)), autoreset=False)
    assert result.truncated[0]
    assert result.obs is result.final_obs
    assert env.book.step[0] == 10
    assert env.step(np.zeros((1, 1)), autoreset=False).truncated[0]


def test_a_task_can_end_an_episode(build: Build) -> None:
    task = Reach()
    task.limit = 0.0
    env = build(2, task=task)
    env.reset(0)
    result = env.step(np.zeros((2, 1)))
    assert result.terminated.all()
    assert not result.truncated.any()
    assert {e.reason for e in result.episodes} == {"terminated"}


def test_ending_at_the_time_limit_by_the_task_is_no_truncation(build: Build) -> None:
    env = build(1)
    env.reset(0)
    for _ in range(9):
        env.step(np.zeros((1, 1)))
    env.task.limit = 0.0  # type: ignore[attr-defined]
    result = env.step(np.zeros((1, 1)))
    assert (result.terminated[0], result.truncated[0]) == (True, False)


def test_success_and_return_are_counted(build: Build) -> None:
    env = build(8)
    start = env.reset(0)[:, 0].copy()
    for _ in range(10):
        result = env.step(np.full((8, 1), 0.1))
    assert [e.success for e in result.episodes] == (start > 0.4999).tolist()
    for episode in result.episodes:
        assert episode.terms["effort"] == pytest.approx(-0.1)
        assert episode.return_ == pytest.approx(sum(episode.terms.values()))


def test_training_staggers_the_first_episodes_and_explores(build: Build) -> None:
    env = build(64, training=True)
    env.reset(0)
    assert len(set(env.book.step.tolist())) > 5
    assert env.book.step.min() >= 0
    assert env.book.step.max() < 10
    partial = {}
    for _ in range(20):
        for episode in env.step(np.zeros((64, 1))).episodes:
            partial.setdefault(episode.world, []).append(episode.partial)
    assert all(not later[1] for later in partial.values() if len(later) > 1)
    assert sum(first[0] for first in partial.values()) > 40


# -- diverged worlds -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [{}, {"sensing": Sensing(joint_vel_noise=0.1)}, NOISY],
    ids=["ideal", "noise alone", "everything"],
)
def test_a_diverged_world_ends_its_episode_with_a_reason_and_is_counted(
    build: Build, parts: dict[str, Any]
) -> None:
    env = build(3, **parts)
    env.reset(0)
    env.step(np.full((3, 1), 0.5))
    engine: Any = env.engine
    engine.break_next = [1]
    result = env.step(np.full((3, 1), 0.5))
    assert result.terminated.tolist() == [False, True, False]
    assert [(e.world, e.reason, e.success) for e in result.episodes] == [(1, "diverged", False)]
    assert result.reward[1] == 0.0
    assert env.book.num_diverged == 1
    for part in (result.obs, result.final_obs, result.reward):
        assert np.isfinite(part).all()
    for _ in range(12):
        result = env.step(np.zeros((3, 1)))
        assert np.isfinite(result.obs).all()
    assert env.book.num_diverged == 1


# -- lost worlds and steps in two parts ------------------------------------------------------------


def test_a_lost_world_ends_its_episode_as_truncated_with_what_was_last_seen(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = build(3)
    env.reset(0)
    before = env.step(np.full((3, 1), 0.5)).obs.copy()
    sound = env.engine.health

    def health(state: State, max_velocity: float = 1e4) -> Health:
        seen = sound(state, max_velocity)
        return Health(seen.diverged, "1 of 3 worlds lost their worker", np.arange(3) == 2)

    monkeypatch.setattr(env.engine, "health", health)
    result = env.step(np.full((3, 1), 0.5))
    monkeypatch.undo()
    assert result.truncated.tolist() == [False, False, True]
    assert not result.terminated.any()
    assert result.reward[2] == 0.0
    assert [(e.world, e.reason, e.partial) for e in result.episodes] == [(2, "lost", True)]
    assert (env.book.num_lost, env.book.num_diverged) == (1, 0)
    # position and velocity stand still in what is observed of it, and the others went on
    assert result.final_obs[2, 1] == before[2, 1]
    assert result.final_obs[0, 1] != before[0, 1]
    assert env.book.episode.tolist() == [0, 0, 1]


def test_a_step_in_two_parts_is_the_same_step(build: Build) -> None:
    whole, parts = build(2), build(2)
    for env in (whole, parts):
        env.reset(0)
    for action in tape(14, 2):
        wanted = whole.step(action)
        parts.send(action)
        found = parts.receive()
        assert_equal([*found[:5]], [*wanted[:5]])
        assert found.episodes == wanted.episodes


def test_the_two_parts_of_a_step_alternate(build: Build) -> None:
    env = build(2)
    env.reset(0)
    with pytest.raises(EngineError, match=r"call send\(\) first"):
        env.receive()
    env.send(np.zeros((2, 1)))
    with pytest.raises(EngineError, match=r"call receive\(\) first"):
        env.send(np.zeros((2, 1)))
    env.receive()


# -- random numbers --------------------------------------------------------------------------------


def make(num_worlds: int = 3, *, engine: str = "mujoco", seed: int = 4, **more: Any) -> SimVecEnv:
    parts = more.pop("parts", NOISY)
    if engine == "pybullet":
        parts = {**parts, "dynamics": {"armature": {"*": 0.0}}}
    domain = Domain(name="d", engine=engine, **parts)
    return SimVecEnv(double_pendulum(), Pendubot(), domain, num_worlds, seed=seed, **more)


@pytest.fixture
def closing() -> Iterator[list[SimVecEnv]]:
    """Collect environments, which are closed in the end."""
    made: list[SimVecEnv] = []
    yield made
    for env in made:
        env.close()


@pytest.mark.parametrize("engine", ["mujoco", "pybullet"])
def test_a_world_does_not_depend_on_how_many_others_there_are(
    closing: list[SimVecEnv], engine: str
) -> None:
    task = {"training": True}
    closing += [make(5, engine=engine, **task), make(2, engine=engine, **task)]
    many, few = closing
    actions = tape(40, 5)
    np.testing.assert_array_equal(many.reset()[:2], few.reset())
    for action in actions:
        big, small = many.step(action), few.step(action[:2])
        for one, other in zip(big[:5], small[:5], strict=True):
            np.testing.assert_array_equal(one[:2], other)


@pytest.mark.parametrize("engine", ["mujoco", "pybullet"])
def test_one_seed_gives_the_same_bits_for_any_number_of_workers(
    closing: list[SimVecEnv], engine: str
) -> None:
    closing += [make(engine=engine, workers=1), make(engine=engine, workers=2)]
    np.testing.assert_array_equal(*(env.reset() for env in closing))
    actions = tape(30, 3)
    assert_equal(*(rollout(env, actions) for env in closing))


def test_reseeding_starts_the_sequence_of_episodes_anew(build: Build) -> None:
    env = build(2, **NOISY)
    first = [env.reset(3).copy(), *rollout(env, tape(25, 2))]
    env.reset(8)
    rollout(env, tape(13, 2))
    assert_equal([env.reset(3).copy(), *rollout(env, tape(25, 2))], first)


def test_episodes_of_one_seed_differ_and_seeds_differ(build: Build) -> None:
    env = build(2)
    starts = [env.reset(0)[:, 0].copy(), env.reset()[:, 0].copy(), env.reset(1)[:, 0].copy()]
    assert len(set(np.concatenate(starts).tolist())) == 6


def test_domains_meet_the_same_starts(closing: list[SimVecEnv]) -> None:
    closing += [make(engine="mujoco", parts={}), make(engine="pybullet", parts={})]
    np.testing.assert_array_equal(*(env.reset(1) for env in closing))


@pytest.mark.parametrize("seed", [-1, 0.5, None, 2**64])
def test_a_seed_that_cannot_be_used_is_refused(build: Build, seed: Any) -> None:
    with pytest.raises(ConfigError, match="seed is"):
        build(1, seed=seed)
    if seed is not None:
        with pytest.raises(ConfigError, match="seed is"):
            build(1).reset(seed)


# -- checkpoints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["mujoco", "pybullet"])
def test_a_restored_environment_goes_on_bit_for_bit(closing: list[SimVecEnv], engine: str) -> None:
    closing += [make(engine=engine, training=True), make(engine=engine, training=True, seed=99)]
    first, second = closing
    first.reset()
    rollout(first, tape(17, 3))
    state = first.get_state()
    second.reset()
    rollout(second, tape(5, 3))
    obs = second.set_state(state)
    expected = first.observation.emit()
    np.testing.assert_array_equal(obs, expected)
    actions = tape(40, 3)
    assert_equal(rollout(first, actions), rollout(second, actions))
    np.testing.assert_array_equal(first.reset(), second.reset())


@settings(deadline=None, max_examples=15)
@given(before=st.integers(0, 25), after=st.integers(1, 25))
def test_any_step_can_be_returned_to(before: int, after: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        from tests.domains.toy import FakeEngine
        from tests.engines.sample_robots import cart

        patch.setattr(
            "simreal.domains.vec_env.make_engine", lambda name, spec, workers: FakeEngine(spec)
        )
        env = SimVecEnv(cart(), Reach(), Domain(name="d", engine="fake", **NOISY), 2, seed=1)
        env.reset()
        rollout(env, tape(before, 2))
        state = env.get_state()
        first = rollout(env, tape(after, 2))
        env.set_state(state)
        assert_equal(rollout(env, tape(after, 2)), first)


def test_a_state_is_a_copy(build: Build) -> None:
    env = build(2)
    env.reset(0)
    state = env.get_state()
    saved = {name: value.copy() for name, value in state.items()}
    rollout(env, tape(12, 2))
    for name, value in saved.items():
        np.testing.assert_array_equal(state[name], value)


def test_a_state_of_another_environment_is_refused(build: Build) -> None:
    state = build(3).get_state()
    with pytest.raises(CheckpointError, match=r"has shape \(3,.*\(2,"):
        build(2).set_state(state)
    with pytest.raises(CheckpointError, match="has shape nothing"):
        build(2, **NOISY).set_state(build(2).get_state())


# -- what does not fit together --------------------------------------------------------------------


def spoiled(**changes: Any) -> Reach:
    task = Reach()
    for name, value in changes.items():
        setattr(task, name, value)
    return task


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (spoiled(reward_names=("place",)), "reward returns 2 terms, reward_names has 1"),
        (
            spoiled(reward=lambda xp, previous, current, action, last: (current.joint_pos, 0.0)),
            r"reward term 'place' has shape \(2, 1\); \(2,\) is needed",
        ),
        (spoiled(success=lambda xp, state: True), r"success has shape \(\)"),
        (spoiled(num_draws=3), r"initial joint positions has shape \(2, 3\)"),
        (spoiled(success_window_s=(0.0, 0.0)), r"success_window_s is \(0.0, 0.0\)"),
        (spoiled(success_window_s=(0.05, 0.2)), "within the 0.1 s of an episode"),
        (spoiled(robot_names=("other",)), "written for robot other, got 'cart'"),
        (spoiled(tick_s=0.003), "not a whole multiple"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(build: Build, task: Reach, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(2, task=task)


def test_the_engine_is_closed_where_building_fails(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.domains.toy import FakeEngine

    closed: list[bool] = []
    monkeypatch.setattr(FakeEngine, "close", lambda self: closed.append(True))
    with pytest.raises(ConfigError):
        build(2, task=spoiled(num_draws=3))
    assert closed == [True]


@pytest.mark.parametrize("numbers", [{"num_worlds": 0}, {"num_worlds": 1, "workers": 0}])
def test_a_batch_needs_worlds_and_workers(build: Build, numbers: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1 each"):
        build(**numbers)


def test_a_task_for_another_robot_is_refused() -> None:
    with pytest.raises(ConfigError, match="written for robot double_pendulum"):
        SimVecEnv(simple_pendulum(), Pendubot(), Domain(name="d", engine="mujoco"), 1)


def test_torque_noise_on_positions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.domains.toy import FakeEngine
    from tests.engines.sample_robots import cart

    monkeypatch.setattr(
        "simreal.domains.vec_env.make_engine", lambda name, spec, workers: FakeEngine(spec)
    )
    domain = Domain(name="d", engine="fake", actuation=Actuation(torque_noise=0.1))
    with pytest.raises(ParameterError, match="the commands of rail are positions"):
        SimVecEnv(cart(kp=10.0), Reach(), domain, 1)


def test_pictures_come_from_the_engine(build: Build) -> None:
    picture = build(2).render(1, width=4, height=3)
    assert picture.shape == (3, 4, 3)
    assert (picture == 1).all()


def test_an_encoder_that_is_off_is_read_and_not_true(build: Build) -> None:
    off = {"encoder_offset": {"rail": 0.25}, "joint_damping": {"rail": 0.0}}
    env, same = build(3, dynamics=off, sensing=Sensing(joint_pos_bias=0.5)), build(3)
    seen, true = env.reset(), same.reset()
    columns = [0, 1]  # two steps of history
    np.testing.assert_allclose(seen[:, columns], true[:, columns] + 0.75, atol=1e-6)
    np.testing.assert_array_equal(env.truth.joint_pos, same.truth.joint_pos)
    seen, true = (each.step(np.zeros((3, 1))).obs for each in (env, same))
    np.testing.assert_allclose(seen[:, columns], true[:, columns] + 0.75, atol=1e-6)


def test_every_episode_may_have_encoders_that_are_off_otherwise(build: Build) -> None:
    rule = Randomized(distribution=Uniform(-0.1, 0.1))
    env = build(4, randomization=Randomization({"encoder_offset": {"*": rule}}))
    state = env.get_state() if env.reset() is not None else {}
    drawn = env.params["encoder_offset.rail"].copy()
    assert len(np.unique(drawn)) == 4
    seen = env.reset()
    assert not np.isin(drawn, env.params["encoder_offset.rail"]).any()
    offset = seen[:, 0] - env.truth.joint_pos[:, 0]
    np.testing.assert_allclose(offset, env.params["encoder_offset.rail"][:, 0], atol=1e-6)
    assert "params.encoder_offset.rail" in state


def test_offsets_that_nobody_randomizes_are_not_in_a_checkpoint(build: Build) -> None:
    """Runs that are older than offsets have none."""
    env = build(2)
    env.reset()
    assert not [name for name in env.get_state() if "encoder_offset" in name]

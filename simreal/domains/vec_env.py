"""The runtime of a domain: N worlds of one robot and task, stepped together.

It owns what is neither physics nor task: random numbers, randomization, sensing, actuation,
history, episodes and autoreset. Everything is an array with one row per world; a control step costs
a fixed number of array operations, whatever N is, so that the physics stays the larger part even
for one world. What happens rarely (the end of an episode, a diverged world) is found by one
comparison of plain numbers.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from simreal.core.action import ActionMap
from simreal.core.arrays import NUMPY
from simreal.core.observation import LAST_ACTION
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.core.params import catalogue
from simreal.core.robot import Robot
from simreal.core.seeding import Starts, Stream, check_seed, generator
from simreal.core.state import State
from simreal.core.task import Task
from simreal.domains.domain import Domain
from simreal.domains.episodes import EpisodeBook, EpisodeInfo
from simreal.domains.evaluators import make_evaluator
from simreal.domains.fit import check_robot, check_task
from simreal.domains.randomization import Sampler
from simreal.domains.wiring import Wiring
from simreal.engines import EngineSpec, make_engine
from simreal.engines.workers import Workers
from simreal.errors import CheckpointError, ConfigError, EngineError


class StepResult(NamedTuple):
    """Hold what one control step gave.

    Attributes:
        obs: Observation, of the new episode where one ended (N, dim) float32.
        reward: (N,) float64.
        terminated: Ended by the task or by diverged physics (N,), bool.
        truncated: Ended by the time limit alone, or because the world's process ended (N,), bool.
        final_obs: Observation before any reset (N, dim) float32; equals `obs` where nothing ended.
            Of a world whose process ended it shows the last state that was seen.
        episodes: Summaries of the episodes that ended.
    """

    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_obs: np.ndarray
    episodes: list[EpisodeInfo]


class SimVecEnv:
    """Run N worlds of a task in a domain.

    Attributes:
        num_worlds: N.
        observation: The observation pipeline.
        action_map: What actions mean.
        truth: True state after the last step.
        book: Episode book-keeping.
    """

    def __init__(
        self,
        robot: Robot,
        task: Task,
        domain: Domain,
        num_worlds: int,
        *,
        seed: int = 0,
        training: bool = False,
        stagger: bool | None = None,
        workers: int | Workers = 1,
        first_world: int = 0,
    ) -> None:
        """Build the worlds; call `reset` before the first step.

        Args:
            robot: The robot.
            task: The task.
            domain: Engine, dynamics, sensing, actuation and randomization.
            num_worlds: N.
            seed: Seed; with the world's index and the episode it determines every random number.
            training: Whether episodes also begin at random states (`task.explore`).
            stagger: Whether the first episodes begin at random steps, so that worlds do not end
                together; as `training` if None.
            workers: Processes that run the physics, or where workers live; nothing else depends on
                it.
            first_world: Index of the first world, where this is a part of a larger batch.

        Raises:
            ConfigError: Robot and task do not fit, or the batch is empty.
            ParameterError: The domain asks for a parameter that does not exist or cannot be
                applied.
        """
        if num_worlds < 1 or (isinstance(workers, int) and workers < 1):
            raise ConfigError(
                f"num_worlds is {num_worlds}, workers {workers}; at least 1 each needed"
            )
        check_robot(task, robot)
        self.robot, self.task, self.domain = robot, task, domain
        self.num_worlds, self.seed, self.training = num_worlds, check_seed(seed), training
        self.first_world = first_world
        self.staggered = training if stagger is None else stagger
        self._specs = catalogue(robot)
        fixed = domain.fixed(robot)
        self._sampler = Sampler(
            domain.randomization, self._specs, fixed, num_worlds, seed, first_world
        )
        rules = self._sampler.rules
        self._engine_params = tuple(n for n in rules if self._specs[n].owner == "engine")
        self._changing = self._sampler.names("interval", "step")
        self.action_map = ActionMap(task.action(robot), robot)
        names = signal_names(robot, task)
        self.observation = ObservationPipeline(task.observation(robot), names, num_worlds)
        self._build_engine(fixed, workers)
        try:
            self._allocate(fixed)
        except BaseException:
            self.close()
            raise

    def _build_engine(self, fixed: Mapping[str, Any], workers: int | Workers) -> None:
        spec = EngineSpec(
            robot=self.robot,
            num_worlds=self.num_worlds,
            tick_s=self.task.tick_s,
            ticks=self.task.ticks,
            bodies=self.task.bodies,
            contacts=self.task.contacts,
            ground=self.task.ground,
            params=self._engine_params,
            fixed={n: v for n, v in fixed.items() if self._specs[n].owner == "engine"},
            scale_inertia=self.domain.scale_inertia,
            options=self.domain.options,
        )
        self.engine = make_engine(self.domain.engine, spec, workers=workers)

    def _allocate(self, fixed: Mapping[str, Any]) -> None:
        task, n, dim = self.task, self.num_worlds, self.observation.dim
        self.truth, self._previous, self._sample = (self.engine.new_state() for _ in range(3))
        self.engine.read(self.truth)
        check_task(task, self.truth, self.action_map.dim)
        self._wiring = Wiring(self.robot, task, self.action_map, self.truth, self._sampler, fixed)
        self._evaluator = make_evaluator(
            task,
            self.observation,
            self._signals,
            signal_names(self.robot, task),
            self.truth,
            self.action_map.dim,
        )
        self.book = EpisodeBook(task, n, training=self.training)
        self._starts = Starts(n, task.num_draws, self.first_world)
        self._all, self._none = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
        self._none.flags.writeable = False
        self._command = np.tile(self.action_map.idle, (n, 1))
        self._action, self._last_action = (np.zeros((n, self.action_map.dim)) for _ in range(2))
        self._obs, self._final = (
            [np.zeros((n, dim), dtype=np.float32) for _ in range(2)] for _ in range(2)
        )
        self._flip = 0
        self._ready = self._sent = False
        self._lost = self._none

    # ------------------------------------------------------------------ reset

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begin a new episode in every world; a step that is under way is waited for and dropped.

        Args:
            seed: New seed, which also sets the episode count to zero; None to go on.

        Returns:
            Observation (N, dim) float32.
        """
        if self._sent:
            self._end_step()
        if seed is not None:
            self._reseed(seed)
        if int(self.book.episode[0]) < 0:
            self._draw(self._sampler.names("startup"), self._all, Stream.STARTUP)
        start = np.zeros(self.num_worlds, dtype=np.int64)
        if self.staggered and int(self.book.episode[0]) < 0:
            for world in range(self.num_worlds):
                rng = generator(self.seed, self.first_world + world, 0, Stream.STAGGER)
                start[world] = rng.integers(0, self.book.limit)
        self._restart(self._all, start)
        self._ready = True
        return self.observation.emit(self._obs[self._flip])

    def _reseed(self, seed: int) -> None:
        self.seed = self._sampler.seed = check_seed(seed)
        self._wiring.reseed(seed)
        self.book.episode[:] = -1

    def _restart(self, mask: np.ndarray, start: np.ndarray) -> None:
        self.book.begin(mask, start)
        self._draw(self._sampler.names("reset", "interval", "step"), mask, Stream.DYNAMICS)
        joint_pos, joint_vel = self._initial(mask)
        self.engine.reset(mask, joint_pos, joint_vel)
        self.engine.read(self.truth)
        wiring, book = self._wiring, self.book
        wiring.line.restart(mask)
        self._action[mask] = 0.0  # what the next step calls the previous action
        measured = wiring.sensors.restart(self.truth, mask, book.episode, book.step)
        self._evaluator.restart(measured, self._action, mask)

    def _initial(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, joints = self.num_worlds, self.robot.num_joints
        worlds = np.flatnonzero(mask)
        draws = self._starts.at(self.seed, worlds, self.book.episode[worlds])
        joint_pos, joint_vel = np.zeros((n, joints)), np.zeros((n, joints))
        explore = self.task.explore if self.training else 0.0
        joint_pos[worlds], joint_vel[worlds] = self.task.initial(NUMPY, draws, explore)
        return joint_pos, joint_vel

    def _draw(self, names: tuple[str, ...], mask: np.ndarray, stream: Stream) -> None:
        if not names or not mask.any():
            return
        episode = np.maximum(self.book.episode, 0)
        block = np.zeros_like(episode) if stream is Stream.STARTUP else self.book.step
        self._sampler.draw(names, mask, episode, block, stream)
        drawn = self._sampler.params(names)
        wired = [name for name in names if name in self._wiring.values]
        for name in wired:
            self._wiring.take(name, drawn[name], mask)
        if wired:
            self._wiring.configure()
        if len(wired) < len(names):
            engine = tuple(name for name in names if name not in wired)
            self.engine.apply(self._sampler.params(engine), mask)

    # ------------------------------------------------------------------- step

    def step(self, actions: np.ndarray, *, autoreset: bool = True) -> StepResult:
        """Advance every world by one control step.

        Args:
            actions: (N, dim), clipped to [-1, 1].
            autoreset: Whether worlds whose episode ended begin a new one at once.

        Returns:
            Views that stay valid until the step after the next.

        Raises:
            EngineError: `reset` was not called, or an action has another shape or is not a number.
        """
        self.send(actions)
        return self.receive(autoreset=autoreset)

    def send(self, actions: np.ndarray) -> None:
        """Begin a control step, which workers do while the caller goes on; `receive` ends it.

        Args:
            actions: (N, dim), clipped to [-1, 1].

        Raises:
            EngineError: `reset` was not called, a step is under way, or an action has another shape
                or is not a number.
        """
        if not self._ready:
            raise EngineError(
                "a step is under way: call receive() first"
                if self._sent
                else "step before reset: call reset() first"
            )
        self._act(actions)
        book, wiring = self.book, self._wiring
        schedule = wiring.line.push(self._command, book.episode, book.step)
        self._ready = False  # until the step is over: one that is interrupted has no result
        self.engine.begin_step(schedule, wiring.sensors.sample_tick)
        self._sent = True

    def receive(self, *, autoreset: bool = True) -> StepResult:
        """End the control step that `send` began.

        Args:
            autoreset: Whether worlds whose episode ended begin a new one at once.

        Returns:
            Views that stay valid until the step after the next.

        Raises:
            EngineError: No step is under way.
        """
        if not self._sent:
            raise EngineError("receive without a step under way: call send() first")
        broken = self._advance()
        sees_truth = broken is None and self._wiring.sensors.ideal
        reward, terminated = self._judge(broken, sees_truth)
        final = self._observe(broken, sees_truth)
        if terminated is None and broken is None and not self.book.due:
            return StepResult(final, reward, self._none, self._none, final, [])
        ended = self._none if terminated is None else terminated
        truncated = self.book.step >= self.book.limit
        if broken is not None:
            ended, truncated = (ended | broken) & ~self._lost, truncated | self._lost
        truncated = truncated & ~ended
        done = ended | truncated
        if not done.any():
            return StepResult(final, reward, ended, truncated, final, [])
        episodes = self._close(done, ended, broken)
        obs = self.restart(done) if autoreset else final
        return StepResult(obs, reward, ended, truncated, final, episodes)

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Begin a new episode in some worlds, after a step without autoreset.

        Args:
            mask: Worlds (N,), bool.

        Returns:
            Observation of all worlds (N, dim) float32.
        """
        self._restart(mask, np.zeros(self.num_worlds, dtype=np.int64))
        return self.observation.emit(self._obs[self._flip])

    def _act(self, actions: np.ndarray) -> None:
        actions = np.asarray(actions)
        if actions.shape != self._action.shape:
            raise EngineError(
                f"actions have shape {actions.shape}; {self._action.shape} is needed: "
                "one row per world"
            )
        self._action, self._last_action = self._last_action, self._action
        action = self._action
        if not self.action_map.limit(actions, action):
            world = int(np.flatnonzero(np.isnan(action).any(axis=1))[0])
            raise EngineError(f"action of world {world} is not a number; the policy has diverged")
        self.action_map.command(action, self._command)

    def _advance(self) -> np.ndarray | None:
        """End the physics' step; return which worlds diverged or were lost (N,), None if none."""
        self._end_step()
        self._ready = True
        self.truth, self._previous = self._previous, self.truth
        self.engine.read(self.truth)
        self.book.advance()
        if self._changing:
            self._redraw()
        health = self.engine.health(self.truth)
        if not health.reason:
            return None
        self._lost = self._none if health.lost is None else health.lost
        broken = health.diverged | self._lost
        self.truth.copy_from(self._previous, broken)
        return broken

    def _end_step(self) -> None:
        self._sent = False
        self.engine.end_step()

    def _redraw(self) -> None:
        period = self.task.control_period_s
        for name in self._changing:
            rule = self._sampler.rules[name]
            every = 1 if rule.when == "step" else max(1, round(rule.interval_s / period))
            self._draw((name,), self.book.step % every == 0, Stream.DYNAMICS)

    def _judge(
        self, broken: np.ndarray | None, sees_truth: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Count reward terms and success; return the reward (N,) and what the task ends."""
        evaluator, book = self._evaluator, self.book
        judge = evaluator.judge_and_observe if sees_truth else evaluator.judge
        terms, reward, ended = judge(self._previous, self.truth, self._action, self._last_action)
        if broken is not None:
            terms[:, broken], reward[broken] = 0.0, 0.0
        book.terms += terms
        if book.judging:
            success = evaluator.success(self.truth)
            book.judge(success if broken is None else success & ~broken)
        return reward, ended

    def _observe(self, broken: np.ndarray | None, sees_truth: bool) -> np.ndarray:
        """Append a frame, where judging has not done so, and return the observation."""
        sensors, book = self._wiring.sensors, self.book
        if not sees_truth:
            measured = self.truth
            if not sensors.ideal:
                self.engine.sample(self._sample)
                if broken is not None:  # no sensor gives what is not a number
                    self._sample.copy_from(self.truth, broken)
                measured = sensors.measure(self._sample, book.episode, book.step)
            self._evaluator.observe(measured, self._action)
        self._flip ^= 1
        return self.observation.emit(self._final[self._flip])

    def _signals(self, measured: State, action: np.ndarray) -> dict[str, np.ndarray]:
        """Return what an observation can read, as views or array expressions of the arguments."""
        return {
            "joint_pos": measured.joint_pos,
            "joint_vel": measured.joint_vel,
            LAST_ACTION: action,
            **self.task.derive(NUMPY, measured),
        }

    def _close(
        self, done: np.ndarray, terminated: np.ndarray, broken: np.ndarray | None
    ) -> list[EpisodeInfo]:
        episodes = []
        for world in np.flatnonzero(done).tolist():
            reason = "terminated" if terminated[world] else "time limit"
            if broken is not None and broken[world]:
                reason = "lost" if self._lost[world] else "diverged"
            episodes.append(self.book.summary(world, reason, self._sampler.values))
        return episodes

    @property
    def under_way(self) -> bool:
        """Return whether a step was begun by `send` and not yet ended by `receive`."""
        return self._sent

    # ------------------------------------------------------- checkpoint, close

    @property
    def signals(self) -> dict[str, np.ndarray]:
        """Return the raw signals of the last measurement, as a robot would give them (N, k)."""
        sensors = self._wiring.sensors
        signals = self._signals(self.truth if sensors.ideal else sensors.measured, self._action)
        return {name: value for name, value in signals.items() if name != LAST_ACTION}

    @property
    def params(self) -> Mapping[str, np.ndarray]:
        """Return the randomized parameters as last drawn, name to (N, k)."""
        return self._sampler.values

    def get_state(self) -> dict[str, np.ndarray]:
        """Return everything that determines the future, name to array, for a checkpoint.

        Raises:
            EngineError: A step is under way.
        """
        if self._sent:
            raise EngineError("a step is under way: call receive() first")
        state = {f"engine.{k}": v for k, v in self.engine.get_state().items()}
        state.update({f"book.{k}": v for k, v in self.book.arrays().items()})
        state.update({f"params.{k}": v for k, v in self._sampler.values.items()})
        state.update({f"wiring.{k}": v for k, v in self._wiring.arrays().items()})
        state["history"] = self.observation.history
        state["action"], state["last_action"] = self._action, self._last_action
        # A copy of each, since the run goes on in the originals.
        state = {name: np.array(value) for name, value in state.items()}
        state["seed"] = np.array([self.seed], dtype=np.uint64)
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Restore what `get_state` returned.

        Args:
            state: Of an environment built with the same arguments.

        Returns:
            The observation that stood then (N, dim) float32.

        Raises:
            CheckpointError: It is of an environment with other worlds, task or randomization.
            EngineError: A step is under way.
        """
        self._check_state(state)
        self._reseed(int(state["seed"][0]))
        for name, values in self._sampler.values.items():
            values[...] = state[f"params.{name}"]
        if self._engine_params:
            self.engine.apply(self._sampler.params(self._engine_params), self._all)
        self.book.restore(_part(state, "book."))
        self._wiring.restore(_part(state, "wiring."))
        self.observation.restore(state["history"])
        self._action[...] = state["action"]
        self._last_action[...] = state["last_action"]
        self.engine.set_state(_part(state, "engine."))
        self.engine.read(self.truth)
        self._ready = True
        return self.observation.emit(self._obs[self._flip])

    def _check_state(self, state: Mapping[str, np.ndarray]) -> None:
        for name, own in self.get_state().items():
            seen = state[name].shape if name in state else "nothing"
            if seen != own.shape:
                raise CheckpointError(
                    f"environment state '{name}' has shape {seen}; {own.shape} is needed: it is of "
                    "an environment with other worlds, task or randomization"
                )

    def render(self, world: int = 0, width: int = 320, height: int = 240) -> np.ndarray:
        """Return a picture of one world (H, W, 3), uint8."""
        return self.engine.render(world, width, height)

    def close(self) -> None:
        """Release the engine. Safe to call twice."""
        self.engine.close()


def _part(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: v for name, v in state.items() if name.startswith(prefix)}


def signal_names(robot: Robot, task: Task) -> dict[str, tuple[str, ...]]:
    """Return the raw signals an observation can read, with the names of their elements.

    Args:
        robot: The robot.
        task: The task.
    """
    return {
        "joint_pos": robot.joint_names,
        "joint_vel": robot.joint_names,
        LAST_ACTION: ActionMap(task.action(robot), robot).joints,
        **{name: signal.elements for name, signal in task.signals(robot).items()},
    }

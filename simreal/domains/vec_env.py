"""The runtime of a domain: N worlds of one robot and task, stepped together.

It owns what is neither physics nor task: random numbers, randomization, sensing, actuation, history,
episodes and autoreset. Everything is an array with one row per world; a control step costs a fixed
number of array operations, whatever N is, so that the physics stays the larger part even for one world.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from simreal.core.action import ActionMap
from simreal.core.observation import LAST_ACTION, ObservationPipeline
from simreal.core.params import catalogue
from simreal.core.robot import Robot
from simreal.core.seeding import Stream, generator
from simreal.core.state import State
from simreal.core.task import Task
from simreal.domains.actuators import CommandLine
from simreal.domains.domain import Domain
from simreal.domains.episodes import EpisodeBook, EpisodeInfo
from simreal.domains.randomization import Sampler
from simreal.domains.sensors import Sensors
from simreal.engines import EngineSpec, make_engine
from simreal.errors import ConfigError, EngineError

_SENSING = (
    "joint_pos_noise",
    "joint_vel_noise",
    "joint_pos_bias",
    "joint_pos_resolution",
    "measurement_delay",
    "dropout",
)
_ACTUATION = ("command_delay", "torque_noise")


class StepResult(NamedTuple):
    """Hold what one control step gave.

    Attributes:
        obs: Observation, of the new episode where one ended (N, dim) float32.
        reward: (N,) float64.
        terminated: Ended by the task or by diverged physics (N,), bool.
        truncated: Ended by the time limit alone (N,), bool.
        final_obs: Observation before any reset (N, dim) float32; equals `obs` where nothing ended.
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
        workers: int = 1,
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
            workers: Processes that run the physics; results do not depend on it.

        Raises:
            ConfigError: Robot and task do not fit, or the batch is empty.
            ParameterError: The domain asks for a parameter that does not exist or cannot be applied.
        """
        if num_worlds < 1 or workers < 1:
            raise ConfigError(f"num_worlds is {num_worlds}, workers {workers}; at least 1 each needed")
        if task.robot_names and robot.name not in task.robot_names:
            raise ConfigError(
                f"task '{task.name}' is written for robot {', '.join(task.robot_names)}, "
                f"got '{robot.name}'; choose one of them or write a task for this robot"
            )
        self.robot, self.task, self.domain = robot, task, domain
        self.num_worlds, self.seed, self.training = num_worlds, seed, training
        self._stagger = training if stagger is None else stagger
        self._specs = catalogue(robot)
        fixed = domain.fixed(robot)
        self._sampler = Sampler(domain.randomization, self._specs, fixed, num_worlds, seed)
        rules = self._sampler.rules
        self._changing = any(rule.when in ("interval", "step") for rule in rules.values())
        self._kit_randomized = any(name in rules for name in (*_SENSING, *_ACTUATION))
        self._build_engine(fixed, workers)
        self.truth, self._previous = self.engine.new_state(), self.engine.new_state()
        self._sample = self.engine.new_state()
        self._build_interface(fixed)
        self.book = EpisodeBook(task, num_worlds, training=training)
        self._all = np.ones(num_worlds, dtype=bool)
        self._obs = [np.zeros((num_worlds, self.observation.dim), np.float32) for _ in range(2)]
        self._final = [np.zeros((num_worlds, self.observation.dim), np.float32) for _ in range(2)]
        self._flip = 0
        self._ready = False

    def _build_engine(self, fixed: Mapping[str, Any], workers: int) -> None:
        rules = self._sampler.rules
        engine_params = tuple(n for n in rules if self._specs[n].owner == "engine")
        spec = EngineSpec(
            robot=self.robot,
            num_worlds=self.num_worlds,
            tick_s=self.task.tick_s,
            ticks=self.task.ticks,
            bodies=self.task.bodies,
            contacts=self.task.contacts,
            ground=self.task.ground,
            params=engine_params,
            fixed={n: v for n, v in fixed.items() if self._specs[n].owner == "engine"},
            scale_inertia=self.domain.scale_inertia,
            options=self.domain.options,
        )
        self.engine = make_engine(self.domain.engine, spec, workers=workers)

    def _build_interface(self, fixed: Mapping[str, Any]) -> None:
        task, n = self.task, self.num_worlds
        self.action_map = ActionMap(task.action(self.robot), self.robot)
        names = signal_names(self.robot, task)
        self.observation = ObservationPipeline(task.observation(self.robot), names, n)
        self._kit: dict[str, np.ndarray] = {
            name: np.full(n, float(fixed[name])) for name in (*_SENSING, *_ACTUATION)
        }
        delay = self._largest("command_delay")
        self._line = CommandLine(n, self.action_map.idle, task.ticks, task.tick_s, delay, self.seed)
        delay = self._largest("measurement_delay")
        self._sensors = Sensors(self.truth, task.ticks, task.tick_s, delay, self.seed)
        self._command = np.tile(self.action_map.idle, (n, 1))
        self._action = np.zeros((n, self.action_map.dim))
        self._last_action = np.zeros((n, self.action_map.dim))
        self._rewards = np.zeros((n, len(task.reward_names)))

    def _largest(self, name: str) -> float:
        largest = float(self._kit[name].max())
        if name not in self._sampler.rules:
            return largest
        rule, base = self._sampler.rules[name], largest
        high = rule.distribution.support[1]
        scaled = {"set": high, "scale": base * high, "add": base + high}[rule.mode]
        return min(float(scaled), self._specs[name].high)

    # ------------------------------------------------------------------ reset

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begin a new episode in every world.

        Args:
            seed: New seed, which also sets the episode count to zero; None to go on.

        Returns:
            Observation (N, dim) float32.
        """
        if seed is not None:
            self._reseed(seed)
        if int(self.book.episode[0]) < 0:
            self._draw(self._sampler.names("startup"), self._all, Stream.STARTUP)
        start = np.zeros(self.num_worlds, dtype=np.int64)
        if self._stagger and int(self.book.episode[0]) < 0:
            for world in range(self.num_worlds):
                rng = generator(self.seed, world, 0, Stream.STAGGER)
                start[world] = rng.integers(0, self.book.limit)
        self._restart(self._all, start)
        self._ready = True
        return self.observation.emit(self._next(self._obs))

    def _reseed(self, seed: int) -> None:
        if seed < 0:
            raise ConfigError(f"seed is {seed}; a number >= 0 is needed")
        self.seed = self._sampler.seed = seed
        self._line.reseed(seed)
        self._sensors.reseed(seed)
        self.book.episode[:] = -1

    def _restart(self, mask: np.ndarray, start: np.ndarray) -> None:
        self.book.begin(mask, start)
        names = self._sampler.names("reset", "interval", "step")
        self._draw(names, mask, Stream.DYNAMICS)
        if int(self.book.episode.max()) == 0 or self._kit_randomized:
            self._line.configure(self._kit["command_delay"], self._kit["torque_noise"])
            self._sensors.configure(self._kit)
        joint_pos, joint_vel = self._initial(mask)
        self.engine.reset(mask, joint_pos, joint_vel)
        self.engine.read(self.truth)
        self._line.restart(mask)
        self._action[mask] = 0.0
        self._last_action[mask] = 0.0
        measured = self._sensors.restart(self.truth, mask, self.book.episode, self.book.step)
        self.observation.restart(self._signals(measured), mask)

    def _initial(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, joints = self.num_worlds, self.robot.num_joints
        worlds = np.flatnonzero(mask)
        draws = np.empty((worlds.size, self.task.num_draws))
        for row, world in enumerate(worlds):
            rng = generator(self.seed, int(world), int(self.book.episode[world]), Stream.INITIAL)
            draws[row] = rng.random(self.task.num_draws)
        joint_pos, joint_vel = np.zeros((n, joints)), np.zeros((n, joints))
        explore = self.task.explore if self.training else 0.0
        joint_pos[worlds], joint_vel[worlds] = self.task.initial(np, draws, explore)
        return joint_pos, joint_vel

    def _draw(self, names: tuple[str, ...], mask: np.ndarray, stream: Stream) -> None:
        if not names or not mask.any():
            return
        episode = np.maximum(self.book.episode, 0)
        block = np.zeros_like(episode) if stream is Stream.STARTUP else self.book.step
        self._sampler.draw(names, mask, episode, block, stream)
        drawn = self._sampler.params(names)
        for name in names:
            if name in self._kit:
                self._kit[name][mask] = drawn[name][mask]
        engine = tuple(n for n in names if self._specs[n].owner == "engine")
        if engine:
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
            EngineError: `reset` was not called, or an action is not finite.
        """
        if not self._ready:
            raise EngineError("step before reset: call reset() first")
        self._act(actions)
        diverged = self._advance()
        rewards, total = self._judge(diverged)
        terminated = self.task.terminated(np, self.truth)
        if terminated is None:
            terminated = np.zeros(self.num_worlds, dtype=bool)
        if diverged is not None:
            terminated = terminated | diverged
        truncated = (self.book.step >= self.book.limit) & ~terminated
        final = self._observe()
        done = terminated | truncated
        if not done.any():
            return StepResult(final, total, terminated, truncated, final, [])
        episodes = self._close(done, terminated, diverged)
        obs = final
        if autoreset:
            self._restart(done, np.zeros(self.num_worlds, dtype=np.int64))
            obs = self.observation.emit(self._next(self._obs))
        return StepResult(obs, total, terminated, truncated, final, episodes)

    def _act(self, actions: np.ndarray) -> None:
        self._last_action[...] = self._action
        np.clip(actions, -1.0, 1.0, out=self._action)
        total = float(self._action.sum())
        if total != total:  # NaN: clip has removed the infinities
            world = int(np.flatnonzero(~np.isfinite(self._action).all(axis=1))[0])
            raise EngineError(f"action of world {world} is not a number; the policy has diverged")
        self.action_map.command(self._action, self._command)

    def _advance(self) -> np.ndarray | None:
        book = self.book
        schedule = self._line.push(self._command, book.episode, book.step)
        self.engine.step(schedule, self._sensors.sample_tick)
        self.truth, self._previous = self._previous, self.truth
        self.engine.read(self.truth)
        book.step += 1
        if self._changing:
            self._redraw()
        health = self.engine.health(self.truth)
        if not health.reason:
            return None
        self.truth.copy_from(self._previous, health.diverged)
        return health.diverged

    def _redraw(self) -> None:
        period = self.task.control_period_s
        for name, rule in self._sampler.rules.items():
            if rule.when not in ("interval", "step"):
                continue
            every = 1 if rule.when == "step" else max(1, round(rule.interval_s / period))
            due = self.book.step % every == 0
            self._draw((name,), due, Stream.DYNAMICS)
            if name in self._kit:
                self._line.configure(self._kit["command_delay"], self._kit["torque_noise"])
                self._sensors.configure(self._kit)

    def _judge(self, diverged: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        terms = self.task.reward(np, self._previous, self.truth, self._action, self._last_action)
        rewards = self._rewards
        for column, term in enumerate(terms):
            rewards[:, column] = term
        if diverged is not None:
            rewards[diverged] = 0.0
        self.book.terms += rewards
        if self.book.judging:
            success = self.task.success(np, self.truth)
            self.book.judge(success if diverged is None else success & ~diverged)
        return rewards, rewards.sum(axis=1)

    def _observe(self) -> np.ndarray:
        if self._sensors.ideal:
            measured = self.truth
        else:
            self.engine.sample(self._sample)
            measured = self._sensors.measure(self._sample, self.book.episode, self.book.step)
        self.observation.push(self._signals(measured))
        return self.observation.emit(self._next(self._final))

    def _signals(self, measured: State) -> dict[str, np.ndarray]:
        return {
            "joint_pos": measured.joint_pos,
            "joint_vel": measured.joint_vel,
            LAST_ACTION: self._action,
        }

    def _close(
        self, done: np.ndarray, terminated: np.ndarray, diverged: np.ndarray | None
    ) -> list[EpisodeInfo]:
        episodes = []
        for world in np.flatnonzero(done):
            lost = diverged is not None and bool(diverged[world])
            reason = "diverged" if lost else "terminated" if terminated[world] else "time limit"
            episodes.append(
                self.book.summary(int(world), reason, self._sampler.values, diverged=lost)
            )
        return episodes

    def _next(self, pair: list[np.ndarray]) -> np.ndarray:
        if pair is self._final:
            self._flip ^= 1
        return pair[self._flip]

    # ------------------------------------------------------- checkpoint, close

    @property
    def signals(self) -> dict[str, np.ndarray]:
        """Return the raw signals of the last measurement, as a robot would give them (N, k)."""
        measured = self.truth if self._sensors.ideal else self._sensors.measured
        signals = self._signals(measured)
        return {name: signals[name] for name in ("joint_pos", "joint_vel")}

    @property
    def params(self) -> Mapping[str, np.ndarray]:
        """Return the randomized parameters as last drawn, name to (N, k)."""
        return self._sampler.values

    def get_state(self) -> dict[str, np.ndarray]:
        """Return everything that determines the future, name to array, for a checkpoint."""
        state = {f"engine.{k}": v for k, v in self.engine.get_state().items()}
        state.update({f"book.{k}": v for k, v in self.book.arrays().items()})
        state.update({f"params.{k}": v for k, v in self._sampler.values.items()})
        state.update({f"kit.{k}": v for k, v in self._kit.items()})
        state["history"] = self.observation.history
        state["commands"] = self._line.ring
        state["samples"] = self._sensors.ring
        state["measured"] = self._sensors.measured.buffer
        state["action"] = self._action
        state["last_action"] = self._last_action
        state["seed"] = np.array([self.seed], dtype=np.int64)
        return {name: np.array(value) for name, value in state.items()}

    def set_state(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Restore what `get_state` returned.

        Returns:
            The observation that stood then (N, dim) float32.
        """
        self._reseed(int(state["seed"][0]))
        for name, values in self._sampler.values.items():
            values[...] = state[f"params.{name}"]
        engine = tuple(n for n in self._sampler.rules if self._specs[n].owner == "engine")
        if engine:
            self.engine.apply(self._sampler.params(engine), self._all)
        for name, values in self._kit.items():
            values[...] = state[f"kit.{name}"]
        self.book.restore({k[5:]: v for k, v in state.items() if k.startswith("book.")})
        self._line.configure(self._kit["command_delay"], self._kit["torque_noise"])
        self._sensors.configure(self._kit)
        self._line.ring[...] = state["commands"]
        self._sensors.ring[...] = state["samples"]
        self._sensors.measured.buffer[...] = state["measured"]
        self.observation.restore(state["history"])
        self._action[...] = state["action"]
        self._last_action[...] = state["last_action"]
        self.engine.set_state({k[7:]: v for k, v in state.items() if k.startswith("engine.")})
        self.engine.read(self.truth)
        self._ready = True
        return self.observation.emit(self._next(self._obs))

    def render(self, world: int = 0, width: int = 320, height: int = 240) -> np.ndarray:
        """Return a picture of one world (H, W, 3), uint8."""
        return self.engine.render(world, width, height)

    def close(self) -> None:
        """Release the engine. Safe to call twice."""
        self.engine.close()


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
    }

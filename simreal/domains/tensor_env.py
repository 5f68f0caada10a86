"""The runtime of a domain whose worlds are on a device: a control step that never asks the host.

`SimVecEnv` is written for engines on the CPU: it finds what happens rarely by looking, and skips
the rest. A GPU must not be looked at. So here the same step, from the same robot, task and domain,
is a fixed sequence of tensor operations on all worlds: what happened in some of them is a mask. The
physics is a graph of the engine; on a CUDA device the rest is captured too.

What both share is everything that is not arithmetic on arrays: specifications, checks, rules of
randomization, terms, the task itself. Their random numbers differ; without any, they agree to
single precision.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from simreal.core.action import ActionMap
from simreal.core.observation import LAST_ACTION
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.core.params import catalogue
from simreal.core.robot import Robot
from simreal.core.seeding import Stream, check_seed
from simreal.core.state import State
from simreal.core.task import Task
from simreal.domains.domain import Domain
from simreal.domains.episodes import EpisodeInfo
from simreal.domains.fit import check_robot, check_task
from simreal.domains.randomization import Sampler
from simreal.domains.tensor_book import TensorBook
from simreal.domains.tensor_dynamics import TensorDynamics
from simreal.domains.tensor_graphs import AUTO, Compiler, Pieces, compiler_for
from simreal.domains.tensor_namespace import TorchNamespace
from simreal.domains.tensor_parts import TensorLine, TensorObservation, TensorSensors
from simreal.domains.tensor_random import CounterRandom, numbered
from simreal.domains.vec_env import signal_names
from simreal.domains.wiring import Wiring, offset_names
from simreal.engines import EngineSpec, make_engine
from simreal.errors import CheckpointError, ConfigError, EngineError

if TYPE_CHECKING:
    from simreal.engines.warp import WarpEngine

ENGINES = ("warp",)
"""Engines whose worlds can be driven with tensors."""
_MAX_VELOCITY = 1e4  # beyond which a world is called diverged [rad/s or m/s], as in `Engine.health`


class DeviceStep(NamedTuple):
    """Hold what one control step gave, as tensors that stay valid until the step after the next.

    Attributes:
        obs: Observation, of the new episode where one ended (N, dim) float32.
        reward: (N,) float32.
        terminated: Ended by the task or by diverged physics (N,), bool.
        truncated: Ended by the time limit alone (N,), bool.
        final_obs: Observation before any reset (N, dim) float32; equals `obs` where nothing ended.
    """

    obs: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    final_obs: Tensor


class TensorVecEnv:
    """Run N worlds of a task in a domain, on a device.

    Attributes:
        num_worlds: N.
        device: Where all tensors are.
        observation: The observation pipeline, for names and bounds.
        action_map: What actions mean.
        truth: True state after the last step, of tensors.
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
        graphs: bool = True,
        compiler: Compiler | str | None = AUTO,
        log_capacity: int | None = None,
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
            stagger: Whether the first episodes begin at random steps; as `training` if None.
            graphs: Whether tensor operations are captured as well, on a CUDA device.
            compiler: What fuses them; nothing if None. `auto` is `torch.compile` on a CUDA device
                with Triton, which takes up to a minute at the second step, else nothing.
            log_capacity: Finished episodes of a world kept between two calls of `drain`, the last
                ones; 8, or as many more as make 1024 of all worlds, if None.
            first_world: Number of the first world, where these are some of more, for instance those
                of one process of several; it counts in the random numbers.

        Raises:
            ConfigError: Robot and task do not fit, the batch is empty, or the domain's engine has
                no tensors.
            ParameterError: The domain asks for a parameter that does not exist or cannot be
                applied, or for a distribution that cannot be drawn on a device.
        """
        if num_worlds < 1:
            raise ConfigError(f"num_worlds is {num_worlds}; at least 1 needed")
        if domain.engine not in ENGINES:
            raise ConfigError(
                f"domain '{domain.name}' is of engine '{domain.engine}', whose worlds are not on a "
                f"device; use {', '.join(ENGINES)}, or SimVecEnv"
            )
        check_robot(task, robot)
        self.robot, self.task, self.domain = robot, task, domain
        self.num_worlds, self.seed, self.training = num_worlds, check_seed(seed), training
        self.staggered = training if stagger is None else stagger
        self._specs = catalogue(robot)
        fixed = domain.fixed(robot)
        # One row of it is enough: it holds rules, not worlds.
        self._sampler = Sampler(domain.randomization, self._specs, fixed, 1, seed)
        self.action_map = ActionMap(task.action(robot), robot)
        self._signal_names = signal_names(robot, task)
        self.observation = ObservationPipeline(task.observation(robot), self._signal_names, 1)
        self._repeated = {
            n: self._steps_between(n) for n in self._sampler.names("interval", "step")
        }
        self._build_engine(fixed)
        self._random = CounterRandom(seed, num_worlds, self.device, first_world)
        try:
            self._allocate(fixed, log_capacity or max(8, 1024 // num_worlds))
        except BaseException:
            self.close()
            raise
        fusing = compiler_for(self.device) if isinstance(compiler, str) else compiler
        self.pieces = Pieces(self.device, graphs=graphs, compiler=fusing)
        self._ready = self._begun = False

    # ------------------------------------------------------------------ build

    def _build_engine(self, fixed: Mapping[str, Any]) -> None:
        rules = self._sampler.rules
        spec = EngineSpec(
            robot=self.robot,
            num_worlds=self.num_worlds,
            tick_s=self.task.tick_s,
            ticks=self.task.ticks,
            bodies=self.task.bodies,
            contacts=self.task.contacts,
            ground=self.task.ground,
            params=tuple(n for n in rules if self._specs[n].owner == "engine"),
            fixed={n: v for n, v in fixed.items() if self._specs[n].owner == "engine"},
            scale_inertia=self.domain.scale_inertia,
            options=self.domain.options,
        )
        self.engine = cast("WarpEngine", make_engine(self.domain.engine, spec))
        self.device = self.engine.tensors.truth.device

    def _steps_between(self, name: str) -> int:
        """Return after how many control steps a parameter is drawn again within an episode."""
        rule = self._sampler.rules[name]
        if rule.when == "step":
            return 1
        return max(1, round(rule.interval_s / self.task.control_period_s))

    def _allocate(self, fixed: Mapping[str, Any], log_capacity: int) -> None:
        robot, task, n, device = self.robot, self.task, self.num_worlds, self.device
        one = State(
            1,
            robot.num_joints,
            floating_base=not robot.fixed_base,
            bodies=task.bodies,
            contacts=task.contacts,
        )
        check_task(task, one, self.action_map.dim)
        self.xp = TorchNamespace(device)
        self.dynamics = TensorDynamics(self._sampler, fixed, self._specs, n, self._random, device)
        names, self._columns = self.dynamics.columns()
        self._redrawn = tuple(
            name
            for name in self._sampler.names("reset", "interval", "step")
            if self._specs[name].owner == "engine"
        )
        self.book = TensorBook(
            task, n, device, training=self.training, params=names, capacity=log_capacity
        )
        self._wire(Wiring(robot, task, self.action_map, one, self._sampler, fixed))
        packed = self.engine.tensors.truth
        self.truth, self._previous = self._state(packed), self._state(torch.zeros_like(packed))
        self._measured = self._state(self.sensors.measured)
        self._terms = TensorObservation(self.observation.terms, self._signal_names, n, device)
        self._action, self._last_action, self._given = (
            torch.zeros(n, self.action_map.dim, device=device) for _ in range(3)
        )
        self._bad_action = torch.zeros(n, dtype=torch.bool, device=device)
        self._all = torch.ones(n, dtype=torch.bool, device=device)
        self._done, self._diverged = (torch.zeros_like(self._all) for _ in range(2))
        self._fresh, *self._results = (self._result() for _ in range(3))
        self._flip = 0

    def _wire(self, plan: Wiring) -> None:
        """Build sensors and command line as deep as the numpy runtime's would be."""
        task, device, active = self.task, self.device, self.dynamics.active

        def tensor(values: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        action_map = self.action_map
        self._command_of = tensor(action_map.index, torch.int64)
        self._idle = tensor(action_map.idle)
        self._scale, self._offset = tensor(action_map.scale), tensor(action_map.offset)
        self.line = TensorLine(
            self._random,
            self._idle,
            self._command_of,
            num_worlds=self.num_worlds,
            depth=len(plan.line.ring),
            ticks=task.ticks,
            tick_s=task.tick_s,
            delayed="command_delay" in active,
            noisy="torque_noise" in active,
        )
        self.sensors = TensorSensors(
            self._random,
            active - {"command_delay", "torque_noise"},
            self.engine.tensors.truth,
            num_joints=self.robot.num_joints,
            depth=len(plan.sensors.ring),
            ticks=task.ticks,
            tick_s=task.tick_s,
            offsets=offset_names(self.robot),
        )
        self._configure()

    def _state(self, packed: Tensor) -> State:
        """Lay named views over a packed tensor; the layout is that of the numpy state."""
        return State(
            self.num_worlds,
            self.robot.num_joints,
            floating_base=not self.robot.fixed_base,
            bodies=self.task.bodies,
            contacts=self.task.contacts,
            buffer=cast(np.ndarray, packed),
        )

    def _result(self) -> DeviceStep:
        def new(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(self.num_worlds, *shape, dtype=dtype, device=self.device)

        return DeviceStep(
            obs=new(self._terms.dim),
            reward=new(),
            terminated=new(dtype=torch.bool),
            truncated=new(dtype=torch.bool),
            final_obs=new(self._terms.dim),
        )

    # ------------------------------------------------------------------ reset

    @torch.no_grad()
    def reset(self, seed: int | None = None) -> Tensor:
        """Begin a new episode in every world.

        Args:
            seed: New seed, which also sets the episode count to zero; None to go on.

        Returns:
            Observation (N, dim) float32.
        """
        if seed is not None:
            self.seed = check_seed(seed)
            self._random.reseed(seed)
            self.book.episode.fill_(-1)
            self._begun = False
        start: Tensor | int = 0
        if not self._begun:
            zero = torch.zeros_like(self.book.episode)
            names = self._sampler.names("startup")
            self.dynamics.draw(names, self._all, Stream.STARTUP, (zero, zero))
            self.engine.launch_apply(self.dynamics.of_engine(names), self._all)
            if self.staggered:
                share = self._random.uniform(Stream.STAGGER, zero, zero, ("start",))[:, 0]
                start = (share * self.book.limit).long()
        self._done.fill_(True)
        self._begin(start)
        self._launch_reset()
        self._observe_reset()
        self._begun = self._ready = True
        return self._hand_over().obs

    def _begin(self, start: Tensor | int) -> None:
        """Begin a new episode in the worlds that are done: counters, draws and initial states."""
        book, done, face = self.book, self._done, self.engine.tensors
        book.begin(done, start)
        at = (book.episode, book.step)
        self.dynamics.draw(self._sampler.names("reset"), done, Stream.DYNAMICS, at)
        for name, every in self._repeated.items():
            again = done | (book.step % every == 0)
            self.dynamics.draw((name,), again, Stream.DYNAMICS, at)
        self._configure()
        self.engine.write_params(self.dynamics.of_engine(self._redrawn), self._all)
        labels = numbered("initial", self.task.num_draws)
        draws = self._random.uniform(Stream.INITIAL, book.episode, torch.zeros_like(at[1]), labels)
        explore = self.task.explore if self.training else 0.0
        joint_pos, joint_vel = self.task.initial(self.xp, draws, explore)
        face.mask.copy_(done)
        face.joint_pos.copy_(joint_pos)
        face.joint_vel.copy_(joint_vel)
        self.line.restart(done)
        self._action.copy_(torch.where(done[:, None], 0.0, self._action))

    def _configure(self) -> None:
        self.line.configure(self.dynamics.wired["command_delay"])
        self.sensors.configure(self.dynamics.wired["measurement_delay"])

    def _launch_reset(self) -> None:
        if self._redrawn:
            self.engine.launch_derive(self._redrawn)
        self.engine.launch_reset()

    def _hand_over(self) -> DeviceStep:
        """Copy what the step wrote, so that it stays when the next one writes."""
        result = self._results[self._flip]
        for target, source in zip(result, self._fresh, strict=True):
            target.copy_(source)
        return result

    def _observe_reset(self) -> None:
        book, truth = self.book, self.engine.tensors.truth
        at = (book.episode, book.step)
        self.sensors.restart(truth, self._done, self.dynamics.wired, at)
        self._terms.restart(self._signals(), self._done)
        self._terms.emit(self._fresh.obs)

    # ------------------------------------------------------------------- step

    @torch.no_grad()
    def step(self, actions: Tensor) -> DeviceStep:
        """Advance every world by one control step; worlds whose episode ends begin a new one.

        Args:
            actions: (N, dim), clipped to [-1, 1], on the device.

        Raises:
            EngineError: `reset` was not called, or the actions have another shape.
        """
        if not self._ready:
            raise EngineError("step before reset: call reset() first")
        if actions.shape != self._given.shape:
            raise EngineError(
                f"actions have shape {tuple(actions.shape)}; {tuple(self._given.shape)} is needed: "
                "one row per world"
            )
        self._flip ^= 1
        self._given.copy_(actions)
        self.pieces.run("act", self._act)
        self.engine.launch_step(sampling=self.sensors.sampling)
        self.pieces.run("judge", self._judge)
        self._launch_reset()
        self.pieces.run("observe", self._observe_reset)
        self.pieces.run(f"hand over {self._flip}", self._hand_over, fuse=False)
        return self._results[self._flip]

    def _act(self) -> None:
        """Turn the actions into the schedule of the ticks."""
        face, book = self.engine.tensors, self.book
        self._last_action.copy_(self._action)
        self._action.copy_(torch.clamp(self._given, -1.0, 1.0))
        self._bad_action.logical_or_(torch.isnan(self._action).any(dim=1))
        command = self._idle.repeat(self.num_worlds, 1)
        command.index_copy_(1, self._command_of, self._action * self._scale + self._offset)
        noise = self.dynamics.wired["torque_noise"]
        self.line.push(command, noise, book.episode, book.step, face.commands)
        face.sample_tick.copy_(self.sensors.sample_tick)
        cast(Tensor, self._previous.buffer).copy_(face.truth)

    def _judge(self) -> None:
        """Count, reward, measure, observe, and begin anew where an episode ended."""
        book, result = self.book, self._fresh
        book.step.add_(1)
        self._mend()
        task, xp, diverged = self.task, self.xp, self._diverged
        terms = torch.stack(
            task.reward(xp, self._previous, self.truth, self._action, self._last_action)
        )
        terms = torch.where(diverged, 0.0, terms)
        book.terms.add_(terms)
        book.judge(task.success(xp, self.truth) & ~diverged)
        result.reward.copy_(terms.sum(dim=0))
        ended = task.terminated(xp, self.truth)
        ended = diverged if ended is None else ended | diverged
        truncated = (book.step >= book.limit) & ~ended
        result.terminated.copy_(ended)
        result.truncated.copy_(truncated)
        self._measure()
        self._terms.push(self._signals())
        self._terms.emit(result.final_obs)
        self._done.copy_(ended | truncated)
        book.log(self._done, ended, diverged, self._columns)
        self._begin(0)

    def _mend(self) -> None:
        """Find worlds that diverged, and show their last state that was a number."""
        truth, previous = self.engine.tensors.truth, cast(Tensor, self._previous.buffer)
        velocity = cast(Tensor, self.truth.joint_vel)
        sound = torch.isfinite(truth).all(dim=1) & (velocity.abs() < _MAX_VELOCITY).all(dim=1)
        self._diverged.copy_(~sound)
        truth.copy_(torch.where(sound[:, None], truth, previous))

    def _measure(self) -> None:
        face, book = self.engine.tensors, self.book
        seen = face.truth
        if self.sensors.sampling:  # no sensor gives what is not a number
            seen = torch.where(self._diverged[:, None], face.truth, face.sample)
        self.sensors.measure(seen, self.dynamics.wired, book.episode, book.step)

    def _signals(self) -> dict[str, Tensor]:
        measured = self._measured
        return {
            "joint_pos": cast(Tensor, measured.joint_pos),
            "joint_vel": cast(Tensor, measured.joint_vel),
            LAST_ACTION: self._action,
            **self.task.derive(self.xp, measured),
        }

    # ------------------------------------------------------- what may wait

    def drain(self, most: int | None = None) -> list[EpisodeInfo]:
        """Return the episodes that ended since the last call; waits for the device.

        Args:
            most: How many of the last ones are returned; all if None.

        Raises:
            EngineError: An action was not a number, or there was no room for all contacts or
                constraints, since the last call.
        """
        self.engine.poll()
        if bool(self._bad_action.any()):
            self._bad_action.zero_()
            raise EngineError("an action was not a number; the policy has diverged")
        return self.book.drain(most)

    @property
    def params(self) -> Mapping[str, Tensor]:
        """Return the randomized parameters as last drawn, name to (N, k)."""
        return self.dynamics.values

    def _state_tensors(self) -> dict[str, Tensor]:
        return {
            **{f"book.{name}": value for name, value in self.book.tensors().items()},
            **{f"params.{name}": value for name, value in self.dynamics.values.items()},
            "commands": self.line.ring,
            "samples": self.sensors.ring,
            "measured": self.sensors.measured,
            "history": self._terms.frames,
            "action": self._action,
            "last_action": self._last_action,
        }

    def get_state(self) -> dict[str, np.ndarray]:
        """Return everything that determines the future, name to array, for a checkpoint."""
        state = {f"engine.{k}": v for k, v in self.engine.get_state().items()}
        state.update({k: v.cpu().numpy().copy() for k, v in self._state_tensors().items()})
        state["num_diverged"] = np.array([self.book.num_diverged])
        return {**state, "seed": np.array([self.seed], dtype=np.uint64)}

    @torch.no_grad()
    def set_state(self, state: Mapping[str, np.ndarray]) -> Tensor:
        """Restore what `get_state` returned.

        Args:
            state: Of an environment built with the same arguments.

        Returns:
            The observation that stood then (N, dim) float32.

        Raises:
            CheckpointError: It is of an environment with other worlds, task or randomization.
        """
        own = self._state_tensors()
        for name, value in own.items():
            seen = state[name].shape if name in state else "nothing"
            if seen != tuple(value.shape):
                raise CheckpointError(
                    f"environment state '{name}' has shape {seen}; {tuple(value.shape)} is needed: "
                    "it is of an environment with other worlds, task or randomization"
                )
        self.seed = int(state["seed"][0])
        self._random.reseed(self.seed)
        self.book.num_diverged = int(state["num_diverged"][0])
        for name, value in own.items():
            value.copy_(torch.from_numpy(np.ascontiguousarray(state[name])))
        for name in self.dynamics.wired.keys() & self.dynamics.values.keys():
            self.dynamics.wired[name].copy_(self.dynamics.values[name][:, 0])
        self._configure()
        values = self.dynamics.of_engine(tuple(self.dynamics.values))
        self.engine.launch_apply(values, self._all)
        prefix = "engine."
        parts = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        self.engine.set_state(parts)
        self._ready = self._begun = True
        self._terms.emit(self._fresh.obs)
        return self._hand_over().obs

    def render(self, world: int = 0, width: int = 320, height: int = 240) -> np.ndarray:
        """Return a picture of one world (H, W, 3), uint8."""
        return self.engine.render(world, width, height)

    def close(self) -> None:
        """Release the engine. Safe to call twice."""
        self.engine.close()

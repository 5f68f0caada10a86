"""One engine spread over workers: the same contract, N worlds in W contiguous chunks.

PyBullet holds Python's lock, so more cores need more processes. A worker only applies, resets,
ticks and reads; all random numbers stay in the parent, so results do not depend on W, bit for bit.

A worker that ends or hangs is replaced by a new one, with the parameters its worlds had, at the
default pose. Those worlds are reported as lost once (`Health.lost`): their episodes have no end
that anybody saw. More than five losses within a minute end the run.
"""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simreal.core.params import DynamicsParams, ParamSpec
from simreal.core.robot import Robot
from simreal.core.state import State
from simreal.engines.base import Capability, Engine, EngineSpec, Health
from simreal.engines.bell import HELD_STEP, RESET, SAMPLED_STEP, STEP
from simreal.engines.crew import Crew, Loss, Order, RemoteError, RestartLimit
from simreal.engines.process_crew import ProcessCrew
from simreal.engines.process_workers import ProcessWorkers
from simreal.engines.ray_workers import RayWorkers
from simreal.engines.registry import engine_class
from simreal.engines.shared import Layout
from simreal.errors import ConfigError, EngineError, SimrealError

STEP_TIMEOUT_S = 60.0
MakeCrew = Callable[[str, Layout, int, float], Crew]
"""From engine name, layout, number of workers and patience [s]."""
Workers = ProcessWorkers | RayWorkers
"""Where workers live, where a number of them does not say enough."""

_LOG = logging.getLogger(__name__)


class WorkerEngine(Engine):
    """Advance N worlds of any engine in W workers.

    Worker processes are spawned, so a script that builds one guards its main part with
    `if __name__ == "__main__":`.

    Attributes:
        limit: How many workers were replaced.
    """

    def __init__(
        self,
        name: str,
        spec: EngineSpec,
        workers: int,
        *,
        make_crew: MakeCrew = ProcessCrew,
        step_timeout_s: float = STEP_TIMEOUT_S,
    ) -> None:
        """Start the workers and wait until each has built its worlds.

        Args:
            name: Engine name.
            spec: What to build.
            workers: W; at most N are started.
            make_crew: Where the workers live.
            step_timeout_s: How long a control step or a call may take before the worker counts as
                lost [s].

        Raises:
            ConfigError: W is below 1.
            SimrealError: What a worker raised while it built its worlds.
        """
        if workers < 1:
            raise ConfigError(f"workers is {workers}; at least 1 is needed")
        self._inner = engine_class(name, spec.robot)
        self.name = name
        super().__init__(spec)
        width = self.new_state().buffer.shape[1]
        layout = Layout(
            spec.ticks,
            spec.num_worlds,
            self.robot.num_actuators,
            width,
            self.robot.num_joints,
        )
        bounds = np.linspace(0, spec.num_worlds, min(workers, spec.num_worlds) + 1).astype(int)
        self._chunks = [slice(int(a), int(b)) for a, b in itertools.pairwise(bounds)]
        self._everyone = range(len(self._chunks))
        self._params: dict[str, np.ndarray] = {}
        self._applied: dict[str, np.ndarray] = {}
        self._lost, self._told = (np.zeros(spec.num_worlds, dtype=bool) for _ in range(2))
        self._lossy = False  # whether a world was ever lost
        self._judges = self._inner.health is not Engine.health
        self.limit = RestartLimit()
        self._busy = self._under_way = self._sampled = False
        self._broken = ""
        self._crew = make_crew(name, layout, len(self._chunks), step_timeout_s)
        self._shared = self._crew.shared
        try:
            for worker in self._everyone:
                self._start(worker)
            exact = [self._built(worker) for worker in self._everyone]  # wait for every one
            self.exact_state = all(exact)
        except BaseException:
            self.close()
            raise

    @classmethod
    def capability(cls, robot: Robot, param: ParamSpec) -> Capability:
        """Refuse: only an instance knows which engine its workers hold."""
        raise EngineError("ask the engine that the workers hold: engine_class(name).capability")

    def reset(self, mask: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray) -> None:
        """Put some worlds into a state, exactly, and their clock to zero.

        Args:
            mask: Worlds to reset (N,), bool.
            joint_pos: (N, J) [rad or m]; rows outside the mask are ignored.
            joint_vel: (N, J) [rad/s or m/s].
        """
        self._check_alive()
        shared, joints = self._shared, self.robot.num_joints
        shared.begins[...] = mask
        shared.start[mask, :joints], shared.start[mask, joints:] = joint_pos[mask], joint_vel[mask]
        left = [worker for worker in self._everyone if mask[self._chunks[worker]].any()]
        while left:
            self._busy = True
            self._crew.begin(left, RESET)
            found, left = self._collect(left)
            _raise_first(found)
        self._lost &= ~mask

    def step(self, commands: np.ndarray, sample_tick: np.ndarray | None = None) -> None:
        """Advance every world by one control step of K ticks.

        Args:
            commands: What each actuator gets in each tick (K, N, A).
            sample_tick: After how many ticks the sensors of each world are read (N,), 1 to K.
        """
        self.begin_step(commands, sample_tick)
        self.end_step()

    def begin_step(self, commands: np.ndarray, sample_tick: np.ndarray | None = None) -> None:
        """Begin a control step, which the workers do while the caller goes on; see `step`.

        Args:
            commands: (K, N, A).
            sample_tick: (N,), 1 to K.

        Raises:
            EngineError: The commands have another shape, or a step is under way.
        """
        if commands.shape != self._shared.commands.shape:
            raise EngineError(
                f"commands have shape {commands.shape}; ticks, worlds, actuators "
                f"{self._shared.commands.shape} needed"
            )
        self._check_alive()
        self._sampled = sample_tick is not None
        kind = STEP
        if sample_tick is not None:
            self._shared.sample_tick[...], kind = sample_tick, SAMPLED_STEP
        elif commands.strides[0] == 0:  # a view of the same commands in every tick
            commands, kind = commands[:1], HELD_STEP
        self._shared.commands[: len(commands)] = commands
        if self._lossy:
            self._told[...], self._lost[...] = self._lost, False
        self._busy = True
        self._crew.begin(self._everyone, kind)
        self._under_way = True

    def end_step(self) -> None:
        """Wait until the step that was begun is over.

        Raises:
            EngineError: None was begun, or too many workers were lost.
        """
        if not self._busy:
            raise EngineError("end_step without begin_step")
        self._under_way = False
        found, _ = self._collect(self._everyone)
        if self._lossy:
            self._told |= self._lost
            self._lost[...] = False
        _raise_first(found)
        if not self._sampled:
            self._shared.sampled[...] = self._shared.now

    def read(self, state: State) -> None:
        """Write the present truth of every world into a state."""
        state.buffer[...] = self._shared.now

    def sample(self, state: State) -> None:
        """Write what the sensors saw at `sample_tick` of the last step into a state."""
        state.buffer[...] = self._shared.sampled

    def apply(self, params: DynamicsParams, mask: np.ndarray) -> None:
        """Change dynamics parameters of some worlds. Takes effect from the next tick on.

        Args:
            params: Values for all N worlds.
            mask: Worlds to change (N,), bool.
        """
        for name, values in params.items():  # for whoever is started later
            kept = self._params.setdefault(name, np.array(values))
            kept[mask] = values[mask]
            self._applied.setdefault(name, np.zeros(self.num_worlds, dtype=bool))[mask] = True
        self._call("apply", lambda c: ({k: v[c] for k, v in params.items()}, mask[c]), mask)

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all that determines the future of the worlds.

        Arrays have one row per world, as if one engine had them all; a number without rows is the
        same in every worker, since they go in step.
        """
        parts: list[dict[str, np.ndarray]] = self._call("get_state", lambda c: ())
        return {
            key: np.concatenate([part[key] for part in parts]) if first.ndim else first
            for key, first in parts[0].items()
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `get_state` returned; parameters must have been applied before."""
        self._call("set_state", lambda c: ({k: v[c] if v.ndim else v for k, v in state.items()},))
        self._lost[...] = False

    def render(self, world: int, width: int, height: int) -> np.ndarray:
        """Return a picture of one world (H, W, 3), uint8."""
        only = np.arange(self.num_worlds) == world
        answers = self._call("render", lambda c: (world - c.start, width, height), only)
        picture: np.ndarray = answers[0]
        return picture

    def health(self, state: State, max_velocity: float = 1e4) -> Health:
        """Say which worlds diverged, by their state or by what their engine itself reports.

        Args:
            state: The state to judge.
            max_velocity: Joint speed beyond which a world is called diverged [rad/s or m/s].
        """
        seen = super().health(state, max_velocity)
        if self._lossy and self._told.any():
            worlds = np.flatnonzero(self._told)
            lost = f"{worlds.size} of {self.num_worlds} worlds lost their worker"
            return Health(seen.diverged & ~self._told, seen.reason or lost, self._told.copy())
        if not self._judges or not self._shared.failed.any():
            return seen
        diverged = np.asarray(seen.diverged | (self._shared.failed > 0))
        worlds = np.flatnonzero(diverged)
        reason = seen.reason or (
            f"{worlds.size} of {self.num_worlds} worlds diverged; world {worlds[0]}: "
            f"engine '{self.name}' reports it"
        )
        return Health(diverged, reason)

    def close(self) -> None:
        """End the workers. Safe to call twice."""
        self._broken = self._broken or "it was closed"
        self._crew.close()

    def _check_params(self, names: Sequence[str]) -> None:
        """Leave the check to the workers, whose engine knows what it can apply."""
        # On an instance the question has an answer: that of the engine inside.
        self.__dict__["capability"] = self._inner.capability

    def _start(self, worker: int) -> None:
        chunk = self._chunks[worker]
        spec = replace(
            self.spec,
            num_worlds=chunk.stop - chunk.start,
            fixed=dict(self.spec.fixed),
            options=dict(self.spec.options),
        )
        self._crew.start(worker, chunk.start, spec)

    def _built(self, worker: int) -> bool:
        found = self._crew.built(worker)
        if isinstance(found, Loss):
            raise EngineError(f"{self._title(worker)} {found.reason} while it built its worlds")
        if isinstance(found, RemoteError):
            _reraise(found)
        return bool(found)

    def _call(
        self,
        method: str,
        arguments: Callable[[slice], tuple[Any, ...]],
        mask: np.ndarray | None = None,
    ) -> list[Any]:
        """Call a method on the workers that have something to do, and return their answers."""
        self._check_alive()
        orders: dict[int, Order] = {
            worker: (method, arguments(chunk))
            for worker, chunk in enumerate(self._chunks)
            if mask is None or mask[chunk].any()
        }
        answers: dict[int, Any] = {}
        left = list(orders)
        while left:
            self._busy = True
            self._crew.begin_call({worker: orders[worker] for worker in left})
            found, left = self._collect(left)
            answers |= found
        _raise_first(answers)
        return [answers[worker] for worker in orders]

    def _collect(self, workers: Sequence[int]) -> tuple[dict[int, Any], list[int]]:
        """Return the answers, and which workers ended and were replaced."""
        found = self._crew.collect(workers)
        self._busy = False
        if not found:
            return found, []
        gone = {worker: loss for worker, loss in found.items() if isinstance(loss, Loss)}
        for worker, loss in gone.items():
            self._replace(worker, loss)
            del found[worker]
        return found, list(gone)

    def _replace(self, worker: int, loss: Loss) -> None:
        """Start a worker anew, with the parameters its worlds had."""
        chunk, when = self._chunks[worker], ""
        found: bool | Loss | RemoteError = loss
        while isinstance(found, Loss):
            self._broken = what = f"{self._title(worker)} {found.reason}{when}"
            self.limit.count(what)
            _LOG.warning("%s; it is started anew and its worlds are reset", what)
            self._start(worker)
            # It may end while it builds, too, as where memory is short.
            found, when = self._crew.built(worker), " while it built its worlds"
        if isinstance(found, RemoteError):
            _reraise(found)
        self._broken = ""
        self._lost[chunk], self._lossy = True, True
        if self._params:
            self._restore_params(worker)

    def _restore_params(self, worker: int) -> None:
        chunk = self._chunks[worker]
        groups: dict[bytes, list[str]] = {}
        for name, mask in self._applied.items():
            groups.setdefault(mask[chunk].tobytes(), []).append(name)
        for names in groups.values():
            mask = self._applied[names[0]][chunk]
            values = {name: self._params[name][chunk] for name in names}
            self._crew.begin_call({worker: ("apply", (values, mask))})
            found = self._crew.collect([worker])
            if isinstance(found[worker], Loss):
                self._replace(worker, found[worker])
                return
            _raise_first(found)

    def _check_alive(self) -> None:
        if self._busy and not self._under_way:
            self._broken = self._broken or "a call was interrupted"
        if self._broken:
            raise EngineError(f"the worker engine cannot go on: {self._broken}; build a new one")
        if self._under_way:
            raise EngineError("a step is under way: call end_step() first")

    def _title(self, worker: int) -> str:
        chunk = self._chunks[worker]
        return f"worker {worker} (worlds {chunk.start} to {chunk.stop - 1})"


def _raise_first(answers: Mapping[int, Any]) -> None:
    for answer in answers.values():
        if isinstance(answer, RemoteError):
            _reraise(answer)


def _reraise(remote: RemoteError) -> None:
    cause = EngineError(remote.text)
    if isinstance(remote.error, SimrealError):
        raise remote.error from cause
    last = remote.text.strip().splitlines()[-1]
    raise EngineError(f"a worker failed: {last}\n{remote.text}") from cause

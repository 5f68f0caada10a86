"""One engine spread over processes: the same contract, N worlds in W contiguous chunks.

PyBullet holds Python's lock, so more cores need more processes. A worker only applies, resets,
ticks and reads; all random numbers stay in the parent, so results do not depend on W, bit for bit.
The shared memory has no name in the file system (an unlinked file that the workers inherit), so
nothing can be left behind, however a process ends.
"""

import itertools
import multiprocessing
import pickle
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from simreal.core.params import DynamicsParams, ParamSpec
from simreal.core.robot import Robot
from simreal.core.state import State
from simreal.engines.base import Capability, Engine, EngineSpec, Health
from simreal.engines.registry import engine_class
from simreal.engines.worker_process import SAMPLED_STEP, STEP, Layout, failure, serve
from simreal.errors import ConfigError, EngineError, SimrealError

_PATIENCE_S = 5.0  # for a worker to end by itself before it is ended


class WorkerEngine(Engine):
    """Advance N worlds of any engine in W worker processes.

    The processes are spawned, so a script that builds one guards its main part with
    `if __name__ == "__main__":`.
    """

    def __init__(self, name: str, spec: EngineSpec, workers: int) -> None:
        """Start the workers and wait until each has built its worlds.

        Args:
            name: Engine name.
            spec: What to build.
            workers: W; at most N are started.

        Raises:
            ConfigError: W is below 1.
            SimrealError: What a worker raised while it built its worlds.
        """
        if workers < 1:
            raise ConfigError(f"workers is {workers}; at least 1 is needed")
        self._inner = engine_class(name)
        self.name = name
        super().__init__(spec)
        blank = self.new_state()
        self._layout = Layout(
            spec.ticks, spec.num_worlds, self.robot.num_actuators, blank.buffer.shape[1]
        )
        bounds = np.linspace(0, spec.num_worlds, min(workers, spec.num_worlds) + 1).astype(int)
        self._chunks = [slice(int(a), int(b)) for a, b in itertools.pairwise(bounds)]
        context = multiprocessing.get_context("spawn")
        memory = context.RawArray("d", self._layout.size)
        self._shared = self._layout.views(memory)
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._broken = ""
        # Also runs when the interpreter exits and when an unfinished engine is collected.
        self._end = weakref.finalize(self, _end, self._pipes, self._processes)
        try:
            for chunk in self._chunks:
                self._start(context, memory, chunk)
            self.exact_state = all(self._receive_all(built=True))
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
        self._call(
            "reset",
            [
                (mask[c], joint_pos[c], joint_vel[c]) if mask[c].any() else None
                for c in self._chunks
            ],
        )

    def step(self, commands: np.ndarray, sample_tick: np.ndarray | None = None) -> None:
        """Advance every world by one control step of K ticks.

        Args:
            commands: What each actuator gets in each tick (K, N, A).
            sample_tick: After how many ticks the sensors of each world are read (N,), 1 to K.
        """
        if commands.shape != self._shared.commands.shape:
            raise EngineError(
                f"commands have shape {commands.shape}; ticks, worlds, actuators "
                f"{self._shared.commands.shape} needed"
            )
        self._check_alive()
        self._shared.commands[...] = commands
        if sample_tick is not None:
            self._shared.sample_tick[...] = sample_tick
        order = STEP if sample_tick is None else SAMPLED_STEP
        self._send([order] * len(self._pipes))
        self._receive_all()
        if sample_tick is None:
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
        self._call(
            "apply",
            [
                ({k: v[c] for k, v in params.items()}, mask[c]) if mask[c].any() else None
                for c in self._chunks
            ],
        )

    def get_state(self) -> dict[str, np.ndarray]:
        """Return all that determines the future of the worlds.

        Arrays have one row per world, as if one engine had them all; a number without rows is the
        same in every worker, since they go in step.
        """
        parts: list[dict[str, np.ndarray]] = self._call("get_state", [()] * len(self._chunks))
        return {
            key: np.concatenate([part[key] for part in parts]) if first.ndim else first
            for key, first in parts[0].items()
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `get_state` returned; parameters must have been applied before."""
        self._call(
            "set_state",
            [({k: v[c] if v.ndim else v for k, v in state.items()},) for c in self._chunks],
        )

    def render(self, world: int, width: int, height: int) -> np.ndarray:
        """Return a picture of one world (H, W, 3), uint8."""
        orders: list[tuple[Any, ...] | None] = [None] * len(self._chunks)
        for i, chunk in enumerate(self._chunks):
            if chunk.start <= world < chunk.stop:
                orders[i] = (world - chunk.start, width, height)
        answers: list[np.ndarray] = self._call("render", orders)
        return answers[0]

    def health(self, state: State, max_velocity: float = 1e4) -> Health:
        """Say which worlds diverged, by their state or by what their engine itself reports.

        Args:
            state: The state to judge.
            max_velocity: Joint speed beyond which a world is called diverged [rad/s or m/s].
        """
        seen = super().health(state, max_velocity)
        if not self._shared.failed.any():
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
        self._end()

    def _check_params(self, names: Sequence[str]) -> None:
        """Leave the check to the workers, whose engine knows what it can apply."""
        # On an instance the question has an answer: that of the engine inside.
        self.__dict__["capability"] = self._inner.capability

    def _start(self, context: Any, memory: Any, chunk: slice) -> None:
        here, there = context.Pipe()
        spec = replace(
            self.spec,
            num_worlds=chunk.stop - chunk.start,
            fixed=dict(self.spec.fixed),
            options=dict(self.spec.options),
        )
        process = context.Process(
            target=serve,
            args=(there, memory, self._layout, chunk.start, self.name, spec),
            name=f"simreal worlds {chunk.start}-{chunk.stop - 1}",
            daemon=True,
        )
        self._pipes.append(here)
        process.start()
        self._processes.append(process)
        there.close()  # so that the end of the worker is the end of the pipe

    def _call(self, method: str, orders: Sequence[tuple[Any, ...] | None]) -> list[Any]:
        """Call a method on the workers that have something to do, and return their answers."""
        self._check_alive()
        asked = [None if order is None else pickle.dumps((method, order)) for order in orders]
        self._send(asked)
        answers = self._receive_all([order is not None for order in asked])
        return [pickle.loads(answer[1:]) for answer in answers]

    def _send(self, orders: Sequence[bytes | None]) -> None:
        for i, (pipe, order) in enumerate(zip(self._pipes, orders, strict=True)):
            if order is not None:
                try:
                    pipe.send_bytes(order)
                except OSError as error:
                    raise self._lost(i) from error

    def _receive_all(
        self, asked: Sequence[bool] | None = None, *, built: bool = False
    ) -> list[Any]:
        """Wait for every answer, so that the workers stay in step, then raise the first failure."""
        before, self._broken = self._broken, "a call was interrupted"
        answers, failed = [], None
        for i, pipe in enumerate(self._pipes):
            if asked is not None and not asked[i]:
                continue
            try:
                answer = pipe.recv() if built else pipe.recv_bytes()
            except (EOFError, OSError) as error:
                raise self._lost(i) from error
            failed = failed or failure(answer)
            answers.append(answer)
        self._broken = before
        if failed is not None:
            _reraise(*failed)
        return answers

    def _check_alive(self) -> None:
        if self._broken:
            raise EngineError(f"the worker engine cannot go on: {self._broken}; build a new one")

    def _lost(self, worker: int) -> EngineError:
        process, chunk = self._processes[worker], self._chunks[worker]
        process.join(1.0)
        self._broken = (
            f"worker {worker} (worlds {chunk.start} to {chunk.stop - 1}) ended "
            f"with exit code {process.exitcode}"
        )
        return EngineError(
            f"{self._broken}; if memory ran out, use fewer worlds (and see the system log)"
        )


def _reraise(error: Exception | None, text: str) -> None:
    remote = EngineError(text)
    if isinstance(error, SimrealError):
        raise error from remote
    last = text.strip().splitlines()[-1]
    raise EngineError(f"a worker failed: {last}\n{text}") from remote


def _end(pipes: list[Connection], processes: list[BaseProcess]) -> None:
    while pipes:
        pipes.pop().close()  # a worker ends when its pipe does
    for process in processes:
        process.join(_PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()
    processes.clear()

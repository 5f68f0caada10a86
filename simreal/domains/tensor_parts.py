"""Command line, sensors and observation of N worlds as tensors on one device.

They compute what `CommandLine`, `Sensors` and `ObservationPipeline` compute, from the same
specifications, with fixed shapes: what is off for good is left out when they are built, what may
differ from world to world is multiplied or chosen, and nothing depends on a value on the host. All
tensors stay where they are, so that every method can be captured in a graph.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from simreal.core.observation import Term
from simreal.core.seeding import Stream
from simreal.domains.tensor_random import CounterRandom, numbered


class TensorLine:
    """Turn the command of each control step into what the actuators get in each tick.

    Attributes:
        ring: Past commands, newest first (R, N, A) [Nm or rad].
    """

    def __init__(
        self,
        random: CounterRandom,
        idle: Tensor,
        driven: Tensor,
        *,
        num_worlds: int,
        depth: int,
        ticks: int,
        tick_s: float,
        delayed: bool,
        noisy: bool,
    ) -> None:
        """Allocate the ring of past commands.

        Args:
            random: Source of the torque noise.
            idle: Command that stands before the episode began (A) [Nm or rad].
            driven: Indices of the actuators that the policy commands; only they have noise.
            num_worlds: N.
            depth: Commands kept, R.
            ticks: Ticks of one control step, K.
            tick_s: Length of a tick [s].
            delayed: Whether any world may have a delay.
            noisy: Whether any world may have torque noise.
        """
        self._random, self._idle, self._driven = random, idle, driven
        self._delayed, self._noisy = delayed, noisy
        self._tick_s, self._period_s = tick_s, ticks * tick_s
        device = idle.device
        self.ring = idle.repeat(depth, num_worlds, 1)
        self._starts = torch.arange(ticks, dtype=torch.float64, device=device)[:, None] * tick_s
        self._worlds = torch.arange(num_worlds, device=device)
        self._age = torch.zeros(ticks, num_worlds, dtype=torch.int64, device=device)
        self._weight = torch.zeros(ticks, num_worlds, 1, device=device)
        self._labels = numbered("torque", driven.numel())

    def configure(self, delay_s: Tensor) -> None:
        """Set the delay of every world (N,) [s]; see `CommandLine.configure`."""
        if not self._delayed:
            return
        start = self._starts - delay_s.double()  # (K, N)
        issued = torch.floor(start / self._period_s + 1e-9)
        share = torch.clamp(((issued + 1.0) * self._period_s - start) / self._tick_s, 0.0, 1.0)
        age = -issued
        self._age.copy_(age.long())
        self._weight.copy_(torch.where(age == 0, 1.0, share)[..., None])

    def push(
        self, command: Tensor, noise_std: Tensor, episode: Tensor, step: Tensor, out: Tensor
    ) -> None:
        """Take the command of this control step and write the schedule of its ticks.

        Args:
            command: (N, A) [Nm or rad].
            noise_std: (N,) [Nm].
            episode: Episode number (N,).
            step: Step number (N,).
            out: (K, N, A).
        """
        if len(self.ring) > 1:
            self.ring[1:] = self.ring[:-1].clone()
        self.ring[0] = command
        if self._noisy:
            noise = self._random.normal(Stream.ACTUATION, episode, step, self._labels)
            self.ring[0].index_add_(1, self._driven, noise_std[:, None] * noise)
        if not self._delayed:
            out.copy_(self.ring[0].expand_as(out))
            return
        older = self.ring[self._age, self._worlds]
        newer = self.ring[torch.clamp(self._age - 1, min=0), self._worlds]
        out.copy_(torch.lerp(newer, older, self._weight))

    def restart(self, mask: Tensor) -> None:
        """Forget past commands in some worlds (N,), bool."""
        self.ring.copy_(torch.where(mask[:, None], self._idle, self.ring))


class TensorSensors:
    """Measure N worlds.

    Attributes:
        measured: The last measurement (N, D), in the layout of `State`.
        ring: Samples of the last control steps, newest first (R, N, D).
        sample_tick: After how many ticks the sensors of each world are read (N,), int32.
        sampling: Whether any world may be read at another tick than the last.
    """

    def __init__(
        self,
        random: CounterRandom,
        active: frozenset[str],
        layout: Tensor,
        *,
        num_joints: int,
        depth: int,
        ticks: int,
        tick_s: float,
        offsets: Sequence[str] = (),
    ) -> None:
        """Allocate buffers.

        Args:
            random: Source of noise and dropout.
            active: Names of the sensor parameters that any world may have different from 0.
            layout: A packed state (N, D).
            num_joints: J.
            depth: Samples kept, R.
            ticks: Ticks of one control step, K.
            tick_s: Length of a tick [s].
            offsets: The parameter that is the encoder's offset of each joint (J).
        """
        self._random, self._active = random, active
        self._offsets = tuple(offsets) if active.intersection(offsets) else ()
        self._joints, self._ticks, self._tick_s = num_joints, ticks, tick_s
        self.measured = layout.clone()
        self.ring = layout.repeat(depth, 1, 1)
        worlds = len(layout)
        self.sample_tick = torch.full((worlds,), ticks, dtype=torch.int32, device=layout.device)
        self._back = torch.zeros(worlds, dtype=torch.int64, device=layout.device)
        self._worlds = torch.arange(worlds, device=layout.device)
        self.sampling = "measurement_delay" in active
        self._noisy = bool(active & {"joint_pos_noise", "joint_vel_noise"})
        self._labels = numbered("pos", num_joints) + numbered("vel", num_joints)

    @property
    def ideal(self) -> bool:
        """Return whether measurements equal the truth, always and everywhere."""
        return not self._active

    def configure(self, delay_s: Tensor) -> None:
        """Set the measurement delay of every world (N,) [s], rounded to a tick."""
        if self.sampling:
            ticks = torch.round(delay_s.double() / self._tick_s).long()
            self.sample_tick.copy_(self._ticks - ticks % self._ticks)
            self._back.copy_(ticks // self._ticks)

    def measure(
        self, sample: Tensor, values: Mapping[str, Tensor], episode: Tensor, step: Tensor
    ) -> None:
        """Measure after a control step.

        Args:
            sample: The state at the tick the sensors were read (N, D).
            values: Parameter name to (N,), the names of `Sensing`.
            episode: Episode number (N,).
            step: Step number (N,).
        """
        if self.ideal:
            self.measured.copy_(sample)
            return
        fresh = sample
        if len(self.ring) > 1:
            self.ring[1:] = self.ring[:-1].clone()
            self.ring[0] = sample
            fresh = self.ring[self._back, self._worlds]
        fresh = self._corrupted(fresh, values, episode, step)
        if "dropout" in self._active:
            chance = self._random.uniform(Stream.DROPOUT, episode, step, ("dropout",))
            fresh = torch.where(chance < values["dropout"][:, None], self.measured, fresh)
        self.measured.copy_(fresh)

    def restart(
        self, truth: Tensor, mask: Tensor, values: Mapping[str, Tensor], at: tuple[Tensor, Tensor]
    ) -> None:
        """Measure the first state of an episode in some worlds.

        Args:
            truth: The state after the reset (N, D).
            mask: Worlds that were reset (N,), bool.
            values: Parameter name to (N,).
            at: Episode and step number (N,).
        """
        rows = mask[:, None]
        fresh = truth
        if not self.ideal:
            self.ring.copy_(torch.where(rows, truth, self.ring))
            fresh = self._corrupted(truth, values, *at)
        self.measured.copy_(torch.where(rows, fresh, self.measured))

    def _corrupted(
        self, state: Tensor, values: Mapping[str, Tensor], episode: Tensor, step: Tensor
    ) -> Tensor:
        joints, active = self._joints, self._active
        pos, vel, rest = state[:, :joints], state[:, joints : 2 * joints], state[:, 2 * joints :]
        if "joint_pos_bias" in active:
            pos = pos + values["joint_pos_bias"][:, None]
        if self._offsets:
            pos = pos + torch.stack([values[name] for name in self._offsets], dim=1)
        if self._noisy:
            noise = self._random.normal(Stream.SENSING, episode, step, self._labels)
            pos = pos + values["joint_pos_noise"][:, None] * noise[:, :joints]
            vel = vel + values["joint_vel_noise"][:, None] * noise[:, joints:]
        if "joint_pos_resolution" in active:
            grid = values["joint_pos_resolution"][:, None]
            pos = torch.where(grid > 0, torch.round(pos / grid) * grid, pos)
        return torch.cat([pos, vel, rest], dim=1)


class TensorObservation:
    """Evaluate observation terms for N worlds, with their history; see `ObservationPipeline`.

    Attributes:
        frames: Past frames, oldest first (N, depth times frame width).
        dim: Entries of an observation.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        signals: Mapping[str, Sequence[str]],
        num_worlds: int,
        device: torch.device,
    ) -> None:
        """Resolve names into columns and allocate the history.

        Args:
            terms: The terms, which a pipeline has checked.
            signals: Raw signal name to its element names, in the order of its columns.
            num_worlds: N.
            device: Where the signals are.
        """
        self._sources = tuple(signals)
        starts = np.cumsum([0, *(len(signals[name]) for name in signals)])
        first = dict(zip(signals, starts.tolist(), strict=False))
        groups: dict[tuple[str, ...], list[Term]] = {}
        for term in terms:
            groups.setdefault(tuple(op.kind for op in term.ops), []).append(term)
        self._groups: list[tuple[Tensor, list[tuple[str, Tensor]]]] = []
        columns: dict[str, int] = {}
        width = 0
        for group in groups.values():
            index: list[int] = []
            for term in group:
                columns[term.name] = width + len(index)
                known = list(signals[term.source])
                index += [first[term.source] + known.index(e) for e in term.elements]
            width += len(index)
            place = torch.tensor(index, dtype=torch.int64, device=device)
            self._groups.append((place, _operations(group, device)))
        depth = max(term.history + term.lag for term in terms)
        self._depth, self._width = depth, width
        self.frames = torch.zeros(num_worlds, depth * width, device=device)
        places, zero = _gather(terms, columns, depth, width)
        self._places = torch.tensor(places, dtype=torch.int64, device=device)
        self._kept = torch.tensor(~zero, device=device)
        self.dim = len(places)

    def push(self, signals: Mapping[str, Tensor]) -> None:
        """Append one frame to the history of every world.

        Args:
            signals: Raw signal name to (N, k).
        """
        frame = self._frame(signals)
        if self._depth > 1:
            frame = torch.cat([self.frames[:, self._width :], frame], dim=1)
        self.frames.copy_(frame)

    def restart(self, signals: Mapping[str, Tensor], mask: Tensor) -> None:
        """Begin a new history in some worlds, filled as each term declares.

        Args:
            signals: Raw signal name to (N, k), the first measurement.
            mask: Worlds to restart (N,), bool.
        """
        frame = self._frame(signals)
        older = torch.where(self._kept, frame, 0.0)
        filled = torch.cat([*[older] * (self._depth - 1), frame], dim=1)
        self.frames.copy_(torch.where(mask[:, None], filled, self.frames))

    def emit(self, out: Tensor) -> None:
        """Write the observation of every world into `out` (N, dim)."""
        torch.index_select(self.frames, 1, self._places, out=out)

    def _frame(self, signals: Mapping[str, Tensor]) -> Tensor:
        raw = torch.cat([signals[name] for name in self._sources], dim=1)
        parts = []
        for place, operations in self._groups:
            value = raw.index_select(1, place)
            for kind, constant in operations:
                value = _operate(kind, value, constant)
            parts.append(value)
        return torch.cat(parts, dim=1)


def _operations(group: Sequence[Term], device: torch.device) -> list[tuple[str, Tensor]]:
    """Return the operations of alike terms; a constant has one column per entry."""
    found: list[tuple[str, Tensor]] = []
    for position, op in enumerate(group[0].ops):
        if op.kind == "lag":  # a matter of which frame is taken, not of its numbers
            continue
        values = [term.ops[position].values for term in group for _ in term.elements]
        table = torch.tensor(np.array(values, dtype=np.float32).T, device=device)
        found.append((op.kind, table))
    return found


def _operate(kind: str, value: Tensor, constant: Tensor) -> Tensor:
    if kind == "scale":
        return value * constant[0]
    if kind == "offset":
        return value + constant[0]
    if kind == "clip":
        return torch.clamp(value, constant[0], constant[1])
    if kind == "wrap":
        return torch.remainder(value + torch.pi, 2.0 * torch.pi) - torch.pi
    return torch.sin(value) if kind == "sin" else torch.cos(value)


def _gather(
    terms: Sequence[Term], columns: Mapping[str, int], depth: int, width: int
) -> tuple[list[int], np.ndarray]:
    """Return the place of every entry in the history, and which frame columns are zero-filled."""
    places: list[int] = []
    zero = np.zeros(width, dtype=bool)
    for term in terms:
        at, size = columns[term.name], len(term.elements)
        zero[at : at + size] = term.fill == "zero"
        newest = depth - term.lag
        for frame in range(newest - term.history, newest):
            places += range(frame * width + at, frame * width + at + size)
    return places, zero

"""Run a policy with numpy alone, one row, nothing allocated that need not be.

The reference for every other runtime: it evaluates the manifest with the observation pipeline that
training uses, in float32 as training does. A step costs about ten microseconds, where the training
library takes a few hundred: buffers are made once, every constant is an array (numpy converts a
Python number anew in each call), and a bias is one more row of its weights.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from simreal.deploy.bundle import Bundle
from simreal.deploy.contents import Layer, Lstm, Normalizer
from simreal.deploy.manifest import Manifest
from simreal.deploy.one_row import ROW, of_one_row
from simreal.deploy.policy import Policy, PolicyBase, entry_names, idle_command
from simreal.deploy.sensing import build_pipeline

__all__ = ["NumpyPolicy", "Policy"]

_Step = Callable[[], object]


class NumpyPolicy(PolicyBase):
    """Turn raw signals into commands, once per control period.

    The first measurement of an episode goes to `reset`, every later one to `step`; both return the
    command that answers it. Signals are arrays whose columns are found by element name: `bind` says
    in which order this robot gives its joints.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Prepare the network and the observation.

        Args:
            bundle: A loaded bundle.
        """
        super().__init__(bundle.manifest)
        manifest = bundle.manifest
        self._network = Network(
            bundle.layers, manifest.network.squash, bundle.normalizer, bundle.lstm
        )
        self._output = self._network.output
        self._observation = self._network.input
        self._batch = self._observation[None]
        self._command = idle_command(manifest)
        self._action_map(manifest)
        signals = {s.name: s.elements for s in manifest.signals}
        self._pipeline = of_one_row(build_pipeline(manifest, signals))
        row = self._signals.row
        self._rows = {ROW: row[None]}
        self._last_action = row[self._signals.packed.size :]

    @property
    def entry_names(self) -> tuple[str, ...]:
        """Return one name per observation entry: `term[element]@age`, age in control steps."""
        return entry_names(self.manifest)

    def applied(self, action: np.ndarray) -> None:
        """State which action was really applied; see `PolicyBase.applied`."""
        super().applied(action)
        self._last_action[:] = self._action

    def _begin(self) -> None:
        self._last_action.fill(0.0)
        self._network.restart()
        self._pipeline.restart(self._rows)
        self._act()

    def _advance(self) -> None:
        self._pipeline.push(self._rows)
        self._act()

    def _act(self) -> None:
        self._pipeline.emit(self._batch)
        self._network.run()
        # A NaN passes through the clip; the controller tests the output before it comes to that.
        np.maximum(self._output, self._least, out=self._action)
        np.minimum(self._action, self._most, out=self._action)
        self._last_action[:] = self._action
        np.multiply(self._last_action, self._scale, self._scaled)
        np.add(self._scaled, self._offset, self._scaled)
        if self._index is not None:
            self._command[self._index] = self._scaled

    def _action_map(self, manifest: Manifest) -> None:
        """Lay out what `simreal.core.action.ActionMap` does, from the manifest's tables."""
        entries = manifest.action.entries
        index = [manifest.robot.actuator_names.index(e.joint) for e in entries]
        first, count = index[0], len(index)
        in_order = index == list(range(first, first + count))
        self._index = None if in_order else np.array(index)
        self._scale = np.array([e.scale for e in entries], dtype=np.float64)
        self._offset = np.array([e.offset for e in entries], dtype=np.float64)
        self._action = np.zeros(count, dtype=np.float32)
        self._least, self._most = -np.ones_like(self._action), np.ones_like(self._action)
        self._scaled = self._command[first : first + count] if in_order else np.zeros(count)


class Network:
    """Evaluate normalizer, recurrent and dense layers into buffers that are made once.

    It is the part of a policy that a training library's `predict` does: observation to output.

    Attributes:
        input: The observation (dim), float32, to be written before `run`.
        output: What the last layer gives (n), float32.
        rows: Per layer its weights, inputs along the rows, and the bias as the last row.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        squash: str = "none",
        normalizer: Normalizer | None = None,
        lstm: Lstm | None = None,
    ) -> None:
        """Lay out the buffers.

        Args:
            layers: The dense layers.
            squash: `tanh` if the output passes through it, else `none`.
            normalizer: Observation statistics, if any.
            lstm: Recurrent layer before the dense ones, if any.
        """
        # Each buffer ends in a 1, which the bias, as the last row of the weights, is multiplied by.
        # Before it, the first one has the recurrent state, which the first dense layer reads.
        dim = layers[0].inputs if lstm is None else lstm.inputs
        hidden = 0 if lstm is None else lstm.hidden
        first = np.ones(dim + hidden + 1, dtype=np.float32)
        self._state = [first[dim : dim + hidden]]
        self.input = first[:dim]
        steps: list[_Step] = []
        if normalizer is not None:
            self.input = np.zeros(dim, dtype=np.float32)
            steps += _normalizing(normalizer, self.input, first[:dim])
        if lstm is not None:
            self._state.append(np.zeros(hidden, dtype=np.float32))
            steps.append(_remembering(lstm, first, *self._state))
        buffers = [first[dim:] if lstm is not None else first]
        buffers += [np.ones(layer.bias.size + 1, dtype=np.float32) for layer in layers]
        self.rows = [np.vstack([layer.weight.T, layer.bias], dtype=np.float32) for layer in layers]
        for layer, rows, (x, out) in zip(layers, self.rows, pairwise(buffers), strict=True):
            steps.append(_dense(x, rows, out[:-1], layer.activation))
        self.output = buffers[-1][:-1]
        if squash == "tanh":
            output = self.output
            steps.append(lambda: np.tanh(output, output))
        self._steps = steps
        self.restart()

    def restart(self) -> None:
        """Forget the episode: the recurrent state, if there is one, is zero again."""
        for state in self._state:
            state.fill(0.0)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Return the output (n), float32, for an observation (dim); it is valid until the next."""
        self.input[:] = observation
        self.run()
        return self.output

    def run(self) -> None:
        """Compute `output` from `input`."""
        for step in self._steps:
            step()


def _normalizing(normalizer: Normalizer, x: np.ndarray, out: np.ndarray) -> list[_Step]:
    mean = normalizer.mean.astype(np.float32)
    std = np.sqrt(normalizer.var + normalizer.epsilon).astype(np.float32)

    def run() -> None:
        np.subtract(x, mean, out)
        np.divide(out, std, out)

    if normalizer.clip is None:
        return [run]
    most = np.full_like(out, normalizer.clip)
    least = -most

    def bound() -> None:
        np.maximum(out, least, out=out)
        np.minimum(out, most, out=out)

    return [run, bound]


def _remembering(lstm: Lstm, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> _Step:
    """Return the step of an LSTM (Hochreiter and Schmidhuber 1997, with a forget gate).

    A logistic gate is `0.5 + 0.5 tanh(z / 2)`: with halved weights, one tanh serves all four.
    """
    size = lstm.hidden
    half = np.full(4 * size, 0.5, dtype=np.float32)
    half[2 * size : 3 * size] = 1.0
    shift = 1.0 - half
    bias = (lstm.bias_ih + lstm.bias_hh) * half
    weights = np.vstack([lstm.weight_ih.T, lstm.weight_hh.T]) * half
    rows = np.vstack([weights, bias], dtype=np.float32)
    gates = np.zeros(4 * size, dtype=np.float32)
    write, keep, new, read = (gates[i * size : (i + 1) * size] for i in range(4))

    def remember() -> None:
        np.dot(x, rows, gates)
        np.tanh(gates, gates)
        np.multiply(gates, half, gates)
        np.add(gates, shift, gates)
        np.multiply(cell, keep, cell)
        np.multiply(new, write, new)
        np.add(cell, new, cell)
        np.tanh(cell, hidden)
        np.multiply(hidden, read, hidden)

    return remember


def _dense(x: np.ndarray, rows: np.ndarray, out: np.ndarray, activation: str) -> _Step:
    """Return the step of a dense layer; what it needs is bound, since looking it up costs time."""
    dot, minimum, maximum, tanh_, expm1 = np.dot, np.minimum, np.maximum, np.tanh, np.expm1
    spare, zero = np.zeros_like(out), np.zeros_like(out)

    def identity() -> None:
        dot(x, rows, out)

    def tanh() -> None:
        dot(x, rows, out)
        tanh_(out, out)

    def relu() -> None:
        dot(x, rows, out)
        maximum(out, zero, out=out)

    def elu() -> None:
        # exp(x) - 1 is above x on the left and 0 on the right, so the larger one is the ELU.
        dot(x, rows, out)
        minimum(out, zero, out=spare)
        expm1(spare, spare)
        maximum(out, spare, out=out)

    return {"tanh": tanh, "relu": relu, "elu": elu, "identity": identity}[activation]

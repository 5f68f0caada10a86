"""Tensor parts compute what their numpy counterparts compute."""

import numpy as np
import pytest

from simreal.core.observation import Op, Term
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.core.state import State
from simreal.domains.actuators import CommandLine
from simreal.domains.domain import Sensing
from simreal.domains.sensors import Sensors

torch = pytest.importorskip("torch")
from simreal.domains.tensor_namespace import TorchNamespace  # noqa: E402
from simreal.domains.tensor_parts import (  # noqa: E402
    TensorLine,
    TensorObservation,
    TensorSensors,
)
from simreal.domains.tensor_random import CounterRandom  # noqa: E402

CPU = torch.device("cpu")
N, K, TICK = 6, 5, 0.002
RNG = np.random.default_rng(5)


def counters() -> tuple[object, object]:
    return torch.zeros(N, dtype=torch.int64), torch.zeros(N, dtype=torch.int64)


def test_a_delayed_command_is_scheduled_like_on_the_cpu() -> None:
    delay = np.array([0.0, 0.002, 0.0031, 0.01, 0.0117, 0.025])
    idle, driven = np.array([0.5, 0.0]), np.array([0, 1])
    line = CommandLine(N, idle, driven, ticks=K, tick_s=TICK, max_delay_s=0.03, seed=0)
    line.configure(delay, np.zeros(N))
    other = TensorLine(
        CounterRandom(0, N, CPU),
        torch.tensor(idle, dtype=torch.float32),
        torch.tensor(driven),
        num_worlds=N,
        depth=len(line.ring),
        ticks=K,
        tick_s=TICK,
        delayed=True,
        noisy=False,
    )
    other.configure(torch.tensor(delay, dtype=torch.float32))
    out, nothing = torch.zeros(K, N, 2), torch.zeros(N)
    mask = np.array([True, False, True, False, True, False])
    for step in range(7):
        command = RNG.normal(size=(N, 2))
        wanted = line.push(command, np.zeros(N, dtype=int), np.zeros(N, dtype=int))
        other.push(torch.tensor(command, dtype=torch.float32), nothing, *counters(), out)
        np.testing.assert_allclose(out.numpy(), wanted, atol=2e-5)
        if step == 4:
            line.restart(mask)
            other.restart(torch.tensor(mask))


def test_torque_noise_reaches_the_driven_motors_with_its_spread() -> None:
    worlds = 4000
    line = TensorLine(
        CounterRandom(0, worlds, CPU),
        torch.zeros(2),
        torch.tensor([1]),
        num_worlds=worlds,
        depth=1,
        ticks=1,
        tick_s=TICK,
        delayed=False,
        noisy=True,
    )
    out, zero = torch.zeros(1, worlds, 2), torch.zeros(worlds, dtype=torch.int64)
    line.push(torch.ones(worlds, 2), torch.full((worlds,), 0.2), zero, zero, out)
    assert (out[..., 0] == 1.0).all()
    assert out[..., 1].mean().item() == pytest.approx(1.0, abs=0.015)
    assert out[..., 1].std().item() == pytest.approx(0.2, rel=0.04)


def sensor_values() -> dict[str, np.ndarray]:
    values = {name: np.zeros(N) for name in Sensing.__dataclass_fields__}
    values["joint_pos_bias"] = np.linspace(-0.1, 0.1, N)
    values["joint_pos_resolution"] = np.array([0.0, 0.01, 0.02, 0.0, 0.05, 0.1])
    values["measurement_delay"] = np.array([0.0, 0.002, 0.009, 0.01, 0.012, 0.021])
    return values


def test_bias_quantization_and_delay_are_measured_like_on_the_cpu() -> None:
    layout, values = State(N, 2), sensor_values()
    sensors = Sensors(layout, ticks=K, tick_s=TICK, max_delay_s=0.021, seed=0)
    offsets = {f"encoder_offset.{i}": RNG.normal(size=N) for i in range(2)}
    bias = values["joint_pos_bias"][:, None] + np.stack(list(offsets.values()), axis=1)
    sensors.configure({**values, "joint_pos_bias": bias})
    values |= offsets
    names = frozenset(name for name, value in values.items() if value.any())
    other = TensorSensors(
        CounterRandom(0, N, CPU),
        names,
        torch.zeros(layout.buffer.shape),
        num_joints=2,
        depth=len(sensors.ring),
        ticks=K,
        tick_s=TICK,
        offsets=tuple(offsets),
    )
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()}
    other.configure(tensors["measurement_delay"])
    np.testing.assert_array_equal(other.sample_tick.numpy(), sensors.sample_tick)
    ints = np.zeros(N, dtype=int)
    for step in range(6):
        layout.buffer[...] = RNG.normal(size=layout.buffer.shape)
        packed = torch.tensor(layout.buffer, dtype=torch.float32)
        if step in (0, 3):
            mask = np.full(N, True) if step == 0 else np.arange(N) % 2 == 0
            wanted = sensors.restart(layout, mask, ints, ints)
            other.restart(packed, torch.tensor(mask), tensors, counters())
        else:
            wanted = sensors.measure(layout, ints, ints)
            other.measure(packed, tensors, *counters())
        np.testing.assert_allclose(other.measured.numpy(), wanted.buffer, atol=1e-6)


def test_dropout_repeats_the_last_measurement_in_its_share_of_steps() -> None:
    worlds = 5000
    sensors = TensorSensors(
        CounterRandom(0, worlds, CPU),
        frozenset({"dropout"}),
        torch.zeros(worlds, 3),
        num_joints=1,
        depth=1,
        ticks=1,
        tick_s=TICK,
    )
    zero, values = torch.zeros(worlds, dtype=torch.int64), {"dropout": torch.full((worlds,), 0.3)}
    sensors.measure(torch.ones(worlds, 3), values, zero, zero)
    kept = (sensors.measured == 0).all(dim=1)
    assert kept.float().mean().item() == pytest.approx(0.3, abs=0.025)
    assert ((sensors.measured == 0).any(dim=1) == kept).all()


TERMS = (
    Term(name="sin", source="pos", elements=("a", "b"), ops=(Op("sin"),), history=3),
    Term(name="turn", source="pos", elements=("b",), ops=(Op("wrap"), Op("scale", (0.5,)))),
    Term(
        name="vel",
        source="vel",
        elements=("b", "a"),
        ops=(Op("scale", (2.0,)), Op("offset", (0.1,)), Op("clip", (-1.0, 1.5))),
        history=2,
        fill="zero",
    ),
    Term(name="cos", source="pos", elements=("a",), ops=(Op("cos"),)),
    Term(name="raw", source="vel", elements=("a",), history=2),
    Term(name="late", source="pos", elements=("b", "a"), ops=(Op("lag", (2,)),), fill="zero"),
)


def test_observations_equal_the_pipelines() -> None:
    names = {"pos": ("a", "b"), "vel": ("a", "b")}
    pipeline, other = ObservationPipeline(TERMS, names, N), TensorObservation(TERMS, names, N, CPU)
    out = torch.zeros(N, other.dim)
    mask = np.arange(N) < 3
    for step in range(8):
        signals = {name: 4.0 * RNG.normal(size=(N, 2)) for name in names}
        tensors = {k: torch.tensor(v, dtype=torch.float32) for k, v in signals.items()}
        if step in (0, 5):
            chosen = np.full(N, True) if step == 0 else mask
            pipeline.restart(signals, chosen)
            other.restart(tensors, torch.tensor(chosen))
        else:
            pipeline.push(signals)
            other.push(tensors)
        other.emit(out)
        np.testing.assert_allclose(out.numpy(), pipeline.emit(), atol=2e-6)


def test_constants_of_a_task_are_made_once() -> None:
    xp = TorchNamespace(CPU)
    one = xp.asarray([[1.0, 2.0]])
    assert xp.asarray([[1.0, 2.0]]) is one
    assert xp.asarray([[1.0, 2.5]]) is not one
    assert xp.asarray(((1.0, 2.0),)) is one
    array = np.array([[1.0, 2.0]])
    assert xp.asarray(array) is xp.asarray(array.copy())
    assert xp.asarray(array) is not xp.asarray(array.T)
    assert xp.asarray(array.T).shape == (2, 1)
    assert xp.asarray(0.5) is xp.asarray(np.float64(0.5))
    assert xp.asarray([[1.0, 2.0]], dtype=torch.float64).dtype == torch.float64
    assert xp.asarray(one) is one
    assert xp.sum(one, axis=1).tolist() == [3.0]
    assert xp.zeros((2, 3)).shape == (2, 3)
    assert xp.full(2, 0.5).tolist() == [0.5, 0.5]

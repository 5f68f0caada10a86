"""Measure one inference of a 48-256-128-64-12 network on one core, and a whole controller cycle.

Every arm holds the same weights, checked to 1e-5 before anything is timed. SB3's `predict` turns an
observation into an action; the arms named `network` do the same. The arms named `step` do more:
from a robot's raw signals, with scales, offsets and the last action, to commands in joint units.
The arm of C does that too, but is given its signals as one packed row and not by name, since its
parts have no entry of their own. A controller's cycle is a step and all around it, with a robot in
the same process: the tests of time, measurement and answer, the filter, the command. Its commands
lie within all limits; in the arm `limited` the filter holds each of them back, and `logged` adds
the operator's switch and a log of every cycle and answer. A round's time is the median over its
calls, because a call is shorter than a scheduler's slice.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/inference.py
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onnxruntime
import torch
from stable_baselines3 import PPO

from rounds import Arm, Ratio, arguments, print_table, summarize, take_turns, write
from simreal.core.action import ActionTerm
from simreal.core.observation import LAST_ACTION, Op, Term
from simreal.core.robot import Actuator, Joint, Link, Robot
from simreal.deploy import (
    Bundle,
    BundleSpec,
    Command,
    Controller,
    EventLog,
    Golden,
    Layer,
    NumpyPolicy,
    Provenance,
    SignalEntry,
    Signals,
    joint_signals,
)
from simreal.deploy.c_policy import CPolicy
from simreal.deploy.onnx_graph import network_model
from simreal.deploy.onnx_policy import OnnxPolicy, bound_run, make_session
from simreal.deploy.policy import PolicyBase
from simreal.deploy.runtime import Network
from simreal.deploy.settings import ControlSettings
from simreal.deploy.spec import build
from simreal.learning.artifact import actor_chain

WIDTHS = (48, 256, 128, 64, 12)
PERIOD_S = 0.02
ROWS = 64
COUNTED = 20
INERTIA = (0.01, 0.01, 0.01, 0.0, 0.0, 0.0)


def main() -> int:
    """Run the script."""
    parser = arguments(__doc__, rounds=15)
    parser.add_argument("--calls", type=int, default=400, help="calls per arm and round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = sb3_model()
    bundle = quadruped_bundle(model)
    check_equal(model, bundle)
    with tempfile.TemporaryDirectory() as folder, EventLog(Path(folder) / "log") as log:
        arms = build_arms(model, bundle, options.calls, log)
        take_turns(arms, options.rounds)
        if any(log.counts.values()):
            raise SystemExit(f"the log is not whole: {log.counts}; what it costs was not measured")
    report = summarize(arms, RATIOS, unit="call, the median of a round's calls", extra=EXTRA)
    print_table(report)
    write(report, "inference", options.output)
    return 0


EXTRA = {
    "network": "48-256-128-64-12, ELU, float32, no normalizer",
    "threads": 1,
    "onnxruntime": onnxruntime.__version__,
}
SB3, NUMPY, ONNX, C = "SB3 predict", "numpy network", "ONNX Runtime network", "C step, packed"
RATIOS = (
    Ratio(name="SB3 predict / numpy", top=SB3, bottom=NUMPY, at_least=15),
    Ratio(name="SB3 predict / ONNX Runtime", top=SB3, bottom=ONNX, at_least=20),
    Ratio(name="SB3 predict / C", top=SB3, bottom=C, at_least=40),
    Ratio(name="SB3 predict / numpy step", top=SB3, bottom="numpy step"),
    Ratio(name="SB3 predict / ONNX Runtime step", top=SB3, bottom="ONNX Runtime step"),
    Ratio(name="SB3 predict / C step", top=SB3, bottom="C step"),
    Ratio(
        name="controller cycle / numpy",
        top="controller cycle",
        bottom=NUMPY,
        at_most=5,
    ),
    Ratio(name="controller cycle, limited / numpy", top="controller cycle, limited", bottom=NUMPY),
    Ratio(name="controller cycle, logged / numpy", top="controller cycle, logged", bottom=NUMPY),
    Ratio(
        name="controller cycle / numpy step",
        top="controller cycle",
        bottom="numpy step",
        at_most=5,
    ),
)


def sb3_model() -> PPO:
    """Return an untrained PPO with the network, as SB3 builds it."""

    class Nothing(gymnasium.Env[np.ndarray, np.ndarray]):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, WIDTHS[:1], np.float32)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, WIDTHS[-1:], np.float32)

    shape = {"net_arch": list(WIDTHS[1:-1]), "activation_fn": torch.nn.ELU}
    return PPO("MlpPolicy", Nothing(), policy_kwargs=shape, seed=0, device="cpu")


def quadruped() -> Robot:
    """Return a robot with twelve position-driven joints."""
    links = [Link(name="base", mass=5.0, inertia=INERTIA)]
    joints: list[Joint] = []
    for leg, part in itertools.product(("FL", "FR", "RL", "RR"), ("hip", "thigh", "calf")):
        name = f"{leg}_{part}"
        parent = "base" if part == "hip" else links[-1].name
        links.append(Link(name=name, mass=1.0, inertia=INERTIA))
        joints.append(
            Joint(
                name=f"{name}_joint",
                kind="revolute",
                parent=parent,
                child=name,
                axis=(0.0, 1.0, 0.0),
                lower=-2.0,
                upper=2.0,
                max_velocity=30.0,
                default=0.1,
            )
        )
    actuators = tuple(
        Actuator(joint=j.name, kind="position", torque_limit=30.0, kp=20.0, kd=0.5) for j in joints
    )
    return Robot(
        name="quadruped",
        links=tuple(links),
        joints=tuple(joints),
        actuators=actuators,
        fixed_base=False,
    )


def quadruped_bundle(model: PPO) -> Bundle:
    """Return the model's actor as a policy of the quadruped, with a walking robot's observation."""
    robot = quadruped()
    joints, xyz = robot.joint_names, ("x", "y", "z")
    vectors: tuple[tuple[str, Any, str], ...] = (
        ("linear_velocity", "linear_velocity", "m/s"),
        ("angular_velocity", "angular_velocity", "rad/s"),
        ("gravity", "gravity", "1"),
    )
    signals = (
        *(
            SignalEntry(name=name, kind=kind, elements=xyz, units=(unit,) * 3, frame="base")
            for name, kind, unit in vectors
        ),
        SignalEntry(
            name="target",
            kind="command",
            elements=("vx", "vy", "wz"),
            units=("m/s", "m/s", "rad/s"),
            frame="base",
        ),
        *joint_signals(robot),
    )
    terms = (
        Term(name="v", source="linear_velocity", elements=xyz, ops=(Op("scale", (2.0,)),)),
        Term(name="w", source="angular_velocity", elements=xyz, ops=(Op("scale", (0.25,)),)),
        Term(name="gravity", source="gravity", elements=xyz),
        Term(name="target", source="target", elements=("vx", "vy", "wz")),
        Term(name="pose", source="joint_pos", elements=joints, ops=(Op("offset", (-0.1,)),)),
        Term(name="speed", source="joint_vel", elements=joints, ops=(Op("scale", (0.05,)),)),
        Term(name="last", source=LAST_ACTION, elements=joints, fill="zero"),
    )
    layers, _ = actor_chain(model.policy.state_dict(), "elu")
    spec = BundleSpec(
        name="quadruped",
        robot=robot,
        terms=terms,
        actions=tuple(ActionTerm(joint=j, scale=0.25, offset=0.1) for j in joints),
        layers=layers,
        control_period_s=PERIOD_S,
        tick_s=0.005,
        signals=signals,
        golden=nothing_recorded(signals),
        provenance=Provenance(
            algo="ppo", task="none", source_domain="none", seed=0, env_steps=0, versions={}
        ),
    )
    manifest, _ = build(spec)
    return Bundle(
        path=Path("quadruped.policy"),
        manifest=manifest,
        sha256="",
        layers=layers,
        normalizer=None,
        golden=record(manifest, layers, spec.golden),
    )


def nothing_recorded(signals: tuple[SignalEntry, ...]) -> Golden:
    """Return what a robot that stands and shakes a little measures, before any policy ran."""
    rng = np.random.default_rng(0)
    raw = {s.name: 0.05 * rng.standard_normal((ROWS, len(s.elements))) for s in signals}
    raw["gravity"] = np.tile([0.0, 0.0, -1.0], (ROWS, 1))
    raw["joint_pos"] += 0.1
    return Golden(
        signals=raw,
        observation=np.zeros((ROWS, WIDTHS[0]), dtype=np.float32),
        output=np.zeros((ROWS, WIDTHS[-1]), dtype=np.float32),
        command=np.zeros((ROWS, WIDTHS[-1])),
    )


def record(manifest: Any, layers: tuple[Layer, ...], raw: Golden) -> Golden:
    """Run the numpy runtime over the signals, so that the controller's self-test has vectors."""
    path = Path("quadruped.policy")
    empty = Bundle(
        path=path, manifest=manifest, sha256="", layers=layers, normalizer=None, golden=raw
    )
    policy = NumpyPolicy(empty)
    rows: dict[str, list[np.ndarray]] = {"observation": [], "output": [], "command": []}
    for step in range(ROWS):
        signals = {name: value[step] for name, value in raw.signals.items()}
        rows["command"].append(policy.step(signals) if step else policy.reset(signals))
        rows["observation"].append(policy.observation)
        rows["output"].append(policy.output)
    return Golden(signals=raw.signals, **{name: np.stack(row) for name, row in rows.items()})


def check_equal(model: PPO, bundle: Bundle) -> None:
    """Stop unless every arm gives the same actions and commands.

    Raises:
        SystemExit: They differ.
    """
    expected, _ = model.predict(bundle.golden.observation, deterministic=True)
    found = np.clip(bundle.golden.output, -1.0, 1.0)
    worst = [float(np.abs(expected - found).max())]
    for policy in (OnnxPolicy(bundle), CPolicy(bundle)):
        for step in range(ROWS):
            signals = {name: value[step] for name, value in bundle.golden.signals.items()}
            command = policy.step(signals) if step else policy.reset(signals)
            worst.append(float(np.abs(command - bundle.golden.command[step]).max()))
    if not max(worst) < 1e-5:
        raise SystemExit(f"the arms differ by {max(worst)}; nothing was measured")


def build_arms(model: PPO, bundle: Bundle, calls: int, log: EventLog) -> list[Arm]:
    """Build the arms, all over the same observations or signals."""
    observations = list(bundle.golden.observation)
    rows = [
        {name: value[i].copy() for name, value in bundle.golden.signals.items()}
        for i in range(ROWS)
    ]
    compiled = CPolicy(bundle)
    compiled.reset(rows[0])
    packed = [np.concatenate([row[s.name] for s in bundle.manifest.signals]) for row in rows]
    arms = [
        timed(SB3, lambda x: model.predict(x, deterministic=True), observations, calls),
        timed(NUMPY, Network(bundle.layers), observations, calls),
        timed(ONNX, onnx_network(bundle), observations, calls),
        timed(C, compiled.run_packed, packed, calls),
    ]
    runtimes: tuple[tuple[str, PolicyBase], ...] = (
        ("numpy", NumpyPolicy(bundle)),
        ("ONNX Runtime", OnnxPolicy(bundle)),
        ("C", compiled),
    )
    for name, policy in runtimes:
        policy.reset(rows[0])
        arms.append(timed(f"{name} step", policy.step, rows, calls))
    slow = dict.fromkeys(bundle.manifest.robot.actuator_names, 1e-6)
    for name, limits, record in (
        ("controller cycle", {}, None),
        ("controller cycle, limited", slow, None),
        ("controller cycle, logged", {}, log),
    ):
        robot = StandingRobot(bundle, rows)
        armed(bundle, robot, limits, record)
        arms.append(timed(name, robot.turn, rows, calls))
    return arms


def onnx_network(bundle: Bundle) -> Callable[[np.ndarray], np.ndarray]:
    """Return the network alone in ONNX Runtime, its arrays bound once."""
    session = make_session(network_model(bundle))
    x, y = (np.zeros((1, width), dtype=np.float32) for width in (WIDTHS[0], WIDTHS[-1]))
    binding = session.io_binding()
    binding.bind_ortvalue_input("observation", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output("output", onnxruntime.OrtValue.ortvalue_from_numpy(y))

    run, row = bound_run(session, binding), x[0]

    def infer(observation: np.ndarray) -> np.ndarray:
        row[:] = observation
        run()
        return y

    return infer


class StandingRobot:
    """Give prepared measurements on a clock that moves by one period per cycle."""

    def __init__(self, bundle: Bundle, rows: list[dict[str, np.ndarray]]) -> None:
        """Take the measurements."""
        declared = {
            s.name: {
                "kind": s.kind,
                "elements": list(s.elements),
                "units": list(s.units),
                "frame": s.frame,
            }
            for s in bundle.manifest.signals
        }
        self.interface: Mapping[str, Any] = {**quadruped().interface, "signals": declared}
        self.time_s, self._rows, self._count = 0.0, rows, 0

    def read(self) -> Signals:
        """Return the next measurement."""
        self._count += 1
        values = self._rows[self._count % ROWS]
        return Signals(time_s=self.time_s, values=values, seq=self._count)

    def write(self, command: Command) -> None:
        """Take a command."""

    def obey(self, controller: Controller) -> None:
        """Take the controller whose cycles are run."""
        self._controller = controller

    def turn(self, _: object = None) -> None:
        """Let one period pass, and run one cycle."""
        self.time_s += PERIOD_S
        self._controller.cycle()


def armed(
    bundle: Bundle, robot: StandingRobot, limits: dict[str, float], log: EventLog | None
) -> Controller:
    """Return a controller that commands the robot with the numpy runtime."""
    controller = Controller(
        bundle,
        robot,
        settings=ControlSettings.of(bundle.manifest, rate_limit=limits),
        clock=lambda: robot.time_s,
        without_watchdog=True,
        dead_man=None if log is None else lambda: robot.time_s,
        log=log,
    )
    robot.obey(controller)
    controller.arm()
    for _ in range(COUNTED):
        robot.turn()
    held_back = controller.counts["rate limit"]
    if controller.state.name != "RUN" or held_back != (COUNTED if limits else 0):
        raise SystemExit(
            f"the controller is in {controller.state}, {controller.fault}, with {held_back} of "
            f"{COUNTED} commands held back; nothing was measured"
        )
    return controller


def timed(name: str, call: Callable[[Any], Any], rows: list[Any], calls: int) -> Arm:
    """Return an arm whose round is the median of so many calls."""
    arm = Arm(name, lambda: 1.0)

    def run() -> float:
        clock, spent = time.perf_counter_ns, []
        start = clock()
        for i in range(calls):
            row = rows[i % ROWS]
            begin = clock()
            call(row)
            spent.append(clock() - begin)
        # The harness divides its own time by what is returned: this makes the quotient the median.
        return (clock() - start) / statistics.median(spent)

    arm.run = run
    return arm


if __name__ == "__main__":
    sys.exit(main())

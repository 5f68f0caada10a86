"""What does not fit is refused before anything is sent: field, expected, found."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.core.observation import Op, Term
from simreal.core.robot import Robot
from simreal.deploy import (
    Bundle,
    BundleSpec,
    Controller,
    NumpyPolicy,
    Signals,
    joint_signals,
    load,
    write_bundle,
)
from simreal.deploy.attitude import Attitude
from simreal.deploy.binding import signal_differences
from simreal.deploy.contents import Golden
from simreal.deploy.manifest import SignalEntry
from simreal.deploy.settings import ControlSettings
from simreal.deploy.spec import build
from simreal.errors import ArmError, BundleError
from tests.deploy.conftest import Editor, make_layers
from tests.deploy.fake_robot import FakeRobot, changed, make_controller

GRAVITY = SignalEntry(
    name="gravity", kind="gravity", elements=("x", "y", "z"), units=("1",) * 3, frame="base"
)
ATTITUDE = SignalEntry(
    name="attitude",
    kind="quaternion",
    elements=("w", "x", "y", "z"),
    units=("1",) * 4,
    frame="base",
)
GYRO = SignalEntry(
    name="gyro",
    kind="angular_velocity",
    elements=("x", "y", "z"),
    units=("rad/s",) * 3,
    frame="imu",
)
VECTORS = (GRAVITY, ATTITUDE, GYRO)
DECLARED = {
    s.name: {"kind": s.kind, "elements": s.elements, "units": s.units, "frame": s.frame}
    for s in VECTORS
}


@pytest.fixture(scope="module")
def bundle(written: Path) -> Bundle:
    return load(written)


@pytest.fixture(scope="module")
def body_bundle(
    make_spec: Callable[..., BundleSpec], robot: Robot, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """A policy that also reads how a body lies and turns."""
    terms = tuple(Term(name=s.name, source=s.name, elements=s.elements) for s in VECTORS)
    terms = (*terms, Term(name="pos", source="joint_pos", elements=("elbow",), ops=(Op("sin"),)))
    rng = np.random.default_rng(0)
    signals = {s.name: rng.standard_normal((64, len(s.elements))) for s in VECTORS}
    for name in (GRAVITY.name, ATTITUDE.name):  # directions, which a bundle wants of length 1
        signals[name] /= np.linalg.norm(signals[name], axis=1, keepdims=True)
    signals |= {name: rng.standard_normal((64, 3)) for name in ("joint_pos", "joint_vel")}
    rows = [signals[s.name] for s in VECTORS] + [np.sin(signals["joint_pos"][:, 2:])]
    observation = np.hstack(rows).astype(np.float32)
    layers = make_layers((11, 2), "tanh")
    output = observation @ layers[0].weight.T + layers[0].bias
    shoulder, elbow = np.clip(output, -1, 1).T.astype(np.float64)
    golden = Golden(
        signals=signals,
        observation=observation,
        output=output,
        command=np.stack([6.0 * elbow, 0.5 * shoulder + 0.25], axis=1),
    )
    path = tmp_path_factory.mktemp("body") / "body.policy"
    return load(
        write_bundle(
            path,
            dataclasses.replace(
                make_spec(),
                terms=terms,
                layers=layers,
                normalizer=None,
                signals=(*joint_signals(robot), *VECTORS),
                golden=golden,
                tilt_max_rad=1.0,
            ),
        )
    )


class BodyRobot(FakeRobot):
    """The arm on a body that stands upright and still."""

    def __init__(self, robot: Robot) -> None:
        super().__init__(robot)
        self.interface["signals"] = {k: dict(v) for k, v in DECLARED.items()}
        self.body = {
            "gravity": np.array([0.0, 0.0, -1.0]),
            "attitude": np.array([1.0, 0.0, 0.0, 0.0]),
            "gyro": np.zeros(3),
        }

    def read(self) -> Signals:
        plain = super().read()
        return dataclasses.replace(plain, values={**plain.values, **self.body})


@pytest.fixture
def fake(robot: Robot) -> FakeRobot:
    return FakeRobot(robot)


@pytest.fixture
def body(robot: Robot) -> BodyRobot:
    return BodyRobot(robot)


def _refusal(controller: Controller) -> str:
    with pytest.raises(ArmError) as caught:
        controller.arm()
    assert controller.robot.written == []  # type: ignore[attr-defined]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_body_that_fits_is_armed(body_bundle: Bundle, body: BodyRobot) -> None:
    controller = make_controller(body_bundle, body)
    controller.arm()
    assert controller.run(0.1).fault is None


def test_degrees_that_are_declared(bundle: Bundle, fake: FakeRobot) -> None:
    fake.interface["units"]["angle"] = "deg"
    message = _refusal(make_controller(bundle, fake))
    assert "unit of angle: expected 'rad', found 'deg'" in message


def test_degrees_that_are_not_declared(bundle: Bundle, fake: FakeRobot) -> None:
    """0.1 rad are 5.7 degrees: a joint that goes to 3 rad cannot stand there."""
    fake.sense = lambda s: changed(s, lambda v: v["joint_pos"].__imul__(180.0 / np.pi))
    message = _refusal(make_controller(bundle, fake))
    assert "position of joint 'shoulder': expected -3 to 3, found 5.72958" in message


def test_degrees_near_the_default_pose(bundle: Bundle, fake: FakeRobot) -> None:
    fake.pos[0] = 0.02
    fake.sense = lambda s: changed(s, lambda v: v["joint_pos"].__imul__(180.0 / np.pi))
    controller = make_controller(bundle, fake, changes={"start_pose_max_error": 0.3})
    message = _refusal(controller)
    assert "start position of joint 'shoulder': expected 0.25 within 0.3, found 1.14592" in message


def test_gravity_as_an_acceleration(body_bundle: Bundle, body: BodyRobot) -> None:
    body.body["gravity"] *= 9.81
    message = _refusal(make_controller(body_bundle, body))
    assert "length of signal 'gravity': expected 1 within 0.1, found 9.81" in message


@pytest.mark.parametrize(
    ("signal", "key", "value", "message"),
    [
        (
            "attitude",
            "elements",
            ["x", "y", "z", "w"],
            "elements of signal 'attitude': expected ['w', 'x', 'y', 'z'], found ['x', 'y', 'z', "
            "'w']",
        ),
        ("gyro", "frame", "world", "frame of signal 'gyro': expected 'imu', found 'world'"),
        (
            "gyro",
            "units",
            ["deg/s"] * 3,
            "units of signal 'gyro': expected ['rad/s', 'rad/s', 'rad/s'], found ['deg/s', ",
        ),
        (
            "gravity",
            "kind",
            "linear_acceleration",
            "kind of signal 'gravity': expected 'gravity', found 'linear_acceleration'",
        ),
    ],
)
def test_a_signal_that_is_declared_otherwise(
    signal: str, key: str, value: Any, message: str, body_bundle: Bundle, body: BodyRobot
) -> None:
    body.interface["signals"][signal][key] = value
    assert message in _refusal(make_controller(body_bundle, body))


def test_a_vector_that_is_not_declared(body_bundle: Bundle, body: BodyRobot) -> None:
    del body.interface["signals"]["attitude"]
    message = _refusal(make_controller(body_bundle, body))
    assert "signal 'attitude': expected a declaration of its kind, elements, units" in message
    body.interface["signals"] = 5
    assert "signals: expected a table by name, found" in _refusal(
        make_controller(body_bundle, body)
    )
    body.interface["signals"] = {"attitude": "wxyz"}
    assert "signal 'attitude': expected a table, found 'wxyz'" in _refusal(
        make_controller(body_bundle, body)
    )


def test_joint_signals_need_no_declaration(bundle: Bundle, robot: Robot) -> None:
    assert signal_differences(bundle.manifest, robot.interface) == []
    wrong = {"joint_vel": {"kind": "joint_velocity", "units": ["rpm", "m/s", "rpm"]}}
    assert signal_differences(bundle.manifest, {"signals": wrong}) == [
        "units of signal 'joint_vel': expected ['rad/s', 'm/s', 'rad/s'], found ['rpm', 'm/s', "
        "'rpm']"
    ]


def test_a_body_that_turns_at_the_start(body_bundle: Bundle, body: BodyRobot) -> None:
    """Degrees per second of a body at rest that trembles a little."""
    body.body["gyro"] = np.array([0.0, 2.0, 0.0])
    message = _refusal(make_controller(body_bundle, body))
    assert "signal 'gyro' at the start: expected at most 1 rad/s, found 2" in message


@pytest.mark.parametrize("angle", [0.5, 0.9, 1.1, 2.0, 3.1])
@pytest.mark.parametrize("axis", [0, 1])
def test_tilt_stops_and_yaw_does_not(
    angle: float, axis: int, body_bundle: Bundle, body: BodyRobot
) -> None:
    manifest = body_bundle.manifest
    elements = {s.name: s.elements for s in manifest.signals}
    attitude = Attitude(manifest, ControlSettings.of(manifest), elements)
    body.body["attitude"] = np.array([np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)])
    assert attitude.problem(body.body) is None  # yaw, through +-pi
    tilted = np.array([np.cos(angle / 2), 0.0, 0.0, 0.0])
    tilted[1 + axis] = np.sin(angle / 2)
    problem = attitude.problem({**body.body, "attitude": tilted})
    expected = f"tilt by signal 'attitude': expected at most 1 rad, found {angle:.4g} rad"
    assert problem == (expected if angle > 1.0 else None)
    lying = np.array([0.0, 0.0, -np.cos(angle)])
    lying[axis] = np.sin(angle)
    problem = attitude.problem({**body.body, "gravity": lying})
    assert problem == (expected.replace("attitude", "gravity") if angle > 1.0 else None)


def test_a_robot_that_falls_over_is_stopped(body_bundle: Bundle, body: BodyRobot) -> None:
    controller = make_controller(body_bundle, body)
    controller.arm()
    controller.cycle()
    body.body["attitude"] = np.array([0.8, 0.6, 0.0, 0.0])
    body.sleep(0.002)
    controller.cycle()
    assert controller.fault is not None
    assert controller.fault.startswith(
        "tilt by signal 'attitude': expected at most 1 rad, found 1.2"
    )


def test_the_operators_commands_are_clipped_to_what_was_trained(
    make_spec: Callable[..., BundleSpec], robot: Robot
) -> None:
    from simreal.deploy.intake import SignalIntake

    wish = SignalEntry(
        name="wish",
        kind="command",
        elements=("vx", "wz"),
        units=("m/s", "rad/s"),
        range=((-1.0, 1.0), (-0.5, 2.0)),
    )
    manifest = build(make_spec(signals=(*joint_signals(robot), wish)))[0]
    elements = {**{s.name: s.elements for s in manifest.signals}, "wish": ("wz", "vx")}
    intake = SignalIntake(manifest, elements, ControlSettings.of(manifest))
    values = {"joint_pos": np.zeros(3), "joint_vel": np.zeros(3), "wish": np.array([-3.0, 3.0])}
    assert intake.take(Signals(1.0, values), 1.0) is None
    assert intake.values["wish"].tolist() == [-0.5, 1.0]
    assert intake.counts["commands clipped"] == 1
    values["wish"] = np.array([np.nan, 0.0])
    problem = intake.take(Signals(1.01, values), 1.01)
    assert problem == "signal 'wish' of 'wz': expected a number, found nan"


def test_a_wrong_rate(bundle: Bundle, fake: FakeRobot) -> None:
    message = _refusal(make_controller(bundle, fake, period_s=0.0022))
    assert "control period: expected 0.002 s, found 0.0022 s" in message


def test_a_period_that_the_policy_was_not_trained_at(bundle: Bundle, fake: FakeRobot) -> None:
    message = _refusal(make_controller(bundle, fake, changes={"period_s": 0.02}))
    assert "period_s of the settings: expected 0.01 s, at which the policy was trained" in message
    assert "found 0.02 s" in message


def test_steps_are_timed_wherever_time_is_real(bundle: Bundle, fake: FakeRobot) -> None:
    """Also where whoever deploys states settings of his own."""
    settings = ControlSettings.of(bundle.manifest, actuator_multiple=5)
    live = Controller(bundle, fake, settings=settings, without_watchdog=True)
    assert live.settings.probe_steps == 1000
    assert make_controller(bundle, fake).settings.probe_steps == 0
    stated = ControlSettings.of(bundle.manifest, probe_steps=0)
    assert Controller(bundle, fake, settings=stated).settings.probe_steps == 0


def test_a_joint_that_moves_too_fast_to_begin(bundle: Bundle, fake: FakeRobot) -> None:
    fake.vel[2] = 16.0
    message = _refusal(make_controller(bundle, fake))
    assert "start velocity of joint 'elbow': expected at most 15, found 16" in message


def test_160_for_154_observations(edit: Editor) -> None:
    edit.manifest(lambda m: m["observation"].update(dim=160))
    with pytest.raises(BundleError, match=r"observation\.dim: expected 13, .* found 160"):
        load(edit.path)


def test_160_for_3_signals(bundle: Bundle, fake: FakeRobot) -> None:
    fake.sense = lambda s: changed(s, lambda v: v.update(joint_pos=np.zeros(160)))
    message = _refusal(make_controller(bundle, fake))
    assert "signal 'joint_pos': expected 3 numbers, found shape (160,)" in message


def test_a_missing_normalizer(edit: Editor) -> None:
    edit.tensors("weights.safetensors", lambda t: t.pop("normalizer.mean"))
    with pytest.raises(BundleError, match=r"normalizer\.mean"):
        load(edit.path)


def test_a_wrong_interface_hash(edit: Editor) -> None:
    edit.manifest(lambda m: m["robot"].update(interface_sha256="0" * 64))
    with pytest.raises(BundleError, match=r"robot\.interface_sha256: .* found 000000"):
        load(edit.path)


def test_a_loop_that_the_host_would_have_to_close(bundle: Bundle, fake: FakeRobot) -> None:
    actuators = tuple(
        dataclasses.replace(a, loop="host") if a.kind == "position" else a
        for a in bundle.manifest.robot.actuators
    )
    robot = dataclasses.replace(bundle.manifest.robot, actuators=actuators)
    manifest = dataclasses.replace(bundle.manifest, robot=robot)
    message = _refusal(make_controller(dataclasses.replace(bundle, manifest=manifest), fake))
    assert "loop of actuator 'shoulder': expected 'motor', found 'host'" in message


def test_a_policy_that_is_too_slow_here(
    bundle: Bundle, fake: FakeRobot, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10_000))
    monkeypatch.setattr("simreal.deploy.arming.time.perf_counter", lambda: 0.004 * next(ticks))
    controller = make_controller(bundle, fake, changes={"probe_steps": 20, "deadline_s": 0.004})
    message = _refusal(controller)
    assert "time of a policy step: expected less than 4 ms in 99.9% of 20 steps, found 4" in message
    make_controller(bundle, fake, changes={"probe_steps": 20, "deadline_s": 0.0041}).arm()


def test_a_runtime_of_another_bundle(bundle: Bundle, body_bundle: Bundle, fake: FakeRobot) -> None:
    with pytest.raises(ArmError, match="runtime: expected one of the bundle 'arm-test', found one"):
        make_controller(bundle, fake, policy=NumpyPolicy(body_bundle))


def test_a_runtime_that_answers_otherwise(bundle: Bundle, fake: FakeRobot) -> None:
    """The runtime that will run is the one that is tested."""
    policy = NumpyPolicy(bundle)
    policy._network.rows[-1][-1, 0] += 0.01
    message = _refusal(make_controller(bundle, fake, policy=policy))
    assert "golden replay, output at step 0, action[shoulder]: expected" in message


def test_no_watchdog_must_be_said(bundle: Bundle, fake: FakeRobot) -> None:
    message = _refusal(make_controller(bundle, fake, without_watchdog=False))
    assert "watchdog: expected a running one, found none" in message


def test_the_manifest_decides_what_it_states(make_spec: Callable[..., BundleSpec]) -> None:
    spec = make_spec(
        hold="linear",
        deadline_s=0.004,
        max_consecutive_overruns=5,
        rate_tolerance=0.02,
        stale_hold_steps=1,
        start_pose_max_error=0.4,
        blend_in_s=0.7,
        torque_rate_max={"elbow": 50.0},
    )
    settings = ControlSettings.of(build(spec)[0], actuator_multiple=2)
    assert settings.interpolation == "linear"
    assert (settings.tick_s, settings.deadline) == (0.005, 0.004)
    assert (settings.max_consecutive_overruns, settings.rate_tolerance) == (5, 0.02)
    assert (settings.max_stale_periods, settings.start_pose_max_error) == (1, 0.4)
    assert (settings.blend_in_s, settings.rate_limit) == (0.7, {"elbow": 50.0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overun": "skip"}, r"unknown control setting 'overun'. Did you mean 'overrun'\?"),
        ({"overrun": "skp"}, r"unknown overrun 'skp'"),
        ({"actuator_multiple": 2.5}, "actuator_multiple: got 2.5; a whole number"),
        ({"actuator_multiple": 0}, "actuator_multiple: got 0; a whole number"),
        ({"soft_limit": 1.1}, "soft_limit: got 1.1; at most 1"),
        ({"velocity_barrier": 1.0}, "velocity_barrier: got 1.0; less than 1"),
        ({"barrier_share": 0.0}, "barrier_share: got 0.0; more than 0"),
        ({"max_consecutive_overruns": 0}, "max_consecutive_overruns: got 0; more than 0"),
        ({"blend_in_s": -1.0}, "blend_in_s: got -1.0; 0 or more"),
        ({"start_pose_max_error": float("nan")}, "start_pose_max_error: got nan; 0 or more"),
        ({"rate_limit": {"elbow": -5.0}}, "rate_limit of joint 'elbow': got -5.0; more than 0"),
        ({"rate_limit": {"elbw": 5.0}}, r"joint in rate_limit 'elbw'. Did you mean 'elbow'\?"),
        ({"acceleration_limit": {"slider": 5.0}}, "joint in acceleration_limit 'slider'"),
        ({"rate_tolerance": 0.0}, "rate_tolerance: got 0.0; more than 0"),
    ],
)
def test_settings_that_make_no_sense(changes: Any, message: str, bundle: Bundle) -> None:
    with pytest.raises(Exception, match=message):
        ControlSettings.of(bundle.manifest, **changes)

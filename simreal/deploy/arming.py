"""Decide whether a policy may command a robot: every line must hold, or nothing is sent.

Each problem names a field, what was expected and what was found; all of them are told at once.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from simreal.deploy.binding import interface_differences, signal_differences
from simreal.deploy.bundle import Bundle
from simreal.deploy.check import replay
from simreal.deploy.intake import SignalIntake
from simreal.deploy.manifest import Manifest
from simreal.deploy.policy import Policy, PolicyBase
from simreal.deploy.settings import ControlSettings
from simreal.errors import BundleError

_PROBE_WARM = 50
_PROBE_SHARE = 0.999


def robot_problems(
    manifest: Manifest,
    settings: ControlSettings,
    interface: Mapping[str, Any],
    robot_period_s: float | None,
) -> list[str]:
    """Return where robot and policy disagree: names, order, axes, limits, units, rate.

    Args:
        manifest: The manifest.
        settings: Tolerances.
        interface: Interface of the robot, in the form of `simreal.core.robot.Robot.interface`.
        robot_period_s: Period at which the robot expects commands, if it has one [s].
    """
    problems = interface_differences(manifest.robot, interface)
    problems += signal_differences(manifest, interface)
    problems += [
        f"loop of actuator '{a.joint}': expected 'motor', found '{a.loop}', which this controller "
        "does not close"
        for a in manifest.robot.actuators
        if a.loop != "motor"
    ]
    trained_s = manifest.timing.control_period_s
    if not math.isclose(settings.period_s, trained_s, rel_tol=1e-6):
        problems.append(
            f"period_s of the settings: expected {trained_s} s, at which the policy was trained, "
            f"found {settings.period_s} s"
        )
    expected = settings.tick_s
    if robot_period_s is not None and not math.isclose(robot_period_s, expected, rel_tol=1e-6):
        problems.append(f"control period: expected {expected} s, found {robot_period_s} s")
    return problems


def self_test_problems(bundle: Bundle, policy: Policy) -> list[str]:
    """Return where the golden answers are not given on this machine, by the runtime that will run.

    Args:
        bundle: The policy.
        policy: The runtime; it has to be bound afterwards.
    """
    try:
        replay(bundle, policy if isinstance(policy, PolicyBase) else None)
    except BundleError as error:
        return [str(error)]
    return []


def timing_problems(policy: Policy, bundle: Bundle, settings: ControlSettings) -> list[str]:
    """Return whether a step of the policy takes too long here; it has to be bound afterwards.

    Args:
        policy: The runtime.
        bundle: Its bundle, whose golden signals are given to it.
        settings: Number of steps, deadline.
    """
    steps = settings.probe_steps or 0
    if steps < 1:
        return []
    manifest, recorded = bundle.manifest, bundle.golden.signals
    policy.bind(manifest.robot.joint_names)
    golden = [
        {name: values[step] for name, values in recorded.items()}
        for step in range(manifest.golden.steps)
    ]
    policy.reset(golden[0])
    took = np.empty(steps)
    for i in range(-_PROBE_WARM, steps):
        signals = golden[i % len(golden)]
        begin = time.perf_counter()
        policy.step(signals)
        if i >= 0:
            took[i] = time.perf_counter() - begin
    worst = float(np.quantile(took, _PROBE_SHARE))
    deadline = settings.period_s if settings.deadline_s is None else settings.deadline_s
    if worst < deadline:
        return []
    return [
        f"time of a policy step: expected less than {deadline * 1e3:.3g} ms in "
        f"{_PROBE_SHARE:.1%} of {steps} steps, found {worst * 1e3:.3g} ms"
    ]


def start_problems(
    manifest: Manifest, settings: ControlSettings, intake: SignalIntake
) -> list[str]:
    """Return why the first measurement is no state to begin in: pose, speed.

    Args:
        manifest: The manifest.
        settings: Tolerances.
        intake: Holds the measurement.
    """
    joints = {joint.name: joint for joint in manifest.robot.joints}
    problems = []
    for name, value in zip(intake.pos.names, intake.pos.value.tolist(), strict=True):
        most, default = settings.start_pose_max_error, joints[name].default
        if most is not None and not abs(value - default) <= most:
            problems.append(
                f"start position of joint '{name}': expected {default:g} within {most:g}, found "
                f"{value:g}"
            )
    for name, value in zip(intake.vel.names, intake.vel.value.tolist(), strict=True):
        most = settings.start_max_velocity * manifest.safety.joint_velocity_max[name]
        if not abs(value) <= most:
            problems.append(
                f"start velocity of joint '{name}': expected at most {most:g}, found {value:g}"
            )
    for signal in manifest.signals:
        if signal.kind == "angular_velocity":
            fastest = float(np.abs(intake.values[signal.name]).max())
            if not fastest <= settings.start_max_turn:
                problems.append(
                    f"signal '{signal.name}' at the start: expected at most "
                    f"{settings.start_max_turn:g} rad/s, found {fastest:g}"
                )
    return problems

"""Bring manifests of earlier schemas to the present one, version by version.

A migration adds what the newer schema states and the older one left to the controller, with the
value that the controllers of that time used. It never guesses at content: what cannot be derived
from the manifest itself is a reason for a new major version.
"""

import copy
from collections.abc import Callable
from typing import Any

from simreal.deploy.decode import describe, expect, mismatch

Migration = Callable[[dict[str, Any]], None]


def upgrade(content: dict[str, Any], version: str) -> dict[str, Any]:
    """Return a manifest in a newer schema.

    Args:
        content: Parsed JSON with a `schema_version`; it is left as it is.
        version: The schema to reach.

    Raises:
        BundleError: There is no way from its schema to that one, or it is not of its own schema.
    """
    if content["schema_version"] == version:
        return content
    made = copy.deepcopy(content)
    while made["schema_version"] != version:
        found = made["schema_version"]
        if found not in MIGRATIONS:
            known = ", ".join([*MIGRATIONS, version])
            raise mismatch("schema_version", f"one of {known}", describe(found))
        following, migrate = MIGRATIONS[found]
        try:
            migrate(made)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            detail = f"a manifest that is not ({type(error).__name__} at {describe(str(error))})"
            raise mismatch("manifest", f"one of schema {found}", detail) from None
        made["schema_version"] = following
    return made


def _from_1_0(content: dict[str, Any]) -> None:
    """Add what schema 1.1 states: rates, ranges, frames, recurrent layers, later episodes."""
    _add(content, "manifest", license=None)
    robot, period = content["robot"], content["timing"]["control_period_s"]
    for actuator in robot["actuators"]:
        _add(actuator, "robot.actuators", torque_rate_limit=None, loop="motor")
    _add(
        content["timing"],
        "timing",
        rate_tolerance=0.05,
        deadline_s=period,
        max_consecutive_overruns=3,
    )
    for signal in content["signals"]:
        _add(signal, "signals", frame=None, range=None, max_age_s=None)
    for term in content["observation"]["terms"]:
        _add(term, "observation.terms", stride=1, order="oldest_first")
    _add(content["network"], "network", recurrent=None, onnx=None)
    _add(content["action"], "action", hold="zero_order")
    _add(content["golden"], "golden", resets=[0])
    _add(content["provenance"], "provenance", randomization={})
    measured = {
        joint
        for signal in content["signals"]
        if signal["kind"] == "joint_position"
        for joint in signal["elements"]
    }
    limits = content["safety"]["torque_limit"]
    expect(period > 0, "timing.control_period_s", "more than 0", period)
    _add(
        content["safety"],
        "safety",
        torque_rate_max={
            a["joint"]: 2 * limits[a["joint"]] / period
            for a in robot["actuators"]
            if a["kind"] == "torque"
        },
        joint_position={
            joint["name"]: [joint["lower"], joint["upper"]]
            for joint in robot["joints"]
            if joint["name"] in measured and None not in (joint["lower"], joint["upper"])
        },
        start_pose_max_error=None,
        blend_in_s=0.0,
        tilt_max_rad=None,
        stale_hold_steps=0,
        requires_human_arm=True,
    )


def _add(record: dict[str, Any], field: str, **values: Any) -> None:
    """Add fields that the older schema does not have."""
    for key, value in values.items():
        if key in record:
            raise mismatch(field, "only the keys of the schema", f"the unknown key {describe(key)}")
        record[key] = value


MIGRATIONS: dict[str, tuple[str, Migration]] = {"1.0": ("1.1", _from_1_0)}
"""Schema to the next one, and the way to it."""

"""What a controller enforces, beside the limits of the robot: rates, patience, and margins.

Every number has a default that is on. A manifest states what it knows better; whoever deploys may
state more by hand, and what was chosen stands in the event log.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from simreal.deploy.manifest import Manifest
from simreal.errors import ConfigError, unknown_name

Overrun = Literal["skip", "stop", "late"]
Interpolation = Literal["none", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """Hold the settings of a controller.

    Attributes:
        period_s: Control period of the policy [s].
        actuator_multiple: Commands that are sent per period of the policy.
        interpolation: How a command goes from one answer of the policy to the next: `none` holds
            it, `linear` reaches it within one period.
        overrun: What a late cycle leads to: `skip` gives up the periods that were missed, `stop`
            stops at the first one, `late` makes up for them back to back.
        deadline_s: Longest time from waking up to the sent command [s], at most the time between
            two commands, which None stands for.
        max_consecutive_overruns: Late periods of the policy in a row from which the controller
            stops.
        rate_tolerance: Largest relative error of the measured rate.
        rate_window: Cycles over which the rate is measured.
        max_gap_periods: Periods of the policy without a cycle after which it does not go on.
        max_stale_periods: Periods for which the last command is held while signals are too old.
        frozen_periods: Periods of identical new samples that are taken for a frozen sensor.
        jump_factor: Speed implied by two positions, as a multiple of the largest allowed one, that
            is taken for an encoder jump.
        jump_slack: Change of position that is never taken for one [rad or m].
        limit_margin: Distance beyond its limits at which a joint stops the controller [rad or m].
        start_pose_max_error: Largest distance from the default pose at arming [rad or m]; None
            accepts any pose within the limits.
        start_max_velocity: Largest speed at arming, as a share of the largest allowed one.
        start_max_turn: Largest angular velocity of a body at arming [rad/s].
        unit_tolerance: Largest error of the length of a quaternion or of a gravity direction.
        blend_in_s: Time over which the policy takes over from holding [s].
        soft_limit: Share of a joint's range that commands stay within.
        barrier_share: Share of the range, next to its ends, in which torque towards the end fades.
        barrier_horizon_periods: How far ahead the barrier looks, in periods of the policy.
        velocity_barrier: Share of the largest allowed speed from which torque that raises it is
            taken away; all of it is reversed at the largest speed.
        rate_limit: Largest change of a command, by joint [Nm/s, rad/s or m/s]; where absent the
            joint's largest speed, for other commands the whole range within a period.
        acceleration_limit: Largest change of that rate, by joint; unlimited where absent.
        dead_man_timeout_s: Age from which the operator counts as gone [s].
        probe_steps: Policy steps that are timed before arming; 0 for none, None for 1000 where time
            is real and none where it is simulated.
    """

    period_s: float
    actuator_multiple: int = 1
    interpolation: Interpolation = "none"
    overrun: Overrun = "skip"
    deadline_s: float | None = None
    max_consecutive_overruns: int = 3
    rate_tolerance: float = 0.05
    rate_window: int = 50
    max_gap_periods: float = 5.0
    max_stale_periods: int = 2
    frozen_periods: int = 5
    jump_factor: float = 2.0
    jump_slack: float = 0.05
    limit_margin: float = 0.1
    start_pose_max_error: float | None = None
    start_max_velocity: float = 0.5
    start_max_turn: float = 1.0
    unit_tolerance: float = 0.1
    blend_in_s: float = 0.0
    soft_limit: float = 0.95
    barrier_share: float = 0.05
    barrier_horizon_periods: float = 3.0
    velocity_barrier: float = 0.8
    rate_limit: dict[str, float] = field(default_factory=dict)
    acceleration_limit: dict[str, float] = field(default_factory=dict)
    dead_man_timeout_s: float = 0.5
    probe_steps: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: A number is out of bounds or a word is unknown.
        """
        for key, known in (("overrun", ("skip", "stop", "late")), ("interpolation", _SHAPES)):
            if getattr(self, key) not in known:
                raise unknown_name(key, getattr(self, key), known)
        if self.actuator_multiple < 1 or int(self.actuator_multiple) != self.actuator_multiple:
            raise ConfigError(
                f"actuator_multiple: got {self.actuator_multiple}; a whole number of commands per "
                "period of the policy is needed"
            )
        for key in _POSITIVE:
            _expect(key, getattr(self, key), lambda value: value > 0, "more than 0")
        for key in _NOT_NEGATIVE:
            _expect(key, getattr(self, key), lambda value: value >= 0, "0 or more")
        for key in ("soft_limit", "start_max_velocity"):
            _expect(key, getattr(self, key), lambda value: value <= 1, "at most 1")
        _expect("velocity_barrier", self.velocity_barrier, lambda value: value < 1, "less than 1")
        for key in ("rate_limit", "acceleration_limit"):
            for joint, value in getattr(self, key).items():
                _expect(f"{key} of joint '{joint}'", value, lambda v: v > 0, "more than 0")

    @property
    def tick_s(self) -> float:
        """Return the time between two commands [s]."""
        return self.period_s / self.actuator_multiple

    @property
    def deadline(self) -> float:
        """Return the longest time from waking up to the sent command [s]."""
        return self.tick_s if self.deadline_s is None else min(self.deadline_s, self.tick_s)

    @staticmethod
    def of(manifest: Manifest, **changes: Any) -> "ControlSettings":
        """Return the settings of a policy.

        Args:
            manifest: The manifest.
            **changes: Fields that are stated by hand.

        Raises:
            ConfigError: A field is unknown, or its value out of bounds.
        """
        for name in changes:
            if name not in {f.name for f in fields(ControlSettings)}:
                known = [f.name for f in fields(ControlSettings)]
                raise unknown_name("control setting", name, known)
        driven = manifest.robot.actuator_names
        for key in ("rate_limit", "acceleration_limit"):
            for joint in changes.get(key, {}):
                if joint not in driven:
                    raise unknown_name(f"joint in {key}", joint, driven)
        timing, safety = manifest.timing, manifest.safety
        settings = ControlSettings(
            period_s=timing.control_period_s,
            interpolation="linear" if manifest.action.hold == "linear" else "none",
            deadline_s=timing.deadline_s,
            max_consecutive_overruns=timing.max_consecutive_overruns,
            rate_tolerance=timing.rate_tolerance,
            max_stale_periods=safety.stale_hold_steps,
            start_pose_max_error=safety.start_pose_max_error,
            blend_in_s=safety.blend_in_s,
            rate_limit=dict(safety.torque_rate_max),
        )
        return replace(settings, **changes)


_SHAPES = ("none", "linear")
_POSITIVE = (
    "period_s",
    "deadline_s",
    "max_consecutive_overruns",
    "rate_tolerance",
    "rate_window",
    "max_gap_periods",
    "frozen_periods",
    "jump_factor",
    "unit_tolerance",
    "soft_limit",
    "barrier_share",
    "velocity_barrier",
    "dead_man_timeout_s",
)
_NOT_NEGATIVE = (
    "max_stale_periods",
    "jump_slack",
    "limit_margin",
    "start_pose_max_error",
    "start_max_velocity",
    "start_max_turn",
    "blend_in_s",
    "barrier_horizon_periods",
    "probe_steps",
)


def _expect(key: str, value: Any, holds: Callable[[Any], bool], words: str) -> None:
    """Refuse a number out of bounds; None, where it is allowed, is none."""
    if value is not None and not holds(value):
        raise ConfigError(f"{key}: got {value}; {words} is needed")

"""`simreal control`: run a policy on a robot that is reached over a transport.

It needs numpy and safetensors alone, since it runs where the robot is.
"""

import dataclasses
import json
import math
import sys
import time
import types
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from simreal.apps.interrupts import until_interrupted
from simreal.apps.result import check_output, give
from simreal.deploy import Bundle, Controller, EventLog, LoopReport, NumpyPolicy, load_bundle
from simreal.deploy.policy import Policy
from simreal.deploy.realtime import RealTime
from simreal.deploy.settings import ControlSettings
from simreal.deploy.transports import RobotClient
from simreal.deploy.transports.links import controller_link, read_key
from simreal.deploy.transports.tripwire import TripWire
from simreal.deploy.watchdog import Watchdog
from simreal.errors import ConfigError, unknown_name
from simreal.paths import find_bundle

RUNTIMES = ("numpy", "onnx", "c")
_LOOK_SHARE = 0.75  # of the limit: the rest is for looking, sending and receiving


@dataclass(frozen=True, kw_only=True)
class ControlOptions:
    """Hold the settings of `simreal control`.

    Attributes:
        policy: A bundle, or the name of a shipped policy.
        transport: `udp` or `zenoh`.
        host: The robot's address.
        port: Its port.
        key_file: File with a key that the robot shares.
        duration: How long [s].
        runtime: `numpy`, `onnx` or `c`.
        priority: `SCHED_FIFO` priority, 1 to 99; ordinary scheduling if None.
        patience: Late cycles in a row from which it stops.
        limit: Silence after which the joints are to be damped [s]; two periods under real-time
            scheduling, at least 10 ms without, if None.
        tolerance: Largest relative error of the measured rate; the default if None.
        watchdog: Whether another process watches this one.
        output: File for the report; it is printed in any case.
        log: File for every event and step, which `simreal replay` shows; it must not exist.
    """

    policy: str
    transport: str = "udp"
    host: str = "127.0.0.1"
    port: int = 47800
    key_file: str | None = None
    duration: float = 60.0
    runtime: str = "numpy"
    priority: int | None = None
    patience: int = 3
    limit: float | None = None
    tolerance: float | None = None
    watchdog: bool = True
    output: str | None = None
    log: str | None = None


def main(args: list[str]) -> int:
    """Run the verb.

    From arming on, Ctrl-C and `SIGTERM` end the run early, with the joints damped and the report as
    always, and do nothing more until the report is written.

    Args:
        args: `key=value` settings.

    Returns:
        0; 1 where a fault was latched.
    """
    options = parse_options(args)
    check_output(options.output)
    with ExitStack() as told:
        report, extra = _control(options, told)
        content = {**dataclasses.asdict(report), **extra}
        give(json.dumps({k: _finite(v) for k, v in content.items()}), options.output)
    return 0 if report.fault is None else 1


def parse_options(args: list[str]) -> ControlOptions:
    """Return the settings of a command line.

    Args:
        args: `key=value` settings.

    Raises:
        ConfigError: A key is unknown, a value of the wrong type, or the policy is missing.
    """
    kinds = get_type_hints(ControlOptions)
    values: dict[str, Any] = {}
    for arg in args:
        key, equals, text = arg.partition("=")
        if not equals:
            raise ConfigError(f"control: got '{arg}'; key=value is needed")
        if key not in kinds:
            raise unknown_name("setting of 'control'", key, kinds)
        values[key] = _convert(key, text, kinds[key])
    if "policy" not in values:
        raise ConfigError(
            "control: policy is missing; add policy=PATH of a bundle, or the name of a shipped one"
        )
    options = ControlOptions(**values)
    if not 0 < options.duration < math.inf:
        raise ConfigError(f"duration: got {options.duration}; a time of more than 0 s is needed")
    if options.limit is not None and not 0 < options.limit <= 1:
        raise ConfigError(f"limit: got {options.limit}; more than 0 and at most 1 s is needed")
    if options.patience < 1:
        raise ConfigError(f"patience: got {options.patience}; at least 1 late cycle is needed")
    if options.priority is not None and not 1 <= options.priority <= 99:
        raise ConfigError(f"priority: got {options.priority}; 1 to 99, or null, is needed")
    if options.tolerance is not None and not 0 < options.tolerance < math.inf:
        raise ConfigError(f"tolerance: got {options.tolerance}; a share of more than 0 is needed")
    return options


def _control(options: ControlOptions, told: ExitStack) -> tuple[LoopReport, dict[str, Any]]:
    """Run the policy; from arming on signals are a flag, until `told` is closed."""
    bundle = load_bundle(find_bundle(options.policy))
    policy = make_policy(options.runtime, bundle)
    with ExitStack() as stack:
        link = controller_link(options.transport, options.host, options.port)
        client = stack.enter_context(RobotClient(link, key=read_key(options.key_file))).connect()
        period = bundle.manifest.timing.control_period_s
        multiple = max(1, round(period / client.period_s))
        _check_limit(options.limit, client.period_s)
        controller = Controller(
            bundle,
            client,
            policy=policy,
            settings=_settings(options, bundle, multiple),
            period_s=client.period_s,
            ttl_s=options.limit,
            watchdog=_watchdog(options, client, stack),
            without_watchdog=not options.watchdog,
            real_time=_real_time(options),
            log=stack.enter_context(EventLog(options.log)) if options.log else None,
            told=lambda why: _tell(why, options.duration),
        )
        stopping = told.enter_context(until_interrupted())
        controller.arm()
        print(
            f"control    {bundle.manifest.name}, {1 / period:g} Hz, actuators at "
            f"{multiple / period:g} Hz, {options.runtime}",
            flush=True,
        )
        begin = time.monotonic()
        report = controller.run(options.duration, stopping.is_set)
        wall = time.monotonic() - begin
        if stopping.is_set():
            print(f"stopped    as told, after {wall:.1f} s of {options.duration:g} s", flush=True)
        more = {"wall_s": wall, "interrupted": stopping.is_set(), "dropped": client.dropped}
        return report, {**more, "runtime": options.runtime}


def _tell(why: str, duration_s: float) -> None:
    text = f"fault      {why}; the joints are damped until the {duration_s:g} s are over"
    print(text, file=sys.stderr, flush=True)


def make_policy(runtime: str, bundle: Bundle) -> Policy:
    """Return a policy in one of the runtimes, which all give the same.

    Args:
        runtime: `numpy`, `onnx` (ONNX Runtime) or `c` (generated and compiled here).
        bundle: A loaded bundle.

    Raises:
        UnknownNameError: There is no such runtime.
        DependencyError: There is no C compiler.
    """
    if runtime not in RUNTIMES:
        raise unknown_name("runtime", runtime, RUNTIMES)
    if runtime == "onnx":
        from simreal.deploy.onnx_policy import OnnxPolicy

        return OnnxPolicy(bundle)
    if runtime == "c":
        from simreal.deploy.c_policy import CPolicy

        return CPolicy(bundle)
    return NumpyPolicy(bundle)


def _settings(options: ControlOptions, bundle: Bundle, multiple: int) -> ControlSettings:
    changes: dict[str, Any] = {
        "actuator_multiple": multiple,
        "max_consecutive_overruns": options.patience,
    }
    if options.tolerance is not None:
        changes["rate_tolerance"] = options.tolerance
    return ControlSettings.of(bundle.manifest, **changes)


def _watchdog(options: ControlOptions, client: RobotClient, stack: ExitStack) -> Watchdog | None:
    if not options.watchdog:
        return None
    place = (options.transport, options.host, options.port, options.key_file)
    arguments = client.ticket.watchdog_arguments(*place)
    limit = None if options.limit is None else _LOOK_SHARE * options.limit
    watchdog = Watchdog(TripWire.TARGET, arguments, limit_s=limit, priority=options.priority)
    return stack.enter_context(watchdog)


def _real_time(options: ControlOptions) -> RealTime | None:
    if options.priority is None:
        return None
    return RealTime(priority=options.priority, lock_memory=True)


def _check_limit(limit_s: float | None, period_s: float) -> None:
    """Refuse a silence that every pause between two commands exceeds."""
    least_s = period_s / _LOOK_SHARE
    if limit_s is not None and not limit_s > least_s:
        raise ConfigError(
            f"limit: got {limit_s}; more than {least_s:.3g} s is needed, since the robot expects a "
            f"command every {period_s:g} s"
        )


def _convert(key: str, text: str, kind: Any) -> Any:
    kinds = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if text in ("null", "None") and type(None) in kinds:
        return None
    plain = next(k for k in kinds if k is not type(None))
    try:
        if plain is bool:
            return {"true": True, "false": False}[text.lower()]
        return plain(text)
    except (ValueError, KeyError):
        allowed = {bool: "true or false", int: "a whole number", float: "a number"}[plain]
        raise ConfigError(f"{key}: got '{text}'; {allowed} is needed") from None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

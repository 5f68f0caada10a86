"""`simreal replay`: show a controller's log against the golden behavior of its policy.

It needs numpy alone, so that it runs where the log was written.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from simreal.deploy import check_bundle, load_bundle, read_log
from simreal.deploy.blackbox import TICK_COLUMNS
from simreal.deploy.eventlog import LogContent
from simreal.deploy.logreplay import replay_log
from simreal.errors import ConfigError
from simreal.paths import find_bundle

_SHOWN = 40


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: A log, and `policy=` with a bundle or the name of a shipped policy.

    Returns:
        0 where every step of the log is what the policy gives, 1 where one differs, or none could
        be compared.

    Raises:
        ConfigError: An argument is missing or unknown, or the log is of another policy.
        BundleError: The bundle is damaged, or does not give its own golden answers here.
    """
    file, policy = _arguments(args)
    log = read_log(file)
    bundle = load_bundle(policy)
    print(f"golden     {check_bundle(policy)[-1]}")
    result = replay_log(log, bundle)
    _timeline(log)
    _summary(log)
    worst = ", ".join(f"{stage} {error:.1e}" for stage, error in result.worst.items())
    print(f"replay     {result.steps} steps in {result.episodes} episodes")
    print(f"difference at most {worst}")
    if result.skipped:
        print(f"skipped    {result.skipped} steps, since the log lost one before them")
    if result.steps == result.skipped:
        print("verdict    nothing was compared, since the log holds no step of the policy")
        return 1
    if result.first is None:
        print("verdict    every step of the policy is what its bundle gives")
        return 0
    print(f"verdict    first difference: {result.first}")
    return 1


def _arguments(args: list[str]) -> tuple[Path, Path]:
    files = [a for a in args if "=" not in a]
    settings = dict(a.split("=", 1) for a in args if "=" in a)
    if len(files) != 1 or set(settings) != {"policy"}:
        raise ConfigError(
            f"replay: got {args}, expected a log and its policy: simreal replay LOG policy=PATH"
        )
    return Path(files[0]), find_bundle(settings["policy"])


def _timeline(log: LogContent) -> None:
    start = _time_s(log.events[0]) if log.events else 0.0
    for event in log.events[:_SHOWN]:
        print(f"{_time_s(event) - start:9.3f} s {_words(event)}")
    if len(log.events) > _SHOWN:
        print(f"{'':9}   and {len(log.events) - _SHOWN} more events")


def _time_s(event: dict[str, Any]) -> float:
    """Return when an event was [s]; not a number where a changed log does not say."""
    found = event.get("time_s")
    return float(found) if isinstance(found, int | float) else math.nan


def _words(event: dict[str, Any]) -> str:
    if event.get("event") == "state":
        why = f": {event['why']}" if event.get("why") else ""
        return f"{event.get('before')} -> {event.get('after')}{why}"
    rest = {k: v for k, v in event.items() if k not in ("event", "time_s")}
    counts = rest.pop("counts", {})
    rest.update({k: v for k, v in counts.items() if v} if isinstance(counts, dict) else {})
    return " ".join(
        [str(event.get("event")), *(f"{k}={v}" for k, v in rest.items() if v is not None)]
    )


def _summary(log: LogContent) -> None:
    if not log.ticks.size:
        print("commands   none")
        return
    found = log.header.get("states")
    names = found if isinstance(found, list) else []
    column = {name: log.ticks[:, i] for i, name in enumerate(TICK_COLUMNS)}
    states = Counter(
        str(names[int(code)]) if 0 <= code < len(names) else f"unknown state {code:g}"
        for code in column["state"]
    )
    shares = ", ".join(f"{count} {name}" for name, count in states.items())
    print(f"commands   {len(log.ticks)}: {shares}")
    print(f"latency    largest {column['latency_s'].max() * 1e3:.3f} ms")
    if log.damaged:
        print(f"damaged    {log.damaged} places of the log could not be read")

"""Compare a robot with the one a policy was trained for, name by name.

Two hashes that differ tell a person nothing. So the tables behind them are compared, joints found
by name and not by position, and every difference is named with what was expected and found.
"""

from collections.abc import Mapping
from typing import Any

from simreal.deploy.decode import Words, describe
from simreal.deploy.manifest import Manifest, RobotEntry
from simreal.errors import nearest


def interface_differences(robot: RobotEntry, found: Mapping[str, Any]) -> list[str]:
    """Return where a robot's interface differs from that of a policy; empty if it may be bound.

    The order of joints and actuators may differ, since all values are bound by name.

    Args:
        robot: The robot in the manifest.
        found: Interface of the robot, in the form of `simreal.core.robot.Robot.interface`.
    """
    expected = robot.interface
    problems = [
        _difference(f"{key} of the robot", expected[key], found.get(key, Words("nothing")))
        for key in ("name", "fixed_base")
        if found.get(key) != expected[key]
    ]
    units = found.get("units")
    units = units if isinstance(units, Mapping) else {}
    problems += [
        _difference(f"unit of {key}", unit, units.get(key, Words("nothing")))
        for key, unit in expected["units"].items()
        if units.get(key) != unit
    ]
    problems += _table_differences("joint", "name", expected["joints"], found.get("joints"))
    problems += _table_differences(
        "actuator", "joint", expected["actuators"], found.get("actuators")
    )
    return problems


def signal_differences(manifest: Manifest, found: Mapping[str, Any]) -> list[str]:
    """Return where the robot's other signals differ from those of a policy.

    Four numbers say nothing of their order, and a velocity nothing of its frame; so a robot has to
    declare every vector it gives, and the declaration must be the policy's. Joint signals need
    none: their names and units are those of the joint table.

    Args:
        manifest: The manifest.
        found: Interface of the robot, with `signals`: name to `kind`, `elements`, `units`, `frame`.
    """
    declared = found.get("signals", {})
    if not isinstance(declared, Mapping):
        return [f"signals: expected a table by name, found {describe(declared)}"]
    problems = []
    for signal in manifest.signals:
        vector = signal.frame is not None
        if signal.name not in declared:
            if vector:
                problems.append(
                    f"signal '{signal.name}': expected a declaration of its kind, elements, units "
                    f"and frame, found none.{nearest(signal.name, declared)}"
                )
            continue
        actual = declared[signal.name]
        if not isinstance(actual, Mapping):
            problems.append(f"signal '{signal.name}': expected a table, found {describe(actual)}")
            continue
        joints = signal.kind.startswith("joint_")
        for key in ("kind", "units") if joints else ("kind", "elements", "units", "frame"):
            expected = getattr(signal, key)
            value = list(expected) if isinstance(expected, tuple) else expected
            if not _same(actual.get(key, Words("nothing")), value):
                what = f"{key} of signal '{signal.name}'"
                problems.append(_difference(what, expected, actual.get(key, Words("nothing"))))
    return problems


def _table_differences(
    kind: str, key: str, expected: list[dict[str, Any]], found: Any
) -> list[str]:
    if not isinstance(found, list | tuple) or not all(isinstance(row, Mapping) for row in found):
        return [f"{kind} table: expected a list of tables, found {describe(found)}"]
    names = [str(row.get(key)) for row in found]
    if len(set(names)) != len(names):
        return [f"{kind} table: expected every name once, found {sorted(names)}"]
    rows = dict(zip(names, found, strict=True))
    problems = []
    for row in expected:
        name = row[key]
        if name not in rows:
            hint = nearest(name, rows)
            problems.append(f"{kind} '{name}': expected one, found none.{hint}")
            continue
        actual = rows.pop(name)
        problems += [
            _difference(f"{what} of {kind} '{name}'", value, actual.get(what, Words("nothing")))
            for what, value in row.items()
            if not _same(actual.get(what, Words("nothing")), value)
        ]
    problems += [f"{kind} '{name}': expected none, found one" for name in rows]
    return problems


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return isinstance(found, list | tuple) and list(found) == expected
    return bool(found == expected)


def _difference(field: str, expected: Any, found: Any) -> str:
    def words(value: Any) -> str:
        return str(list(value)) if isinstance(value, list | tuple) else describe(value)

    return f"{field}: expected {words(expected)}, found {words(found)}"

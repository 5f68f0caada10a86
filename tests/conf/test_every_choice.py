"""Every option of every group, and every pair, composes and builds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.apps.audit import AuditSettings
from simreal.apps.demo import DemoSettings
from simreal.apps.evaluate import EvaluateSettings
from simreal.apps.export import ExportSettings
from simreal.apps.identify import IdentifySettings
from simreal.apps.play import PlaySettings
from simreal.apps.robot_sim import RobotSimSettings
from simreal.apps.train import TrainSettings
from simreal.apps.transfer import TransferSettings
from simreal.catalog import Catalog, Folder
from simreal.config import Composed, compose
from simreal.core.observation_pipeline import ObservationPipeline
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains import Domain, Randomization, SimVecEnv
from simreal.domains.vec_env import signal_names
from simreal.identification import LogColumns, Unknowns
from simreal.learning.algorithms import AlgorithmSettings
from simreal.paths import conf_dir
from simreal.transfer import TransferMethod

CATALOG = Catalog([Folder(conf_dir())])
SETTINGS: dict[str, type[Any]] = {
    "audit": AuditSettings,
    "demo": DemoSettings,
    "evaluate": EvaluateSettings,
    "export": ExportSettings,
    "identify": IdentifySettings,
    "play": PlaySettings,
    "robot_sim": RobotSimSettings,
    "train": TrainSettings,
    "transfer": TransferSettings,
}
EXPECTED: dict[str, type[Any]] = {
    "robot": Robot,
    "task": Task,
    "source": Domain,
    "target": Domain,
    "domain": Domain,
    "randomization": Randomization,
    "algo": AlgorithmSettings,
    "transfer": TransferMethod,
    "log": LogColumns,
    "unknowns": Unknowns,
}
# What must be given on the command line.
NEEDED = {"export": ["run=outputs/RUN"]}
# Options that belong to one robot: which task brings it.
TASK_OF = {
    "simple_pendulum": "pendulum",
    "double_pendulum": "pendubot",
    "hopper": "hopper",
    "walker2d": "walker2d",
    "half_cheetah": "half_cheetah",
    "ant": "ant",
}
# What it draws is meant for geared pendulums, and it moves centers of mass, which a robot that
# PyBullet loads from its own file does not let itself be told.
_WALKERS = ("hopper_real", "walker2d_real", "half_cheetah_real", "ant_real")
NOT_FOR = {"uniform": _WALKERS, "uniform_remote": _WALKERS}


def _takes(primary: str) -> list[str]:
    """Return the groups of a primary configuration, those under another name left out."""
    return [g for g in CATALOG.primaries[primary].defaults() if g != "_self_" and "@" not in g]


CHOICES = [
    (primary, group, option)
    for primary in sorted(CATALOG.primaries)
    for group in _takes(primary)
    for option in CATALOG.options(group)
]
# Each option once, and pairs, which touch several groups, with every verb that takes them.
FIRST = list({(g, o): (p, g, o) for p, g, o in reversed(CHOICES)}.values())
PAIRS = [choice for choice in CHOICES if choice[1] == "pair"]


def lines_for(primary: str, group: str, option: str) -> list[str]:
    lines = [*NEEDED.get(primary, []), f"{group}={option}"]
    if group == "robot" and "task" in _takes(primary):
        lines.append(f"task={TASK_OF.get(option, 'pendubot')}")
    return lines


def build_all(composed: Composed) -> dict[str, Any]:
    """Build every object of a configuration, and the settings of its verb."""
    built: dict[str, Any] = {"settings": composed.settings(SETTINGS[composed.primary])}
    for choice in composed.choices:
        group, _, package = choice.partition("@")
        key = package or group
        if group in EXPECTED and key in composed.values:
            built[key] = composed.build(key, EXPECTED[group])
    return built


def test_every_primary_is_known() -> None:
    assert set(SETTINGS) == set(CATALOG.primaries)


def test_every_group_is_known() -> None:
    assert set(CATALOG.groups) <= {*EXPECTED, "pair"}


@pytest.mark.parametrize("primary", sorted(SETTINGS))
def test_defaults_compose_and_build(primary: str) -> None:
    build_all(compose(primary, NEEDED.get(primary, [])))


@pytest.mark.slow
@pytest.mark.parametrize(("primary", "group", "option"), CHOICES)
def test_every_option_builds_with_every_verb(primary: str, group: str, option: str) -> None:
    test_every_option_builds(primary, group, option)


@pytest.mark.parametrize(("primary", "group", "option"), FIRST)
def test_every_option_builds(primary: str, group: str, option: str) -> None:
    composed = compose(primary, lines_for(primary, group, option))
    built = build_all(composed)
    assert composed.choices[group] == option
    if group in EXPECTED:
        assert isinstance(built[group], EXPECTED[group])


def test_options_that_nobody_takes_by_name_build_too() -> None:
    """The bare domains are only reached through sources and targets."""
    for option in CATALOG.options("domain").values():
        composed = compose("train", [f"source={_source_on(option.name)}"])
        assert composed.build("source", Domain).engine == option.name


def _source_on(engine: str) -> str:
    return next(
        name for name, o in CATALOG.options("source").items() if engine in o.path.read_text()
    )


@pytest.mark.parametrize(("primary", "group", "pair"), PAIRS)
def test_every_pair_builds_and_fits_together(primary: str, group: str, pair: str) -> None:
    composed = compose(primary, [f"{group}={pair}"])
    built = build_all(composed)
    robot, task = built["robot"], built["task"]
    assert not task.robot_names or robot.name in task.robot_names
    assert ObservationPipeline(task.observation(robot), signal_names(robot, task)).dim > 0
    for key in ("source", "target"):
        if key in built:
            assert built[key].fixed(robot)


@pytest.mark.parametrize("pair", sorted(CATALOG.options("pair")))
@pytest.mark.parametrize("randomization", sorted(CATALOG.options("randomization")))
def test_every_pair_runs(pair: str, randomization: str) -> None:
    """Two worlds of source and target, one step each."""
    if pair in NOT_FOR.get(randomization, ()):
        return
    composed = compose("transfer", [f"pair={pair}", f"randomization={randomization}"])
    robot, task = composed.build("robot", Robot), composed.build("task", Task)
    rules = composed.build("randomization", Randomization)
    source = replace(composed.build("source", Domain), randomization=rules)
    for domain in (source, composed.build("target", Domain)):
        env = SimVecEnv(robot, task, domain, 2)
        try:
            env.reset(0)
            result = env.step(np.zeros((2, env.action_map.dim)))
        finally:
            env.close()
        assert result.obs.shape == (2, env.observation.dim)


def test_every_file_begins_with_a_line_for_people() -> None:
    folders = (CATALOG.options(group).values() for group in ("", *CATALOG.groups))
    silent = [option.path.name for options in folders for option in options if not option.summary]
    assert silent == []


def test_no_file_is_out_of_reach() -> None:
    listed = {o.path for g in ("", *CATALOG.groups) for o in CATALOG.options(g).values()}
    assert {Path(p) for p in conf_dir().rglob("*.yaml")} == listed

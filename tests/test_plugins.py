"""A robot and a task from a package of their own, found without an edit to simreal."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simreal import plugins
from simreal.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent

PACKAGE = {
    "my_robots/__init__.py": '"""Robots of mine."""\n',
    "my_robots/plugin.py": (
        "from pathlib import Path\n"
        "conf_dir = Path(__file__).parent / 'conf'\n"
        "targets = ('my_robots',)\n"
    ),
    "my_robots/tasks.py": (
        "class Stack:\n    def __init__(self, num_boxes: int) -> None:\n"
        "        self.num_boxes = num_boxes\n"
    ),
    "my_robots/conf/robot/crane.yaml": "# A crane of mine.\nname: crane\n",
    "my_robots/conf/task/stack.yaml": (
        "# Stack boxes.\n_target_: my_robots.tasks.Stack\nnum_boxes: 3\n"
    ),
    "my_robots-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: my-robots\nVersion: 1.0\n",
    "my_robots-1.0.dist-info/entry_points.txt": (
        "[simreal.plugins]\nmy_robots = my_robots.plugin\n"
    ),
}

Install = Callable[[dict[str, str]], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install files as a package would be, on a folder of the import path."""
    site = tmp_path / "site"

    def add(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = site / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.syspath_prepend(str(site))
        plugins.load_plugins.cache_clear()
        return site

    yield add
    plugins.load_plugins.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "my_robots"]:
        del sys.modules[name]


def _simreal(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "envs"), str(site)])
    return subprocess.run(
        [sys.executable, "-m", "simreal", *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )


def _with_plugin(text: str) -> dict[str, str]:
    return {**PACKAGE, "my_robots/plugin.py": text}


def test_plugin_declares_its_folder_and_prefix(install: Install) -> None:
    site = install(PACKAGE)
    found = {plugin.name: plugin for plugin in plugins.load_plugins()}
    assert found["my_robots"] == plugins.Plugin(
        "my_robots", (site / "my_robots/conf").resolve(), ("my_robots.",)
    )


def test_installed_package_appears_in_the_list(install: Install) -> None:
    found = _simreal(install(PACKAGE), "list", "robot", "task")
    assert found.returncode == 0, found.stderr
    assert "crane" in found.stdout
    assert "A crane of mine. [my_robots]" in found.stdout
    assert "Stack boxes. [my_robots]" in found.stdout


def test_without_the_package_nothing_appears(tmp_path: Path) -> None:
    assert "crane" not in _simreal(tmp_path, "list", "robot").stdout


def test_task_of_a_package_composes_and_builds(install: Install) -> None:
    from simreal.config import compose

    install(PACKAGE)
    composed = compose("train", ["task=stack", "task.num_boxes=5"])
    task = composed.build("task")
    assert (type(task).__name__, task.num_boxes) == ("Stack", 5)


def test_error_in_a_file_of_a_package_names_that_file(install: Install) -> None:
    from simreal.config import compose

    site = install(
        {**PACKAGE, "my_robots/conf/task/stack.yaml": "_target_: my_robots.tasks.Stack\n"}
    )
    with pytest.raises(ConfigError, match=r"needs 'num_boxes'") as info:
        compose("train", ["task=stack"]).build("task")
    assert str(site / "my_robots/conf/task/stack.yaml") in str(info.value)


def test_its_targets_are_refused_without_the_declaration(install: Install) -> None:
    from simreal.config import compose

    install(_with_plugin(PACKAGE["my_robots/plugin.py"].replace("targets", "other")))
    with pytest.raises(ConfigError, match=r"'my_robots\.tasks\.Stack', which may not be built"):
        compose("train", ["task=stack"]).build("task")


@pytest.mark.parametrize(
    ("plugin", "part"),
    [
        ("raise RuntimeError('no licence')\n", "RuntimeError: no licence"),
        ("import no_such_module\n", "no_such_module"),
        ("conf_dir = '/nowhere/conf'\n", "'/nowhere/conf', which is not a folder"),
        ("conf_dir = 3\n", "conf_dir is 3, expected a path"),
        ("targets = 'my_robots.'\n", "expected a tuple of prefixes"),
        ("targets = ('',)\n", "expected the name of a package"),
        ("targets = (3,)\n", "holds 3"),
    ],
)
def test_broken_plugin_is_named(install: Install, plugin: str, part: str) -> None:
    install(_with_plugin(plugin))
    with pytest.raises(ConfigError, match="plugin 'my_robots'") as info:
        plugins.load_plugins()
    assert part in str(info.value)


def test_broken_plugin_costs_one_line(install: Install) -> None:
    found = _simreal(install(_with_plugin("raise RuntimeError('no licence')\n")), "list")
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "plugin 'my_robots'" in found.stderr


def test_same_distribution_twice_on_the_path_counts_once(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(PACKAGE)
    copy = tmp_path / "copy" / "my_robots-1.0.dist-info"
    copy.mkdir(parents=True)
    for name in ("METADATA", "entry_points.txt"):
        (copy / name).write_text(PACKAGE[f"my_robots-1.0.dist-info/{name}"])
    monkeypatch.syspath_prepend(str(copy.parent))
    names = [plugin.name for plugin in plugins.load_plugins()]
    assert names.count("my_robots") == 1


def test_own_package_declares_itself() -> None:
    from simreal_envs.plugin import plugin

    assert plugin == plugins.Plugin("simreal_envs", None, ("simreal_envs.",))


def test_object_may_be_a_plugin_as_well(install: Install) -> None:
    text = "from simreal.plugins import Plugin\nplugin = Plugin('x', targets=('my_robots.',))\n"
    points = "[simreal.plugins]\nmy_robots = my_robots.plugin:plugin\n"
    install({**_with_plugin(text), "my_robots-1.0.dist-info/entry_points.txt": points})
    found: dict[str, Any] = {plugin.name: plugin for plugin in plugins.load_plugins()}
    assert found["my_robots"].targets == ("my_robots.",)

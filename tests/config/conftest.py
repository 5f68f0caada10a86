"""A private configuration tree, so that these tests do not depend on the shipped one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simreal import cli
from simreal.catalog import Catalog, Folder
from simreal.plugins import Plugin

TREE = {
    "train.yaml": """
        # Train the toy.
        defaults:
          - task: reach
          - source: pybullet
          - algo: ppo
          - _self_
          - optional pair: null
        seed: 1
        steps: 1000
        name: run
        verbose: false
        factor: 0.5
        resume: null
    """,
    "task/reach.yaml": """
        # Reach a point.
        _target_: toy_kit.Reach
        horizon: 100
        reward: dense
        noise:
          _target_: toy_kit.Noise
          std: 0.1
    """,
    "task/push.yaml": """
        # Push a box.
        _target_: toy_kit.Reach
        horizon: 200
    """,
    "domain/bullet.yaml": """
        # The source engine.
        _target_: toy_kit.World
        engine: pybullet
        dynamics:
          mass: 1.0
    """,
    "domain/mujoco.yaml": """
        # The target engine.
        _target_: toy_kit.World
        engine: mujoco
    """,
    "source/pybullet.yaml": """
        # Train here.
        defaults:
          - /domain@_here_: bullet
          - _self_
        layers: [1, 2]
    """,
    "source/mujoco.yaml": """
        # Or here.
        defaults:
          - /domain@_here_: mujoco
    """,
    "algo/ppo.yaml": """
        # Clipped policy gradient.
        _target_: toy_kit.Learner
        _partial_: true
        rate: 0.01
    """,
    "pair/heavy.yaml": """
        # @package _global_
        # A heavier arm.
        defaults:
          - override /task: push
          - override /source: mujoco
        seed: 7
        source:
          dynamics:
            mass: 3.0
    """,
    "evaluation/short.yaml": """
        # Not a group of `train`.
        episodes: 3
    """,
}


def _dedent(text: str) -> str:
    lines = text.strip("\n").splitlines()
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[indent:] for line in lines) + "\n"


def write_tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_dedent(text) if text.strip() else text, encoding="utf-8")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    root = tmp_path / "conf"
    write_tree(root, TREE)
    return root


@pytest.fixture
def edit(conf: Path) -> Callable[[str, str], None]:
    """Write one file of the tree anew."""
    return lambda name, text: write_tree(conf, {name: text})


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the toy kit importable and allowed, as a plugin would."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    plugin = Plugin(name="toy", targets=("toy_kit.",))
    for module in ("simreal.config.targets", "simreal.catalog"):
        monkeypatch.setattr(f"{module}.load_plugins", lambda: (plugin,))
    return


@pytest.fixture
def catalog(conf: Path, kit: None) -> Catalog:
    return Catalog([Folder(conf)])


@pytest.fixture
def train(conf: Path, kit: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command line with the toy kit as its `train` verb."""
    monkeypatch.setattr("simreal.catalog.conf_dir", lambda: conf)
    verb = cli.Verb("toy_kit", "Train the toy.", ("train", "train", "train"))
    monkeypatch.setitem(cli.VERBS, "train", verb)
    return lambda *arguments: cli.main(["train", *arguments])

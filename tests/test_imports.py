"""The architecture: what may import what, and how long `import simreal` takes."""

import ast
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "simreal").rglob("*.py"))
ENVS = sorted((ROOT / "envs").rglob("*.py"))
HEAVY = ("torch", "hydra", "gymnasium", "stable_baselines3", "mujoco", "pybullet", "pydantic")

# Package -> the files that may import it, as prefixes of paths below the repository.
OWNERS = {
    "pybullet": ("simreal/engines/pybullet",),
    "pybullet_data": ("simreal/engines/pybullet",),
    "mujoco": ("simreal/engines/mujoco", "simreal/engines/warp"),
    "mujoco_warp": ("simreal/engines/warp",),
    "warp": ("simreal/engines/warp",),
    "hydra": ("simreal/config/", "simreal/apps/"),
    "omegaconf": ("simreal/config/", "simreal/apps/"),
    "pydantic": ("simreal/config/",),
    "stable_baselines3": (
        "simreal/domains/",
        "simreal/learning/",
        "simreal/transfer/",
        "simreal/evaluation/",
        "simreal/apps/",
    ),
}


def _imports(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            constants = [a.value for a in node.args if isinstance(a, ast.Constant)]
            yield from ((node.lineno, str(value)) for value in constants)


def _strays(name: str, source: str) -> list[str]:
    found = []
    for line, module in _imports(source):
        root = module.split(".")[0]
        if root in OWNERS and not name.startswith(OWNERS[root]):
            found.append(f"{name}:{line} imports {module}")
        if root == "simreal_envs" and name.startswith("simreal/"):
            found.append(f"{name}:{line} imports {module}")
    return found


def test_each_engine_and_framework_is_imported_where_it_belongs() -> None:
    strays = []
    for path in LIBRARY + ENVS:
        name = path.relative_to(ROOT).as_posix()
        strays += _strays(name, path.read_text(encoding="utf-8"))
    assert not strays


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("simreal/domains/a.py", "import pybullet as p"),
        ("simreal/engines/mujoco_batch.py", "def f():\n    import pybullet_data"),
        ("simreal/core/a.py", "from mujoco.batch import Batch"),
        ("simreal/core/a.py", "import importlib\nimportlib.import_module('mujoco')"),
        ("simreal/learning/a.py", "from omegaconf import DictConfig"),
        ("simreal/engines/a.py", "import stable_baselines3.common"),
        ("simreal/apps/a.py", "import simreal_envs.robots"),
    ],
)
def test_a_stray_import_is_found(name: str, source: str) -> None:
    assert len(_strays(name, source)) == 1


def test_an_import_where_it_belongs_is_left_alone() -> None:
    assert not _strays("simreal/engines/pybullet_world.py", "import pybullet")
    assert not _strays("envs/simreal_envs/a.py", "import simreal_envs.robots")


def test_no_assert_and_no_module_called_utils_in_the_library() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in LIBRARY + ENVS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    found += [str(path) for path in LIBRARY + ENVS if path.name == "utils.py"]
    assert not found


def _python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'envs'}"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", ["simreal", "simreal.cli", "simreal.catalog", "simreal.plugins"])
def test_light_modules_import_no_heavy_package(module: str) -> None:
    found = _python(f"import sys, {module}; print(set({HEAVY!r}) & set(sys.modules))")
    assert found.stdout.strip() == "set()", found.stderr


@pytest.mark.parametrize("module", ["simreal.config", "simreal_envs.plugin"])
def test_configuration_imports_no_engine_and_no_torch(module: str) -> None:
    engines = ("torch", "stable_baselines3", "mujoco", "pybullet")
    found = _python(f"import sys, {module}; print(set({engines!r}) & set(sys.modules))")
    assert found.stdout.strip() == "set()", found.stderr


def test_import_is_quick() -> None:
    best_s = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        found = _python("import simreal")
        best_s = min(best_s, time.perf_counter() - start)
        assert found.returncode == 0, found.stderr
    # 0.3 s for the import, and as much again for the interpreter on a busy machine.
    assert best_s < 0.6


def test_lazy_names_resolve() -> None:
    import simreal

    for name in simreal._LAZY:
        assert getattr(simreal, name).__name__ == name
        assert name in dir(simreal)
        assert name in simreal.__all__


def test_unknown_attribute_is_an_attribute_error() -> None:
    import simreal

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = simreal.nothing

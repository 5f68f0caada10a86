"""A plain `pip install simreal` is enough for a controller with the numpy runtime, and small."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 30_000_000
MAX_IMPORT_S = 0.2

pytestmark = pytest.mark.slow


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("fresh")
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ROOT)
    _run(sys.executable, *build)
    (wheel,) = (folder / "dist").glob("*.whl")
    venv.EnvBuilder(with_pip=False).create(folder / "venv")
    inside = folder / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", inside, "install", "--quiet")
    _run(*pip, "-c", ROOT / "constraints.txt", wheel)
    return inside


def test_it_holds_nothing_else(python: Path) -> None:
    out = _run(
        python,
        "-c",
        "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))",
    )
    assert out.split() == ["numpy", "safetensors", "simreal"]


def test_it_is_small_beside_numpy(python: Path) -> None:
    (site,) = (python.parents[1] / "lib").glob("python3*/site-packages")
    files = [path for path in site.rglob("*") if path.is_file()]
    beside = [path for path in files if not path.relative_to(site).parts[0].startswith("numpy")]
    assert len(beside) < len(files)
    assert sum(path.stat().st_size for path in beside) < MAX_BYTES


def test_its_import_is_quick(python: Path) -> None:
    code = (
        "import time, numpy; begin = time.process_time(); import simreal.deploy; "
        "print(time.process_time() - begin)"
    )
    assert min(float(_run(python, "-c", code)) for _ in range(5)) < MAX_IMPORT_S


def test_a_shipped_policy_is_checked_and_run(python: Path) -> None:
    code = """
import json
from simreal.deploy import NumpyPolicy, load, replay
from simreal.paths import policies_dir
bundle = load(policies_dir() / "pendubot-pybullet")
policy = NumpyPolicy(bundle)
policy.reset({name: value[0] for name, value in bundle.golden.signals.items()})
print(json.dumps([str(bundle.path), replay(bundle), policy.command_by_name()]))
"""
    path, worst, command = json.loads(_run(python, "-c", code))
    assert max(worst.values()) < 1e-5
    assert set(command) == {"shoulder", "elbow"}
    assert "golden replay: 200 steps" in _run(python, "-m", "simreal", "check-bundle", path)

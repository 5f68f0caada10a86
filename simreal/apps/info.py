"""Print what a bug report needs: versions, hardware, import paths and thread settings."""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path

import simreal
from simreal.engines import engine_class
from simreal.errors import ConfigError, DependencyError
from simreal.paths import conf_dir, policies_dir
from simreal.plugins import load_plugins

_DISTRIBUTIONS = (
    "numpy",
    "safetensors",
    "torch",
    "stable-baselines3",
    "gymnasium",
    "hydra-core",
    "omegaconf",
    "pydantic",
    "mujoco",
    "pybullet",
    "mujoco-warp",
    "warp-lang",
    "tensorboard",
)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MUJOCO_GL")
_PACKAGES = ("simreal", "simreal_envs")


def main(args: list[str]) -> int:
    """Print the report.

    Args:
        args: None are taken.

    Raises:
        ConfigError: If there are arguments.
    """
    if args:
        raise ConfigError(f"info: got '{args[0]}', expected no arguments.")
    for title, rows in report().items():
        print(title)
        width = max(len(name) for name in rows)
        for name, value in rows.items():
            print(f"  {name:<{width}}  {value}")
    return 0


def report() -> dict[str, dict[str, str]]:
    """Return the report as sections of names and values."""
    return {
        "versions": _versions(),
        "hardware": _hardware(),
        "import paths": _paths(),
        "threads and rendering": {name: os.environ.get(name, "not set") for name in _THREADS},
    }


def _versions() -> dict[str, str]:
    rows = {"simreal": simreal.__version__, "python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            rows[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            rows[name] = "not installed"
    return rows


def _hardware() -> dict[str, str]:
    rows = {
        "system": platform.platform(),
        "processor": _processor(),
        "usable cores": str(len(os.sched_getaffinity(0)))
        if hasattr(os, "sched_getaffinity")
        else str(os.cpu_count()),
    }
    if importlib.util.find_spec("torch") is not None:
        import torch

        cuda = torch.cuda.is_available()
        rows["cuda"] = torch.cuda.get_device_name(0) if cuda else "not available"
        rows["torch threads"] = str(torch.get_num_threads())
    rows["warp"] = _warp()
    return rows


def _warp() -> str:
    """Say on which device engine `warp` would run, and whether its physics would be graphs."""
    try:
        engine_class("warp")
    except DependencyError:
        return "not installed"
    from simreal.engines.warp_setup import find_device

    device = find_device({"allow_eager": True})
    graphs = "graphs on" if device.graphs else f"graphs OFF: {device.obstacle}"
    return f"{device.name} ({device.description}), {graphs}"


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _paths() -> dict[str, str]:
    rows = {"python": sys.executable}
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        rows[name] = str(spec.origin) if spec else "not installed"
    rows["conf"] = str(conf_dir())
    rows["policies"] = str(policies_dir())
    for plugin in load_plugins():
        rows[f"plugin {plugin.name}"] = str(plugin.conf_dir or "no configuration folder")
    return rows

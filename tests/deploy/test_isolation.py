"""A robot has numpy and the standard library; a bundle runs there."""

import subprocess
import sys
import textwrap
from pathlib import Path

BLOCKED = (
    "torch",
    "stable_baselines3",
    "hydra",
    "omegaconf",
    "pydantic",
    "gymnasium",
    "pybullet",
    "mujoco",
    "onnx",
    "onnxruntime",
    "scipy",
    "simreal.engines",
    "simreal.domains",
    "simreal.learning",
    "simreal.evaluation",
    "simreal.transfer",
)


def _run(program: str) -> str:
    blocker = f"""
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            for blocked in {BLOCKED}:
                if name == blocked or name.startswith(blocked + "."):
                    raise ImportError(name + " is not on the robot")

    sys.meta_path.insert(0, Blocker())
    """
    code = textwrap.dedent(blocker) + textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bundle_runs_without_the_training_stack(written: Path) -> None:
    out = _run(f"""
    import numpy as np
    from simreal.deploy import NumpyPolicy, check_bundle, load

    policy = NumpyPolicy(load({str(written)!r}))
    signals = {{"joint_pos": np.zeros(3), "joint_vel": np.zeros(3)}}
    policy.reset(signals)
    policy.step(signals)
    print(sorted(policy.command_by_name()), len(check_bundle({str(written)!r})))
    try:
        import torch
    except ImportError as error:
        print(error)
    """)
    assert out.splitlines() == ["['elbow', 'shoulder'] 6", "torch is not on the robot"]


def test_loading_needs_no_safetensors_package(written: Path) -> None:
    out = _run(f"""
    import sys
    from simreal.deploy import check_bundle
    check_bundle({str(written)!r})
    print([name for name in ("safetensors", "pickle5", "torch") if name in sys.modules])
    """)
    assert out.strip() == "[]"


def test_import_is_quick() -> None:
    program = """
    import time
    import numpy
    begin = time.process_time()
    import simreal.deploy
    print(time.process_time() - begin)  # a busy machine must not fail this
    """
    assert min(float(_run(program)) for _ in range(3)) < 0.2

"""The generated C gives what training gave, compiles without a warning, and stops at NaN."""

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simreal.core.observation import Term
from simreal.deploy import Bundle, BundleSpec, load, replay, write_bundle
from simreal.deploy.c_policy import CPolicy, compile_policy
from simreal.deploy.c_source import C_HEADER, C_SOURCE, c_files
from simreal.errors import DependencyError

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
Make = Callable[..., BundleSpec]
STRICT = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
SHARED = ("-fPIC", "-shared")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_signal_that_is_not_finite_gives_no_command(
    bad: float, bundles: dict[str, Bundle]
) -> None:
    policy = CPolicy(bundles["tanh"])
    good = {"joint_pos": np.zeros(3), "joint_vel": np.zeros(3)}
    policy.reset(good)
    assert np.isnan(policy.step({**good, "joint_vel": np.array([0.0, bad, 0.0])})).all()
    assert np.isnan(policy.output).all()


@pytest.mark.parametrize("kind", ["tanh", "elu", "relu", "lstm"])
def test_a_weight_that_is_not_finite_is_not_hidden(
    kind: str, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    # No activation and no clip may turn NaN into a number; with -ffast-math they would.
    bundle = bundles[kind]
    files = c_files(bundle)
    text = files[C_SOURCE].decode()
    begin = text.index("bias_0[")
    place = text.index("    ", text.index("{", begin))
    end = text.index(",", place)
    (tmp_path / C_SOURCE).write_text(f"{text[:place]}    NAN{text[end:]}")
    (tmp_path / C_HEADER).write_bytes(files[C_HEADER])
    library = tmp_path / "broken.so"
    flags = ("-std=c99", "-O3", "-march=native", *SHARED)
    command = ["cc", *flags, str(tmp_path / C_SOURCE), "-o", str(library), "-lm"]
    subprocess.run(command, check=True)
    policy = CPolicy(bundle, library)
    assert np.isnan(policy.reset({"joint_pos": np.zeros(3), "joint_vel": np.zeros(3)})).all()


@pytest.mark.parametrize("kind", ["rich", "lstm", "relu"])
def test_it_compiles_as_strict_c99(kind: str, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    library = compile_policy(bundles[kind], tmp_path, (*STRICT, *SHARED))
    assert max(replay(bundles[kind], CPolicy(bundles[kind], library)).values()) < 1e-5


def test_it_allocates_nothing_and_the_same_policy_gives_the_same_bytes(
    bundles: dict[str, Bundle],
) -> None:
    files = c_files(bundles["lstm"])
    assert files == c_files(bundles["lstm"])
    text = files[C_SOURCE].decode()
    assert "alloc" not in text
    assert [line for line in text.splitlines() if line.startswith("#include")] == [
        '#include "policy.h"',
        "#include <math.h>",
        "#include <stdint.h>",
        "#include <string.h>",
    ]


def test_a_name_cannot_leave_its_comment(
    make_spec: Make, rich: tuple[Term, ...], tmp_path: Path
) -> None:
    evil = "*/ int evil(void) { return 1; } /*"
    terms = (dataclasses.replace(rich[0], name=evil), *rich[1:])
    bundle = load(write_bundle(tmp_path / "a.policy", make_spec(observed=terms)))
    text = b"".join(c_files(bundle).values()).decode()
    outside = "".join(part.split("*/", 1)[-1] for part in text.split("/*"))
    assert "evil" in text
    assert "evil" not in outside


def test_a_program_without_python(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    bundle = bundles["rich"]
    for name, content in c_files(bundle).items():
        (tmp_path / name).write_bytes(content)
    rows = np.concatenate([bundle.golden.signals[s.name] for s in bundle.manifest.signals], axis=1)
    text = ",\n".join(", ".join(repr(v) for v in row) for row in rows[:40].tolist())
    (tmp_path / "main.c").write_text(
        '#include "policy.h"\n#include <stdio.h>\n'
        f"static const double rows[] = {{{text}}};\n"
        "int main(void)\n{\n    policy_carry carry;\n    double command[POLICY_COMMANDS];\n"
        "    policy_init(&carry);\n"
        "    for (int i = 0; i < 40; ++i) {\n"
        "        if (policy_step(&carry, rows + i * POLICY_SIGNALS, command)) return 1;\n"
        '        for (int k = 0; k < POLICY_COMMANDS; ++k) printf("%.17g ", command[k]);\n'
        '        printf("\\n");\n    }\n    return 0;\n}\n'
    )
    sources = [str(tmp_path / "main.c"), str(tmp_path / C_SOURCE)]
    subprocess.run(
        ["cc", "-std=c99", "-O2", *sources, "-o", str(tmp_path / "main"), "-lm"], check=True
    )
    out = subprocess.run([str(tmp_path / "main")], capture_output=True, text=True, check=True)
    found = np.array([[float(v) for v in line.split()] for line in out.stdout.splitlines()])
    np.testing.assert_allclose(found, bundle.golden.command[:40], rtol=0, atol=1e-5)


def test_a_missing_compiler_is_named(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DependencyError, match="no C compiler"):
        CPolicy(bundles["tanh"])


def test_a_compiler_that_fails_is_quoted(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="failed on the policy"):
        compile_policy(bundles["tanh"], tmp_path, ("-std=c99", "--no-such-flag"))


def test_every_float_reads_back_as_itself() -> None:
    from simreal.deploy.c_source import _float

    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    again = np.array([np.float32(_float(v)[:-1]) for v in values.tolist()], dtype=np.float32)
    np.testing.assert_array_equal(again.view(np.uint32), values.view(np.uint32))

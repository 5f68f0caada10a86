"""The generated C gives what training gave, compiles without a warning, and stops at NaN."""

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simreal.core.observation import LAST_ACTION, Op, Term
from simreal.deploy import Bundle, BundleSpec, NumpyPolicy, load, replay, write_bundle
from simreal.deploy.c_policy import CPolicy, compile_policy
from simreal.deploy.c_source import C_HEADER, C_SOURCE, c_files
from simreal.errors import DependencyError

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
Make = Callable[..., BundleSpec]
STRICT = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
SHARED = ("-fPIC", "-shared")

# Every operation, history with stride in both orders, both fills.
RICH = (
    Term(
        name="pos",
        source="joint_pos",
        elements=("elbow", "shoulder"),
        ops=(Op("unwrap"), Op("sin"), Op("clip", (-0.7, 0.7))),
        history=3,
        stride=2,
        fill="zero",
    ),
    Term(
        name="vel",
        source="joint_vel",
        elements=("slider", "elbow"),
        ops=(Op("low_pass", (0.3,)), Op("scale", (0.1,)), Op("offset", (-0.2,))),
        history=2,
        order="newest_first",
    ),
    Term(name="turn", source="joint_pos", elements=("elbow",), ops=(Op("wrap"), Op("cos"))),
    Term(name="last", source=LAST_ACTION, elements=("elbow", "shoulder"), history=2, fill="zero"),
)


@pytest.fixture(scope="module")
def bundles(make_spec: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("c")
    specs = {
        "tanh": make_spec(),
        "elu": make_spec(activation="elu", squash="tanh"),
        "relu": make_spec(activation="relu", normalize=False),
        "rich": make_spec(observed=RICH),
        "lstm": make_spec(hidden=8),
    }
    return {name: load(write_bundle(folder / f"{name}.policy", s)) for name, s in specs.items()}


@pytest.mark.parametrize("kind", ["tanh", "elu", "relu", "rich", "lstm"])
def test_it_reproduces_the_golden_episodes(kind: str, bundles: dict[str, Bundle]) -> None:
    bundle = bundles[kind]
    assert bundle.golden.resets == (0, 40)
    worst = replay(bundle, CPolicy(bundle))
    assert max(worst.values()) < 1e-5


def test_it_equals_numpy_in_a_free_run_with_a_second_episode(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["rich"]
    generated, reference = CPolicy(bundle), NumpyPolicy(bundle)
    names = ("elbow", "shoulder", "slider")
    generated.bind(names)
    reference.bind(names)
    rng = np.random.default_rng(5)
    for step in range(30):
        signals = {"joint_pos": rng.normal(0, 3, 3), "joint_vel": rng.normal(0, 3, 3)}
        act = "reset" if step in (0, 13) else "step"
        got, expected = (getattr(p, act)(signals) for p in (generated, reference))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(generated.observation, reference.observation, atol=1e-6)
        np.testing.assert_allclose(generated.action, reference.action, atol=1e-5)


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


def test_a_name_cannot_leave_its_comment(make_spec: Make, tmp_path: Path) -> None:
    evil = "*/ int evil(void) { return 1; } /*"
    terms = (dataclasses.replace(RICH[0], name=evil), *RICH[1:])
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

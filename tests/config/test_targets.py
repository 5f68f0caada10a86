"""What a `_target_` may name, and what its signature says."""

from pathlib import Path
from typing import Any

import pytest

from simreal.config.targets import accepts_any, names, parameters, resolve
from simreal.errors import ConfigError, DependencyError


def test_own_class_is_resolved() -> None:
    from simreal.plugins import Plugin

    assert resolve("simreal.plugins.Plugin") is Plugin


def test_named_class_of_another_package_is_resolved() -> None:
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    assert resolve("stable_baselines3.PPO") is stable_baselines3.PPO


def test_plugin_class_is_resolved(kit: None) -> None:
    assert resolve("toy_kit.Noise").__name__ == "Noise"


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "simrealx.core.Robot",
        "stable_baselines3.A2C",
        "torch.load",
        "simreal",
        "",
        "toy_kit.os.system",
        "toy_kit.np.load",
        "simreal.plugins.functools.partial",
        "simreal.config.targets.importlib.import_module",
        "simreal.plugins.Path",
        "simreal.cli.os.system",
    ],
)
def test_everything_else_is_refused(kit: None, name: str) -> None:
    with pytest.raises(ConfigError):
        resolve(name)


def test_refusal_does_not_import_what_it_refuses(
    kit: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="may not be built"):
        resolve("evil.payload")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("simreal.plugin.Plugin", "Did you mean 'plugins'?"),
        ("simreal.plugins.Plugn", "Did you mean 'Plugin'?"),
        ("simreal.plugins", "not a class or function"),
        ("simreal.plugins.GROUP", "not a class or function"),
        ("simreal..plugins", "has no ''"),
    ],
)
def test_near_miss_is_named(name: str, part: str) -> None:
    with pytest.raises(ConfigError) as info:
        resolve(name)
    assert part in str(info.value)


def test_missing_package_names_the_install_command(
    kit: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "needy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("simreal.config.targets.allowed_prefixes", lambda: ("needy.",))
    with pytest.raises(DependencyError, match=r"no_such_package_at_all.*pip install"):
        resolve("needy.inner.Thing")


def test_parameters_carry_resolved_annotations(kit: None) -> None:
    taken = parameters(resolve("toy_kit.Learner"))
    assert taken["rate"].annotation is float
    assert names(taken) == ["env", "rate"]
    assert accepts_any(taken)


def test_string_annotations_are_resolved() -> None:
    def run(count: "int", other: "list[str]") -> None: ...

    assert parameters(run)["other"].annotation == list[str]


def test_unresolvable_annotation_stays_unchecked() -> None:
    def run(count: "OnlyForTypeCheckers", size: int) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert parameters(run)["count"].annotation is Any
    assert parameters(run)["size"].annotation is int


def test_positional_only_parameters_are_no_keys() -> None:
    def run(first: int, /, second: int, *rest: int) -> None: ...

    assert names(parameters(run)) == ["second"]

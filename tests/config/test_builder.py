"""Building: what reaches a constructor, and what is refused before it."""

import functools
import sys
from typing import Any

import numpy as np
import pytest

from simreal.catalog import Catalog
from simreal.config import build, compose
from simreal.errors import BundleError, ConfigError, ParameterError


@pytest.fixture
def toy(kit: None) -> Any:
    __import__("toy_kit")
    return sys.modules["toy_kit"]


def test_plain_values_are_returned_as_they_are() -> None:
    node = {"a": [1, {"b": None}], "c": "x"}
    assert build(node) == node


def test_nested_targets_are_built_inside_out(toy: Any) -> None:
    built = build(
        {"_target_": "toy_kit.Reach", "horizon": 3, "noise": {"_target_": "toy_kit.Noise"}}
    )
    assert built == toy.Reach(horizon=3, noise=toy.Noise(std=0.0))


def test_lists_of_targets_become_the_annotated_tuple(toy: Any) -> None:
    noises = [{"_target_": "toy_kit.Noise", "std": 1}, {"_target_": "toy_kit.Noise", "std": 2.5}]
    built = build({"_target_": "toy_kit.World", "engine": "mujoco", "noises": noises})
    assert built.noises == (toy.Noise(1.0), toy.Noise(2.5))


def test_int_becomes_float_and_list_becomes_tuple(toy: Any) -> None:
    built = build({"_target_": "toy_kit.Reach", "horizon": 3, "gain": 2, "goal": [1, 2.5]})
    assert isinstance(built.gain, float)
    assert built.goal == (1.0, 2.5)


def test_list_of_numbers_becomes_an_array(toy: Any) -> None:
    built = build({"_target_": "toy_kit.World", "engine": "mujoco", "pose": [0, 0, 1]})
    np.testing.assert_array_equal(built.pose, np.array([0.0, 0.0, 1.0]))
    assert built.pose.dtype == np.float64


def test_whole_float_is_accepted_as_int(toy: Any) -> None:
    built = build({"_target_": "toy_kit.Reach", "horizon": 1e6})
    assert built.horizon == 1_000_000
    assert isinstance(built.horizon, int)


def test_object_is_passed_without_a_copy(toy: Any) -> None:
    noise = toy.Noise(0.5)
    assert build({"_target_": "toy_kit.Reach", "horizon": 3, "noise": noise}).noise is noise


def test_partial_waits_for_the_rest(toy: Any) -> None:
    partial = build({"_target_": "toy_kit.Learner", "_partial_": True, "rate": 1})
    assert isinstance(partial, functools.partial)
    learner = partial(env="env")
    assert (learner.env, learner.rate) == ("env", 1.0)


def test_partial_keywords_are_checked(toy: Any) -> None:
    with pytest.raises(ConfigError, match=r"algo\.horizn: unknown key 'horizn'.*'horizon'"):
        build({"_target_": "toy_kit.Reach", "_partial_": True, "horizn": 1}, "algo")


def test_arbitrary_keywords_reach_a_function_that_takes_them(toy: Any) -> None:
    learner = build({"_target_": "toy_kit.Learner", "env": 1, "batch_size": 64})
    assert learner.options == {"batch_size": 64}


def test_refused_value_names_the_key_and_keeps_the_class(toy: Any) -> None:
    with pytest.raises(ParameterError, match=r"task\.std: std must be at least 0, got -1\.0"):
        build({"_target_": "toy_kit.Noise", "std": -1.0}, "task")


def test_value_error_becomes_a_config_error_with_what_was_seen(toy: Any) -> None:
    with pytest.raises(ConfigError, match=r"task\.horizon: got 0 \(int\): horizon must be at"):
        build({"_target_": "toy_kit.Reach", "horizon": 0}, "task")


def test_first_key_that_a_message_mentions_is_the_one(toy: Any) -> None:
    node = {"_target_": "toy_kit.World", "engine": "mujoco", "dynamics": {"mass": 1, "wight": 2}}
    with pytest.raises(ParameterError, match=r"source\.dynamics\.wight: .*unknown parameter"):
        build(node, "source")


def test_other_errors_of_ours_keep_their_exit_code(toy: Any) -> None:
    with pytest.raises(BundleError, match=r"policy: .*x is damaged") as info:
        build({"_target_": "toy_kit.Broken", "path": "x"}, "policy")
    assert info.value.exit_code == 1


def test_mistakes_in_a_constructor_are_not_hidden(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(self: Any) -> None:
        raise KeyError("inner")

    monkeypatch.setattr(toy.Noise, "__post_init__", explode)
    with pytest.raises(KeyError, match="inner"):
        build({"_target_": "toy_kit.Noise"})


def test_partial_without_target_is_refused() -> None:
    with pytest.raises(ConfigError, match="'_partial_' without '_target_'"):
        build({"_partial_": True, "a": 1}, "algo")


def test_composed_builds_by_key(catalog: Catalog, toy: Any) -> None:
    composed = compose("train", ["task.noise.std=0.25"], catalog)
    assert composed.build("task", toy.Reach).noise == toy.Noise(0.25)
    assert composed.build("task.noise") == toy.Noise(0.25)
    assert composed.build("seed") == 1


def test_composed_names_a_key_that_no_file_sets(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match=r"needs the key 'tsak'.*Did you mean 'task'\?"):
        compose("train", (), catalog).build("tsak")


def test_composed_checks_the_class_of_what_it_built(catalog: Catalog, toy: Any) -> None:
    with pytest.raises(ConfigError, match=r"task: got .*, expected World"):
        compose("train", (), catalog).build("task", toy.World)


def test_settings_take_groups_and_scalars(catalog: Catalog, toy: Any) -> None:
    settings = compose("train", ["seed=5", "factor=1"], catalog).settings(toy.Settings)
    assert (settings.seed, settings.factor, settings.resume) == (5, 1.0, None)
    assert settings.task.horizon == 100
    assert settings.algo(env=0).rate == 0.01


def test_settings_leave_out_groups_they_do_not_take(catalog: Catalog) -> None:
    def run(seed: int, steps: int, name: str, verbose: bool, factor: float, resume: Any) -> int:
        return seed + steps

    assert compose("train", (), catalog).settings(run) == 1001


def test_settings_refuse_a_key_that_nothing_takes(catalog: Catalog) -> None:
    def run(seed: int, steps: int, name: str, verbose: bool, factor: float) -> int:
        return seed

    with pytest.raises(ConfigError, match=r"unknown key 'resume' for run"):
        compose("train", (), catalog).settings(run)

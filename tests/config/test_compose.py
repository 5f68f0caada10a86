"""Composition: precedence, provenance, sweeps, further folders."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from simreal.apps.train import TrainSettings
from simreal.catalog import Catalog
from simreal.config import compose, jobs, resolved_yaml
from simreal.engines.ray_workers import RayWorkers
from simreal.errors import ConfigError


def test_files_are_merged_in_the_order_of_the_defaults_list(catalog: Catalog) -> None:
    composed = compose("train", (), catalog)
    assert composed.values["seed"] == 1
    assert composed.values["task"]["horizon"] == 100
    assert composed.values["source"]["engine"] == "pybullet"
    assert composed.values["source"]["layers"] == [1, 2]
    assert composed.choices["task"] == "reach"
    assert composed.choices["domain@source"] == "bullet"
    assert composed.choices["pair"] is None


def test_recipe_beats_the_primary_file(catalog: Catalog) -> None:
    composed = compose("train", ["pair=heavy"], catalog)
    assert composed.values["seed"] == 7
    assert composed.values["source"]["dynamics"] == {"mass": 3.0}
    assert (composed.choices["task"], composed.choices["source"]) == ("push", "mujoco")


def test_command_line_beats_the_recipe(catalog: Catalog) -> None:
    composed = compose("train", ["pair=heavy", "seed=9", "task=reach"], catalog)
    assert composed.values["seed"] == 9
    assert composed.values["task"]["horizon"] == 100


def test_relocated_option_can_be_chosen(catalog: Catalog) -> None:
    composed = compose("train", ["domain@source=mujoco"], catalog)
    assert composed.values["source"]["engine"] == "mujoco"
    assert composed.values["source"]["layers"] == [1, 2]


def test_key_that_only_the_signature_has_needs_no_plus(catalog: Catalog) -> None:
    composed = compose("train", ["task.gain=2"], catalog)
    assert composed.values["task"]["gain"] == 2


def test_dict_override_merges_and_may_add_what_the_signature_has(catalog: Catalog) -> None:
    composed = compose("train", ["task={gain: 2.0, horizon: 5}"], catalog)
    assert composed.values["task"]["gain"] == 2.0
    assert composed.values["task"]["horizon"] == 5
    assert composed.values["task"]["reward"] == "dense"


def test_free_mapping_takes_a_plus(catalog: Catalog) -> None:
    composed = compose("train", ["+source.dynamics.friction=0.5"], catalog)
    assert composed.values["source"]["dynamics"] == {"mass": 1.0, "friction": 0.5}


def test_key_can_be_removed(catalog: Catalog) -> None:
    assert "mass" not in compose("train", ["~source.dynamics.mass"], catalog).values["source"]


def test_whole_float_is_an_integer_setting(catalog: Catalog) -> None:
    assert compose("train", ["steps=1e6"], catalog).values["steps"] == 1_000_000


def test_values_are_plain_and_resolved(catalog: Catalog, edit: Callable[[str, str], None]) -> None:
    edit("task/push.yaml", "_target_: toy_kit.Reach\nhorizon: ${seed}\ngoal: [1, 2]\n")
    values = compose("train", ["task=push", "seed=4"], catalog).values
    assert values["task"]["horizon"] == 4
    todo: list[object] = [values]
    while todo:
        node = todo.pop()
        assert not isinstance(node, DictConfig | ListConfig)
        todo += list(node.values()) if isinstance(node, dict) else []
        todo += node if isinstance(node, list) else []


def test_global_state_of_hydra_is_given_back(catalog: Catalog) -> None:
    compose("train", (), catalog)
    assert not GlobalHydra.instance().is_initialized()


def test_global_state_of_hydra_is_given_back_after_an_error(catalog: Catalog) -> None:
    with pytest.raises(ConfigError):
        compose("train", ["seeed=1"], catalog)
    assert not GlobalHydra.instance().is_initialized()


def test_unknown_primary_is_named(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match=r"unknown configuration 'trian'.*mean 'train'\?"):
        compose("trian", (), catalog)


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("task.horizon", "task/reach.yaml"),
        ("source.engine", "domain/bullet.yaml"),
        ("source.layers", "source/pybullet.yaml"),
        ("source.layers.1", "source/pybullet.yaml"),
        ("seed", "train.yaml"),
        ("nothing.at.all", "train.yaml"),
    ],
)
def test_origin_of_a_key_is_its_file(catalog: Catalog, conf: Path, key: str, file: str) -> None:
    origins = compose("train", (), catalog).origins
    assert origins.file(key.split(".")) == str(conf / file)


def test_origin_of_a_recipe_value_is_the_recipe(catalog: Catalog, conf: Path) -> None:
    origins = compose("train", ["pair=heavy"], catalog).origins
    assert origins.file(("source", "dynamics", "mass")) == str(conf / "pair/heavy.yaml")
    assert origins.file(("source", "engine")) == str(conf / "domain/mujoco.yaml")


def test_origin_says_what_the_command_line_set(catalog: Catalog) -> None:
    origins = compose("train", ["seed=3"], catalog).origins
    assert origins.where(("seed",)).startswith("command line (")
    assert not origins.where(("steps",)).startswith("command line")


def test_resolved_yaml_composes_back(catalog: Catalog) -> None:
    composed = compose("train", ["pair=heavy"], catalog)
    assert OmegaConf.to_container(OmegaConf.create(resolved_yaml(composed))) == composed.values


def test_without_the_flag_there_is_one_job(catalog: Catalog) -> None:
    assert [job.values["seed"] for job in jobs("train", ["seed=3"], catalog)] == [3]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_sweep_flag_may_stand_anywhere(catalog: Catalog, position: int) -> None:
    arguments = ["seed=1,2", "task=reach,push"]
    arguments.insert(position, "-m")
    found = [(j.values["seed"], j.choices["task"]) for j in jobs("train", arguments, catalog)]
    assert found == [(1, "reach"), (1, "push"), (2, "reach"), (2, "push")]


def test_sweep_over_a_range(catalog: Catalog) -> None:
    found = jobs("train", ["--multirun", "seed=range(0,3)"], catalog)
    assert [job.values["seed"] for job in found] == [0, 1, 2]


def test_every_job_of_a_sweep_is_checked_before_the_first(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="expected int"):
        jobs("train", ["-m", "seed=1,abc"], catalog)


def test_further_folder_adds_options(catalog: Catalog, tmp_path: Path) -> None:
    mine = tmp_path / "it's mine"
    (mine / "task").mkdir(parents=True)
    (mine / "task" / "lift.yaml").write_text("_target_: toy_kit.Reach\nhorizon: 42\n")
    composed = compose("train", [f"hydra.searchpath=[file://{mine}]", "task=lift"], catalog)
    assert composed.values["task"]["horizon"] == 42
    assert composed.origins.file(("task", "horizon")) == str(mine / "task/lift.yaml")


@pytest.mark.parametrize("written", [lambda p: p.as_uri(), lambda p: p.name])
def test_a_further_folder_is_part_of_what_a_run_began_with(
    catalog: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: Callable[[Path], str],
) -> None:
    mine = tmp_path / "my own"
    (mine / "task").mkdir(parents=True)
    (mine / "task" / "lift.yaml").write_text("_target_: toy_kit.Reach\nhorizon: 42\n")
    monkeypatch.chdir(tmp_path)
    words = [f"hydra.searchpath=[{written(mine)}]", "task=lift", "seed=3,4", "-m"]
    first, second = jobs("train", words, catalog)
    assert first.overrides == (f"hydra.searchpath=[{mine.as_uri()}]", "task=lift", "seed=3")
    monkeypatch.chdir("/")
    again = compose("train", second.overrides, catalog)
    assert (again.values["task"]["horizon"], again.values["seed"]) == (42, 4)
    assert again.overrides == second.overrides


def test_shipped_option_is_not_shadowed(catalog: Catalog, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "task").mkdir(parents=True)
    (mine / "task" / "reach.yaml").write_text("_target_: toy_kit.Reach\nhorizon: 42\n")
    composed = compose("train", [f"hydra.searchpath=[{mine}]"], catalog)
    assert composed.values["task"]["horizon"] == 100


def test_option_may_fill_the_key_of_another_group_from_the_root(
    catalog: Catalog, edit: Callable[[str, str], None]
) -> None:
    text = "# @package _global_\nevaluation:\n  episodes: 5\n"
    edit("pair/heavy.yaml", text)
    assert compose("train", ["pair=heavy"], catalog).values["evaluation"] == {"episodes": 5}


def test_recipe_with_a_misspelled_root_key_does_not_even_compose(
    catalog: Catalog, edit: Callable[[str, str], None]
) -> None:
    edit("pair/heavy.yaml", "# @package _global_\nsead: 3\n")
    with pytest.raises(ConfigError, match=r"heavy\.yaml: unknown key 'sead'.*mean 'seed'"):
        compose("train", ["pair=heavy"], catalog)


def test_settings_that_may_be_a_number_or_an_object_take_either() -> None:
    target = "simreal.engines.ray_workers.RayWorkers"
    composed = compose("train", [f"workers={{_target_: {target}, count: 3, cpus: 0.5}}"])
    assert composed.settings(TrainSettings).workers == RayWorkers(count=3, cpus=0.5)
    assert compose("train", ["workers=2"]).settings(TrainSettings).workers == 2
    wrong = compose("train", [f"workers={{_target_: {target}, count: 0}}"])
    with pytest.raises(ConfigError, match=r"workers.count: count is 0"):
        wrong.settings(TrainSettings)

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simreal.errors import CheckpointError
from simreal.learning.identity import check_identity, identity_of


def test_every_leaf_has_a_name(toy_domain: Callable[..., Any]) -> None:
    found = identity_of(seed=3, domain=toy_domain(busy=True), widths=(8, 8)).table
    assert found["seed"] == "3"
    assert found["widths"] == "(8, 8)"
    assert found["domain"] == "Domain"
    assert found["domain.actuation.command_delay"] == "0.011"
    assert found["domain.dynamics.armature.*"] == "0.0"
    assert found["domain.randomization.params.mass.*.distribution.high"] == "1.1"


def test_plain_objects_are_taken_apart(toy_task: Any) -> None:
    found = identity_of(task=toy_task).table
    assert found["task.torque_nm"] == "1.2"
    assert "0x" not in "".join(found.values())


def test_equal_settings_pass(toy_domain: Callable[..., Any]) -> None:
    table = identity_of(domain=toy_domain())
    check_identity(table, dict(table.table), "here")


def test_the_first_difference_is_named(toy_domain: Callable[..., Any]) -> None:
    old = toy_domain()
    new = replace(old, dynamics={"armature": {"*": 0.0}, "gravity": 3.7})
    with pytest.raises(
        CheckpointError,
        match=r"here is of another run: domain\.dynamics\.gravity was absent, now 3\.7",
    ) as caught:
        check_identity(identity_of(domain=new), identity_of(domain=old).table, "here")
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"gravity was 3\.7, now absent"):
        check_identity(identity_of(domain=old), identity_of(domain=new).table, "here")


def test_a_setting_that_is_newer_than_the_run_counts_as_its_default(toy_algo: Any) -> None:
    old = identity_of(algo=toy_algo("ppo")).table
    del old["algo.normalize_every_step"]
    check_identity(identity_of(algo=toy_algo("ppo")), old, "here")
    with pytest.raises(CheckpointError, match="normalize_every_step was absent, now True"):
        check_identity(identity_of(algo=toy_algo("ppo", normalize_every_step=True)), old, "here")


def test_a_setting_that_the_run_had_counts_even_where_it_is_now_the_default(toy_algo: Any) -> None:
    old = identity_of(algo=toy_algo("ppo", normalize_every_step=True)).table
    with pytest.raises(CheckpointError, match="normalize_every_step was True, now False"):
        check_identity(identity_of(algo=toy_algo("ppo")), old, "here")
    old["algo.gone"] = "1"
    del old["algo.normalize_every_step"]
    with pytest.raises(CheckpointError, match=r"algo\.gone was 1, now absent"):
        check_identity(identity_of(algo=toy_algo("ppo")), old, "here")


def test_a_changed_reward_weight_of_the_task_counts(toy_task: Any) -> None:
    other = type(toy_task)(torque_nm=1.3)
    with pytest.raises(CheckpointError, match=r"task\.torque_nm was 1\.2, now 1\.3"):
        check_identity(identity_of(task=other), identity_of(task=toy_task).table, "here")


@pytest.mark.parametrize("name", ["Hopper", "Ant"])
def test_a_task_that_ran_is_the_same_task(name: str, toy_domain: Callable[..., Any]) -> None:
    pytest.importorskip("mujoco")
    from simreal.domains import SimVecEnv
    from simreal_envs import robots
    from simreal_envs.tasks import bullet_locomotion

    make = getattr(bullet_locomotion, f"{name}Bullet")
    task = make()
    env = SimVecEnv(getattr(robots, name.lower())(), task, toy_domain(dynamics={}), 16)
    env.reset(seed=0)
    env.step(np.zeros((16, env.action_map.dim)))
    env.close()
    check_identity(identity_of(task=make()), identity_of(task=task).table, "here")

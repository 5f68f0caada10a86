"""The importers' known differences are found, with their numbers; equal models are equal."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simreal.engines.model_check import (
    BASE,
    Group,
    LoadedBody,
    LoadedJoint,
    LoadedModel,
    Piece,
    compare,
    load_all,
)
from simreal.errors import ConfigError

ARM = """
<robot name="arm">
  <link name="base"/>
  <link name="arm">
    <inertial>
      <origin xyz="0 0 -0.2"/><mass value="{mass}"/>
      <inertia ixx="0.02" iyy="0.02" izz="0.02" ixy="0" ixz="0" iyz="0"/>
    </inertial>
  </link>
  <joint name="hinge" type="continuous">
    <parent link="base"/><child link="arm"/><axis xyz="0 1 0"/>
    <dynamics damping="0.3" friction="0.1"/>
  </joint>
</robot>
"""


def installed() -> None:
    pytest.importorskip("pybullet")
    pytest.importorskip("mujoco")


def asset(name: str) -> Path:
    installed()
    gymnasium = pytest.importorskip("gymnasium")
    return Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / name


def loaded(path: Path) -> tuple[LoadedModel, LoadedModel]:
    bullet, mujoco = load_all(path)
    assert (bullet.engine, mujoco.engine) == ("pybullet", "mujoco")
    assert (bullet.error, mujoco.error) == ("", "")
    return bullet, mujoco


def differing(models: tuple[LoadedModel, ...]) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {(e.part, e.quantity): e.values for e in compare(models) if e.differs}


def test_a1_loses_its_free_base_in_mujoco() -> None:
    installed()
    data = pytest.importorskip("pybullet_data")
    bullet, mujoco = loaded(Path(data.getDataPath()) / "a1" / "a1.urdf")
    assert bullet.total_mass == pytest.approx(12.46, abs=0.005)
    assert mujoco.total_mass == pytest.approx(7.74, abs=0.005)
    found = differing((bullet, mujoco))
    assert found["total", "base"] == ("free", "fixed")
    assert found[f"trunk {BASE}", "mass [kg]"] == (pytest.approx(4.714), None)
    # The toes that MuJoCo merges into the lower legs are no difference.
    assert ("FR_lower on FR_lower_joint", "mass [kg]") not in found


def test_half_cheetah_has_another_total_mass() -> None:
    bullet, mujoco = loaded(asset("half_cheetah.xml"))
    assert bullet.total_mass == pytest.approx(21.18, abs=0.005)
    assert mujoco.total_mass == pytest.approx(14.0)
    found = differing((bullet, mujoco))
    assert found["torso on rooty", "mass [kg]"] == pytest.approx((9.457, 6.25), abs=1e-3)
    assert found["joint bthigh", "armature"] == (0.0, 0.1)


def test_ant_has_another_density() -> None:
    bullet, mujoco = loaded(asset("ant.xml"))
    assert bullet.total_mass == pytest.approx(182.2, abs=0.05)
    assert mujoco.total_mass == pytest.approx(0.911, abs=5e-4)
    assert bullet.base_moves
    assert mujoco.base_moves
    found = differing((bullet, mujoco))
    assert ("aux_1 on hip_1", "center of mass [m]") not in found
    assert ("joint hip_1", "axis") not in found


def test_hopper_has_armature_in_one_of_them() -> None:
    models = loaded(asset("hopper.xml"))
    assert models[0].total_mass == pytest.approx(models[1].total_mass, rel=1e-6)
    found = differing(models)
    for joint in ("thigh_joint", "leg_joint", "foot_joint"):
        assert found[f"joint {joint}", "armature"] == (0.0, 1.0)
        assert found[f"joint {joint}", "damping"] == (0.0, 1.0)
    assert ("joint rootx", "armature") not in found
    assert ("total", "mass [kg]") not in found


def test_a_plain_urdf_is_read_alike_but_for_its_massless_base(tmp_path: Path) -> None:
    installed()
    file = tmp_path / "arm.urdf"
    file.write_text(ARM.format(mass=1.5))
    found = differing(loaded(file))
    parts = {part for part, _ in found}
    # Bullet gives a link without inertial 1 kg, which frees the base.
    assert found["total", "mass [kg]"] == (2.5, 1.5)
    assert parts == {"total", f"base {BASE}", "arm on hinge"}
    assert {quantity for part, quantity in found if part == "arm on hinge"} == {
        "principal moments [kg m^2]"
    }


@pytest.mark.parametrize("text", ["", "garbage", "<robot name='x'><joint/></robot>"])
def test_what_no_engine_reads_carries_both_reasons(tmp_path: Path, text: str) -> None:
    installed()
    file = tmp_path / "bad.urdf"
    file.write_text(text)
    for model in load_all(file):
        assert len(model.error) > 10
        assert "\n" not in model.error


def test_one_engine_may_refuse(tmp_path: Path) -> None:
    installed()
    file = tmp_path / "massless.xml"
    file.write_text("<mujoco><worldbody><body><joint/></body></worldbody></mujoco>")
    bullet, mujoco = load_all(file)
    assert bullet.error == ""
    assert "mass and inertia of moving bodies" in mujoco.error


def test_missing_meshes_are_left_out_and_said(tmp_path: Path) -> None:
    installed()
    file = tmp_path / "mesh.xml"
    file.write_text(
        "<mujoco><asset><mesh name='m' file='none.stl'/></asset><worldbody><body>"
        "<inertial pos='0 0 0' mass='2' diaginertia='1 1 1'/><joint name='j'/>"
        "<geom type='mesh' mesh='m'/></body></worldbody></mujoco>"
    )
    mujoco = load_all(file)[1]
    assert mujoco.total_mass == 2.0
    assert "1 mesh shapes left out" in mujoco.notes[0]


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.urdf"):
        load_all(tmp_path / "no.urdf")


def test_a_loader_that_crashes_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = tmp_path / "crash_loader.py"
    crash.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("simreal.engines.model_check._LOADERS", {"mujoco": "crash_loader"})
    file = tmp_path / "x.urdf"
    file.write_text(ARM.format(mass=1.0))
    assert load_all(file)[0].error == "its importer crashed on the file (signal 11)"


def test_welded_links_merge_into_one_rigid_body() -> None:
    halves = [
        Piece(1.0, np.array([0.0, 0.0, z]), np.diag([0.1, 0.1, 0.2]), f"half{z:g}") for z in (1, 3)
    ]
    body = Group("hinge", np.array([0.0, 0.0, 0.5]), halves).body()
    assert body is not None
    assert body.mass == 2.0
    assert body.com == (0.0, 0.0, 1.5)
    # 0.2 each about its own center, plus 1 kg at 1 m on both sides
    assert body.moments == pytest.approx((0.4, 2.2, 2.2))
    assert Group("hinge", np.zeros(3), [Piece(0.0, np.zeros(3), np.zeros((3, 3)))]).body() is None


def model(**changes: object) -> LoadedModel:
    joint = {
        "name": "hinge",
        "kind": "hinge",
        "axis": (0.0, 1.0, 0.0),
        "lower": -math.inf,
        "upper": math.inf,
        "damping": 0.1,
        "friction": 0.0,
        "armature": 0.0,
    }
    body = {
        "joint": "hinge",
        "name": "arm",
        "mass": 1.0,
        "com": (0.0, 0.0, 0.1),
        "moments": (0.1, 0.2, 0.3),
    }
    for name, value in changes.items():
        (joint if name in joint else body)[name] = value
    return LoadedModel(engine="any", bodies=(LoadedBody(**body),), joints=(LoadedJoint(**joint),))


@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        ({"mass": 1.01}, "mass [kg]"),
        ({"com": (0.0, 0.0, 0.101)}, "center of mass [m]"),
        ({"moments": (0.1, 0.2, 0.31)}, "principal moments [kg m^2]"),
        ({"axis": (0.0, -1.0, 0.0)}, "axis"),
        ({"upper": 3.0}, "range [rad or m]"),
        ({"damping": 0.11}, "damping"),
        ({"friction": 0.01}, "dry friction"),
        ({"armature": 0.01}, "armature"),
        ({"kind": "slide"}, "kind"),
    ],
)
def test_each_quantity_is_compared(change: dict[str, Any], quantity: str) -> None:
    assert not differing((model(), model()))
    assert quantity in {name for _, name in differing((model(), model(**change)))}


def test_rounding_is_no_difference() -> None:
    near = model(mass=1.0 + 1e-5, com=(1e-6, 0.0, 0.1), damping=0.1 * (1 + 1e-5))
    assert not differing((model(), near))

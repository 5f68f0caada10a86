"""A bundle of an earlier schema is brought to the present one without changing its weights."""

from dataclasses import replace
from pathlib import Path

import pytest

from simreal.deploy import check_bundle, load
from simreal.deploy.manifest import SCHEMA_VERSION
from simreal.errors import BundleError
from simreal.learning.artifact import record_again
from simreal.paths import policies_dir
from simreal_envs.domains import domain
from simreal_envs.robots import simple_pendulum
from simreal_envs.tasks.pendulum import PendulumSwingUp

OLD = Path(__file__).parents[1] / "deploy" / "schema_1_0" / "pendulum"


def test_golden_vectors_are_recorded_anew_and_weights_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.policy"
    record_again(path, load(OLD), simple_pendulum(), PendulumSwingUp(), domain("pybullet_ideal"))
    weights = "weights.safetensors"
    assert (path / weights).read_bytes() == (OLD / weights).read_bytes()
    bundle = load(path)
    assert '"schema_version": "1.1"' in (path / "manifest.json").read_text()
    assert bundle.manifest.schema_version == SCHEMA_VERSION
    assert bundle.golden.resets == (0, 120)
    assert len(check_bundle(path)) == 6
    old = load(OLD).manifest
    assert bundle.manifest.provenance == old.provenance
    assert bundle.manifest.robot == old.robot


def test_another_domain_is_refused(tmp_path: Path) -> None:
    other = replace(domain("pybullet_ideal"), name="elsewhere")
    with pytest.raises(BundleError, match="trained in 'pybullet_ideal', and 'elsewhere' was given"):
        record_again(tmp_path / "a.policy", load(OLD), simple_pendulum(), PendulumSwingUp(), other)


@pytest.mark.parametrize("path", sorted(p for p in policies_dir().iterdir() if p.is_dir()))
def test_shipped_policies_are_of_the_present_schema(path: Path) -> None:
    assert f'"schema_version": "{SCHEMA_VERSION}"' in (path / "manifest.json").read_text()
    assert len(load(path).golden.resets) == 2

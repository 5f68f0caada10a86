"""A bundle of every earlier schema loads, replays, and says the same as before."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simreal.deploy import check_bundle, load
from simreal.deploy.manifest import SCHEMA_VERSION, decode_manifest
from simreal.deploy.migrations import MIGRATIONS, upgrade
from simreal.errors import BundleError

OLD = Path(__file__).parent / "schema_1_0" / "pendulum"


@pytest.fixture
def old() -> dict[str, Any]:
    return dict(json.loads((OLD / "manifest.json").read_text()))


def test_every_older_schema_leads_to_the_present_one() -> None:
    for version in MIGRATIONS:
        seen = [version]
        while seen[-1] != SCHEMA_VERSION:
            seen.append(MIGRATIONS[seen[-1]][0])
            assert len(set(seen)) == len(seen)


def test_a_bundle_of_schema_1_0_loads_and_replays(old: dict[str, Any]) -> None:
    assert old["schema_version"] == "1.0"
    lines = check_bundle(OLD)
    assert lines[-1].startswith("golden replay: 200 steps")


def test_what_schema_1_0_left_open_gets_what_its_controllers_used(old: dict[str, Any]) -> None:
    manifest = load(OLD).manifest
    assert manifest.schema_version == SCHEMA_VERSION
    assert manifest.timing.rate_tolerance == 0.05
    assert manifest.timing.deadline_s == manifest.timing.control_period_s == 0.01
    assert manifest.timing.max_consecutive_overruns == 3
    assert manifest.golden.resets == (0,)
    assert manifest.network.kind == "mlp"
    assert manifest.network.recurrent is None
    assert manifest.safety.stale_hold_steps == 0
    # From one limit to the other, 2 * 2.5 Nm, within a period of 10 ms.
    assert old["safety"]["torque_limit"] == {"shoulder": 2.5}
    assert manifest.safety.torque_rate_max == {"shoulder": 500.0}
    assert manifest.safety.joint_position == {}  # the joint turns without a limit
    assert [(t.stride, t.order) for t in manifest.observation.terms] == [(1, "oldest_first")] * len(
        manifest.observation.terms
    )


def test_the_range_of_a_limited_joint_is_kept(old: dict[str, Any]) -> None:
    old["robot"]["joints"][0].update(lower=-2.0, upper=1.5)
    assert upgrade(old, SCHEMA_VERSION)["safety"]["joint_position"] == {"shoulder": [-2.0, 1.5]}


def test_upgrading_leaves_its_argument_alone(old: dict[str, Any]) -> None:
    before = json.dumps(old)
    upgrade(old, SCHEMA_VERSION)
    assert json.dumps(old) == before


def test_an_upgraded_manifest_is_written_in_the_present_schema(old: dict[str, Any]) -> None:
    again = decode_manifest(decode_manifest(json.dumps(old).encode()).to_bytes())
    assert again == load(OLD).manifest


def test_the_identity_of_an_old_bundle_is_the_hash_of_what_it_holds() -> None:
    import hashlib

    expected = hashlib.sha256((OLD / "manifest.json").read_bytes()).hexdigest()
    assert load(OLD).sha256 == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version="1.7"), "schema_version: expected one of 1.0, 1.1"),
        (lambda m: m["timing"].update(deadline_s=1.0), "found the unknown key 'deadline_s'"),
        (lambda m: m.update(license="MIT"), "manifest: expected only the keys of the schema"),
        (lambda m: m.pop("robot"), "manifest: expected one of schema 1.0"),
        (lambda m: m.update(signals=3), "manifest: expected one of schema 1.0"),
        (lambda m: m["timing"].update(control_period_s=0), "control_period_s: expected more than"),
        (lambda m: m["timing"].update(control_period_s="x"), "expected one of schema 1.0"),
        (lambda m: m["timing"].update(control_period_s=1e-320), "a finite number"),
        (lambda m: m["safety"].update(torque_limit={"shoulder": 2**70}), "torque_limit.shoulder"),
    ],
)
def test_a_broken_old_bundle_is_refused_in_one_line(
    change: Callable[[dict[str, Any]], Any], message: str, old: dict[str, Any], tmp_path: Path
) -> None:
    path = Path(shutil.copytree(OLD, tmp_path / "a.policy"))
    change(old)
    (path / "manifest.json").write_text(json.dumps(old))
    with pytest.raises(BundleError) as caught:
        load(path)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()

"""The card says what the manifest says, and how sure its figures are."""

import dataclasses
from pathlib import Path

import pytest

from simreal.deploy import load, render_card, wilson_interval


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # z^2 / (n + z^2)
        (10, 10, 0.7225, 1.0),
        (196, 200, 0.9497, 0.9922),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson_interval(successes: int, episodes: int, low: float, high: float) -> None:
    found = wilson_interval(successes, episodes)
    assert found == pytest.approx((low, high), abs=1e-4)


def test_a_wider_interval_covers_more() -> None:
    narrow, wide = wilson_interval(5, 10, 0.5), wilson_interval(5, 10, 0.99)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


def test_card(written: Path) -> None:
    bundle = load(written)
    card = (written / "CARD.md").read_text()
    assert card == render_card(bundle.manifest, bundle.sha256)
    assert card.startswith("# arm-test\n")
    assert "| bullet | 7 | 98.0 % (196 of 200) | 95.0 to 99.2 % | - |" in card
    assert "| Algorithm | ppo, seed 7, 1,000,000 environment steps |" in card
    assert "| Network | 13-16-16-2 |" in card
    assert "| Control rate | 100 Hz |" in card
    assert "- command of `elbow`: torque, -6 to 6 Nm" in card
    assert "- command of `shoulder`: position, -0.25 to 0.75 rad" in card
    assert "- signal `joint_pos`: shoulder [rad], slider [m], elbow [rad]" in card
    assert bundle.sha256 in card
    assert "Created" not in card


def test_loading_takes_five_lines(written: Path) -> None:
    code = (written / "CARD.md").read_text().split("```")[1]
    assert len(code.strip().splitlines()) == 6  # the language and five lines


def test_notes_and_time(written: Path) -> None:
    manifest = load(written).manifest
    card = render_card(manifest, "f" * 64, notes="Handle with care.", created="2026-01-02")
    title, summary, notes = card.split("\n\n")[:3]
    assert (title, notes) == ("# arm-test", "Handle with care.")
    assert summary.startswith(f"{manifest.provenance.task} on {manifest.robot.id}, trained in ")
    assert "| Created | 2026-01-02 |" in card


def test_without_figures(written: Path) -> None:
    manifest = load(written).manifest
    origin = dataclasses.replace(manifest.provenance, evaluation=(), versions={})
    card = render_card(dataclasses.replace(manifest, provenance=origin), "f" * 64)
    assert "Not evaluated." in card
    assert "| Versions | not recorded |" in card

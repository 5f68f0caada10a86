"""The README's table of robots that logs leave open is what the results file says."""

import json
from pathlib import Path

import identified_transfer
from simreal.config import compose
from simreal.transfer import FineTune, Scratch

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_shows_what_was_measured() -> None:
    content = json.loads((ROOT / "benchmarks/results/identified_transfer.json").read_text())
    shown = (ROOT / "README.md").read_text().partition("<!-- table:identified_transfer -->\n")[2]
    assert shown.partition("\n<!-- /table -->")[0] == identified_transfer.markdown(content)


def test_from_scratch_takes_as_many_steps() -> None:
    tuned = compose("transfer", ["transfer=fine_tune_drawn"]).build("transfer", FineTune)
    words = ["transfer=scratch", *identified_transfer._SCRATCH_PLAN]
    scratch = compose("transfer", words).build("transfer", Scratch)
    for name in ("num_steps", "eval_every", "eval_episodes"):
        assert getattr(scratch.plan, name) == getattr(tuned.plan, name)

"""Train on what logs leave open, and judge on what other logs of the same robot say.

The DFKI double pendulum: two halves of its eight logs are identified apart. Policies are fine-tuned
on robots drawn from what the first half leaves open, and measured on those, and on robots drawn
from what the second half leaves open, which the training has not seen; so is training from scratch
with as many steps. Everything is a command of the kit; the kit has none of the logs.

    python benchmarks/identified_transfer.py --logs FOLDER --policies POLICY ... --jobs 2
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rounds import RESULTS
from simreal import cli
from transfer_table import ROOT, Run, execute, write_readme

DOMAINS = {
    "own_drawn": "drawn from the logs it was trained on",
    "others_drawn": "drawn from the other logs",
    "mujoco_real": "`mujoco_real`",
}
SCRATCH = "scratch"


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--policies", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=1, help="trainings from scratch")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "identified_transfer")
    parser.add_argument("--output", type=Path, default=RESULTS / "identified_transfer.json")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    files = sorted(args.logs.glob("*.csv*"))
    search = ",".join(
        _identified(args.folder, name, fitted, held_out, args.jobs)
        for name, fitted, held_out in (
            ("own", files[::2], files[1::2]),
            ("others", files[1::2], files[::2]),
        )
    )
    path = f"hydra.searchpath=[{search}]"
    tuned = [
        _run(args.folder, path, f"tuned-{i}", "fine_tune_drawn", f"policy={policy}")
        for i, policy in enumerate(args.policies)
    ]
    scratch = [
        _run(args.folder, path, f"scratch-{seed}", SCRATCH, f"seed={seed}", *_SCRATCH_PLAN)
        for seed in range(args.seeds)
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(execute, [*tuned, *scratch]))
    content = _measured(args, path, tuned, scratch)
    args.output.write_text(json.dumps(content, indent=1) + "\n")
    if args.output == RESULTS / "identified_transfer.json":
        write_readme("identified_transfer", markdown(content))
    print(markdown(content))
    return 0


_SCRATCH_PLAN = (
    "transfer.plan.num_steps=3000000",
    "transfer.plan.eval_every=300000",
    "transfer.plan.eval_episodes=100",
)
"""As many steps as in `conf/transfer/fine_tune_drawn.yaml`."""


def _identified(
    folder: Path, name: str, fitted: list[Path], held_out: list[Path], jobs: int
) -> str:
    """Identify one half of the logs unless that was done; return where its targets are."""
    place = folder / f"identified-{name}"
    if not (place / "identification.json").is_file():
        files, held = (
            f"{key}=[{','.join(map(str, part))}]"
            for key, part in (("files", fitted), ("held_out", held_out))
        )
        words = (files, held, f"name={name}", f"fit.workers={jobs}", f"output={place}")
        if cli.main(["identify", *words]):
            raise SystemExit(f"{place}: the identification failed")
    return (place / "conf").resolve().as_uri()


def _run(folder: Path, path: str, name: str, method: str, *more: str) -> Run:
    words = ("transfer", path, "target=own_drawn", f"transfer={method}", *more)
    return Run(method, folder / name, words)


def _measured(
    args: argparse.Namespace, path: str, tuned: list[Run], scratch: list[Run]
) -> dict[str, Any]:
    """Measure all policies; return the content of the results file."""
    policies = [*args.policies, *(run.folder for run in (*tuned, *scratch))]
    place = args.folder / "evaluation"
    if not (place / "evaluation.json").is_file():
        wanted = ",".join(map(str, policies))
        domains = f"target={','.join(DOMAINS)}"
        words = (path, f"policy=[{wanted}]", domains, "-m", f"output={place}")
        if cli.main(["evaluate", *words]):
            raise SystemExit(f"{place}: the evaluation failed")
    found = json.loads((place / "evaluation.json").read_text())
    cells: dict[str, dict[str, Any]] = {}
    for cell in found["cells"]:
        cells.setdefault(cell["policy"], {})[cell["domain"]] = cell["success"]
    labels = list(cells)
    count = len(args.policies)
    rows = []
    for i, label in enumerate(labels):
        kind = "before" if i < count else "after" if i < 2 * count else SCRATCH
        rows.append({"policy": label, "kind": kind, "number": i % count, "success": cells[label]})
    runs = {}
    for run in (*tuned, *scratch):
        summary = json.loads((run.folder / "summary.json").read_text())
        runs[run.folder.name] = {key: summary[key] for key in ("train_steps", "eval_steps")}
    return {
        "policies": [Path(policy).name for policy in args.policies],
        "rows": rows,
        "runs": runs,
        "identified": {
            name: _kept(args.folder / f"identified-{name}/identification.json")
            for name in ("own", "others")
        },
        "provenance": found["provenance"],
    }


def _kept(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    return {key: content[key] for key in ("unknowns", "costs", "at_bounds", "errors", "provenance")}


def markdown(content: dict[str, Any]) -> str:
    """Return the table of the README.

    Args:
        content: Of the results file.
    """
    sources = (f"source {i}" for i in range(len(content["policies"])))
    heads = ("success of 200 episodes on robots", *sources, SCRATCH)
    lines = [heads, ("---",) * len(heads)]
    for domain, title in DOMAINS.items():
        cells: list[str] = []
        for i in range(len(content["policies"])):
            before, after = (
                _percent(row, domain)
                for kind in ("before", "after")
                for row in content["rows"]
                if row["kind"] == kind and row["number"] == i
            )
            cells.append(f"{before} → {after} %")
        last = [_percent(r, domain) for r in content["rows"] if r["kind"] == SCRATCH]
        lines.append((title, *cells, f"{', '.join(last)} %"))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(row: dict[str, Any], domain: str) -> str:
    return f"{100.0 * row['success'][domain]['estimate']:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())

"""Write the tables of the README from the results files, so that no number is typed.

python benchmarks/readme_tables.py          # write
python benchmarks/readme_tables.py --check  # fail if the README differs
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_MARK = re.compile(r"<!-- table:(\w+) -->\n.*?<!-- /table -->", re.DOTALL)


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    path = ROOT / "README.md"
    old = path.read_text()
    new = render(old, ROOT / "benchmarks" / "results")
    if args.check:
        print("README is up to date" if new == old else "README differs from the results files")
        return int(new != old)
    path.write_text(new)
    return 0


def render(text: str, results: Path) -> str:
    """Return a text with its tables written anew.

    Args:
        text: A Markdown text with `<!-- table:NAME -->` marks.
        results: Folder of the results files.
    """

    def replace(match: re.Match[str]) -> str:
        content = json.loads((results / f"{match.group(1)}.json").read_text())
        return f"<!-- table:{match.group(1)} -->\n{transfer_table(content)}<!-- /table -->"

    return _MARK.sub(replace, text)


def transfer_table(content: dict[str, Any]) -> str:
    """Return the table of a transfer benchmark.

    Args:
        content: A results file of `transfer_table.py`.
    """
    seeds = len(content["provenance"]["seeds"])
    lines = [
        f"| {seeds} seeds, {content['episodes_per_seed']} episodes each | measured on "
        "| target steps | success, 95 % interval | worst seed | return (IQM) | against scratch |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        success = (
            f"{100 * row['success']:.1f} % [{100 * row['success_low']:.1f}, "
            f"{100 * row['success_high']:.1f}]"
        )
        worst = f"{100 * min(row['success_by_seed']):.1f} %"
        steps = f"{row['target_steps']:,}"
        judged = row.get("verdict", "")
        lines.append(
            f"| {row['row']} | {row['domain']} | {steps} | {success} | {worst} "
            f"| {row['return_iqm']:.1f} | {judged} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())

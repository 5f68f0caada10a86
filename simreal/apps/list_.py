"""List what can be chosen: every group and option, plugins included, and the shipped policies."""

from pathlib import Path

from simreal.catalog import Catalog, Option
from simreal.errors import unknown_name
from simreal.paths import policies_dir

POLICIES = "policies"


def main(args: list[str]) -> int:
    """Print groups with their options.

    Args:
        args: Names of groups, or `policies`; everything when empty.

    Raises:
        UnknownNameError: For a group that does not exist.
    """
    catalog = Catalog.default()
    known = (*catalog.groups, POLICIES)
    for name in args:
        if name not in known:
            raise unknown_name("group", name, known)
    sections = [section(name, catalog) for name in (args or known)]
    print("\n\n".join(text for text in sections if text))
    return 0


def section(name: str, catalog: Catalog) -> str:
    """Return one group as text.

    Args:
        name: Name of a group, or `policies`.
        catalog: What can be chosen.
    """
    if name == POLICIES:
        rows = [(bundle.name, _card_line(bundle)) for bundle in _bundles()]
    else:
        rows = [(o.name, _describe(o)) for o in catalog.options(name).values()]
    width = max((len(label) for label, _ in rows), default=0)
    lines = [f"  {label:<{width}}  {text}".rstrip() for label, text in rows] or ["  (none)"]
    return "\n".join([name, *lines])


def _describe(option: Option) -> str:
    origin = f" [{option.provider}]" if option.provider else ""
    return f"{option.summary}{origin}".strip()


def _bundles() -> list[Path]:
    return sorted(path.parent for path in policies_dir().glob("*/manifest.json"))


def _card_line(bundle: Path) -> str:
    card = bundle / "CARD.md"
    if not card.is_file():
        return ""
    lines = (line.strip() for line in card.read_text(encoding="utf-8").splitlines())
    return next((line for line in lines if line and not line.startswith(("#", "|", "-"))), "")

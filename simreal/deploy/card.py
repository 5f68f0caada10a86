"""Write the card of a bundle from its manifest.

A reader without tools must see what a policy is for, how well it did and how sure that is. The card
is generated, never read back: the manifest stays the only source of truth.
"""

import math
from statistics import NormalDist

from simreal.deploy.manifest import Evaluation, Manifest


def wilson_interval(successes: int, episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate.

    Args:
        successes: Number of successful episodes.
        episodes: Number of episodes, at least 1.
        confidence: Coverage.

    Returns:
        Lower and upper end, in [0, 1].
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, z2 = successes / episodes, z * z
    center = (rate + z2 / (2 * episodes)) / (1 + z2 / episodes)
    spread = rate * (1 - rate) / episodes + z2 / (4 * episodes**2)
    half = z * math.sqrt(spread) / (1 + z2 / episodes)
    return max(0.0, center - half), min(1.0, center + half)


def render_card(
    manifest: Manifest, sha256: str, *, notes: str = "", created: str | None = None
) -> str:
    """Return the card as Markdown.

    Args:
        manifest: The manifest.
        sha256: Hash of the manifest.
        notes: Text to put under the title.
        created: When the bundle was written; left out if None, so that the same policy gives the
            same card.
    """
    sections = [
        f"# {manifest.name}",
        _summary(manifest),
        notes.strip(),
        _about(manifest, sha256, created),
        "## How well it does\n\n" + _figures(manifest.provenance.evaluation),
        _interface(manifest),
        _loading(manifest),
        "The controller's protections are no certified functional safety: keep an emergency stop "
        "at hand.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _summary(manifest: Manifest) -> str:
    """Return one sentence: what it does, where it learned it, and how well."""
    origin = manifest.provenance
    text = f"{origin.task} on {manifest.robot.id}, trained in {origin.source_domain}"
    if origin.evaluation:
        first = origin.evaluation[0]
        text += f"; {first.successes} of {first.episodes} test episodes succeed in {first.domain}"
    return f"{text}."


def _about(manifest: Manifest, sha256: str, created: str | None) -> str:
    origin = manifest.provenance
    widths = [manifest.network.inputs, *(layer.units for layer in manifest.network.layers)]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(origin.versions.items()))
    rows = {
        "Robot": manifest.robot.id,
        "Task": origin.task,
        "Source domain": origin.source_domain,
        "Algorithm": f"{origin.algo}, seed {origin.seed}, {origin.env_steps:,} environment steps",
        "Network": "-".join(str(width) for width in widths),
        "Control rate": f"{1.0 / manifest.timing.control_period_s:g} Hz",
        "Versions": versions or "not recorded",
        "Code revision": origin.git_commit or "not recorded",
        "Transferred from": origin.parent or "nothing: trained from scratch",
        "Identity": f"`{sha256}`",
    }
    if created is not None:
        rows["Created"] = created
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _figures(figures: tuple[Evaluation, ...]) -> str:
    if not figures:
        return "Not evaluated."
    lines = ["| domain | training seeds | success | 95 % interval (Wilson) | mean return |"]
    lines.append("|---|---|---|---|---|")
    for figure in figures:
        low, high = wilson_interval(figure.successes, figure.episodes)
        seeds = ", ".join(str(seed) for seed in figure.seeds) or "-"
        mean = "-" if figure.return_mean is None else f"{figure.return_mean:.1f}"
        rate = figure.successes / figure.episodes
        lines.append(
            f"| {figure.domain} | {seeds} | {100 * rate:.1f} % ({figure.successes} of "
            f"{figure.episodes}) | {100 * low:.1f} to {100 * high:.1f} % | {mean} |"
        )
    return "\n".join(lines)


def _interface(manifest: Manifest) -> str:
    lines = ["## What it needs and what it commands", ""]
    for signal in manifest.signals:
        pairs = zip(signal.elements, signal.units, strict=True)
        lines.append(f"- signal `{signal.name}`: " + ", ".join(f"{e} [{u}]" for e, u in pairs))
    for entry in manifest.action.entries:
        low, high = entry.offset - entry.scale, entry.offset + entry.scale
        lines.append(
            f"- command of `{entry.joint}`: {entry.kind}, {low:g} to {high:g} {entry.unit}"
        )
    age = 1000 * manifest.timing.max_signal_age_s
    lines.append(f"- signals may be {age:g} ms old at most")
    return "\n".join(lines)


def _loading(manifest: Manifest) -> str:
    first = manifest.signals[0].name if manifest.signals else "signal"
    return "\n".join(
        [
            "## How to load it",
            "",
            "```python",
            "from simreal.deploy import NumpyPolicy, load",
            f'policy = NumpyPolicy(load("{manifest.name}.policy"))',
            f'command = policy.reset({{"{first}": first_measurement, ...}})',
            f'command = policy.step({{"{first}": next_measurement, ...}})  # once per period',
            "print(policy.command_by_name())",
            "```",
        ]
    )

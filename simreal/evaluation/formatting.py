"""How numbers read in tables and plots: the same rounding and the same signs everywhere.

Rounding is part of a claim: 99.6 % must not be shown as 100 %, and a missing value must not be
shown as zero.
"""

import math

MISSING = "\N{EM DASH}"
_MINUS = "\N{MINUS SIGN}"
_NARROW = "\N{NARROW NO-BREAK SPACE}"


def format_percent(share: float | None) -> str:
    """Return a share as a percentage with one decimal, and none at exactly 0 or 100 %.

    Args:
        share: A number such as 0.954, or None if it is missing.

    Returns:
        For instance `"95.4 %"`.
    """
    if share is None or not math.isfinite(share):
        return MISSING
    value = 100.0 * share
    if share in (0.0, 1.0):
        text = f"{value:.0f}"
    elif 99.95 <= value < 100:
        # Rounding up would claim a perfect score.
        text = "99.9"
    else:
        text = f"{value:.1f}"
    return f"{_sign(text, signed=False)}{_NARROW}%"


def format_points(difference: float | None) -> str:
    """Return a difference of shares in percentage points, with its sign.

    Args:
        difference: A number such as -0.12, or None if it is missing.

    Returns:
        For instance `"+12.3 pp"`.
    """
    if difference is None or not math.isfinite(difference):
        return MISSING
    return f"{_sign(f'{100 * difference:.1f}', signed=True)}{_NARROW}pp"


def format_number(value: float | None, *, signed: bool = False) -> str:
    """Return a number with three to four significant digits, without an exponent where possible.

    Args:
        value: The number, or None if it is missing.
        signed: Whether a positive number gets a plus sign.

    Returns:
        For instance `"1234"`, `"12.3"` or `"0.012"`.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    if size != 0 and (size < 1e-3 or size >= 1e7):
        text = f"{value:.2e}"
    elif size >= 100 or value == 0:
        text = f"{value:.0f}"
    else:
        text = f"{value:.{1 if size >= 10 else 2 if size >= 1 else 3}f}"
    return _sign(text, signed)


def format_steps(steps: float | None) -> str:
    """Return a number of steps with a unit prefix.

    Args:
        steps: The number, or None if it is missing.

    Returns:
        For instance `"0"`, `"150k"` or `"3M"`.
    """
    if steps is None or not math.isfinite(steps):
        return MISSING
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999 999 is a million to a reader, not a thousand thousands.
        if abs(steps) >= 0.9995 * size:
            return f"{steps / size:.3g}{_NARROW}{prefix}"
    return f"{steps:.0f}"


def format_time(steps: float | None, num_censored: int) -> str:
    """Return a restricted mean of steps, as a lower bound if a seed was censored.

    Args:
        steps: The restricted mean.
        num_censored: Seeds that never reached the threshold.

    Returns:
        For instance `"≥ 2.1 M"`.
    """
    text = format_steps(steps)
    return f"≥{_NARROW}{text}" if num_censored else text


def _sign(text: str, signed: bool) -> str:
    """Return a formatted number with a typographic sign, and none for a rounded zero."""
    if float(text) == 0:
        return text.lstrip("-")
    if text.startswith("-"):
        return _MINUS + text[1:].replace("-", _MINUS)
    return ("+" if signed else "") + text.replace("-", _MINUS)

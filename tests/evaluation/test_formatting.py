import pytest

from simreal.evaluation.formatting import (
    format_number,
    format_percent,
    format_points,
    format_steps,
    format_time,
)


def plain(text: str) -> str:
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.954, "95.4 %"),
        (1.0, "100 %"),
        (0.0, "0 %"),
        (0.9999, "99.9 %"),
        (0.99949, "99.9 %"),
        (None, "—"),
        (float("nan"), "—"),
    ],
)
def test_percent(share: float | None, text: str) -> None:
    assert plain(format_percent(share)) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.123, "+12.3 pp"), (-0.05, "-5.0 pp"), (0.0, "0.0 pp"), (-1e-9, "0.0 pp"), (None, "—")],
)
def test_points(difference: float | None, text: str) -> None:
    assert plain(format_points(difference)) == text


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (1234.5, False, "1234"),
        (12.34, False, "12.3"),
        (1.234, False, "1.23"),
        (0.01234, False, "0.012"),
        (-7.0, False, "-7.00"),
        (7.0, True, "+7.00"),
        (0.0, True, "0"),
        (2e-5, False, "2.00e-05"),
        (3e8, False, "3.00e+08"),
        (float("inf"), False, "—"),
        (None, True, "—"),
    ],
)
def test_number(value: float | None, signed: bool, text: str) -> None:
    assert plain(format_number(value, signed=signed)) == text


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1500, "1.5 k"),
        (150_000, "150 k"),
        (999_999, "1 M"),
        (3_000_000, "3 M"),
        (2.5e9, "2.5 G"),
        (None, "—"),
    ],
)
def test_steps(steps: float | None, text: str) -> None:
    assert plain(format_steps(steps)) == text


def test_a_censored_mean_is_a_lower_bound() -> None:
    assert plain(format_time(2_000_000, 0)) == "2 M"
    assert plain(format_time(2_000_000, 1)) == "≥ 2 M"

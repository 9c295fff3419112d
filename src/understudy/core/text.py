"""Numbers, times and lists formatted for sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence

SIGNIFICANCE = 0.05  # the level at which the whole package calls a difference significant


def counted(number: float, noun: str, plural: str = "") -> str:
    """A number with its noun: '1 image', '1,200 images'."""
    return f"{number:,.0f} {noun if number == 1 else plural or noun + 's'}"


def agree(number: float, singular: str, plural: str) -> str:
    """The form of a verb that agrees with the number."""
    return singular if number == 1 else plural


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent: '91.4 %'; a dash where it is unknown."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def points(difference: float) -> str:
    """The size of a difference of two shares in percentage points: '1.2 points'."""
    return f"{100 * abs(difference):.1f} points"


def signed_points(difference: float) -> str:
    """A difference of two shares in percentage points with its sign: '+1.2'."""
    return f"{100 * difference:+.1f}"


def percent_range(low: float, high: float, *, signed: bool = False) -> str:
    """An interval of shares in percent, or of differences in points: '85.1 to 91.4', '+0.3 to +2.1'."""
    sign = "+" if signed else ""
    return f"{100 * low:{sign}.1f} to {100 * high:{sign}.1f}"


def p_value(value: float) -> str:
    """A p-value with enough digits that it reads on its own side of 5 %: '0.0496', '< 0.0001'."""
    if value < 0.0001:
        return "< 0.0001"
    digits = next((d for d in range(2, 9) if (float(f"{value:.{d}g}") < SIGNIFICANCE) == (value < SIGNIFICANCE)), 9)
    return f"{value:.{digits}g}"


def p_equals(value: float) -> str:
    """A p-value in a sentence: 'p = 0.032', 'p < 0.0001'."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def clock(seconds: float) -> str:
    """A duration in clock format: '3:05', '2:10:00'; '?' where it is unknown (infinite)."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def listed(words: Sequence[str]) -> str:
    """The words as a list in a sentence: 'a, b and c'."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1] if words else ""]))


def capitalized(text: str) -> str:
    """The text with its first letter in upper case and the rest as it is."""
    return text[:1].upper() + text[1:]

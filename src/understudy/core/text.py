"""Numbers in sentences."""

from __future__ import annotations


def counted(number: float, noun: str, plural: str = "") -> str:
    """So many of something: '1 image', '1,200 images'."""
    return f"{number:,.0f} {noun if number == 1 else plural or noun + 's'}"


def agree(number: float, singular: str, plural: str) -> str:
    """The verb that goes with so many."""
    return singular if number == 1 else plural

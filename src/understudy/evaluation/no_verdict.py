"""A stand-in for the verdict of a run without a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NoVerdict:
    """The reason why there is no verdict; false in a condition, so `if result.verdict` tests for a verdict.

    Args:
        reason: The reason, in a sentence.
    """

    reason: str = "Only the labels were trained on, so there is nothing to compare."
    outcome: Literal["unproven"] = "unproven"
    delivered: Literal["supervised"] = "supervised"
    comparison: None = None
    n: Literal[0] = 0

    def __bool__(self) -> bool:
        return False

    def sentences(self) -> tuple[str, ...]:
        """The reason, as the sentences of a verdict."""
        return (f"No verdict: {self.reason[:1].lower()}{self.reason[1:]}",)

    def __str__(self) -> str:
        return self.sentences()[0]


def without_pool(recipe: str = "") -> str:
    """The sentence on an experiment that has no unlabeled images to compare with.

    Args:
        recipe: Name of the recipe that was asked for and is not used; empty for none.
    """
    without = f", without the recipe {recipe}" if recipe else ""
    return f"There are no unlabeled images, so the supervised model alone is trained{without}."

"""Why there is no verdict, in place of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NoVerdict:
    """Stands where nothing was compared; false, so that `if result.verdict` asks whether there is a verdict.

    Args:
        reason: Why nothing was compared, in a sentence.
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

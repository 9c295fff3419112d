"""A comparison of variants of a second or two; run as a module it is the process that tests kill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.recipes.small import images
from understudy.comparison.compare import compare
from understudy.comparison.result import ComparisonResult

RECIPES: dict[str, dict[str, Any]] = {
    "in rounds": {
        "method": "supervised",
        "recipe": {"name": "self_training", "num_rounds": 2, "threshold": 0.1, "gate": 1.0, "min_changed": 0.0},
    },
    "features first": {"method": {"name": "fixmatch", "mu": 2, "threshold": 0.35}, "recipe": "pretrain"},
}

OPTIONS: dict[str, Any] = {
    "num_labels": 12,
    "seeds": 1,
    "budget": "40steps",
    "network": "cnn",
    "batch_size": 6,
    "jobs": 1,
}


def varied(folder: Path | None = None, variants: Any = None, **options: Any) -> ComparisonResult:
    """The comparison of variants with some options changed; of recipes if none are given."""
    given = {"test": images(60, 1000), **OPTIONS, **options}
    return compare(images(), folder=folder, variants=RECIPES if variants is None else variants, **given)


if __name__ == "__main__":
    varied(Path(sys.argv[1]))

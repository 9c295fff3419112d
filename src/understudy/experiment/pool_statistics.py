"""How much of the pool taught a model, from the history of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def mask_ratio(history: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """The mean over steps of the share of unlabeled images that counted, and its value in the last line."""
    before, weighted, steps, last = 0, 0.0, 0, None
    for line in history:
        count, before = line["step"] - before, line["step"]
        if "mask_ratio" in line:
            last = float(line["mask_ratio"])
            weighted, steps = weighted + count * last, steps + count
    return (weighted / steps if steps else None), last


def coverage(rounds: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of the pool that the round which was returned was trained on; None for recipes without rounds."""
    returned = [line for line in rounds if line.get("returned")]
    return float(returned[-1].get("coverage", 0.0)) if returned else None

"""What an audit says: findings, each with what it is, how bad, which rows, why it matters and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.core.types import Ids

Severity = Literal["serious", "look", "note"]
SEVERITIES: tuple[Severity, ...] = ("serious", "look", "note")
"""What makes a result wrong or takes rows away; what a person should look at; what is good to know."""

MAX_NAMED = 1000


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing found.

    Args:
        kind: What `--drop` calls it.
        count: How many rows it is about; of pairs those that are not the first of their kind.
        sentence: What was found.
        why: Why it matters, and what to do.
        rows: Row numbers, the worst first.
        partners: Of pairs the other row's number, in the same order.
        details: More of each row, by name: `similarity` of pairs, `given` and `suggested` classes of doubted labels.
    """

    kind: str
    severity: Severity
    count: int
    sentence: str
    why: str
    rows: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    partners: Ids | None = None
    details: dict[str, NDArray[Any]] = field(default_factory=dict)

    def to_json(self, names: NDArray[Any], classes: tuple[str, ...]) -> dict[str, Any]:
        """All of it as plain values, of very many rows the first 1,000."""
        shown = slice(MAX_NAMED)
        plain: dict[str, Any] = {
            "kind": self.kind,
            "severity": self.severity,
            "count": self.count,
            "sentence": self.sentence,
            "why": self.why,
            "rows": self.rows[shown].tolist(),
            "names": [str(name) for name in names[self.rows[shown]]],
        }
        if self.partners is not None:
            plain["partners"] = [str(name) for name in names[self.partners[shown]]]
        for key, values in self.details.items():
            plain[key] = [
                classes[value] if key in ("given", "suggested") else round(float(value), 4) for value in values[shown]
            ]
        return plain

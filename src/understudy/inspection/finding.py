"""A finding of an audit: what it is, how severe, which rows, why it matters and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.core.types import Ids

Severity = Literal["serious", "look", "note"]
SEVERITIES: tuple[Severity, ...] = ("serious", "look", "note")
"""Makes a result wrong or loses rows; worth a look by a person; good to know."""

MAX_NAMED = 1000  # rows of a finding in JSON: more than a person reads, few enough to keep the file small


@dataclass(frozen=True, eq=False)
class Finding:
    """One kind of problem and the rows it concerns.

    Args:
        kind: Its name, as `--drop` takes it.
        count: Number of rows concerned; of pairs, those that are redundant.
        sentence: What was found.
        why: Why it matters, and what to do.
        rows: Row numbers, worst first.
        partners: The other row of each pair, in the same order.
        details: More values per row, by name: `similarity` of pairs, `given` and `suggested` classes of label errors.
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
        """The finding as plain values, with its first 1,000 rows."""
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

"""The result of an audit: all findings, worst first, and the counts of the collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.text import counted
from understudy.core.types import Ids
from understudy.data.collection import Collection
from understudy.inspection.duplicates import ROLES
from understudy.inspection.finding import SEVERITIES, Finding

FORMAT = 1  # of the JSON file; raised when a reader of the old one would fail


@dataclass(frozen=True, eq=False)
class Audit:
    """Everything known about a collection before training.

    Args:
        collection: The images or rows that were checked.
        roles: Each row's place in `ROLES`, -1 for none.
        groups: The number of each row's group of copies, exact or near; -1 for a row that is alone.
        edge_px: Blur of each image, by which the best of several copies is kept; None for vectors.
        findings: Worst first.
        counts: Images per class by role; one number for the pool.
        channels: Mean and standard deviation of each channel, in [0, 1]; empty for vectors.
        not_checked: Sentences on what was not checked and why.
    """

    collection: Collection
    roles: NDArray[np.int8]
    groups: Ids
    edge_px: NDArray[np.float32] | None
    findings: tuple[Finding, ...]
    counts: Mapping[str, tuple[int, ...]]
    channels: tuple[tuple[float, float], ...]
    not_checked: tuple[str, ...]

    def __getitem__(self, kind: str) -> Finding:
        """The finding of that kind; an empty one if there is none."""
        return next((finding for finding in self.findings if finding.kind == kind), Finding(kind, "note", 0, "", ""))

    @property
    def worst(self) -> str:
        """The worst severity among the findings; an empty text without any."""
        severities = {finding.severity for finding in self.findings}
        return next((severity for severity in SEVERITIES if severity in severities), "")

    @property
    def headline(self) -> str:
        """The state of the collection in one sentence."""
        serious, look = (sum(finding.severity == severity for finding in self.findings) for severity in SEVERITIES[:2])
        if serious:
            more = f", and {look} more to check" if look else ""
            return f"{serious} thing{'s' * (serious > 1)} should be fixed before training{more}."
        if look:
            return f"Nothing is broken; {look} thing{'s' * (look > 1)} to check."
        return "No problem was found in these images."

    def sentences(self) -> tuple[str, ...]:
        """Findings, each with why it matters and what to do; then what was not checked."""
        return (
            self.headline,
            *(f"{finding.sentence} {finding.why}" for finding in self.findings),
            *self.not_checked,
        )

    def shape_sentence(self) -> str:
        """The number of images by role, in words."""
        parts = []
        for number, role in enumerate(ROLES):
            if count := int((self.roles == number).sum()):
                parts.append((f"{count:,} {'unlabeled' if role == 'pool' else role}", -number))
        of = ", ".join(text for text, _ in sorted(parts, key=lambda part: part[1]))
        what = "image" if self.collection.is_images else "row"
        return f"{counted(len(self.collection), what)} in {len(self.collection.classes)} classes: {of}."

    def to_json(self) -> dict[str, Any]:
        """The audit as plain values; row numbers and names of at most 1,000 rows of each finding."""
        whole = self.collection
        return {
            "format": FORMAT,
            "headline": self.headline,
            "rows": len(whole),
            "roles": {role: int((self.roles == number).sum()) for number, role in enumerate(ROLES)},
            "classes": list(whole.classes),
            "counts": {role: list(counts) for role, counts in self.counts.items()},
            "shape": list(whole.shape),
            "channels": [{"mean": round(mean, 5), "std": round(std, 5)} for mean, std in self.channels],
            "findings": [finding.to_json(whole.names, whole.classes) for finding in self.findings],
            "quarantine": [{"file": name, "reason": reason} for name, reason in whole.quarantine],
            "not_checked": list(self.not_checked),
            "notes": list(whole.notes),
        }

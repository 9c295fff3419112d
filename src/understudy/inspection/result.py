"""The result of an audit: everything found, worst first, with the counts it was found among."""

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

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Audit:
    """What is known of a collection before it is trained on.

    Args:
        collection: What was looked at.
        roles: Each row's place in `ROLES`, -1 for none.
        groups: The number of each row's group of copies, exact or near; -1 for a row that is alone.
        edge_px: How soft each image is, for choosing the best of several copies; None for vectors.
        findings: The worst first.
        counts: By role, images per class; of the pool one number.
        channels: By channel mean and standard deviation, from 0 to 1; empty for vectors.
        not_checked: Sentences on what was not looked at and why.
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
        """The finding of that kind, empty if there was nothing to find."""
        return next((one for one in self.findings if one.kind == kind), Finding(kind, "note", 0, "", ""))

    @property
    def worst(self) -> str:
        """The worst severity found, an empty text when nothing was."""
        found = {one.severity for one in self.findings}
        return next((severity for severity in SEVERITIES if severity in found), "")

    @property
    def headline(self) -> str:
        """One sentence: what is wrong in all."""
        serious, look = (sum(one.severity == severity for one in self.findings) for severity in SEVERITIES[:2])
        if serious:
            more = f", and {look} more to look at" if look else ""
            return f"{serious} thing{'s' * (serious > 1)} should be put right before training{more}."
        if look:
            return f"Nothing is broken; {look} thing{'s' * (look > 1)} to look at."
        return "Nothing is wrong with these images, as far as was looked."

    def sentences(self) -> tuple[str, ...]:
        """Findings, each with why it matters and what to do; then what was not judged."""
        return (
            self.headline,
            *(f"{one.sentence} {one.why}" for one in self.findings),
            *self.not_checked,
        )

    def shape_sentence(self) -> str:
        """How many images in which roles were looked at."""
        parts = []
        for number, role in enumerate(ROLES):
            if count := int((self.roles == number).sum()):
                parts.append((f"{count:,} {'unlabeled' if role == 'pool' else role}", -number))
        of = ", ".join(text for text, _ in sorted(parts, key=lambda part: part[1]))
        what = "image" if self.collection.is_images else "row"
        return f"{counted(len(self.collection), what)} in {len(self.collection.classes)} classes: {of}."

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values; row numbers and names of at most 1,000 rows of each finding."""
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
            "findings": [one.to_json(whole.names, whole.classes) for one in self.findings],
            "quarantine": [{"file": name, "reason": reason} for name, reason in whole.quarantine],
            "not_checked": list(self.not_checked),
            "notes": list(whole.notes),
        }

"""What a page shows of an audit: a few examples of each finding, with their pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.types import Ids
from understudy.inspection.duplicates import ROLES
from understudy.inspection.finding import Finding
from understudy.inspection.result import Audit
from understudy.inspection.thumbnails import thumbnails

_MAX_SHOWN, _MAX_PX = 24, 112


def with_examples(audit: Audit, most: int = _MAX_SHOWN) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The audit as plain values, each finding with `examples`, and the pictures (n, px, px, 3) these name by number.

    Of pairs one of each group of copies is shown, so that one picture that is there a hundred times hides no other.
    """
    chosen = {one.kind: _shown(audit, one, most) for one in audit.findings}
    rows = [np.zeros(0, np.int64)]
    for one in audit.findings:
        rows.append(one.rows[chosen[one.kind]])
        if one.partners is not None:
            rows.append(one.partners[chosen[one.kind]])
    ids = np.unique(np.concatenate(rows)) if audit.collection.is_images else np.zeros(0, np.int64)
    plain = audit.to_json()
    for one, line in zip(audit.findings, plain["findings"], strict=True):
        line["examples"] = [_example(audit, one, int(at), ids) for at in chosen[one.kind]]
    return plain, _pictures(audit, ids)


def _shown(audit: Audit, finding: Finding, most: int) -> Ids:
    """Which places of the finding's rows are shown."""
    places = np.arange(len(finding.rows))
    if finding.partners is not None and finding.kind != "conflicts":
        groups = audit.groups[finding.rows]
        first = np.unique(groups[groups >= 0], return_index=True)[1]
        places = np.sort(np.concatenate([np.flatnonzero(groups < 0), np.flatnonzero(groups >= 0)[first]]))
    return places[:most]


def _example(audit: Audit, finding: Finding, at: int, ids: Ids) -> dict[str, Any]:
    found = _about(audit, int(finding.rows[at]), ids)
    if finding.partners is not None:
        found["partner"] = _about(audit, int(finding.partners[at]), ids)
    for key, values in finding.details.items():
        found[key] = audit.collection.classes[values[at]] if key in ("given", "suggested") else float(values[at])
    if finding.kind in ("tiny", "elongated") and audit.collection.sizes is not None:
        found["size"] = audit.collection.sizes[finding.rows[at]].tolist()
    return found


def _about(audit: Audit, row: int, ids: Ids) -> dict[str, Any]:
    """A row's name, role, label and the number of its picture."""
    whole, role = audit.collection, int(audit.roles[row])
    label = int(whole.labels[row])
    return {
        "name": str(whole.names[row]),
        "role": ROLES[role] if role >= 0 else "",
        "label": whole.classes[label] if label >= 0 else "",
        "picture": int(np.searchsorted(ids, row)) if len(ids) else None,
    }


def _pictures(audit: Audit, ids: Ids) -> NDArray[np.uint8]:
    if not len(ids):
        return np.zeros((0, 1, 1, 3), np.uint8)
    rows = audit.collection.rows
    small = thumbnails(rows, ids, min(rows.shape[-1], _MAX_PX)).transpose(0, 2, 3, 1)
    return np.repeat(small, 3, axis=-1) if small.shape[-1] == 1 else small

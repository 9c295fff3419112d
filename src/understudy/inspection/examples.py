"""Examples of each finding for the page of an audit, with their pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.types import Ids
from understudy.inspection.duplicates import ROLES
from understudy.inspection.finding import Finding
from understudy.inspection.result import Audit
from understudy.inspection.thumbnails import thumbnails

_MAX_SHOWN = 24  # examples per finding: enough to see the pattern, few enough to keep the page small
_MAX_PX = 112  # side of a picture: large enough to recognize the object, small enough for hundreds in one page


def with_examples(audit: Audit, most: int = _MAX_SHOWN) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The audit as plain values, each finding with `examples`, and the pictures (n, px, px, 3) they refer to by number.

    Of each group of copies one pair is shown, so that an image with a hundred copies does not hide the others.
    """
    shown = {finding.kind: _shown(audit, finding, most) for finding in audit.findings}
    rows = [np.zeros(0, np.int64)]
    for finding in audit.findings:
        rows.append(finding.rows[shown[finding.kind]])
        if finding.partners is not None:
            rows.append(finding.partners[shown[finding.kind]])
    ids = np.unique(np.concatenate(rows)) if audit.collection.is_images else np.zeros(0, np.int64)
    plain = audit.to_json()
    for finding, line in zip(audit.findings, plain["findings"], strict=True):
        line["examples"] = [_example(audit, finding, int(at), ids) for at in shown[finding.kind]]
    return plain, _pictures(audit, ids)


def _shown(audit: Audit, finding: Finding, most: int) -> Ids:
    """Positions of the finding's rows that are shown."""
    places = np.arange(len(finding.rows))
    if finding.partners is not None and finding.kind != "conflicts":
        groups = audit.groups[finding.rows]
        first = np.unique(groups[groups >= 0], return_index=True)[1]
        places = np.sort(np.concatenate([np.flatnonzero(groups < 0), np.flatnonzero(groups >= 0)[first]]))
    return places[:most]


def _example(audit: Audit, finding: Finding, at: int, ids: Ids) -> dict[str, Any]:
    example = _about(audit, int(finding.rows[at]), ids)
    if finding.partners is not None:
        example["partner"] = _about(audit, int(finding.partners[at]), ids)
    for key, values in finding.details.items():
        example[key] = audit.collection.classes[values[at]] if key in ("given", "suggested") else float(values[at])
    if finding.kind in ("tiny", "elongated") and audit.collection.sizes is not None:
        example["size"] = audit.collection.sizes[finding.rows[at]].tolist()
    return example


def _about(audit: Audit, row: int, ids: Ids) -> dict[str, Any]:
    """The name, role and label of a row, and the number of its picture."""
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

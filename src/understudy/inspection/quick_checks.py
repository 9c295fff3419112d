"""What every training says of its images by itself: the part of an audit that costs next to nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from understudy.data.collection import Collection
from understudy.inspection.duplicates import LABELED, POOL, Duplicates, roles_of
from understudy.inspection.quality import flaws
from understudy.inspection.scan import scan

_MAX_PIXELS = 1 << 25
_SEEN = {"blank": 0.01, "dark": 0.05, "overexposed": 0.05, "blurry": 0.2}
_UNEQUAL = 10.0
_SEE = "understudy audit shows them"


def quick_checks(collection: Collection) -> tuple[str, ...]:
    """Warnings on copies, labels that disagree, bad images and unequal classes; none when there is nothing to say.

    Copies are known from loading. Of many or large images a sample of 33 million pixels is looked at, half a second of
    work, so that shares are estimates; only those are mentioned that would matter to training.
    """
    roles = roles_of(collection)
    return (*_copies(collection, roles), *_flaws(collection, roles), *_classes(collection, roles))


def _copies(collection: Collection, roles: NDArray[np.int8]) -> list[str]:
    duplicates = Duplicates.of(collection, roles)
    if not duplicates.has_copy.any():
        return []
    said = []
    if count := len(duplicates.conflicts(None)):
        pairs = "1 pair of identical images carries" if count == 1 else f"{count:,} pairs of identical images carry"
        said.append(f"{pairs} different labels; {_SEE}")
    copied = duplicates.has_copy & (roles >= 0)
    more = int(copied.sum()) - len(np.unique(duplicates.first_copy[copied]))
    if more > 0:
        said.append(
            f"{more:,} {'image is an exact copy' if more == 1 else 'images are exact copies'} of others; {_SEE}"
        )
    return said


def _flaws(collection: Collection, roles: NDArray[np.int8]) -> list[str]:
    """Sentences on the share of blank, dark, overexposed and blurred images."""
    used = np.flatnonzero(roles >= 0)
    if collection.size is None or not len(used):
        return []
    most = max(1, _MAX_PIXELS // collection.rows.shape[-1] ** 2)
    some = used if len(used) <= most else used[np.linspace(0, len(used) - 1, most).astype(np.int64)]
    found = flaws(scan(collection.rows[some], hashes=False), None, collection.size)
    said = []
    for kind, least in _SEEN.items():
        share = len(found[kind]) / len(some)
        if share >= least:
            about = "" if len(some) == len(used) else "about "
            said.append(f"{about}{100 * share:.1f} % of the images are {kind}; {_SEE}")
    return said


def _classes(collection: Collection, roles: NDArray[np.int8]) -> list[str]:
    labels = collection.labels[roles == LABELED]
    counts = np.bincount(labels, minlength=len(collection.classes))
    counts = counts[counts > 0]
    if not len(counts) or counts.max() < _UNEQUAL * counts.min() or not (roles == POOL).any():
        return []
    ratio = counts.max() / counts.min()
    return [f"classes are unequal, {ratio:.0f} labels of the largest to one of the smallest; see the balanced accuracy"]

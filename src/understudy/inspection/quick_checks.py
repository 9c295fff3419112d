"""Checks that every training run makes: the part of an audit that costs next to nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from understudy.data.collection import Collection
from understudy.inspection.duplicates import LABELED, POOL, Duplicates, roles_of
from understudy.inspection.quality import flaws
from understudy.inspection.scan import scan

_MAX_PIXELS = 1 << 25  # of a sample: half a second on one core, and shares of a few percent come out well enough
# Shares of images from which a flaw is reported. Judgments of what would matter: blank ones teach nothing and are rare,
# dark and overexposed ones lose detail, and blurred ones are common and mostly still usable.
_MIN_SHARES = {"blank": 0.01, "dark": 0.05, "overexposed": 0.05, "blurry": 0.2}
_UNEQUAL = 10.0  # largest class over smallest, from which the plan adjusts the loss too (planning/learn_data.py)
_SEE = "understudy audit shows them"


def quick_checks(collection: Collection) -> tuple[str, ...]:
    """Warnings on copies, conflicting labels, bad images and imbalanced classes; empty without any.

    Copies are known from loading. Many or large images are sampled, 33 million pixels in all, which takes half a
    second; shares are then estimates. Only shares that would matter to training are reported.
    """
    roles = roles_of(collection)
    return (*_copies(collection, roles), *_flaws(collection, roles), *_classes(collection, roles))


def _copies(collection: Collection, roles: NDArray[np.int8]) -> list[str]:
    duplicates = Duplicates.of(collection, roles)
    if not duplicates.has_copy.any():
        return []
    warnings = []
    if count := len(duplicates.conflicts(None)):
        pairs = "1 pair of identical images carries" if count == 1 else f"{count:,} pairs of identical images carry"
        warnings.append(f"{pairs} different labels; {_SEE}")
    copied = duplicates.has_copy & (roles >= 0)
    more = int(copied.sum()) - len(np.unique(duplicates.first_copy[copied]))
    if more > 0:
        warnings.append(
            f"{more:,} {'image is an exact copy' if more == 1 else 'images are exact copies'} of others; {_SEE}"
        )
    return warnings


def _flaws(collection: Collection, roles: NDArray[np.int8]) -> list[str]:
    """Warnings on the shares of blank, dark, overexposed and blurred images."""
    used = np.flatnonzero(roles >= 0)
    if collection.size is None or not len(used):
        return []
    most = max(1, _MAX_PIXELS // collection.rows.shape[-1] ** 2)
    some = used if len(used) <= most else used[np.linspace(0, len(used) - 1, most).astype(np.int64)]
    flawed = flaws(scan(collection.rows[some], hashes=False), None, collection.size)
    warnings = []
    for flaw, min_share in _MIN_SHARES.items():
        share = len(flawed[flaw]) / len(some)
        if share >= min_share:
            about = "" if len(some) == len(used) else "about "
            warnings.append(f"{about}{100 * share:.1f} % of the images are {flaw}; {_SEE}")
    return warnings


def _classes(collection: Collection, roles: NDArray[np.int8]) -> list[str]:
    labels = collection.labels[roles == LABELED]
    counts = np.bincount(labels, minlength=len(collection.classes))
    counts = counts[counts > 0]
    if not len(counts) or counts.max() < _UNEQUAL * counts.min() or not (roles == POOL).any():
        return []
    ratio = counts.max() / counts.min()
    return [
        f"classes are imbalanced, {ratio:.0f} labels of the largest to one of the smallest; see the balanced accuracy"
    ]

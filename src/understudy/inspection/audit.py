"""The audit: copies, leaks, bad images and unequal classes, from one pass over the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from understudy.core.text import counted
from understudy.core.types import Ids
from understudy.data.collection import Collection
from understudy.data.copies import ALONE
from understudy.data.split import FEW_PER_CLASS
from understudy.inspection.duplicates import LABELED, POOL, ROLES, VALIDATION, Duplicates, Pairs, roles_of
from understudy.inspection.finding import SEVERITIES, Finding
from understudy.inspection.near_duplicates import NearDuplicates, duplicate_groups, near_duplicates
from understudy.inspection.quality import flaws
from understudy.inspection.result import Audit
from understudy.inspection.scan import Scan, scan

Watch = Callable[[str, int, int], None]
"""Called with the stage, and the steps of it done and in all."""

# Largest class over smallest. Both are judgments: under 3 is what random draws of few labels give by chance; at 20 the
# accuracy hardly shows the rarest class. The plan adjusts the loss from 10 on (planning/learn_data.py).
_UNEQUAL, _VERY_UNEQUAL = 3.0, 20.0
_MANY = 0.01  # the share from which one is stated; below, the count says more than "0.0 %"
_MANY_BLANK = 0.05  # so many blank images point to an error of export, not to a few bad shots


class FeatureAudit(Protocol):
    """Checks that need features of the images, as `audit` calls them."""

    def __call__(
        self, collection: Collection, roles: NDArray[np.int8], watch: Watch
    ) -> tuple[list[Finding], list[str]]:
        """Findings, and sentences on what was not checked."""


def audit(
    collection: Collection,
    *,
    near: bool = True,
    features: FeatureAudit | None = None,
    observe: Watch | None = None,
) -> Audit:
    """Everything to know about a collection before training on it; nothing is changed.

    Args:
        near: Whether to search for near copies.
        features: Finds outliers and label errors, which are left out without it.
        observe: Called with the progress of each stage.
    """
    watch = observe or _silent
    roles = roles_of(collection)
    duplicates = Duplicates.of(collection, roles)
    findings: list[Finding] = [*_unreadable(collection), *_all_alike(collection)]
    skipped: list[str] = []
    scanned: Scan | None = None
    pairs: NearDuplicates | None = None
    if collection.is_images:
        scanned = scan(collection.rows, hashes=near, observe=lambda done, total: watch("scanning images", done, total))
        if near:
            pairs = near_duplicates(
                collection.rows,
                scanned,
                collection.copies,
                observe=lambda done, total: watch("comparing images", done, total),
            )
            skipped += pairs.notes
        else:
            skipped.append("Near copies were not searched for, as requested.")
    else:
        skipped.append("These rows are not images: near copies and image quality were not checked.")
    groups = _groups(collection, pairs)
    findings += _leaks(duplicates, pairs)
    findings += _conflicts(collection, duplicates, pairs)
    findings += _repeats(duplicates, groups, scanned)
    if scanned is not None:
        assert collection.size is not None
        findings += _flaws(scanned, collection, roles)
    findings += _classes(collection, roles)
    if features is None:
        skipped.append("Outliers and label errors were not searched for, as requested.")
    else:
        more, why_not = features(collection, roles, watch)
        findings += more
        skipped += why_not
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Audit(
        collection=collection,
        roles=roles,
        groups=groups,
        edge_px=None if scanned is None else scanned.edge_px,
        findings=tuple(findings),
        counts=_counts(collection, roles),
        channels=() if scanned is None else _channels(scanned),
        not_checked=tuple(skipped),
    )


def _silent(what: str, done: int, total: int) -> None:
    """Ignore progress."""


def _groups(collection: Collection, pairs: NearDuplicates | None) -> Ids:
    if pairs is not None:
        return duplicate_groups(pairs, len(collection), collection.copies)
    return np.full(len(collection), ALONE, np.int64) if collection.copies is None else collection.copies


def _unreadable(collection: Collection) -> Iterator[Finding]:
    if not collection.quarantine:
        return
    count, (name, reason) = len(collection.quarantine), collection.quarantine[0]
    such = f", such as {name} ({reason})" if count > 1 else f": {name} ({reason})"
    yield Finding(
        "unreadable",
        "look",
        count,
        f"{counted(count, 'file')} cannot be read{such}.",
        "Training skips them; replace or remove them.",
    )


def _all_alike(collection: Collection) -> Iterator[Finding]:
    if collection.copies is not None and len(collection) > 1 and not collection.copies.any():
        yield Finding(
            "all_alike",
            "serious",
            len(collection),
            f"All {len(collection):,} are the same, byte for byte.",
            "There is nothing to learn from them; check how they were exported.",
            np.arange(len(collection)),
        )


def _leaks(duplicates: Duplicates, near: NearDuplicates | None) -> Iterator[Finding]:
    """Copies of held-out images in the training set or in an earlier held-out set."""
    exact = duplicates.exact_leaks()
    if len(exact):
        yield _of_pairs(
            "exact_leaks",
            "serious",
            exact,
            f"{_copies(len(exact), 'exact')} of held-out images {_are(len(exact))} among other images "
            f"({_by_role(duplicates, exact.rows)}).",
            "Recognizing an image seen in training proves nothing. Training leaves these copies out by itself; a "
            "cleaned manifest removes them for good.",
        )
    if near is None:
        return
    pairs = duplicates.near_leaks(near)
    if len(pairs):
        yield _of_pairs(
            "near_leaks",
            "serious",
            pairs,
            f"{_copies(len(pairs), 'near')} of held-out images {_are(len(pairs))} among other images "
            f"({_by_role(duplicates, pairs.rows)}): the same images compressed, resized or cropped.",
            "They inflate the test accuracy, and training does not leave them out by itself: train on a cleaned "
            "manifest.",
        )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _copies(count: int, kind: str) -> str:
    return f"{count:,} {kind} {'copy' if count == 1 else 'copies'}"


def _conflicts(collection: Collection, duplicates: Duplicates, near: NearDuplicates | None) -> Iterator[Finding]:
    pairs = duplicates.conflicts(near)
    if not len(pairs):
        return
    first, second = (collection.classes[collection.labels[rows[0]]] for rows in (pairs.rows, pairs.partners))
    yield Finding(
        "conflicts",
        "serious",
        len(pairs),
        f"{counted(len(pairs), 'pair')} of copies carr{'ies' if len(pairs) == 1 else 'y'} different labels, such as "
        f"{first!r} and {second!r}.",
        "One label of each pair is wrong, or the image shows both classes: correct it by hand. --drop conflicts leaves "
        "out every copy.",
        pairs.rows,
        pairs.partners,
        {"similarity": pairs.similarity},
    )


def _repeats(duplicates: Duplicates, groups: Ids, scanned: Scan | None) -> Iterator[Finding]:
    """Copies that are not leaks: redundant images."""
    every = np.ones(len(groups), np.bool_)
    exact = np.where(duplicates.has_copy, duplicates.first_copy, ALONE)
    leaks = np.isin(np.arange(len(groups)), duplicates.exact_leaks().rows)
    many = duplicates.redundant(exact, ~leaks)
    if len(many):
        yield _of_pairs(
            "copies",
            "look",
            many,
            f"{_copies(len(many), 'exact')} of other images ({_by_role(duplicates, many.rows)}).",
            "A repeated image counts several times in training and in testing; a cleaned manifest keeps one of each.",
        )
    sharpness = None if scanned is None else -scanned.edge_px
    of_all = duplicates.redundant(groups, every, sharpness)
    # Groups of near copies also hold exact ones, counted by the finding above, and leaks, counted by `_leaks`.
    near = ~np.isin(of_all.rows, np.concatenate([many.rows, duplicates.exact_leaks().rows]))
    held = (duplicates.roles[of_all.partners] >= VALIDATION) & (
        duplicates.roles[of_all.rows] < duplicates.roles[of_all.partners]
    )
    near &= ~held
    if near.any():
        pairs = Pairs(of_all.rows[near], of_all.partners[near], of_all.similarity[near])
        yield _of_pairs(
            "near_copies",
            "look",
            pairs,
            f"{_copies(len(pairs), 'near')} of other images ({_by_role(duplicates, pairs.rows)}).",
            "They add little to training and count several times in testing; a cleaned manifest keeps one of each.",
        )


_FLAWS = {
    "blank": (
        "look",
        "blank: all pixels have nearly one color",
        "They teach nothing; a cleaned manifest leaves them out.",
    ),
    "dark": ("look", "much darker than the others", "They show little; check whether they are usable."),
    "overexposed": ("look", "overexposed", "They show little; check whether they are usable."),
    "blurry": ("look", "blurrier than the others", "Check whether the class can still be recognized."),
    "tiny": ("look", "far smaller than the others, and enlarged for training", "Use the originals if there are any."),
    "elongated": (
        "look",
        "far wider than high, or higher than wide",
        "Training uses the square in the middle, which may miss the object; crop them by hand.",
    ),
    "gray": (
        "note",
        "gray, while most have color",
        "That is harmless unless color tells the classes apart: then the model learns color, not shape.",
    ),
}  # fmt: skip


def _flaws(scanned: Scan, collection: Collection, roles: NDArray[np.int8]) -> Iterator[Finding]:
    assert collection.size is not None
    for flaw, rows in flaws(scanned, collection.sizes, collection.size).items():
        severity, what, why = _FLAWS[flaw]
        rows = rows[roles[rows] >= 0]
        if len(rows):
            share = len(rows) / len(collection)
            often = f" ({100 * share:.1f} % of all)" if share >= _MANY else ""
            serious = flaw == "blank" and share >= _MANY_BLANK
            yield Finding(
                flaw,
                "serious" if serious else severity,  # type: ignore[arg-type]
                len(rows),
                f"{counted(len(rows), 'image')} {_are(len(rows))} {what}{often}.",
                why,
                rows,
            )


def _classes(collection: Collection, roles: NDArray[np.int8]) -> Iterator[Finding]:
    """Findings on imbalanced classes, and on classes with few labels."""
    counts = _counts(collection, roles).get("labeled", ())
    if not counts or not any(counts):
        return
    most, least = int(np.argmax(counts)), int(np.argmin(counts))
    few = [name for name, count in zip(collection.classes, counts, strict=True) if count < FEW_PER_CLASS]
    if counts[least] and counts[most] / counts[least] >= _UNEQUAL:
        ratio = counts[most] / counts[least]
        yield Finding(
            "imbalance",
            "serious" if ratio >= _VERY_UNEQUAL else "look",
            len(counts),
            f"Classes are imbalanced, {ratio:.1f} to 1: {counts[most]:,} labels of {collection.classes[most]!r}, "
            f"{counts[least]:,} of {collection.classes[least]!r}.",
            "Read the balanced accuracy. Label more of the small classes, or try "
            "--set method.criterion.logit_adjustment=1.",
        )
    if few:
        yield Finding(
            "few_labels",
            "look",
            len(few),
            f"{counted(len(few), 'class', 'classes')} have under {FEW_PER_CLASS} "
            f"labels: {', '.join(few[:5])}{', ...' if len(few) > 5 else ''}.",
            "That is too few to hold any out; label more of them first.",
        )


def _counts(collection: Collection, roles: NDArray[np.int8]) -> dict[str, tuple[int, ...]]:
    by_role: dict[str, tuple[int, ...]] = {}
    for number, role in enumerate(ROLES):
        rows = roles == number
        if number == POOL:
            by_role[role] = (int(rows.sum()),)
        elif rows.any() or number == LABELED:
            counts = np.bincount(collection.labels[rows], minlength=len(collection.classes))
            by_role[role] = tuple(counts.tolist())
    return by_role


def _channels(scanned: Scan) -> tuple[tuple[float, float], ...]:
    return tuple((mean / 255, std / 255) for mean, std in zip(scanned.channel_means, scanned.channel_stds, strict=True))


def _of_pairs(kind: str, severity: str, pairs: Pairs, sentence: str, why: str) -> Finding:
    return Finding(
        kind,
        severity,  # type: ignore[arg-type]
        len(pairs),
        sentence,
        why,
        pairs.rows,
        pairs.partners,
        {"similarity": pairs.similarity},
    )


def _by_role(duplicates: Duplicates, rows: Ids) -> str:
    """The number of rows in each role, in words."""
    counts = np.bincount(duplicates.roles[rows], minlength=len(ROLES))
    parts = [
        f"{counts[number]:,} {'unlabeled' if number == POOL else ROLES[number]}"
        for number in reversed(range(len(ROLES)))
        if counts[number]
    ]
    return ", ".join(parts)

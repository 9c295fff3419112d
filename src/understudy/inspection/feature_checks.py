"""Outliers of the pool and labels in doubt: what features of the images tell that pixels do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from understudy.core.seeding import generator
from understudy.core.text import counted, percent
from understudy.core.types import Ids
from understudy.data.collection import Collection
from understudy.inspection.audit import Watch
from understudy.inspection.duplicates import LABELED, POOL
from understudy.inspection.embedding import embed
from understudy.inspection.finding import Finding
from understudy.inspection.label_issues import LabelIssues, find_label_issues
from understudy.inspection.outliers import MIN_ROWS, find_outliers
from understudy.inspection.unrelated import MIN_LABELED, Unrelated, score_unrelated

_WORTH_FILTERING = 0.1
MAX_ROWS = 50_000
"""Of the pool, and of the labeled images, that are looked at; features of these take a minute or two."""


@dataclass(frozen=True, eq=False)
class FeatureChecks:
    """A look at features, as the audit takes one.

    Args:
        network: Whose features they are; found without labels from the images themselves when None.
    """

    network: nn.Module | None = None
    seed: int = 0

    def __call__(
        self, collection: Collection, roles: NDArray[np.int8], watch: Watch
    ) -> tuple[list[Finding], list[str]]:
        """Outliers of the pool and doubted labels, and sentences on what was not judged."""
        pool, labeled = np.flatnonzero(roles == POOL), np.flatnonzero(roles == LABELED)
        skipped = []
        for rows, what in ((pool, "unlabeled"), (labeled, "labeled")):
            if len(rows) > MAX_ROWS:
                of = "outliers were" if rows is pool else "doubtful labels were"
                skipped.append(f"Of {len(rows):,} {what} images {of} looked for among {MAX_ROWS:,} drawn at random.")
        pool, labeled = self._drawn(pool), self._drawn(labeled)
        ids = np.union1d(pool, labeled)
        if not len(ids):
            return [], skipped
        features = embed(
            collection,
            ids,
            network=self.network,
            seed=self.seed,
            observe=lambda done, total: watch("finding features", done, total),
        )
        found = []
        if len(pool) < MIN_ROWS:
            skipped.append(f"Outliers were not looked for: there are under {MIN_ROWS} unlabeled images.")
        elif outliers := self._outliers(features[np.searchsorted(ids, pool)], pool):
            found.append(outliers)
        if len(labeled) >= MIN_LABELED and len(pool) >= MIN_ROWS:
            known, unknown = (features[np.searchsorted(ids, rows)] for rows in (labeled, pool))
            if one := _unrelated(score_unrelated(known, unknown, seed=self.seed), pool):
                found.append(one)
        if len(labeled):
            labels = collection.labels[labeled]
            doubted = find_label_issues(
                features[np.searchsorted(ids, labeled)], labels, len(collection.classes), seed=self.seed
            )
            if one := _doubts(doubted, labeled):
                found.append(one)
            elif doubted.suspects or not doubted.num_checked:
                skipped.append(_why_not(doubted))
        return found, skipped

    def _drawn(self, rows: Ids) -> Ids:
        """The rows, or so many of them as are looked at."""
        if len(rows) <= MAX_ROWS:
            return rows
        return np.sort(generator("audit", self.seed).permutation(rows)[:MAX_ROWS])

    def _outliers(self, features: NDArray[np.float32], pool: Ids) -> Finding | None:
        outliers = find_outliers(features, seed=self.seed)
        count = len(outliers.rows)
        if not count:
            return None
        return Finding(
            "outliers",
            "look",
            count,
            f"{counted(count, 'unlabeled image')} {'is' if count == 1 else 'are'} unlike nearly all others, over "
            f"{outliers.threshold:.1f} times as far from them as usual.",
            "They may show something else. Look whether they belong; --drop outliers leaves them out.",
            pool[outliers.rows],
            details={"distance": outliers.distance[outliers.rows]},
        )


def _unrelated(unrelated: Unrelated, pool: Ids) -> Finding | None:
    """What of the pool is unlike every labeled image, where that is enough of it to matter."""
    if unrelated.share < _WORTH_FILTERING:
        return None
    rows = unrelated.removed
    return Finding(
        "unrelated",
        "look",
        len(rows),
        f"About {percent(unrelated.share, 0)} of the unlabeled images differ from all labeled ones, in what they show "
        f"or in how they were taken; {counted(len(rows), 'image')} can be told.",
        "If they show other things, train with --filter-pool, which leaves them out. If they show the same, only taken "
        "otherwise, keep them.",
        pool[rows],
    )


def _doubts(doubted: LabelIssues, labeled: Ids) -> Finding | None:
    """The doubted labels, where doubts are worth reading."""
    found = doubted.suspects
    if not found or not doubted.is_reliable:
        return None
    right, just = percent(doubted.out_of_fold_accuracy, 0), percent(doubted.planted_precision, 0)
    return Finding(
        "label_errors",
        "look",
        len(found),
        f"{counted(len(found), 'label')} {'is' if len(found) == 1 else 'are'} in doubt: a model that never saw these "
        "images is surer of another class.",
        f"Look at them and correct those that are wrong. The model is right on {right} of images it never saw; where "
        f"one label in 20 is wrong, {just} of its doubts are just.",
        labeled[[one.row for one in found]],
        details={
            "given": np.array([one.given for one in found]),
            "suggested": np.array([one.suggested for one in found]),
            "confidence": np.array([one.confidence for one in found]),
        },
    )


def _why_not(doubted: LabelIssues) -> str:
    if not doubted.num_checked:
        return "Labels were not doubted: no class has enough of them to learn from some and judge others."
    right, own = percent(doubted.out_of_fold_accuracy, 0), percent(1 - doubted.planted_precision, 0)
    return (
        f"Labels were not doubted: without training, a model is right on only {right} of images that it never saw, "
        f"so that {own} of its doubts would be its own mistakes. Train first, and give the run with --run."
    )

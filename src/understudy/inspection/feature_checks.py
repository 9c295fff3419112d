"""Checks by features of the images: outliers and unrelated images of the pool, and label errors."""

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

_WORTH_FILTERING = 0.1  # share of the pool: the estimate errs by a few points, so less may be none
MAX_ROWS = 50_000
"""Rows of the pool, and of the labeled images, that are checked; their features take a minute or two."""


@dataclass(frozen=True, eq=False)
class FeatureChecks:
    """Checks that need features, as `audit` takes them.

    Args:
        network: Gives the features; without it they are fitted to the images, without labels.
    """

    network: nn.Module | None = None
    seed: int = 0

    def __call__(
        self, collection: Collection, roles: NDArray[np.int8], watch: Watch
    ) -> tuple[list[Finding], list[str]]:
        """Outliers and unrelated images of the pool and label errors, and sentences on what was not checked."""
        pool, labeled = np.flatnonzero(roles == POOL), np.flatnonzero(roles == LABELED)
        skipped = []
        for rows, what in ((pool, "unlabeled"), (labeled, "labeled")):
            if len(rows) > MAX_ROWS:
                of = "outliers were" if rows is pool else "label errors were"
                skipped.append(f"Of {len(rows):,} {what} images {of} searched for in a random sample of {MAX_ROWS:,}.")
        pool, labeled = self._drawn(pool), self._drawn(labeled)
        ids = np.union1d(pool, labeled)
        if not len(ids):
            return [], skipped
        features = embed(
            collection,
            ids,
            network=self.network,
            seed=self.seed,
            observe=lambda done, total: watch("computing features", done, total),
        )
        findings = []
        if len(pool) < MIN_ROWS:
            skipped.append(f"Outliers were not searched for: there are fewer than {MIN_ROWS} unlabeled images.")
        elif outliers := self._outliers(features[np.searchsorted(ids, pool)], pool):
            findings.append(outliers)
        if len(labeled) >= MIN_LABELED and len(pool) >= MIN_ROWS:
            known, unknown = (features[np.searchsorted(ids, rows)] for rows in (labeled, pool))
            if unrelated := _unrelated(score_unrelated(known, unknown, seed=self.seed), pool):
                findings.append(unrelated)
        if len(labeled):
            labels = collection.labels[labeled]
            issues = find_label_issues(
                features[np.searchsorted(ids, labeled)], labels, len(collection.classes), seed=self.seed
            )
            if errors := _label_errors(issues, labeled):
                findings.append(errors)
            elif issues.suspects or not issues.num_checked:
                skipped.append(_why_not(issues))
        return findings, skipped

    def _drawn(self, rows: Ids) -> Ids:
        """The rows, or a random sample of as many as are checked."""
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
            f"{counted(count, 'unlabeled image')} {'is' if count == 1 else 'are'} unlike nearly all others, more "
            f"than {outliers.threshold:.1f} times as far from them as usual.",
            "They may show something else. Check whether they belong; --drop outliers leaves them out.",
            pool[outliers.rows],
            details={"distance": outliers.distance[outliers.rows]},
        )


def _unrelated(unrelated: Unrelated, pool: Ids) -> Finding | None:
    """The finding on images of the pool that are unlike every labeled one, if they are enough to matter."""
    if unrelated.share < _WORTH_FILTERING:
        return None
    rows = unrelated.removed
    return Finding(
        "unrelated",
        "look",
        len(rows),
        f"About {percent(unrelated.share, 0)} of the unlabeled images differ from all labeled ones, in content or in "
        f"how they were taken; {counted(len(rows), 'image')} can be identified.",
        "If they show other things, train with --filter-pool, which leaves them out. If they show the same things, "
        "taken differently, keep them.",
        pool[rows],
    )


def _label_errors(issues: LabelIssues, labeled: Ids) -> Finding | None:
    """The finding on label errors, if the model that suspects them is reliable."""
    suspects = issues.suspects
    if not suspects or not issues.is_reliable:
        return None
    accuracy, precision = percent(issues.out_of_fold_accuracy, 0), percent(issues.planted_precision, 0)
    return Finding(
        "label_errors",
        "look",
        len(suspects),
        f"{counted(len(suspects), 'label')} may be wrong: a model that was not trained on these images is more "
        "confident of another class.",
        f"Check them and correct those that are wrong. The model is right on {accuracy} of images it was not "
        f"trained on; where one label in 20 is wrong, {precision} of its suspects are errors.",
        labeled[[suspect.row for suspect in suspects]],
        details={
            "given": np.array([suspect.given for suspect in suspects]),
            "suggested": np.array([suspect.suggested for suspect in suspects]),
            "confidence": np.array([suspect.confidence for suspect in suspects]),
        },
    )


def _why_not(issues: LabelIssues) -> str:
    if not issues.num_checked:
        return "Label errors were not searched for: no class has enough labels to train on some and check others."
    accuracy, false = percent(issues.out_of_fold_accuracy, 0), percent(1 - issues.planted_precision, 0)
    return (
        f"Label errors are not reported: without training, a model is right on only {accuracy} of images it was not "
        f"trained on, so {false} of its suspects would be false alarms. Train first, and name the run with --run."
    )

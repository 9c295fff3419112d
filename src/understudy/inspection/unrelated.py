"""Images of other things in the pool: those that a classifier of labeled against unlabeled finds unlike the labeled.

Every labeled image is of a wanted class and the pool is a mixture, so this is learning from positive and unlabeled data
(Elkan and Noto, 2008). How much of the pool is wanted is estimated by the best bin of Garg et al. (2021,
https://arxiv.org/abs/2111.00980), and as there, a second classifier leaves out of its pool what the first finds wanted.
"""

from __future__ import annotations

import csv
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError, RunFolderError
from understudy.core.files import explained, write_json
from understudy.core.seeding import generator
from understudy.core.types import Ids, Observe
from understudy.data.collection import Collection
from understudy.data.split import Splits
from understudy.inspection.contact_sheet import pictures, save_sheet
from understudy.inspection.embedding import embed, unit

Scores = NDArray[np.float64]

KEPT = 0.95
MIN_LABELED = 20
SHEET, LIST, RECORD = "unrelated.png", "unrelated.csv", "unrelated.json"
_FOLDS, _MAX_TAUGHT, _STRENGTH = 5, 20_000, 10.0
_WORTH_A_SECOND, _SURE_OF = 0.1, 0.9
_DOUBT, _SLACK = 0.1, 0.01
_MAX_SHOWN = 60
_NEARLY_ALL = 0.8


@dataclass(frozen=True, eq=False)
class Unrelated:
    """What looks unlike the labeled images.

    Args:
        ids: Rows of the pool, ascending.
        score: Of each, higher the less it looks like the labeled ones; log odds.
        threshold: 95 % of the labeled images, each scored by classifiers that had not seen it, are not above it.
        share: Estimate of the share of the pool that is unlike any labeled image, in what it shows or in how it was
            taken; wanted and unwanted images overlap, so that fewer or more are removed.
    """

    ids: Ids
    score: Scores
    threshold: float
    share: float

    @property
    def removed(self) -> Ids:
        """The rows above the threshold, those furthest above it first."""
        order = np.argsort(-self.score, kind="stable")
        return self.ids[order[self.score[order] > self.threshold]]


def find_unrelated(
    collection: Collection, splits: Splits, *, seed: int = 0, observe: Observe | None = None
) -> Unrelated:
    """The pool's rows with how unlike the labeled training images they look; no held-out image or label is read.

    Raises:
        DataError: Too few images are labeled.
    """
    labeled, pool = splits.labeled, splits.unlabeled
    if len(labeled) < MIN_LABELED:
        raise DataError(
            f"unrelated images cannot be told from {len(labeled)} labeled training images; label at least "
            f"{MIN_LABELED}, or leave out filter_pool"
        )
    if not len(pool):
        return Unrelated(pool, np.zeros(0), 0.0, 0.0)
    rows = embed(collection, np.concatenate([labeled, pool]), seed=seed, observe=observe)
    return replace(score_unrelated(rows[: len(labeled)], rows[len(labeled) :], seed=seed), ids=pool)


def score_unrelated(known: NDArray[np.float32], pool: NDArray[np.float32], *, seed: int = 0) -> Unrelated:
    """How unlike the known rows each row of the pool is; `ids` count the pool's rows from 0.

    The second classifier is worth it where a tenth of the pool is unwanted; in a pool without such images it would take
    the chance differences of the first for real.
    """
    known, pool = unit(known), unit(pool)
    scale = float(np.concatenate([known[:_MAX_TAUGHT], pool[:_MAX_TAUGHT]]).std()) or 1.0
    known, pool = known / scale, pool / scale
    of_known, of_pool = _scores(known, pool, 0.0, seed)
    share = _unwanted_share(of_known, of_pool)
    if share >= _WORTH_A_SECOND:
        of_known, of_pool = _scores(known, pool, _SURE_OF * (1 - share), seed)
        share = _unwanted_share(of_known, of_pool)
    rank = min(len(of_known), int(np.ceil(KEPT * (len(of_known) + 1))))
    return Unrelated(np.arange(len(pool)), of_pool, float(np.sort(of_known)[rank - 1]), share)


@dataclass(frozen=True, eq=False)
class FilteredPool:
    """Roles of images with a smaller pool.

    Args:
        note: A sentence on what was left out.
        unrelated: What the filter found; None where it was read from the record of an earlier process.
    """

    splits: Splits
    note: str
    unrelated: Unrelated | None

    def save(self, folder: Path, collection: Collection) -> None:
        """Record what was left out, unless an earlier process did, so that a resumed run leaves out the same."""
        if self.unrelated is not None and not (folder / RECORD).exists():
            _save(folder, collection, self.unrelated, self.note)


def filter_pool(collection: Collection, splits: Splits, seed: int, folder: Path | None) -> FilteredPool:
    """Leave unrelated images out of the pool, those of the record where the folder has one.

    Args:
        folder: The run's, into which `FilteredPool.save` writes before training; None where nothing is saved.

    Raises:
        UserError: Too few images are labeled, or the record is damaged.
    """
    record = None if folder is None else folder / RECORD
    if record is not None and record.exists():
        removed, note = _recorded(record, splits)
        return FilteredPool(_without(splits, removed), note, None)
    unrelated = find_unrelated(collection, splits, seed=seed)
    note = _note(unrelated, shown=folder is not None and collection.is_images)
    return FilteredPool(_without(splits, unrelated.removed), note, unrelated)


def _scores(known: NDArray[np.float32], pool: NDArray[np.float32], wanted: float, seed: int) -> tuple[Scores, Scores]:
    """Log odds of being from the pool, each row's by linear models that were not trained on it.

    Args:
        wanted: Share of the pool that a second model leaves out, those rows that the first finds most like the known.
            Both are of one fold, since a first model that had seen a row would pick a pool unlike that row.
    """
    random = generator("unlike", seed)
    fold_of_known = random.permutation(len(known)) % _FOLDS
    fold_of_pool = random.permutation(len(pool)) % _FOLDS
    taught = random.permutation(len(pool))[:_MAX_TAUGHT]
    of_known, of_pool = np.zeros(len(known)), np.zeros(len(pool))
    for fold in range(_FOLDS):
        others = known[fold_of_known != fold]
        negatives = pool[np.sort(taught[fold_of_pool[taught] != fold])]
        model = _fitted(others, negatives)
        if wanted:
            order = np.argsort(model.decision_function(negatives), kind="stable")
            model = _fitted(others, negatives[np.sort(order[int(wanted * len(order)) :])])
        of_known[fold_of_known == fold] = model.decision_function(known[fold_of_known == fold])
        mine = np.flatnonzero(fold_of_pool == fold)
        for start in range(0, len(mine), _MAX_TAUGHT):
            part = mine[start : start + _MAX_TAUGHT]
            of_pool[part] = model.decision_function(pool[part])
    return of_known, of_pool


def _fitted(known: NDArray[np.float32], pool: NDArray[np.float32]) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([known, pool])
    model = LogisticRegression(C=_STRENGTH / len(rows), class_weight="balanced", max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(rows, np.arange(len(rows)) >= len(known))


def _unwanted_share(of_known: Scores, of_pool: Scores) -> float:
    """One minus the least ratio of the pool's to the known's share below a score, with a margin for few rows.

    Wanted rows of the pool are spread like the known ones, so that no bin holds fewer of them in proportion.
    """
    at = np.sort(of_known)
    share_of_known = np.arange(1, len(at) + 1) / len(at)
    share_of_pool = np.searchsorted(np.sort(of_pool), at, side="right") / len(of_pool)
    margin = sum(np.sqrt(np.log(4 / _DOUBT) / (2 * count)) for count in (len(of_known), len(of_pool)))
    best = int(np.argmin((share_of_pool + (1 + _SLACK) * margin) / share_of_known))
    return float(1 - min(1.0, share_of_pool[best] / share_of_known[best]))


def _without(splits: Splits, removed: Ids) -> Splits:
    return replace(splits, unlabeled=np.setdiff1d(splits.unlabeled, removed))


def _note(found: Unrelated, *, shown: bool) -> str:
    """What was removed, in a sentence or two."""
    count, total = len(found.removed), len(found.ids)
    if not total:
        return "There are no unlabeled images to filter."
    text = (
        f"{count:,} of {total:,} unlabeled images look unlike the labeled ones and are left out of the pool; in all "
        f"about {100 * found.share:.0f} % of it may differ from them, in what it shows or in how it was taken."
    )
    if count > _NEARLY_ALL * total:
        text += (
            " That is nearly all: the labeled images may come from another camera or place than the pool; if so, train "
            "without filter_pool."
        )
    return text + (f" Examples are shown in {SHEET}, all are listed in {LIST}." if shown and count else "")


def _save(folder: Path, collection: Collection, found: Unrelated, note: str) -> None:
    """Write examples, the list, and last the record that a resumed run goes by."""
    removed = found.removed
    order = np.argsort(-found.score, kind="stable")[: len(removed)]
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LIST).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "score"))
            writer.writerows(
                (str(name), f"{score:.4f}")
                for name, score in zip(collection.names[removed], found.score[order], strict=True)
            )
    if collection.is_images and len(removed):
        shown = removed[np.linspace(0, len(removed) - 1, min(_MAX_SHOWN, len(removed))).round().astype(int)]
        heading = (
            f"{len(shown):,} of {len(removed):,} unlabeled images that look unlike the labeled ones and are not "
            "trained on, the most unlike first, the last ones just above the threshold"
        )
        save_sheet(folder / SHEET, pictures(collection, shown), heading)
    write_json(folder / RECORD, {"note": note, "share": found.share, "removed": np.sort(removed).tolist()})


def _recorded(path: Path, splits: Splits) -> tuple[Ids, str]:
    """What an earlier process of the same run removed."""
    try:
        saved = json.loads(path.read_text("utf-8"))
        removed, note = np.array(saved["removed"], np.int64), str(saved["note"])
        if not np.isin(removed, splits.unlabeled).all():
            raise ValueError("it names images that are not in the pool")
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}); train into a new folder") from None
    return removed, note

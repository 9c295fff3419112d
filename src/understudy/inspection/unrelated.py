"""Unrelated images in the pool: those that a classifier of labeled against unlabeled images separates from the labeled.

Every labeled image is of a wanted class and the pool is a mixture, so this is learning from positive and unlabeled data
(Elkan and Noto, 2008). The wanted share of the pool is estimated by the best bin of Garg et al. (2021,
https://arxiv.org/abs/2111.00980). As there, a second classifier is trained without the pool rows that the first wants.
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
from understudy.core.files import explain_write_errors, write_json
from understudy.core.seeding import generator
from understudy.core.types import Ids, Observe
from understudy.data.collection import Collection
from understudy.data.split import Splits
from understudy.inspection.contact_sheet import pictures, save_sheet
from understudy.inspection.embedding import embed, unit

Scores = NDArray[np.float64]

KEPT = 0.95  # share of wanted images to keep: a lost one costs less than an unrelated one that is trained on
MIN_LABELED = 20  # the threshold, a conformal 95 % quantile, needs 19 scores
SHEET, LIST, RECORD = "unrelated.png", "unrelated.csv", "unrelated.json"
_FOLDS, _MAX_TRAINED = 5, 20_000  # as in label_issues.py; the pool rows of a model, which bound the time
_STRENGTH = 10.0  # C over the number of rows: strong, since a weak penalty separates 20 labeled rows from any pool
_MAX_ITERATIONS = 200  # of L-BFGS, twice the default; a fit cut short there is close enough
_WORTH_A_SECOND, _SURE_OF = 0.1, 0.9  # share that calls for a second model; part of the wanted rows it leaves out
_DOUBT, _SLACK = 0.1, 0.01  # delta and gamma of Garg et al., their algorithm 1
_MAX_SHOWN = 60  # six rows of the sheet, which fit one screen
_NEARLY_ALL = 0.8  # beyond any plausible share of unrelated images, so the two sources must differ; a judgment


@dataclass(frozen=True, eq=False)
class Unrelated:
    """How unlike the labeled images each row of the pool looks.

    Args:
        ids: Rows of the pool, ascending.
        score: Log odds of each row; higher is less like the labeled images.
        threshold: The 95 % quantile of the labeled images' out-of-fold scores.
        share: Estimated share of the pool that is unlike any labeled image, in content or in how it was taken. Wanted
            and unwanted images overlap, so the share removed may differ.
    """

    ids: Ids
    score: Scores
    threshold: float
    share: float

    @property
    def removed(self) -> Ids:
        """The rows above the threshold, highest score first."""
        order = np.argsort(-self.score, kind="stable")
        return self.ids[order[self.score[order] > self.threshold]]


def find_unrelated(
    collection: Collection, splits: Splits, *, seed: int = 0, observe: Observe | None = None
) -> Unrelated:
    """The pool's rows, scored against the labeled training images; no held-out image or label is read.

    Raises:
        DataError: Too few images are labeled.
    """
    labeled, pool = splits.labeled, splits.unlabeled
    if len(labeled) < MIN_LABELED:
        raise DataError(
            f"unrelated images cannot be identified with {len(labeled)} labeled training images; label at least "
            f"{MIN_LABELED}, or leave out filter_pool"
        )
    if not len(pool):
        return Unrelated(pool, np.zeros(0), 0.0, 0.0)
    rows = embed(collection, np.concatenate([labeled, pool]), seed=seed, observe=observe)
    return replace(score_unrelated(rows[: len(labeled)], rows[len(labeled) :], seed=seed), ids=pool)


def score_unrelated(known: NDArray[np.float32], pool: NDArray[np.float32], *, seed: int = 0) -> Unrelated:
    """How unlike the known rows each row of the pool is; `ids` count the pool's rows from 0.

    The second classifier is trained only if at least a tenth of the pool is unwanted. Without unwanted images it would
    amplify chance differences that the first one found.
    """
    known, pool = unit(known), unit(pool)
    scale = float(np.concatenate([known[:_MAX_TRAINED], pool[:_MAX_TRAINED]]).std()) or 1.0
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
    """The splits with a filtered pool.

    Args:
        note: A sentence on what was left out.
        unrelated: The scores of the filter; None where the record of an earlier process was read.
    """

    splits: Splits
    note: str
    unrelated: Unrelated | None

    def save(self, folder: Path, collection: Collection) -> None:
        """Record the rows left out, unless an earlier process did, so that a resumed run leaves out the same ones."""
        if self.unrelated is not None and not (folder / RECORD).exists():
            _save(folder, collection, self.unrelated, self.note)


def filter_pool(collection: Collection, splits: Splits, seed: int, folder: Path | None) -> FilteredPool:
    """The splits without unrelated images in the pool: those of the folder's record, if it has one.

    Args:
        folder: Run folder, into which `FilteredPool.save` writes before training; None if nothing is saved.

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
    """Out-of-fold log odds of being from the pool, for the known rows and for the pool, by linear models.

    Args:
        wanted: Share of the pool, most like the known rows, that a second model is not trained on. Both models are of
            the same fold, because a first model trained on a row would select a pool unlike that row.
    """
    random = generator("unlike", seed)
    fold_of_known = random.permutation(len(known)) % _FOLDS
    fold_of_pool = random.permutation(len(pool)) % _FOLDS
    drawn = random.permutation(len(pool))[:_MAX_TRAINED]
    of_known, of_pool = np.zeros(len(known)), np.zeros(len(pool))
    for fold in range(_FOLDS):
        others = known[fold_of_known != fold]
        negatives = pool[np.sort(drawn[fold_of_pool[drawn] != fold])]
        model = _fitted(others, negatives)
        if wanted:
            order = np.argsort(model.decision_function(negatives), kind="stable")
            model = _fitted(others, negatives[np.sort(order[int(wanted * len(order)) :])])
        of_known[fold_of_known == fold] = model.decision_function(known[fold_of_known == fold])
        mine = np.flatnonzero(fold_of_pool == fold)
        for start in range(0, len(mine), _MAX_TRAINED):
            part = mine[start : start + _MAX_TRAINED]
            of_pool[part] = model.decision_function(pool[part])
    return of_known, of_pool


def _fitted(known: NDArray[np.float32], pool: NDArray[np.float32]) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([known, pool])
    model = LogisticRegression(C=_STRENGTH / len(rows), class_weight="balanced", max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(rows, np.arange(len(rows)) >= len(known))


def _unwanted_share(of_known: Scores, of_pool: Scores) -> float:
    """One minus the smallest ratio of the pool's to the known rows' share below a score, with a margin for few rows.

    The wanted rows of the pool are distributed like the known ones, so their share bounds this ratio from below.
    """
    at = np.sort(of_known)
    share_of_known = np.arange(1, len(at) + 1) / len(at)
    share_of_pool = np.searchsorted(np.sort(of_pool), at, side="right") / len(of_pool)
    margin = sum(np.sqrt(np.log(4 / _DOUBT) / (2 * count)) for count in (len(of_known), len(of_pool)))
    best = int(np.argmin((share_of_pool + (1 + _SLACK) * margin) / share_of_known))
    return float(1 - min(1.0, share_of_pool[best] / share_of_known[best]))


def _without(splits: Splits, removed: Ids) -> Splits:
    return replace(splits, unlabeled=np.setdiff1d(splits.unlabeled, removed))


def _note(unrelated: Unrelated, *, shown: bool) -> str:
    """What was left out, in a sentence or two."""
    count, total = len(unrelated.removed), len(unrelated.ids)
    if not total:
        return "There are no unlabeled images to filter."
    text = (
        f"{count:,} of {total:,} unlabeled images look unlike the labeled ones and are left out of the pool; in all "
        f"about {100 * unrelated.share:.0f} % of it may differ from them, in content or in how it was taken."
    )
    if count > _NEARLY_ALL * total:
        text += (
            " That is nearly all: the labeled images may come from another camera or place than the pool; if so, train "
            "without filter_pool."
        )
    return text + (f" Examples are shown in {SHEET}, all are listed in {LIST}." if shown and count else "")


def _save(folder: Path, collection: Collection, unrelated: Unrelated, note: str) -> None:
    """Write examples, the list, and last the record that a resumed run reads."""
    removed = unrelated.removed
    order = np.argsort(-unrelated.score, kind="stable")[: len(removed)]
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LIST).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "score"))
            writer.writerows(
                (str(name), f"{score:.4f}")
                for name, score in zip(collection.names[removed], unrelated.score[order], strict=True)
            )
    if collection.is_images and len(removed):
        shown = removed[np.linspace(0, len(removed) - 1, min(_MAX_SHOWN, len(removed))).round().astype(int)]
        heading = (
            f"{len(shown):,} of {len(removed):,} unlabeled images that look unlike the labeled ones and are left "
            "out of training, most unlike first, the last ones just above the threshold"
        )
        save_sheet(folder / SHEET, pictures(collection, shown), heading)
    write_json(folder / RECORD, {"note": note, "share": unrelated.share, "removed": np.sort(removed).tolist()})


def _recorded(path: Path, splits: Splits) -> tuple[Ids, str]:
    """The rows that an earlier process of the same run left out, and its note."""
    try:
        saved = json.loads(path.read_text("utf-8"))
        removed, note = np.array(saved["removed"], np.int64), str(saved["note"])
        if not np.isin(removed, splits.unlabeled).all():
            raise ValueError("it names images that are not in the pool")
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}); train into a new folder") from None
    return removed, note

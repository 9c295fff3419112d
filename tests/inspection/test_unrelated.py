"""Planted foreign images leave the pool, wanted ones stay, and a resumed run has the same pool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import understudy
from understudy.core.errors import DataError, RunFolderError
from understudy.data.collection import Collection
from understudy.data.load import load
from understudy.data.split import Splits, split
from understudy.inspection import unrelated
from understudy.inspection.unrelated import KEPT, MIN_LABELED, filter_pool, find_unrelated, score_unrelated


def _clouds(count: int, foreign: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Known rows and a pool of rows like them, then foreign ones, one of their three directions being shared."""
    random = np.random.default_rng(seed)
    centers = 4 * np.eye(12)
    known, wanted = (centers[random.integers(0, 3, n)] + random.normal(0, 1, (n, 12)) for n in (count, 2000))
    others = centers[random.integers(2, 5, foreign)] + random.normal(0, 1, (foreign, 12)) + 2 * centers[6] / 4
    return known.astype(np.float32), np.concatenate([wanted, others]).astype(np.float32)


@pytest.fixture(scope="module")
def mixed() -> tuple[Collection, np.ndarray]:
    """Digits in random order: 200 labeled ones of classes 0 to 4, and a pool of which about half are others."""
    digits = load("digits")
    order = np.random.default_rng(0).permutation(len(digits))
    true = digits.labels[order]
    shown = np.flatnonzero(true < 5)[:200]
    given = np.full(len(true), -1)
    given[shown] = true[shown]
    return load((digits.rows.numpy()[order], given)), true


@pytest.fixture(scope="module")
def splits(mixed: tuple[Collection, np.ndarray]) -> Splits:
    return split(mixed[0], 0)


@pytest.mark.parametrize("seed", range(4))
def test_score_unrelated__removes_foreign_rows_and_keeps_wanted_ones(seed: int) -> None:
    known, pool = _clouds(300, 1000, seed)
    found = score_unrelated(known, pool, seed=seed)
    is_removed = found.score > found.threshold
    assert is_removed[2000:].mean() > 0.5
    assert 1 - is_removed[:2000].mean() > KEPT - 0.03
    assert 0.2 < found.share < 0.45


@pytest.mark.parametrize("seed", range(4))
def test_score_unrelated__a_pool_like_the_known_rows_loses_about_five_percent(seed: int) -> None:
    known, pool = _clouds(300, 0, seed)
    found = score_unrelated(known, pool, seed=seed)
    assert (found.score > found.threshold).mean() < 0.09
    assert found.share < 0.15


def test_score_unrelated__is_repeatable() -> None:
    known, pool = _clouds(60, 300)
    first, again, other = (
        score_unrelated(known, pool),
        score_unrelated(known, pool),
        score_unrelated(known, pool, seed=1),
    )
    assert np.array_equal(first.score, again.score)
    assert not np.array_equal(first.score, other.score)


def test_find_unrelated__of_digits(mixed: tuple[Collection, np.ndarray], splits: Splits) -> None:
    collection, true = mixed
    found = find_unrelated(collection, splits)
    removed = found.removed
    assert np.isin(removed, splits.unlabeled).all()
    assert (true[removed] >= 5).mean() > 0.9
    foreign = splits.unlabeled[true[splits.unlabeled] >= 5]
    assert np.isin(foreign, removed).mean() > 0.75
    score = dict(zip(found.ids.tolist(), found.score.tolist(), strict=True))
    assert [score[row] for row in removed.tolist()] == sorted((score[row] for row in removed.tolist()), reverse=True)


def test_find_unrelated__reads_no_held_out_image_or_label(mixed: tuple[Collection, np.ndarray], splits: Splits) -> None:
    collection, _ = mixed
    held = np.concatenate([splits.test, splits.validation])
    rows, labels = collection.rows.clone(), collection.labels.copy()
    rows[held] = 0
    labels[held], labels[splits.labeled] = 0, 1
    assert len(held)
    first, blind = (find_unrelated(one, splits) for one in (collection, replace(collection, rows=rows, labels=labels)))
    assert np.array_equal(first.score, blind.score)


def test_find_unrelated__refuses_too_few_labels(mixed: tuple[Collection, np.ndarray], splits: Splits) -> None:
    few = replace(splits, labeled=splits.labeled[: MIN_LABELED - 1])
    with pytest.raises(
        DataError, match="cannot be identified with 19 labeled training images; label at least 20, or leave out"
    ):
        find_unrelated(mixed[0], few)


def test_find_unrelated__of_an_empty_pool(mixed: tuple[Collection, np.ndarray], splits: Splits) -> None:
    found = find_unrelated(mixed[0], replace(splits, unlabeled=np.zeros(0, np.int64)))
    assert len(found.removed) == 0


def test_filter_pool__records_what_it_removed(
    mixed: tuple[Collection, np.ndarray], splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection, _ = mixed
    filtered = filter_pool(collection, splits, 0, tmp_path)
    filtered.save(tmp_path, collection)
    smaller, note = filtered.splits, filtered.note
    removed = np.setdiff1d(splits.unlabeled, smaller.unlabeled)
    assert f"{len(removed):,} of {len(splits.unlabeled):,} unlabeled images look unlike the labeled ones" in note
    assert "Examples are shown in unrelated.png" in note
    assert len((tmp_path / "unrelated.csv").read_text().splitlines()) == len(removed) + 1
    with Image.open(tmp_path / "unrelated.png") as sheet:
        assert sheet.width > 1000
    monkeypatch.setattr(unrelated, "find_unrelated", lambda *_, **__: pytest.fail("looked again"))
    recorded = filter_pool(collection, splits, 0, tmp_path)
    again, same = recorded.splits, recorded.note
    assert np.array_equal(again.unlabeled, smaller.unlabeled)
    assert same == note


@pytest.mark.parametrize("text", ["{", '{"removed": [0], "note": ""}', "[]"])
def test_filter_pool__refuses_a_damaged_record(
    mixed: tuple[Collection, np.ndarray], splits: Splits, tmp_path: Path, text: str
) -> None:
    (tmp_path / "unrelated.json").write_text(text.replace("[0]", f"[{splits.labeled[0]}]"))
    with pytest.raises(RunFolderError, match=r"unrelated.json cannot be read .*; train into a new folder"):
        filter_pool(mixed[0], splits, 0, tmp_path)


def test_filter_pool__says_when_nearly_all_of_the_pool_differs() -> None:
    """Labeled digits as they are, a pool of the same with colors turned round."""
    digits = load("digits")
    rows = np.concatenate([digits.rows.numpy()[:200], 255 - digits.rows.numpy()[200:600]])
    collection = load((rows, np.where(np.arange(600) < 200, digits.labels[:600], -1)))
    note = filter_pool(collection, split(collection, 0), 0, None).note
    assert "may come from another camera or place" in note


@pytest.mark.parametrize("options", [{}, {"repeats": 2}, {"folds": 2}])
def test_train__filters_the_pool_of_every_run(
    mixed: tuple[Collection, np.ndarray], tmp_path: Path, options: dict[str, int]
) -> None:
    collection, true = mixed
    pair = (collection.rows.numpy(), collection.labels)
    result = understudy.train(pair, budget="2steps", folder=tmp_path / "run", filter_pool=True, **options)
    pool = result.splits.unlabeled
    assert (true[pool] >= 5).mean() < 0.25
    assert any("look unlike the labeled ones" in note for note in result.notes)
    parts = {"repeats": "repeat-*", "folds": "fold-*"}
    for name in options:
        assert len(list((tmp_path / "run").glob(f"{parts[name]}/unrelated.json"))) == 2


def test_train__does_not_filter_unless_asked(mixed: tuple[Collection, np.ndarray]) -> None:
    collection, _ = mixed
    result = understudy.train((collection.rows.numpy(), collection.labels), budget="2steps")
    assert len(result.splits.unlabeled) == len(split(collection, 0).unlabeled)


@pytest.mark.parametrize(("options", "times"), [({}, 1), ({"repeats": 2}, 2), ({"plan": False}, 1)])
def test_train__filters_the_pool_once_with_the_planner_on(
    options: dict[str, Any],
    times: int,
    mixed: tuple[Collection, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collection, _ = mixed
    calls = []
    monkeypatch.setattr(unrelated, "find_unrelated", lambda *a, **k: calls.append(1) or find_unrelated(*a, **k))
    pair = (collection.rows.numpy(), collection.labels)
    understudy.train(pair, budget="2steps", folder=tmp_path / "run", filter_pool=True, quiet=True, **options)
    assert len(calls) == times
    assert len(list((tmp_path / "run").rglob(unrelated.RECORD))) == times


def test_compare__filters_the_pool_of_every_run(mixed: tuple[Collection, np.ndarray], tmp_path: Path) -> None:
    """Each run has labels of its own, so what is unlike them is found anew."""
    collection, _ = mixed
    pair, folder = (collection.rows.numpy(), collection.labels), tmp_path / "compared"
    asked = {"methods": "pseudo_label", "seeds": 1, "budget": "2steps", "jobs": 1, "quiet": True}
    compared = understudy.compare(pair, folder=folder, filter_pool=True, **asked)
    whole = understudy.compare(pair, **asked)
    sizes = [[run.figures.num_unlabeled for run in each.runs if run.figures] for each in (compared, whole)]
    assert len(sizes[0]) == 2
    assert max(sizes[0]) < min(sizes[1])

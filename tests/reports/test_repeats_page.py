"""The page of a run over many seeds or folds speaks of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.reports.whole import run_record
from understudy.evaluation.repeats import over_folds, over_seeds
from understudy.reports.page import render
from understudy.reports.pages.repeats import paired_dots
from understudy.reports.pages.run import run_page

SEEDS = {"supervised": (0.90, 0.91, 0.92), "fixmatch": (0.95, 0.955, 0.975)}


def seeds(**found: Any) -> dict[str, Any]:
    accuracies = found or SEEDS
    count = len(accuracies["supervised"])
    return over_seeds(range(5, 5 + count), [500] * count, accuracies).to_json()


def test_run_page__speaks_of_all_seeds() -> None:
    page = run_page(run_record(repeats=seeds()))
    assert page.headline.answer == "Yes: the unlabeled images helped"
    assert page.headline.detail == (
        "On average over 3 seeds, training on the labels alone reaches 91.0 % accuracy and training with "
        "the unlabeled images 96.0 %. The saved model is that of the first seed, 5, with the unlabeled images."
    )
    assert [tile.figure for tile in page.tiles] == ["91.0 %", "96.0 %", "+5.0 points", "500"]
    text = render(page)
    assert "Over 3 seeds" in text
    assert "The first seed, whose model is saved" in text


def test_run_page__not_proven_over_seeds_overrules_the_first_seed() -> None:
    record = run_record(repeats=seeds(supervised=(0.9, 0.95, 0.93), fixmatch=(0.95, 0.94, 0.92)))
    assert record.result["verdict"]["outcome"] == "helped"
    page = run_page(record)
    assert (page.headline.tone, page.headline.answer) == ("open", "No difference is proven")
    assert page.advice[0].what == "Repeat with more seeds, or train longer"


def test_run_page__folds_of_labels_alone() -> None:
    found = over_folds({"supervised": [np.array([True, False]), np.array([True, True])]}, None)
    page = run_page(run_record(repeats=found.to_json(), delivered="supervised"))
    assert page.headline.answer == "A classifier from labels alone"
    assert "On 4 labeled images" in page.headline.detail
    assert "Over 2 folds" in render(page)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_paired_dots__any_number_of_seeds(count: int) -> None:
    draw = np.random.default_rng(count)
    found = seeds(supervised=draw.uniform(0.8, 0.9, count).tolist(), fixmatch=draw.uniform(0.8, 0.9, count).tolist())
    picture = paired_dots(found)
    assert picture is not None
    assert f"over {count} seed" in picture.caption

"""One run: what is counted, and what a second look at its folder gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.recipes.small import images
from understudy.comparison.single_run import coverage, mask_ratio, read_predictions, read_progress, run_one
from understudy.data.load import load
from understudy.experiment.job import make_job

OPTIONS: dict[str, Any] = {
    "method": {"name": "fixmatch", "mu": 2, "threshold": 0.35},
    "num_labels": 6,
    "budget": "8steps",
    "network": "cnn",
    "batch_size": 6,
    "warmup": 0.25,
}


def test_mask_ratio__weighs_by_steps() -> None:
    """10 steps show no unlabeled image; then 10 count half of theirs, and 30 all: (10 x 0.5 + 30 x 1) / 40."""
    history = [
        {"step": 10, "supervised": 1.0},
        {"step": 20, "mask_ratio": 0.5},
        {"step": 50, "mask_ratio": 1.0},
    ]
    assert mask_ratio(history) == pytest.approx((0.875, 1.0))
    assert mask_ratio(history[:1]) == (None, None)


def test_coverage__is_that_of_the_round_returned() -> None:
    rounds = [{"returned": False}, {"returned": True, "coverage": 0.4}, {"returned": False, "coverage": 0.9}]
    assert coverage(rounds) == 0.4
    assert coverage([{"returned": True}]) == 0.0, "the first teacher was trained on no pseudo-label"
    assert coverage([{"knn_accuracy": 0.5}]) is None, "pretraining has no rounds"


def test_run_one__a_finished_run_is_read_again_whole(tmp_path: Path) -> None:
    """Killed after training and before its figures were written, a run loses none of them."""
    collection = load(images(), test=images(60, 1000))
    job = make_job(OPTIONS, collection, None)
    first, predicted = run_one(collection, job, folder=tmp_path)
    assert first.pseudo_label_accuracy is not None
    assert read_progress(tmp_path)["done"] == 1.0
    again, _ = run_one(collection, job, folder=tmp_path)
    assert again == first
    labels, classes = read_predictions(tmp_path)
    assert (classes == predicted.classes).all()
    assert (labels == predicted.labels).all()


def test_run_one__supervised_uses_no_unlabeled_image() -> None:
    collection = load(images(), test=images(60, 1000))
    figures, _ = run_one(collection, make_job({**OPTIONS, "method": "supervised"}, collection, None))
    assert (figures.mask_ratio, figures.pseudo_label_accuracy) == (0.0, None)
    assert (figures.num_labeled, figures.num_unlabeled, figures.num_test) == (6, 84, 60)

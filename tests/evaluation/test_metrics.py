"""Metrics agree with scikit-learn where it has an answer, and stay sensible where it has none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from understudy.core.errors import DataError
from understudy.evaluation.metrics import Metrics, are_imbalanced, auroc, balanced_accuracy, measure


@pytest.fixture
def probabilities() -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.ones(7), size=200)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(2).permutation(np.arange(200) % 7)


def test_measure__agrees_with_scikit_learn(labels: np.ndarray, probabilities: np.ndarray) -> None:
    found = measure(labels, probabilities, classes=7)
    predictions = probabilities.argmax(axis=1)
    assert found.n == 200
    assert found.accuracy == reference.accuracy_score(labels, predictions)
    assert found.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predictions))
    assert found.macro_recall == found.balanced_accuracy
    assert found.macro_precision == pytest.approx(reference.precision_score(labels, predictions, average="macro"))
    assert found.macro_f1 == pytest.approx(reference.f1_score(labels, predictions, average="macro"))
    for k in (3, 5):
        assert found.top_k[k] == reference.top_k_accuracy_score(labels, probabilities, k=k)
    assert found.auroc == pytest.approx(reference.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert np.array_equal(found.confusion, reference.confusion_matrix(labels, predictions))
    assert [one.support for one in found.per_class] == np.bincount(labels).tolist()
    assert found.accuracy in found.accuracy_interval
    assert found.balanced_accuracy in found.balanced_accuracy_interval


def test_measure__confusion_rows_are_true_classes() -> None:
    assert measure(np.array([0, 0, 1]), np.array([1, 1, 1]), classes=2).confusion == ((0, 2), (0, 1))


def test_measure__class_missing_from_the_labels() -> None:
    found = measure(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), classes=("cat", "dog", "eel", "fox"))
    cat, dog, eel, fox = found.per_class
    assert (cat.precision, cat.recall, cat.f1) == (1.0, 0.5, pytest.approx(2 / 3))
    assert dog.f1 == 1.0
    assert (eel.support, eel.precision, eel.recall, eel.f1) == (0, 0.0, None, None)
    assert (fox.support, fox.precision, fox.recall, fox.f1) == (0, None, None, None)
    assert found.balanced_accuracy == 0.75
    assert found.macro_f1 == pytest.approx((2 / 3 + 1) / 2)


def test_measure__class_never_predicted_has_no_precision_to_speak_of() -> None:
    found = measure(np.array([0, 1]), np.array([0, 0]), classes=2)
    assert (found.per_class[1].precision, found.per_class[1].recall) == (0.0, 0.0)


def test_measure__predictions_alone_have_no_top_k(labels: np.ndarray) -> None:
    assert measure(labels, labels, classes=7).top_k == {}


def test_measure__top_k_leaves_out_k_that_cannot_miss() -> None:
    assert measure(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]), classes=2, top_k=(1, 2, 3)).top_k == {1: 0.5}


def test_measure__equal_probabilities_earn_no_free_hits() -> None:
    flat = np.full((40, 10), 0.1)
    found = measure(np.arange(40) % 10, flat, classes=10, top_k=(1, 5))
    assert found.top_k == {1: 0.1, 5: 0.5}
    assert found.accuracy == 0.1


def test_measure__one_image_one_class() -> None:
    found = measure(np.array([0]), np.array([0]), classes=1)
    assert found.accuracy == found.balanced_accuracy == found.macro_f1 == 1.0


@pytest.mark.parametrize(
    ("labels", "predicted", "sentence"),
    [
        ([], [], "there is no labeled image to evaluate on"),
        ([0, 1], [0], r"labels of shape \(2,\) and predictions of shape \(1,\) do not belong together"),
        ([0, -1], [0, 1], "label -1 is not a class number from 0 to 2; leave unlabeled images out"),
        ([0, 1], [0, 3], "prediction 3 is not a class number from 0 to 2"),
        ([0, 1], [[0.5, 0.5]] * 2, "2 probabilities per image do not fit 3 classes"),
        ([0, 1], [[0.2, 0.3, 0.5], [float("nan")] * 3], "1 of 2 images are not finite, the first in row 1"),
    ],
)
def test_measure__bad_input_is_a_sentence(labels: list[int], predicted: list[object], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        measure(np.array(labels, dtype=int), np.array(predicted), classes=3)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_metrics__survive_json_and_stay_in_range(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(pairs).T
    found = measure(labels, predictions, classes=5)
    assert Metrics.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    assert sum(map(sum, found.confusion)) == found.n
    for value in (found.accuracy, found.balanced_accuracy, found.macro_precision, found.macro_f1):
        assert 0 <= value <= 1
    assert found.balanced_accuracy in found.balanced_accuracy_interval


def test_metrics__json_round_trip_with_top_k(labels: np.ndarray, probabilities: np.ndarray) -> None:
    found = measure(labels, probabilities, classes=7)
    assert Metrics.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_balanced_accuracy__is_the_one_measured() -> None:
    random = np.random.default_rng(0)
    labels, predictions = random.choice([0, 1, 4], 200, p=[0.7, 0.25, 0.05]), random.integers(0, 5, 200)
    assert balanced_accuracy(labels, predictions) == pytest.approx(
        measure(labels, predictions, classes=5).balanced_accuracy
    )


@pytest.mark.parametrize(("counts", "expected"), [([4, 2], False), ([5, 2], True), ([5, 0, 3], False), ([], False)])
def test_are_imbalanced__beyond_twice(counts: list[int], expected: bool) -> None:
    assert are_imbalanced(np.repeat(np.arange(len(counts)), counts)) is expected


def test_auroc__by_hand() -> None:
    """Class 0: 0.6 and 0.3 against 0.3 and 0.1 win three pairs and tie one; class 1 mirrors it."""
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7], [0.3, 0.7], [0.1, 0.9]])
    assert auroc(np.array([0, 0, 1, 1]), probabilities) == pytest.approx(3.5 / 4)


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 5))
def test_auroc__equals_scikit_learn_with_ties_and_missing_classes(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    labels, probabilities = rng.integers(0, k, n), rng.integers(0, 4, (n, k)) / 4
    there = [one for one in range(k) if 0 < (labels == one).sum() < n]
    areas = [reference.roc_auc_score(labels == one, probabilities[:, one]) for one in there]
    assert auroc(labels, probabilities) == (pytest.approx(np.mean(areas)) if areas else None)


def test_auroc__undefined_without_probabilities_or_a_second_class() -> None:
    labels = np.zeros(4, int)
    assert measure(labels, np.full((4, 2), 0.5), classes=2).auroc is None
    assert measure(np.array([0, 1]), np.array([0, 1]), classes=2).auroc is None


def test_auroc__many_classes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = np.arange(400) % 90, rng.dirichlet(np.ones(100), 400)
    whole = auroc(labels, probabilities)
    monkeypatch.setattr("understudy.evaluation.metrics._COLUMNS_AT_ONCE", 7)
    assert auroc(labels, probabilities) == pytest.approx(whole)


def test_metrics__record_from_before_auroc(labels: np.ndarray, probabilities: np.ndarray) -> None:
    record = measure(labels, probabilities, classes=7).to_json()
    del record["auroc"]
    assert Metrics.from_json(record).auroc is None

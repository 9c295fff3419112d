"""Features whose worth is known by construction, and what the probes say of them."""

from __future__ import annotations

import numpy as np
import pytest

from understudy.evaluation.probes import knn_accuracy, linear_accuracy

RNG = np.random.default_rng(0)
LABELS = np.arange(90) % 3


def clusters(spread: float) -> np.ndarray:
    centers = 10 * np.eye(3, 8)
    return (centers[LABELS] + RNG.normal(0, spread, (90, 8))).astype(np.float32)


@pytest.mark.parametrize("probe", [knn_accuracy, linear_accuracy])
def test_probes__apart_and_noise(probe) -> None:  # type: ignore[no-untyped-def]
    assert probe(clusters(0.5), LABELS) == 1.0
    assert probe(RNG.normal(size=(90, 8)).astype(np.float32), LABELS) == pytest.approx(1 / 3, abs=0.2)


def test_knn_accuracy__a_row_does_not_vote_for_itself() -> None:
    features, labels = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
    features[2], features[3] = features[1] + 0.1, features[0] + 0.1  # each row's nearest is of the other class
    assert knn_accuracy(features, labels) == 0.0


def test_knn_accuracy__in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    features = clusters(6.0)
    whole = knn_accuracy(features, LABELS)
    monkeypatch.setattr("understudy.evaluation.probes._ROWS_AT_ONCE", 7)
    assert knn_accuracy(features, LABELS) == whole
    assert whole is not None
    assert 0.4 < whole < 1


def test_probes__too_few_rows() -> None:
    features = RNG.normal(size=(3, 4)).astype(np.float32)
    assert knn_accuracy(features, np.arange(3)) is None
    assert linear_accuracy(features, np.arange(3)) is None
    assert linear_accuracy(features, np.zeros(3, np.int64)) is None

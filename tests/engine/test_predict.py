"""Predictions are probabilities of the network in evaluation mode, however rows are grouped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.contract.tiny import CLASSES, network, tiny
from understudy.core.budget import Budget, Cost
from understudy.core.types import Loss, PseudoLabels, Step
from understudy.engine import predict as predict_module
from understudy.engine.observers import PseudoLabelQuality, StepReport
from understudy.engine.predict import features, predict


def test_predict__probabilities_of_evaluation_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    data, net = tiny().data, network(dropout=0.5).train()
    done: list[tuple[int, int]] = []
    monkeypatch.setattr(predict_module, "_ROWS_AT_ONCE", 16)
    found = predict(net, data, data.pool, observe=lambda *counts: done.append(counts))
    assert net.training
    assert net[2].training
    assert done == [(16, 36), (32, 36), (36, 36)]
    x = data.render(data.pool, "plain", device=torch.device("cpu"))
    with torch.no_grad():
        np.testing.assert_allclose(found, net.eval()(x).softmax(-1).numpy(), atol=1e-5)


def test_features__of_the_head_in_evaluation_mode() -> None:
    data, net = tiny().data, network(dropout=0.5).train()
    found = features(net, data, data.pool[:7])
    assert net.training
    x = data.render(data.pool[:7], "plain", device=torch.device("cpu"))
    with torch.no_grad():
        np.testing.assert_allclose(found, net.eval()[:-1](x).numpy(), atol=1e-5)
    assert features(net, data, np.zeros(0, dtype=np.int64)).shape == (0, found.shape[1])


def test_predict__no_rows() -> None:
    assert predict(network(), tiny().data, np.zeros(0, dtype=np.int64)).shape == (0, CLASSES)


def test_predict__averaged_over_shifts() -> None:
    data, net = tiny().data, network()
    averaged = predict(net, data, data.pool, test_time_averaging=True)
    np.testing.assert_allclose(averaged.sum(1), 1, atol=1e-5)
    assert np.abs(averaged - predict(net, data, data.pool)).max() > 0.01


def report(labels: list[int], weight: list[float], *, evaluated: bool) -> StepReport:
    given = PseudoLabels(torch.arange(len(labels)), torch.tensor(labels), torch.tensor(weight))
    loss = Loss({"supervised": torch.tensor(0.0)}, pseudo_labels=given)
    return StepReport("run", Step(0, 0.5), (loss,), 0.5, 2, Cost(), Budget(steps=9), {"step": 1} if evaluated else None)


def test_pseudo_label_quality__counts_what_is_known_and_used() -> None:
    observer = PseudoLabelQuality(np.array([0, 1, 2, -1]))
    observer(report([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0], evaluated=False))
    assert observer.rounds == []
    observer(report([0, 0, 2, 0], [1.0, 1.0, 0.5, 0.0], evaluated=True))
    line = {"progress": 0.5, "coverage": 6 / 8, "pseudo_label_accuracy": 3 / 5}
    assert observer.rounds == [line | {"counts": [3, 1, 1], "right": [2, 0, 1]}]  # by class, of rows of known class
    observer(report([0, 0, 0, 0], [0.0, 0.0, 0.0, 1.0], evaluated=True))
    assert observer.rounds[1]["coverage"] == 1 / 4
    assert np.isnan(observer.rounds[1]["pseudo_label_accuracy"])

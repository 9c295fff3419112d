"""What a wall-clock budget keeps for evaluation and report, and what is left to train."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest
import torch
from torch import nn

from tests.planning.small import CPU, collected, experiment, sided, with_known
from understudy.core.budget import Cost
from understudy.core.spending import Spending
from understudy.data.training_data import TrainingData
from understudy.experiment import reserve
from understudy.experiment.budget_split import BudgetSplit
from understudy.experiment.job import as_training_data
from understudy.experiment.log import Silent
from understudy.experiment.reserve import evaluation_seconds

IMAGES, TEST = with_known(sided(300), 40), sided(60, seed=1)


def _expected(monkeypatch: pytest.MonkeyPatch, per_row_s: float, **options: Any) -> tuple[float, list[int]]:
    """What evaluation is expected to take where a prediction takes so long, and how many rows were timed."""
    collection, splits = collected(IMAGES, TEST)
    data = as_training_data(collection, splits, "natural")
    now, timed = [0.0], list[int]()

    def predict(_: nn.Module, __: TrainingData, ids: Any, **___: Any) -> None:
        now[0] += per_row_s * len(ids)
        timed.append(len(ids))

    monkeypatch.setattr(reserve, "predict", predict)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    found = evaluation_seconds(network, data, splits, 2, device=CPU, clock=lambda: now[0], **options)
    return found, timed


def test_evaluation_seconds__every_row_that_both_models_predict(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 test images and 260 of the pool by each of two models, 40 labeled ones by one."""
    found, timed = _expected(monkeypatch, 0.001)
    assert found == pytest.approx((2 * (60 + 260) + 40) * 0.001)
    assert timed == [4, 4, 40]


def test_evaluation_seconds__a_slow_network_is_timed_on_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    found, timed = _expected(monkeypatch, 1.0)
    assert found == pytest.approx(680)
    assert timed == [4, 4]


def test_evaluation_seconds__views_and_corruptions(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = _expected(monkeypatch, 0.001, averaging=True, num_corrupted=500)
    assert found == pytest.approx((2 * (6 * 60 + 260 + 500) + 40) * 0.001)


def test_evaluation_seconds__leaves_the_network_as_it_was() -> None:
    collection, splits = collected(IMAGES, TEST)
    data = as_training_data(collection, splits, "natural")
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 16 * 16, 2)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert evaluation_seconds(network, data, splits, 1, device=CPU) > 0
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


class Said(Silent):
    """A watcher that keeps every message."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def message(self, text: str) -> None:
        """Keep it."""
        self.sentences.append(text)


def _begun(ago_s: float, *, reading_s: float = 0.0) -> tuple[BudgetSplit, Said]:
    """The budget of an experiment of 100 s that began so long ago; reading took a part of that, its start the rest."""
    watch = Said()
    begun = experiment(IMAGES, TEST, watch=watch, budget="100s")
    now = time.perf_counter()
    spending = Spending(Cost(now - ago_s, 0.0))
    spending.enter("reading")
    spending._parts = {"start": Cost(ago_s - reading_s, 0.0), "reading": Cost(reading_s, 0.0)}
    return dataclasses.replace(begun, begun=now - ago_s, spending=spending).budget_split, watch


@pytest.mark.parametrize(
    ("ago_s", "reserve_s", "each_s", "sentence"),
    [
        (20, 0, 40.0, ""),
        (20, 30, 25.0, ""),
        (50, 45, 10.0, "50 s of the budget of 100 s are spent, and evaluation and report will take about 45 s: "
         "training gets 20 s all the same, so the command will take about 115 s."),
        (88, 0, 10.0, ""),
        (95, 15, 10.0, "95 s of the budget of 100 s are spent, and evaluation and report will take about 15 s: "
         "training gets 20 s all the same, so the command will take about 2 min."),
    ],
)  # fmt: skip
def test_part_of__keeps_the_reserve_and_says_what_cannot_be_kept(
    ago_s: float, reserve_s: float, each_s: float, sentence: str
) -> None:
    grants, watch = _begun(ago_s)
    granted = grants.part_of(2, reserve_s=reserve_s)
    assert granted.wall_s == pytest.approx(each_s, abs=0.5)
    if sentence:
        assert watch.sentences[0][:40] == sentence[:40]
        assert watch.sentences[0].endswith(sentence[-30:])
    else:
        assert watch.sentences == []


def test_part_of__says_what_reading_took() -> None:
    grants, watch = _begun(85, reading_s=84)
    assert grants.part_of(2, reserve_s=10).wall_s == pytest.approx(10)
    assert watch.sentences[0].startswith("85 s of the budget of 100 s are spent, 84 s on reading images, and ")


def test_grant_second__the_same_cost_and_at_most_half_the_tolerance_later() -> None:
    grants, _ = _begun(60)
    granted = grants.grant_second(Cost(wall_s=25.0, cpu_s=22.0), 10.0, on_processor=True)
    assert granted.cpu_s == 22
    assert granted.wall_s == pytest.approx(100 - 60 - 10 + 5, abs=0.5)

"""Batches depend on data, seed and step alone; rows that do not count can be left out without changing the loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.tiny import tiny
from understudy.core.errors import ConfigError
from understudy.core.types import Batch, Step
from understudy.data.stream import Selector, Stream
from understudy.data.training_data import TrainingData
from understudy.functional.losses import cross_entropy


def stream(data: TrainingData | None = None, *, labeled_view: str = "weak", seed: int = 0) -> Stream:
    return Stream(data or tiny().data, seed=seed, batch_size=5, unlabeled_batch_size=8, labeled_view=labeled_view)


def views(batch: Batch) -> list[torch.Tensor]:
    return [batch.labeled.view(), batch.unlabeled.view("weak"), batch.unlabeled.view("strong")]


def test_batch__a_function_of_seed_step_and_attempt() -> None:
    step = Step(3, 0.1)
    one, again = (stream().batch(step, with_unlabeled=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(views(one), views(again), strict=True))
    others = [
        stream(seed=1).batch(step, with_unlabeled=True),
        stream().batch(replace(step, attempt=1), with_unlabeled=True),
        stream().batch(replace(step, index=4), with_unlabeled=True),
    ]
    for other in others:
        assert not any(torch.equal(a, b) for a, b in zip(views(one), views(other), strict=True))


def test_view__some_rows_are_those_of_all_and_draws_tell_repeats_apart() -> None:
    unlabeled = stream().batch(Step(0, 0.0), with_unlabeled=True).unlabeled
    rows = torch.tensor([6, 1, 1])
    assert torch.equal(unlabeled.view("strong", rows), unlabeled.view("strong")[rows])
    assert unlabeled.view("strong", rows[:0]).shape == (0, 1, 8, 8)
    assert not torch.equal(unlabeled.view("strong"), unlabeled.view("strong", draw=1))


def test_view__mixed_is_every_other_row_weak_and_strong() -> None:
    step = Step(0, 0.0)
    weak, strong, mixed = (
        stream(labeled_view=name).batch(step, with_unlabeled=False).labeled.view()
        for name in ("weak", "strong", "mixed")
    )
    assert torch.equal(mixed[0::2], weak[0::2])
    assert torch.equal(mixed[1::2], strong[1::2])


def test_batch__rows_come_once_per_epoch_and_go_on_after_a_checkpoint() -> None:
    source = stream()
    batches = [source.batch(Step(index, 0.0), with_unlabeled=True) for index in range(9)]
    ids = torch.cat([batch.unlabeled.ids for batch in batches])
    assert sorted(ids[:36].tolist()) == list(range(36))
    resumed = stream()
    resumed.load_state({"consumed": {"labeled": 20, "unlabeled": 32}, "selected": []})
    assert torch.equal(resumed.batch(Step(4, 0.0), with_unlabeled=True).unlabeled.ids, ids[32:40])
    assert resumed.state() == {"consumed": {"labeled": 25, "unlabeled": 40}, "selected": []}


def test_batch__a_supervised_step_has_no_unlabeled_rows() -> None:
    batch = stream().batch(Step(0, 0.0), with_unlabeled=False)
    assert len(batch.unlabeled.ids) == 0
    assert batch.unlabeled.view("weak").shape == (0, 1, 8, 8)


def test_batch__validation_rows_are_in_no_pool() -> None:
    data = tiny(validation=9).data
    assert not set(stream(data).pool) & set(data.validation)


def test_batch__weights_average_to_one() -> None:
    data = tiny(weight=torch.arange(12.0)).data
    source = stream(data)
    weights = torch.cat([source.batch(Step(i, 0.0), with_unlabeled=False).labeled.weight for i in range(12)])
    assert weights.mean().item() == pytest.approx(1.0)
    assert weights.max().item() == pytest.approx(11 / 5.5)


def test_stream__rows_that_processes_cannot_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.core.distributed.world_size", lambda: 3)
    with pytest.raises(ConfigError, match="by 3 processes; choose a batch_size that is a multiple of 3"):
        stream()


def loss(selector: Selector, weight: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> float:
    rows, scale = selector.select(weight)
    return cross_entropy(logits[rows], targets[rows], scale, count=len(weight)).item()


@given(
    weight=st.lists(st.sampled_from([0.0, 0.0, 0.3, 1.0]), min_size=1, max_size=40),
    before=st.lists(st.integers(0, 40), max_size=6),
)
def test_select__exact_and_in_fixed_sizes_give_one_loss(weight: list[float], before: list[int]) -> None:
    weights = torch.tensor(weight)
    logits, targets = torch.randn(len(weight), 3), torch.arange(len(weight)) % 3
    every = cross_entropy(logits, targets, weights).item()
    assert loss(Selector(exact=True), weights, logits, targets) == pytest.approx(every, abs=1e-5)
    sized = Selector(exact=False)
    sized.load_state([max(count, int((weights > 0).sum())) for count in before])  # room enough for all that count
    assert loss(sized, weights, logits, targets) == pytest.approx(every, abs=1e-5)


def test_select__what_has_no_room_is_stood_in_for() -> None:
    sized, weight = Selector(exact=False), torch.ones(100)
    sized.load_state([20] * 4)
    rows, scale = sized.select(weight)
    assert len(rows) == 25
    assert scale.sum().item() == pytest.approx(100.0)
    assert sized.state() == [20, 20, 20, 100]


@pytest.mark.parametrize("exact", [True, False])
def test_select__nothing_counts(exact: bool) -> None:
    _, scale = Selector(exact=exact).select(torch.zeros(8))
    assert scale.sum() == 0


def test_spec__what_a_method_may_know() -> None:
    spec = tiny(soft=True).data.spec(feature_width=32)
    assert (spec.num_classes, spec.num_labeled, spec.num_unlabeled) == (3, 12, 36)
    assert (spec.shape, spec.class_counts, spec.feature_width) == ((1, 8, 8), (5, 3, 4), 32)
    assert np.array_equal(tiny().data.pool, np.arange(36))

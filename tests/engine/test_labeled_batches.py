"""MixUp, CutMix and oversampling of labeled batches: against their definitions, on resume, and beside methods."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.contract.battery import check_resume
from tests.contract.tiny import CLASSES, different, run, stage, tiny
from understudy.core import distributed
from understudy.core.errors import ConfigError
from understudy.core.types import Labeled, Step
from understudy.data.stream import Stream, oversampled
from understudy.data.training_data import TrainingData
from understudy.engine.stage import Settings
from understudy.functional.criteria import CrossEntropy
from understudy.functional.mixing import mix_pairs
from understudy.methods.fixmatch import FixMatch
from understudy.methods.simmatch import SimMatch
from understudy.methods.supervised import Supervised


def labeled(data: TrainingData, step: int = 0, **options: Any) -> Labeled:
    stream = Stream(data, seed=3, batch_size=12, unlabeled_batch_size=0, labeled_view="plain", **options)
    return stream.batch(Step(step, 0.0), with_unlabeled=False).labeled


def test_mix_pairs__loss_is_that_of_both_labels() -> None:
    """MixUp: share H(y_a, p) + (1 - share) H(y_b, p), each weighted by the weight of its own row."""
    rng = np.random.default_rng(0)
    logits, weight = torch.tensor(rng.normal(size=(5, 3))), torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0]).double()
    labels, order = torch.tensor([0, 2, 1, 1, 0]), torch.tensor([3, 4, 0, 2, 1])
    share = torch.tensor([0.2, 0.9, 0.5, 1.0, 0.0]).double()
    targets, mixed = mix_pairs(F.one_hot(labels, 3).double(), weight, order, share)
    loss = CrossEntropy()(logits, targets, mixed, torch.ones(3))
    log_p = logits.numpy() - np.log(np.exp(logits.numpy()).sum(1, keepdims=True))
    expected = np.mean(
        [
            -share[i] * weight[i] * log_p[i, labels[i]] - (1 - share[i]) * weight[order[i]] * log_p[i, labels[order[i]]]
            for i in range(5)
        ]
    )
    assert loss.item() == pytest.approx(float(expected))


def test_stream__mixup_blends_rows_and_labels_in_the_same_shares() -> None:
    data = tiny().data
    plain, mixed = labeled(data), labeled(data, mix="mixup", mix_alpha=2.0)
    rows, one_hot = plain.view().flatten(1), F.one_hot(plain.targets, CLASSES).float()
    partners = 0
    for row, target in zip(mixed.view().flatten(1), mixed.targets, strict=True):
        fits = []
        for a in range(12):
            for b in range(12):
                difference = rows[a] - rows[b]
                share = ((row - rows[b]) @ difference / difference.square().sum().clamp(min=1e-9)).item()
                value = share * one_hot[a] + (1 - share) * one_hot[b]
                close = torch.allclose(share * rows[a] + (1 - share) * rows[b], row, atol=1e-5)
                fits.append(close and torch.allclose(value, target, atol=1e-4))
        partners += any(fits)
    assert partners == 12
    assert mixed.targets.sum(1).tolist() == pytest.approx([1.0] * 12)
    assert not torch.equal(labeled(data, 1, mix="mixup").targets, mixed.targets)


def test_stream__cutmix_labels_follow_the_pixels_left() -> None:
    """The share of a row's own label is the share of its own pixels (Yun et al., equation 1)."""
    black_and_white = torch.zeros(12, 1, 8, 8, dtype=torch.uint8)
    black_and_white[6:] = 255
    data = replace(
        tiny().data,
        rows=torch.cat([black_and_white, tiny().data.rows[12:]]),
        targets=torch.arange(12) // 6,
    )
    mixed = labeled(data, mix="cutmix")
    white = mixed.view().mean((1, 2, 3))
    assert torch.allclose(white, mixed.targets[:, 1], atol=1e-6)
    assert ((white > 0) & (white < 1)).any()
    assert set(mixed.view().unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_stream__two_processes_mix_what_one_does(mix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = labeled(tiny().data, mix=mix)
    plain = labeled(tiny().data).view()
    views, targets = [], []
    for rank in (0, 1):
        with monkeypatch.context() as patched:
            patched.setattr(distributed, "world_size", lambda: 2)
            patched.setattr(distributed, "rank", lambda rank=rank: rank)
            patched.setattr(distributed, "gather", lambda _: plain)
            part = labeled(tiny().data, mix=mix)
            views.append(part.view())
            targets.append(part.targets)
    assert torch.equal(torch.cat(views), whole.view())
    assert torch.equal(torch.cat(targets), whole.targets)


@pytest.mark.parametrize(("strength", "expected"), [(0.0, [8, 2, 0, 1]), (1.0, [8, 8, 0, 8]), (0.5, [8, 4, 0, 3])])
def test_oversampled__classes_in_proportion_to_their_counts_power(strength: float, expected: list[int]) -> None:
    targets = torch.tensor([0] * 8 + [1] * 2 + [3])
    positions = oversampled(targets, 4, strength)
    assert np.bincount(targets.numpy()[positions], minlength=4).tolist() == expected
    assert set(positions) == set(range(11))


def test_oversampled__soft_targets_count_as_their_likeliest_class() -> None:
    soft = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    assert sorted(oversampled(soft, 2, 1.0)) == [0, 1, 2, 2]


@pytest.mark.parametrize(
    "settings", [{"mix": "mixup"}, {"mix": "cutmix"}, {"oversampling": 1.0}, {"mix": "mixup", "mix_alpha": 0.2}]
)
@pytest.mark.parametrize("method", [Supervised(), FixMatch(threshold=0.5)], ids=["baseline", "method"])
def test_settings__change_the_baseline_and_the_method(method: Any, settings: dict[str, Any]) -> None:
    plain = dict(run(stage(method)).trained.model.state_dict())
    assert different(plain, dict(run(stage(method, **settings)).trained.model.state_dict()))


def test_settings__a_resumed_run_mixes_alike(tmp_path: Path) -> None:
    check_resume(FixMatch, tmp_path, mix="cutmix", oversampling=1.0)


def test_stage__cutmix_of_vectors_is_refused() -> None:
    vectors = replace(tiny().data, rows=torch.rand(36, 5), size=0)
    with pytest.raises(ConfigError, match=r"cutmix.*choose mix=mixup"):
        stage(Supervised(), data=vectors, net=torch.nn.Linear(5, 3), mix="cutmix")


def test_stage__a_method_that_remembers_labeled_rows_refuses_mixes() -> None:
    with pytest.raises(ConfigError, match="simmatch compares unlabeled rows with single labeled ones"):
        stage(SimMatch(), mix="mixup")


def test_settings__two_corrections_of_rare_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"oversampling is 1.0 and criterion.class_weights is inverse"):
        Settings(method=Supervised(criterion=CrossEntropy(class_weights="inverse")), oversampling=1.0)

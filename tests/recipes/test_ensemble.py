"""An ensemble of seeds and its student: who differs how, what is averaged, what is learned, and what resumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from tests.contract.tiny import same_execution, tiny, unchecked_shapes
from tests.contract.tiny import stage as tiny_stage
from understudy.core.errors import ConfigError, UserError
from understudy.core.seeding import seed_torch
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import PseudoLabelQuality
from understudy.engine.stage import Stage
from understudy.methods.fixmatch import FixMatch
from understudy.methods.supervised import Supervised
from understudy.models import build
from understudy.recipes import base
from understudy.recipes.ensemble import Ensemble, softened
from understudy.recipes.parts.initial_weights import is_fresh
from understudy.recipes.parts.pool_labels import PoolLabels

TWO = Ensemble(num_members=2)


def small(*, validation: int = 9, steps: int = 40, method: Any = None) -> Stage:
    data = tiny(labeled=12, unlabeled=48, validation=validation).data
    seed_torch("initial weights", 0)
    net = build("cnn", shape=data.row_shape, num_classes=3)
    made = tiny_stage(method or Supervised(ema_decay=0.5), steps=steps, data=data, net=net)
    return dataclasses.replace(made, network_name="cnn")


def train(recipe: Ensemble, stage: Stage, folder: Path | None = None, observe: Any = ()) -> Trained:
    with same_execution(), unchecked_shapes():
        return recipe.train(stage, folder, observe=observe)


def stages_of(recipe: Ensemble, stage: Stage) -> list[Stage]:
    """The runs that the recipe makes, in their order."""
    seen: list[Stage] = []

    def watched(part: Stage, *arguments: Any, **options: Any) -> Trained:
        seen.append(part)
        return fit(part, *arguments, **options)

    with mock.patch.object(base, "fit", watched):
        train(recipe, stage)
    return seen


def test_ensemble__lines_and_student(tmp_path: Path) -> None:
    quality = PseudoLabelQuality(tiny(labeled=12, unlabeled=48).truth)
    trained = train(TWO, small(), tmp_path, [quality])
    assert [line["name"] for line in trained.rounds] == ["member 1", "member 2", "ensemble", "student"]
    assert [line["returned"] for line in trained.rounds] == [False, False, False, True]
    assert all(0 <= line["validation_accuracy"] <= 1 for line in trained.rounds)
    assert trained.steps == sum(line["steps"] for line in trained.rounds) == 40
    assert [line["steps"] for line in trained.rounds] == [14, 14, 0, 12]
    assert "as large as" in trained.rounds[3]["note"]
    assert {"round", "coverage", "pseudo_label_accuracy"} <= set(quality.rounds[-1])


def test_ensemble__members_differ_in_seed_and_initial_weights() -> None:
    stage = small()
    assert is_fresh(stage)
    first, second, student = stages_of(TWO, stage)
    assert [part.settings.seed for part in (first, second, student)] == [0, 1, 0]
    assert first.network is stage.network is student.network
    assert not torch.equal(first.network.features[0].weight, second.network.features[0].weight)  # type: ignore


def test_ensemble__given_weights_are_kept_but_for_the_head() -> None:
    stage = small()
    with torch.no_grad():
        stage.network.features[0].weight.mul_(2)  # type: ignore
    assert not is_fresh(stage)
    _, second, _ = stages_of(TWO, stage)
    assert torch.equal(second.network.features[0].weight, stage.network.features[0].weight)  # type: ignore
    assert not torch.equal(second.network.head.weight, stage.network.head.weight)  # type: ignore
    trained = train(TWO, stage)
    assert "started from the given weights" in trained.rounds[2]["note"]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_ensemble__student_learns_the_average(tmp_path: Path, temperature: float) -> None:
    stage = small()
    asked: list[np.ndarray] = []
    real = base.predict

    def remembered(network: nn.Module, data: Any, ids: Any, **options: Any) -> Any:
        found = real(network, data, ids, **options)
        if len(ids) == 48:
            asked.append(found)
        return found

    with mock.patch.object(base, "predict", remembered):
        train(dataclasses.replace(TWO, temperature=temperature), stage, tmp_path)
    labels = PoolLabels.load(tmp_path / "pseudo_labels.npz")
    assert len(asked) == 2
    assert labels.probabilities == pytest.approx(softened(np.mean(asked, 0), temperature), abs=1e-3)
    assert (labels.label == np.mean(asked, 0).argmax(1)).all()
    assert (labels.repeats == 1).all()


def test_ensemble__any_method() -> None:
    members = stages_of(TWO, small(method=FixMatch(mu=2, threshold=0.4)))
    assert [part.settings.method.name for part in members] == ["fixmatch", "fixmatch", "supervised"]
    assert members[2].data.targets.shape[1] == 3


def test_softened__by_hand() -> None:
    probs = np.array([[0.64, 0.36], [1.0, 0.0]], np.float32)
    assert softened(probs, 2.0) == pytest.approx(np.array([[0.8 / 1.4, 0.6 / 1.4], [1, 0]]))
    assert softened(probs, 1.0) is probs


def test_ensemble__smaller_student_is_said() -> None:
    trained = train(dataclasses.replace(TWO, student="mobilenet_v1"), small(validation=0, steps=12))
    big, given = (sum(p.numel() for p in net.parameters()) for net in (trained.model, small().network))
    assert (
        f"{big:,} weights, {'smaller' if big < given else 'larger'} than a member's {given:,}"
        in (trained.rounds[3]["note"])
    )
    assert trained.network_name == "mobilenet_v1"
    assert trained.rounds[3]["validation_accuracy"] is None


def test_ensemble__resumes_where_it_died(tmp_path: Path) -> None:
    stage = small()
    whole = train(TWO, stage, tmp_path / "whole")
    calls: list[str] = []

    def dying(part: Stage, *arguments: Any, **options: Any) -> Trained:
        calls.append(part.name)
        if part.name == "student" and len(calls) == 3:
            raise KeyboardInterrupt
        return fit(part, *arguments, **options)

    with mock.patch.object(base, "fit", dying):
        with pytest.raises(KeyboardInterrupt):
            train(TWO, stage, tmp_path / "killed")
        again = train(TWO, stage, tmp_path / "killed")
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key])
    assert [line["validation_accuracy"] for line in again.rounds] == [
        line["validation_accuracy"] for line in whole.rounds
    ]


def test_ensemble__bad_input() -> None:
    stage = small()
    nobody = dataclasses.replace(stage.data, unlabeled=np.zeros(0, np.int64))
    alone = dataclasses.replace(stage, data=nobody)
    with pytest.raises(ConfigError, match="teaches its student on unlabeled images and there are none"):
        TWO.train(alone)
    with pytest.raises(ConfigError, match=r"recipe\.student is 'cnn', and your own module could not be trained"):
        Ensemble(student="cnn").train(dataclasses.replace(stage, network_name="module:Mine"))
    with pytest.raises(UserError, match="there is no network 'cmm'; allowed: cnn,"):
        Ensemble(student="cmm").train(stage)

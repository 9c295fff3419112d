"""What a report tells beyond the verdict is true of the images, the models and the pool."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from understudy.core.budget import Cost
from understudy.data.load import load
from understudy.engine.finalize import Trained
from understudy.experiment.diagnostics import Diagnostics, diagnose
from understudy.experiment.experiment import Experiment
from understudy.experiment.job import make_job
from understudy.experiment.log import Log, Silent
from understudy.experiment.outcome import Outcome
from understudy.experiment.prepare import assign_roles, prepare
from understudy.models.nets import Execution

SIZE, NUM_TEST = 8, 30


class Brightness(nn.Module):
    """Class 1 for bright images, the surer the further from middle gray; its feature is the brightness."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)
        self.head.weight.data = torch.tensor([[-scale], [scale]])
        self.head.bias.data = torch.tensor([scale / 2, -scale / 2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x.mean((1, 2, 3))[:, None])
        return logits


def gray(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Even gray images, class 1 above the middle, with every tenth label turned round."""
    levels = np.random.default_rng(seed).permutation(np.linspace(20, 235, count)).round().astype(np.uint8)
    labels = (levels > 127).astype(np.int64)
    labels[::10] = 1 - labels[::10]
    pixels = np.broadcast_to(levels[:, None, None, None], (count, 1, SIZE, SIZE)).copy()
    pixels[:, 0, -1, -1] = (np.arange(count) + 100 * seed) % 256  # no two are copies
    return pixels, labels


@cache
def diagnosed(scale: float = 40.0, corrupted: int = 0) -> tuple[Diagnostics, Outcome]:
    """The diagnostics of 60 images of which 20 labels are kept, and what they were made from."""
    collection = load(gray(60, 0), test=gray(NUM_TEST, 1))
    options = {"num_labels": 20, "domain": "gray", "device": "cpu", "corrupted": corrupted}
    job = make_job(options, collection, None)
    prepared = prepare(assign_roles(collection, job), job)
    splits = prepared.splits
    runs = {
        name: Trained(Brightness(own).eval(), 1, 1, Cost(1.0, 1.0), Execution(), ())
        for name, own in (("supervised", 1.0), ("fixmatch", scale))
    }
    levels = torch.from_numpy(collection.rows.numpy()[splits.test]).float() / 255
    held = {
        name: {"test": one.model(levels).softmax(-1).detach().numpy(), "validation": np.zeros((0, 2), np.float32)}
        for name, one in runs.items()
    }
    experiment = Experiment("gray", collection, job, None, None, Log(Silent()), 0.0)
    outcome = Outcome(experiment, prepared, runs, held, None, "fixmatch", "fixmatch")
    return diagnose(outcome), outcome


def test_diagnose__mistakes_are_wrong_and_the_surest_come_first() -> None:
    diagnostics, outcome = diagnosed()
    mistakes = diagnostics.figures["mistakes"]
    truth = dict(zip(diagnostics.held_out["names"].tolist(), diagnostics.held_out["labels"].tolist(), strict=True))
    assert len(mistakes) == NUM_TEST // 10
    assert all(line["true"] == truth[line["name"]] != line["predicted"] for line in mistakes)
    sure = [line["confidence"] for line in mistakes]
    assert sure == sorted(sure, reverse=True)
    labeled = {str(outcome.collection.names[row]) for row in outcome.splits.labeled}
    assert all({near["name"] for near in line["neighbors"]} <= labeled for line in mistakes)


def test_diagnose__pictures_are_of_the_images_named() -> None:
    diagnostics, outcome = diagnosed()
    rows = {str(name): row for row, name in enumerate(outcome.collection.names)}
    lines = [
        *diagnostics.figures["mistakes"],
        *diagnostics.figures["samples"]["labeled"],
        *diagnostics.figures["samples"]["pool"],
    ]
    for line in lines:
        shown, given = diagnostics.pictures[line["picture"]], outcome.collection.rows.numpy()[rows[line["name"]]]
        assert shown.shape == (SIZE, SIZE, 3)
        assert abs(int(shown[0, 0, 0]) - int(given[0, 0, 0])) <= 1


def test_diagnose__counts_of_the_pool_and_of_hidden_labels() -> None:
    diagnostics, outcome = diagnosed()
    pool, data = diagnostics.figures["pool"]["fixmatch"], diagnostics.figures["data"]
    assert pool["n"] == sum(pool["per_class"]) == sum(pool["confidence"]) == data["num_unlabeled"] == 40
    assert sum(data["labeled_per_class"]) == data["num_labeled"] == 20
    assert sum(data["pool_per_class"]) == 40
    assert pool["accuracy"] == pytest.approx(0.9, abs=0.1)
    assert outcome.hidden is not None


def test_diagnose__doubts_turned_labels_and_says_where() -> None:
    lines = diagnosed()[0].figures["label_errors"]
    mistaken = {line["name"] for line in diagnosed()[0].figures["mistakes"]}
    assert lines
    assert {line["name"] for line in lines} <= mistaken
    assert {line["where"] for line in lines} == {"held out"}


def test_diagnose__a_model_at_chance_doubts_no_label() -> None:
    assert diagnosed(scale=-40.0)[0].figures["label_errors"] == []


def test_diagnose__corruptions_are_asked_of_all_models_on_request() -> None:
    assert diagnosed()[0].figures["robustness"] == {}
    asked = diagnosed(corrupted=10)[0].figures["robustness"]
    assert set(asked) == {"supervised", "fixmatch"}
    assert {one["n"] for one in asked.values()} == {10}
    assert all(len(shares) == 5 for shares in asked["fixmatch"]["accuracy"].values())


def test_diagnose__test_images_are_distinguished_by_their_labels() -> None:
    diagnostics, outcome = diagnosed()
    labels = outcome.collection.labels.copy()
    labels[outcome.splits.test[0]] = 1 - labels[outcome.splits.test[0]]
    other = diagnose(
        replace(outcome, experiment=replace(outcome.experiment, collection=replace(outcome.collection, labels=labels)))
    )
    assert other.figures["data"]["test_content"] != diagnostics.figures["data"]["test_content"]
    assert diagnose(outcome).figures["data"]["test_content"] == diagnostics.figures["data"]["test_content"]

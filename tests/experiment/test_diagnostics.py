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
from understudy.data.simulate import simulate
from understudy.data.split import split
from understudy.engine.finalize import Trained
from understudy.experiment.diagnostics import Findings, Finished, look
from understudy.experiment.job import as_training_data
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
def found(scale: float = 40.0, corrupted: int = 0) -> tuple[Findings, Finished]:
    """The findings on 60 images of which 20 labels are kept, and what they were made from."""
    collection = load(gray(60, 0), test=gray(NUM_TEST, 1))
    few, hidden = simulate(collection, 20, 0)
    splits = split(few, 0)
    data = as_training_data(few, splits, "gray")
    runs = {
        name: Trained(Brightness(own).eval(), 1, 1, Cost(1.0, 1.0), Execution(), ())
        for name, own in (("supervised", 1.0), ("fixmatch", scale))
    }
    levels = torch.from_numpy(collection.rows.numpy()[splits.test]).float() / 255
    held = {
        name: {"test": one.model(levels).softmax(-1).detach().numpy(), "validation": np.zeros((0, 2), np.float32)}
        for name, one in runs.items()
    }
    done = Finished(
        name="gray", domain="gray", collection=collection, splits=splits, data=data, runs=runs, held=held,
        delivered="fixmatch", hidden=hidden, device="cpu", seed=0, corrupted=corrupted,
    )  # fmt: skip
    return look(done), done


def test_look__mistakes_are_wrong_and_the_surest_come_first() -> None:
    findings, done = found()
    mistakes = findings.figures["mistakes"]
    truth = dict(zip(findings.held_out["names"].tolist(), findings.held_out["labels"].tolist(), strict=True))
    assert len(mistakes) == NUM_TEST // 10
    assert all(line["true"] == truth[line["name"]] != line["predicted"] for line in mistakes)
    sure = [line["confidence"] for line in mistakes]
    assert sure == sorted(sure, reverse=True)
    labeled = {str(done.collection.names[row]) for row in done.splits.labeled}
    assert all({near["name"] for near in line["neighbors"]} <= labeled for line in mistakes)


def test_look__pictures_are_of_the_images_named() -> None:
    findings, done = found()
    rows = {str(name): row for row, name in enumerate(done.collection.names)}
    lines = [
        *findings.figures["mistakes"],
        *findings.figures["samples"]["labeled"],
        *findings.figures["samples"]["pool"],
    ]
    for line in lines:
        shown, given = findings.pictures[line["picture"]], done.collection.rows.numpy()[rows[line["name"]]]
        assert shown.shape == (SIZE, SIZE, 3)
        assert abs(int(shown[0, 0, 0]) - int(given[0, 0, 0])) <= 1


def test_look__counts_of_the_pool_and_of_hidden_labels() -> None:
    findings, done = found()
    pool, data = findings.figures["pool"]["fixmatch"], findings.figures["data"]
    assert pool["n"] == sum(pool["per_class"]) == sum(pool["confidence"]) == data["num_unlabeled"] == 40
    assert sum(data["labeled_per_class"]) == data["num_labeled"] == 20
    assert sum(data["pool_per_class"]) == 40
    assert pool["accuracy"] == pytest.approx(0.9, abs=0.1)
    assert done.hidden is not None


def test_look__doubts_turned_labels_and_says_where() -> None:
    lines = found()[0].figures["label_errors"]
    mistaken = {line["name"] for line in found()[0].figures["mistakes"]}
    assert lines
    assert {line["name"] for line in lines} <= mistaken
    assert {line["where"] for line in lines} == {"held out"}


def test_look__a_model_at_chance_doubts_no_label() -> None:
    assert found(scale=-40.0)[0].figures["label_errors"] == []


def test_look__corruptions_are_asked_of_all_models_on_request() -> None:
    assert found()[0].figures["robustness"] == {}
    asked = found(corrupted=10)[0].figures["robustness"]
    assert set(asked) == {"supervised", "fixmatch"}
    assert {one["n"] for one in asked.values()} == {10}
    assert all(len(shares) == 5 for shares in asked["fixmatch"]["accuracy"].values())


def test_look__judges_are_told_apart_by_their_labels() -> None:
    findings, done = found()
    labels = done.collection.labels.copy()
    labels[done.splits.test[0]] = 1 - labels[done.splits.test[0]]
    other = look(replace(done, collection=replace(done.collection, labels=labels)))
    assert other.figures["data"]["test_content"] != findings.figures["data"]["test_content"]
    assert look(done).figures["data"]["test_content"] == findings.figures["data"]["test_content"]

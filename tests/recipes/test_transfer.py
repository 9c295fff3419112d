"""Heads on frozen features against scikit-learn and by hand, and the recipe that makes one network of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import kneighbors_graph
from sklearn.semi_supervised import LabelSpreading
from torch import nn

import understudy
from tests.contract.tiny import same_execution, tiny, unchecked_shapes
from tests.contract.tiny import stage as tiny_stage
from understudy.core.budget import Budget
from understudy.core.errors import ConfigError, UserError
from understudy.core.seeding import seed_torch
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import PseudoLabelQuality, StepReport
from understudy.engine.optim import SGD
from understudy.engine.stage import Stage
from understudy.methods.fixmatch import FixMatch
from understudy.methods.supervised import Supervised
from understudy.models import build, find_head, logits_and_features
from understudy.models.weights import load_weights
from understudy.recipes import base
from understudy.recipes.parts import features, propagation
from understudy.recipes.parts.initial_weights import is_fresh
from understudy.recipes.parts.linear_heads import STRENGTHS, logistic_head, prototype_head
from understudy.recipes.parts.propagation import nearest_neighbors, neighbor_graph, propagate, propagated_head
from understudy.recipes.transfer import Transfer
from understudy.serving.predictor import Predictor

CPU = torch.device("cpu")
HEADS = ("linear", "label_propagation", "prototypes", "method")


def blobs(count: int, num_classes: int = 3, width: int = 6, spread: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Positive vectors around a center per class, and their classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % num_classes
    rows = 3 + rng.normal(0, 1, (num_classes, width))[labels] + rng.normal(0, spread, (count, width))
    return rows.astype(np.float32), labels


# Linear heads.


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("has_bias", [True, False])
def test_logistic_head__is_scikit_learns(num_classes: int, has_bias: bool) -> None:
    rows, labels = blobs(60, num_classes)
    weight = np.random.default_rng(1).uniform(0.5, 2, 60)
    head = logistic_head(rows, labels, num_classes, weight=weight, strength=0.5, has_bias=has_bias)
    center = rows.mean(0) * has_bias
    scale = np.sqrt(((rows - center) ** 2).mean())
    model = LogisticRegression(C=0.5, max_iter=1000, fit_intercept=has_bias)
    model.fit((rows - center) / scale, labels, sample_weight=weight / weight.mean())
    logits = head.logits(rows)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert chances == pytest.approx(model.predict_proba((rows - center) / scale), abs=2e-3)
    assert has_bias or not head.bias.any()


def test_logistic_head__strength_by_cross_validation() -> None:
    rows, labels = blobs(90, spread=0.3)
    noisy = np.random.default_rng(0).permutation(labels)
    clear, blurred = (logistic_head(rows, found, 3).note for found in (labels, noisy))
    assert clear.endswith("by cross-validation")
    chosen = [float(note.split()[3]) for note in (blurred, clear)]
    assert chosen[0] < chosen[1]
    assert set(chosen) <= set(STRENGTHS)


def test_logistic_head__single_and_absent_classes() -> None:
    rows, labels = blobs(7)
    head = logistic_head(rows[:3], labels[:3], 4)
    assert "a class has a single label" in head.note
    assert (head.logits(rows).argmax(1) != 3).all()
    assert head.logits(rows)[:, 3].max() < -500


def test_prototype_head__is_nearest_by_cosine() -> None:
    rows, labels = blobs(30)
    head = prototype_head(rows, labels, 3)
    center = rows.mean(0)
    unit = (rows - center) / np.linalg.norm(rows - center, axis=1, keepdims=True)
    means = np.stack([unit[labels == index].mean(0) for index in range(3)])
    cosines = unit @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    assert (head.logits(rows).argmax(1) == cosines.argmax(1)).all()
    assert not prototype_head(rows, labels, 3, has_bias=False).bias.any()


def test_prototype_head__confident_rows_join() -> None:
    rows, labels = blobs(300, spread=0.9)
    pool, few = rows[6:], rows[:6]
    alone, together = (
        prototype_head(few, labels[:6], 3, pool=pool, num_refinements=count, threshold=0.5) for count in (0, 2)
    )
    right = [(head.logits(pool).argmax(1) == labels[6:]).mean() for head in (alone, together)]
    assert "confident unlabeled rows joined the means" in together.note
    assert "joined" not in alone.note
    assert right[1] >= right[0]
    never = prototype_head(few, labels[:6], 3, pool=pool, num_refinements=2, threshold=1.0)
    assert np.allclose(never.weight, alone.weight)
    assert "no unlabeled row joined the means, since none reached a confidence of 1" in never.note


# Label propagation.


def test_nearest_neighbors__is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(propagation, "_COLUMNS_AT_ONCE", 11)
    rows, _ = blobs(60)
    ids = np.arange(5, 45)
    places, cosines = nearest_neighbors(torch.from_numpy(rows), ids, 4, device=CPU)
    expected = 1 - kneighbors_graph(rows[ids], 4, mode="distance", metric="cosine").toarray()
    for row in range(len(ids)):
        assert row not in places[row]
        assert set(places[row]) == set(np.flatnonzero(expected[row] < 1))
        assert cosines[row] == pytest.approx(expected[row][places[row]], abs=1e-5)


def test_nearest_neighbors__fewer_rows_than_neighbors() -> None:
    rows, _ = blobs(5)
    places, _ = nearest_neighbors(torch.from_numpy(rows), np.arange(5), 50, device=CPU)
    assert [sorted(row) for row in places.tolist()] == [[at for at in range(5) if at != row] for row in range(5)]


def test_propagate__is_scikit_learns_label_spreading() -> None:
    rows, truth = blobs(60)
    places, cosines = nearest_neighbors(torch.from_numpy(rows - rows.mean(0)), np.arange(60), 5, device=CPU)
    graph = neighbor_graph(places, cosines, 3.0)
    dense = graph.toarray()
    assert np.allclose(dense, dense.T)
    assert not dense.diagonal().any()
    labels = np.where(np.arange(60) < 9, truth, -1)
    oracle = LabelSpreading(kernel=lambda x, y: dense, alpha=0.9, max_iter=2000, tol=1e-12).fit(rows, labels)
    found = propagate(graph, labels, 3, 0.9)
    shares = found.scores / found.scores.sum(1, keepdims=True)
    assert shares == pytest.approx(oracle.label_distributions_, abs=1e-5)
    assert (found.label == oracle.label_distributions_.argmax(1)).all()
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(1)
    assert found.certainty == pytest.approx(1 - entropy / np.log(3), abs=1e-6)


def test_propagate__what_no_label_reaches_is_worth_nothing() -> None:
    rows = np.eye(6, dtype=np.float32)
    rows[1], rows[3] = rows[0], rows[2]
    places, cosines = nearest_neighbors(torch.from_numpy(rows), np.arange(6), 1, device=CPU)
    found = propagate(neighbor_graph(places, cosines, 3.0), np.array([0, -1, 1, -1, -1, -1]), 2, 0.99)
    assert found.label[:4].tolist() == [0, 0, 1, 1]
    assert found.certainty.tolist() == pytest.approx([1, 1, 1, 1, 0, 0])


def test_propagated_head__classes_count_alike() -> None:
    """Iscen et al., equation 12: each row by its certainty over the number of rows of its class."""
    rows, truth = blobs(60)
    few = np.concatenate([np.arange(0, 60, 3), np.arange(1, 60, 12), np.arange(2, 60, 6)])
    labels = np.where(np.arange(len(few)) % 4 == 0, truth[few], -1)
    with mock.patch.object(propagation, "logistic_head", side_effect=logistic_head) as learned:
        _, found = propagated_head(
            torch.from_numpy(rows - 3), few, labels, 3, num_neighbors=5, alpha=0.9, seed=0, device=CPU
        )
    counts = np.bincount(found.label, minlength=3)
    assert len(set(counts)) > 1
    assert (found.certainty > 0).all()
    assert learned.call_args.kwargs["weight"] == pytest.approx(found.certainty / counts[found.label])


def test_propagated_head__what_no_label_reaches_weighs_on_no_class() -> None:
    rows = np.eye(40, dtype=np.float32)
    rows[1], rows[3] = rows[0], rows[2]
    labels = np.array([0, -1, 1, -1, *[-1] * 36])
    head, _ = propagated_head(
        torch.from_numpy(rows), np.arange(40), labels, 2, num_neighbors=1, alpha=0.99, seed=0, device=CPU
    )
    logits = head.logits(rows)
    assert logits[0] == pytest.approx(logits[2][::-1], abs=1e-4)


def test_propagated_head__learns_the_graphs_labels() -> None:
    rows, truth = blobs(200, spread=0.4)
    labels = np.where(np.arange(200) < 6, truth, -1)
    head, found = propagated_head(
        torch.from_numpy(rows - 3), np.arange(200), labels, 3, num_neighbors=10, alpha=0.99, seed=0, device=CPU
    )
    assert (found.label[:6] == truth[:6]).all()
    assert (found.certainty[:6] == 1).all()
    assert (found.label == truth).mean() > 0.9
    assert (head.logits(rows - 3).argmax(1) == found.label).mean() > 0.9
    assert "to 194 of 194 unlabeled rows" in head.note


# The recipe.


def small(*, validation: int = 0, name: str = "cnn", budget: Budget | None = None, **settings: Any) -> Stage:
    data = tiny(labeled=12, unlabeled=48, validation=validation).data
    torch.manual_seed(0)
    net = build(name, shape=data.row_shape, num_classes=3)
    method = FixMatch(mu=2, threshold=0.4, ema_decay=0.5)
    made = tiny_stage(method, steps=12, data=data, net=net, budget=budget, **settings)
    return dataclasses.replace(made, network_name=name)


def train(recipe: Transfer, stage: Stage, folder: Path | None = None, observe: Any = ()) -> Trained:
    with same_execution(), unchecked_shapes():
        return recipe.train(stage, folder, observe=observe)


@pytest.mark.parametrize("head", HEADS)
def test_transfer__one_network_from_images(head: str, tmp_path: Path) -> None:
    stage = small(validation=9)
    truth = np.concatenate([tiny(labeled=12, unlabeled=48).truth])
    quality, reports = PseudoLabelQuality(truth), list[StepReport]()
    trained = train(Transfer(head=head, num_neighbors=5), stage, tmp_path / "run", [quality, reports.append])
    (line,) = trained.rounds
    assert (line["name"], line["returned"]) == (head, True)
    assert line["validation_accuracy"] > 0.6
    assert any(report.round is not None and report.round.record["name"] == head for report in reports)
    assert trained.network_name == ("cnn+mlp" if head == "method" else "cnn")
    if head == "label_propagation":
        assert quality.rounds[-1]["pseudo_label_accuracy"] > 0.7
        assert (tmp_path / "run" / "pseudo_labels.npz").exists()
    before, after = stage.network.state_dict(), trained.model.state_dict()
    name = find_head(stage.network)[0]
    unmoved = [key for key in before if not key.startswith((name, "normalize"))]
    assert unmoved
    assert all(torch.equal(before[key], after[key]) for key in unmoved)
    predictor = Predictor(trained.model, trained.network_name, stage.data.classes, stage.data.row_shape, "gray")
    predictor.save(tmp_path)
    x = torch.rand(3, *stage.data.row_shape)
    with torch.no_grad():
        assert torch.allclose(Predictor.load(tmp_path).network(x), trained.model(x), atol=1e-6)
    with mock.patch.object(features, "features", side_effect=AssertionError("a network was run")):
        again = train(Transfer(head=head, num_neighbors=5), stage, tmp_path / "run")
    assert all(torch.equal(again.model.state_dict()[key], after[key]) for key in after)
    assert again.rounds == trained.rounds


def test_transfer__linear_head_is_the_regression_on_its_features() -> None:
    stage = small()
    trained = train(Transfer(), stage)
    x = stage.data.render(stage.data.labeled, "plain", device=CPU)
    with torch.no_grad():
        logits, inner = logits_and_features(trained.model, x)
    expected = logistic_head(inner.numpy(), stage.data.targets.numpy(), 3)
    assert logits.numpy() == pytest.approx(expected.logits(inner.numpy()), abs=1e-3)
    assert trained.steps == 0


def test_transfer__a_backbone_that_learned_nothing_is_said() -> None:
    stage = small()
    assert "learned nothing" not in train(Transfer(), stage).rounds[0]["note"]
    seed_torch("initial weights", 0)
    fresh = build("cnn", shape=stage.data.row_shape, num_classes=3)
    (line,) = train(Transfer(), dataclasses.replace(stage, network=fresh)).rounds
    assert line["note"].count("the backbone has learned nothing yet: pretrained or weights_file") == 1


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "timm:mobilenetv3_small_050"])
def test_is_fresh__of_the_libraries_networks(name: str) -> None:
    stage = dataclasses.replace(small(), network_name=name)
    seed_torch("initial weights", stage.settings.seed)
    network = build(name, shape=stage.data.row_shape, num_classes=3)
    assert is_fresh(dataclasses.replace(stage, network=network))
    with torch.no_grad():
        next(iter(network.parameters())).mul_(2)
    assert not is_fresh(dataclasses.replace(stage, network=network))


@pytest.mark.parametrize(
    ("recipe", "learns"),
    [
        (Transfer(), False),
        (Transfer(head="prototypes", num_refinements=0), False),
        (Transfer(head="prototypes"), True),
        (Transfer(head="label_propagation", num_neighbors=5), True),
        (Transfer(head="method"), True),
    ],
)
def test_transfer__says_whether_unlabeled_rows_play_a_part(recipe: Transfer, learns: bool) -> None:
    assert train(recipe, small()).rounds[0]["learned_from_pool"] == learns


def test_transfer__finetune_moves_all_layers_and_keeps_the_better() -> None:
    stage = small(validation=9)
    trained = train(Transfer(finetune=0.5), stage)
    head, tuned = trained.rounds
    assert (head["name"], tuned["name"], tuned["steps"]) == ("linear", "finetune", 6)
    assert (head["learned_from_pool"], tuned["learned_from_pool"]) == (False, True)
    assert sum(line["returned"] for line in trained.rounds) == 1
    best = max((tuned, head), key=lambda line: line["validation_accuracy"])
    assert best["returned"]
    unvalidated = train(Transfer(finetune=0.5), small())
    assert unvalidated.rounds[1]["returned"]
    before = small().network.state_dict()
    assert not torch.equal(unvalidated.model.state_dict()["features.0.weight"], before["features.0.weight"])


def test_transfer__what_the_parts_are_given() -> None:
    stage, seen = small(optimizer=SGD(lr=0.01, layer_decay=0.8)), list[Stage]()

    def remembered(part: Stage, *arguments: Any, **options: Any) -> Trained:
        seen.append(part)
        return fit(part, *arguments, **options)

    with mock.patch.object(base, "fit", remembered):
        train(Transfer(head="method", noise=0.6, finetune=0.5, layer_decay=0.5), stage)
    head, tuned = seen
    assert (head.data.domain.strong_noise, head.data.domain.weak_noise) == (0.6, pytest.approx(0.15))
    assert tuned.settings.optimizer == SGD(lr=0.01, layer_decay=0.5 * 0.8)


def test_transfer__first_layers_move_least() -> None:
    def moved(layer_decay: float) -> float:
        stage = small()
        model = train(Transfer(finetune=0.5, layer_decay=layer_decay), stage).model
        before, after = (net.state_dict()["features.0.weight"] for net in (stage.network, model))
        return float((after - before).norm())

    assert moved(0.3) < 0.5 * moved(1.0)


def test_transfer__pretrained_weights_from_a_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(3)
    source = build("torchvision:resnet18", shape=(3, 32, 32), num_classes=5).network
    save_file(dict(source.state_dict()), tmp_path / "w.safetensors")  # type: ignore[union-attr, operator]
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 32, 32)).astype(np.uint8)
    data = dataclasses.replace(tiny(labeled=12, unlabeled=12).data, rows=torch.from_numpy(images), size=32)
    net = build("torchvision:resnet18", shape=(3, 32, 32), num_classes=3, weights_file=tmp_path / "w.safetensors")
    stage = tiny_stage(FixMatch(mu=2), steps=4, data=data, net=net)
    trained = train(Transfer(), stage)
    found = trained.model.state_dict()
    for key, value in source.state_dict().items():  # type: ignore[union-attr, operator]
        assert key.startswith("fc.") or torch.equal(found[f"network.{key}"], value)
    save_file({"conv1.weight": torch.zeros(1, 3, 7, 7)}, tmp_path / "bad.safetensors")
    with pytest.raises(UserError, match=r"bad\.safetensors"):
        load_weights(net.network, tmp_path / "bad.safetensors")  # type: ignore[arg-type]


# Bad input.


def test_transfer__no_head() -> None:
    stage = small()
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UserError, match=r"has no nn\.Linear whose input could be its features"):
        Transfer().train(dataclasses.replace(stage, network=network))


class HeadFirst(nn.Module):
    """A network that defines its head before another linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(8, 3), nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x.flatten(1)))  # type: ignore[no-any-return]


def test_transfer__head_that_is_not_defined_last() -> None:
    with pytest.raises(UserError) as caught:
        Transfer().train(dataclasses.replace(small(), network=HeadFirst()))
    assert str(caught.value) == (
        "the last linear layer of HeadFirst, 'body', gives 8 numbers and there are 3 classes, so it is not the head; "
        "define the head after all other layers"
    )


def test_transfer__no_pool_single_class_own_module() -> None:
    stage = small()
    nobody = dataclasses.replace(stage.data, unlabeled=np.zeros(0, np.int64))
    plain = dataclasses.replace(stage.settings, method=Supervised())
    alone = dataclasses.replace(stage, data=nobody, settings=plain)
    with pytest.raises(ConfigError, match=r"recipe\.head=label_propagation labels unlabeled images and there are none"):
        Transfer(head="label_propagation").train(alone)
    assert train(Transfer(head="prototypes"), alone).rounds[0]["name"] == "prototypes"
    one = dataclasses.replace(stage.data, targets=torch.zeros(12, dtype=torch.long))
    single = dataclasses.replace(stage, data=one)
    with pytest.raises(ConfigError, match="a head needs labeled images of at least 2 classes, and 1 is labeled"):
        Transfer().train(single)
    with pytest.raises(ConfigError, match=r"recipe\.head=method puts a new head on the network, and your own module"):
        Transfer(head="method").train(dataclasses.replace(stage, network_name="module:Mine"))


def test_transfer__budget_too_short() -> None:
    with pytest.raises(UserError, match=r"features of 12 rows take about .* and the budget leaves"):
        train(Transfer(), small(budget=Budget(cpu_s=1e-7)))


def test_transfer__a_folder_of_other_knobs(tmp_path: Path) -> None:
    train(Transfer(), small(), tmp_path)
    with pytest.raises(UserError, match="holds a run that differs in recipe"):
        train(Transfer(head="prototypes"), small(), tmp_path)


@pytest.mark.parametrize("method", ["softmatch", "supervised"])
def test_train__a_recipe_without_a_pool_is_said_to_be_left_out(method: str) -> None:
    said: list[str] = []
    data = tiny(labeled=45)
    result = understudy.train(
        (data.data.rows[:45].numpy(), data.truth[:45]), network="cnn", budget="4steps", batch_size=6, device="cpu",
        method=method, recipe="transfer", watch=mock.Mock(message=said.append),
    )  # fmt: skip
    assert list(result.runs) == ["supervised"]
    assert (
        "There are no unlabeled images, so the supervised model alone is trained, without the recipe transfer." in said
    )

"""The loop: phases, selection, patience, statistics, and that nothing of the user's is touched."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.contract.tiny import CLASSES, different, network, run, stage, tiny
from understudy.augment import DOMAINS
from understudy.core.config import knobs
from understudy.core.errors import ConfigError
from understudy.engine import monitor
from understudy.engine.observers import StepReport
from understudy.engine.optim import OPTIMIZERS
from understudy.engine.predict import predict
from understudy.engine.stage import Settings
from understudy.methods.fixmatch import FixMatch
from understudy.methods.softmatch import SoftMatch
from understudy.methods.supervised import Supervised
from understudy.models.batch_norm import evaluation_check

SETTINGS = [
    (name, value)
    for name, knob in knobs(Settings).items()
    if name not in ("device", "dtype", "compile", "num_evaluations", "patience")  # how, not what, is trained
    for value in (knob.choices or (knob.probe,))
    if value != getattr(Settings(), name)
]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_settings__every_knob_counts(name: str, value: Any) -> None:
    assert value is not None, f"{name} has neither a probe nor choices"
    needed = {"mix": "mixup"} if name == "mix_alpha" else {}  # it is the parameter of a mix, and none is the default
    usual, changed = (
        run(stage(FixMatch(mu=2), **needed, **kw)).trained.model.state_dict() for kw in ({}, {name: value})
    )
    assert different(usual, changed)


@pytest.mark.parametrize(
    ("optimizer", "name"), [(o, name) for o in OPTIMIZERS.names() for name in knobs(OPTIMIZERS.get(o))]
)
def test_optimizers__every_knob_counts(optimizer: str, name: str) -> None:
    kind = OPTIMIZERS.get(optimizer)
    turned = kind(**{name: knobs(kind)[name].probe})
    usual, changed = (run(stage(Supervised(), steps=6, optimizer=o)).tensors for o in (kind(), turned))
    assert different(usual, changed)


def test_fit__first_phase_is_supervised_and_takes_no_unlabeled_rows() -> None:
    reports: list[StepReport] = []
    finished = run(stage(FixMatch(mu=2), steps=20, warmup=0.3), observe=[reports.append])
    terms = [set(report.losses[0].terms) for report in reports]
    assert terms == [{"supervised"}] * 6 + [{"supervised", "unsupervised"}] * 14
    assert [report.phase for report in reports] == [1] * 6 + [2] * 14
    assert finished.meta["stream"]["consumed"] == {"labeled": 20 * 6, "unlabeled": 14 * 12}


def test_fit__first_phase_equals_the_supervised_method() -> None:
    one = run(stage(SoftMatch(), steps=12, warmup=1.0)).trained.model.state_dict()
    other = run(stage(Supervised(), steps=12)).trained.model.state_dict()
    assert not different(one, other)


def test_fit__leaves_the_users_module_alone() -> None:
    net = network(dropout=0.5).train()
    net[1].requires_grad_(False)
    handle = net[0].register_forward_hook(lambda *_: None)
    before = copy.deepcopy(net.state_dict())
    trained = run(stage(FixMatch(mu=2), net=net)).trained.model
    assert not different(before, net.state_dict())
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    assert [parameter.requires_grad for parameter in net[1].parameters()] == [False, False]
    assert list(net[0]._forward_hooks) == [handle.id]
    assert type(trained) is type(net)
    assert not trained.training
    assert not different({"": before["1.weight"]}, {"": trained.state_dict()["1.weight"]})  # frozen stays frozen
    assert different(before, trained.state_dict())


def rigged(monkeypatch: pytest.MonkeyPatch, accuracies: list[float]) -> list[dict[str, Tensor]]:
    """Make evaluations of nine or more rows find these accuracies; returns the weights that each saw."""
    seen: list[dict[str, Tensor]] = []

    def evaluate(net: nn.Module, data: Any, ids: Any, **_: Any) -> Any:
        right = round(accuracies[len(seen)] * len(ids))
        seen.append(copy.deepcopy(dict(net.state_dict())))
        classes = np.where(
            np.arange(len(ids)) < right, data.validation_targets, (data.validation_targets + 1) % CLASSES
        )
        return np.eye(CLASSES, dtype=np.float32)[classes]

    monkeypatch.setattr(monitor, "predict", evaluate)
    return seen


def test_fit__keeps_the_best_weights_and_of_equals_the_later(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = rigged(monkeypatch, [0.3, 0.9, 0.5, 0.9, 0.1])
    training = stage(
        FixMatch(mu=2), steps=20, num_evaluations=5, data=tiny(validation=10).data, net=network(norm=False)
    )
    trained = run(training).trained
    assert [line["validation_accuracy"] for line in trained.history] == [0.3, 0.9, 0.5, 0.9, 0.1]
    assert [line["step"] for line in trained.history] == [4, 8, 12, 16, 20]
    assert trained.best_step == 16
    assert not different(dict(trained.model.state_dict()), seen[3])


def test_fit__patience_ends_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    rigged(monkeypatch, [0.5, 0.5, 0.5, 0.6, 0.2, 0.6, *[0.0] * 99])
    reports: list[StepReport] = []
    training = stage(
        FixMatch(mu=2), steps=40, warmup=0.5, patience=2, num_evaluations=20, data=tiny(validation=10).data
    )
    trained = run(training, observe=[reports.append]).trained
    assert [report.step.index for report in reports if report.phase == 1][-1] == 5  # no gain at steps 4 and 6
    assert trained.stopped == "validation accuracy did not rise for 2 evaluations"
    assert trained.steps < 40
    assert all(a.progress <= b.progress for a, b in itertools.pairwise(reports))


def test_fit__without_patience_trains_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    rigged(monkeypatch, [0.5] * 20)
    trained = run(stage(FixMatch(mu=2), num_evaluations=20, data=tiny(validation=10).data)).trained
    assert (trained.steps, trained.stopped) == (16, "")


def test_fit__mends_statistics_that_do_not_serve() -> None:
    net = network()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
            nn.init.constant_(module.running_mean, 50.0)
    data = tiny().data
    trained = run(stage(Supervised(), steps=60, data=data, net=net)).trained.model
    x = data.render(data.labeled, "plain", device=torch.device("cpu"))
    assert evaluation_check(trained, x, data.targets)
    assert trained[2].running_mean.abs().max() < 10


@pytest.mark.parametrize("method", [Supervised(), SoftMatch()], ids=lambda m: m.name)
def test_fit__frozen_layers_stay_buffers_included(method: Any) -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    trained = run(stage(method, net=net, freeze="1,2")).trained.model
    after = trained.state_dict()
    names = [name for name in before if name.startswith(("1.", "2."))]
    assert not different({name: before[name] for name in names}, {name: after[name] for name in names})
    assert different(before, after)


def vectors(rows: int = 40) -> Any:
    rng = np.random.default_rng(0)
    truth = np.arange(rows) % CLASSES
    return replace(
        tiny(labeled=12, unlabeled=rows - 12).data,
        rows=torch.from_numpy((rng.normal(0, 1, (rows, 5)) + 2.0 * (truth[:, None] - 1)).astype(np.float32)),
        domain=DOMAINS["vector"],
        size=0,
        scale=torch.ones(5),
    )


def test_fit__vectors_that_are_no_images() -> None:
    net = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    data = vectors()
    trained = run(stage(SoftMatch(), steps=60, data=data, net=net)).trained
    found = predict(trained.model, data, data.unlabeled).argmax(-1)
    assert (found == np.arange(12, 40) % CLASSES).mean() > 0.8


def test_fit__mends_statistics_of_any_number_of_rows() -> None:
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, momentum=0.0), nn.Linear(8, CLASSES))
    nn.init.constant_(net[1].running_mean, 50.0)
    trained = run(stage(Supervised(), data=vectors(129), net=net)).trained.model
    assert trained[1].running_mean.abs().max() < 40


def test_fit__weights_of_rows_matter() -> None:
    data = tiny().data
    usual, even, skewed = (
        run(stage(Supervised(), data=replace(data, weight=weight))).trained.model.state_dict()
        for weight in (None, torch.full((12,), 3.0), torch.arange(12.0))
    )
    assert not different(usual, even)  # only their proportions count
    assert different(usual, skewed)


def test_fit__probabilities_as_targets() -> None:
    data, soft = tiny().data, tiny(soft=True).data
    sure = replace(data, targets=nn.functional.one_hot(data.targets, CLASSES).float())
    usual, same, other = (run(stage(FixMatch(mu=2), data=d)).trained.model.state_dict() for d in (data, sure, soft))
    for name, value in usual.items():
        torch.testing.assert_close(value, same[name], rtol=1e-3, atol=1e-5)
    assert different(usual, other)


def test_stage__nothing_to_learn_from() -> None:
    with pytest.raises(ConfigError, match="training needs at least one labeled image; give some, or check the label"):
        stage(Supervised(), data=tiny(labeled=0).data)
    with pytest.raises(
        ConfigError, match="method fixmatch learns from unlabeled images and there are none; give some, or choose"
    ):
        stage(FixMatch(), data=tiny(unlabeled=0).data)
    assert run(stage(Supervised(), data=tiny(unlabeled=0).data)).trained.steps == 16

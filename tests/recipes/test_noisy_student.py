"""Noisy Student: noise in training alone, students of another size, and what each of them is taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from tests.contract.tiny import different
from tests.recipes.rounds_victim import small_stage, train, with_pool_predictions
from understudy.core.errors import ConfigError, UserError
from understudy.engine.finalize import Trained
from understudy.engine.robustness import robustness
from understudy.engine.stage import Stage
from understudy.models import build, logits_and_features
from understudy.models.noise import SkippedBranch, with_noise
from understudy.models.residual import SmallBlock
from understudy.recipes import base
from understudy.recipes.noisy_student import NoisyStudent
from understudy.recipes.parts.pool_labels import PoolLabels

SHAPE = (3, 32, 32)
NOISY = NoisyStudent(num_rounds=2, gate=1.0)


# Noise inside a network.


def residual(name: str) -> nn.Module:
    """A network whose residual branches do something: they begin as nothing at all."""
    torch.manual_seed(0)
    network = build(name, shape=SHAPE, num_classes=3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return network


@pytest.mark.parametrize(("name", "branches"), [("resnet_small", 3), ("wrn_28_2", 12), ("resnet18", 8), ("cnn", 0)])
def test_with_noise__in_training_alone(name: str, branches: int) -> None:
    network = residual(name)
    noisy, skipped = with_noise(network, dropout=0.5, stochastic_depth=0.5)
    assert skipped == branches
    assert not different(dict(noisy.state_dict()), dict(network.state_dict()))
    x = torch.rand(4, *SHAPE)
    assert torch.equal(noisy.eval()(x), network.eval()(x))
    network.train()
    noisy.train()
    assert not torch.equal(noisy(x), noisy(x))
    noisy.load_state_dict(network.state_dict())
    assert torch.equal(network(x), network(x))


def test_with_noise__none() -> None:
    network = residual("resnet_small").train()
    noisy, skipped = with_noise(network, dropout=0.0, stochastic_depth=0.0)
    x = torch.rand(4, *SHAPE)
    assert skipped == 0
    assert torch.equal(noisy(x), network(x))


def test_with_noise__dropout_of_features() -> None:
    noisy, _ = with_noise(residual("cnn"), dropout=0.75, stochastic_depth=0.0)
    noisy.train()
    x = torch.rand(64, *SHAPE)
    seen: list[torch.Tensor] = []
    noisy.head.register_forward_hook(lambda _, args, __: seen.append(args[0]))  # type: ignore[union-attr, operator]
    noisy(x)
    _, quiet = logits_and_features(noisy.eval(), x)
    alive = quiet > 0
    assert float((seen[0][alive] == 0).float().mean()) == pytest.approx(0.75, abs=0.03)
    left = seen[0] != 0
    assert torch.allclose(seen[0][left], 4 * quiet[left], rtol=1e-5)


def test_with_noise__branches_are_skipped_row_by_row() -> None:
    """A block whose branch is skipped is its shortcut; later blocks are skipped more often."""
    noisy, branches = with_noise(residual("resnet_small"), dropout=0.0, stochastic_depth=0.6)
    blocks = [module for module in noisy.modules() if isinstance(module, SmallBlock)]
    assert len(blocks) == branches == 3
    for depth, block in enumerate(blocks, start=1):
        x = torch.rand(400, block.conv1.in_channels, 4, 4)
        branch = block.eval()(x) - x
        block.norm2.train()
        block.norm2.running_mean, block.norm2.running_var = None, None
        skipped = (block(x) == x).flatten(1).all(1)
        assert float(skipped.float().mean()) == pytest.approx(0.6 * depth / 3, abs=0.08)
        assert branch.abs().mean() > 0.02


def test_skipped_branch__keeps_its_mean() -> None:
    layer = nn.Identity()
    layer.register_forward_hook(SkippedBranch(0.75))
    out = layer(torch.ones(4000, 2, 3, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert out.unique().tolist() == [0.0, 4.0]
    assert float(out.float().mean()) == pytest.approx(1.0, abs=0.1)
    assert (out == out[:, :1, :1]).all()  # of a row all or nothing


# Students.


def stages_of(recipe: NoisyStudent, training: Stage, folder: Path | None = None) -> tuple[Trained, list[Stage]]:
    """The classifier, and the stages of all runs."""
    seen: list[Stage] = []
    actual = base.fit

    def remembered(stage: Stage, *arguments: Any, **options: Any) -> Trained:
        seen.append(stage)
        return actual(stage, *arguments, **options)

    with mock.patch.object(base, "fit", remembered):
        return train(recipe, training, folder), seen


def test_noisy_student__teacher_is_quiet_and_student_noisy() -> None:
    training = small_stage()
    trained, (teacher, *students) = stages_of(NOISY, training)
    x = torch.rand(4, *training.data.row_shape)
    assert torch.equal(teacher.network.train()(x), teacher.network(x))
    assert teacher.settings.labeled_view == training.settings.labeled_view == "mixed"
    assert len(students) == 2
    for student in students:
        assert student.settings.labeled_view == "strong"
        assert not torch.equal(student.network.train()(x), student.network(x))
        for (name, mine), (_, first) in zip(
            student.network.named_parameters(), training.network.named_parameters(), strict=True
        ):
            assert torch.equal(mine, first), f"{name} does not start afresh"
    model = trained.model.train()
    assert torch.equal(model(x), model(x)), "noise was left in the network that is returned"
    assert trained.rounds[1]["note"] == ("stochastic depth is not known for this network, so dropout is its only noise")


def test_noisy_student__learns_probabilities_or_classes(tmp_path: Path) -> None:
    _, (_, soft, *_) = stages_of(NOISY, small_stage(), tmp_path / "soft")
    assert soft.data.targets.shape == (len(soft.data.labeled), 3)
    saved = PoolLabels.load(tmp_path / "soft" / "round-1" / "pseudo_labels.npz")
    assert saved.probabilities is not None
    assert np.allclose(saved.probabilities.max(-1), saved.confidence, atol=1e-3)
    _, (_, hard, *_) = stages_of(replace(NOISY, labels="hard"), small_stage())
    assert hard.data.targets.ndim == 1


def test_noisy_student__classes_are_balanced() -> None:
    probs = np.tile(np.array([0.8, 0.1, 0.1], np.float32), (48, 1))
    probs[:9], probs[9:12] = [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]
    with mock.patch("understudy.recipes.parts.pool_labels.predict", return_value=probs):
        _, (_, student, *_) = stages_of(NOISY, small_stage())
    shares = torch.bincount(small_stage().data.targets, minlength=3) / 12
    pseudo = student.data.targets[torch.from_numpy(student.data.labeled >= 12)]
    counts = torch.bincount(pseudo.argmax(-1), minlength=3)
    assert counts.tolist() == [20, 12, 16] == (48 * shares).round().long().tolist()


def test_noisy_student__larger_student(tmp_path: Path) -> None:
    training = replace(small_stage(), network=build("cnn", shape=(1, 8, 8), num_classes=3), network_name="cnn")
    recipe = replace(NOISY, student_network="resnet_small", num_rounds=1)
    with with_pool_predictions([0.6, 0.3, 0.1], varied=True):
        trained, (_, student) = stages_of(recipe, training, tmp_path)
    assert type(trained.model).__name__ == type(student.network).__name__ == "ResNetSmall"
    assert trained.network_name == "resnet_small"
    assert trained.rounds[1]["note"].startswith("the student has 111,651 weights, larger than the teacher's 52,099")
    again = train(recipe, training, tmp_path)
    assert not different(dict(again.model.state_dict()), dict(trained.model.state_dict()))


def test_noisy_student__smaller_student_is_said() -> None:
    torch.manual_seed(0)
    training = replace(
        small_stage(), network=build("resnet_small", shape=(1, 8, 8), num_classes=3), network_name="resnet_small"
    )
    with with_pool_predictions([0.6, 0.3, 0.1], varied=True):
        trained = train(replace(NOISY, student_network="cnn", num_rounds=1), training)
    assert " weights, smaller than the teacher's " in trained.rounds[1]["note"]


def test_noisy_student__of_ones_own_module() -> None:
    with pytest.raises(ConfigError) as caught:
        replace(NOISY, student_network="cnn").train(replace(small_stage(), network_name="module:Mine"))
    assert str(caught.value) == (
        "recipe.student_network is 'cnn', and your own module could not be trained in place; leave student_network "
        "empty, or give the network by name"
    )


def test_noisy_student__unknown_network() -> None:
    with (
        mock.patch.object(base, "fit", side_effect=AssertionError("a teacher was trained first")),
        pytest.raises(UserError, match="there is no network 'resnet_smal'; did you mean 'resnet_small'"),
    ):
        train(replace(NOISY, student_network="resnet_smal"), small_stage())


def test_noisy_student__robustness_before_and_after() -> None:
    training = small_stage(validation=12)
    trained = train(replace(NOISY, corrupted=9), training)
    first, last = trained.rounds[0], next(line for line in trained.rounds if line["returned"])
    data = training.data
    found = robustness(trained.model, data, data.validation[:9], data.validation_targets[:9])
    assert last["corrupted_accuracy"] == pytest.approx(found.mean)
    assert 0 <= first["corrupted_accuracy"] <= 1
    assert "corrupted_accuracy" not in train(NOISY, training).rounds[0]
